"""Where sessions are kept: ``open_store`` makes a store from a URL. No driver is imported before it is asked for."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from session_middleware.exceptions import ConfigurationError
from session_middleware.stores.base import Store
from session_middleware.stores.urls import split

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Opener = Callable[[str], Store]

ENTRY_POINTS: Final = "session_middleware.stores"
"""The group of entry points by which other packages add schemes: the name is the scheme, the object takes the URL."""

_REDIS: Final = ("redis", "RedisStore", "redis")
_SQLALCHEMY: Final = ("sqlalchemy", "SQLAlchemyStore", "sqlalchemy")

_MOVING: Final = ("moving", "moving-later")

# Scheme: module, class, extra. What SQLAlchemy calls "dialect+driver" is looked up by the dialect.
_STORES: Final = {
    "memory": ("memory", "MemoryStore", ""),
    "sqlite": ("sqlite", "SQLiteStore", ""),
    **{
        scheme + deployment: _REDIS
        for scheme in ("redis", "rediss", "valkey", "valkeys")
        for deployment in ("", "+sentinel", "+cluster")
    },
    "unix": _REDIS,
    "memcached": ("memcached", "MemcachedStore", "memcached"),
    "postgresql": _SQLALCHEMY,
    "postgres": _SQLALCHEMY,
    "mariadb": _SQLALCHEMY,
    "mysql": _SQLALCHEMY,
}


def open_store(url: str) -> Store:
    """Return the store that *url* names; nothing is connected or created yet.

    ``memory:`` is a :class:`MemoryStore`; ``sqlite:///name.sqlite3`` a :class:`SQLiteStore` in the working directory,
    ``sqlite:////var/lib/app/name.sqlite3`` one at an absolute path; ``redis://``, ``rediss://``, ``unix://``,
    ``redis+sentinel://``, ``redis+cluster://`` and the same with ``valkey`` a ``RedisStore``; ``memcached://`` a
    ``MemcachedStore``; ``postgresql://``, ``mariadb://`` and ``mysql://`` an ``SQLAlchemyStore``; ``moving:`` and two
    of these, that of the new store, a space, that of the old one, a ``MovingStore``; ``moving-later:`` one that does not
    hand over. A store's options follow
    as a query: ``sqlite:///name.sqlite3?durability=full``. Other packages may add schemes, by the entry-point group
    ``session_middleware.stores``. Raise :exc:`ConfigurationError` for anything else.
    """
    scheme = split(url).scheme
    dialect = scheme.partition("+")[0]
    name = dialect if _STORES.get(dialect) == _SQLALCHEMY else scheme
    if name in _MOVING:
        return _moving(name, url)
    if name in _STORES:
        return _own(*_STORES[name])(url)
    from importlib.metadata import entry_points  # a tenth of the import of this package, and few need it

    others = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if scheme in others:
        return _other(others[scheme])(url)
    from difflib import get_close_matches

    known = [*_STORES, *_MOVING, *sorted(others.keys() - _STORES.keys())]
    # With a slip in its scheme a URL has none, and is quoted only if there is no password in it.
    found = repr(scheme or url) if scheme or "@" not in url else "a URL without a scheme"
    if near := get_close_matches(scheme, known, n=1):
        raise ConfigurationError(f"{found} is not a kind of store; did you mean {near[0]}:?")
    raise ConfigurationError(f"{found} is not a kind of store; known are {', '.join(f'{name}:' for name in known)}")


def _moving(scheme: str, url: str) -> Store:
    from session_middleware.moving import MovingStore

    stores = url.partition(":")[2].split()
    if len(stores) != 2:
        raise ConfigurationError(f"{scheme}: write {scheme}: and two URLs, the new store's, a space, and the old one's")
    return MovingStore(open_store(stores[0]), open_store(stores[1]), hand_over=scheme == "moving")


def _own(module: str, name: str, extra: str) -> Opener:
    try:
        found = import_module(f"session_middleware.stores.{module}")
    except ImportError as error:
        if not extra:
            raise
        raise ConfigurationError(f"{name} needs {error.name or extra}: pip install 'session-middleware[{extra}]'") from error
    opener: Opener = getattr(found, name).from_url
    return opener


def _other(point: "EntryPoint") -> Opener:
    try:
        opener = point.load()
    except Exception as error:
        raise ConfigurationError(f"{point.name}: {point.value} cannot be loaded: {error}") from error
    if not callable(opener):
        raise ConfigurationError(f"{point.name}: {point.value} is not a function of the URL")
    return cast("Opener", opener)
