"""The applications that are measured: with no session, with a store used by hand, and with the middleware."""

import secrets
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from session_middleware import Send, SessionMiddleware
from session_middleware.stores.base import Store
from session_middleware.tokens import LENGTH

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

HEADERS = [("Content-Type", "text/plain")]
NOBODY = "A" * LENGTH

# The fastest codec there is; it is not as strict about types as the sessions' own.
encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


def data(kilobytes: int) -> dict[str, Any]:
    """Return what a session of ten keys and about that size holds."""
    lists = {
        f"list{number}": {
            "items": [{"sku": f"a-{item}", "count": item} for item in range(4 * kilobytes)],
            "text": "x" * (60 * kilobytes),
        }
        for number in range(7)
    }
    return {"user": "alice", "visits": 12, "csrf": "0123456789abcdef" * 2, **lists}


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


def creates(kilobytes: int) -> Application:
    """Return the application that starts a session in each request."""
    held = data(kilobytes)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environ["session_middleware.session"].update(held)
        start_response("200 OK", HEADERS)
        return [b"done"]

    return application


def with_middleware(application: Application, store: Store, kilobytes: int = 1) -> tuple[Application, str]:
    """Return the wrapped application, and the token of a session of that size."""
    wrapped = SessionMiddleware(application, store)
    session = wrapped.manager.open()
    session.update(data(kilobytes))
    verdict = wrapped.manager.commit(session)
    assert isinstance(verdict, Send)
    return wrapped, verdict.token.reveal()


def _cookies(environ: dict[str, Any]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in environ["HTTP_COOKIE"].split("; "))


class Raw:
    """The same store used by hand: one read, one decode, one write, no safety."""

    def __init__(
        self,
        load: Callable[[str], bytes],
        save: Callable[[str, bytes], object],
        create: Callable[[str, bytes], object] | None = None,
        kilobytes: int = 1,
    ) -> None:
        self._load = load
        self._save = save
        self._create = create or save
        self._data = data(kilobytes)
        self.token = NOBODY
        self._create(self.token, encode(self._data))

    def reads(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        held = decode(self._load(_cookies(environ)["session"]))
        held["user"]
        start_response("200 OK", HEADERS)
        return [b"done"]

    def writes(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        token = _cookies(environ)["session"]
        held = decode(self._load(token))
        held["visits"] += 1
        self._save(token, encode(held))
        start_response("200 OK", HEADERS)
        return [b"done"]

    def creates(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        token = secrets.token_urlsafe(30)
        self._create(token, encode(self._data))
        start_response("200 OK", [*HEADERS, ("Set-Cookie", f"session={token}; Path=/; HttpOnly; SameSite=Lax")])
        return [b"done"]


def raw_memory(kilobytes: int = 1) -> Raw:
    records: dict[str, bytes] = {}
    return Raw(records.__getitem__, records.__setitem__, kilobytes=kilobytes)


def raw_sqlite(path: Path, kilobytes: int = 1) -> Raw:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE sessions (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
    load, save = "SELECT value FROM sessions WHERE key = ?", "UPDATE sessions SET value = ? WHERE key = ?"
    return Raw(
        lambda key: connection.execute(load, (key,)).fetchone()[0],
        lambda key, value: connection.execute(save, (value, key)),
        lambda key, value: connection.execute("INSERT INTO sessions VALUES (?, ?)", (key, value)),
        kilobytes,
    )
