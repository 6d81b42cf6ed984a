"""What the renewal of secrets asks of other acts; there is no option for it yet."""

import pytest

from session_middleware import MemoryStore, Send
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token
from tests.protocol.acts import RENEWAL, Manager


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def manager(clock: FakeClock) -> Manager:
    manager = Manager(MemoryStore(), clock=clock)
    manager.renew = RENEWAL
    return manager


@pytest.fixture
def token(manager: Manager) -> Token:
    session = manager.open()
    session["cart"] = 1
    return sent(manager.commit(session))


def sent(verdict: object) -> Token:
    assert isinstance(verdict, Send)
    return verdict.token


def test_a_secret_that_was_replaced_before_the_request_returns_is_not_sent(
    manager: Manager, clock: FakeClock, token: Token
) -> None:
    """Promise 20: its response may be the last to arrive, and the other one has the cookie that opens the session."""
    clock.advance(RENEWAL)
    first, second = manager.open(token), manager.open(token)
    first.transact(lambda data: data.update(first=1))
    second.regenerate()
    cookie = sent(manager.commit(second))

    first["late"] = 1
    assert manager.commit(first) is None
    assert dict(manager.open(cookie)) == {"cart": 1, "first": 1, "late": 1}


def test_a_changed_cookie_has_a_new_secret(manager: Manager, clock: FakeClock, token: Token) -> None:
    """Promise 22: the same one might arrive after its successor, and be dead soon."""
    session = manager.open(token)
    session.set_lifetime(persistent=True)
    verdict = manager.commit(session)
    cookie = sent(verdict)
    assert cookie != token
    assert verdict == Send(cookie, 86400)
    assert manager.open(cookie).persistent

    clock.advance(30)
    assert manager.open(token).persistent, "it works until the new one has been used"


def test_a_changed_cookie_does_not_overtake_a_renewed_one(manager: Manager, clock: FakeClock, token: Token) -> None:
    """Promise 22: the response that renews it is on its way."""
    clock.advance(RENEWAL)
    session, reader = manager.open(token), manager.open(token)
    assert "cart" in session
    assert "cart" in reader
    renewed = sent(manager.commit(reader))

    session.set_lifetime(persistent=True)
    assert manager.commit(session) is None
    assert manager.open(renewed).persistent
