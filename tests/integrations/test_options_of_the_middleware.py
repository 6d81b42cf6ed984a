"""Options of the middleware that other constructors take, too."""

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import flask
import pytest

from session_middleware import ConfigurationError, CookiePolicy, MemoryStore, SessionMiddleware
from session_middleware.integrations.beaker import BeakerMiddleware
from session_middleware.integrations.flask import Sessions
from session_middleware.testing import FaultyStore
from tests.apps import visit


def unavailable(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("503 Closed", [("Content-Type", "application/json")])
    return [b"{}"]


def with_beakers(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    environ["beaker.session"]["visits"] = environ["beaker.session"].get("visits", 0) + 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]


class TestBeaker:
    def test_it_has_a_page_of_its_own_for_a_store_that_fails(self) -> None:
        """Promise 6: as the middleware that it wraps."""
        store = FaultyStore(MemoryStore())
        site = BeakerMiddleware.from_config(with_beakers, {}, store=store, unavailable=unavailable)
        cookie = visit(site).cookie
        store.fail("load")

        assert visit(site, cookie=cookie).status == "503 Closed"

    def test_the_store_need_not_be_tried(self, tmp_path: Path) -> None:
        """For those who build images; what can never work is refused otherwise."""
        (tmp_path / "notes.txt").write_text("of something else\n" * 100)
        url = f"sqlite:///{tmp_path}/notes.txt"
        with pytest.raises(ConfigurationError):
            BeakerMiddleware.from_config(with_beakers, {}, store=url)

        BeakerMiddleware.from_config(with_beakers, {}, store=url, check_store=False)

    def test_the_defaults_are_those_of_the_middleware(self) -> None:
        """Promise 15: none is made up."""
        ours, theirs = (inspect.signature(one).parameters for one in (BeakerMiddleware.from_config, SessionMiddleware))
        for name in ("unavailable", "check_store"):
            assert ours[name].default == theirs[name].default


def a_flask(store: Any, former: tuple[CookiePolicy, ...] | None, late: bool, **settings: Any) -> flask.Flask:
    app = flask.Flask(__name__)
    app.config.update(settings)
    options: dict[str, Any] = {"namespace": "session"} | ({} if former is None else {"former": former})
    if late:
        Sessions().init_app(app, store, **options)
    else:
        Sessions(app, store, **options)

    @app.get("/<what>")
    def home(what: str) -> str:
        if what == "regenerate":
            flask.session.regenerate()  # type: ignore[attr-defined]
        else:
            flask.session["seen"] = what
        return str(flask.session.get("seen"))

    return app


@pytest.mark.parametrize("late", [False, True])
class TestFlask:
    def test_a_former_cookie_goes_with_the_settings(self, late: bool) -> None:
        """Promise 4: other SESSION_COOKIE_... settings sign nobody out, and leave no second cookie."""
        store = MemoryStore()
        cookie = visit(a_flask(store, None, late), "/tea").cookie
        moved = a_flask(store, (CookiePolicy(),), late, SESSION_COOKIE_NAME="sid", SESSION_COOKIE_DOMAIN="example.com")
        answer = visit(moved, "/regenerate", cookie=cookie)

        assert answer.body == b"tea"
        assert sorted(header.partition("=")[0] for header in answer.set_cookies) == ["session", "sid"]
        assert CookiePolicy().for_scheme("http").deletion_header() in answer.set_cookies

    def test_beside_a_policy_it_is_refused(self, late: bool) -> None:
        """Promise 15: that has its own."""
        former = (CookiePolicy(),)
        cookie = CookiePolicy(name="sid")
        sessions = Sessions(cookie=cookie) if late else Sessions(cookie=cookie, former=former)
        with pytest.raises(ConfigurationError, match=r"write cookie=CookiePolicy\(\.\.\., former=\.\.\.\)"):
            sessions.init_app(flask.Flask(__name__), "memory:", former=former if late else None)
