"""The stores on servers, each beside the same server used by hand; a server that is not installed is left out."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from secrets import token_bytes
from typing import Any, NamedTuple

import psycopg
import pytest
import redis
from pymemcache.client.base import Client

from benchmarks.applications import NOBODY, Raw
from benchmarks.population import Records
from session_middleware import open_store
from session_middleware.stores.base import Store
from tests.backends.memcached import Memcached
from tests.backends.postgresql import PostgresServer
from tests.backends.redis import RedisServer


class Served(NamedTuple):
    """A server that runs: used by hand, and the URL of the store on it."""

    raw: Raw
    store: Store
    fill: Callable[[Records], None]
    """Adds records (key, value, expires_at) in bulk, as the store would keep them."""


@contextmanager
def served(*names: str) -> Iterator[dict[str, Served]]:
    """Start those of the servers that are installed; yield them by name."""
    with ExitStack() as stack:
        found = {}
        for name in names:
            try:
                found[name] = _START[name](stack)
            except pytest.skip.Exception as missing:
                print(missing, file=sys.stderr)
        yield found


def _redis(stack: ExitStack) -> Served:
    server = stack.enter_context(RedisServer())
    client = stack.enter_context(redis.Redis(unix_socket_path=str(server.socket)))
    store = open_store(f"unix://{server.socket}")

    def fill(records: Records) -> None:
        with client.pipeline(transaction=False) as pipeline:
            for number, (key, value, expires_at) in enumerate(records, 1):
                pipeline.set(f"session:{key}", token_bytes(8) + expires_at.to_bytes(5) + b"\0" + value, exat=expires_at)
                if number % 5000 == 0:
                    pipeline.execute()
            pipeline.execute()

    def get(key: str) -> bytes:
        value: Any = client.get(key)
        return bytes(value)

    return Served(Raw(get, client.set), store, fill)


def _postgresql(stack: ExitStack) -> Served:
    server = stack.enter_context(PostgresServer())
    connection = stack.enter_context(psycopg.connect(server.url().replace("+psycopg", ""), autocommit=True))
    connection.execute("CREATE TABLE raw (key TEXT PRIMARY KEY, value BYTEA NOT NULL)")
    store = open_store(server.url())
    store.load(NOBODY[:12])  # makes the table

    def get(key: str) -> bytes:
        row = connection.execute("SELECT value FROM raw WHERE key = %s", (key,)).fetchone()
        assert row is not None
        return bytes(row[0])

    def put(key: str, value: bytes) -> object:
        return connection.execute("UPDATE raw SET value = %s WHERE key = %s", (value, key))

    def fill(records: Records) -> None:
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY sessions (key, value, version, expires_at, sweep_at) FROM STDIN") as copy,
        ):
            for key, value, expires_at in records:
                copy.write_row((key, value, 1, expires_at, expires_at + 300))
        connection.execute("VACUUM ANALYZE sessions")

    def add(key: str, value: bytes) -> object:
        return connection.execute("INSERT INTO raw VALUES (%s, %s)", (key, value))

    return Served(Raw(get, put, add), store, fill)


def _memcached(stack: ExitStack) -> Served:
    server = stack.enter_context(Memcached(unix=True))
    client = Client(server.address, no_delay=True)
    stack.callback(client.close)
    store = open_store(f"memcached://{server.address}")

    def fill(records: Records) -> None:
        raise NotImplementedError("memcached keeps what fits into its memory")

    return Served(Raw(client.get, lambda key, value: client.set(key, value, noreply=False)), store, fill)


_START: Mapping[str, Callable[[ExitStack], Served]] = {
    "Redis": _redis,
    "PostgreSQL": _postgresql,
    "memcached": _memcached,
}
