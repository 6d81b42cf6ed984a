"""Sites as browsers and shared caches see them, by models of RFC 6265bis and RFC 9111."""

import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest

from session_middleware import CookiePolicy, Lifetime, MemoryStore, SessionMiddleware, Store
from session_middleware.testing import FakeClock, FaultyStore
from tests.apps import a_site, visit
from tests.clients import Browser, SharedCache
from tests.gates import full


@pytest.fixture
def store(store: Store) -> FaultyStore:
    """A store of each kind, which notes its calls and fails when told to."""
    return FaultyStore(store)


class TestBrowsers:
    @pytest.mark.parametrize("origin", ["http://www.example.com", "https://www.example.com"])
    def test_a_browser_can_sign_in_and_out(self, store: FaultyStore, origin: str) -> None:
        """G-15, G-27: over http and https every cookie is accepted, and one that is to go is gone."""
        browser = Browser(SessionMiddleware(a_site, store), origin=origin)
        steps = [
            ("/page", b"nobody"),
            ("/visit", b"nobody"),
            ("/login/alice", b"alice"),
            ("/page", b"alice"),
            ("/token", b"alice"),
            ("/remember", b"alice"),
            ("/login/bob", b"bob"),
            ("/logout", b"nobody"),
            ("/page", b"nobody"),
        ]
        tokens_seen = []
        for path, body in steps:
            assert browser.get(path).body == body
            tokens_seen.append([cookie.value for cookie in browser.agent.cookies.values()])

        assert browser.refused == []
        assert list(map(len, tokens_seen)) == [0, 1, 1, 1, 1, 1, 1, 0, 0]
        visit, login, page, token, remember, other = (token for (token,) in tokens_seen[1:7])
        assert len({visit, login, token, other}) == 4
        assert (page, remember) == (login, token)
        assert len({text[:12] for text in (visit, login, token)}) == 1

    def test_a_persistent_cookie_lasts_as_long_as_the_session(self, store: FaultyStore) -> None:
        """K-6, C-10: not persistent unless asked for; then until the absolute timeout, and rounded up."""
        clock = FakeClock(1_900_000_000.25)
        application = SessionMiddleware(a_site, store, clock=clock, lifetime=Lifetime(absolute=timedelta(days=30)))
        browser = Browser(application, now=1_900_000_000)
        browser.get("/login/alice")
        (cookie,) = browser.agent.cookies.values()
        assert cookie.expires is None

        clock.advance(60)
        browser.get("/remember")
        (cookie,) = browser.agent.cookies.values()
        assert cookie.expires == 1_900_000_000 + 30 * 86400 - 60
        browser.get("/page")
        assert browser.agent.cookies == {cookie.identity: cookie}

    def test_a_page_beside_ours_keeps_its_cookies(self, store: FaultyStore) -> None:
        """K-9: two sites under one host, each with its path, on http and https."""
        for origin in ("http://www.example.com", "https://www.example.com"):
            one, two = (
                SessionMiddleware(a_site, MemoryStore(), cookie=CookiePolicy(path=path)) for path in ("/page", "/visit")
            )
            browser = Browser(one, origin=origin)
            browser.agent.receive(f"{origin}/visit", visit(two, "/visit", scheme=origin.partition(":")[0]).set_cookies[0])

            assert browser.agent.header(f"{origin}/page") is None
            assert browser.agent.header(f"{origin}/visit") is not None


def careless_site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A site behind whose back a cache may do what it likes, for it does not say Vary."""

    def without_vary(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        return start_response(status, [header for header in headers if header[0] not in ("Vary", "Cache-Control")])

    return a_careful_site(environ, without_vary)


a_careful_site = SessionMiddleware(a_site, MemoryStore())


def browse(app: WSGIApplication, requests: int) -> tuple[int, int, int]:
    """Let users browse through one shared cache; return how often it answered, and how often with another's page
    or another's cookie."""
    chance, cache = random.Random(9111), SharedCache(app)
    browsers = [(Browser(cache), f"user{number}") for number in range(20)]
    signed_in: dict[str, bytes] = {}
    owners: dict[str, str] = {}
    wrong_pages = wrong_cookies = 0
    for _ in range(requests):
        browser, user = chance.choice(browsers)
        pages = [
            "/static",
            "/page",
            "/page",
            "/plain",
            "/length",
            "/visit",
            "/token",
            "/remember",
            f"/login/{user}",
            "/logout",
        ]
        path = chance.choice(pages)
        response = browser.get(path, REMOTE_ADDR=user)
        if path.startswith("/log"):
            signed_in[user] = user.encode() if path != "/logout" else b"nobody"
        if path not in ("/static", "/length"):
            wrong_pages += response.body != signed_in.get(user, b"nobody")
        wrong_cookies += sum(
            owners.setdefault(cookie, user) != user for cookie in response.set_cookies if "=;" not in cookie
        )
    return cache.hits, wrong_pages, wrong_cookies


class TestSharedCaches:
    def test_nobody_gets_anothers_page_or_cookie(self, store: FaultyStore) -> None:
        """G-17, V-16: mixed requests of 20 users through one cache, which keeps all that RFC 9111 lets it keep."""
        hits, wrong_pages, wrong_cookies = browse(SessionMiddleware(a_site, store), full(1_000, 10_000))

        assert hits > 100
        assert (wrong_pages, wrong_cookies) == (0, 0)

    def test_the_cache_would_leak_if_it_were_not_told(self) -> None:
        """G-17: the model of a cache is one that shows the mistake."""
        _, wrong_pages, wrong_cookies = browse(careless_site, 1000)

        assert wrong_pages > 0
        assert wrong_cookies > 0
