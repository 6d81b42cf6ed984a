"""MemoryStore: the contract, and what is particular to it."""

import logging
import os
import sys
import time
from collections.abc import Callable
from linecache import getline
from threading import Event, Thread
from types import FrameType
from typing import Any

import pytest

from session_middleware import ConfigurationError, MemoryStore, Record, StoreUnavailable
from session_middleware.stores import memory
from session_middleware.testing import (
    CheckableContract,
    CopyableContract,
    FaultyStore,
    ScannableContract,
    StoreContract,
    SweepableContract,
    UserIndexContract,
    a_key,
    a_record,
    created,
    listed,
    loaded,
    race,
)
from tests.gates import full
from tests.stores.forked import in_child, while_others_work

KIB = 1024


class TestMemoryStore(
    StoreContract, SweepableContract, UserIndexContract, ScannableContract, CheckableContract, CopyableContract
):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


class TestFaultyMemoryStore(StoreContract, SweepableContract, UserIndexContract, ScannableContract, CheckableContract):
    """A store that is told to fail, and has not been, keeps the contract of the store in it."""

    @pytest.fixture
    def store(self) -> FaultyStore:
        return FaultyStore(MemoryStore())


def alive(store: MemoryStore, keys: list[str]) -> list[bool]:
    return [store.load(key) is not None for key in keys]


def assert_sound(store: MemoryStore) -> None:
    """Assert that the tables of the store say the same as its entries."""
    store._mend()
    entries = store._entries
    assert store._bytes == sum(len(stored.value) + memory._OVERHEAD for stored, _, _, _ in entries.values())
    users = {user for _, _, user, _ in entries.values()} - {None}
    assert {*store._anonymous} == {key for key, entry in entries.items() if entry[2] is None}
    assert store._by_user == {user: {key for key, entry in entries.items() if entry[2] == user} for user in users}
    assert all(look_at <= end for _, end, _, look_at in entries.values())
    assert {(look_at, key) for key, (_, _, _, look_at) in entries.items()} <= set(store._by_expiry)


# Bounds


def test_it_keeps_at_most_max_entries_and_drops_the_least_recently_used() -> None:
    """Promise 13: when full, the record goes that was created, loaded or updated longest ago."""
    store = MemoryStore(max_entries=3)
    keys = [a_key() for _ in range(5)]
    for key in keys[:3]:
        created(store, key)
    loaded(store, keys[0])
    store.update(keys[1], a_record(), version=loaded(store, keys[1]).version)
    store.create(keys[3], a_record())
    assert alive(store, keys) == [True, True, False, True, False]

    store.create(keys[4], a_record())
    assert alive(store, keys) == [False, True, False, True, True]


def test_a_flood_of_anonymous_sessions_signs_nobody_out() -> None:
    """Promise 13: when full, those of no user go first, of them those that were used longest ago; the newest one stays."""
    store, others = MemoryStore(max_entries=5), [a_key() for _ in range(10)]
    users = [a_key() for _ in range(3)]
    for key in users:
        store.create(key, a_record(user_id="alice"))
    for key in others[:2]:
        store.create(key, a_record())
    loaded(store, others[0])
    store.create(others[2], a_record())
    assert alive(store, [*users, *others[:3]]) == [True, True, True, True, False, True]
    for key in others[3:]:
        store.create(key, a_record())
    assert alive(store, [*users, *others[-2:]]) == [True] * 5
    assert_sound(store)

    version = loaded(store, others[-1]).version
    assert store.update(others[-1], a_record(user_id="bob"), version=version)
    for key in (more := [a_key() for _ in range(4)]):
        store.create(key, a_record(user_id="carol"))
    # Nobody's are gone, and then the oldest of the users'.
    assert alive(store, [*others, *users, *more]) == [*[False] * 9, True, *[False] * 3, *[True] * 4]
    store.create(key := a_key(), a_record())
    assert store.load(key)
    assert_sound(store)


def test_anonymous_sessions_have_a_bound_of_their_own() -> None:
    """``max_anonymous``: long before the store is full."""
    store, keys = MemoryStore(max_anonymous=2), [a_key() for _ in range(5)]
    store.create(user := a_key(), a_record(user_id="alice"))
    for key in keys:
        store.create(key, a_record())

    assert alive(store, [user, *keys]) == [True, False, False, False, True, True]
    assert_sound(store)


def test_it_keeps_at_most_max_bytes() -> None:
    """Promise 13: what a record takes besides its value counts, too."""
    store = MemoryStore(max_bytes=12 * KIB)
    keys = [a_key() for _ in range(5)]
    for key in keys:
        store.create(key, a_record(b"x" * 3 * KIB))
    assert alive(store, keys) == [False, False, True, True, True]  # loading them keeps their order
    assert store._bytes <= 12 * KIB

    assert store.update(keys[-1], a_record(b"x" * 11 * KIB), version=loaded(store, keys[-1]).version)
    assert alive(store, keys) == [False, False, False, False, True]
    assert_sound(store)


def test_many_empty_records_are_bounded_by_bytes() -> None:
    """An empty value is not free."""
    store = MemoryStore(max_bytes=100 * KIB)
    for _ in range(1000):
        store.create(a_key(), a_record(b""))

    assert 100 < len(list(store.keys())) < 300


def test_expired_records_go_first(caplog: pytest.LogCaptureFixture) -> None:
    """Promise 13: a live session is not dropped while an expired one takes its place, however recently that was used."""
    store = MemoryStore(max_entries=3)
    live = [a_key() for _ in range(3)]
    store.create(live[0], a_record())
    store.create(a_key(), a_record(expires_in=-10))
    store.create(a_key(), a_record(expires_in=-20))
    for key in live[1:]:
        store.create(key, a_record())

    assert alive(store, live) == [True, True, True]
    assert not caplog.records


def test_a_dropped_live_session_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log says that sessions are being lost and how many; a flood of them does not flood the log."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    store = MemoryStore(max_entries=1)
    for _ in range(6):
        store.create(a_key(), a_record())
    assert caplog.messages == ["the memory store is full: 1 live sessions dropped so far"]

    now += 59
    store.create(a_key(), a_record())
    now += 2
    store.create(a_key(), a_record())
    assert caplog.messages[1:] == ["the memory store is full: 7 live sessions dropped so far"]
    assert caplog.records[0].levelno == logging.WARNING


def test_a_record_larger_than_the_store_is_refused() -> None:
    """It would drop every other session and still not fit; what was there stays."""
    store = MemoryStore(max_bytes=10 * KIB)
    key, other = a_key(), a_key()
    before, version = created(store, key), created(store, other).version

    with pytest.raises(StoreUnavailable, match="a record of 10,240 bytes does not fit into 10,240"):
        store.create(a_key(), a_record(b"x" * 10 * KIB))
    with pytest.raises(StoreUnavailable, match="does not fit"):
        store.update(other, a_record(b"x" * 10 * KIB), version=version)
    assert loaded(store, key) == before
    assert loaded(store, other).version == version


def test_updates_do_not_make_it_grow() -> None:
    """Promise 13: a session that lives long leaves nothing behind of what it was."""
    store = MemoryStore()
    keys = [a_key() for _ in range(10)]
    for key in keys:
        store.create(key, a_record(expires_in=900))
    for number in range(5000):
        key = keys[number % 10]
        record = a_record(expires_in=1000 + number, user_id=f"user {number}")
        assert store.update(key, record, version=loaded(store, key).version)

    assert len(store._by_expiry) == 10
    assert len(store._by_user) == 10
    assert_sound(store)


def test_a_session_is_swept_at_its_end_wherever_that_has_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 13: ends move on and come nearer; a sweep finds each one when it has come, and none before."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    store, later, sooner = MemoryStore(), a_key(), a_key()
    for key, first, second in ((later, 10, 1000), (sooner, 1000, 10)):
        version = created(store, key, a_record(expires_in=first)).version
        assert store.update(key, a_record(expires_in=second), version=version)

    now += 20
    assert len(store.sweep(10)) == 1
    assert list(store.keys()) == [later]
    assert_sound(store)
    now += 900
    assert not store.sweep(10)
    now += 100
    assert len(store.sweep(10)) == 1
    assert (store._entries, store._by_expiry) == ({}, [])


def test_ends_that_come_nearer_do_not_make_it_grow() -> None:
    """Promise 13: what the heap holds is in proportion to the sessions, whichever way their ends move."""
    store, key = MemoryStore(), a_key()
    created(store, key, a_record(expires_in=10_000))
    for number in range(2000):
        record = a_record(expires_in=9000 - number)
        assert store.update(key, record, version=loaded(store, key).version)

    assert len(store._by_expiry) <= 102
    assert_sound(store)


def test_nothing_is_left_of_what_is_gone() -> None:
    """Promise 13: sessions that come and go leave the tables empty."""
    store = MemoryStore()
    for number in range(1000):
        key = a_key()
        store.create(key, a_record(user_id=f"user {number}"))
        store.delete(key)

    assert (store._bytes, store._by_user, len(store._entries)) == (0, {}, 0)
    assert len(store._by_expiry) <= 101


def test_a_flood_of_new_sessions_is_bounded() -> None:
    """F-L3: the store stays within its bounds when many threads create at once."""
    store = MemoryStore(max_entries=500)

    def flood() -> None:
        for _ in range(1000):
            store.create(a_key(), a_record(user_id="mallory"))

    race(*[flood] * 8)
    assert len(list(store.keys())) == 500
    assert_sound(store)


@pytest.mark.parametrize("option", ["max_entries", "max_bytes", "max_anonymous"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True])
def test_a_bound_is_a_whole_number_above_0(option: str, value: Any) -> None:
    """Promise 15: anything else does not start."""
    with pytest.raises(ConfigurationError, match=f"{option}={value!r}: write a whole number above 0"):
        MemoryStore(**{option: value})


def test_it_says_that_it_is_for_one_process() -> None:
    """F-P5: whoever serves it from several processes can see that, and warn."""
    assert MemoryStore.single_process


# Interruptions

_OLD, _NEW, _LONGER = (
    Record(b"old", 2**40, "alice"),
    Record(b"the new one", 2**41, "bob"),
    Record(b"old" * 9, 2**41, "alice"),
)
_MUTATIONS: dict[str, Callable[[MemoryStore, str], object]] = {
    "create": lambda store, key: store.create(a_key(), _NEW),
    "update": lambda store, key: store.update(key, _NEW, version=loaded(store, key).version),
    "update of the value": lambda store, key: store.update(key, _LONGER, version=loaded(store, key).version),
    "delete": lambda store, key: store.delete(key),
    "sweep": lambda store, key: store.sweep(10),
}


class _FromOutside(BaseException):
    pass


def _interrupted_at(line: int, call: Callable[[], object]) -> bool:
    """Run *call*, raising before the *line*-th line of the store's own bookkeeping; return whether it came so far."""
    left = line

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        inside = frame.f_code.co_filename == memory.__file__ and frame.f_code.co_name in (
            *("update", "_live", "_put", "_remove", "_forget", "_mend", "_heap", "_expired", "_full", "_make_room"),
        )
        # Python itself lets no exception come between a block and the release of its lock, but a tracer could.
        if inside and event == "line" and "with self._lock" not in getline(memory.__file__, frame.f_lineno):
            left -= 1
            if left == 0:
                raise _FromOutside
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except _FromOutside:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("verb", _MUTATIONS)
def test_a_change_that_is_cut_short_leaves_the_old_or_the_new(verb: str) -> None:
    """F-P7, F-S10: an exception from outside at any line leaves each record as it was or as it was to be, and the store
    usable."""
    for line in range(1, 500):
        store = MemoryStore(max_entries=3)
        keys = [a_key() for _ in range(2)]
        for key in keys:
            store.create(key, _OLD)
        if verb == "create":
            store.create(a_key(), _OLD)
        store.create(a_key(), a_record(expires_in=-10, user_id="carol"))
        store._entries[keys[1]] = (*store._entries[keys[1]][:3], 1)
        store._by_expiry = store._heap()
        interrupted = _interrupted_at(line, lambda: _MUTATIONS[verb](store, keys[0]))  # noqa: B023 - called at once

        alices, bobs = listed(store, "alice"), listed(store, "bob")
        assert {loaded(store, key).value for key in alices} <= {_OLD.value, _LONGER.value}
        assert {loaded(store, key).value for key in bobs} <= {_NEW.value}
        for key in [key for key in keys if store.load(key)]:
            assert (key in alices) != (key in bobs)
            assert store.update(key, a_record(user_id="dave"), version=loaded(store, key).version)
            assert store.delete(key)
        assert_sound(store)
        if not interrupted:
            return
    pytest.fail("the verb has no end")


# Forks


def _child_uses(store: MemoryStore, key: str) -> int:
    """Fork; return the exit status of a child that uses the store."""

    def use() -> None:
        version = loaded(store, key).version
        assert store.update(key, a_record(user_id="child"), version=version)
        assert listed(store, "child") == [key]

    return in_child(use)


def _fork_while_others_write(forks: int) -> list[int]:
    store, stop = MemoryStore(), Event()
    key = a_key()
    created(store, key)

    def write() -> None:
        while not stop.is_set():
            busy = a_key()
            store.create(busy, a_record(user_id="other"))
            store.delete(busy)

    threads = [Thread(target=write, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        return [_child_uses(store, key) for _ in range(forks)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_is_not_locked_out_by_a_thread_of_its_parent() -> None:
    """F-P4: the lock that another thread holds at the fork is not held in the child."""
    store = MemoryStore()
    key, held, release = a_key(), Event(), Event()
    created(store, key)

    def hold() -> None:
        with store._lock:
            held.set()
            release.wait(120)

    thread = Thread(target=hold)
    thread.start()
    assert held.wait(120)
    try:
        assert _child_uses(store, key) == 0
    finally:
        release.set()
        thread.join()
    assert listed(store, "child") == []  # what a child does is not seen here


@while_others_work
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_hundred_forks_between_writes_hang_none() -> None:
    """F-P4: neither locks nor half-made changes of the parent's threads trouble a child."""
    assert set(_fork_while_others_write(100)) == {0}


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_many_forks_between_writes_hang_none() -> None:
    """F-P4: the long count."""
    assert set(_fork_while_others_write(full(250, 1_000))) == {0}


def test_the_lock_of_a_child_is_a_new_one() -> None:
    """F-P4: whatever became of the lock of its parent."""
    store = MemoryStore()
    store._lock.acquire()
    store._after_fork()

    assert store.create(a_key(), a_record())


def test_a_store_that_is_gone_is_not_told_of_forks() -> None:
    """Stores are not kept alive by the hooks for forks."""
    store = MemoryStore()
    key = a_key()
    created(store, key)
    other = MemoryStore()
    del other

    assert _child_uses(store, key) == 0


def test_a_system_without_fork_has_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes do not fork there is nothing to be told."""
    monkeypatch.delattr(os, "register_at_fork")

    assert MemoryStore().create(a_key(), a_record())
