"""What the lab remembers of its visitors beside their sessions, in a SQLite file that all worker processes share."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from examples.lab.trace import Trace

_SCHEMA = """
CREATE TABLE IF NOT EXISTS traces (id INTEGER PRIMARY KEY, visitor TEXT, run TEXT, at REAL, trace TEXT);
CREATE INDEX IF NOT EXISTS traces_by_visitor ON traces (visitor, run, id);
CREATE TABLE IF NOT EXISTS results (visitor TEXT, name TEXT, at REAL, result TEXT, PRIMARY KEY (visitor, name));
CREATE TABLE IF NOT EXISTS arrivals (run TEXT, name TEXT, at REAL, PRIMARY KEY (run, name));
CREATE TABLE IF NOT EXISTS naive (run TEXT PRIMARY KEY, at REAL, names TEXT);
"""
_TABLES = ("traces", "results", "arrivals", "naive")
_KEPT_FOR = 3600
_CLEAN_EVERY = 64


class Notebook:
    """Traces and results by visitor, and what an experiment's requests tell each other. All is gone after an hour."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch(0o600)
        path.chmod(0o600)
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)

    def add(self, visitor: str, trace: "Trace") -> None:
        with self._connection() as connection:
            row = (visitor, trace.run, trace.at, json.dumps(asdict(trace)))
            cursor = connection.execute("INSERT INTO traces (visitor, run, at, trace) VALUES (?, ?, ?, ?)", row)
            if (cursor.lastrowid or 0) % _CLEAN_EVERY == 0:
                for table in _TABLES:
                    connection.execute(f"DELETE FROM {table} WHERE at < ?", (time.time() - _KEPT_FOR,))  # noqa: S608 - a name of ours

    def traces(self, visitor: str, *, most: int = 30) -> list[dict[str, Any]]:
        """Return the last requests that a visitor's browser made by itself, the newest first."""
        sql = "SELECT trace FROM traces WHERE visitor = ? AND run = '' ORDER BY id DESC LIMIT ?"
        with self._connection() as connection:
            return [json.loads(text) for (text,) in connection.execute(sql, (visitor, most))]

    def traces_of(self, visitor: str, run: str, *, most: int = 12) -> list[dict[str, Any]]:
        """Return the requests of one experiment, the first one first."""
        sql = "SELECT trace FROM traces WHERE visitor = ? AND run = ? ORDER BY id LIMIT ?"
        with self._connection() as connection:
            return [json.loads(text) for (text,) in connection.execute(sql, (visitor, run, most))]

    def keep_result(self, visitor: str, name: str, result: dict[str, Any]) -> None:
        with self._connection() as connection:
            row = (visitor, name, time.time(), json.dumps(result))
            connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?)", row)

    def results(self, visitor: str) -> dict[str, dict[str, Any]]:
        """Return what the visitor's experiments have shown, by their names."""
        with self._connection() as connection:
            rows = connection.execute("SELECT name, at, result FROM results WHERE visitor = ?", (visitor,))
            return {name: {"at": at, **json.loads(result)} for name, at, result in rows}

    def arrive(self, run: str, name: str) -> None:
        """A request of an experiment has loaded the session."""
        with self._connection() as connection:
            connection.execute("INSERT OR REPLACE INTO arrivals VALUES (?, ?, ?)", (run, name, time.time()))

    def arrived(self, run: str) -> int:
        with self._connection() as connection:
            found = connection.execute("SELECT count(*) FROM arrivals WHERE run = ?", (run,)).fetchone()
            return int(found[0])

    def naive_load(self, run: str) -> list[str]:
        """Load what the last writer left, as a session layer without compare-and-set does."""
        with self._connection() as connection:
            found = connection.execute("SELECT names FROM naive WHERE run = ?", (run,)).fetchone()
            return list(json.loads(found[0])) if found else []

    def naive_save(self, run: str, names: list[str]) -> None:
        """Write the whole over whatever is there now."""
        with self._connection() as connection:
            connection.execute("INSERT OR REPLACE INTO naive VALUES (?, ?, ?)", (run, time.time(), json.dumps(names)))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=5, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = OFF")  # a power cut may take the traces
            yield connection
        finally:
            connection.close()
