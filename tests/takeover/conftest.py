"""What the tests of sessions that are carried over share."""

import pytest

from session_middleware import Store
from session_middleware.testing import FakeClock, FaultyStore
from tests.sites import AgedStore
from tests.takeover.library import Library, Site


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def faulty(store: Store, clock: FakeClock) -> FaultyStore:
    return FaultyStore(AgedStore(store, clock))


@pytest.fixture
def site(faulty: FaultyStore, library: Library, clock: FakeClock) -> Site:
    return Site(faulty, library, clock=clock)
