"""Many sessions at a time: by the verbs of a store a million would take minutes."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TypeAlias

from benchmarks.applications import data
from session_middleware import MemoryStore, SessionManager
from session_middleware.record import pack, pack_values
from session_middleware.stores.sqlite import row_of
from session_middleware.tokens import Token, proof_function
from session_middleware.values import encoded

Records: TypeAlias = Iterator[tuple[str, bytes, int]]
"""Key, value and expiry (epoch seconds) of each."""

KEPT = 20_000


def population(count: int, kept: list[str]) -> Records:
    """Yield so many sessions of 1 KB; add the tokens of at most KEPT of them, at random, to *kept*."""
    manager = SessionManager(MemoryStore())
    proof_of = proof_function(manager.namespace)
    beginning, values = manager.new(), pack_values(encoded(data(1), manager.codec))
    expires_at = int(beginning.expires_at) + 1
    keep = Random(count)
    for _ in range(count):
        token = Token.new()
        if count <= KEPT or keep.random() < KEPT / count:
            kept.append(token.reveal())
        yield token.id, pack(beginning._replace(current=(proof_of(token),)), values), expires_at


def fill(path: Path, records: Records) -> None:
    """Add the records to the SQLite store at *path*."""
    sql = "INSERT INTO sessions (id, key, value, version, expires_at, sweep_at) VALUES (?, ?, ?, 1, ?, ?)"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.executemany(sql, ((row_of(key), key, value, end, end + 300) for key, value, end in records))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
