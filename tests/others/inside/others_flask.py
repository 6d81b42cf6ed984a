"""A plugin of pytest for other projects' tests: every Flask application has our sessions from its first request on.

By then its settings are what the test wants. An application with a session interface of its own keeps that.
"""

from typing import Any

import flask
from flask.sessions import SecureCookieSessionInterface

from session_middleware import MemoryStore
from session_middleware.integrations.flask import Sessions

_ENTRANCES = ("__call__", "request_context", "test_request_context")


def _with_sessions(method: Any) -> Any:
    def call(app: flask.Flask, *arguments: Any, **options: Any) -> Any:
        if type(app.session_interface) is SecureCookieSessionInterface:
            Sessions(app, MemoryStore())
        return method(app, *arguments, **options)

    return call


for name in _ENTRANCES:
    setattr(flask.Flask, name, _with_sessions(getattr(flask.Flask, name)))
