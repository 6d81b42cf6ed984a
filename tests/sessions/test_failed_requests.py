"""A failed request changes nothing, but that ending a session always ends it, and that a transaction stays."""

from collections.abc import Iterable
from typing import Any, NamedTuple
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from session_middleware import Forget, Session, SessionMiddleware, get_session
from tests.apps import some_headers, visit
from tests.sites import DATA, USER, Act, Site, login, regenerate, setting


def transact(session: Session) -> None:
    session.transact(lambda data: data.update(transacted=1))


def after(*acts: Act) -> Act:
    """Return an act that does one after the other."""

    def act(session: Session) -> None:
        for one in acts:
            one(session)

    return act


class Outcome(NamedTuple):
    """What is left of a failed request: whether the session lives, with which data; who is signed in, and on what cookie."""

    alive: bool
    data: dict[str, Any] = DATA
    cookie: str | None = None
    """``"new"``: a token that opens the one session there is; ``"forget"``; ``None`` for none."""
    user: str | None = USER


GONE = Outcome(False, {}, "forget", None)
STAYS = Outcome(True)
COUNTED = {**DATA, "transacted": 1}

FAILED: dict[str, tuple[Act, Outcome]] = {
    "read": (len, STAYS),
    "write": (setting("a", 2), STAYS),
    "nested change": (lambda s: s["list"].append(2), STAYS),
    "clear": (Session.clear, STAYS),
    "regenerate": (regenerate, STAYS),
    "lifetime": (lambda s: s.set_lifetime(persistent=True, idle=60), STAYS),
    "use": (Session.use, STAYS),
    "re-authentication": (login(USER), STAYS),
    "what cannot be stored": (setting("a", object()), STAYS),
    "end": (Session.invalidate, GONE),
    "end, then write": (after(Session.invalidate, setting("a", 2)), GONE),
    "end, then sign in": (after(Session.invalidate, login("bob")), GONE),
    "another user": (login("bob", b=1), GONE),
    "regenerate, then end": (after(regenerate, Session.invalidate), GONE),
    "transact": (transact, Outcome(True, COUNTED)),
    "write, then transact": (after(setting("b", 2), transact), Outcome(True, {**DATA, "b": 2, "transacted": 1})),
    "transact, then write": (after(transact, setting("b", 2)), Outcome(True, COUNTED)),
    "transact, then regenerate": (after(transact, regenerate), Outcome(True, COUNTED)),
    "transact, then sign in again": (after(transact, login(USER)), Outcome(True, COUNTED)),
    "transact, then another user": (after(transact, login("bob")), GONE),
    "transact, then end": (after(transact, Session.invalidate), GONE),
    "regenerate, then transact": (
        after(regenerate, transact),
        Outcome(True, {**DATA, "regenerated": True, "transacted": 1}, "new"),
    ),
    "sign in again, then transact": (after(login(USER), transact), Outcome(True, COUNTED, "new")),
    "another user, then transact": (after(login("bob"), transact), Outcome(True, {"transacted": 1}, "new", "bob")),
    "end, sign in, transact": (
        after(Session.invalidate, login("bob"), transact),
        Outcome(True, {"transacted": 1}, "new", "bob"),
    ),
    "sign in again, transact, end": (after(login(USER), transact, Session.invalidate), GONE),
    "another user, transact, end": (after(login("bob"), transact, Session.invalidate), GONE),
    "lifetime, then transact": (
        after(lambda s: s.set_lifetime(persistent=True), transact),
        Outcome(True, COUNTED, "new"),
    ),
}


@pytest.mark.parametrize(("act", "outcome"), FAILED.values(), ids=FAILED)
def test_a_server_error_changes_nothing_but_what_was_ended_or_transacted(site: Site, act: Act, outcome: Outcome) -> None:
    """Promise 16: the response tells the browser what it must know all the same: an end, or a secret that was stored."""
    token = site.begin(user_id=USER)
    verdict = site.request(token, act, failed=True)
    live = site.live()

    assert live == ([outcome.data] if outcome.alive else [])
    match outcome.cookie:
        case "new":
            new = getattr(verdict, "token", token)
            assert (site.data(new), site.user(new)) == (outcome.data, outcome.user)
        case "forget":
            assert verdict == Forget()
        case _:
            assert verdict is None
            assert (site.data(token), site.user(token)) == (outcome.data, outcome.user)


def raises(act: Act) -> Any:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(get_session(environ))
        start_response("200 OK", some_headers())
        raise LookupError

    return app


@pytest.mark.parametrize(("act", "outcome"), FAILED.values(), ids=FAILED)
def test_an_escaping_exception_changes_nothing_but_what_was_ended_or_transacted(
    site: Site, act: Act, outcome: Outcome
) -> None:
    """Promise 16: the server makes the response, so there is no cookie; what is left in the store is the same."""
    token = site.begin(user_id=USER)
    with pytest.raises(LookupError):
        visit(SessionMiddleware(raises(act), site.store, clock=site.clock), cookie=f"session={token.reveal()}")

    assert site.live() == ([outcome.data] if outcome.alive else [])
    if outcome.alive and outcome.cookie is None:
        assert (site.data(token), site.user(token)) == (outcome.data, outcome.user)


@pytest.mark.parametrize("act", [len, setting("a", 2), regenerate])
def test_it_costs_one_load(site: Site, act: Act) -> None:
    """Promise 16: nothing is written that would have to be undone."""
    token = site.begin()

    assert site.calls(lambda: site.request(token, act, failed=True)) == ["load"]


def test_it_makes_no_session(site: Site) -> None:
    """Promise 16: nor a record."""
    session = site.open()
    login(USER, a=1)(session)

    assert site.calls(lambda: site.manager.commit(session, failed=True)) == []


def test_it_signs_nobody_in_and_ends_nobody_for_that(site: Site) -> None:
    """Promise 16: the other sessions of the cookies end with the sign-in, which did not take place."""
    mine, other = site.begin(user_id=USER), site.begin({"other": 1})
    session = site.open(mine, other)
    login(USER)(session)

    assert site.manager.commit(session, failed=True) is None
    assert site.user(mine) == USER
    assert site.data(other) == {"other": 1}


def test_ending_with_two_cookies_ends_both(site: Site) -> None:
    """Promises 5 and 16: whichever was meant."""
    first, second = site.begin(), site.begin()
    session = site.open(first, second)
    session.invalidate()

    assert site.manager.commit(session, failed=True) == Forget()
    assert site.live() == []


def test_with_a_token_from_before_a_sign_in_it_ends_nothing(site: Site) -> None:
    """Promise 18: failed or not."""
    token = site.begin()
    new = site.follow(token, login(USER))

    assert site.request(token, Session.invalidate, failed=True) is None
    assert site.user(new) == USER


def test_what_was_revoked_from_within_it_is_revoked(site: Site) -> None:
    """Promise 19: that is done at once, and is none of the request's own changes."""
    token, other = site.begin(user_id=USER), site.begin(user_id=USER)

    def act(session: Session) -> None:
        session.regenerate()
        site.manager.revoke_all(USER, keep=session.id)

    site.request(token, act, failed=True)
    assert site.user(token) == USER
    assert not site.is_alive(other)
