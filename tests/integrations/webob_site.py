"""A WebOb application whose requests do with the session what a test asks. Also served by gunicorn."""

from webob import Response
from webob.dec import wsgify
from webob.exc import HTTPForbidden, HTTPFound, HTTPNotFound

from session_middleware import SessionMiddleware, Store
from session_middleware.integrations.webob import Request
from tests.integrations.acts import ACTS, blocks, fail


def make(store: Store | str = "sqlite:///sessions.sqlite3") -> SessionMiddleware:
    return SessionMiddleware(site, store)


@wsgify(RequestClass=Request)
def site(request: Request) -> Response:
    match request.path.split("/")[1:]:
        case ["untouched"]:
            return Response(text="untouched", content_type="text/plain", charset="UTF-8")
        case ["act", name]:
            return Response(json=ACTS[name](request.session, request.GET))
        case ["stream"]:
            return Response(app_iter=blocks(request.session), content_type="text/plain")
        case ["fail"]:
            fail(request.session)
        case ["refuse"]:
            request.session["refused"] = "yes"
            raise HTTPForbidden
        case ["redirect"]:
            request.session["left"] = "yes"
            raise HTTPFound(location="/untouched")
    raise HTTPNotFound
