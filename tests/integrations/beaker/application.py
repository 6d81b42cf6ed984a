"""An application that was written for Beaker, and its browser."""

import json
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from webtest import TestApp


def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Written for Beaker, after its documentation: it saves, it asks for the times, it knows dict's and Beaker's methods."""
    session = environ["beaker.session"]
    path = environ["PATH_INFO"]
    if path == "/login":
        session["user_id"] = "anna"
        session["groups"] = ["staff"]
        session.save()
    elif path == "/logout":
        session.delete()
    elif path == "/forget":
        session.invalidate()
    elif path == "/count":
        if "value" not in session:
            session["value"] = 0
        session["value"] += 1
        session.save()
    elif path == "/nested":
        session["groups"].append("more")
        session.save()
    elif path == "/undo":
        session["value"] = 99
        session.revert()
        session.save()
    elif path == "/new":
        session.regenerate_id()
        session.save()
    answer = {
        "user": session.get("user_id"),
        "value": session.get("value"),
        "groups": session.get("groups"),
        "known": path == "/logout" or ("_creation_time" in session and session["_accessed_time"] >= session.created),
        "own": sorted(key for key in session if not key.startswith("_")),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


def browser(app: WSGIApplication, cookies: dict[str, str] | None = None) -> TestApp:
    client = TestApp(app)
    for name, value in (cookies or {}).items():
        client.set_cookie(name, value)
    return client
