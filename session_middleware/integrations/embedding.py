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
    """What a middleware wraps that :func:`serve` is called with: the application that comes with the request."""
    application = cast("WSGIApplication", environ.pop(_APPLICATION))
    return application(environ, start_response)


def serve(
    middleware: SessionMiddleware,
    application: "WSGIApplication",
    environ: "WSGIEnvironment",
    start_response: "StartResponse",
) -> Iterable[bytes]:
    """Serve a request by *application*, with the session of the middleware around it or, without one, of *middleware*."""
    session = environ.get(middleware.environ_key)
    if isinstance(session, Session) and not (session.announced or session.belongs_to(middleware.manager)):
        return application(environ, start_response)
    environ[_APPLICATION] = application
    return middleware(environ, start_response)
