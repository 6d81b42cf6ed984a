"""A Bottle application whose requests do with the session what a test asks. Also served by gunicorn."""

from collections.abc import Iterator
from typing import Any

from bottle import Bottle, HTTPResponse, abort, redirect, request, response

from session_middleware import Store
from session_middleware.integrations.bottle import SessionPlugin
from tests.integrations.acts import ACTS, blocks, fail


def make(store: Store | str = "sqlite:///sessions.sqlite3") -> Any:
    app = Bottle()
    app.install(SessionPlugin(store))
    add_routes(app)
    return app


def add_routes(app: Any) -> None:
    app.route("/untouched", ["GET", "POST"], lambda: "untouched")
    app.route("/act/<name>", ["GET", "POST"], act)
    app.route("/fail", ["GET", "POST"], lambda session: fail(session))
    app.route("/stream", ["GET", "POST"], stream)
    app.route("/refuse", ["GET", "POST"], refuse)
    app.route("/redirect", ["GET", "POST"], leave)


def act(name: str, session: Any) -> Any:
    return ACTS[name](session, request.query.decode())


def stream(session: Any) -> Iterator[bytes]:
    response.content_type = "text/plain"
    return blocks(session)


def refuse() -> None:
    request.session["refused"] = "yes"
    abort(403)


def leave() -> HTTPResponse:
    request.session["left"] = "yes"
    redirect("/untouched")
