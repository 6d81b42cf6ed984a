"""A session middleware inside of an application instead of around it, for frameworks that can take one in.

It stands aside where another one is around the application already. It knows no framework.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from session_middleware.middleware import SessionMiddleware
from session_middleware.session import Session

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_APPLICATION = "session_middleware.application"


def handed_over(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """What an embedded middleware wraps: the application that comes with the request."""
    application = cast("WSGIApplication", environ.pop(_APPLICATION))
    return application(environ, start_response)


class EmbeddedMiddleware(SessionMiddleware):
    """A middleware that serves what is inside of it, such as one around :func:`handed_over`."""

    def collides_with(self, outer: SessionMiddleware) -> bool:
        """It stands aside for one around it that puts its session in the same place."""
        return self.environ_key != outer.environ_key and super().collides_with(outer)


class Embedding:
    """An application with a middleware inside: it has the session of the one around it or, without one, of *middleware*."""

    def __init__(self, middleware: EmbeddedMiddleware, application: "WSGIApplication") -> None:
        self.middleware = middleware
        self._application = application

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        session = environ.get(self.middleware.environ_key)
        if isinstance(session, Session) and not (session.announced or session.belongs_to(self.middleware.manager)):
            return self._application(environ, start_response)
        environ[_APPLICATION] = self._application
        return self.middleware(environ, start_response)
