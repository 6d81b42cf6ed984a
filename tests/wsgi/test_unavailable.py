"""Who answers when the store fails, the application or the middleware; and what the log says of it."""

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import bottle
import flask
import pytest
from webtest import lint

from session_middleware import (
    ConfigurationError,
    ConflictError,
    MemoryStore,
    Session,
    SessionMiddleware,
    StoreUnavailable,
    get_session,
)
from session_middleware.integrations.bottle import SessionPlugin
from session_middleware.integrations.flask import Sessions
from session_middleware.testing import FakeClock, FaultyStore
from tests.apps import SHAPES, Act, Gateway, Shape, an_environ, list_app, some_headers, visit
from tests.wsgi.acts import UNAVAILABLE, a_session, invalidate, late, login, method_for, read, returning, stored, write


def handling(act: Act, status: str, headers: list[tuple[str, str]] | None = None) -> WSGIApplication:
    """Return an application that has a page of its own for a store that fails."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            act(environ)
        except StoreUnavailable:
            start_response(status, [("Content-Type", "text/plain"), *(headers or [])])
            return [b"closed for repairs"]
        raise AssertionError("the store should have failed")

    return app


def change_and_transact(environ: WSGIEnvironment) -> None:
    session = get_session(environ)
    session["name"] = "new"
    session.transact(lambda data: None)


def end_and_sign_in(environ: WSGIEnvironment) -> None:
    invalidate(environ)
    login(environ)


class TestAnswersOfTheApplication:
    @pytest.mark.parametrize("status", ["200 OK", "303 See Other", "404 Not Found", "502 Bad Gateway", "503 Closed"])
    def test_a_failure_that_was_handled_leaves_the_answer(self, store: FaultyStore, status: str) -> None:
        """Promise 7: whatever its status; no cache keeps it, and no cookie changes."""
        cookie = a_session(store)
        store.fail("load")
        headers = [("X-Accel-Expires", "600"), ("Retry-After", "60")]
        response = visit(SessionMiddleware(handling(read, status, headers), store), cookie=cookie)

        assert (response.status, response.body) == (status, b"closed for repairs")
        assert response.values("Cache-Control") == ["private, no-store"]
        assert (response.values("Vary"), response.values("Retry-After")) == (["Cookie"], ["60"])
        assert response.set_cookies == []

    def test_a_500_is_what_frameworks_make_of_what_nobody_handled(self, store: FaultyStore) -> None:
        """Promise 6: the client is told that it may try again."""
        cookie = a_session(store)
        store.fail("load")
        response = visit(SessionMiddleware(handling(read, "500 Internal Server Error"), store), cookie=cookie)

        assert (response.status, response.body) == ("503 Service Unavailable", UNAVAILABLE)

    def test_what_it_has_changed_all_the_same_must_be_stored(self, store: FaultyStore) -> None:
        """Promise 6: a page that says so must not leave; one that says 503 changes nothing, and may."""
        for status, wanted in (("200 OK", "503 Service Unavailable"), ("503 Closed", "503 Closed")):
            cookie = a_session(store)
            store.fail("update", times=None)
            response = visit(SessionMiddleware(handling(change_and_transact, status), store), cookie=cookie)
            store.heal()

            assert response.status == wanted
            assert stored(store, cookie)["name"] == "old"

    def test_an_end_must_be_stored_whatever_the_status(self, store: FaultyStore) -> None:
        """Promises 5 and 16: who reads that they are signed out is."""
        cookie = a_session(store)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            invalidate(environ)
            start_response("503 Closed", some_headers())
            return [b"you are signed out"]

        store.fail("update", times=None)
        response = visit(SessionMiddleware(app, store), cookie=cookie)
        store.heal()

        assert (response.status, response.body) == ("503 Service Unavailable", UNAVAILABLE)
        assert stored(store, cookie)["name"] == "old"

    def test_a_conflict_that_was_handled_leaves_the_answer_too(self, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 4: the application was told; it is no outage."""

        class Restless(MemoryStore):
            def update(self, key: str, record: Any, *, version: Any) -> bool:
                return False

        def act(environ: WSGIEnvironment) -> None:
            with pytest.raises(ConflictError):
                get_session(environ).transact(lambda data: data.update(name="new"))

        store = FaultyStore(Restless())
        response = visit(SessionMiddleware(list_app(act), store), cookie=a_session(store))

        assert (response.status, response.body) == ("200 OK", b"onetwo")
        assert caplog.records == []

    def test_an_error_handler_of_flask_has_the_last_word(self, store: FaultyStore) -> None:
        """Promise 7: with our extension and with the middleware around; without a handler it is a 503 of ours."""
        for extension in (True, False):
            for handled in (True, False):
                app = flask.Flask(__name__)
                app.get("/")(lambda: get_session(flask.request.environ).get("name"))
                if handled:
                    app.errorhandler(StoreUnavailable)(lambda error: ({"error": "sessions"}, 502))
                if extension:
                    Sessions(app, store)
                cookie = a_session(store)
                store.fail("load")
                response = visit(app if extension else SessionMiddleware(app, store), cookie=cookie)

                assert response.status[:3] == ("502" if handled else "503")
                assert response.body == (b'{"error":"sessions"}\n' if handled else UNAVAILABLE)


def apology(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The answer of an API."""
    error = environ["session_middleware.error"]
    body = json.dumps({"error": type(error).__name__, "path": environ["PATH_INFO"]}).encode()
    headers = [("Content-Type", "application/json"), ("Cache-Control", "public, max-age=60"), ("Retry-After", "7")]
    start_response("503 Service Unavailable", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


class TestAnAnswerOfTheSitesOwn:
    @pytest.mark.parametrize("act", [write, read, invalidate])
    def test_it_is_given_in_place_of_ours(self, store: FaultyStore, shape: Shape, act: Act) -> None:
        """Promise 6: with nothing of the application's response; no cache keeps it."""
        cookie = a_session(store)
        application = SessionMiddleware(shape(act), store, unavailable=apology)
        store.fail(times=None)
        response = visit(application, "/page", cookie=cookie, method=method_for(shape))
        store.heal()

        assert (response.status, response.starts) == ("503 Service Unavailable", 1)
        assert response.headers == [
            ("Content-Type", "application/json"),
            ("Retry-After", "7"),
            ("Cache-Control", "private, no-store"),
        ]
        whole = {"error": "StoreUnavailable", "path": "/page"}
        assert response.body == (b"" if shape is SHAPES["head"] else json.dumps(whole).encode())
        assert stored(store, cookie)["name"] == "old"

    def test_it_satisfies_both_linters(self, store: FaultyStore, shape: Shape) -> None:
        """W-33: on both sides."""
        app = SessionMiddleware(shape(write), store, unavailable=validator(lint.middleware(apology)))
        store.fail("create")
        response = visit(validator(lint.middleware(app)), method=method_for(shape))

        assert response.values("Retry-After") == ["7"]

    def test_it_may_stream_and_replace_its_headers(self, store: FaultyStore) -> None:
        """Promise 14: it is an application like any other, and what it returns is closed."""
        closed: list[int] = []

        def streaming(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response("500 Internal Server Error", some_headers())
            try:
                raise LookupError
            except LookupError:
                start_response("503 Closed", some_headers(), sys.exc_info())
            try:
                yield b"one"
                yield b"two"
            finally:
                closed.append(1)

        for app in (SHAPES["list"](write), SHAPES["generator"](write)):
            store.fail("create")
            gateway = Gateway().run(SessionMiddleware(app, store, unavailable=streaming), an_environ(), most=1)

            assert (gateway.status, gateway.blocks) == ("503 Closed", [b"one"])
            assert closed == [1]
            closed.clear()

    def test_it_finds_the_request_as_it_came_and_no_session(self, store: FaultyStore) -> None:
        """Promise 7: what the application did to the environ is not for it, nor is a session that could not be loaded."""
        seen: list[object] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            environ["PATH_INFO"] = environ.pop("HTTP_COOKIE") and "/elsewhere"
            read(environ)
            raise AssertionError

        def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            with pytest.raises(ConfigurationError):
                get_session(environ)
            seen.extend([environ["PATH_INFO"], environ["HTTP_COOKIE"], environ["session_middleware.error"].__traceback__])
            return apology(environ, start_response)

        cookie = a_session(store)
        store.fail("load")
        visit(SessionMiddleware(app, store, unavailable=answer), "/page", cookie=cookie)

        assert seen == ["/page", cookie, None]

    def test_it_is_told_of_a_conflict(self) -> None:
        """Promise 3: a session that never stops changing is no failure of the store."""

        class Restless(MemoryStore):
            def update(self, key: str, record: Any, *, version: Any) -> bool:
                return False

        store = FaultyStore(Restless())
        response = visit(SessionMiddleware(list_app(write), store, unavailable=apology), cookie=a_session(store))

        assert json.loads(response.body)["error"] == ConflictError.__name__

    def test_when_it_fails_itself_the_server_is_told(self, store: FaultyStore) -> None:
        """Promise 14: its exception goes on unchanged."""
        error = LookupError()

        def failing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            raise error

        for app in (SHAPES["list"](write), SHAPES["generator"](write)):
            store.fail("create")
            with pytest.raises(LookupError) as caught:
                visit(SessionMiddleware(app, store, unavailable=failing))
            assert caught.value is error

    def test_it_is_not_asked_when_nothing_fails(self, store: FaultyStore, shape: Shape) -> None:
        """Promise 1."""
        response = visit(SessionMiddleware(shape(write), store, unavailable=apology), method=method_for(shape))

        assert stored(store, response.cookie) == {"name": "new"}

    @pytest.mark.parametrize("unavailable", ["tests.apps", 503, {}])
    def test_what_is_no_application_does_not_start(self, unavailable: Any) -> None:
        """Promise 15."""
        with pytest.raises(ConfigurationError, match="write a WSGI application, which answers with a 503"):
            SessionMiddleware(list_app(read), MemoryStore(), unavailable=unavailable)

    def test_the_frameworks_take_it_too(self, store: FaultyStore) -> None:
        """Promise 15: the option is the same everywhere."""
        site = flask.Flask(__name__)
        site.get("/")(lambda: flask.session.update(a=1) or "page")
        Sessions(site, unavailable=apology).init_app(flask.Flask("another"), MemoryStore())
        del site.extensions["session_middleware"]
        Sessions(site, store, unavailable=apology)
        other = bottle.Bottle()
        other.install(SessionPlugin(store, unavailable=apology))
        other.get("/")(lambda session: session.update(a=1) or "page")
        for app in (site, other):
            store.fail("create")

            assert json.loads(visit(app).body)["error"] == "StoreUnavailable"


class TestTheLog:
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def lines(self, caplog: pytest.LogCaptureFixture) -> Any:
        """Returns the lines since the last call."""

        def lines() -> list[tuple[str, str]]:
            found = [(record.levelname, record.getMessage()) for record in caplog.records]
            caplog.clear()
            return found

        caplog.set_level(logging.WARNING)
        return lines

    @pytest.mark.parametrize("app", [list_app(read), handling(read, "503 Closed"), handling(read, "200 OK")])
    def test_an_outage_is_a_line_at_its_start_one_a_minute_and_one_at_its_end(
        self, store: FaultyStore, clock: FakeClock, lines: Any, app: WSGIApplication
    ) -> None:
        """Design, "Observability": whoever answers, the application or we."""
        cookie = a_session(store)
        application = SessionMiddleware(app, store, clock=clock)
        store.fail("load", times=None)
        for _ in range(130):
            visit(application, cookie=cookie)
            clock.advance(1)
        store.heal()
        clock.advance(10)
        well = SessionMiddleware(list_app(read), store, clock=clock)
        well.manager = application.manager
        for _ in range(2):
            visit(well, cookie=cookie)

        assert lines() == [
            ("ERROR", "the session could not be loaded or stored: load: not done, as the test asked"),
            ("ERROR", "the store goes on failing, 61 requests in 60 s: load: not done, as the test asked"),
            ("ERROR", "the store goes on failing, 121 requests in 120 s: load: not done, as the test asked"),
            ("WARNING", "the store answers again; it failed 130 requests in 129 s"),
        ]

    def test_the_next_outage_begins_anew(self, store: FaultyStore, clock: FakeClock, lines: Any) -> None:
        """Design, "Observability"."""
        application = SessionMiddleware(list_app(write), store, clock=clock)
        for _ in range(2):
            store.fail("create")
            visit(application)
            clock.advance(5)
            visit(application)

        assert [message[:11] for _, message in lines()] == ["the session", "the store a"] * 2

    def test_failures_and_answers_that_alternate_are_one_outage(
        self, store: FaultyStore, clock: FakeClock, lines: Any
    ) -> None:
        """One of several servers is away: what the others answer does not end it."""
        application = SessionMiddleware(list_app(write), store, clock=clock)
        for _ in range(20):
            store.fail("create")
            visit(application)
            visit(application)
            clock.advance(1)

        assert len(lines()) == 1

    def test_a_request_that_asks_the_store_nothing_ends_no_outage(
        self, store: FaultyStore, clock: FakeClock, lines: Any
    ) -> None:
        """Promise 2: to read without a cookie says nothing of the store."""
        application = SessionMiddleware(list_app(read), store, clock=clock)
        cookie = a_session(store)
        store.fail("load")
        visit(application, cookie=cookie)
        clock.advance(60)
        visit(application)

        assert len(lines()) == 1

    def test_a_conflict_is_no_outage(self, lines: Any) -> None:
        """Promise 3: it is told of each time."""

        class Restless(MemoryStore):
            def update(self, key: str, record: Any, *, version: Any) -> bool:
                return False

        store = FaultyStore(Restless())
        application = SessionMiddleware(list_app(write), store)
        visit(application, cookie=a_session(store))

        (line,) = lines()
        assert line[1].startswith("the session could not be stored: session ")
        assert not application.manager.outage.is_on


def test_a_session_that_is_kept_keeps_no_request(store: FaultyStore) -> None:
    """W-14: also where the request was kept for an answer of the site's own."""
    kept: list[Session] = []

    def act(environ: WSGIEnvironment) -> None:
        kept.append(get_session(environ))
        kept[-1].get("name")

    for app in (returning([b"one"], act), returning(iter([b"one"]), act), late(act)):
        visit(SessionMiddleware(app, store, unavailable=apology), cookie=a_session(store))

    assert [session.environ for session in kept] == [None] * 3  # type: ignore[attr-defined]
