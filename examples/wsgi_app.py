"""Sessions in a bare WSGI application.

Serve it, and use it:

    gunicorn examples.wsgi_app:application
    curl -b jar -c jar localhost:8000/
    curl -b jar -c jar localhost:8000/cart -d item=tea
    curl -b jar -c jar localhost:8000/login -d user=alice
    curl -b jar -c jar localhost:8000/logout -X POST
"""

import json
from collections.abc import Iterable
from urllib.parse import parse_qsl
from wsgiref.types import StartResponse, WSGIEnvironment

from session_middleware import SessionMiddleware, get_session

USERS = {"alice", "bob"}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    session = get_session(environ)
    status = "200 OK"
    match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
        case "GET", "/":
            session["visits"] = session.get("visits", 0) + 1
        case "POST", "/cart":
            session.setdefault("cart", {"items": []})["items"].append(form(environ).get("item", ""))
        case "POST", "/login":
            user = form(environ).get("user", "")
            if user in USERS:  # and the password is right: examples/lab checks one
                session.login(user)
            else:
                status = "403 Forbidden"
        case "POST", "/logout":
            session.invalidate()
        case _:
            status = "404 Not Found"
    cart = session.get("cart", {"items": []})
    body = json.dumps({"user": session.user_id, "visits": session.get("visits", 0), "cart": cart["items"]}).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def form(environ: WSGIEnvironment) -> dict[str, str]:
    length = min(int(environ.get("CONTENT_LENGTH") or 0), 10_000)
    return dict(parse_qsl(environ["wsgi.input"].read(length).decode(errors="replace")))


application = SessionMiddleware(app)
