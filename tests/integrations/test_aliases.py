"""A sign-in with an alias, through the session that each framework has."""

from typing import Any

import pytest
from flask import Flask
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp

from session_middleware import MemoryStore, SessionManager, SessionMiddleware
from session_middleware.integrations.beaker import BeakerMiddleware
from session_middleware.integrations.flask import Sessions, session
from session_middleware.integrations.pyramid import manager_of

ALIASES = ("sid 5", "sub alice")


def on_flask() -> tuple[Any, SessionManager]:
    app = Flask(__name__)
    sessions = Sessions(app, MemoryStore())

    @app.get("/")
    def sign_in() -> str:
        session.login("alice", alias=ALIASES)
        return "in"

    return app, sessions.manager


def on_pyramid() -> tuple[Any, SessionManager]:
    def sign_in(request: Any) -> Response:
        request.session.login("alice", alias=ALIASES)
        return Response("in")

    config = Configurator(settings={"session_middleware.store": MemoryStore()})
    config.include("session_middleware.integrations.pyramid")
    config.add_route("home", "/")
    config.add_view(sign_in, route_name="home")
    return config.make_wsgi_app(), manager_of(config)


def on_beaker() -> tuple[Any, SessionManager]:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["beaker.session"].login("alice", alias=ALIASES)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"in"]

    middleware = BeakerMiddleware(SessionMiddleware(app, MemoryStore()))
    return middleware, middleware.manager


@pytest.mark.parametrize("make", [on_flask, on_pyramid, on_beaker])
def test_a_session_is_found_and_ended_by_either_alias(make: Any) -> None:
    """Promise 19: what ``login()`` is given reaches the session."""
    for alias in ALIASES:
        app, manager = make()
        browser = TestApp(app)
        assert browser.get("/").text == "in"

        assert [info.user_id for info in manager.sessions_with(alias)] == ["alice"]
        assert manager.revoke_alias(alias) == 1
        assert manager.sessions_of("alice") == []
