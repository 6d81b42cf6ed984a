"""A request that acts more than once, with a store of it in between: it goes on from what it has stored."""

import pytest

from session_middleware import MemoryStore
from session_middleware.manager import Send, SessionManager
from session_middleware.session import Session
from session_middleware.tokens import Token


@pytest.fixture
def manager() -> SessionManager:
    return SessionManager(MemoryStore())


def a_token(manager: SessionManager) -> Token:
    session = manager.open()
    session["cart"] = ["tea"]
    return sent(manager, session)


def sent(manager: SessionManager, session: Session) -> Token:
    verdict = manager.commit(session)
    assert isinstance(verdict, Send)
    return verdict.token


@pytest.mark.parametrize("act", ["regenerate", "login"])
def test_regenerate_after_what_is_stored_gives_another_secret(manager: SessionManager, act: str) -> None:
    """Design, "Words": a new secret because the application asks; the one from before is dead, told or not."""
    before = a_token(manager)
    session = manager.open(before)
    session.login("alice") if act == "login" else session.regenerate()
    session.transact(lambda data: data.update(count=1))
    assert session.state is not None
    untold = session.state.own
    session.regenerate()
    token = sent(manager, session)

    assert token not in (before, untold)
    assert dict(manager.open(token)) == {"cart": ["tea"], "count": 1}
    assert "count" not in manager.open(untold)


def test_each_commit_of_a_session_may_give_it_a_secret(manager: SessionManager) -> None:
    """For whoever keeps a session longer than a request, as tests and scripts do."""
    session = manager.open(a_token(manager))
    tokens = []
    for _ in range(3):
        session.regenerate()
        tokens.append(sent(manager, session))

    assert len(set(tokens)) == 3
    assert [manager.open(token).get("cart") for token in tokens] == [None, None, ["tea"]]


def test_a_sign_in_gives_what_a_snapshot_was_changed_to_somewhere_to_go(manager: SessionManager) -> None:
    """Promise 20: the second click of a double click is a sign-in like any other."""
    before = a_token(manager)
    first = manager.open(before)
    first.login("alice")
    sent(manager, first)
    second = manager.open(before)
    assert (second.is_gone, second.tells) == (True, False)
    second.login("alice")
    second["late"] = "yes"

    assert (second.is_gone, second.tells) == (False, True)
    assert manager.open(sent(manager, second))["late"] == "yes"


def test_what_ends_nothing_ends_nothing_the_second_time_either(manager: SessionManager) -> None:
    """Design, "Secrets": no cookie is sent to who came with a secret from just before a sign-in."""
    before = a_token(manager)
    session = manager.open(before)
    session.login("alice")
    token = sent(manager, session)
    late = manager.open(before)
    for _ in range(2):
        late.invalidate()
        late["late"] = "yes"

    assert manager.commit(late) is None
    assert manager.open(token).user_id == "alice"


def test_a_renewal_that_is_due_is_something_to_tell(manager: SessionManager) -> None:
    """Design, "Cookie": whoever stands between us and the browser must not keep that response for others."""
    session = manager.open(a_token(manager))
    _ = session["cart"]
    assert session.state is not None
    for renew, tells in ((None, False), (3600.0, False), (0.0, True)):
        session.state.renew = renew
        assert session.tells == tells


def test_a_token_is_current_until_another_request_has_given_the_session_a_new_one(manager: SessionManager) -> None:
    """Promise 20: a cookie that is sent again must not take the place of a newer one."""
    token = a_token(manager)
    slow, unknown = manager.open(token), manager.open(Token.new())
    assert not manager.is_current(slow)
    slow["slow"] = "yes"
    assert manager.is_current(slow)
    session = manager.open(token)
    session.regenerate()
    sent(manager, session)
    assert manager.is_current(session)
    manager.commit(slow)
    unknown["new"] = "yes"

    assert not manager.is_current(slow)
    assert not manager.is_current(unknown)
    session.invalidate()
    assert not manager.is_current(session)
