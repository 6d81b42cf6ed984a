"""WebOb: ``request.session`` is the session of the middleware. It stores nothing itself."""

import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # WebOb imports cgi, as in session_middleware.cookies
    import webob

from session_middleware.middleware import ENVIRON_KEY, get_session
from session_middleware.session import Session


class SessionMixin:
    """For a request class of one's own: ``class MyRequest(SessionMixin, webob.Request)``."""

    environ: dict[str, Any]

    session_environ_key = ENVIRON_KEY
    """The ``environ_key`` of the :class:`SessionMiddleware`."""

    @property
    def session(self) -> Session:
        """The session of the request; raise :exc:`ConfigurationError` if the application is not wrapped."""
        return get_session(self.environ, self.session_environ_key)


class Request(SessionMixin, webob.Request):
    """A ``webob.Request`` with a session: ``@wsgify(RequestClass=Request)``."""
