"""The file of SQLiteStore: who may read it, what options it takes, and with which connections it is used."""

import errno
import logging
import os
import sqlite3
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from session_middleware import ConfigurationError, SQLiteStore, StoreUnusable
from session_middleware.stores import sqlite as module
from session_middleware.testing import a_key, a_record, created, filled, listed, loaded, race
from tests.backends.running import PATIENCE
from tests.stopwatch import Stopwatch
from tests.stores.sqlite.asking import plan, setting


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
