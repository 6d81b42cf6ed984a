"""The stores used by hand: one read, one decode, one write, and no safety. What a request cannot cost less than."""

import secrets
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from benchmarks.peers.adapters import frameworks
from benchmarks.peers.application import Ways, handle
from benchmarks.peers.contenders import Made, Place

encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


class Verbs(NamedTuple):
    load: Callable[[str], bytes | None]
    save: Callable[[str, bytes], object]
    delete: Callable[[str], object]


class Hand(dict[str, Any]):
    """A session that knows whether it is to be written, deleted, or written under another key."""

    fate = ""

    def note(self, fate: str) -> None:
        self.fate = fate


def _sign_in(session: Hand) -> None:
    session["user"] = "alice"
    session.note("rotate")


WAYS = Ways(_sign_in, lambda session: session.note("end"), lambda session: session.note(session.fate or "write"))


def make(store: str, place: Place, options: dict[str, Any]) -> Made:
    verbs = _MAKE[store](place)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        key = str(environ.get("HTTP_COOKIE", "")).partition("session=")[2].partition(";")[0]
        opened: list[Hand] = []

        def session_of() -> Hand:
            held = verbs.load(key) if key else None
            opened.append(Hand() if held is None else Hand(decode(held)))
            return opened[0]

        text = handle(WAYS, session_of, environ["PATH_INFO"], environ["QUERY_STRING"])
        headers = _store(verbs, key, opened[0]) if opened else []
        start_response("200 OK", [*frameworks.TEXT, *headers])
        return [text.encode()]

    return Made(application, frameworks.plain(lambda environ: {}))


def _store(verbs: Verbs, key: str, session: Hand) -> list[tuple[str, str]]:
    if not session.fate:
        return []
    if key and session.fate in ("end", "rotate"):
        verbs.delete(key)
    if session.fate == "end":
        return [("Set-Cookie", "session=; Max-Age=0")]
    if key and session.fate == "write":
        verbs.save(key, encode(session))
        return []
    key = secrets.token_urlsafe(30)
    verbs.save(key, encode(session))
    return [("Set-Cookie", f"session={key}; Path=/; HttpOnly; SameSite=Lax")]


def _memory(place: Place) -> Verbs:
    held: dict[str, bytes] = {}
    return Verbs(held.get, held.__setitem__, lambda key: held.pop(key, None))


def _sqlite(place: Place) -> Verbs:
    local = threading.local()

    def run(sql: str, *values: Any) -> Any:
        if not hasattr(local, "connection"):
            local.connection = sqlite3.connect(place.sqlite_path, isolation_level=None)
            local.connection.execute("PRAGMA journal_mode = WAL")
            local.connection.execute("PRAGMA synchronous = NORMAL")
            local.connection.execute("CREATE TABLE IF NOT EXISTS raw (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
        return local.connection.execute(sql, values)

    return _sql(run, "?")


def _redis(place: Place) -> Verbs:
    from redis import Redis

    client: Any = Redis.from_url(place.redis_url)
    return Verbs(client.get, client.set, client.delete)


def _postgresql(place: Place) -> Verbs:
    import psycopg

    local = threading.local()

    def run(sql: str, *values: Any) -> Any:
        if not hasattr(local, "connection"):
            local.connection = psycopg.connect(place.postgresql_url.replace("+psycopg", ""), autocommit=True)
            local.connection.execute("CREATE TABLE IF NOT EXISTS raw (key TEXT PRIMARY KEY, value BYTEA NOT NULL)")
        return local.connection.execute(sql, values)

    return _sql(run, "%s")


def _sql(run: Callable[..., Any], mark: str) -> Verbs:
    load = f"SELECT value FROM raw WHERE key = {mark}"
    save = f"INSERT INTO raw VALUES ({mark}, {mark}) ON CONFLICT (key) DO UPDATE SET value = excluded.value"

    def read(key: str) -> bytes | None:
        row = run(load, key).fetchone()
        return None if row is None else bytes(row[0])

    return Verbs(read, lambda key, value: run(save, key, value), lambda key: run(f"DELETE FROM raw WHERE key = {mark}", key))


_MAKE = {"memory": _memory, "SQLite": _sqlite, "Redis": _redis, "PostgreSQL": _postgresql}
