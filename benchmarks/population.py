"""Many sessions at a time: by the verbs of a store a million would take minutes."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TypeAlias

from benchmarks.applications import DATA
from session_middleware import MsgpackCodec, tokens
from session_middleware.record import Envelope, pack
from session_middleware.stores.sqlite import row_of

Records: TypeAlias = Iterator[tuple[str, bytes, int]]
"""Key, value and expiry (epoch seconds) of each."""

KEPT = 20_000


def population(count: int, kept: list[str]) -> Records:
    """Yield so many sessions that hold DATA; add the tokens of at most KEPT of them, at random, to *kept*."""
    key_of = tokens.key_function("session")
    now = time.time()
    envelope = Envelope(None, now, now, 3600.0, 86400.0, False)
    payload = MsgpackCodec().encode(DATA)
    expires_at = int(envelope.expires_at) + 1
    keep = Random(count)
    for _ in range(count):
        token = tokens.new()
        key = key_of(token)
        if count <= KEPT or keep.random() < KEPT / count:
            kept.append(token)
        yield key, pack(key, envelope, payload), expires_at


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
