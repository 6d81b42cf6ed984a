"""The small application on each framework: where the request's path and query are, and how the answer is given."""

import sys
from collections.abc import Callable
from typing import Any

from benchmarks.peers.application import PATHS, Ways, handle
from benchmarks.peers.contenders import Application

TEXT = [("Content-Type", "text/plain")]
NOTHING = Ways(len, len)


def plain(session_of: Callable[[dict[str, Any]], Any], ways: Ways = NOTHING) -> Application:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        text = handle(ways, lambda: session_of(environ), environ["PATH_INFO"], environ["QUERY_STRING"])
        start_response("200 OK", TEXT)
        return [text.encode()]

    return application


def on_flask(ways: Ways = NOTHING) -> Any:
    import flask

    app = flask.Flask("small")

    def view() -> flask.Response:
        request = flask.request
        text = handle(ways, lambda: flask.session, request.path, request.query_string.decode())
        return flask.Response(text, mimetype="text/plain")

    for name in PATHS:
        app.add_url_rule(f"/{name}", name, view)
    return app


def without_flask() -> Any:
    """Return the application without sessions: Flask's own is not opened, either."""
    import flask
    from flask.sessions import SessionInterface

    class NoSession(SessionInterface):
        def open_session(self, app: Any, request: Any) -> Any:
            return flask.sessions.SecureCookieSession()

        def save_session(self, app: Any, session: Any, response: Any) -> None: ...

    app = on_flask()
    app.session_interface = NoSession()
    return app


def on_pyramid(config: Any, ways: Ways = NOTHING) -> Any:
    """Add the views to the configurator; return the application."""
    from pyramid.response import Response

    def view(request: Any) -> Any:
        text = handle(ways, lambda: request.session, request.path_info, request.query_string)
        return Response(text, content_type="text/plain")

    for name in PATHS:
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name)
    return config.make_wsgi_app()


def without_pyramid() -> Any:
    from pyramid.config import Configurator

    return on_pyramid(Configurator())


def on_django(ways: Ways, middleware: str, **settings: Any) -> tuple[Any, Any]:
    """Set Django up; return the application with *middleware*, and without it."""
    import django
    from django.conf import settings as of_django
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.test.utils import override_settings
    from django.urls import path

    def view(request: Any) -> Any:
        text = handle(ways, lambda: request.session, request.path, request.META["QUERY_STRING"])
        return HttpResponse(text, content_type="text/plain")

    module: Any = sys.modules[__name__]
    module.urlpatterns = [path(name, view) for name in PATHS]
    of_django.configure(
        ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None, MIDDLEWARE=[], ROOT_URLCONF=__name__, SECRET_KEY="x" * 50, USE_TZ=True,
        SECURE_PROXY_SSL_HEADER=None, **settings,
    )  # fmt: skip
    django.setup()
    without = WSGIHandler()
    with override_settings(MIDDLEWARE=[middleware]):
        return WSGIHandler(), without
