"""Cookies that a neighbour host has planted beside ours: who signs in is signed in on the next page, whatever they are."""

import logging
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from session_middleware import SessionMiddleware, Store, get_session
from session_middleware.testing import FakeClock
from tests.apps import visit
from tests.clients import Browser

SITE, NEIGHBOUR = "http://www.shop.example.com", "http://evil.shop.example.com/"
DEEP = "/a/b/c/d/e/f/g/h/i/j/k/l"
PATHS = ["/", *(DEEP[: 2 * depth] for depth in range(1, 12))]
DOMAINS = ["example.com", "shop.example.com"]


def a_site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Does what the query says, on every path."""
    session = get_session(environ)
    match environ["QUERY_STRING"].split("="):
        case ["user", user]:
            session.login(user)
        case ["set", key]:
            session[key] = session.get(key, 0) + 1
        case ["out"]:
            session.invalidate()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{session.user_id or 'nobody'} {dict(session)}".encode()]


class Victim:
    """A browser in which a neighbour host plants cookies. ``page`` is where it surfs."""

    def __init__(self, application: SessionMiddleware) -> None:
        self._application = application
        self.browser = Browser(application, origin=SITE)
        self.page = f"{DEEP}/page"

    def get(self, query: str = "") -> str:
        return self.browser.get(self.page, QUERY_STRING=query).body.decode()

    def toss(self, count: int, query: str) -> list[str]:
        """Plant so many cookies, each of a session that mallory has made so; return their tokens."""
        places = [(domain, path) for path in PATHS for domain in DOMAINS][:count]
        tokens = []
        for domain, path in places:
            token = visit(self._application, "/", QUERY_STRING=query).token
            refusal = self.browser.agent.receive(NEIGHBOUR, f"session={token}; Domain={domain}; Path={path}")
            assert refusal is None
            tokens.append(token)
        return tokens

    @property
    def cookies(self) -> list[str]:
        """The tokens that the browser sends, in their order."""
        header = self.browser.agent.header(SITE + self.page) or ""
        return [pair.partition("=")[2] for pair in header.split("; ") if pair]


@pytest.fixture
def application(store: Store) -> SessionMiddleware:
    return SessionMiddleware(a_site, store, clock=FakeClock())


@pytest.fixture
def victim(application: SessionMiddleware) -> Victim:
    return Victim(application)


KINDS = {"anonymous": "set=planted", "signed in": "user=mallory"}


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 12, 24])
@pytest.mark.parametrize("kind", KINDS)
def test_who_signs_in_is_signed_in_on_the_next_page(victim: Victim, kind: str, count: int, first: bool) -> None:
    """Promise 20: Domain on two levels, and paths; planted before the first visit, or just before the sign-in."""
    if first:
        victim.toss(count, KINDS[kind])
        victim.get("set=cart")
    else:
        victim.get("set=cart")
        victim.toss(count, KINDS[kind])
    assert victim.get("user=alice").startswith("alice ")

    assert len(set(victim.cookies)) == count + 1
    for query in ("", "set=private", ""):
        assert victim.get(query).startswith("alice ")
    assert victim.get() == victim.get("")


@pytest.mark.parametrize("count", [1, 3, 7, 12, 24])
@pytest.mark.parametrize("kind", KINDS)
def test_who_is_signed_in_stays_so_while_anonymous_cookies_are_planted(victim: Victim, kind: str, count: int) -> None:
    """Promise 20: of mallory's signed-in ones there is no telling which is meant; signing in again helps at once."""
    victim.get("user=alice")
    victim.toss(count, KINDS[kind])

    if kind == "anonymous":
        assert victim.get().startswith("alice ")
    else:
        assert victim.get().startswith("nobody ")
        assert victim.get("user=alice").startswith("alice ")
        assert victim.get().startswith("alice ")


@pytest.mark.parametrize("count", [3, 7, 12])
@pytest.mark.parametrize("kind", KINDS)
def test_mallory_gets_nothing_of_it(application: SessionMiddleware, victim: Victim, kind: str, count: int) -> None:
    """Promise 18: what he has planted shows nothing of what comes after the sign-in, and writes nothing there."""
    planted = victim.toss(count, KINDS[kind])
    victim.get("user=alice")
    victim.get("set=private")
    for token in planted:
        answer = visit(application, cookie=f"session={token}", QUERY_STRING="set=stolen")
        assert b"private" not in answer.body
        assert not answer.body.startswith(b"alice")

    assert victim.get() == "alice {'private': 1}"


@pytest.mark.parametrize("count", [1, 3, 7, 12])
def test_signing_out_ends_what_was_seen(application: SessionMiddleware, victim: Victim, count: int) -> None:
    """Promise 5: her own session, whatever else the browser sends; the planted ones are mallory's."""
    victim.toss(count, "set=planted")
    victim.get("user=alice")
    (info,) = application.manager.sessions_of("alice")
    victim.get("out")

    assert application.manager.find(info.id) is None
    assert application.manager.sessions_of("alice") == []
    assert victim.get().startswith("nobody ")


def test_more_than_eight_are_logged_once_a_minute(
    victim: Victim, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number, and no token."""
    now = [1000.0]
    monkeypatch.setattr("session_middleware.cookies.time.monotonic", lambda: now[0])
    planted = victim.toss(9, "set=planted")
    victim.get("user=alice")
    with caplog.at_level(logging.WARNING):
        for step in (0, 59, 1, 59):
            now[0] += step
            caplog.clear()
            victim.get()
            lines = [line for line in caplog.messages if "distinct cookies" in line]
            assert lines == (["10 distinct cookies of one name in a request: 8 are looked at"] if step in (1,) else [])
    assert not any(token[12:] in caplog.text for token in planted)


@pytest.fixture
def calls(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Counts what a request asks the store."""
    count, load = [0], store.load

    def counting(key: str) -> Any:
        count[0] += 1
        return load(key)

    monkeypatch.setattr(store, "load", counting)
    return lambda: count[0]


def test_no_request_costs_more_than_eight_loads(victim: Victim, calls: Callable[[], int]) -> None:
    """Promise 2: whoever plants cookies does not choose how long a request takes."""
    victim.toss(24, "set=planted")
    before = calls()
    victim.get()

    assert calls() - before == 8
