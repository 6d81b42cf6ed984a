"""Applications in Pyramid with our sessions, a view for each path."""

import json
from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator

from session_middleware import MemoryStore, SessionManager
from session_middleware.integrations.pyramid import PyramidSession
from session_middleware.testing import FakeClock
from tests.apps import Gateway, visit

INCLUDE = "session_middleware.integrations.pyramid"
View = Callable[[Any], Any]


def configured(**views: View) -> Any:
    """Return a configurator with a view for each name, which is its path, too."""
    config = Configurator(settings={"session_middleware.store": "memory:"})
    config.include(INCLUDE)
    for name, view in views.items():
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name, renderer="json")
    return config


def app_of(**views: View) -> Any:
    return configured(**views).make_wsgi_app()


def show(request: Any) -> Any:
    return {"user": request.session.user_id, "data": dict(request.session)}


def seen(app: Any, before: Gateway) -> Any:
    return json.loads(visit(app, "/show", cookie=before.cookie).body)


def a_session(**data: Any) -> PyramidSession:
    session = PyramidSession(SessionManager(MemoryStore(), clock=FakeClock(1000.9)).open())
    session.update(data)
    return session
