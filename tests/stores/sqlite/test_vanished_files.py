"""SQLiteStore notices that its file was deleted, moved or replaced, and mixes no two files: F-S6."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from session_middleware import SQLiteStore, StoreUnavailable
from session_middleware.clock import steady_clock
from session_middleware.stores.sqlite.connections import Connection
from session_middleware.testing import a_key, a_record, created, loaded
from tests.stores.sqlite.files import KEYS, look_now, value_of

pytestmark = pytest.mark.timed


def integrity(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


def disappear(path: Path, *names: str) -> None:
    for name in names:
        Path(f"{path}{name}").unlink()


def move_directory(directory: Path) -> None:
    directory.rename(directory.with_suffix(".old"))
    directory.mkdir()


DISASTERS: dict[str, Callable[[Path], object]] = {
    "the file is deleted": lambda path: disappear(path, ""),
    "all three are deleted": lambda path: disappear(path, "", "-wal", "-shm"),
    "the -wal is deleted": lambda path: disappear(path, "-wal"),
    "the -shm is deleted": lambda path: disappear(path, "-shm"),
    "the file is moved": lambda path: path.rename(path.with_suffix(".old")),
    "the directory is moved and made anew": lambda path: move_directory(path.parent),
}


@pytest.mark.parametrize("disaster", DISASTERS)
def test_files_that_vanish_while_open_are_noticed(disaster: str, tmp_path: Path) -> None:
    """F-S6: within a second the store says that it lost its file, once, and from then on works with what is there: no
    record is acknowledged into a file that nobody will find."""
    path = tmp_path / "directory" / "sessions.sqlite3"
    path.parent.mkdir()
    store = SQLiteStore(path)
    created(store, a_key())
    DISASTERS[disaster](path)
    look_now(store)

    with pytest.raises(StoreUnavailable, match=f"{path}: a file of the database was deleted or replaced"):
        store.create(a_key(), a_record())
    key = a_key()
    created(store, key)
    other = SQLiteStore(path)
    assert loaded(other, key).value == b"value"
    look_now(store)
    assert loaded(store, key).value == b"value"
    store.close()
    other.close()
    assert integrity(path) == "ok"


def test_a_path_that_leads_nowhere_is_an_error_until_it_leads_somewhere(tmp_path: Path) -> None:
    """F-S6: a file in the place of the directory; each verb says so by name, and the first one that finds it right works."""
    path = tmp_path / "directory" / "sessions.sqlite3"
    path.parent.mkdir()
    store, key = SQLiteStore(path), a_key()
    before = created(store, key)
    path.parent.rename(away := tmp_path / "away")
    path.parent.touch()
    look_now(store)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match=f"{path}"):
            store.load(key)

    path.parent.unlink()
    away.rename(path.parent)
    assert loaded(store, key) == before


def test_it_looks_every_second(sqlite: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F-S6: without being told; the clock is set forward by as much as the promise says."""
    now = steady_clock()
    for place in ("session_middleware.stores.sqlite", "session_middleware.stores.sqlite.connections"):
        monkeypatch.setattr(f"{place}.steady_clock", lambda: now)
    created(sqlite, a_key())
    disappear(path, "", "-wal", "-shm")
    sqlite.load(a_key())  # not yet
    now += 1

    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        sqlite.load(a_key())


def test_a_moved_file_holds_all_that_was_acknowledged(sqlite: SQLiteStore, path: Path) -> None:
    """F-S6: what was still in the -wal goes into the file that was moved, which then is whole by itself."""
    key = a_key()
    created(sqlite, key)
    path.rename(moved := path.with_suffix(".moved"))
    look_now(sqlite)
    with pytest.raises(StoreUnavailable):
        sqlite.load(key)

    assert sqlite.load(key) is None
    assert loaded(SQLiteStore(moved), key).value == b"value"


def test_a_file_that_takes_the_place_is_not_mixed_with_the_old_one(sqlite: SQLiteStore, path: Path, good: Path) -> None:
    """F-S6: the -wal of the old file is not read as that of the new one."""
    for key in KEYS:
        created(sqlite, key, a_record(b"old"))
    shutil.copy(good, path.with_suffix(".good"))
    path.with_suffix(".good").replace(path)
    look_now(sqlite)

    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        sqlite.load(KEYS[0])
    assert all(loaded(sqlite, key).value == value_of(key) for key in KEYS)
    sqlite.close()
    assert integrity(path) == "ok"


def test_a_process_that_holds_the_deleted_file_stops_nobody(sqlite: SQLiteStore, path: Path) -> None:
    """F-S6: one that is idle, and so has not noticed yet, is in the way of no other; when it wakes it finds the new file."""
    created(sqlite, a_key())
    path.unlink()
    other, key = SQLiteStore(path), a_key()

    created(other, key)
    for _ in range(20):
        created(other, a_key())
    look_now(sqlite)
    with pytest.raises(StoreUnavailable):
        sqlite.load(key)
    assert loaded(sqlite, key).value == b"value"
    other.close()
    sqlite.close()
    assert integrity(path) == "ok"


def test_a_file_that_is_replaced_while_it_is_opened_is_noticed(
    path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-S6: the file that was opened and the one at the path are one, or it is not used."""
    created(SQLiteStore(path), a_key())
    store, connect = SQLiteStore(path), sqlite3.connect

    def replace(*args: object, **kwargs: object) -> Connection:
        connection = connect(*args, **kwargs)  # type: ignore[call-overload]
        connection.execute("SELECT * FROM sqlite_master").fetchall()
        shutil.copy(good, path.with_suffix(".good"))
        path.with_suffix(".good").replace(path)
        return connection  # type: ignore[no-any-return]

    monkeypatch.setattr(sqlite3, "connect", replace)
    with pytest.raises(StoreUnavailable, match="deleted or replaced while it was being opened"):
        store.load(KEYS[0])
    monkeypatch.undo()
    assert not store._connections.known


def test_a_path_that_cannot_be_opened_is_named(path: Path) -> None:
    """A directory in the place of the file, made after the store was."""
    store = SQLiteStore(path)
    path.mkdir()
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match=f"{path} is no file to keep anything in"):
            store.load(a_key())
    assert not store._connections.known

    path.rmdir()
    assert store.create(a_key(), a_record())
