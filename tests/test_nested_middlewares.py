"""Two middlewares around one application that would take each other's session: told when the outer one is made."""

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import bottle
import pytest

from session_middleware import ConfigurationError, CookiePolicy, SessionMiddleware, get_session
from session_middleware.integrations.bottle import SessionPlugin
from tests.apps import list_app, visit


class Framework:
    """Keeps what it serves under a name that nobody could know."""

    def __init__(self, application: WSGIApplication) -> None:
        self._served_within = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._served_within(environ, start_response)


def a_bottle(**options: Any) -> bottle.Bottle:
    app = bottle.Bottle()
    app.install(SessionPlugin("memory:", **options))

    @app.get("/")  # type: ignore[untyped-decorator]
    def home(session: Any) -> str:
        session["seen"] = True
        return str(session.id)

    return app


def test_one_inside_an_object_of_any_framework_is_found() -> None:
    """Promise 15: at the start, and not with the first visitor."""
    inner = SessionMiddleware(list_app(lambda environ: None), "memory:")

    with pytest.raises(ConfigurationError, match="two session middlewares are nested"):
        SessionMiddleware(Framework(inner), "memory:")


def test_a_bottle_with_another_place_and_the_same_cookie_is_refused() -> None:
    """Promise 15: each would overwrite the cookie of the other."""
    app = a_bottle(environ_key="shop.session")

    with pytest.raises(ConfigurationError, match="two session middlewares are nested"):
        SessionMiddleware(app, "memory:")
    SessionMiddleware(app, "memory:", cookie=CookiePolicy(name="outer"))


def test_two_around_a_bottle_are_refused() -> None:
    """Promise 15: whatever is inside."""
    with pytest.raises(ConfigurationError, match="two session middlewares are nested"):
        SessionMiddleware(SessionMiddleware(a_bottle(), "memory:"), "memory:")


def test_a_bottle_stands_aside_for_the_one_around_it() -> None:
    """Promise 14: one session for all applications of a server."""
    seen: list[str] = []
    app = a_bottle()

    def outer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(get_session(environ).id)
        served: Iterable[bytes] = app(environ, start_response)
        return served

    response = visit(SessionMiddleware(outer, "memory:"))

    assert response.body.decode() == seen[0]
    assert len(response.set_cookies) == 1
