"""A Pyramid application whose requests do with the session what a test asks. Also served by gunicorn."""

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden, HTTPFound
from pyramid.request import Request
from pyramid.response import Response

from session_middleware import Store
from tests.integrations.acts import ACTS, blocks, fail


def make(store: Store | str = "sqlite:///sessions.sqlite3", **settings: Any) -> Any:
    with configured(store, **settings) as config:
        return config.make_wsgi_app()


def configured(store: Store | str = "memory:", **settings: Any) -> Any:
    """Return a configurator, so that a test can add to it."""
    config = Configurator(settings={"session_middleware.store": store, **settings})
    config.include("session_middleware.integrations.pyramid")
    config.add_route("act", "/act/{name}")
    config.add_view(act, route_name="act", renderer="json")
    for view in (untouched, failing, stream, refuse, leave):
        config.add_route(view.__name__, PATHS[view.__name__])
        config.add_view(view, route_name=view.__name__)
    return config


PATHS = {
    "untouched": "/untouched",
    "failing": "/fail",
    "stream": "/stream",
    "refuse": "/refuse",
    "leave": "/redirect",
}


def untouched(request: Request) -> Response:
    return Response("untouched", content_type="text/plain", charset="UTF-8")


def act(request: Request) -> Any:
    return ACTS[request.matchdict["name"]](request.session, request.GET)


def failing(request: Request) -> Any:
    return fail(request.session)


def stream(request: Request) -> Response:
    return Response(app_iter=blocks(request.session), content_type="text/plain")


def refuse(request: Request) -> None:
    request.session["refused"] = "yes"
    raise HTTPForbidden


def leave(request: Request) -> None:
    request.session["left"] = "yes"
    raise HTTPFound(location="/untouched")
