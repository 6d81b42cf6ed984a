"""Where sessions are kept. ``open_store`` makes a store from a URL; a driver is imported when it is asked for."""

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from session_middleware.exceptions import ConfigurationError
from session_middleware.stores.base import Store

T = TypeVar("T", int, float)


def open_store(url: str) -> Store:
    """Return the store that *url* names; nothing is connected or created yet.

    ``memory:`` is a :class:`MemoryStore`; ``sqlite:///name.sqlite3`` a :class:`SQLiteStore` in the working directory,
    ``sqlite:////var/lib/app/name.sqlite3`` one at an absolute path. A store's options follow as a query:
    ``sqlite:///name.sqlite3?durability=full``. Raise :exc:`ConfigurationError` for anything else.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"the URL of the store cannot be read: {error}") from None
    opener = _OPENERS.get(parts.scheme)
    if opener is None:
        known = ", ".join(f"{scheme}:" for scheme in _OPENERS)
        raise ConfigurationError(f"{parts.scheme or url!r} is not a kind of store; known are {known}")
    if parts.netloc or parts.fragment:
        raise ConfigurationError(f"{parts.scheme}: takes no host and no fragment; write {_EXAMPLES[parts.scheme]}")
    slashes = "//" if url.partition(":")[2].startswith("//") else ""
    return opener(slashes + unquote(parts.path), _options(parts.scheme, parts.query))


def _options(scheme: str, query: str) -> Mapping[str, str]:
    options: dict[str, str] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in options:
            raise ConfigurationError(f"{scheme}: the option {name!r} is there more than once; write it once")
        options[name] = text
    return options


def _open_memory(path: str, options: Mapping[str, str]) -> Store:
    from session_middleware.stores.memory import MemoryStore

    if path.strip("/"):
        raise ConfigurationError("memory: takes no path; write memory:")
    _refuse_unknown("memory:", options, ("max_entries", "max_bytes"))
    return MemoryStore(**{name: _number(int, name, text) for name, text in options.items()})


def _open_sqlite(path: str, options: Mapping[str, str]) -> Store:
    from session_middleware.stores.sqlite import SQLiteStore

    if path.strip("/") and not path.startswith("///"):
        raise ConfigurationError(f"sqlite:{path}: a path stands after three slashes; write sqlite:///{path}")
    _refuse_unknown("sqlite:", options, ("durability", "timeout"))
    return SQLiteStore(
        path.removeprefix("//").removeprefix("/"),
        durability=options.get("durability", "normal"),  # type: ignore[arg-type]  # the store checks it
        timeout=_number(float, "timeout", options.get("timeout", "1")),
    )


def _refuse_unknown(scheme: str, options: Mapping[str, str], known: tuple[str, ...]) -> None:
    if unknown := sorted(options.keys() - set(known)):
        raise ConfigurationError(f"{scheme} has no option {unknown[0]!r}; it has {', '.join(known)}")


def _number(kind: Callable[[str], T], name: str, text: str) -> T:
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ConfigurationError(f"{name}={text!r}: write {wanted}") from None


_OPENERS: Mapping[str, Callable[[str, Mapping[str, str]], Store]] = {"memory": _open_memory, "sqlite": _open_sqlite}
_EXAMPLES = {"memory": "memory:", "sqlite": "sqlite:///sessions.sqlite3"}
