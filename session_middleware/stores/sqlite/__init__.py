"""Sessions in a SQLite file that any number of processes on one machine share: the verbs. It opens no connection itself."""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from threading import RLock
from typing import Any, Final, Literal, Self

from session_middleware.clock import steady_clock
from session_middleware.exceptions import ConfigurationError, StoreUnavailable
from session_middleware.stores.base import Health, Record, Stored, Swept, Version
from session_middleware.stores.forks import around_forks
from session_middleware.stores.sqlite.connections import Connections
from session_middleware.stores.urls import number, options, path_alone, refuse_unknown, split

log = logging.getLogger("session_middleware")

# sweep_at is expires_at + _SLACK when the row is written, and stays as long as it is no more than _SLACK away from that:
# so the common update, which moves the end of a session by seconds, touches no index.
_SLACK: Final = 300

# Placeholders without numbers: Python 3.12.0 to 3.12.3 takes others for named ones, and warns.
_CREATE: Final = f"""INSERT INTO sessions (id, key, value, version, expires_at, sweep_at, user_id)
    VALUES (?, ?, ?, random() >> 8, ?, ? + {_SLACK}, ?)
    ON CONFLICT (id) DO UPDATE SET key = excluded.key, value = excluded.value, version = excluded.version,
        expires_at = excluded.expires_at, sweep_at = excluded.sweep_at, user_id = excluded.user_id
    WHERE expires_at <= ?"""  # noqa: S608 - a number
# A value of another type is what damage made of one: it becomes the empty value, which is no record of anybody.
_LOAD: Final = """SELECT CASE typeof(value) WHEN 'blob' THEN value ELSE x'' END, version FROM sessions
    WHERE id = ? AND key = ? AND expires_at > ?"""
_LOAD_WHOLE: Final = """SELECT value, expires_at, user_id, version FROM sessions
    WHERE id = ? AND key = ? AND expires_at > ? AND typeof(value) = 'blob'"""
_UPDATE_UNINDEXED: Final = f"""UPDATE sessions SET value = ?, version = version + 1, expires_at = ?
    WHERE id = ? AND key = ? AND version = ? AND expires_at > ?
    AND sweep_at - ? BETWEEN 0 AND {2 * _SLACK} AND user_id IS ?"""  # noqa: S608 - a number
_UPDATE: Final = f"""UPDATE sessions SET value = ?, version = version + 1, expires_at = ?,
    sweep_at = ? + {_SLACK}, user_id = ?
    WHERE id = ? AND key = ? AND version = ? AND expires_at > ?"""  # noqa: S608 - a number
_REMOVE: Final = "DELETE FROM sessions WHERE id = ? AND key = ? AND version = ? AND expires_at > ?"
_DELETE: Final = "DELETE FROM sessions WHERE id = ? AND key = ? AND expires_at > ?"
_SWEEP: Final = """DELETE FROM sessions
    WHERE id IN (SELECT id FROM sessions WHERE sweep_at <= ? ORDER BY sweep_at LIMIT ?) RETURNING key, user_id"""
# First those that would end first, by an index that a mere use leaves alone.
_INDEX_ANONYMOUS: Final = "CREATE INDEX IF NOT EXISTS sessions_anonymous ON sessions (sweep_at) WHERE user_id IS NULL"
_DROP_ANONYMOUS: Final = """DELETE FROM sessions
    WHERE id IN (SELECT id FROM sessions WHERE user_id IS NULL ORDER BY sweep_at LIMIT
        max(0, min(1000, (SELECT count(*) FROM sessions WHERE user_id IS NULL) - ?)))"""
# To count them takes a while: so many are made between two counts.
_COUNT_EVERY: Final = 50
# Dropped sessions are logged at once, then at most this often (seconds).
_LOG_INTERVAL: Final = 60
# How many rows are listed in one go. Those that have expired are among them: to pass over such rows would take as long as
# there are of them.
_PAGE: Final = 1000
_LIST: Final = "SELECT id, CASE WHEN expires_at > ? THEN key END FROM sessions"
_KEYS_OF: Final = f"{_LIST} WHERE user_id = ? AND id > ? ORDER BY id LIMIT {_PAGE}"
_KEYS: Final = f"{_LIST} WHERE id > ? ORDER BY id LIMIT {_PAGE}"

_MADE: Final = ("sessions", "sessions_by_sweep_at", "sessions_by_user_id")
_SCHEMA_OBJECTS: Final = f"SELECT count(*) FROM sqlite_master WHERE name IN {_MADE}"  # noqa: S608 - constants

# The largest prime that a row's number has room for.
_ROWS: Final = 2**63 - 25

# sqlite.org/wal.html#walresetbug: a checkpoint that races a commit can corrupt the file.
_WAL_RESET_FIXED: Final = (3, 51, 3)


def row_of(key: str) -> int:
    """Return the row of a key. Of two keys with one row, one pair in 2**63, the second is taken while the first lives."""
    return int.from_bytes(key.encode()) % _ROWS


class SQLiteStore:
    """Keeps sessions in one SQLite file, made at the first use with mode 0600, its companions too.

    ``durability="normal"``: a crash of the process loses nothing that was acknowledged; a power cut may lose the last
    moments, and never tears a record. ``"full"`` keeps these too, for one disk flush a write. ``timeout`` (seconds)
    bounds what one verb waits for other writers. The file must be on a local disk and belong to this store alone; if it
    is deleted, moved or replaced while it is open, this is noticed within a second of use. It must belong to the user who
    runs the process and be closed to all others, its companions too, unless *shared*. Connections that nobody has needed
    for a minute are closed; *max_idle*: no more than that many stay open unused. *max_anonymous*: of the sessions of no
    user about that many are kept, and the log says so when others are dropped: first those that would end first, to within
    ten minutes, whenever they were made or used. Sessions end by the clock of the process that looks.
    """

    _warned = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Literal["normal", "full"] = "normal",
        timeout: float = 1.0,
        shared: bool = False,
        max_idle: int | None = None,
        max_anonymous: int | None = None,
    ) -> None:
        if durability not in ("normal", "full"):
            raise ConfigurationError(f"durability={durability!r}: write 'normal' or 'full'")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 60:
            raise ConfigurationError(f"timeout={timeout!r}: write seconds, above 0 and up to 60")
        if not isinstance(shared, bool):
            raise ConfigurationError(f"shared={shared!r}: write True or False")
        for name, most in (("max_idle", max_idle), ("max_anonymous", max_anonymous)):
            if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
                raise ConfigurationError(f"{name}={most!r}: write a whole number above 0, or None")
        if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str) or "\0" in os.fspath(path):
            raise ConfigurationError(f"{path!r} is not the path of a file: write a str or a pathlib.Path, without NUL")
        if not os.fspath(path) or os.fspath(path) == ":memory:":
            raise ConfigurationError(f"{os.fspath(path)!r} is not a file: write its path, or use MemoryStore()")
        try:
            self.path = Path(os.path.realpath(path))
        except FileNotFoundError:
            raise ConfigurationError(f"{os.fspath(path)!r}: the working directory is gone; write an absolute path") from None
        # Path.is_dir() raises for what no file system has, such as a name that is too long; this does not.
        if os.path.isdir(self.path):  # noqa: PTH112  # see above
            raise ConfigurationError(f"{self.path} is a directory: write the path of a file in it")
        if not os.path.isdir(self.path.parent):  # noqa: PTH112  # see above
            raise ConfigurationError(f"{self.path}: there is no such directory; create it, or write another path")
        self._connections = Connections(self.path, durability=durability, timeout=timeout, shared=shared, max_idle=max_idle)
        self._take, self._give_back = self._connections.take, self._connections.give_back
        self._turn = RLock()
        self._max_anonymous = max_anonymous
        self._anonymous, self._dropped, self._next_log = count(), 0, 0.0
        around_forks(self, in_child=SQLiteStore._after_fork)
        if sqlite3.sqlite_version_info < _WAL_RESET_FIXED and not SQLiteStore._warned:
            SQLiteStore._warned = True
            log.warning(
                "SQLite %s can, very rarely, damage a file that several processes write to"
                " (sqlite.org/wal.html#walresetbug); 3.51.3 and later cannot",
                sqlite3.sqlite_version,
            )

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the store of a URL such as ``sqlite:///name.sqlite3?durability=full``; see :func:`open_store`."""
        path = path_alone(url, "sqlite:///sessions.sqlite3")
        if path.strip("/") and not path.startswith("///"):
            raise ConfigurationError(f"sqlite:{path}: a path stands after three slashes; write sqlite:///{path}")
        found = options("sqlite", split(url).query)
        refuse_unknown("sqlite", found, ("durability", "timeout", "shared", "max_idle", "max_anonymous"))
        shared = found.get("shared", "false")
        if shared not in ("true", "false"):
            raise ConfigurationError(f"shared={shared!r}: write true or false")
        return cls(
            path.removeprefix("//").removeprefix("/"),
            durability=found.get("durability", "normal"),  # type: ignore[arg-type]  # the constructor checks it
            timeout=number(float, "timeout", found.get("timeout", "1")),
            shared=shared == "true",
            **{name: number(int, name, found[name]) for name in ("max_idle", "max_anonymous") if name in found},
        )

    def open(self) -> None:
        """Make the file and its tables unless they are there; keep nothing open.

        Raise :exc:`StoreUnusable` if that will not work however often it is tried, :exc:`StoreUnavailable` if not now.
        """
        self._give_back(self._take(steady_clock()))
        self.close()

    def __repr__(self) -> str:
        return f"SQLiteStore({os.fspath(self.path)!r})"

    def create(self, key: str, record: Record) -> bool:
        value, expires_at, user_id = record
        parameters = (row_of(key), key, value, expires_at, expires_at, user_id, time.time())
        created = self._write(_CREATE, parameters, steady_clock()) == 1
        if self._max_anonymous is not None and user_id is None and next(self._anonymous) % _COUNT_EVERY == 0:
            self._drop_anonymous(self._max_anonymous)
        return created

    def load(self, key: str) -> Stored | None:
        rows = self._execute(_LOAD, (row_of(key), key, time.time()), steady_clock())
        return tuple.__new__(Stored, rows[0]) if rows else None

    def load_whole(self, key: str) -> tuple[Record, Version] | None:
        rows = self._execute(_LOAD_WHOLE, (row_of(key), key, time.time()), steady_clock())
        return (Record(*rows[0][:3]), rows[0][3]) if rows else None

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        now, started = time.time(), steady_clock()
        value, expires_at, user_id = record
        if expires_at <= now:
            return self._write(_REMOVE, (row_of(key), key, version, now), started) == 1
        found = row_of(key), key, version, now
        if self._write(_UPDATE_UNINDEXED, (value, expires_at, *found, expires_at, user_id), started) == 1:
            return True
        return self._write(_UPDATE, (value, expires_at, expires_at, user_id, *found), started) == 1

    def delete(self, key: str) -> bool:
        return self._write(_DELETE, (row_of(key), key, time.time()), steady_clock()) == 1

    def sweep(self, limit: int) -> list[Swept]:
        rows = self._in_turn(_SWEEP, (time.time(), limit), steady_clock(), writing=False)
        return [Swept(*row) for row in rows if type(row[0]) is str]

    def health(self) -> Health:
        # Opening has looked at the tables; this is for a connection that was open before.
        rows = self._execute(_SCHEMA_OBJECTS, (), steady_clock())
        free, space = self._connections.room()
        return Health(
            "SQLite",
            version=sqlite3.sqlite_version,
            schema="complete" if rows[0][0] == len(_MADE) else "an index is missing",
            free_space=free,
            space=space,
        )

    def keys_of(self, user_id: str) -> Iterator[str]:
        return self._list(_KEYS_OF, user_id)

    def keys(self) -> Iterator[str]:
        return self._list(_KEYS)

    def close(self) -> None:
        """Close the connections that are not in use now. The store opens others when it is used again."""
        self._connections.close()

    def _drop_anonymous(self, most: int) -> None:
        started = steady_clock()
        try:
            self._write(_INDEX_ANONYMOUS, (), started)
            self._dropped += (dropped := self._write(_DROP_ANONYMOUS, (most,), started))
        except StoreUnavailable as error:  # what was to be created is there; this is tried again
            log.warning("could not drop sessions of no user: %s", error)
            return
        if dropped and started >= self._next_log:
            self._next_log = started + _LOG_INTERVAL
            log.warning("%s: more than %d sessions of no user: %d dropped so far", self.path, most, self._dropped)

    def _list(self, sql: str, *parameters: object) -> Iterator[str]:
        """Yield the unexpired keys that a statement finds, which is asked for page after page."""
        row, count = -1, _PAGE
        while count == _PAGE:
            page = self._execute(sql, (time.time(), *parameters, row), steady_clock())
            yield from (key for _, key in page if type(key) is str)
            before, count = row, len(page)
            if page and (row := page[-1][0]) <= before:  # in a damaged file, of which this would never see the end
                raise self._connections.unavailable("the rows are in disorder")

    def _write(self, sql: str, parameters: tuple[object, ...], started: float) -> int:
        """Run one statement that writes; return how many rows it changed."""
        count: int = self._in_turn(sql, parameters, started, writing=True)
        return count

    def _in_turn(self, sql: str, parameters: tuple[object, ...], started: float, *, writing: bool) -> Any:
        # SQLite's lock goes to whoever asks at the right moment: threads that queue here do not starve each other.
        turn = self._turn
        try:
            if not turn.acquire(False) and not turn.acquire(timeout=self._connections.left(started)):
                raise self._connections.unavailable("other threads were writing, or waiting to write, all the time")
            return self._execute(sql, parameters, started, writing)
        finally:
            # Whether this thread has the turn the lock itself knows best: an exception from outside may come right after
            # it was acquired. It may come after any call, too, so the release is the first.
            try:  # noqa: SIM105  # a call more
                turn.release()
            except RuntimeError:
                pass

    def _execute(self, sql: str, parameters: tuple[object, ...], started: float, writing: bool = False) -> Any:
        """Run one statement, in a transaction of its own; return its rows, or how many it changed if it is *writing*.

        *started* is when the verb began, by the monotonic clock: it waits for no longer than the timeout in all.
        """
        cursor = self._take(started)
        try:
            while True:
                try:
                    cursor.execute(sql, parameters)
                    result = cursor.rowcount if writing else cursor.fetchall()
                    break
                except sqlite3.Error as error:
                    if not self._connections.may_wait(error, started):
                        raise
        except BaseException as error:
            cursor.connection.close()
            if isinstance(error, Exception):
                raise self._connections.unavailable(error) from error
            raise
        self._give_back(cursor)
        return result

    def _after_fork(self) -> None:
        self._turn = RLock()
