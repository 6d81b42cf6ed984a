"""SQLiteStore in many processes and threads: forks, interruptions from outside, and load."""

import ctypes
import gc
import os
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from session_middleware import Record, SQLiteStore, StoreUnavailable
from session_middleware.testing import a_key, a_record, created, listed, loaded, race
from tests.backends.running import PATIENCE
from tests.stopwatch import Stopwatch
from tests.stores.conftest import Script
from tests.stores.forked import in_child, while_others_work

pytestmark = [pytest.mark.timed, pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")]


def live(store: SQLiteStore) -> None:
    """Use every verb once."""
    key = a_key()
    stored = created(store, key, a_record(key.encode()))
    assert stored.value == key.encode()
    assert store.update(key, a_record(b"new", user_id="alice"), version=stored.version)
    assert key in listed(store, "alice")
    assert store.delete(key)
    assert store.load(key) is None


def is_whole(store: SQLiteStore) -> bool:
    store.load(a_key())
    return bool(store._connections.idle[-1].execute("PRAGMA integrity_check").fetchone() == ("ok",))


@contextmanager
def writers(store: SQLiteStore, count: int) -> Iterator[None]:
    """Keep threads at work on the store."""
    stop, errors = Event(), list[BaseException]()

    def write() -> None:
        try:
            while not stop.is_set():
                live(store)
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=write, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
    assert not errors, errors


# Forks (F-P3, F-P4)


def test_no_connection_is_carried_over_a_fork(sqlite: SQLiteStore) -> None:
    """F-P3: they are closed before the fork, so a child finds none; parent and child go on with connections of their own."""
    key = a_key()
    before = created(sqlite, key)

    def child() -> None:
        assert not sqlite._connections.idle
        assert not sqlite._connections.known
        assert loaded(sqlite, key) == before
        assert sqlite._connections.idle[0].connection.pid == os.getpid()
        live(sqlite)

    assert in_child(child) == 0
    assert not sqlite._connections.idle
    assert loaded(sqlite, key) == before
    live(sqlite)
    assert is_whole(sqlite)


def test_parent_and_children_write_at_the_same_time(sqlite: SQLiteStore) -> None:
    """F-P3: every one of them on the store that was made, and used, before the fork; no record is lost or mixed up."""
    live(sqlite)
    keys = [[a_key() for _ in range(50)] for _ in range(4)]
    pids = []
    for mine in keys:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for key in mine:
                    assert sqlite.create(key, Record(key.encode(), 2**40, None))
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    for _ in range(50):
        live(sqlite)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 4

    assert all(loaded(sqlite, key).value == key.encode() for mine in keys for key in mine)
    assert is_whole(sqlite)


def test_a_fork_waits_for_the_statements_that_are_running(sqlite: SQLiteStore) -> None:
    """F-P4: a child that inherited SQLite's notes of a lock that a thread held could never write."""
    live(sqlite)
    connection, running = sqlite._connections.idle[-1].connection, Event()

    def slow() -> int:
        running.set()
        time.sleep(0.005)
        return 0

    connection.set_progress_handler(slow, 5)
    thread = Thread(target=sqlite.create, args=(a_key(), a_record()))
    thread.start()
    assert running.wait(120)
    assert in_child(lambda: live(sqlite)) == 0
    thread.join()

    assert len(list(sqlite.keys())) == 1


def test_a_fork_does_not_wait_for_ever(path: Path) -> None:
    """F-P4: a connection that never comes free delays a fork by twice the timeout; the child leaves it alone."""
    store = SQLiteStore(path, timeout=0.1)
    live(store)
    taken = store._connections.idle.pop()

    def child() -> None:
        live(store)
        store._connections.idle.append(taken)
        live(store)
        assert taken not in store._connections.idle

    with Stopwatch() as watch:
        assert in_child(child) == 0
    assert watch.took >= 0.2
    assert watch.own < 2
    assert taken.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
    taken.connection.close()
    live(store)
    assert is_whole(store)


def test_a_child_that_inherits_a_connection_never_closes_it(path: Path, script: Script) -> None:
    """F-P3: where the fork came about unseen, and the child ends in the ordinary way, the database does not notice."""
    code = """
import gc, os, sqlite3, sys
from session_middleware import SQLiteStore
from session_middleware.stores.sqlite.connections import Connection
import logging
logging.disable()
from session_middleware.testing import a_key, created, loaded
store, key = SQLiteStore(sys.argv[1]), a_key()
created(store, key)
taken = store._connections.idle.pop()
store._connections.timeout = 0.01
wal = os.stat(sys.argv[1] + "-wal")
pid = os.fork()
store._connections.idle.append(taken)
if pid == 0:
    del taken
    if len(sys.argv) > 2:
        store._connections.idle.clear()
        gc.collect()
    sys.exit()  # through the interpreter's own end, which drops every object
assert os.waitpid(pid, 0)[1] == 0
now = os.stat(sys.argv[1] + "-wal")
assert (now.st_ino, now.st_size, now.st_mtime_ns) == (wal.st_ino, wal.st_size, wal.st_mtime_ns)
assert taken.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
assert loaded(store, key).value == b"value"
print("passed")
"""
    assert script(code, path) == "passed"
    assert script(code, path.with_name("other"), "drop") == "passed"


@while_others_work
def test_forks_between_writes_hang_none(quick_directory: Path) -> None:
    """F-P4: neither locks nor connections of the parent's threads trouble a child."""
    store = SQLiteStore(quick_directory / "sessions.sqlite3", timeout=PATIENCE)
    with writers(store, 2):
        statuses = [in_child(lambda: live(store)) for _ in range(30)]

    assert set(statuses) == {0}
    assert is_whole(store)


@pytest.mark.soak
def test_a_thousand_forks_between_writes_hang_none(quick_directory: Path) -> None:
    """F-P4: the long count."""
    store = SQLiteStore(quick_directory / "sessions.sqlite3", timeout=PATIENCE)
    with writers(store, 3):
        statuses = [in_child(lambda: live(store)) for _ in range(1000)]

    assert set(statuses) == {0}
    assert is_whole(store)


def test_a_connection_of_another_process_is_neither_used_nor_closed(sqlite: SQLiteStore) -> None:
    """F-P3: whichever way it came into this one, it is left as it is, even when nothing refers to it any more."""
    live(sqlite)
    foreign = sqlite._connections.idle[-1].connection
    foreign.pid = -1
    live(sqlite)
    assert sqlite._connections.idle[-1].connection is not foreign

    references = sys.getrefcount(foreign)
    foreign.__del__()
    assert sys.getrefcount(foreign) == references + 1  # so it is never freed, and SQLite never asked to close it
    assert foreign.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
    foreign.close()


def test_a_child_can_open_what_its_parent_was_opening(sqlite: SQLiteStore) -> None:
    """F-P4: the gate that is shut during a fork is open in the child."""
    gate = sqlite._connections._gate
    sqlite._connections._after_fork_in_child()
    assert sqlite._connections._gate is not gate

    live(sqlite)


def test_a_child_can_write_while_a_thread_of_its_parent_has_the_turn(sqlite: SQLiteStore) -> None:
    """F-P4: the turn to write that another thread had at the fork is free in the child."""
    turn = sqlite._turn
    sqlite._after_fork()
    assert sqlite._turn is not turn

    live(sqlite)


def test_a_store_made_during_a_fork_is_no_trouble(path: Path) -> None:
    """The hooks for forks stand a store that has not been told before."""
    store = SQLiteStore(path)
    store._connections._after_fork_in_parent()

    live(store)


def test_it_can_be_closed_while_threads_use_it(sqlite: SQLiteStore) -> None:
    """Closing takes what is idle, whoever else takes at the same time."""

    def close() -> None:
        for _ in range(300):
            sqlite.close()

    with writers(sqlite, 2):
        race(close, close)

    live(sqlite)
    assert is_whole(sqlite)


def test_a_lost_connection_delays_one_fork(path: Path) -> None:
    """F-P4, F-P7: one that nobody refers to any more is found, so that the next fork need not wait."""
    store = SQLiteStore(path, timeout=0.2)
    live(store)
    store._connections.idle.clear()  # as an exception from outside may leave it
    assert in_child(lambda: live(store)) == 0

    with Stopwatch() as watch:
        assert not store._connections.known
        assert in_child(lambda: live(store)) == 0
    assert watch.least < 0.35


# Interruptions (F-P7)


class _FromOutside(BaseException):
    pass


def _raise_in(thread: Thread) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_FromOutside))


def test_a_connection_is_dropped_when_something_comes_in_between(sqlite: SQLiteStore, raw: sqlite3.Connection) -> None:
    """F-P7: an exception from outside in the middle of a verb: the connection is not used again, the next verb works."""
    created(sqlite, a_key())
    ended = list[type[BaseException]]()
    raw.execute("BEGIN IMMEDIATE")

    def wait() -> None:
        try:
            sqlite.create(a_key(), a_record())
        except BaseException as error:
            ended.append(type(error))

    thread = Thread(target=wait)
    thread.start()
    while sqlite._connections.idle:
        time.sleep(0.001)
    _raise_in(thread)
    thread.join(10)
    raw.execute("ROLLBACK")

    assert ended == [_FromOutside]
    assert not sqlite._connections.idle
    assert not sqlite._connections.known
    live(sqlite)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # struck once more on its way out
def test_exceptions_from_outside_leave_the_store_usable(sqlite: SQLiteStore) -> None:
    """F-P7: struck at any moment, threads leave no lock, no transaction and no wrong answer behind."""
    done = 0

    def work() -> None:
        nonlocal done
        while True:
            live(sqlite)
            done += 1

    for number in range(60):
        thread = Thread(target=lambda: until_struck(work), daemon=True)
        thread.start()
        time.sleep(0.0007 * (number % 10))
        while thread.is_alive():
            _raise_in(thread)
            thread.join(0.05)
        live(sqlite)

    gc.collect()  # what was struck between taking a connection and using it
    assert len(sqlite._connections.known) <= 2
    assert is_whole(sqlite)


def until_struck(work: Callable[[], None]) -> None:
    with suppress(_FromOutside):
        work()


# Load


def test_threads_of_several_processes_are_not_told_that_it_is_locked(path: Path, script: Script) -> None:
    """F-S4: many short writes at once take turns within the timeout."""
    code = """
import logging, sys
logging.disable()
from session_middleware import SQLiteStore
from session_middleware.testing import a_key, a_record, race
store = SQLiteStore(sys.argv[1], timeout=10)
def work():
    for _ in range(25):
        key = a_key()
        assert store.create(key, a_record())
        assert store.update(key, a_record(b"new"), version=store.load(key).version)
race(*[work] * 4)
print("passed")
"""
    store = SQLiteStore(path)
    live(store)
    assert race(*[lambda: script(code, path)] * 3) == ["passed"] * 3
    assert len(list(store.keys())) == 3 * 4 * 25
    assert is_whole(store)


@pytest.mark.soak
def test_sweeping_a_large_store_stalls_no_reader(sqlite: SQLiteStore) -> None:
    """F-L8: while 100,000 expired records are swept in batches, the slowest hundredth of the loads stays quick."""
    key = a_key()
    created(sqlite, key)
    connection = sqlite._connections.idle[-1]
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO sessions VALUES (NULL, ?, 1, 1000, 1300, NULL, ?)", ((a_key(), bytes(300)) for _ in range(100_000))
    )
    connection.execute("COMMIT")

    def timed() -> float:
        started = time.perf_counter()
        loaded(sqlite, key)
        return time.perf_counter() - started

    def p99(times: list[float]) -> float:
        return statistics.quantiles(times, n=100)[98]

    quiet, busy, swept = [timed() for _ in range(5000)], list[float](), list[float]()

    def sweep() -> int:
        total = 0
        while True:
            started = time.perf_counter()
            count = len(sqlite.sweep(100))
            swept.append(time.perf_counter() - started)
            total += count
            if not count:
                return total

    thread = Thread(target=sweep)
    thread.start()
    while thread.is_alive():
        busy.append(timed())
    thread.join()

    assert list(sqlite.keys()) == [key]
    assert p99(busy) <= max(3 * p99(quiet), 0.01)
    assert p99(swept) <= 0.25


def test_a_verb_after_a_failure_is_as_good_as_before(path: Path, raw: sqlite3.Connection) -> None:
    """A store that was refused a lock many times has lost neither connections nor files."""
    store = SQLiteStore(path, timeout=0.001)
    live(store)
    raw.execute("BEGIN IMMEDIATE")
    for _ in range(100):
        with pytest.raises(StoreUnavailable):
            store.create(a_key(), a_record())
    raw.execute("ROLLBACK")

    live(store)
    assert len(store._connections.known) == 1
