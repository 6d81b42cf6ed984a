"""How a store behaves that something is wrong with: that it fails, and how it is right again."""

from collections.abc import Callable

import pytest

from session_middleware import StoreUnavailable
from session_middleware.stores.redis import RedisStore
from session_middleware.testing import a_key, a_record, created
from tests.stopwatch import Stopwatch
from tests.stores.budgets import served

BUDGET = 0.15


def use(store: RedisStore) -> None:
    """Write a session and read it, again if that took too long on a machine that is late."""

    def write_and_read() -> None:
        key = a_key()
        assert created(store, key, a_record(key.encode())).value == key.encode()

    served(write_and_read, within=60)


def fails(work: Callable[[], object]) -> None:
    with pytest.raises(StoreUnavailable):
        work()


def wait_until_back(store: RedisStore, within: float) -> float:
    """Ask until the store answers again; return after how many seconds it did, but for what the machine was late."""
    with Stopwatch() as watch:
        served(lambda: store.load(a_key()), within=within)
    return watch.least
