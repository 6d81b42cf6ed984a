"""What keeps requests from queueing for a server that is away."""

import pytest

from session_middleware import StoreUnavailable
from session_middleware.stores.breaker import Breaker
from session_middleware.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1000.0)


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    return Breaker("host:1", pause=0.5, clock=clock)


def passes(breaker: Breaker) -> bool:
    try:
        breaker.check()
    except StoreUnavailable:
        return False
    return True


def test_it_lets_everything_through_at_first(breaker: Breaker) -> None:
    """A server that nobody has asked yet is thought to be there."""
    assert [passes(breaker) for _ in range(3)] == [True] * 3


def test_after_a_failure_it_refuses_for_a_moment(breaker: Breaker, clock: FakeClock) -> None:
    """F-N3: whoever comes next does not wait for a server that has just been silent."""
    breaker.failed()
    clock.advance(0.49)

    with pytest.raises(StoreUnavailable, match="host:1: the server did not answer a moment ago"):
        breaker.check()


def test_then_it_lets_one_through_at_each_pause(breaker: Breaker, clock: FakeClock) -> None:
    """One request finds out whether the server is back, the others do not wait for it."""
    breaker.failed()
    for _ in range(3):
        clock.advance(0.5)
        assert [passes(breaker) for _ in range(3)] == [True, False, False]


def test_an_answer_closes_it(breaker: Breaker) -> None:
    """Once the server has answered, everything goes through again."""
    breaker.failed()
    breaker.answered()

    assert [passes(breaker) for _ in range(3)] == [True] * 3
    assert not breaker.is_open


def test_another_failure_begins_the_pause_anew(breaker: Breaker, clock: FakeClock) -> None:
    """The pause is counted from the last failure."""
    breaker.failed()
    clock.advance(0.4)
    breaker.failed()
    clock.advance(0.4)

    assert not passes(breaker)
    clock.advance(0.1)
    assert passes(breaker)
