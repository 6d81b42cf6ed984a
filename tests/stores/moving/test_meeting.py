"""Calls that meet in the middle of another one, each at one moment: what the orders of all calls find, in a few lines."""

from collections.abc import Callable

from session_middleware import MemoryStore, Record
from session_middleware.moving import MovingStore
from session_middleware.stores.base import Version
from session_middleware.testing import a_key, a_record, created, loaded


class Met(MemoryStore):
    """Lets something happen once, right before it is asked to update or right after it has created."""

    before_update: Callable[[], object] | None = None
    after_create: Callable[[], object] | None = None

    def create(self, key: str, record: Record) -> bool:
        made = super().create(key, record)
        happens, self.after_create = self.after_create, None
        if happens is not None:
            happens()
        return made

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        happens, self.before_update = self.before_update, None
        if happens is not None:
            happens()
        return super().update(key, record, version=version)


def test_a_place_that_is_kept_for_longer_meanwhile_is_taken_all_the_same() -> None:
    """Promise 6: somebody else looks whether the key is free, with a record that lives longer, and it is not."""
    new, old = Met(), Met()
    key, store = a_key(), MovingStore(new, old)
    created(old, key)
    version, others = loaded(store, key).version, list[bool]()

    def the_marker_stands() -> None:
        new.before_update = lambda: others.append(MovingStore(new, old).create(key, a_record(b"other", expires_in=86400)))

    old.before_update = the_marker_stands
    assert store.update(key, a_record(b"moved"), version=version)
    assert others == [False]
    assert loaded(new, key).value == b"moved"
    assert old.load(key) is None


def test_what_is_written_over_in_the_old_store_meanwhile_counts_for_nothing() -> None:
    """Two create one record, each in its store: that of the new one counts, whoever removes the other."""
    new, old = Met(), Met()
    key, store = a_key(), MovingStore(new, old, hand_over=False)
    old.after_create = lambda: created(new, key, a_record(b"faster"))
    old.before_update = lambda: MovingStore(new, old).hand_over_now(key)

    store.create(key, a_record(b"slower"))
    assert loaded(store, key).value == b"faster"
    assert old.load(key) is None
