"""Measures whether a cache of records in the process could beat the store's own read, if it asks each time for the version.

A revoked session opens nothing from the moment on at which ``revoke`` has returned, so a cache has to ask the store at every
read whether what it keeps is still right. What can be saved is the way of the value, and its unpacking.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.applications import data
from session_middleware import MemoryStore, SessionManager, open_store
from session_middleware.record import pack, pack_values, unpack, unpack_values
from session_middleware.stores.base import Record
from session_middleware.stores.redis import RedisStore
from session_middleware.stores.redis.scripts import script
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.stores.sqlalchemy.database import fetch_binary
from session_middleware.values import encoded
from tests.backends.postgresql import PostgresServer
from tests.backends.redis import RedisServer

KILOBYTES = (1, 10, 64)
KEY = "cachedcached"

OTHERWISE = script("""\
if redis.call('GETRANGE', KEYS[1], 0, 7) == ARGV[1] then return 1 end
return redis.call('GET', KEYS[1])""")

Calls = Mapping[str, Callable[[], object]]


def of_redis(store: RedisStore) -> Calls:
    """Return the reads to be compared: the store's own, of the version alone, and of the value if the version is another."""
    name = f"session:{KEY}".encode()

    def ask(*command: Any) -> object:
        return store._ask(name, (command,), time.monotonic() + 1)[0][0]

    nonce: Any = ask("GETRANGE", name, 0, 7)
    return {
        "load": partial(store.load, KEY),
        "version": partial(ask, "GETRANGE", name, 0, 12),
        "hit": partial(ask, "EVALSHA", OTHERWISE, 1, name, nonce),
        "miss": partial(ask, "EVALSHA", OTHERWISE, 1, name, bytes(8)),
    }


def of_postgresql(store: SQLAlchemyStore) -> Calls:
    """The same; the database is asked for the value only if the version is another."""
    found = store.load(KEY)
    assert found is not None
    otherwise = "SELECT CASE WHEN version <> %s THEN value END, version FROM sessions WHERE key = %s AND expires_at > %s"

    def ask(sql: str, *parameters: object) -> object:
        store._budget.start()
        (rows, _) = store._ask(fetch_binary, sql, (*parameters, int(time.time())))
        return rows

    return {
        "load": partial(store.load, KEY),
        "version": partial(ask, "SELECT version FROM sessions WHERE key = %s AND expires_at > %s", KEY),
        "hit": partial(ask, otherwise, found.version, KEY),
        "miss": partial(ask, otherwise, 0, KEY),
    }


def record(kilobytes: int) -> bytes:
    manager = SessionManager(MemoryStore())
    beginning = manager.new()._replace(current=(os.urandom(16),))
    return pack(beginning, pack_values(encoded(data(kilobytes), manager.codec)))


def unpacked(value: bytes) -> object:
    """Do what is done with a value before the first of the session's values is touched."""
    found = unpack(value)
    assert isinstance(found, tuple)
    return unpack_values(found[1])


def microseconds(calls: Calls, rounds: int, times: int) -> dict[str, float]:
    """Return the least mean of short batches that take turns."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(times):
                call()
            best[name] = min(best[name], (time.perf_counter() - start) / times * 1e6)
    return {name: round(number, 1) for name, number in best.items()}


def worth(found: Mapping[str, float]) -> float | None:
    """Return the share of reads that must find what is cached, so that a cache saves time; ``None`` if none is enough."""
    gain = found["load"] + found["unpacking"] - found["hit"]
    loss = max(0.0, found["miss"] - found["load"])
    return round(loss / (gain + loss), 2) if gain > 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.read_cache", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--calls", type=int, default=100, help="calls of a batch")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/read_cache.json"))
    options = parser.parse_args()
    results: dict[str, dict[str, dict[str, float | None]]] = {}
    with ExitStack() as stack:
        redis_server, database = stack.enter_context(RedisServer()), stack.enter_context(PostgresServer())
        stores = {"Redis": open_store(redis_server.url), "PostgreSQL": open_store(database.url())}
        for name, store in stores.items():
            results[name] = {}
            for kilobytes in KILOBYTES:
                value = record(kilobytes)
                store.delete(KEY)
                assert store.create(KEY, Record(value, int(time.time()) + 3600, "alice"))
                calls = of_redis(store) if isinstance(store, RedisStore) else of_postgresql(store)  # type: ignore[arg-type]
                unpacking = {"unpacking": partial(unpacked, value)}
                found: dict[str, float | None] = dict(microseconds({**calls, **unpacking}, options.rounds, options.calls))
                found["worth from"] = worth(found)  # type: ignore[arg-type]
                results[name][f"{kilobytes} KB"] = found
                print(name, kilobytes, "KB", found, flush=True)
    options.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
