"""The connections to one SQLite file: opened when needed, used again, never carried over a fork. It knows no verb."""

import ctypes
import errno
import gc
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import RLock
from typing import Final
from weakref import WeakSet

from session_middleware.clock import steady_clock
from session_middleware.exceptions import SessionError, StoreUnavailable, StoreUnusable
from session_middleware.stores.forks import around_forks
from session_middleware.stores.sqlite.files import PAGE_SIZE, DatabaseFiles, Identity

log = logging.getLogger("session_middleware")

# "sess", so that a database of something else is recognised; the version is that of the tables below.
_APPLICATION_ID: Final = 0x73657373
_SCHEMA_VERSION: Final = 1

# The id is made of the key (see the verbs): among a million rows one is found by a number through pages that stay in the
# cache, by a text through pages that do not.
# The value comes last: it may go on in other pages, and damage to these must not make a record look expired.
# What is swept is found by sweep_at, which is never before expires_at, and seldom changes when that does.
_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS sessions (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL,
        version INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        sweep_at INTEGER NOT NULL,
        user_id TEXT,
        value BLOB NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS sessions_by_sweep_at ON sessions (sweep_at)",
    "CREATE INDEX IF NOT EXISTS sessions_by_user_id ON sessions (user_id) WHERE user_id IS NOT NULL",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
_STATE: Final = """SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)
    FROM pragma_application_id, pragma_user_version"""

# What a dump keeps of a database: its tables, but not the two numbers.
_NAMES: Final = {"sessions", "sessions_by_sweep_at", "sessions_by_user_id", "sessions_anonymous"}
_COLUMNS: Final = ["id", "key", "version", "expires_at", "sweep_at", "user_id", "value"]

# That much stays of a -wal file that a long reader has let grow (bytes).
_WAL_KEPT: Final = 4 * 1024 * 1024

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_LONGEST_PAUSE: Final = 0.01
_random: Final = secrets.SystemRandom()

# How often a connection looks whether its files are still those at the path (seconds).
_LOOK_EVERY: Final = 1.0


# How long connections rest before they are closed (seconds).
_REST: Final = 60.0

# What does not pass by itself.
_LASTING: Final = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY)
_LASTING_ERRORS: Final = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR),
    *(errno.ELOOP, errno.ENAMETOOLONG),
)

# So many files SQLite has open at most while it opens a database: the file, its companions, the directory, one of its own.
_FILES: Final = 8


class Connection(sqlite3.Connection):
    """A connection that knows which process it belongs to, and which files."""

    pid = 0
    files: Identity = ()
    look_at = 0.0
    siblings: "WeakSet[Connection]"

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


class Cursor(sqlite3.Cursor):
    """The one cursor of a connection. To make another one for each statement would take as long as a tenth of a read."""

    connection: Connection


class Connections:
    """Hands out connections to the file at *path*, each to one user at a time, making file and tables if there are none.

    A connection is handed out as its cursor. *timeout* (seconds) bounds what is waited for other processes, from the moment
    on that the caller names. No more than *max_idle* stay open unused, and none for long.
    """

    def __init__(self, path: Path, *, durability: str, timeout: float, shared: bool, max_idle: int | None) -> None:
        self.timeout = timeout
        self.idle: list[Cursor] = []
        self.known: WeakSet[Connection] = WeakSet()
        self.give_back: Callable[[Cursor], None] = self.idle.append if max_idle is None else self._keep_or_close
        self._max_idle = max_idle
        self._resting, self._look_at_rest = 0, 0.0
        self._path = path
        self._synchronous = durability
        self._files = DatabaseFiles(path, shared)
        self._gate = RLock()
        self._warned_of_journal = False
        around_forks(
            self,
            before=Connections._before_fork,
            in_parent=Connections._after_fork_in_parent,
            in_child=Connections._after_fork_in_child,
        )

    def take(self, started: float) -> Cursor:
        """Return the cursor of an idle connection of this process, or open one; the caller gives it back, or closes it."""
        try:
            cursor = self.idle.pop()
            while (connection := cursor.connection).pid != os.getpid():
                cursor = self.idle.pop()
        except IndexError:
            self._resting = 0
            return self._open(started)
        if (resting := len(self.idle)) < self._resting:
            self._resting = resting
        if started >= connection.look_at:
            self._end_rest(started)
            if self._files.is_empty():
                # Closing it would write what its -wal holds into the empty file, and let that pass for a whole one.
                self.give_back(cursor)
                raise self.unavailable("the file was emptied while it was open: restore it, or remove it")
            connection.look_at = started + _LOOK_EVERY
            if connection.files != self._files.identity():
                self._abandon(connection)
                raise self.unavailable("a file of the database was deleted or replaced while it was open")
        return cursor

    def close(self) -> None:
        """Close the connections that are not in use now."""
        with suppress(IndexError):
            while True:
                self.idle.pop().connection.close()

    def _keep_or_close(self, cursor: Cursor) -> None:
        if len(self.idle) < (self._max_idle or 0):
            self.idle.append(cursor)
        else:
            cursor.connection.close()

    def _end_rest(self, now: float) -> None:
        """Close as many connections as nobody has needed since this was last done: those at the bottom have rested."""
        if now >= self._look_at_rest:
            self._look_at_rest = now + _REST
            resting, self._resting = self._resting, len(self.idle)
            with suppress(IndexError):
                for _ in range(resting):
                    self.idle.pop(0).connection.close()

    def may_wait(self, error: Exception, started: float) -> bool:
        """Wait a moment if *error* is that another writes just now and there is time left; return whether it was so.

        SQLite's own waiting would be longer from time to time, and so lose against those who come later.
        """
        # An error that the module finds itself has no code.
        busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY
        if not busy or (left := self.left(started)) <= 0:
            return False
        time.sleep(min(left, _random.uniform(0.0002, _LONGEST_PAUSE)))
        return True

    def room(self) -> tuple[int, int]:
        """Return how many bytes are free where the file is, and how many there are in all."""
        found = os.statvfs(self._path.parent)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def left(self, started: float) -> float:
        """Return how many seconds of the timeout are left, 0 if none are."""
        return max(0.0, started + self.timeout - steady_clock())

    def unavailable(self, reason: object) -> StoreUnavailable:
        return StoreUnavailable(f"{self._path}: {_said(reason)}")

    def _abandon(self, connection: Connection) -> None:
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
        deadline = steady_clock() + 2 * self.timeout
        self.close()
        while self.known and steady_clock() < deadline:
            time.sleep(0.0005)
            self.close()
        if self.known:
            gc.collect()  # one that was lost on the way, by an exception from outside, is not to delay every fork

    def _after_fork_in_parent(self) -> None:
        with suppress(RuntimeError):  # a store that was made while another thread forked has not been told before
            self._gate.release()

    def _after_fork_in_child(self) -> None:
        self._gate = RLock()

    def _open(self, started: float) -> Cursor:
        """Open the database, making it if there is none; wait for other processes that are making it."""
        while True:
            try:
                return self._connect().cursor(Cursor)
            except SessionError:
                raise
            except Exception as error:
                if not self.may_wait(error, started):
                    kind = StoreUnusable if _lasts(error) else StoreUnavailable
                    raise kind(f"{self._path}: {_said(error)}") from error

    def _connect(self) -> Connection:
        with self._gate:
            self._files.make()
            found = self._files.identity()[0]
            connection = sqlite3.connect(
                self._path, timeout=0, isolation_level=None, check_same_thread=False, factory=Connection
            )
            connection.pid, connection.siblings = os.getpid(), self.known
            self.known.add(connection)
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            self._make_schema(connection)
            connection.files = self._files.identity()
            if connection.files[0] != found:
                raise self.unavailable("the file was deleted or replaced while it was being opened")
            connection.look_at = steady_clock() + _LOOK_EVERY
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_schema(self, connection: Connection) -> None:
        """Make the tables if the database is empty; raise unless they are ours, and of a version that we know."""
        if is_ready := self._is_ready(connection):
            # A copy, or who has opened the file with other settings, may have left it without a write-ahead log.
            with suppress(sqlite3.OperationalError):  # others are using it just now; it works without
                self._use_log(connection)
                connection.execute(_STATE)  # a first look makes the companions of the log, which are known from now on
        else:
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            self._use_log(connection)
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT}")
        if is_ready:
            return
        connection.execute("BEGIN IMMEDIATE")
        if not self._is_ready(connection):
            for statement in _SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")

    def _use_log(self, connection: Connection) -> None:
        (journal,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if journal != "wal" and not self._warned_of_journal:
            self._warned_of_journal = True
            log.warning(
                "%s: this file system has no write-ahead log (journal_mode is %s), so readers and writers wait for each"
                " other; put the file on a local disk",
                self._path,
                journal,
            )

    def _is_ready(self, connection: Connection) -> bool:
        application_id, version, tables = connection.execute(_STATE).fetchone()
        if application_id == _APPLICATION_ID and version == _SCHEMA_VERSION:
            return True
        if application_id == _APPLICATION_ID:
            raise self._unusable(f"its tables have version {version}; this package knows version {_SCHEMA_VERSION}")
        if application_id or version or (tables and not _is_dump(connection)):
            raise self._unusable("this is a database of something else; give the sessions a file of their own")
        return False

    def _unusable(self, reason: str) -> StoreUnusable:
        return StoreUnusable(f"{self._path}: {reason}")


def _is_dump(connection: Connection) -> bool:
    """Tell whether the tables are ours, as a dump makes them again: it keeps neither the application's id nor a version."""
    names = {
        name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'")
    }
    columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info('sessions') ORDER BY cid")]
    return names <= _NAMES and columns == _COLUMNS


def _said(reason: object) -> object:
    """Return what is told; of an error that the driver is not known to raise its kind alone, for it may quote values."""
    return reason if isinstance(reason, str | sqlite3.Error | OSError) else type(reason).__name__


def _lasts(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _LASTING_ERRORS
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    # SQLite says that it cannot open a file also when this process has too many open.
    return code in _LASTING and (code != sqlite3.SQLITE_CANTOPEN or _may_open_files())


def _may_open_files() -> bool:
    """Tell whether this process may open as many files more as SQLite needs."""
    with ExitStack() as opened:
        try:
            for _ in range(_FILES):
                opened.enter_context(open(os.devnull, "rb"))  # noqa: PTH123 - no Path is to be made of it
        except OSError:
            return False
    return True
