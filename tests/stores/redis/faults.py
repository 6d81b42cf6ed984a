"""How a store behaves that something is wrong with: how long it takes, and that it fails."""

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from session_middleware import StoreUnavailable
from session_middleware.stores.redis import RedisStore
from session_middleware.testing import a_key
from tests.stopwatch import Stopwatch

BUDGET = 0.15


def timed(work: Callable[[], object]) -> float:
    """Return how long *work* takes, but for what the machine is late."""
    with Stopwatch() as watch:
        work()
    return watch.own


def fails(work: Callable[[], object]) -> None:
    with pytest.raises(StoreUnavailable):
        work()


def wait_until_back(store: RedisStore, within: float) -> float:
    """Ask until the store answers again; return after how many seconds it did, but for what the machine was late."""
    with Stopwatch() as watch:
        started = time.monotonic()
        while True:
            with suppress(StoreUnavailable):
                store.load(a_key())
                break
            now = time.monotonic()
            assert now < started + within + watch.late(started, now), "the store has not come back"
            time.sleep(0.005)
    return watch.own
