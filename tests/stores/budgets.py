"""How long a store that something is wrong with takes to fail, and to be right again."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from session_middleware import StoreUnavailable
from tests.stopwatch import Stopwatch

T = TypeVar("T")


def refused_after(call: Callable[[], object], budget: float = 0.0, *, match: str | None = None) -> float:
    """Return how long *call* takes to raise StoreUnavailable (seconds), but for what the machine is late.

    If it waits for a *budget*, only what the machine is late after that delays it.
    """
    with Stopwatch() as watch, pytest.raises(StoreUnavailable, match=match):
        call()
    return watch.within(budget)


def served(call: Callable[[], T], *, within: float) -> T:
    """Call until it raises no StoreUnavailable, for so long (s) and for what the machine is late; return the answer."""
    with Stopwatch() as watch:
        started = time.monotonic()
        while True:
            try:
                return call()
            except StoreUnavailable:
                now = time.monotonic()
                assert now < started + within + watch.lost(started, now), "the store has not come back"
                time.sleep(0.01)


@contextmanager
def limited(timed: Any, budget: float) -> Iterator[None]:
    """Let verbs take so long and no longer (seconds), on connections that are there, too: *timed* keeps how long."""
    patient, timed._timeout = timed._timeout, budget
    try:
        yield
    finally:
        timed._timeout = patient
