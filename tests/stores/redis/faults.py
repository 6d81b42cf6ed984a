"""How a store behaves that something is wrong with: how long it takes, and that it fails."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from session_middleware import StoreUnavailable
from session_middleware.stores.redis import RedisStore
from session_middleware.testing import a_key, a_record, created
from tests.stopwatch import Stopwatch

BUDGET = 0.15


def timed(work: Callable[[], object]) -> float:
    """Return how long *work* takes, but for what the machine is late."""
    with Stopwatch() as watch:
        started = time.monotonic()
        work()
        end = time.monotonic()
        return end - started - watch.lost(started, end)


@contextmanager
def limited(store: RedisStore, budget: float = BUDGET) -> Iterator[None]:
    """Let verbs take so long and no longer (seconds), on connections that are there, too."""
    patient, store._timeout = store._timeout, budget
    try:
        yield
    finally:
        store._timeout = patient


def use(store: RedisStore) -> None:
    """Write a session and read it, again if that took too long on a machine that is late."""
    deadline = time.monotonic() + 60
    while True:
        key = a_key()
        with suppress(StoreUnavailable):
            assert created(store, key, a_record(key.encode())).value == key.encode()
            return
        assert time.monotonic() < deadline, "the store is not right again"
        time.sleep(0.01)


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
            assert now < started + within + watch.lost(started, now), "the store has not come back"
            time.sleep(0.005)
        now = time.monotonic()
        return now - started - watch.lost(started, now)
