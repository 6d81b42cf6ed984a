"""Who is compared: each library, the framework it serves, the stores it has, and why where it has none."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

Application: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Any]

STORES = ("memory", "SQLite", "Redis", "PostgreSQL")
SERVERS = ("Redis", "PostgreSQL")
OURS = "session_middleware"
BY_HAND = "by hand"
KEEPS = "control: loses nothing"
LOSES = "control: loses everything"


class Place(NamedTuple):
    """Where the stores are: a folder for files, and the ports of servers on loopback; 0 where there is none."""

    folder: str
    redis: int = 0
    postgresql: int = 0
    database: str = "tests"

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis}/0"

    @property
    def postgresql_url(self) -> str:
        return f"postgresql+psycopg://tests@127.0.0.1:{self.postgresql}/{self.database}"

    @property
    def sqlite_path(self) -> str:
        return f"{self.folder}/sessions.sqlite3"


class Made(NamedTuple):
    """The small application over a library, and the same on the same framework with no session at all."""

    application: Application
    without: Application
    clean: Callable[[], object] | None = None
    """Removes expired sessions by the library's own means; ``None`` if it has none for this store."""
    cookie_of: Callable[[str], str] | None = None
    """Returns the cookie of the session that the store has under this id; ``None`` if the id is the cookie's value."""


class Contender(NamedTuple):
    """One row. *adapter* is a module of ``benchmarks.peers.adapters``, which has ``make(store, place, options)``."""

    name: str
    framework: str
    adapter: str
    distribution: str
    stores: tuple[str, ...] = STORES
    why: str = ""
    """Why it has no more stores, or none."""
    options: Mapping[str, Any] = {}  # a named tuple; never changed
    tuned: str = ""
    """What differs from the library's defaults."""

    @property
    def is_ours(self) -> bool:
        return self.distribution == OURS

    @property
    def is_control(self) -> bool:
        return not self.distribution

    @property
    def is_default(self) -> bool:
        return not self.options.get("tuned")

    def make(self, store: str, place: Place) -> Made:
        made: Made = import_module(f"benchmarks.peers.adapters.{self.adapter}").make(store, place, dict(self.options))
        return made


_TUNED = {"tuned": True}

CONTENDERS = (
    *(
        Contender(
            OURS if framework == "WSGI" else f"{OURS}, {framework}", framework, "ours", OURS,
            options={"framework": framework},
        )
        for framework in ("WSGI", "Flask", "Django", "Pyramid")
    ),
    Contender("Beaker", "WSGI", "beaker", "Beaker"),
    Contender(
        "Beaker, tuned", "WSGI", "beaker", "Beaker", options=_TUNED,
        tuned="`save_accessed_time=False`, values as JSON; Redis: `socket_timeout=1`",
    ),
    Contender("Flask-Session", "Flask", "flask_session", "Flask-Session"),
    Contender(
        "Flask-Session, tuned", "Flask", "flask_session", "Flask-Session", options=_TUNED,
        tuned="`SESSION_REFRESH_EACH_REQUEST=False`; Redis: `socket_timeout=1`",
    ),
    Contender("Django", "Django", "django", "Django"),
    Contender(
        "Django, tuned", "Django", "django", "Django", STORES[1:], "the memory cache has no more to tune", _TUNED,
        "SQLite: WAL, `synchronous=NORMAL`, `BEGIN IMMEDIATE`; PostgreSQL: `CONN_MAX_AGE=600`; Redis: `socket_timeout=1`",
    ),
    Contender(
        "Django, cached_db", "Django", "django", "Django", ("Redis",), "it is Redis before a table, here of SQLite",
        {"cached_db": True}, "the engine `cached_db`",
    ),
    Contender(
        "pyramid_session_redis", "Pyramid", "pyramid_session_redis", "pyramid_session_redis", ("Redis",),
        "it is for Redis alone",
    ),
    Contender(
        "pyramid_session_redis, tuned", "Pyramid", "pyramid_session_redis", "pyramid_session_redis", ("Redis",),
        "it is for Redis alone", _TUNED, "`python_expires=False`, `redis_socket_timeout=1`",
    ),
    Contender(
        "Starlette", "ASGI", "", "starlette", (),
        "the session is in the cookie: there is no store to ask; it serves ASGI, as starsessions does, which has stores",
    ),
    Contender(BY_HAND, "WSGI", "by_hand", "", options={"hand": True}),
    Contender(KEEPS, "WSGI", "controls", "", ("memory",), options={"keeps": True}),
    Contender(LOSES, "WSGI", "controls", "", ("memory",), options={"keeps": False}),
)  # fmt: skip

BY_NAME = {contender.name: contender for contender in CONTENDERS}
