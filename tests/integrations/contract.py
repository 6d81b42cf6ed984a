"""What holds in every framework, through WebTest and through gunicorn; each framework's test module gives its site."""

import http.client
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import ModuleType
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import pytest

from session_middleware import MemoryStore, SessionMiddleware, SQLiteStore
from session_middleware.testing import FakeClock, FaultyStore
from session_middleware.testing.orders import SteppedStore, every_order
from session_middleware.tokens import Token
from tests.apps import Gateway, an_environ, visit
from tests.backends.process import until
from tests.browser import Browser, Transport, in_process, over_http
from tests.integrations.acts import GO, MEETING
from tests.servers.gunicorn import Gunicorn


def answer(browser: Browser, act: str) -> Any:
    reply = browser.get(f"/act/{act}")
    assert reply.status == 200, reply
    return json.loads(reply.text)


def data(browser: Browser) -> Any:
    return answer(browser, "show")["data"]


def shown(application: WSGIApplication, cookie: str) -> Any:
    page = visit(application, "/act/show", cookie=cookie)
    assert page.set_cookies == []
    return json.loads(page.body)


def id_of(token: str | None) -> str:
    read = Token.read(token)
    assert read is not None
    return read.id


class Served(NamedTuple):
    transport: Callable[[], Transport]
    """Makes a way to the site, for one thread."""
    url: str
    """Of its server, if it has one."""


class IntegrationContract:
    """A subclass names the ``site``: a module whose ``make(store)`` returns an application."""

    site: ClassVar[ModuleType]

    @pytest.fixture(params=["WebTest", "WebTest, wrapped", "gunicorn"], scope="class")
    @classmethod
    def served(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
        """The site in its three ways."""
        directory = tmp_path_factory.mktemp("site")
        if request.param == "gunicorn":
            arguments = ("--worker-class", "gthread", "--threads", "8")
            with Gunicorn(f"{cls.site.__name__}:make()", *arguments, cwd=directory) as server:
                yield Served(partial(over_http, server.url), server.url)
            return
        store = SQLiteStore(directory / "sessions.sqlite3")
        application = cls.site.make(store) if request.param == "WebTest" else SessionMiddleware(cls.inner(), store)
        yield Served(partial(in_process, validator(_with_error_pages(application))), "")
        store.close()

    @classmethod
    def inner(cls) -> Any:
        """Return the site without a middleware of its own, or with one that must not be used."""
        return cls.site.make(_Forbidden())

    @pytest.fixture
    def browser(self, served: Served) -> Browser:
        return Browser(served.transport())

    def test_untouched_costs_nothing(self, browser: Browser) -> None:
        """Promise 1: no header, with a cookie and without."""
        for _ in range(2):
            page = browser.get("/untouched")
            assert (page.status, page.text) == (200, "untouched")
            assert page.all("Set-Cookie") == page.all("Vary") == page.all("Cache-Control") == []
            answer(browser, "put?key=a&value=1")

    def test_what_is_put_in_is_there_next_time(self, browser: Browser) -> None:
        """Promise 9, through the framework."""
        answer(browser, "put?key=name&value=Gr%C3%BCn")

        assert data(browser) == {"name": "Grün"}

    def test_signing_in_is_a_boundary(self, browser: Browser) -> None:
        """Promise 18: a new secret; what the visitor had is kept, the user id is recorded, and the token from before has
        no part in any of it."""
        answer(browser, "put?key=a&value=1")
        before = browser.token
        assert before is not None

        assert answer(browser, "login?user=alice") == {"user": "alice"}
        after = browser.token
        assert after not in (before, None)
        assert answer(browser, "show") == {"user": "alice", "data": {"a": "1"}}
        browser.token = before
        shown = answer(browser, "show")
        assert (shown["user"], shown["data"].items() <= {"a": "1"}.items()) == (None, True)
        answer(browser, "put?key=b&value=2")
        assert after is not None
        browser.token = after
        assert answer(browser, "show") == {"user": "alice", "data": {"a": "1"}}

    def test_signing_out_ends_the_session(self, browser: Browser) -> None:
        """Promise 5: the cookie is removed, and sent again it opens nothing."""
        answer(browser, "login?user=alice")
        before = browser.token
        assert before is not None

        assert answer(browser, "logout") == {"user": None}
        assert browser.token is None
        browser.token = before
        assert answer(browser, "show") == {"user": None, "data": {}}

    def test_the_id_is_stable(self, browser: Browser) -> None:
        """Promise 17: the same session under one id, whatever secrets it gets; none of them opens it after its successor."""
        answer(browser, "put?key=a&value=1")
        tokens = [browser.token]
        for act in ("regenerate", "login?user=alice", "regenerate", "login?user=alice"):
            answer(browser, act)
            tokens.append(browser.token)

        assert len({*tokens}) == 5
        assert len({id_of(token) for token in tokens}) == 1
        assert answer(browser, "show") == {"user": "alice", "data": {"a": "1"}}
        for token in tokens[:-1]:
            assert token is not None
            browser.token = token
            assert answer(browser, "show")["user"] is None

    def test_a_persistent_session_has_a_cookie_that_outlives_the_browser(self, browser: Browser) -> None:
        """Design, "Cookie": Max-Age is the absolute timeout."""
        answer(browser, "put?key=a&value=1")
        (cookie,) = browser.get("/act/remember").all("Set-Cookie")

        assert "; Max-Age=1000; " in cookie

    def test_an_atomic_change_is_made_once(self, browser: Browser) -> None:
        """Promise 4."""
        assert [answer(browser, "count")["count"] for _ in range(3)] == [1, 2, 3]

    def test_nested_changes_are_saved(self, browser: Browser) -> None:
        """Promise 8: with no flag to set."""
        answer(browser, "append?value=tea")
        answer(browser, "append?value=coffee")

        assert data(browser) == {"cart": {"items": ["tea", "coffee"]}}

    def test_parallel_requests_keep_each_others_changes(self, browser: Browser, served: Served) -> None:
        """Promise 3: all of them have the session open before any of them is stored."""
        answer(browser, "put?key=before&value=yes")
        others = [Browser(served.transport()) for _ in range(MEETING)]
        for other in others:
            other.cookies = dict(browser.cookies)
        with ThreadPoolExecutor(MEETING) as pool:
            met = list(pool.map(answer, others, [f"meet?key=k{number}&value=v" for number in range(MEETING)]))

        assert met == [{"known": 1}] * MEETING
        assert data(browser) == {"before": "yes"} | {f"k{number}": "v" for number in range(MEETING)}

    def test_a_failed_request_changes_nothing(self, browser: Browser) -> None:
        """Promise 16: the error page loses nothing of what was there, and keeps nothing of what the request did."""
        answer(browser, "append?value=tea")
        before = browser.token
        page = browser.get("/fail")

        assert (page.status, page.all("Set-Cookie")) == (500, [])
        assert browser.token == before
        assert data(browser) == {"cart": {"items": ["tea"]}}

    @pytest.mark.parametrize(("path", "kind", "key"), [("/refuse", 4, "refused"), ("/redirect", 3, "left")])
    def test_a_response_that_is_raised_keeps_the_changes(self, browser: Browser, path: str, kind: int, key: str) -> None:
        """Promise 16: neither has failed, so both are stored, and a new session's cookie goes out with them."""
        page = browser.get(path)

        assert page.status // 100 == kind
        assert len(page.all("Set-Cookie")) == 1
        assert data(browser) == {key: "yes"}

    def test_head_is_like_get(self, browser: Browser) -> None:
        """Promise 14: the session is stored, and no body is sent."""
        page = browser.send("HEAD", "/act/put?key=a&value=1")

        assert (page.status, page.body) == (200, b"")
        assert data(browser) == {"a": "1"}

    @pytest.mark.parametrize("served", ["gunicorn"], indirect=True)
    def test_a_stream_leaves_block_by_block_and_may_still_change_the_session(self, browser: Browser, served: Served) -> None:
        """Promise 14: the first block is there before the second is made; what changes in between is stored at the end."""
        answer(browser, "put?key=a&value=1")
        connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=120)
        connection.request("GET", "/stream", headers={"Cookie": f"session={browser.token}"})
        response = connection.getresponse()
        assert response.readline() == b"one\n"
        answer(browser, "go")

        assert response.read() == b"two\n"
        connection.close()
        # Which may be after the client has seen the end.
        until(lambda: data(browser) == {"a": "1", "late": "yes"}, "the late change is not stored")

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def timed(self, clock: FakeClock) -> SessionMiddleware:
        """The site, with the clock."""
        return SessionMiddleware(self.inner(), MemoryStore(), clock=clock)

    def test_a_token_from_before_a_sign_in_reads_what_was_there_for_ten_seconds(
        self, timed: SessionMiddleware, clock: FakeClock
    ) -> None:
        """Design, "Secrets": requests that were on their way; what they write is dropped, and no cookie is sent."""
        before = visit(timed, "/act/put", QUERY_STRING="key=a&value=1").cookie
        after = visit(timed, "/act/login", QUERY_STRING="user=alice", cookie=before).cookie
        visit(timed, "/act/put", QUERY_STRING="key=later&value=2", cookie=after)

        for _ in range(2):
            clock.advance(4.9)
            assert shown(timed, before) == {"user": None, "data": {"a": "1"}}
            for act in ("put", "append", "regenerate", "remember", "logout"):
                page = visit(timed, f"/act/{act}", QUERY_STRING="key=b&value=3", cookie=before)
                assert (page.status, page.set_cookies) == ("200 OK", [])
        assert shown(timed, after) == {"user": "alice", "data": {"a": "1", "later": "2"}}

    def test_after_that_it_opens_nothing(self, timed: SessionMiddleware, clock: FakeClock) -> None:
        """Promises 11 and 18: it is as an unknown one, and is not adopted: a write starts another session."""
        before = visit(timed, "/act/put", QUERY_STRING="key=a&value=1").cookie
        after = visit(timed, "/act/login", QUERY_STRING="user=alice", cookie=before).cookie
        clock.advance(10)

        assert shown(timed, before) == {"user": None, "data": {}}
        fresh = visit(timed, "/act/put", QUERY_STRING="key=b&value=2", cookie=before)
        assert id_of(fresh.token) != id_of(after.partition("=")[2])
        assert shown(timed, fresh.cookie) == {"user": None, "data": {"b": "2"}}
        assert shown(timed, after) == {"user": "alice", "data": {"a": "1"}}

    @pytest.mark.parametrize("act", ["regenerate", "login"])
    def test_a_token_that_a_new_secret_has_replaced_reads_nothing(self, timed: SessionMiddleware, act: str) -> None:
        """Design, "Secrets": after ``regenerate()``, and when the same user signs in again."""
        before = visit(timed, "/act/login", QUERY_STRING="user=alice").cookie
        visit(timed, "/act/put", QUERY_STRING="key=a&value=1", cookie=before)
        after = visit(timed, f"/act/{act}", QUERY_STRING="user=alice", cookie=before).cookie

        assert shown(timed, before) == {"user": None, "data": {}}
        assert visit(timed, "/act/put", QUERY_STRING="key=b&value=2", cookie=before).set_cookies == []
        assert shown(timed, after) == {"user": "alice", "data": {"a": "1"}}

    @pytest.mark.parametrize("act", ["regenerate", "login", "put"])
    def test_a_session_that_is_listed_can_be_ended_whatever_happens_to_it_meanwhile(self, act: str) -> None:
        """Promises 17 and 19, in every order of the calls: while it gets a new secret, or is written to.

        What comes too late begins another session: whoever signs in has proved who they are.
        """

        def world() -> tuple[SteppedStore, list[Callable[[], Any]], tuple[SessionMiddleware, str]]:
            store = SteppedStore(MemoryStore())
            site = SessionMiddleware(self.inner(), store)
            cookie = visit(site, "/act/login", QUERY_STRING="user=alice").cookie
            (listed,) = site.manager.sessions_of("alice")
            request = partial(visit, site, f"/act/{act}", QUERY_STRING="user=alice&key=a&value=1", cookie=cookie)
            return store, [request, partial(site.manager.revoke, listed.id)], (site, cookie)

        orders = 0
        for (site, cookie), outcome in every_order(world):
            orders += 1
            assert outcome.errors == [None, None], outcome
            page, was_there = outcome.results
            assert (page.status, was_there) == ("200 OK", True)
            ended = id_of(cookie.partition("=")[2])
            assert site.manager.find(ended) is None
            assert shown(site, cookie) == {"user": None, "data": {}}
            begun = [id_of(page.token)] if page.set_cookies and id_of(page.token) != ended else []
            assert [info.id for info in site.manager.sessions_of("alice")] == (begun if act == "login" else [])
            if page.set_cookies and not begun:
                assert shown(site, page.cookie) == {"user": None, "data": {}}
        assert orders > 3

    def test_signing_out_right_after_a_sign_in_that_was_stored_leaves_no_cookie(self, timed: SessionMiddleware) -> None:
        """Design, "Cookie": it is removed where there was one, and what was stored in between is never sent."""
        before = visit(timed, "/act/put", QUERY_STRING="key=a&value=1").cookie
        removed = visit(timed, "/act/in_and_out", QUERY_STRING="user=alice", cookie=before)
        unsent = visit(timed, "/act/in_and_out", QUERY_STRING="user=alice")

        assert (removed.cookie, unsent.set_cookies) == ("session=", [])
        assert timed.manager.sessions_of("alice") == []
        assert shown(timed, before) == {"user": None, "data": {}}

    @pytest.fixture(params=["alone", "wrapped"])
    def faulty(self, request: pytest.FixtureRequest) -> tuple[WSGIApplication, FaultyStore]:
        """The site on a store that fails when told to."""
        store = FaultyStore(MemoryStore())
        if request.param == "alone":
            return self.site.make(store), store
        return SessionMiddleware(self.inner(), store), store

    def test_a_stream_is_asked_for_block_by_block(self, faulty: tuple[WSGIApplication, FaultyStore]) -> None:
        """Promise 14: nothing is made before the server asks for it, and nothing is read ahead."""
        app, _ = faulty
        cookie = visit(app, "/act/put", QUERY_STRING="key=a&value=1").cookie
        gateway = Gateway().run(app, an_environ("/stream", cookie=cookie), most=1)
        assert gateway.blocks == [b"one\n"]
        GO.set()

        assert b'"late"' not in visit(app, "/act/show", cookie=cookie).body

    def test_untouched_asks_the_store_nothing(self, faulty: tuple[WSGIApplication, FaultyStore]) -> None:
        """Promise 1: not even with a cookie."""
        app, store = faulty
        cookie = visit(app, "/act/put", QUERY_STRING="key=a&value=1").cookie
        store.calls.clear()

        assert visit(app, "/untouched", cookie=cookie).body == b"untouched"
        assert visit(app, "/act/go", cookie=cookie).status == "200 OK"
        assert store.calls == []

    def test_reading_is_one_load(self, faulty: tuple[WSGIApplication, FaultyStore]) -> None:
        """Promise 2: and no cookie."""
        app, store = faulty
        cookie = visit(app, "/act/put", QUERY_STRING="key=a&value=1").cookie
        store.calls.clear()

        assert visit(app, "/act/show", cookie=cookie).set_cookies == []
        assert [verb for verb, _ in store.calls] == ["load"]

    @pytest.mark.parametrize("verb", ["load", "update"])
    def test_a_store_that_fails_is_a_503(self, faulty: tuple[WSGIApplication, FaultyStore], verb: str) -> None:
        """Promises 6 and 7: whether it fails at the load or at the commit, and whatever the framework makes of it."""
        app, store = faulty
        cookie = visit(app, "/act/put", QUERY_STRING="key=a&value=1").cookie
        store.fail(verb)
        page = visit(app, "/act/put", QUERY_STRING="key=b&value=2", cookie=cookie)

        assert page.status == "503 Service Unavailable"
        assert page.values("Retry-After") == ["5"]
        assert page.values("Cache-Control") == ["no-store"]
        assert page.set_cookies == []
        assert b"{}" not in page.body
        assert json.loads(visit(app, "/act/show", cookie=cookie).body)["data"] == {"a": "1"}


class _Forbidden(MemoryStore):
    """A store that nobody may ask."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("there is another middleware around the application")

    create = load = update = delete = _refuse


def _with_error_pages(application: Any) -> WSGIApplication:
    """What a server does: an exception of the application is a page with the status 500."""

    def served(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            blocks: Iterable[bytes] = application(environ, start_response)
        except RuntimeError:
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"sorry"]
        return blocks

    return served
