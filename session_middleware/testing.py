"""For tests of stores and of applications: the suite that every store passes, a store that fails, a clock to set.

It needs no test framework. A store's tests are a subclass with a ``store`` fixture that returns an empty store::

    class TestMyStore(StoreContract, UserIndexContract):
        @pytest.fixture
        def store(self) -> MyStore:
            return MyStore()

With ``pytest.register_assert_rewrite("session_middleware.testing")`` in ``conftest.py`` a failure shows the values.
"""

import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Barrier, Lock, Thread
from typing import Protocol, TypeVar

from session_middleware.exceptions import StoreUnavailable
from session_middleware.stores.base import (
    Batched,
    Openable,
    Record,
    Scannable,
    Store,
    Stored,
    Sweepable,
    UserIndexed,
    Version,
)

T = TypeVar("T")

_THREADS = 8
_MANY = 5000
_HOUR = 3600
_DAY = 86400


class SweepableStore(Store, Sweepable, Protocol):
    """What :class:`SweepableContract` tests."""


class UserIndexedStore(Store, UserIndexed, Protocol):
    """What :class:`UserIndexContract` tests."""


class ScannableStore(Store, Scannable, Protocol):
    """What :class:`ScannableContract` tests."""


class BatchedStore(Store, Batched, Protocol):
    """What :class:`BatchedContract` tests."""


def a_key() -> str:
    """Return a key that nothing else uses."""
    return secrets.token_urlsafe(9)


def a_record(value: bytes = b"value", *, expires_in: float = _HOUR, user_id: str | None = None) -> Record:
    """Return a record that expires in so many seconds from now; a negative number makes one that has expired."""
    return Record(value, int(time.time() + expires_in), user_id)


def _short_lived() -> Record:
    """Return a record that expires within 0.3 to 1.3 s: expiries are whole seconds."""
    return Record(b"short", math.ceil(time.time() + 0.3), None)


def created(store: Store, key: str, record: Record | None = None) -> Stored:
    """Create a record and return what the store then has."""
    assert store.create(key, a_record() if record is None else record)
    return loaded(store, key)


def loaded(store: Store, key: str) -> Stored:
    """Return what is under the key, which must be there."""
    stored = store.load(key)
    assert stored is not None
    return stored


def filled(store: Store, count: int, *, user_id: str | None = None) -> list[str]:
    """Create so many records, in several threads, and return their keys."""
    keys = [a_key() for _ in range(count)]

    def create(some: list[str]) -> None:
        for key in some:
            assert store.create(key, a_record(user_id=user_id))

    race(*(partial(create, keys[number::_THREADS]) for number in range(_THREADS)))
    return keys


def listed(store: UserIndexed, user_id: str) -> list[str]:
    """Return the keys that the store lists for a user, in alphabetical order."""
    return sorted(store.keys_of(user_id))


def wait_until_absent(store: Store, key: str, *, timeout: float = 10) -> None:
    """Ask until the record under the key has expired, for at most *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while store.load(key) is not None:
        assert time.monotonic() < deadline, "the record has not expired"
        time.sleep(0.02)


def race(*calls: Callable[[], T]) -> list[T]:
    """Run every call in a thread of its own, all at once; return what they return, in order; raise what one raises."""
    start = Barrier(len(calls))
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def run(number: int, call: Callable[[], T]) -> None:
        start.wait()
        try:
            results[number] = call()
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=run, args=item, daemon=True) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a call has not returned after 60 s"
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(calls))]


class StoreContract:
    """What :class:`~session_middleware.Store` promises, of any store."""

    # create

    def test_a_created_record_is_found(self, store: Store) -> None:
        """What was acknowledged is there for the next request."""
        key = a_key()

        assert store.create(key, a_record(b"data"))
        assert loaded(store, key).value == b"data"

    def test_create_does_not_replace_a_record(self, store: Store) -> None:
        """Creating is not saving: a key that is taken stays as it is."""
        key = a_key()
        before = created(store, key, a_record(b"theirs"))

        assert not store.create(key, a_record(b"ours"))
        assert loaded(store, key) == before

    def test_create_works_over_an_expired_record(self, store: Store) -> None:
        """An expired record is absent, whatever the store still holds."""
        key = a_key()
        store.create(key, a_record(b"old", expires_in=-10))

        assert store.create(key, a_record(b"new"))
        assert loaded(store, key).value == b"new"

    def test_create_works_after_delete(self, store: Store) -> None:
        """A key that was deleted is free."""
        key = a_key()
        created(store, key)
        store.delete(key)

        assert store.create(key, a_record(b"new"))
        assert loaded(store, key).value == b"new"

    # load

    def test_load_of_nothing_is_none(self, store: Store) -> None:
        """Absence is an answer, not an error."""
        assert store.load(a_key()) is None

    def test_load_of_an_expired_record_is_none(self, store: Store) -> None:
        """Promise 12: from its expiry on a record is absent."""
        key = a_key()
        store.create(key, a_record(expires_in=-1))

        assert store.load(key) is None

    def test_a_record_that_expires_now_is_absent(self, store: Store) -> None:
        """Promise 12: the expiry is the first moment at which the record is not there."""
        key = a_key()
        store.create(key, a_record(expires_in=0))

        assert store.load(key) is None

    def test_load_changes_nothing(self, store: Store) -> None:
        """Promise 2: reading writes nothing, so a version that was read stays good."""
        key = a_key()
        first = created(store, key)

        assert [loaded(store, key) for _ in range(3)] == [first] * 3
        assert store.update(key, a_record(b"new"), version=first.version)

    def test_any_bytes_come_back(self, store: Store) -> None:
        """Promise 9: a value is opaque: empty, binary or large, it comes back byte for byte."""
        for value in (b"", b"\0", bytes(range(256)), b"\xff\0" * 1000, b"\r\n'\";--", secrets.token_bytes(1024 * 1024)):
            key = a_key()
            stored = created(store, key, a_record(value))

            assert type(stored.value) is bytes
            assert stored.value == value

            assert store.update(key, a_record(value[::-1]), version=stored.version)
            assert loaded(store, key).value == value[::-1]

    def test_keys_differ_in_every_character(self, store: Store) -> None:
        """Keys are compared as they are: case counts, and so does the last character."""
        base = a_key()
        keys = {base, base.swapcase(), f"{base[:-1]}-", f"{base[:-1]}_", f"-{base[1:]}", f"_{base[1:]}"}
        for key in keys:
            assert store.create(key, a_record(key.encode()))

        assert all(loaded(store, key).value == key.encode() for key in keys)

    def test_a_far_expiry_is_kept(self, store: Store) -> None:
        """A lifetime may be up to 100 years; no store takes a long one for a short one."""
        for years in (1, 10, 30, 100):
            key = a_key()
            created(store, key, a_record(expires_in=years * 365 * _DAY))

            assert store.load(key) is not None

    # update

    def test_update_replaces_the_record(self, store: Store) -> None:
        """At the version that was loaded, an update is stored."""
        key = a_key()
        version = created(store, key).version

        assert store.update(key, a_record(b"new"), version=version)
        assert loaded(store, key).value == b"new"

    def test_every_update_makes_a_new_version(self, store: Store) -> None:
        """Promise 3: a version is good for one update, also if the update wrote what was there."""
        key = a_key()
        record = a_record()
        version = created(store, key, record).version
        assert store.update(key, record, version=version)

        assert not store.update(key, a_record(b"lost"), version=version)
        assert loaded(store, key).value == record.value
        assert loaded(store, key).version != version

    def test_updates_follow_each_other(self, store: Store) -> None:
        """Each version that is loaded is good for the next update."""
        key = a_key()
        created(store, key)
        for number in range(20):
            assert store.update(key, a_record(b"%d" % number), version=loaded(store, key).version)

        assert loaded(store, key).value == b"19"

    def test_update_at_the_version_of_another_record_writes_nothing(self, store: Store) -> None:
        """A version belongs to one record."""
        key, other = a_key(), a_key()
        before = created(store, key, a_record(b"ours"))
        created(store, other)
        assert store.update(other, a_record(), version=loaded(store, other).version)

        assert not store.update(key, a_record(b"lost"), version=loaded(store, other).version)
        assert loaded(store, key) == before

    def test_update_of_nothing_writes_nothing(self, store: Store) -> None:
        """Only create makes records."""
        version = created(store, a_key()).version
        key = a_key()

        assert not store.update(key, a_record(), version=version)
        assert store.load(key) is None

    def test_update_does_not_bring_back_a_deleted_record(self, store: Store) -> None:
        """Promise 5: a slow request must not undo a logout that finished before it."""
        key = a_key()
        version = created(store, key).version
        store.delete(key)

        assert not store.update(key, a_record(), version=version)
        assert store.load(key) is None

    def test_update_does_not_reach_a_record_that_was_created_anew(self, store: Store) -> None:
        """Promise 5: the version of a record that is gone says nothing about its successor under the same key."""
        key = a_key()
        for _ in range(5):
            version = created(store, key, a_record(b"old")).version
            store.delete(key)
            before = created(store, key, a_record(b"new"))

            assert not store.update(key, a_record(b"lost"), version=version)
            assert loaded(store, key) == before
            store.delete(key)

    def test_update_does_not_bring_back_an_expired_record(self, store: Store) -> None:
        """Promise 12: a request that was slow enough to outlive its session stores nothing."""
        key = a_key()
        stored = created(store, key, _short_lived())
        wait_until_absent(store, key)

        assert not store.update(key, a_record(), version=stored.version)
        assert store.load(key) is None

    def test_update_moves_the_expiry(self, store: Store) -> None:
        """A record lives as long as its last update says: longer or shorter."""
        longer, shorter = a_key(), a_key()
        version = created(store, longer, _short_lived()).version
        assert store.update(longer, a_record(expires_in=_DAY), version=version)
        version = created(store, shorter, a_record(expires_in=_DAY)).version
        assert store.update(shorter, _short_lived(), version=version)

        wait_until_absent(store, shorter)
        assert store.load(longer) is not None

    def test_update_with_an_expired_record_removes_it(self, store: Store) -> None:
        """It is a compare-and-delete: afterwards there is nothing to find, to delete or to update."""
        key = a_key()
        version = created(store, key).version

        assert store.update(key, Record(b"", 0, None), version=version)
        assert store.load(key) is None
        assert not store.update(key, a_record(), version=version)
        assert not store.delete(key)
        assert store.create(key, a_record())

    def test_update_with_an_expired_record_at_another_version_removes_nothing(self, store: Store) -> None:
        """A compare-and-delete compares."""
        key = a_key()
        version = created(store, key).version
        assert store.update(key, a_record(b"new"), version=version)

        assert not store.update(key, a_record(expires_in=-10), version=version)
        assert loaded(store, key).value == b"new"

    def test_update_with_an_expired_record_of_nothing_is_false(self, store: Store) -> None:
        """A compare-and-delete says whether it removed anything."""
        key = a_key()
        version = created(store, key).version
        store.delete(key)

        assert not store.update(key, a_record(expires_in=-10), version=version)

    # delete

    def test_delete_removes_the_record(self, store: Store) -> None:
        """Promise 5: what was deleted is not there for the next request."""
        key = a_key()
        created(store, key)

        assert store.delete(key)
        assert store.load(key) is None

    def test_delete_of_nothing_is_false(self, store: Store) -> None:
        """Ending a session twice is no error."""
        key = a_key()
        assert not store.delete(key)
        created(store, key)
        store.delete(key)

        assert not store.delete(key)

    def test_delete_of_an_expired_record_is_false(self, store: Store) -> None:
        """An expired record is absent for every verb."""
        key = a_key()
        store.create(key, a_record(expires_in=-10))

        assert not store.delete(key)

    def test_delete_removes_that_record_only(self, store: Store) -> None:
        """Ending one session ends no other."""
        key, other = a_key(), a_key()
        created(store, key)
        before = created(store, other)
        store.delete(key)

        assert loaded(store, other) == before

    # many at once

    def test_racing_creates_make_one_record(self, store: Store) -> None:
        """Of any number of creates of one key exactly one is told that it wrote, and its value is there."""
        for _ in range(5):
            key = a_key()
            values = [b"%d" % number for number in range(_THREADS)]
            won = race(*(partial(store.create, key, a_record(value)) for value in values))

            assert Counter(won) == {True: 1, False: _THREADS - 1}
            assert loaded(store, key).value == values[won.index(True)]

    def test_racing_updates_store_one(self, store: Store) -> None:
        """Promise 3: of any number of updates at one version exactly one is stored, and the others are told."""
        for _ in range(5):
            key = a_key()
            version = created(store, key).version
            values = [b"%d" % number for number in range(_THREADS)]
            won = race(*(partial(store.update, key, a_record(value), version=version) for value in values))

            assert Counter(won) == {True: 1, False: _THREADS - 1}
            assert loaded(store, key).value == values[won.index(True)]

    def test_a_delete_is_final_whatever_races_it(self, store: Store) -> None:
        """Promise 5: updates that race a delete are before it or are refused."""
        for _ in range(10):
            key = a_key()
            version = created(store, key).version
            _, deleted, _ = race(
                partial(store.update, key, a_record(b"one"), version=version),
                partial(store.delete, key),
                partial(store.update, key, a_record(b"two"), version=version),
            )

            assert deleted
            assert store.load(key) is None

    def test_racing_deletes_remove_one(self, store: Store) -> None:
        """Exactly one of several deletes is told that there was something."""
        for _ in range(5):
            key = a_key()
            created(store, key)

            assert Counter(race(*[partial(store.delete, key)] * _THREADS)) == {True: 1, False: _THREADS - 1}

    def test_no_increment_is_lost(self, store: Store) -> None:
        """Promise 4: compare-and-set, tried until it succeeds, counts exactly."""
        key, each = a_key(), 10
        created(store, key, a_record(b"0"))

        def increment() -> None:
            for _ in range(each):
                while True:
                    value, version = loaded(store, key)
                    if store.update(key, a_record(b"%d" % (int(value) + 1)), version=version):
                        break

        race(*[increment] * _THREADS)
        assert loaded(store, key).value == b"%d" % (each * _THREADS)

    def test_every_verb_works_in_many_threads(self, store: Store) -> None:
        """Threads on sessions of their own do not see each other."""

        def live(name: bytes) -> None:
            for number in range(10):
                key, value = a_key(), b"%b %d" % (name, number)
                stored = created(store, key, a_record(value))
                assert stored.value == value
                assert store.update(key, a_record(value + b"!"), version=stored.version)
                assert loaded(store, key).value == value + b"!"
                assert store.delete(key)
                assert store.load(key) is None

        race(*(partial(live, b"%d" % number) for number in range(_THREADS)))


class SweepableContract:
    """What :class:`~session_middleware.Sweepable` promises."""

    def test_sweep_removes_what_has_expired(self, store: SweepableStore) -> None:
        """Promise 13: expired records go, and only they."""
        live, expired = a_key(), [a_key() for _ in range(5)]
        before = created(store, live)
        for key in expired:
            store.create(key, a_record(expires_in=-_DAY))

        assert store.sweep(100) == len(expired)
        assert loaded(store, live) == before
        assert store.sweep(100) == 0

    def test_sweep_removes_at_most_the_limit(self, store: SweepableStore) -> None:
        """Promise 13: one call takes a bounded time; calling again goes on."""
        for _ in range(7):
            store.create(a_key(), a_record(expires_in=-_DAY))

        assert [store.sweep(3) for _ in range(4)] == [3, 3, 1, 0]

    def test_sweep_of_nothing_is_zero(self, store: SweepableStore) -> None:
        """An empty store is swept like any other."""
        assert store.sweep(100) == 0

    def test_sweep_spares_a_session_whose_end_was_moved(self, store: SweepableStore) -> None:
        """F-C10: what an update has prolonged is not removed at its first end."""
        key = a_key()
        version = created(store, key, _short_lived()).version
        other = a_key()
        store.create(other, _short_lived())
        assert store.update(key, a_record(b"new", expires_in=_DAY), version=version)
        wait_until_absent(store, other)
        store.sweep(100)

        assert loaded(store, key).value == b"new"

    def test_racing_sweeps_count_each_record_once(self, store: SweepableStore) -> None:
        """Processes that sweep at the same time share the work."""
        for _ in range(40):
            store.create(a_key(), a_record(expires_in=-_DAY))

        assert sum(race(*[partial(store.sweep, 10)] * _THREADS)) == 40


class UserIndexContract:
    """What :class:`~session_middleware.UserIndexed` promises."""

    def test_keys_of_finds_the_records_of_a_user(self, store: UserIndexedStore) -> None:
        """All keys of the user, each once, and nobody else's."""
        keys = [a_key() for _ in range(3)]
        for key in keys:
            store.create(key, a_record(user_id="alice"))
        store.create(a_key(), a_record(user_id="bob"))
        store.create(a_key(), a_record())

        assert listed(store, "alice") == sorted(keys)

    def test_keys_of_a_stranger_are_none(self, store: UserIndexedStore) -> None:
        """Absence is an answer, not an error."""
        store.create(a_key(), a_record(user_id="alice"))

        assert listed(store, "mallory") == []

    def test_keys_of_are_told_one_at_a_time(self, store: UserIndexedStore) -> None:
        """What is listed is an iterator, which can be left at any point, and asked anew."""
        keys = filled(store, 3, user_id="alice")
        keys_of = store.keys_of("alice")

        assert iter(keys_of) is keys_of
        assert next(keys_of) in keys
        assert next(store.keys_of("alice")) in keys
        assert len({*keys_of}) == 2

    def test_user_ids_are_compared_as_they_are(self, store: UserIndexedStore) -> None:
        """Neither case nor accents, blanks, wildcards, composition or digits make two users one."""
        users = ["alice", "Alice", "alice ", " alice", "ali%", "al*", "al_ce", "1", "01", "1.0", "a", "a\0b", "a:b"]
        users += ["É", "é", "E\u0301", "사용자", "😀", "'; DROP TABLE sessions; --", "x" * 255]
        keys = {user: a_key() for user in users}
        for user, key in keys.items():
            store.create(key, a_record(user_id=user))

        assert {user: listed(store, user) for user in users} == {user: [key] for user, key in keys.items()}

    def test_keys_of_leave_out_what_has_expired(self, store: UserIndexedStore) -> None:
        """Promise 12: an expired session is in no list."""
        live = a_key()
        store.create(live, a_record(user_id="alice"))
        store.create(a_key(), a_record(user_id="alice", expires_in=-10))

        assert listed(store, "alice") == [live]

    def test_keys_of_leave_out_what_was_deleted(self, store: UserIndexedStore) -> None:
        """A session that was ended is in no list, whichever way it was ended."""
        deleted, removed, live = a_key(), a_key(), a_key()
        for key in (deleted, removed, live):
            created(store, key, a_record(user_id="alice"))
        store.delete(deleted)
        store.update(removed, Record(b"", 0, None), version=loaded(store, removed).version)

        assert listed(store, "alice") == [live]

    def test_the_user_changes_with_an_update(self, store: UserIndexedStore) -> None:
        """A session is listed under the user of its last update, and under nobody once it has none."""
        key = a_key()
        created(store, key)
        for before, after in ((None, "alice"), ("alice", "bob"), ("bob", "bob"), ("bob", None), (None, "alice")):
            assert store.update(key, a_record(user_id=after), version=loaded(store, key).version)

            assert [user for user in ("alice", "bob") if listed(store, user) == [key]] == [after] * (after is not None)
            assert before in (after, None) or listed(store, before) == []

    def test_a_refused_update_moves_no_session_to_another_user(self, store: UserIndexedStore) -> None:
        """The index follows the record."""
        key = a_key()
        version = created(store, key, a_record(user_id="alice")).version
        assert store.update(key, a_record(user_id="alice"), version=version)
        assert not store.update(key, a_record(user_id="mallory"), version=version)

        assert (listed(store, "alice"), listed(store, "mallory")) == ([key], [])

    def test_create_over_an_expired_record_moves_it_to_the_new_user(self, store: UserIndexedStore) -> None:
        """The user of an expired record is no user of its successor."""
        key = a_key()
        store.create(key, a_record(user_id="alice", expires_in=-10))
        store.create(key, a_record(user_id="bob"))

        assert (listed(store, "alice"), listed(store, "bob")) == ([], [key])

    # in pages

    def test_many_records_of_a_user_are_all_listed(self, store: UserIndexedStore) -> None:
        """Each once, and nobody else's among them, however many there are."""
        keys = filled(store, _MANY, user_id="alice")
        filled(store, 100, user_id="bob")

        assert listed(store, "alice") == sorted(keys)

    def test_many_expired_records_hide_none_that_is_not(self, store: UserIndexedStore) -> None:
        """A page without a live record is not the last one."""
        for _ in range(1200):
            store.create(a_key(), a_record(user_id="alice", expires_in=-10))
        keys = filled(store, 5, user_id="alice")

        assert listed(store, "alice") == sorted(keys)

    def test_what_stays_is_listed_whatever_comes_and_goes(self, store: UserIndexedStore) -> None:
        """Promise 19: whose record was the user's all the while is found: others come, change and go between any two."""
        keys = filled(store, _MANY, user_id="alice")
        staying, going = keys[::2], iter(keys[1::2])
        theirs = created(store, other := a_key(), a_record(user_id="bob"))
        changing = iter([(key, loaded(store, key).version) for key in staying[::7]])
        found = []
        for number, key in enumerate(store.keys_of("alice")):
            found.append(key)
            match number % 40:
                case 0:
                    store.delete(next(going))
                case 10:
                    version = loaded(store, leaving := next(going)).version
                    assert store.update(leaving, a_record(user_id="bob"), version=version)
                case 20:
                    changed, version = next(changing)
                    assert store.update(changed, a_record(user_id="alice", expires_in=_DAY), version=version)
                case 30:
                    assert store.create(a_key(), a_record(user_id="alice"))
                    assert store.update(other, a_record(user_id="bob"), version=theirs.version)
                    theirs = loaded(store, other)

        assert len(found) == len({*found})
        assert {*staying} <= {*found}
        assert other not in found

    def test_all_that_is_listed_may_be_removed_meanwhile(self, store: UserIndexedStore) -> None:
        """Promise 19: whoever ends every session that is listed, as it is listed, has ended them all."""
        filled(store, 2500, user_id="alice")
        for key in store.keys_of("alice"):
            assert store.delete(key)

        assert listed(store, "alice") == []


class ScannableContract:
    """What :class:`~session_middleware.Scannable` promises."""

    def test_keys_lists_every_unexpired_record(self, store: ScannableStore) -> None:
        """Each key once, and none that is absent."""
        live, deleted = {a_key() for _ in range(5)}, a_key()
        for key in live | {deleted}:
            store.create(key, a_record())
        store.create(a_key(), a_record(expires_in=-10))
        store.delete(deleted)
        found = list(store.keys())

        assert len(found) == len(live)
        assert set(found) == live

    def test_keys_of_an_empty_store_are_none(self, store: ScannableStore) -> None:
        """Absence is an answer, not an error."""
        assert list(store.keys()) == []

    def test_what_is_listed_may_be_removed_meanwhile(self, store: ScannableStore) -> None:
        """Maintenance goes through the list and ends sessions as it goes."""
        filled(store, 1500)

        for key in store.keys():  # noqa: SIM118 - a store is no mapping
            assert store.delete(key)
        assert list(store.keys()) == []

    def test_a_large_store_is_listed_in_full(self, store: ScannableStore) -> None:
        """Each key once; and what has expired hides none of the others."""
        keys = filled(store, 2500)
        for _ in range(100):
            store.create(a_key(), a_record(expires_in=-10))

        assert sorted(store.keys()) == sorted(keys)


class BatchedContract:
    """What :class:`~session_middleware.Batched` promises."""

    def test_many_records_are_loaded_as_each_would_be(self, store: BatchedStore) -> None:
        """Values and versions of those that are there, whatever stands under the other keys."""
        keys, deleted, expired = [a_key() for _ in range(97)], a_key(), a_key()
        found = {key: created(store, key, a_record(key.encode() * 100, user_id="alice")) for key in keys}
        created(store, deleted)
        store.delete(deleted)
        store.create(expired, a_record(expires_in=-10))

        assert store.load_many([*keys, deleted, expired, a_key()]) == found
        assert store.load_many([deleted]) == {}

    def test_what_was_loaded_among_many_can_be_updated(self, store: BatchedStore) -> None:
        """Promise 3: the versions are those that an update asks for."""
        keys = filled(store, 3)
        found = store.load_many(keys)

        assert store.update(keys[1], a_record(b"new"), version=found[keys[1]].version)
        assert [store.load_many(keys)[key].value for key in keys] == [b"value", b"new", b"value"]

    def test_many_records_are_removed(self, store: BatchedStore) -> None:
        """Promise 5: those that are named are gone, those that were there are counted, and no other is touched."""
        keys, deleted, expired = filled(store, 97), a_key(), a_key()
        before = created(store, other := a_key())
        created(store, deleted)
        store.delete(deleted)
        store.create(expired, a_record(expires_in=-10))

        assert store.delete_many([*keys, deleted, expired, a_key()]) == len(keys)
        assert store.load_many(keys) == {}
        assert [store.load(key) for key in keys] == [None] * len(keys)
        assert loaded(store, other) == before

    def test_many_that_are_removed_at_once_are_counted_once(self, store: BatchedStore) -> None:
        """Each by one of those who asked for it, in whatever order they did."""
        keys = filled(store, 100)

        assert sum(race(*(partial(store.delete_many, keys[:: -1 if turn % 2 else 1]) for turn in range(4)))) == 100


class _Plan:
    """Which calls are to fail: of *verbs* (any, if empty), the *at*-th from now and those after it, *times* in all."""

    def __init__(self, verbs: tuple[str, ...], at: int, times: int | None, applied: bool) -> None:
        self.verbs, self.applied = verbs, applied
        self._skip, self._left = at - 1, times

    def strikes(self, verb: str) -> bool:
        if (self.verbs and verb not in self.verbs) or self._left == 0:
            return False
        if self._skip:
            self._skip -= 1
            return False
        if self._left is not None:
            self._left -= 1
        return True


class FaultyStore:
    """A store around another that notes every call, and fails when told to.

    ``calls`` holds ``(verb, key)`` in their order (for ``keys_of`` the user id in place of the key, for ``sweep``, ``keys``
    and what is asked about many keys the empty text; ``open``, which belongs to no request, is not noted). A listing is one
    call, made with its first step. It can do what the other can: ``isinstance(store, Sweepable)`` and the like say the same.
    """

    def __init__(self, store: Store) -> None:
        self.inner = store
        self.calls: list[tuple[str, str]] = []
        self.single_process: bool = getattr(store, "single_process", False)
        self._plans: list[_Plan] = []
        self._lock = Lock()
        # As attributes of the object, because that is where isinstance() looks from Python 3.12 on.
        if isinstance(store, Openable):
            self.open = lambda: self._call("open", "", store.open)
        if isinstance(store, Sweepable):
            self.sweep = lambda limit: self._call("sweep", "", partial(store.sweep, limit))
        if isinstance(store, UserIndexed):
            self.keys_of: Callable[[str], Iterator[str]] = lambda user_id: self._list(
                "keys_of", user_id, store.keys_of(user_id)
            )
        if isinstance(store, Scannable):
            self.keys: Callable[[], Iterator[str]] = lambda: self._list("keys", "", store.keys())
        if isinstance(store, Batched):
            self.load_many = lambda keys: self._call("load_many", "", partial(store.load_many, keys))
            self.delete_many = lambda keys: self._call("delete_many", "", partial(store.delete_many, keys))

    def __repr__(self) -> str:
        return f"FaultyStore({self.inner!r})"

    def fail(self, *verbs: str, at: int = 1, times: int | None = 1, applied: bool = False) -> None:
        """Let calls of *verbs* (of any, if none is named) raise :exc:`StoreUnavailable`, from the *at*-th of them on.

        *times*: that many calls; ``None``: until :meth:`heal`. *applied*: the store does what was asked, and the answer
        is lost; a listing tells all that there is, and then fails in place of ending. Plans add up; each counts from the
        moment at which it was made.
        """
        with self._lock:
            self._plans.append(_Plan(verbs, at, times, applied))

    def heal(self) -> None:
        """Fail no more."""
        with self._lock:
            self._plans.clear()

    def create(self, key: str, record: Record) -> bool:
        return self._call("create", key, partial(self.inner.create, key, record))

    def load(self, key: str) -> Stored | None:
        return self._call("load", key, partial(self.inner.load, key))

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return self._call("update", key, partial(self.inner.update, key, record, version=version))

    def delete(self, key: str) -> bool:
        return self._call("delete", key, partial(self.inner.delete, key))

    def _call(self, verb: str, key: str, call: Callable[[], T]) -> T:
        acknowledged = self._begin(verb, key)
        result = call()
        if not acknowledged:
            raise StoreUnavailable(f"{verb}: done, but not acknowledged, as the test asked")
        return result

    def _list(self, verb: str, key: str, keys: Iterable[str]) -> Iterator[str]:
        whole = self._begin(verb, key)
        yield from keys
        if not whole:
            raise StoreUnavailable(f"{verb}: broken off, as the test asked")

    def _begin(self, verb: str, key: str) -> bool:
        """Note the call, and raise if it is to fail; return whether it is to be acknowledged."""
        with self._lock:
            if verb != "open":
                self.calls.append((verb, key))
            struck = [plan for plan in self._plans if plan.strikes(verb)]
        if any(not plan.applied for plan in struck):
            raise StoreUnavailable(f"{verb}: not done, as the test asked")
        return not struck


class FakeClock:
    """A clock that stands still until it is set forward; call it for the time (epoch seconds)."""

    def __init__(self, start: float | None = None) -> None:
        self.now = time.time() if start is None else start

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Set the clock forward; a negative number sets it back."""
        self.now += seconds
