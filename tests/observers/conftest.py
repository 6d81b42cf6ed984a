"""A manager in memory, whose observer keeps what it is told; the time stands still."""

from collections.abc import Iterator

import pytest

from session_middleware import MemoryStore, SessionManager
from session_middleware.testing import FakeClock, FaultyStore, clock_in_hand
from tests.observers.notes import Notes


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with clock_in_hand() as clock:
        yield clock


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def faulty(clock: FakeClock) -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def manager(faulty: FaultyStore, notes: Notes) -> SessionManager:
    return SessionManager(faulty, observer=notes)
