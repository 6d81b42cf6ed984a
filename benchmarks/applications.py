"""The applications that are measured: with no session, with a store used by hand, and with the middleware."""

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from msgpack import packb, unpackb

from session_middleware import Send, SessionMiddleware
from session_middleware.stores.base import Store

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

DATA = {
    "user": "alice",
    "visits": 12,
    "cart": {"items": [{"sku": "a-1", "count": 2}, {"sku": "b-2", "count": 1}], "total": 12.5},
    "csrf": "0123456789abcdef0123456789abcdef",
}
HEADERS = [("Content-Type", "text/plain")]


def bare(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Use no session."""
    start_response("200 OK", HEADERS)
    return [b"done"]


def reads(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    session = environ["session_middleware.session"]
    session["user"]
    start_response("200 OK", HEADERS)
    return [b"done"]


def writes(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    session = environ["session_middleware.session"]
    session["visits"] += 1
    start_response("200 OK", HEADERS)
    return [b"done"]


def with_middleware(application: Application, store: Store) -> tuple[Application, str]:
    """Return the wrapped application, and the token of a session that holds DATA."""
    wrapped = SessionMiddleware(application, store)
    session = wrapped.manager.open()
    session.update(DATA)
    verdict = wrapped.manager.commit(session)
    assert isinstance(verdict, Send)
    return wrapped, verdict.token


def _cookies(environ: dict[str, Any]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in environ["HTTP_COOKIE"].split("; "))


class Raw:
    """The same store used by hand: one read, one decode, one write, no safety."""

    def __init__(self, load: Callable[[str], bytes], save: Callable[[str, bytes], object]) -> None:
        self._load = load
        self._save = save
        self.token = "A" * 43
        save(self.token, packb(DATA))

    def reads(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        data = unpackb(self._load(_cookies(environ)["session"]))
        data["user"]
        start_response("200 OK", HEADERS)
        return [b"done"]

    def writes(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        token = _cookies(environ)["session"]
        data = unpackb(self._load(token))
        data["visits"] += 1
        self._save(token, packb(data))
        start_response("200 OK", HEADERS)
        return [b"done"]


def raw_memory() -> Raw:
    records: dict[str, bytes] = {}
    return Raw(records.__getitem__, records.__setitem__)


def raw_sqlite(path: Path) -> Raw:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE sessions (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
    load, save = "SELECT value FROM sessions WHERE key = ?", "UPDATE sessions SET value = ? WHERE key = ?"
    connection.execute("INSERT INTO sessions VALUES (?, ?)", ("A" * 43, b""))
    return Raw(
        lambda key: connection.execute(load, (key,)).fetchone()[0],
        lambda key, value: connection.execute(save, (value, key)),
    )
