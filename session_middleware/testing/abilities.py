"""What a store promises that can do more than the four verbs, as tests: one class for each ability."""

from functools import partial
from typing import Protocol

from session_middleware.stores.base import (
    Batched,
    Checkable,
    Copyable,
    Health,
    Record,
    Scannable,
    Store,
    Sweepable,
    UserIndexed,
)
from session_middleware.testing.helpers import (
    DAY,
    THREADS,
    a_key,
    a_record,
    created,
    filled,
    listed,
    loaded,
    prolonged,
    race,
)

_MANY = 5000


class SweepableStore(Store, Sweepable, Protocol):
    """What :class:`SweepableContract` tests."""


class UserIndexedStore(Store, UserIndexed, Protocol):
    """What :class:`UserIndexContract` tests."""


class ScannableStore(Store, Scannable, Protocol):
    """What :class:`ScannableContract` tests."""


class BatchedStore(Store, Batched, Protocol):
    """What :class:`BatchedContract` tests."""


class CheckableStore(Store, Checkable, Protocol):
    """What :class:`CheckableContract` tests."""


class CheckableContract:
    """What :class:`~session_middleware.Checkable` promises."""

    def test_health_tells_what_it_is(self, store: CheckableStore) -> None:
        """And of numbers those that can be: room is a part of what there is."""
        health = store.health()

        assert isinstance(health, Health)
        assert health.kind
        assert health.free_space is None or 0 <= health.free_space <= (health.space or 0)
        assert health.clock_difference is None or abs(health.clock_difference) < DAY

    def test_health_is_no_use_of_a_session(self, store: CheckableStore) -> None:
        """What is there stays as it is, at the version that it had."""
        key = a_key()
        before = created(store, key)
        store.health()

        assert loaded(store, key) == before


class CopyableStore(Store, Copyable, Protocol):
    """What :class:`CopyableContract` tests."""


class SweepableContract:
    """What :class:`~session_middleware.Sweepable` promises."""

    def test_sweep_removes_what_has_expired(self, store: SweepableStore) -> None:
        """Promise 13: expired records go, and only they. Promise 24: what is removed is told, with its user."""
        live, expired = a_key(), {a_key(): user_id for user_id in (None, "", "alice", "aliçe" * 40, "a\0b")}
        before = created(store, live)
        for key, user_id in expired.items():
            store.create(key, a_record(expires_in=-DAY, user_id=user_id))

        assert sorted(store.sweep(100)) == sorted(expired.items())
        assert loaded(store, live) == before
        assert not store.sweep(100)

    def test_sweep_removes_at_most_the_limit(self, store: SweepableStore) -> None:
        """Promise 13: one call takes a bounded time; calling again goes on."""
        for _ in range(7):
            store.create(a_key(), a_record(expires_in=-DAY))

        assert [len(store.sweep(3)) for _ in range(4)] == [3, 3, 1, 0]

    def test_sweep_of_nothing_removes_nothing(self, store: SweepableStore) -> None:
        """An empty store is swept like any other."""
        assert not store.sweep(100)

    def test_sweep_spares_a_session_whose_end_was_moved(self, store: SweepableStore) -> None:
        """F-C10: what an update has prolonged is not removed at its first end."""
        key = prolonged(store, a_record(b"new", expires_in=DAY))
        store.sweep(100)

        assert loaded(store, key).value == b"new"

    def test_racing_sweeps_tell_of_each_record_once(self, store: SweepableStore) -> None:
        """Processes that sweep at the same time share the work. Promise 24: one of them tells."""
        expired = [a_key() for _ in range(40)]
        for key in expired:
            store.create(key, a_record(expires_in=-DAY))

        found = race(*[partial(store.sweep, 10)] * THREADS)
        assert sorted(swept.key for some in found for swept in some) == sorted(expired)


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
                    assert store.update(changed, a_record(user_id="alice", expires_in=DAY), version=version)
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
        """Promise 5: those that are named are gone, those that were there are told, and no other is touched."""
        keys, deleted, expired = filled(store, 97), a_key(), a_key()
        before = created(store, other := a_key())
        created(store, deleted)
        store.delete(deleted)
        store.create(expired, a_record(expires_in=-10))

        assert sorted(store.delete_many([*keys, deleted, expired, a_key()])) == sorted(keys)
        assert store.load_many(keys) == {}
        assert [store.load(key) for key in keys] == [None] * len(keys)
        assert loaded(store, other) == before

    def test_many_that_are_removed_at_once_are_told_of_once(self, store: BatchedStore) -> None:
        """Each by one of those who asked for it, in whatever order they did."""
        keys = filled(store, 100)

        found = race(*(partial(store.delete_many, keys[:: -1 if turn % 2 else 1]) for turn in range(4)))
        assert sorted(key for some in found for key in some) == sorted(keys)


class CopyableContract:
    """What :class:`~session_middleware.Copyable` promises."""

    def test_a_whole_record_is_as_it_was_written(self, store: CopyableStore) -> None:
        """Value, end and user, and the version that an update asks for."""
        for user_id in (None, "alice", "\0", "日本" * 42):
            key, record = a_key(), a_record(b"\0\xffvalue", user_id=user_id)
            stored = created(store, key, record)

            assert store.load_whole(key) == (record, stored.version)
            changed = a_record(b"", expires_in=DAY, user_id="bob")
            assert store.update(key, changed, version=stored.version)
            assert store.load_whole(key) == (changed, loaded(store, key).version)

    def test_nothing_whole_is_there_of_what_is_absent(self, store: CopyableStore) -> None:
        """Absence is an answer, not an error."""
        expired, deleted = a_key(), a_key()
        store.create(expired, a_record(expires_in=-10))
        created(store, deleted)
        store.delete(deleted)

        assert [store.load_whole(key) for key in (expired, deleted, a_key())] == [None] * 3
