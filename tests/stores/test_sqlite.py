"""SQLiteStore: the contract, and what is particular to it as long as nothing is wrong."""

import errno
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_middleware import ConfigurationError, Record, SQLiteStore, StoreUnavailable, StoreUnusable
from session_middleware.stores import sqlite as module
from session_middleware.testing import (
    ScannableContract,
    StoreContract,
    SweepableContract,
    UserIndexContract,
    a_key,
    a_record,
    created,
    filled,
    listed,
    loaded,
    race,
)
from tests.stopwatch import Stopwatch
from tests.stores.conftest import Script

SCHEMA_VERSION = 1

# Where time is not what is tested, a busy machine is waited for (seconds).
PATIENCE = 10.0


class TestSQLiteStore(StoreContract, SweepableContract, UserIndexContract, ScannableContract):
    @pytest.fixture
    def store(self, path: Path) -> Iterator[SQLiteStore]:
        store = SQLiteStore(path, timeout=PATIENCE)
        yield store
        store.close()


class TestDurableSQLiteStore(StoreContract):
    """With ``durability="full"``."""

    @pytest.fixture
    def store(self, path: Path) -> SQLiteStore:
        return SQLiteStore(path, durability="full", timeout=PATIENCE)


class TestSQLiteStoreInAnotherProcess(StoreContract, UserIndexContract):
    """What one store writes, another one at the same path finds: every verb goes to the next of two stores."""

    @pytest.fixture
    def store(self, path: Path) -> "Alternating":
        return Alternating(SQLiteStore(path, timeout=PATIENCE), SQLiteStore(path, timeout=PATIENCE))


class Alternating:
    """Asks two stores in turn."""

    def __init__(self, *stores: SQLiteStore) -> None:
        self._stores = stores
        self._turn = 0

    def __getattr__(self, verb: str) -> Any:
        self._turn += 1
        return getattr(self._stores[self._turn % 2], verb)

    create: Callable[..., Any]
    load: Callable[..., Any]
    update: Callable[..., Any]
    delete: Callable[..., Any]
    keys_of: Callable[..., Any]


def setting(store: SQLiteStore, name: str) -> object:
    """Return a setting of the connection that the store uses next."""
    store.load(a_key())
    return store._connections.idle[-1].execute(f"PRAGMA {name}").fetchone()[0]


# Settings and files


@pytest.mark.timed
def test_readers_do_not_wait_for_writers(sqlite: SQLiteStore, raw: sqlite3.Connection) -> None:
    """The journal is a write-ahead log: a read succeeds at once while another process writes."""
    key = a_key()
    created(sqlite, key)
    raw.execute("BEGIN IMMEDIATE")

    with Stopwatch() as watch:
        assert loaded(sqlite, key).value == b"value"
    assert watch.own < 0.25
    assert setting(sqlite, "journal_mode") == "wal"


@pytest.mark.parametrize(("durability", "synchronous"), [("normal", 1), ("full", 2)])
def test_durability_is_how_often_the_disk_is_flushed(path: Path, durability: Any, synchronous: int) -> None:
    """``PRAGMA synchronous`` is NORMAL, or FULL on demand, on every connection."""
    assert setting(SQLiteStore(path), "synchronous") == 1
    assert setting(SQLiteStore(path, durability=durability), "synchronous") == synchronous


def test_the_files_are_for_their_owner_only(path: Path) -> None:
    """F-S7: mode 0600, the companions too, under the most careless umask."""
    store, before = SQLiteStore(path), os.umask(0)
    try:
        created(store, a_key())
    finally:
        os.umask(before)

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {path.name: 0o600, f"{path.name}-wal": 0o600, f"{path.name}-shm": 0o600}


def test_a_dangling_link_is_followed(path: Path) -> None:
    """F-S7: the file that a link points to is made with mode 0600, too."""
    link = path.with_name("link")
    link.symlink_to(path)
    before = os.umask(0)
    try:
        created(SQLiteStore(link), a_key())
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("companion", ["", "-wal", "-shm"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_is_open_to_others_is_refused(companion: str, mode: int, path: Path) -> None:
    """F-S7: others may have read what is in it, or have written it; with its mode put right, or told so, it is used."""
    store, key = SQLiteStore(path), a_key()
    created(store, key)
    file = Path(f"{path}{companion}")
    file.chmod(mode)
    for refused in (SQLiteStore(path).load, SQLiteStore(path).delete):
        with pytest.raises(
            StoreUnusable, match=rf"{file} is open to other users \(mode {mode:o}\): chmod 600, .* shared=True"
        ):
            refused(key)
    assert loaded(SQLiteStore(path, shared=True), key).value == b"value"
    assert stat.S_IMODE(file.stat().st_mode) == mode

    file.chmod(0o600)
    assert loaded(SQLiteStore(path), key).value == b"value"


@pytest.mark.parametrize("companion", ["", "-wal", "-shm"])
def test_a_file_of_another_user_is_refused(companion: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F-S7: who made it can open it again, and sign in as anybody, whatever its mode is now."""
    key, file, look, uid = a_key(), f"{path}{companion}", os.stat, os.geteuid()
    live = SQLiteStore(path)
    created(live, key)

    def of_another(name: Any, **options: Any) -> os.stat_result:
        found = look(name, **options)
        return os.stat_result((*found[:4], uid + 1, *found[5:])) if os.fspath(name) == file else found

    monkeypatch.setattr(os, "stat", of_another)
    with pytest.raises(
        StoreUnusable, match=f"{file} belongs to the user with the number {uid + 1}, this process to {uid}: .* shared=True"
    ):
        SQLiteStore(path).load(key)
    assert loaded(SQLiteStore(path, shared=True), key).value == b"value"

    monkeypatch.delattr(os, "geteuid")  # a system where users have no numbers
    assert loaded(SQLiteStore(path), key).value == b"value"


def test_nothing_is_made_before_the_first_use(path: Path) -> None:
    """Constructing a store opens and creates nothing."""
    SQLiteStore(path)

    assert list(path.parent.iterdir()) == []


def test_it_can_be_closed_and_used_again(sqlite: SQLiteStore, path: Path) -> None:
    """Closing writes everything into the file, and is no end."""
    key = a_key()
    before = created(sqlite, key)
    sqlite.close()
    sqlite.close()

    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert loaded(sqlite, key) == before


def test_it_opens_at_most_one_connection_per_thread_at_work(sqlite: SQLiteStore) -> None:
    """Connections are used again: by whichever thread comes next."""
    for _ in range(20):
        created(sqlite, a_key())
    assert len(sqlite._connections.known) == 1

    race(*[lambda: [created(sqlite, a_key()) for _ in range(10)]] * 6)
    assert len(sqlite._connections.known) <= 7
    assert len(sqlite._connections.idle) == len(sqlite._connections.known)


def test_connections_that_nobody_needs_are_closed(sqlite: SQLiteStore) -> None:
    """Promise 13: after a burst, those that have rested for a minute; those that are in use one after the other stay."""
    connections, now = sqlite._connections, time.monotonic()
    connections.take(now)
    taken = [connections.take(now) for _ in range(9)]
    for cursor in taken:
        connections.give_back(cursor)
    connections.give_back(connections.take(now + 1))
    assert len(connections.idle) == 9

    for later in (61.5, 62, 122.5):
        two = [connections.take(now + later) for _ in range(2)]
        for cursor in two:
            connections.give_back(cursor)
    assert len(connections.idle) == 2
    assert sqlite.create(a_key(), a_record())


def test_no_more_connections_stay_open_than_wanted(path: Path) -> None:
    """``max_idle``: however many were needed at once."""
    store = SQLiteStore(path, max_idle=2)
    taken = [store._connections.take(time.monotonic()) for _ in range(5)]
    for cursor in taken:
        store._connections.give_back(cursor)

    assert len(store._connections.idle) == len(store._connections.known) == 2
    assert store.create(a_key(), a_record())


@pytest.mark.parametrize("version", ["walresetbug", None])
def test_a_sqlite_with_the_wal_reset_defect_is_said_once(
    version: str | None, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """F-S12: one warning a process for SQLite before 3.51.3, none from there on."""
    monkeypatch.setattr(SQLiteStore, "_warned", False)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2) if version else (3, 51, 3))
    for _ in range(3):
        SQLiteStore(path)

    assert [record.levelno for record in caplog.records] == [logging.WARNING] * (version is not None)
    assert all("3.51.3" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"durability": "extra"}, "durability='extra': write 'normal' or 'full'"),
        ({"timeout": 0}, "timeout=0: write seconds"),
        ({"timeout": 61}, "timeout=61: write seconds"),
        ({"timeout": True}, "timeout=True: write seconds"),
        ({"timeout": "1"}, "timeout='1': write seconds"),
        ({"timeout": float("nan")}, "timeout=nan: write seconds"),
        ({"shared": "no"}, "shared='no': write True or False"),
        ({"max_idle": 0}, "max_idle=0: write a whole number above 0, or None"),
        ({"max_anonymous": 0}, "max_anonymous=0: write a whole number above 0, or None"),
        ({"max_idle": True}, "max_idle=True: write a whole number"),
        ({"max_idle": "5"}, "max_idle='5': write a whole number"),
    ],
)
def test_options_that_cannot_work_do_not_start(path: Path, options: dict[str, Any], message: str) -> None:
    """Promise 15: and the error says what to write instead."""
    with pytest.raises(ConfigurationError, match=message):
        SQLiteStore(path, **options)


def test_paths_that_cannot_work_do_not_start(tmp_path: Path) -> None:
    """Promise 15: nothing, memory, a directory, and a directory that is not there."""
    for path, message in (
        ("", "is not a file"),
        (":memory:", "use MemoryStore"),
        (tmp_path, "is a directory"),
        (tmp_path / "missing" / "sessions.sqlite3", "there is no such directory"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            SQLiteStore(path)


def test_a_working_directory_that_is_gone_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 15: what a relative path would begin with is not there."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(
        ConfigurationError, match=r"'sessions\.sqlite3': the working directory is gone; write an absolute path"
    ):
        SQLiteStore("sessions.sqlite3")


class _BytesPath:
    def __fspath__(self) -> bytes:
        return b"sessions.sqlite3"


@pytest.mark.parametrize("path", [None, 5, b"sessions.sqlite3", _BytesPath(), "a\0b", Path("a\0b")])
def test_what_is_no_path_does_not_start(path: Any) -> None:
    """Promise 15: and the error says what to write instead."""
    with pytest.raises(ConfigurationError, match=r"is not the path of a file: write a str or a pathlib\.Path, without NUL"):
        SQLiteStore(path)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_a_file_system_without_hard_links_will_do(code: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F-S7, F-S8: the file is made in place there, with mode 0600, and by as many threads as come."""

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    store, before = SQLiteStore(path), os.umask(0)
    try:
        race(*[lambda: created(store, a_key())] * 4)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}-shm", f"{path.name}-wal"]
    assert len(list(store.keys())) == 4


def test_a_file_that_another_process_makes_meanwhile_is_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F-S8: whichever way it is made, whoever comes second takes the one that is there."""
    key, link = a_key(), os.link

    def meanwhile(fresh: Path, target: Path) -> None:
        monkeypatch.undo()
        created(SQLiteStore(path), key)
        link(fresh, target)

    monkeypatch.setattr(os, "link", meanwhile)
    assert loaded(SQLiteStore(path), key).value == b"value"


def test_a_file_system_without_a_write_ahead_log_is_said_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """F-S12: shown with a layer of SQLite that knows no shared memory, like some network file systems; it works."""
    connect = sqlite3.connect

    def without_shared_memory(database: Path, **options: Any) -> sqlite3.Connection:
        return connect(f"{database.as_uri()}?vfs=unix-dotfile", uri=True, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(sqlite3, "connect", without_shared_memory)
    monkeypatch.setattr(SQLiteStore, "_warned", True)
    store = SQLiteStore(path)
    for _ in range(2):
        created(store, a_key())
        store.close()
        path.unlink()

    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.messages[0].startswith(f"{path}: this file system has no write-ahead log (journal_mode is delete)")


def test_a_file_without_a_write_ahead_log_gets_it_back(sqlite: SQLiteStore, path: Path, raw: sqlite3.Connection) -> None:
    """A copy by ``VACUUM INTO`` has none, nor has a file that somebody has opened with other settings."""
    created(sqlite, key := a_key())
    sqlite.close()
    assert raw.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)

    assert loaded(sqlite, key).value == b"value"
    assert setting(sqlite, "journal_mode") == "wal"
    for connection in sqlite._connections.known:
        connection.look_at = 0.0
    assert loaded(sqlite, key).value == b"value"  # the files of the log are known for what they are


def test_a_file_that_others_use_without_a_write_ahead_log_is_used(sqlite: SQLiteStore, raw: sqlite3.Connection) -> None:
    """It gets it back when they are done."""
    created(sqlite, key := a_key())
    sqlite.close()
    raw.execute("PRAGMA journal_mode = DELETE")
    raw.execute("BEGIN")
    raw.execute("SELECT * FROM sessions").fetchall()

    assert loaded(sqlite, key).value == b"value"
    sqlite.close()
    raw.execute("COMMIT")
    assert setting(sqlite, "journal_mode") == "wal"


def test_a_long_reader_leaves_no_large_log(sqlite: SQLiteStore, path: Path, raw: sqlite3.Connection) -> None:
    """Promise 13: the -wal that had to grow meanwhile is cut when it is begun anew."""
    log = Path(f"{path}-wal")
    created(sqlite, a_key())
    raw.execute("BEGIN")
    raw.execute("SELECT * FROM sessions").fetchall()
    while log.stat().st_size < 12 * 1024 * 1024:
        created(sqlite, a_key(), a_record(bytes(200_000)))
    raw.execute("COMMIT")
    for _ in range(3):
        created(sqlite, a_key())

    assert log.stat().st_size <= 4 * 1024 * 1024


def test_anonymous_sessions_have_a_bound(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 13: ``max_anonymous``; those that were used longest ago go, no user's does, and one line a minute says so."""
    monkeypatch.setattr(SQLiteStore, "_warned", True)
    store = SQLiteStore(path, timeout=PATIENCE, max_anonymous=60)
    users = filled(store, 5, user_id="alice")
    keys = [a_key() for _ in range(201)]
    for number, key in enumerate(keys):
        store.create(key, a_record(expires_in=3600 + number))

    left = {*store.keys()} - {*users}
    assert left == {*keys[-60:]}
    assert listed(store, "alice") == sorted(users)
    assert len(caplog.messages) == 1
    assert caplog.messages[0] == f"{path}: more than 60 sessions of no user: 41 dropped so far"
    assert "sessions_anonymous" in plan(store, module._DROP_ANONYMOUS)
    store.close()
    assert {*SQLiteStore(path).keys()} == {*left, *users}


def test_a_bound_that_cannot_be_kept_now_keeps_nobody_from_a_session(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was created is acknowledged, whatever becomes of the others."""
    monkeypatch.setattr(module, "_DROP_ANONYMOUS", "DELETE FROM elsewhere WHERE n = ?")
    store = SQLiteStore(path, max_anonymous=1)

    assert store.create(key := a_key(), a_record())
    assert store.load(key)
    assert f"could not drop sessions of no user: {path}: no such table" in caplog.messages[-1]


# The tables


def test_a_dump_is_used(path: Path, tmp_path: Path) -> None:
    """It holds our tables, but not the numbers by which we know them; also what ANALYZE has noted, or one index less."""
    store, key = SQLiteStore(path), a_key()
    created(store, key, a_record(user_id="alice"))
    setting(store, "user_version")
    store._connections.idle[-1].execute("ANALYZE")
    store.close()
    with sqlite3.connect(path) as connection:
        lines = list(connection.iterdump())
    connection.close()
    for number, left_out in enumerate(("nothing", "CREATE INDEX sessions_by_user_id")):
        restored = tmp_path / f"{number}.sqlite3"
        restored.touch(0o600)
        with sqlite3.connect(restored, isolation_level=None) as connection:
            connection.executescript("".join(line for line in lines if not line.startswith(left_out)))
        connection.close()
        store = SQLiteStore(restored)

        assert loaded(store, key).value == b"value"
        assert listed(store, "alice") == [key]
        assert setting(store, "user_version") == SCHEMA_VERSION
        assert setting(store, "journal_mode") == "wal"
        assert "sessions_by_user_id" in plan(store, module._KEYS_OF)
        store.close()


def test_sixteen_processes_make_one_schema(quick_directory: Path, script: Script) -> None:
    """F-S8: however many processes meet a file that is not there, each one can use it, and it is made once."""
    code = """
import multiprocessing, sys, logging
from session_middleware import SQLiteStore
from session_middleware.testing import a_key, a_record
logging.disable()

def use(start, path):
    store = SQLiteStore(path)
    start.wait()
    key = a_key()
    assert store.create(key, a_record(key.encode(), user_id="racer"))
    assert store.load(key).value == key.encode()

if __name__ == "__main__":
    start = multiprocessing.get_context("fork").Barrier(16)
    processes = [multiprocessing.get_context("fork").Process(target=use, args=(start, sys.argv[1])) for _ in range(16)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print([process.exitcode for process in processes])
"""
    for number in range(2):
        file = quick_directory / f"{number}.sqlite3"
        assert script(code, file) == str([0] * 16)

        store = SQLiteStore(file)
        assert len(listed(store, "racer")) == 16
        assert setting(store, "schema_version") == 3  # one table and two indexes, each made once
        assert setting(store, "user_version") == SCHEMA_VERSION
        assert setting(store, "integrity_check") == "ok"
        store.close()


def test_a_schema_that_another_process_made_meanwhile_is_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F-S8: whether there are tables is asked again under the lock."""
    live, store, answers = SQLiteStore(path), SQLiteStore(path), [False]
    created(live, a_key())
    opening = store._connections
    is_ready = opening._is_ready
    monkeypatch.setattr(opening, "_is_ready", lambda connection: answers.pop() if answers else is_ready(connection))

    assert store.create(a_key(), a_record())
    assert setting(store, "schema_version") == 3


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["PRAGMA user_version = 0"], "its tables have version 0; this package knows version 1"),
        (["PRAGMA user_version = 2"], "its tables have version 2; this package knows version 1"),
        (["PRAGMA application_id = 7"], "this is a database of something else; give the sessions a file of their own"),
        (
            ["PRAGMA application_id = 0", "PRAGMA user_version = 0", "CREATE TABLE other (n)"],
            "this is a database of something else",
        ),
        (
            ["PRAGMA application_id = 0", "PRAGMA user_version = 0", "ALTER TABLE sessions ADD COLUMN other"],
            "this is a database of something else",
        ),
    ],
)
def test_tables_that_it_does_not_know_are_left_alone(path: Path, statements: list[str], message: str) -> None:
    """F-S8: an older, a newer or a foreign database is refused by every verb, and nothing of it is changed."""
    key, store = a_key(), SQLiteStore(path)
    created(store, key)
    store.close()
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    before = path.read_bytes()
    store = SQLiteStore(path)

    for verb in (
        lambda: store.create(a_key(), a_record()),
        lambda: store.load(key),
        lambda: store.update(key, a_record(), version=1),
        lambda: store.delete(key),
        lambda: store.sweep(1),
        lambda: listed(store, "alice"),
        lambda: list(store.keys()),
    ):
        with pytest.raises(StoreUnavailable, match=f"{path}: {message}"):
            verb()
    store.close()
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_left_alone(path: Path) -> None:
    """F-S8: whatever stands in the file by mistake stays as it is, to the byte."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sessions (key TEXT, value BLOB)")
        connection.execute("INSERT INTO sessions VALUES ('key', 'theirs')")
    connection.close()
    path.chmod(0o600)
    before = path.read_bytes()

    with pytest.raises(StoreUnavailable, match="a database of something else"):
        SQLiteStore(path).create(a_key(), a_record())
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_two_keys_of_one_row_do_not_mix(sqlite: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 11: a key finds its own record and no other; one whose row is in use is taken until that record has ended."""
    monkeypatch.setattr(module, "row_of", lambda key: 7)
    one, other = a_key(), a_key()
    version = created(sqlite, one).version

    assert not sqlite.create(other, a_record())
    assert sqlite.load(other) is None
    assert not sqlite.update(other, a_record(), version=version)
    assert not sqlite.delete(other)
    assert list(sqlite.keys()) == [one]
    assert sqlite.update(one, a_record(expires_in=-10), version=version)
    assert created(sqlite, other).value == b"value"
    assert sqlite.load(one) is None


def plan(store: SQLiteStore, sql: str) -> str:
    """Return how SQLite runs a statement."""
    store.load(a_key())
    numbered = [number for number in range(1, 10) if f"?{number}" in sql]
    parameters = (None,) * max(numbered or [sql.count("?")])
    return "; ".join(row[3] for row in store._connections.idle[-1].execute(f"EXPLAIN QUERY PLAN {sql}", parameters))


@pytest.mark.parametrize(
    ("sql", "by"),
    [
        (module._LOAD, ["sessions USING INTEGER PRIMARY KEY (rowid=?)"]),
        (module._UPDATE, ["sessions USING INTEGER PRIMARY KEY (rowid=?)"]),
        (module._UPDATE_UNINDEXED, ["sessions USING INTEGER PRIMARY KEY (rowid=?)"]),
        (module._REMOVE, ["sessions USING INTEGER PRIMARY KEY (rowid=?)"]),
        (module._DELETE, ["sessions USING INTEGER PRIMARY KEY (rowid=?)"]),
        (module._SWEEP, ["sessions USING INTEGER PRIMARY KEY (rowid=?)", "INDEX sessions_by_sweep_at (sweep_at<?)"]),
        (module._KEYS_OF, ["INDEX sessions_by_user_id (user_id=? AND rowid>?)"]),
        (module._KEYS, ["sessions USING INTEGER PRIMARY KEY (rowid>?)"]),
    ],
)
def test_every_statement_goes_by_an_index(sqlite: SQLiteStore, sql: str, by: list[str]) -> None:
    """Promise 13: the cost of a verb does not grow with the number of sessions."""
    steps = plan(sqlite, sql)

    assert all(index in steps for index in by), steps
    assert "SCAN" not in steps
    assert "TEMP B-TREE" not in steps


def test_the_common_update_touches_no_index(sqlite: SQLiteStore) -> None:
    """Moving the end of a session by seconds leaves the time at which it is swept; moving it further does not."""

    def swept_at() -> int:
        ((at,),) = sqlite._connections.idle[-1].execute("SELECT sweep_at FROM sessions").fetchall()
        return int(at)

    key, now = a_key(), int(time.time())
    created(sqlite, key, Record(b"", now + 1000, "alice"))
    first = swept_at()
    assert first == now + 1300
    for end, user, after in (
        (now + 1300, "alice", first),
        (now + 900, "alice", first),
        (now + 1301, "alice", now + 1601),
        (now + 1000, "alice", now + 1300),
        (now + 1000, "bob", now + 1300),
        (now + 600, "bob", now + 900),
    ):
        assert sqlite.update(key, Record(b"", end, user), version=loaded(sqlite, key).version)
        assert swept_at() == after
        assert after >= end


def test_sweeping_takes_the_longest_expired_first(sqlite: SQLiteStore) -> None:
    """Promise 13: in batches, so that a sweep is a bounded share of a request's time."""
    ages = {a_key(): 1000 * number for number in range(1, 6)}
    for key, age in ages.items():
        sqlite.create(key, a_record(expires_in=-age))
    left = []
    for _ in ages:
        assert sqlite.sweep(1) == 1
        left.append(sqlite._connections.idle[-1].execute("SELECT count(*), min(expires_at) FROM sessions").fetchone())

    assert [count for count, _ in left] == [4, 3, 2, 1, 0]
    assert [end for _, end in left[:-1]] == sorted(end for _, end in left[:-1])


@pytest.mark.parametrize(
    "listing", [lambda store: store.keys(), lambda store: store.keys_of("alice")], ids=["all", "a user's"]
)
def test_a_listing_holds_nothing_between_two_pages(
    sqlite: SQLiteStore, raw: sqlite3.Connection, listing: Callable[[SQLiteStore], Iterator[str]]
) -> None:
    """Promise 13: no transaction is open, so nobody is stopped, and a page more does not depend on the one before."""
    sqlite._connections.timeout = PATIENCE
    keys = filled(sqlite, 2500, user_id="alice")
    found = listing(sqlite)
    first = next(found)

    assert not any(cursor.connection.in_transaction for cursor in sqlite._connections.idle)
    sqlite.close()
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert sqlite.delete(max(keys))
    assert {*keys} - {max(keys)} <= {first, *found} <= {*keys}


def test_a_page_reads_no_more_rows_than_are_in_it(
    sqlite: SQLiteStore, raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 13: also where all that there is has expired, and has not been swept."""
    sqlite.load(a_key())
    expired = ((module.row_of(key := a_key()), key) for _ in range(5000))
    raw.execute("BEGIN")
    raw.executemany("INSERT INTO sessions VALUES (?, ?, 1, 1000, 1300, 'alice', x'')", expired)
    raw.execute("COMMIT")
    execute, pages = sqlite._execute, []

    def noting(*arguments: Any) -> Any:
        pages.append(len(found := execute(*arguments)))
        return found

    monkeypatch.setattr(sqlite, "_execute", noting)
    assert list(sqlite.keys_of("alice")) == list(sqlite.keys()) == []
    assert pages == [1000] * 5 + [0] + [1000] * 5 + [0]


# The N-th step fails

VERBS: dict[str, Callable[[SQLiteStore, str, object], object]] = {
    "create": lambda store, key, version: store.create("n" * 12, Record(b"new" * 5000, 2**40, "bob")),
    "create over an expired record": lambda store, key, version: store.create("expired", Record(b"new", 2**40, "bob")),
    "update": lambda store, key, version: store.update(key, Record(b"new", 2**40, "alice"), version=version),
    "update of all": lambda store, key, version: store.update(key, Record(b"new", 2**41, "bob"), version=version),
    "update that removes": lambda store, key, version: store.update(key, Record(b"", 0, None), version=version),
    "delete": lambda store, key, version: store.delete(key),
    "sweep": lambda store, key, version: store.sweep(10),
}


def rows(connection: sqlite3.Connection) -> list[Any]:
    """Return everything but what chance decides."""
    return connection.execute("SELECT length(key), value, expires_at, user_id FROM sessions ORDER BY key").fetchall()


def tables(directory: Path) -> Iterator[tuple[SQLiteStore, str]]:
    """Yield stores that hold the same, each in a file of its own."""
    for number in range(1, 2000):
        store = SQLiteStore(directory / f"{number}.sqlite3")
        key = "k" * 12
        assert store.create(key, Record(b"old" * 3000, 2**40, "alice"))
        assert store.create("expired", Record(b"old", 1000, "alice"))
        yield store, key
        store.close()


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_fails_at_any_step_did_nothing_or_all(verb: str, quick_directory: Path) -> None:
    """F-S10: interrupted at the N-th step of SQLite's machine, for every N, a verb leaves what was or what was to be; when
    it reports success it is the latter."""
    states: list[tuple[bool, list[Any]]] = []
    for steps, (store, key) in enumerate(tables(quick_directory), 1):
        version, connection, left = loaded(store, key).version, store._connections.idle[-1].connection, steps

        def interrupt() -> bool:
            nonlocal left
            left -= 1
            return left == 0

        before = rows(connection)
        connection.set_progress_handler(interrupt, 1)
        try:
            done = bool(VERBS[verb](store, key, version))
            connection.set_progress_handler(None, 0)
        except StoreUnavailable:
            done = False
        store.load(key)
        states.append((done, rows(store._connections.idle[-1].connection)))
        assert setting(store, "integrity_check") == "ok"
        assert store.create(a_key(), a_record())
        if done:
            break

    after = states[-1][1]
    assert len(states) > 10
    assert before != after
    assert [done for done, _ in states] == [False] * (len(states) - 1) + [True]
    assert all(state in (before, after) for _, state in states)
    assert (False, before) in states
