"""One small site, as WSGI, Flask, Bottle, Pyramid and Django: it says who is signed in, counts, fails and signs out."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import bottle
import flask

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Pyramid imports pkg_resources
    from pyramid.config import Configurator
    from pyramid.response import Response

from session_middleware import MemoryStore, Session, SessionMiddleware, get_session
from session_middleware.integrations.bottle import SessionPlugin
from session_middleware.integrations.flask import Sessions


def page(session: Any, path: str) -> str:
    """Do what the path asks for, and return what the page says."""
    match path:
        case "/" | "/shop/":
            return f"{session.user_id} {session.get('cart', [])}"
        case "/count":
            session["n"] = session.get("n", 0) + 1
            return str(session["n"])
        case "/new-secret":
            session.regenerate()
        case "/sign-out":
            session.invalidate()
    return "done"


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    session = get_session(environ)
    body = "about" if environ["PATH_INFO"] == "/about" else page(session, environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [body.encode()]


def wsgi(**options: Any) -> SessionMiddleware:
    return SessionMiddleware(app, MemoryStore(), **options)


def for_flask(**options: Any) -> flask.Flask:
    site = flask.Flask(__name__)
    Sessions(site, MemoryStore(), **options)

    @site.route("/", defaults={"path": ""})
    @site.route("/<path:path>")
    def show(path: str) -> str:
        return "about" if path == "about" else page(flask.session, f"/{path}")

    return site


def for_bottle(**options: Any) -> bottle.Bottle:
    site = bottle.Bottle()
    site.install(SessionPlugin(MemoryStore(), **options))

    @site.route("<path:path>")  # type: ignore[untyped-decorator]  # Bottle has no types
    def show(path: str, session: Session) -> str:
        return "about" if path == "/about" else page(session, path)

    return site


def _show(request: Any) -> Response:
    return Response("about" if request.path == "/about" else page(request.session, request.path), charset="utf-8")


def for_pyramid(**options: Any) -> Any:
    settings = {f"session_middleware.{name}": value for name, value in {"store": MemoryStore(), **options}.items()}
    config = Configurator(settings=settings)
    config.include("session_middleware.integrations.pyramid")
    config.add_route("any", "/*path")
    config.add_view(_show, route_name="any")
    return config.make_wsgi_app()


SITES: dict[str, Callable[..., Any]] = {"wsgi": wsgi, "flask": for_flask, "bottle": for_bottle, "pyramid": for_pyramid}
