"""Very many sessions in a store at once, sooner than by its verbs where there is a way."""

import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeAlias

import psycopg
import pymysql
from sqlalchemy import make_url

from session_middleware import MemoryStore, SessionManager, open_store
from session_middleware.record import pack, pack_values
from session_middleware.stores.base import Record
from session_middleware.stores.sqlite import row_of
from session_middleware.tokens import Token, proof_function
from session_middleware.values import encoded

Records: TypeAlias = Iterator[tuple[str, Record]]

_COLUMNS = "version, expires_at, sweep_at, value, user_id"
_LATER = 300


def sessions(users: Iterable[str | None], *, ago: int = 0) -> Records:
    """Yield a session of each of the *users*, last used so many seconds *ago*, with its id."""
    manager = SessionManager(MemoryStore())
    proof_of, beginning = proof_function(manager.namespace), manager.new()
    values = pack_values(encoded({"cart": ["a book"], "n": 1}, manager.codec))
    now = beginning.created_at - ago
    for user in users:
        token = Token.new()
        envelope = beginning._replace(
            user_id=user, created_at=now, signed_in_at=now, last_seen_at=now, issued_at=now, current=(proof_of(token),)
        )
        yield token.id, Record(pack(envelope, values), int(envelope.expires_at) + 1, user)


def load(url: str, records: Records) -> None:
    """Store the records, in a store that has been used before."""
    kind = url.partition(":")[0].partition("+")[0]
    {"sqlite": _sqlite, "postgresql": _postgresql, "mariadb": _mariadb}.get(kind, _by_threads)(url, records)


def _sqlite(url: str, records: Records) -> None:
    sql = f"INSERT INTO sessions (id, key, {_COLUMNS}) VALUES (?, ?, 1, ?, ?, ?, ?)"
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.executemany(sql, ((row_of(key), key, *_row(record)[:-1], record.user_id) for key, record in records))


def _postgresql(url: str, records: Records) -> None:
    where = make_url(url)
    copy = f"COPY {where.query['table']} (key, {_COLUMNS}) FROM STDIN (FORMAT BINARY)"
    connection = psycopg.connect(**_who(url), dbname=where.database)
    with connection, connection.cursor() as cursor, cursor.copy(copy) as rows:
        rows.set_types(["varchar", "int8", "int8", "int8", "bytea", "bytea"])
        for key, record in records:
            rows.write_row((key, 1, *_row(record)))


def _mariadb(url: str, records: Records) -> None:
    where = make_url(url)
    sql = f"INSERT INTO {where.query['table']} (`key`, {_COLUMNS}) VALUES (%s, 1, %s, %s, %s, %s)"
    connection: Any = pymysql.connect(**_who(url), database=where.database)
    with closing(connection), connection.cursor() as cursor:
        cursor.executemany(sql, ((key, *_row(record)) for key, record in records))
        connection.commit()


def _by_threads(url: str, records: Records) -> None:
    store: Any = open_store(url)
    with closing(store), ThreadPoolExecutor(4) as threads:
        assert all(threads.map(lambda one: store.create(*one), records))


def _row(record: Record) -> tuple[int, int, bytes, bytes | None]:
    user = None if record.user_id is None else record.user_id.encode()
    return record.expires_at, record.expires_at + _LATER, record.value, user


def _who(url: str) -> dict[str, Any]:
    where = make_url(url)
    return {"host": where.host, "port": where.port, "user": where.username, "password": where.password or ""}
