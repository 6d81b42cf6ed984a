"""Fills a store with sessions, many at a time: by the store's own verbs a million would take minutes."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from benchmarks.applications import DATA
from session_middleware import MsgpackCodec, tokens
from session_middleware.record import Envelope, pack
from session_middleware.stores.sqlite import row_of

Row = tuple[int, str, bytes, int, int, int, None]

KEPT = 20_000

_INSERT = "INSERT INTO sessions (id, key, value, version, expires_at, sweep_at, user_id) VALUES (?, ?, ?, ?, ?, ?, ?)"


def fill(path: Path, count: int) -> list[str]:
    """Add *count* sessions that hold DATA to the SQLite store at *path*; return the tokens of at most KEPT, at random."""
    key_of = tokens.key_function("session")
    now = time.time()
    envelope = Envelope(None, now, now, 3600.0, 86400.0, False)
    payload = MsgpackCodec().encode(DATA)
    kept: list[str] = []
    keep = Random(count)

    def rows() -> Iterator[Row]:
        for _ in range(count):
            token = tokens.new()
            key = key_of(token)
            if count <= KEPT or keep.random() < KEPT / count:
                kept.append(token)
            end = int(envelope.expires_at) + 1
            yield row_of(key), key, pack(key, envelope, payload), 1, end, end + 300, None

    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.executemany(_INSERT, rows())
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return kept
