"""FaultyStore: a store that is full, and one that is slow."""

import time

import pytest

from session_middleware import MemoryStore, Record, StoreUnavailable
from session_middleware.testing import FaultyStore, a_key, a_record, created, loaded


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


def test_a_full_store_writes_nothing_and_removes(store: FaultyStore) -> None:
    """What a store promises where it refuses writes: load, delete and compare-and-delete work."""
    kept, removed, deleted = a_key(), a_key(), a_key()
    before = [created(store, key) for key in (kept, removed, deleted)]
    store.refuse_writes()

    with pytest.raises(StoreUnavailable, match="create: refused"):
        store.create(a_key(), a_record())
    with pytest.raises(StoreUnavailable, match="update: refused"):
        store.update(kept, a_record(b"new"), version=before[0].version)
    assert loaded(store, kept) == before[0]
    assert store.update(removed, Record(b"", 0, None), version=before[1].version)
    assert store.delete(deleted)

    store.heal()
    assert store.update(kept, a_record(b"new"), version=before[0].version)


def test_a_slow_store_takes_its_time_and_answers(store: FaultyStore) -> None:
    """Each call, until it is healed."""
    key = a_key()
    store.delay(0.05)
    begun = time.monotonic()
    assert store.create(key, a_record())
    assert store.load(key) is not None
    took = time.monotonic() - begun

    assert took >= 0.1
    store.heal()
    store.delay(3600)
    store.heal()
    assert store.load(key) is not None
