"""MovingStore: where it reads and writes, what stays behind, and what it says when it cannot work."""

from collections.abc import Callable
from pathlib import Path

import pytest

from session_middleware import ConfigurationError, MemoryStore, Record, SessionManager, StoreUnavailable, open_store
from session_middleware.moving import MovingStore, copy
from session_middleware.notes import Tombstone, pack_reservation
from session_middleware.record import unpack
from session_middleware.stores.base import Batched, Copyable, Openable, Scannable, Store, Sweepable, UserIndexed
from session_middleware.stores.redis import RedisStore
from session_middleware.testing import BatchedContract, FaultyStore, a_key, a_record, created, filled, listed, loaded
from tests.backends.redis import RedisServer
from tests.backends.running import PATIENCE
from tests.stores.moving.stores import BegunBefore, Mixed

A_DAY = 86400


class Plain:
    """Hands on the four verbs alone."""

    def __init__(self, store: Store) -> None:
        self.create, self.load, self.update, self.delete = store.create, store.load, store.update, store.delete


@pytest.fixture
def old() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def new() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def store(new: FaultyStore, old: FaultyStore) -> MovingStore:
    return MovingStore(new, old)


def wrote(store: FaultyStore) -> bool:
    return any(verb not in ("load", "load_many") for verb, _ in store.calls)


def half_moved(store: MovingStore, record: Record) -> str:
    """Return the key of a record whose hand-over was broken off: the marker is there, and what was to follow is not."""
    assert isinstance(store.new, FaultyStore)
    key = a_key()
    version = BegunBefore(store.new, store.old)
    stored = created(version, key)
    store.new.fail("update")
    assert store.update(key, record, version=stored.version)
    store.new.heal()
    return key


def test_reading_hands_nothing_over(store: MovingStore, new: FaultyStore, old: FaultyStore) -> None:
    """Promise 2: whoever reads writes nothing, and asks no more than it takes."""
    in_old, in_new = a_key(), a_key()
    created(old.inner, in_old)
    created(new.inner, in_new)
    found = [store.load(key) is not None for key in (in_old, in_new, a_key())]

    assert found == [True, True, False]
    assert not wrote(new)
    assert not wrote(old)
    assert len(new.calls) + len(old.calls) == 2 + 1 + 3


def test_a_record_is_handed_over_when_it_is_written(store: MovingStore, new: FaultyStore, old: FaultyStore) -> None:
    """Once: what was written is in the new store, with its end and its user, and in the old one there is nothing."""
    key, record = a_key(), a_record(b"changed", expires_in=A_DAY, user_id="alice")
    created(old.inner, key)

    assert store.update(key, record, version=loaded(store, key).version)
    assert old.inner.load(key) is None
    assert isinstance(new.inner, MemoryStore)
    whole = new.inner.load_whole(key)
    assert whole is not None
    assert whole[0] == record
    assert list(new.inner.keys_of("alice")) == list(store.keys_of("alice")) == [key]


def test_without_handing_over_each_is_changed_where_it_is(new: FaultyStore, old: FaultyStore) -> None:
    """New ones are made in the old store, where processes that know it alone find them."""
    store = MovingStore(new, old, hand_over=False)
    in_old, in_new = a_key(), a_key()
    created(new.inner, in_new)
    created(store, in_old)
    for key in (in_old, in_new):
        assert store.update(key, a_record(b"changed"), version=loaded(store, key).version)

    assert loaded(old.inner, in_old).value == loaded(new.inner, in_new).value == b"changed"
    assert new.inner.load(in_old) is None
    assert not store.create(in_new, a_record())


def test_what_was_on_its_way_is_read_changed_and_removed(store: MovingStore, old: FaultyStore) -> None:
    """Promise 6: what was acknowledged counts, though who has handed it over was stopped in the middle."""
    first, second = half_moved(store, a_record(b"one", user_id="alice")), half_moved(store, a_record(b"two"))
    assert (loaded(store, first).value, loaded(store, second).value) == (b"one", b"two")
    assert not store.create(first, a_record())
    assert not MovingStore(store.new, store.old, hand_over=False).create(first, a_record())
    assert listed(store, "alice") == [first]

    assert store.update(first, a_record(b"three"), version=loaded(store, first).version)
    assert store.delete(second)
    assert loaded(store, first).value == b"three"
    assert store.load(second) is None
    assert [old.inner.load(key) for key in (first, second)] == [None, None]


@pytest.mark.parametrize("ends", ["delete", "compare and delete"])
def test_ending_removes_what_a_move_has_left(store: MovingStore, new: FaultyStore, old: FaultyStore, ends: str) -> None:
    """Promise 19: a marker whose record has moved on goes with the record, and brings nothing back."""
    key = a_key()
    version = created(old.inner, key).version
    old.fail("update", at=2)
    assert store.update(key, a_record(b"moved"), version=loaded(store, key).version)
    assert loaded(new.inner, key).value == b"moved"
    assert old.inner.load(key) is not None
    assert loaded(old.inner, key).version != version

    if ends == "delete":
        assert store.delete(key)
    else:
        assert store.update(key, Record(b"", 0, None), version=loaded(store, key).version)
    assert old.inner.load(key) is None
    assert store.load(key) is None


@pytest.mark.parametrize("hand_over", [True, False])
def test_what_is_left_of_a_move_keeps_no_key(new: FaultyStore, old: FaultyStore, hand_over: bool) -> None:
    """A marker without its place, and a place without its marker, in either store, are no records."""
    store, keys = MovingStore(new, old, hand_over=hand_over), [a_key() for _ in range(4)]
    place = Record(pack_reservation(b"a nonce!", 2**32), 2**32, "")
    new.inner.create(keys[0], place)
    old.inner.create(keys[1], place)
    for number, key in enumerate(keys[2:]):
        half_moved_key = half_moved(MovingStore(new, old), a_record())
        marker = loaded(old.inner, half_moved_key)
        (old, new)[number].inner.create(key, a_record(marker.value))
        assert store.delete(half_moved_key)

    assert [store.load(key) for key in keys] == [None] * 4
    assert [store.create(key, a_record(b"fresh")) for key in keys if hand_over or key != keys[3]] == [True] * (3 + hand_over)
    assert loaded(store, keys[1]).value == b"fresh"


def test_who_knows_of_no_move_takes_a_kept_place_for_the_end_of_a_session() -> None:
    """Nobody is told of damage."""
    assert unpack(pack_reservation(b"a nonce!", 2**32)) == Tombstone()


def test_a_place_is_kept_as_long_as_the_record_lives(store: MovingStore, new: FaultyStore, old: FaultyStore) -> None:
    """Whoever comes later with a record that lives longer keeps the place for longer."""
    key = half_moved(store, a_record(b"moves"))
    place = loaded(new.inner, key)
    assert old.inner.delete(key)

    assert store.create(key, a_record(b"longer", expires_in=A_DAY * 9))
    assert loaded(new.inner, key).value == b"longer"
    assert place.version != loaded(new.inner, key).version


def test_a_record_that_keeps_changing_is_deleted_all_the_same(
    store: MovingStore, new: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 5: logout is final."""
    key = a_key()
    created(store, key)
    monkeypatch.setattr(store, "update", lambda *args, **kwargs: False)

    assert store.delete(key)
    assert new.inner.load(key) is None


def test_what_a_full_new_store_cannot_take_stays(store: MovingStore, new: FaultyStore, old: FaultyStore) -> None:
    """Nothing has moved, the session lives, and it can be ended."""
    key = a_key()
    created(old.inner, key)
    new.refuse_writes()
    version = loaded(store, key).version
    with pytest.raises(StoreUnavailable):
        store.update(key, a_record(b"changed"), version=version)

    assert loaded(store, key).value == b"value"
    assert store.delete(key)
    assert store.load(key) is None


def test_a_marker_that_expired_is_no_end_of_a_session_that_moved(
    store: MovingStore, new: FaultyStore, old: FaultyStore
) -> None:
    """Promise 24: of what was swept it tells what has ended."""
    moved, ended = a_key(), a_key()
    created(new.inner, moved)
    for key in (moved, ended):
        old.inner.create(key, a_record(expires_in=-A_DAY, user_id="alice"))

    assert [gone.key for gone in store.sweep(5)] == [ended]


def test_it_can_do_what_both_stores_can(server: RedisServer) -> None:
    """And it sweeps, and opens, whichever of them needs it."""
    memory, plain, redis = MemoryStore(), Plain(MemoryStore()), RedisStore(server.url, timeout=PATIENCE)

    def abilities(new: Store, old: Store) -> list[bool]:
        store = MovingStore(new, old)
        return [isinstance(store, ability) for ability in (Sweepable, UserIndexed, Scannable, Batched, Openable)]

    assert abilities(memory, MemoryStore()) == [True, True, True, False, False]
    assert abilities(redis, RedisStore(server.url, timeout=PATIENCE)) == [False, True, True, True, True]
    assert abilities(memory, redis) == abilities(redis, memory) == [True, True, True, False, True]
    assert abilities(plain, Plain(memory)) == [False] * 5
    assert abilities(plain, memory)[:2] == [True, False]
    assert MovingStore(redis, memory).single_process
    assert not MovingStore(redis, plain).single_process
    assert MovingStore(plain, memory).sweep(5) == MovingStore(memory, plain).sweep(5) == []
    MovingStore(redis, memory).open()
    MovingStore(memory, redis).close()


def test_a_value_has_room_in_both_stores() -> None:
    """Promise 15: in the old one with what a marker takes beside it."""
    small, large, any_size = MemoryStore(max_bytes=5000), MemoryStore(max_bytes=50_000), Plain(MemoryStore())

    assert MovingStore(small, large).max_value == small.max_value
    assert MovingStore(small, any_size).max_value == small.max_value
    longest = MovingStore(any_size, small).max_value
    assert longest is not None
    assert longest < small.max_value
    assert MovingStore(large, small).max_value == longest
    assert MovingStore(any_size, any_size.__class__(small)).max_value is None
    store = MovingStore(large, small)
    created(store, key := a_key(), a_record(bytes(longest)))
    assert loaded(store, key).value == bytes(longest)


class TestManyAtOnce(BatchedContract):
    """Wherever they are, what is asked about many at once is answered as for each of them."""

    @pytest.fixture(params=[MovingStore, BegunBefore, Mixed], ids=lambda made: made.__name__)
    def store(self, request: pytest.FixtureRequest, server: RedisServer, prefix: str) -> Store:
        stores = [RedisStore(server.url, prefix=f"{name}:{prefix}", timeout=PATIENCE) for name in ("new", "old")]
        made: Callable[[Store, Store], Store] = request.param
        return made(*stores)


class TestURLs:
    @pytest.mark.parametrize(("scheme", "hand_over"), [("moving", True), ("moving-later", False), ("MOVING", True)])
    def test_a_url_names_both_stores(self, scheme: str, hand_over: bool) -> None:
        """The new one first; each with its own options."""
        store = open_store(f"{scheme}:memory:?max_entries=7 sqlite:///old.sqlite3?timeout=3")

        assert isinstance(store, MovingStore)
        assert store.hand_over is hand_over
        assert repr(store.new) == "MemoryStore()"
        assert "old.sqlite3" in repr(store.old)

    @pytest.mark.parametrize("rest", ["", "memory:", "memory: memory: memory:"])
    def test_a_url_with_less_or_more_says_what_to_write(self, rest: str) -> None:
        """Promise 15."""
        with pytest.raises(ConfigurationError, match="two URLs"):
            open_store(f"moving:{rest}")

    def test_its_name_says_what_it_does(self) -> None:
        """With what stores say of themselves, which is no secret."""
        stores = MemoryStore(), MemoryStore()

        assert repr(MovingStore(*stores)) == "MovingStore(MemoryStore(), MemoryStore())"
        assert repr(MovingStore(*stores, hand_over=False)).endswith(", hand_over=False)")


def test_what_cannot_work_is_refused() -> None:
    """Promise 15."""
    store = MemoryStore()
    with pytest.raises(ConfigurationError, match="write two"):
        MovingStore(store, store)
    with pytest.raises(ConfigurationError, match="True or False"):
        MovingStore(store, MemoryStore(), hand_over="no")  # type: ignore[arg-type]  # what a slip would write
    with pytest.raises(ConfigurationError, match="cannot list"):
        copy(Plain(store), MemoryStore())


class TestCopy:
    def test_all_is_copied_with_its_end_and_user(self) -> None:
        """Live ones; what has expired is left to its store. The number of those that were copied is told."""
        source, target, told = MemoryStore(), MemoryStore(), list[int]()
        records = {a_key(): a_record(b"%d" % number, user_id="alice" if number % 2 else None) for number in range(20)}
        for key, record in records.items():
            source.create(key, record)
        source.create(a_key(), a_record(expires_in=-A_DAY))

        assert copy(source, target, progress=told.append) == 0
        assert told == list(range(1, 21))
        assert {key: whole[0] for key in records if (whole := target.load_whole(key))} == records
        assert list(source.keys()) == []
        assert copy(source, target) == 0

    def test_where_nothing_is_left_it_is_over(self) -> None:
        """As when it is run once more, to see whether all has moved."""
        assert copy(MemoryStore(), MemoryStore()) == 0

    def test_no_store_is_copied_to_itself(self, tmp_path: Path) -> None:
        """Promise 15: under two names it would find everything in the other store, and remove it here."""
        urls = [f"sqlite:///{tmp_path}/sessions.sqlite3", f"sqlite:///{tmp_path}/./sessions.sqlite3"]
        store, same = map(open_store, urls)
        assert isinstance(store, Copyable)
        keys = filled(store, 3)
        with pytest.raises(ConfigurationError, match="are one"):
            copy(store, same)
        with pytest.raises(ConfigurationError, match="are one"):
            SessionManager("moving:" + " ".join(urls)).check_store()

        assert isinstance(store, Scannable)
        assert sorted(store.keys()) == sorted(keys)

    def test_nothing_newer_is_written_over(self, new: FaultyStore, old: FaultyStore) -> None:
        """What the target has counts."""
        created(new.inner, key := a_key(), a_record(b"newer"))
        created(old.inner, key, a_record(b"older"))

        assert copy(old, new) == 0
        assert loaded(new.inner, key).value == b"newer"
        assert old.inner.load(key) is None

    def test_it_goes_on_where_it_was(self, new: FaultyStore, old: FaultyStore) -> None:
        """Promise 7: a failure is an error; what is there is there once, and the rest is copied the next time."""
        keys = filled(old.inner, 30)
        for verb in ("update", "create", "load_whole"):
            (new if verb == "create" else old).fail(verb, at=3)
            with pytest.raises(StoreUnavailable):
                copy(old, new)
            new.heal()
            old.heal()

        assert copy(old, new) == 0
        assert isinstance(new.inner, MemoryStore)
        assert sorted(new.inner.keys()) == sorted(keys)

    def test_what_is_half_moved_is_brought_to_its_end(self, store: MovingStore, new: FaultyStore, old: FaultyStore) -> None:
        """And what is left there of other moves is removed."""
        key = half_moved(store, a_record(b"moved", user_id="alice"))
        old.inner.create(a_key(), Record(pack_reservation(b"a nonce!", 2**32), 2**32, ""))

        assert copy(old, new) == 0
        assert loaded(new.inner, key).value == b"moved"
        assert not store.hand_over_now(a_key())

    def test_what_cannot_be_moved_is_counted(self, new: FaultyStore, old: FaultyStore) -> None:
        """For who runs it again: it does not go round for ever."""
        filled(old.inner, 3)
        refusing = FaultyStore(old)
        refusing.update = lambda key, record, *, version: False  # type: ignore[method-assign]  # as if others were faster

        assert copy(refusing, new) == 3

    def test_what_is_no_session_stays_nobodys(self, server: RedisServer, prefix: str) -> None:
        """A mark and an end are not for those that make room among anonymous sessions, though Redis knows no difference."""
        source, target = RedisStore(server.url, prefix=prefix, timeout=PATIENCE), MemoryStore()
        value = pack_reservation(b"a nonce!", 2**32)
        keys = {b"\1other": None, value[:5] + b"damaged": None}
        for number, content in enumerate(keys):
            source.create(f"{number:012}", a_record(content))

        assert copy(source, target) == 0
        whole = [target.load_whole(f"{number:012}") for number in range(2)]
        assert [found and found[0].user_id for found in whole] == [None, None]
