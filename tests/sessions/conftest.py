"""A site on a store of each kind, and its clock."""

import pytest

from session_middleware import Store
from session_middleware.testing import FakeClock
from tests.sites import Site


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def site(store: Store, clock: FakeClock) -> Site:
    return Site(store, clock)
