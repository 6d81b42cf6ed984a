"""What is in the environ, requests within requests and middlewares within middlewares: W-24 to W-26."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from session_middleware import ConfigurationError, CookiePolicy, SessionMiddleware, get_session
from session_middleware.testing import FaultyStore
from tests.apps import Gateway, an_environ, generator_app, list_app, some_headers, visit
from tests.wsgi.acts import a_session, nothing, raising, read, stored, verbs, write


class Wrapper:
    """A middleware of somebody else."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        found: Iterable[bytes] = self.app(environ, start_response)
        return found


class TestEnviron:
    def test_two_keys_are_added_and_the_rest_is_left(self, store: FaultyStore) -> None:
        """W-24: keys with a dot; the input is neither read nor wrapped, the cookies stay as they came."""
        environ = an_environ(cookie=a_session(store))
        before = dict(environ)
        Gateway().run(SessionMiddleware(list_app(write), store), environ)
        added = environ.keys() - before.keys()

        assert added == {"session_middleware.session", "session_middleware.cookie.session"}
        assert type(environ) is dict
        assert all(environ[key] is value for key, value in before.items())

    def test_two_middlewares_with_names_of_their_own_both_work(self, store: FaultyStore) -> None:
        """W-25: two sessions, two cookies, and neither token is any good for the other."""

        def act(environ: WSGIEnvironment) -> None:
            get_session(environ)["name"] = "inner"
            get_session(environ, "outer.session")["name"] = "outer"

        inner = SessionMiddleware(list_app(act), store)
        outer = SessionMiddleware(inner, store, environ_key="outer.session", cookie=CookiePolicy(name="outer"))
        response = visit(outer)
        cookies = [value.partition(";")[0] for value in response.set_cookies]

        assert [cookie.partition("=")[0] for cookie in cookies] == ["session", "outer"]
        assert (response.values("Vary"), response.values("Cache-Control")) == (["Cookie"], ["private, no-store"])
        assert stored(store, cookies[0]) == {"name": "inner"}
        assert stored(store, cookies[1].replace("outer=", "session=")) == {}

    @pytest.mark.parametrize(
        "options",
        [{}, {"environ_key": "outer.session"}, {"cookie": CookiePolicy(name="outer")}],
        ids=["same", "same cookie", "same key"],
    )
    def test_two_middlewares_in_each_others_way_are_refused(self, store: FaultyStore, options: dict[str, Any]) -> None:
        """Promise 15, W-25: at the start, through what wraps one of them, saying what to write; or at the first request,
        where it cannot be seen before."""
        inner = SessionMiddleware(list_app(nothing), store)
        wrong = "give one of them another environ_key and CookiePolicy"
        for between in (inner, Wrapper(inner), Wrapper(Wrapper(inner))):
            with pytest.raises(ConfigurationError, match=wrong):
                SessionMiddleware(between, store, **options)
        application = SessionMiddleware(lambda *arguments: inner(*arguments), store, **options)
        with pytest.raises(ConfigurationError, match=wrong):
            visit(application)

    def test_a_wrapper_that_wraps_itself_is_no_endless_search(self, store: FaultyStore) -> None:
        """Attributes of others may mean anything."""
        wrapper = Wrapper(list_app(nothing))
        wrapper.app = wrapper
        assert SessionMiddleware(wrapper, store).app is wrapper

    def test_a_foreign_object_in_the_environ_is_refused(self, store: FaultyStore) -> None:
        """W-25: whoever put it there relies on it."""
        with pytest.raises(ConfigurationError, match="nested"):
            Gateway().run(SessionMiddleware(list_app(nothing), store), an_environ() | {"session_middleware.session": {}})

    @pytest.mark.parametrize("copied", [dict, lambda environ: environ], ids=["copy", "same"])
    def test_a_request_within_a_request_shares_its_session(
        self, store: FaultyStore, copied: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        """W-26: what the inner one writes is stored once, with the outer response."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/inner":
                write(environ)
                start_response("200 OK", some_headers())
                return [b"inner"]
            inner = Gateway().run(application, copied(environ) | {"PATH_INFO": "/inner"})
            assert inner.set_cookies == []
            assert get_session(environ)["name"] == "new"
            start_response("200 OK", some_headers())
            return inner.blocks

        application = SessionMiddleware(app, store)
        response = visit(application)

        assert verbs(store) == ["create"]
        assert stored(store, response.cookie) == {"name": "new"}
        assert response.body == b"inner"

    def test_a_request_within_a_started_response_has_a_session_of_its_own(self, store: FaultyStore) -> None:
        """W-26: both are stored, and neither loses what the other changed."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", some_headers())
            session = get_session(environ)
            if environ["PATH_INFO"] == "/inner":
                session["name"] = "inner"
                yield b"inner"
                return
            session["outer"] = 1
            yield b"outer"
            yield Gateway().run(application, dict(environ) | {"PATH_INFO": "/inner"}).body
            session["outer"] = 2

        cookie = a_session(store)
        application = SessionMiddleware(app, store)

        assert visit(application, cookie=cookie).body == b"outerinner"
        assert stored(store, cookie) == {"name": "inner", "cart": {"items": [1]}, "outer": 2}

    @pytest.mark.parametrize("first", ["answered", "untouched", "raised", "given up", "by another"])
    def test_an_environ_may_be_used_again_for_another_request(self, store: FaultyStore, first: str) -> None:
        """W-26: error pages are often asked for with the environ of the request that failed; nothing is lost then."""
        cookie = a_session(store)
        environ = an_environ(cookie=cookie)
        application = SessionMiddleware(list_app(write), store)
        match first:
            case "answered":
                Gateway().run(SessionMiddleware(list_app(read), store), environ)
            case "untouched":
                Gateway().run(SessionMiddleware(generator_app(nothing), store), environ)
            case "raised":
                with pytest.raises(LookupError):
                    Gateway().run(SessionMiddleware(raising(LookupError(), "call", nothing), store), environ)
            case "given up":
                Gateway().run(SessionMiddleware(generator_app(nothing), store), environ, most=0)
            case _:
                Gateway().run(application, environ)
        Gateway().run(application, dict(environ))

        assert stored(store, cookie)["name"] == "new"
