"""Secrets that are renewed, under honest browsers whose responses are lost, and thieves: who is noticed, and who goes on."""

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from werkzeug.serving import make_server

from session_middleware import Lifetime, MemoryStore, SessionMiddleware, Store, get_session
from session_middleware.events import Event, Renewed, Replayed
from session_middleware.rules import OVERLAP
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token
from tests.backends.running import sizes
from tests.chromium import launched
from tests.sites import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Thousands of requests: measuring what they cover would take most of the time, and other tests cover as much.
pytestmark = pytest.mark.unmeasured

RENEWAL = 60.0
RENEWING = Lifetime(renew=RENEWAL)


class Counted:
    """How often the secret of a session was renewed, and how often an old one has come, by the session's id."""

    def __init__(self) -> None:
        self.renewed: list[str | None] = []
        self.replayed: list[str | None] = []

    def on(self, event: Event) -> None:
        if isinstance(event, Renewed):
            self.renewed.append(event.session_id)
        elif isinstance(event, Replayed):
            self.replayed.append(event.session_id)


class Browser:
    """Somebody with a cookie. A response may be lost."""

    def __init__(self, site: Site, token: Token) -> None:
        self.site, self.token = site, token

    def visit(self, *, lost: bool = False) -> str | None:
        session = self.site.open(self.token)
        user, verdict = session.user_id, self.site.manager.commit(session)
        if verdict is not None and not lost:
            self.token = getattr(verdict, "token", self.token)
        return user


@sizes("rounds", 60, 1000, served=1000)
@pytest.mark.parametrize("first", ["thief", "victim"])
def test_a_thief_is_noticed_and_honest_users_go_on(store: Store, rounds: int, first: str) -> None:
    """Promise 22: whichever of the two uses the cookie first, the other one is noticed; nobody else loses anything."""
    counted, dice = Counted(), random.Random(rounds)
    site = Site(store, FakeClock(), lifetime=RENEWING, observer=counted)
    for number in range(rounds):
        site.clock.advance(1)
        victim, honest = Browser(site, site.begin({}, "alice")), Browser(site, site.begin({}, "bob"))
        for _ in range(dice.randrange(6)):
            site.clock.advance(RENEWAL)
            assert (victim.visit(lost=dice.random() < 0.3), honest.visit(lost=dice.random() < 0.3)) == ("alice", "bob")
        thief = Browser(site, victim.token)
        early, late = (thief, victim) if first == "thief" else (victim, thief)
        site.clock.advance(RENEWAL)
        for _ in range(2):  # the second time with the new secret
            assert early.visit() == "alice"
            assert honest.visit() == "bob"
        site.clock.advance(OVERLAP)
        assert late.visit() is None
        assert (early.visit(), honest.visit()) == ("alice", "bob")
        assert counted.replayed == [victim.token.id] * (number + 1) or counted.replayed[-1] == thief.token.id
        assert len(counted.replayed) == number + 1


class LosingSite:
    """A site on a port, of which one response in ten is lost after the session was stored."""

    def __init__(self, clock: FakeClock, counted: Counted) -> None:
        self.dice = random.Random(1)
        self.losing = False
        self.answered = self.lost = 0
        self.tokens: dict[str, None] = {}
        self.sessions = SessionMiddleware(self.page, MemoryStore(), lifetime=RENEWING, clock=clock, observer=counted)

    def page(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] == "/favicon.ico":
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        session = get_session(environ)
        if environ["PATH_INFO"] == "/in":
            session.login("alice")
        start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(session.user_id or "nobody")))])
        return [(session.user_id or "nobody").encode()]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        cookie = environ.get("HTTP_COOKIE", "")
        if cookie:
            self.tokens[cookie.removeprefix("session=")] = None
        result = self.sessions(environ, start_response)
        self.answered += 1
        if self.losing and self.dice.random() < 0.1:
            self.lost += 1
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError("this response is lost, as the test asked")
        return result


@contextmanager
def served(site: LosingSite) -> Iterator[str]:
    """Serve it with a thread a request; yield its address."""
    server = make_server("127.0.0.1", 0, site, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


ASK = """async count => {
    const users = [];
    await Promise.all(Array.from({length: count}, async () => {
        try { users.push(await (await fetch("/?" + Math.random(), {cache: "no-store"})).text()); }
        catch { users.push("lost"); }
    }));
    return users;
}"""


@pytest.mark.parametrize("requests", [210, pytest.param(2100, marks=pytest.mark.soak)])
def test_nobody_is_signed_out_in_three_tabs_of_a_browser_that_loses_responses(requests: int) -> None:
    """Promise 22: a renewal is due every few requests; and every later use of an old secret is noticed."""
    counted, clock = Counted(), FakeClock()
    site = LosingSite(clock, counted)
    with served(site) as address, launched() as chromium:
        context = chromium.new_context()
        context.set_default_timeout(120_000)
        tabs: list[Page] = [context.new_page() for _ in range(3)]
        tabs[0].goto(f"{address}/in")
        for tab in tabs:
            assert "alice" in str(tab.goto(f"{address}/").text())  # type: ignore[union-attr]
        site.losing = True
        answers: list[str] = []
        while len(answers) < requests:
            clock.advance(site.dice.choice([5, 25, 61, 90]))
            for tab in tabs:
                tab.evaluate(f"() => {{ window.asked = ({ASK})(4) }}")  # all at once
            for tab in tabs:
                answers += tab.evaluate("() => window.asked")
        site.losing = False
        assert set(answers) == {"alice", "lost"}
        assert site.lost > requests / 40
        assert len(counted.renewed) > requests / 60
        assert counted.replayed == []

        clock.advance(OVERLAP)
        current = next(one["value"] for one in context.cookies() if one["name"] == "session")
        assert tabs[0].evaluate(f"() => ({ASK})(1)") == ["alice"]
        clock.advance(OVERLAP)
        old = [text for text in site.tokens if text != current]
        for text in old:
            assert site.sessions.manager.open(text).user_id is None
        assert len(counted.replayed) == len(old) > 0


def test_fifty_threads_that_renew_at_once_lose_nobody(site_of_threads: Site) -> None:
    """Promise 22: with one cookie; one of them is told the new secret."""
    site = site_of_threads
    token = site.begin({}, "alice")
    users: list[str | None] = []
    for _ in range(4):
        site.clock.advance(RENEWAL)
        browsers = [Browser(site, token) for _ in range(50)]
        threads = [Thread(target=lambda one: users.append(one.visit()), args=(browser,)) for browser in browsers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told = [browser.token for browser in browsers if browser.token != token]
        assert len(told) == 1
        token = told[0]

    assert users == ["alice"] * 200


@pytest.fixture
def site_of_threads(store: Store) -> Site:
    return Site(store, FakeClock(), lifetime=RENEWING)
