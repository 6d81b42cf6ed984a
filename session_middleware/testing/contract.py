"""What every store promises, as tests: the four verbs. What only some stores can do is in ``abilities``."""

import secrets
from collections import Counter
from functools import partial

from session_middleware.stores.base import Record, Store
from session_middleware.testing.helpers import (
    DAY,
    THREADS,
    a_key,
    a_record,
    created,
    created_short_lived,
    loaded,
    prolonged,
    race,
    short_lived,
    wait_until_absent,
)


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
            created(store, key, a_record(expires_in=years * 365 * DAY))

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
        key, stored = created_short_lived(store)
        wait_until_absent(store, key)

        assert not store.update(key, a_record(), version=stored.version)
        assert store.load(key) is None

    def test_update_moves_the_expiry(self, store: Store) -> None:
        """A record lives as long as its last update says: longer or shorter."""
        longer, shorter = prolonged(store, a_record(expires_in=DAY)), a_key()
        version = created(store, shorter, a_record(expires_in=DAY)).version
        assert store.update(shorter, short_lived(), version=version)

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
            values = [b"%d" % number for number in range(THREADS)]
            won = race(*(partial(store.create, key, a_record(value)) for value in values))

            assert Counter(won) == {True: 1, False: THREADS - 1}
            assert loaded(store, key).value == values[won.index(True)]

    def test_racing_updates_store_one(self, store: Store) -> None:
        """Promise 3: of any number of updates at one version exactly one is stored, and the others are told."""
        for _ in range(5):
            key = a_key()
            version = created(store, key).version
            values = [b"%d" % number for number in range(THREADS)]
            won = race(*(partial(store.update, key, a_record(value), version=version) for value in values))

            assert Counter(won) == {True: 1, False: THREADS - 1}
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

            assert Counter(race(*[partial(store.delete, key)] * THREADS)) == {True: 1, False: THREADS - 1}

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

        race(*[increment] * THREADS)
        assert loaded(store, key).value == b"%d" % (each * THREADS)

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

        race(*(partial(live, b"%d" % number) for number in range(THREADS)))
