"""SQLiteStore waits for other writers and other threads for its timeout, and no longer: F-S4."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread, Timer

import pytest

from session_middleware import SQLiteStore, StoreUnavailable
from session_middleware.stores.sqlite import _UPDATE_UNINDEXED
from session_middleware.testing import a_key, a_record, created, loaded, race
from tests.backends.running import PATIENCE
from tests.stopwatch import Stopwatch

pytestmark = pytest.mark.timed

WRITES: dict[str, Callable[[SQLiteStore, str], object]] = {
    "create": lambda store, key: store.create(a_key(), a_record()),
    "update": lambda store, key: store.update(key, a_record(user_id="alice"), version=loaded(store, key).version),
    "delete": lambda store, key: store.delete(key),
    "sweep": lambda store, key: not store.sweep(10),
}


@pytest.mark.parametrize("verb", WRITES)
def test_a_foreign_writer_is_waited_for(verb: str, sqlite: SQLiteStore, raw: sqlite3.Connection) -> None:
    """F-S4: locked by another process for 0.1 s, a write takes that much longer and succeeds."""
    key = a_key()
    created(sqlite, key)
    raw.execute("BEGIN IMMEDIATE")
    timer = Timer(0.1, raw.execute, ["ROLLBACK"])
    timer.start()

    with Stopwatch() as watch:
        assert WRITES[verb](sqlite, key)
    assert watch.took > 0.05
    assert watch.within(0.1) < 1.1
    timer.join()


@pytest.mark.parametrize("verb", WRITES)
def test_a_foreign_writer_is_not_waited_for_longer_than_the_timeout(verb: str, path: Path, raw: sqlite3.Connection) -> None:
    """F-S4: locked for longer, a write fails within the timeout and a tenth, and names the file; the next one succeeds."""
    store, key = SQLiteStore(path, timeout=0.5), a_key()
    created(store, key)
    raw.execute("BEGIN IMMEDIATE")

    with Stopwatch() as watch, pytest.raises(StoreUnavailable, match=f"{path}: database is locked"):
        WRITES[verb](store, key)
    assert watch.took > 0.45
    assert watch.within(0.5) < 0.55

    raw.execute("ROLLBACK")
    assert WRITES[verb](store, key)


def test_the_timeout_covers_both_statements_of_an_update(
    path: Path, raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-S4: an update that waits twice waits no longer than one that waits once."""
    store, key = SQLiteStore(path, timeout=1), a_key()
    version = created(store, key).version
    raw.execute("BEGIN IMMEDIATE")
    write = store._write

    def slow_first(sql: str, parameters: tuple[object, ...], since: float) -> int:
        if sql == _UPDATE_UNINDEXED:
            Timer(0.6, raw.execute, ["ROLLBACK"]).start()
            changed = write(sql, parameters, since)
            raw.execute("BEGIN IMMEDIATE")
            return changed
        return write(sql, parameters, since)

    monkeypatch.setattr(store, "_write", slow_first)
    with Stopwatch() as watch, pytest.raises(StoreUnavailable, match="database is locked"):
        store.update(key, a_record(user_id="alice"), version=version)
    assert watch.took > 0.9
    assert watch.within(1) < 1.1


def test_opening_waits_for_the_same_time(path: Path, raw: sqlite3.Connection) -> None:
    """F-S4: a file that another process holds all for itself cannot be opened; when it lets go, it can."""
    raw.execute("BEGIN EXCLUSIVE")
    store = SQLiteStore(path, timeout=0.3)
    with Stopwatch() as watch, pytest.raises(StoreUnavailable, match=f"{path}: database is locked"):
        store.load(a_key())
    assert watch.took > 0.25
    assert watch.within(0.3) < 0.35

    store._connections.timeout = PATIENCE
    timer = Timer(0.1, raw.execute, ["ROLLBACK"])
    timer.start()
    assert store.create(a_key(), a_record())
    timer.join()


@pytest.mark.parametrize("made_before", [False, True])
@pytest.mark.parametrize("verb", ["create", "update", "delete", "load"])
def test_the_timeout_covers_waiting_for_other_threads_and_opening(
    verb: str, made_before: bool, path: Path, raw: sqlite3.Connection
) -> None:
    """F-S4: eight threads that meet a file which another process holds all for itself fail together, not one by one."""
    timeout, key, store = 0.3, a_key(), SQLiteStore(path, timeout=0.3)
    if made_before:
        created(store, key)
        store.close()
    raw.execute("PRAGMA locking_mode = EXCLUSIVE")
    raw.execute("BEGIN EXCLUSIVE")
    verbs: dict[str, Callable[[], object]] = {
        "create": lambda: store.create(a_key(), a_record()),
        "update": lambda: store.update(key, a_record(), version=1),
        "delete": lambda: store.delete(key),
        "load": lambda: store.load(key),
    }

    def fail() -> None:
        with pytest.raises(StoreUnavailable, match=f"{path}: (database is locked|other threads were writing)"):
            verbs[verb]()

    # One by one they would take eight times as long; a busy machine lets eight threads run late.
    with Stopwatch() as watch:
        race(*[fail] * 8)
    assert watch.within(timeout) < 3 * timeout
    raw.close()
    assert store.create(a_key(), a_record())


def test_a_thread_that_waited_for_others_in_vain_says_so(path: Path, raw: sqlite3.Connection) -> None:
    """F-S4: the turn of another thread is not waited for longer than the timeout, and is left to that thread."""
    store, holding, release = SQLiteStore(path, timeout=0.05), Event(), Event()

    def hold() -> None:
        with store._turn:
            holding.set()
            release.wait(120)

    thread = Thread(target=hold)
    thread.start()
    assert holding.wait(120)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=f"{path}: other threads were writing, or waiting to write"):
            store.create(a_key(), a_record())
    release.set()
    thread.join()
    assert store.create(a_key(), a_record())
