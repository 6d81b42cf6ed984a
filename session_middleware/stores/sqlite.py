"""Sessions in a SQLite file: any number of processes on one machine, nothing to run beside the application."""

import ctypes
import gc
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock, RLock
from typing import Any, Final, Literal
from weakref import WeakSet

from session_middleware.exceptions import ConfigurationError, StoreUnavailable
from session_middleware.stores.base import Record, Stored, Version
from session_middleware.stores.forks import around_forks
from session_middleware.stores.sqlite_files import DatabaseFiles, Identity

log = logging.getLogger("session_middleware")

# "sess", so that a database of something else is recognised; the version is that of the tables below.
_APPLICATION_ID: Final = 0x73657373
_SCHEMA_VERSION: Final = 1

# The value comes last: it may go on in other pages, and damage to these must not make a record look expired.
# What is swept is found by sweep_at, which is expires_at when the row is written and may fall behind by _SLACK
# afterwards: so the common update, which moves the end of a session by seconds, touches no index.
_SCHEMA: Final = (
    """CREATE TABLE sessions (
        key TEXT PRIMARY KEY NOT NULL,
        version INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        sweep_at INTEGER NOT NULL,
        user_id TEXT,
        value BLOB NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX sessions_by_sweep_at ON sessions (sweep_at)",
    "CREATE INDEX sessions_by_user_id ON sessions (user_id) WHERE user_id IS NOT NULL",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
_SLACK: Final = 300

_CREATE: Final = f"""INSERT INTO sessions (key, value, version, expires_at, sweep_at, user_id)
    VALUES (?1, ?2, random() >> 8, ?3, ?3 + {_SLACK}, ?4)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version,
        expires_at = excluded.expires_at, sweep_at = excluded.sweep_at, user_id = excluded.user_id
    WHERE expires_at <= ?5"""  # noqa: S608 - a number
_LOAD: Final = "SELECT value, version FROM sessions WHERE key = ? AND expires_at > ?"
_UPDATE_UNINDEXED: Final = f"""UPDATE sessions SET value = ?1, version = version + 1, expires_at = ?2
    WHERE key = ?4 AND version = ?5 AND expires_at > ?6
    AND sweep_at BETWEEN ?2 AND ?2 + {2 * _SLACK} AND user_id IS ?3"""  # noqa: S608 - a number
_UPDATE: Final = f"""UPDATE sessions SET value = ?1, version = version + 1, expires_at = ?2,
    sweep_at = ?2 + {_SLACK}, user_id = ?3
    WHERE key = ?4 AND version = ?5 AND expires_at > ?6"""  # noqa: S608 - a number
_REMOVE: Final = "DELETE FROM sessions WHERE key = ? AND version = ? AND expires_at > ?"
_DELETE: Final = "DELETE FROM sessions WHERE key = ? AND expires_at > ?"
_SWEEP: Final = """DELETE FROM sessions
    WHERE key IN (SELECT key FROM sessions WHERE sweep_at <= ? ORDER BY sweep_at LIMIT ?)"""
_KEYS_OF: Final = "SELECT key FROM sessions WHERE user_id = ? AND expires_at > ?"
_STATE: Final = """SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)
    FROM pragma_application_id, pragma_user_version"""
_KEYS: Final = "SELECT key FROM sessions WHERE key > ? AND expires_at > ? ORDER BY key LIMIT 1000"

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_LONGEST_PAUSE: Final = 0.01
_random: Final = secrets.SystemRandom()

# How often a connection looks whether its files are still those at the path (seconds).
_LOOK_EVERY: Final = 1.0

# sqlite.org/wal.html#walresetbug: a checkpoint that races a commit can corrupt the file.
_WAL_RESET_FIXED: Final = (3, 51, 3)


class _Connection(sqlite3.Connection):
    """A connection that knows which process it belongs to, and which files."""

    pid = 0
    files: Identity = ()
    look_at = 0.0
    siblings: "WeakSet[_Connection]"

    def close(self) -> None:
        super().close()
        self.siblings.discard(self)

    def __del__(
        self,
        getpid: Callable[[], int] = os.getpid,
        leak: Callable[[object], None] = ctypes.pythonapi.Py_IncRef,
        boxed: Callable[[object], object] = ctypes.py_object,
    ) -> None:
        # A child that closes an inherited connection can damage the file, so there it is never let go of
        # (sqlite.org/howtocorrupt.html, section 2.6). One that could not be opened has no process.
        if self.pid not in (0, getpid()):
            leak(boxed(self))


class SQLiteStore:
    """Keeps sessions in one SQLite file, made at the first use with mode 0600, its companions too.

    ``durability="normal"``: a crash of the process loses nothing that was acknowledged; a power cut may lose the last
    moments, and never tears a record. ``"full"`` keeps these too, for one disk flush a write. ``timeout`` (seconds)
    bounds what one verb waits for other writers. The file must be on a local disk and belong to this store alone; if it
    is deleted, moved or replaced while it is open, this is noticed within a second of use.
    """

    _warned = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Literal["normal", "full"] = "normal",
        timeout: float = 1.0,
    ) -> None:
        if durability not in ("normal", "full"):
            raise ConfigurationError(f"durability={durability!r}: write 'normal' or 'full'")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 60:
            raise ConfigurationError(f"timeout={timeout!r}: write seconds, above 0 and up to 60")
        if not os.fspath(path) or os.fspath(path) == ":memory:":
            raise ConfigurationError(f"{os.fspath(path)!r} is not a file: write its path, or use MemoryStore()")
        self.path = Path(os.path.realpath(path))
        if self.path.is_dir():
            raise ConfigurationError(f"{self.path} is a directory: write the path of a file in it")
        if not self.path.parent.is_dir():
            raise ConfigurationError(f"{self.path}: there is no such directory; create it, or write another path")
        self._synchronous = durability
        self._timeout = timeout
        self._files = DatabaseFiles(self.path)
        self._idle: list[_Connection] = []
        self._connections: WeakSet[_Connection] = WeakSet()
        self._gate = RLock()
        self._turn = Lock()
        around_forks(
            self,
            before=SQLiteStore._before_fork,
            in_parent=SQLiteStore._after_fork_in_parent,
            in_child=SQLiteStore._after_fork_in_child,
        )
        if sqlite3.sqlite_version_info < _WAL_RESET_FIXED and not SQLiteStore._warned:
            SQLiteStore._warned = True
            log.warning(
                "SQLite %s can, very rarely, damage a file that several processes write to"
                " (sqlite.org/wal.html#walresetbug); 3.51.3 and later cannot",
                sqlite3.sqlite_version,
            )

    def create(self, key: str, record: Record) -> bool:
        return self._write(_CREATE, (key, *record, time.time())) == 1

    def load(self, key: str) -> Stored | None:
        rows = self._execute(_LOAD, (key, time.time()))[0]
        if not rows:
            return None
        stored = Stored._make(rows[0])
        if stored.value.__class__ is not bytes:
            raise self._unavailable("the record is damaged")
        return stored

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        now = time.time()
        if record.expires_at <= now:
            return self._write(_REMOVE, (key, version, now)) == 1
        parameters, started = (*record, key, version, now), time.monotonic()
        if self._write(_UPDATE_UNINDEXED, parameters, started) == 1:
            return True
        return self._write(_UPDATE, parameters, started) == 1

    def delete(self, key: str) -> bool:
        return self._write(_DELETE, (key, time.time())) == 1

    def sweep(self, limit: int) -> int:
        return self._write(_SWEEP, (time.time(), limit))

    def keys_of(self, user_id: str) -> list[str]:
        return [key for (key,) in self._execute(_KEYS_OF, (user_id, time.time()))[0]]

    def keys(self) -> Iterator[str]:
        rows = self._execute(_KEYS, ("", time.time()))[0]
        while rows:
            yield from (key for (key,) in rows)
            rows = self._execute(_KEYS, (rows[-1][0], time.time()))[0]

    def close(self) -> None:
        """Close the connections that are not in use now. The store opens others when it is used again."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _write(self, sql: str, parameters: tuple[object, ...], started: float | None = None) -> int:
        """Run one statement that writes; return how many rows it changed. *started*: when the verb began to wait."""
        # SQLite's lock goes to whoever asks at the right moment: threads that queue here do not starve each other.
        if started is None:
            started = time.monotonic()
        with self._turn:
            return self._execute(sql, parameters, started)[1]

    def _execute(self, sql: str, parameters: tuple[object, ...], started: float | None = None) -> tuple[list[Any], int]:
        """Run one statement, in a transaction of its own; return its rows and how many rows it changed."""
        now = time.monotonic()
        connection = self._connection(now)
        try:
            while True:
                try:
                    cursor = connection.execute(sql, parameters)
                    rows = cursor.fetchall()
                    break
                except sqlite3.Error as error:
                    if not self._may_wait(error, now if started is None else started):
                        raise
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._unavailable(error) from error
            raise
        self._idle.append(connection)
        return rows, cursor.rowcount

    def _may_wait(self, error: sqlite3.Error | OSError, started: float) -> bool:
        """Wait a moment if *error* is that another writes just now and there is time left; return whether it was so.

        SQLite's own waiting would be longer from time to time, and so lose against those who come later.
        """
        # An error that the module finds itself has no code.
        busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY
        if not busy or time.monotonic() - started > self._timeout:
            return False
        time.sleep(_random.uniform(0.0002, _LONGEST_PAUSE))
        return True

    def _connection(self, now: float) -> _Connection:
        """Take an idle connection of this process, or open one."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._open(now)
        if connection.pid != os.getpid():
            self._idle = []
            return self._open(now)
        if now >= connection.look_at:
            connection.look_at = now + _LOOK_EVERY
            if connection.files != self._files.identity():
                self._abandon(connection)
                raise self._unavailable("a file of the database was deleted or replaced while it was open")
        return connection

    def _abandon(self, connection: _Connection) -> None:
        """Close the database that is not, or not whole, at the path any more; let nothing of it mix with the next."""
        if connection.files[0] != self._files.identity()[0]:
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._files.discard_companions(connection.files)
        connection.close()
        self.close()

    def _before_fork(self) -> None:
        """Close every connection, those in use as soon as they are free.

        Closing them in the child would be wrong, and leaving them alone there is not enough: SQLite notes per process
        which locks it holds, and the child would inherit the note, but not the locks.
        """
        self._gate.acquire()
        deadline = time.monotonic() + 2 * self._timeout
        self.close()
        while self._connections and time.monotonic() < deadline:
            time.sleep(0.0005)
            self.close()
        if self._connections:
            gc.collect()  # one that was lost on the way, by an exception from outside, is not to delay every fork

    def _after_fork_in_parent(self) -> None:
        with suppress(RuntimeError):  # a store that was made while another thread forked has not been told before
            self._gate.release()

    def _after_fork_in_child(self) -> None:
        self._gate, self._turn = RLock(), Lock()

    def _open(self, started: float) -> _Connection:
        """Open the database, making it if there is none; wait for other processes that are making it."""
        while True:
            try:
                return self._connect()
            except (sqlite3.Error, OSError) as error:
                if not self._may_wait(error, started):
                    raise self._unavailable(error) from error

    def _connect(self) -> _Connection:
        self._files.make()
        found = self._files.identity()[0]
        with self._gate:
            connection = sqlite3.connect(
                self.path, timeout=0, isolation_level=None, check_same_thread=False, factory=_Connection
            )
            connection.pid, connection.siblings = os.getpid(), self._connections
            self._connections.add(connection)
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            self._make_schema(connection)
            connection.files = self._files.identity()
            if connection.files[0] != found:
                raise self._unavailable("the file was deleted or replaced while it was being opened")
            connection.look_at = time.monotonic() + _LOOK_EVERY
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_schema(self, connection: _Connection) -> None:
        """Make the tables if the database is empty; raise unless they are ours, and of a version that we know."""
        if self._is_ready(connection):
            return
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        if not self._is_ready(connection):
            for statement in _SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")

    def _is_ready(self, connection: _Connection) -> bool:
        application_id, version, tables = connection.execute(_STATE).fetchone()
        if application_id == _APPLICATION_ID and version == _SCHEMA_VERSION:
            return True
        if application_id == _APPLICATION_ID:
            raise self._unavailable(f"its tables have version {version}; this package knows version {_SCHEMA_VERSION}")
        if application_id or version or tables:
            raise self._unavailable("this is a database of something else; give the sessions a file of their own")
        return False

    def _unavailable(self, reason: object) -> StoreUnavailable:
        return StoreUnavailable(f"{self.path}: {reason}")
