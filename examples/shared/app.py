"""One middleware around four applications: whoever signs in on one of them is signed in on all.

Serve it, and use it:

    gunicorn examples.shared.app:application
    curl -b jar -c jar localhost:8000/flask/
    curl -b jar -c jar localhost:8000/django/login -d user=alice
    curl -b jar -c jar localhost:8000/pyramid/
    curl -b jar -c jar localhost:8000/bottle/logout -X POST
    curl -b jar -c jar localhost:8000/everywhere/logout -X POST
"""

import json
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import shift_path_info

from examples.shared import bottle_part, django_part, flask_part, pyramid_part
from session_middleware import SessionMiddleware, get_session


def sign_out_everywhere(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """End all sessions of the user, on every device."""
    session = get_session(environ)
    if environ["REQUEST_METHOD"] != "POST":
        return answer(start_response, "405 Method Not Allowed")
    ended = 0 if session.user_id is None else application.manager.revoke_all(session.user_id)
    session.invalidate()
    return answer(start_response, "200 OK", ended=ended)


PARTS: dict[str, WSGIApplication] = {
    "flask": flask_part.app,
    "django": django_part.app,
    "bottle": bottle_part.app,
    "pyramid": pyramid_part.app,
    "everywhere": sign_out_everywhere,
}


def dispatch(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Hand the request to the application that the first part of the path names."""
    part = PARTS.get(shift_path_info(environ) or "")
    if part is None:
        return answer(start_response, "404 Not Found", parts=sorted(PARTS))
    return part(environ, start_response)


def answer(start_response: StartResponse, status: str, **fields: object) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(fields).encode()]


application = SessionMiddleware(dispatch)
