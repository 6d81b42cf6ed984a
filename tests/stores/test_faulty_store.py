"""FaultyStore: how its listings fail. That it keeps the contract otherwise is tested beside the store in it."""

from collections.abc import Callable, Iterator

import pytest

from session_middleware import MemoryStore, StoreUnavailable
from session_middleware.testing import FaultyStore, filled

LISTINGS: dict[str, Callable[[FaultyStore], Iterator[str]]] = {
    "keys_of": lambda store: store.keys_of("alice"),
    "keys": lambda store: store.keys(),
}


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.mark.parametrize("verb", LISTINGS)
def test_a_listing_fails_at_its_first_step(store: FaultyStore, verb: str) -> None:
    """As the listing of a store that cannot be asked does; what is asked next is answered."""
    keys = filled(store.inner, 3, user_id="alice")
    store.fail(verb)
    listing = LISTINGS[verb](store)
    assert store.calls == []

    with pytest.raises(StoreUnavailable):
        next(listing)
    assert store.calls == [(verb, "alice" if verb == "keys_of" else "")]
    assert sorted(LISTINGS[verb](store)) == sorted(keys)


@pytest.mark.parametrize("verb", LISTINGS)
def test_a_listing_breaks_off_in_place_of_ending(store: FaultyStore, verb: str) -> None:
    """All that was told is true, and it is not known to be all."""
    keys = filled(store.inner, 3, user_id="alice")
    store.fail(verb, applied=True)
    listing = LISTINGS[verb](store)

    assert sorted(next(listing) for _ in keys) == sorted(keys)
    with pytest.raises(StoreUnavailable, match="broken off"):
        next(listing)
