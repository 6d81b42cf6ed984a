"""Very many records in a store, sooner than by its verbs: written as the store itself would, in random order."""

import os
import socket
import sqlite3
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeAlias, TypeVar

import psycopg
import pymysql
from pymemcache.client.base import Client

from session_middleware.stores.base import Record
from session_middleware.stores.sqlite import row_of

T = TypeVar("T")

USER_BYTES = 12
"""How long the user ids are, as those of numbers and short names."""

KEPT = 50_000
"""Of so many records, spread over all, the keys are kept, so that they can be asked for."""

_DAY = 86400
_MOST_SENT = 4_000_000


class Filling(NamedTuple):
    """What is to be stored: so many records, each of *size* bytes (the value), each of a user of its own or of nobody."""

    sessions: int
    size: int
    users: bool


Known: TypeAlias = tuple[str, str | None]
"""A key, and the user whose record it is."""


def records(filling: Filling, kept: list[Known]) -> Iterator[tuple[str, Record]]:
    """Yield keys and records; add some of the keys, and their users, to *kept*. The values are noise."""
    chance = Random(filling.sessions)
    noise, expires_at = os.urandom(filling.size + 65536), int(time.time()) + _DAY
    every = max(1, filling.sessions // KEPT)
    for number in range(filling.sessions):
        key = urlsafe_b64encode(os.urandom(9)).decode()
        start = int(chance.random() * 65536)
        user = f"user{number:08d}" if filling.users else None
        if number % every == 0:
            kept.append((key, user))
        yield key, Record(noise[start : start + filling.size], expires_at, user)


def fill_sqlite(path: Path, filling: Filling) -> list[Known]:
    """Fill the file of a store that has made its tables."""
    kept: list[Known] = []
    sql = """INSERT INTO sessions (id, key, value, version, expires_at, sweep_at, user_id)
        VALUES (?, ?, ?, random() >> 8, ?, ? + 300, ?)"""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -2000000")
    connection.execute("BEGIN")
    connection.executemany(sql, ((row_of(key), key, *record[:2], *record[1:]) for key, record in records(filling, kept)))
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    return kept


_SET = b"*5\r\n$3\r\nSET\r\n$20\r\nsession:%b\r\n$%d\r\n%b\r\n$4\r\nEXAT\r\n$10\r\n%d\r\n"
_INDEX = b"*4\r\n$4\r\nZADD\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$12\r\n%b\r\n*3\r\n$8\r\nEXPIREAT\r\n$%d\r\n%b\r\n$10\r\n%d\r\n"


def fill_redis(path: str, filling: Filling) -> list[Known]:
    """Fill a server, by its Unix socket, as a store with the prefix ``session:`` does, the indexes of users too."""
    kept: list[Known] = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b"CLIENT REPLY OFF\r\n")
        for page in _pages(records(filling, kept), 2000):
            connection.sendall(b"".join([_commands(key.encode(), record) for key, record in page]))
        connection.sendall(b"CLIENT REPLY ON\r\n")
        assert connection.recv(64).startswith(b"+OK")
    return kept


def _commands(key: bytes, record: Record) -> bytes:
    value, ends, user_id = record
    head, until = os.urandom(8) + ends.to_bytes(5), ends + 300
    if user_id is None:
        return _SET % (key, len(value) + 14, head + b"\0" + value, until)
    user = user_id.encode()
    index, score = b"session:user:" + user, f"{until + time.time() % 65536 / 65536:.17g}".encode()
    string = b"".join((head, bytes((len(user),)), user, until.to_bytes(5), value))
    indexing = _INDEX % (len(index), index, len(score), score, key, len(index), index, until)
    return indexing + _SET % (key, len(string), string, until)


def fill_postgresql(connection: "psycopg.Connection", filling: Filling) -> list[Known]:
    kept: list[Known] = []
    copy = "COPY sessions (key, value, version, expires_at, sweep_at, user_id) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(copy) as rows:
        rows.set_types(["varchar", "bytea", "int8", "int8", "int8", "bytea"])
        for key, (value, ends, user_id) in records(filling, kept):
            user = None if user_id is None else user_id.encode()
            rows.write_row((key, value, int.from_bytes(os.urandom(8)) >> 1, ends, ends + 300, user))
    connection.execute("VACUUM ANALYZE sessions")
    return kept


def fill_mariadb(connection: "pymysql.Connection[Any]", filling: Filling) -> list[Known]:
    kept: list[Known] = []
    with connection.cursor() as cursor:
        for page in _pages(records(filling, kept), max(1, min(500, _MOST_SENT // filling.size))):
            rows = ", ".join(
                f"('{key}', x'{value.hex()}', {int.from_bytes(os.urandom(8)) >> 1}, {ends}, {ends + 300},"
                f" {'NULL' if user_id is None else repr(user_id)})"
                for key, (value, ends, user_id) in page
            )
            cursor.execute(f"INSERT INTO sessions (`key`, value, version, expires_at, sweep_at, user_id) VALUES {rows}")
    return kept


def fill_memcached(client: Client, filling: Filling) -> list[Known]:
    kept: list[Known] = []
    for page in _pages(records(filling, kept), 500):
        items = {f"session:{key}": os.urandom(8) + record.expires_at.to_bytes(8) + record.value for key, record in page}
        client.set_many(items, expire=_DAY + 60, noreply=True)
    return kept


def _pages(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page
