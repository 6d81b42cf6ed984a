"""A Flask application that uses what people use: the session, flashed messages, Flask-Login. Also served by gunicorn."""

import json
import time
from collections.abc import Iterator
from typing import Any

import flask_login
from flask import Flask, Response, flash, get_flashed_messages, redirect, request, stream_with_context
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from session_middleware import Store
from session_middleware.integrations.flask import Sessions, session

DATABASE = "sessions.sqlite3"
NAMES = {"1": "alice", "2": "bob"}


class User:
    """What Flask-Login asks of a user."""

    is_authenticated = is_active = True
    is_anonymous = False

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id

    def get_id(self) -> str:
        return self.user_id


def load_user(user_id: str) -> User | None:
    return User(user_id) if user_id in NAMES else None


def make(store: Store | str = f"sqlite:///{DATABASE}") -> Flask:
    app = Flask(__name__)
    app.secret_key = "for Flask-Login's own cookie"
    login_manager = flask_login.LoginManager(app)
    login_manager.user_loader(load_user)
    Sessions(app, store)
    for rule, view in VIEWS.items():
        app.add_url_rule(rule, view_func=view, methods=["GET", "POST"])
    return app


def show() -> Any:
    return {"data": dict(session), "user": session.user_id, "name": NAMES.get(flask_login.current_user.get_id() or "")}


def put() -> Any:
    """Write one key, with the session held for so many milliseconds between reading and returning."""
    known = len(session)
    time.sleep(int(request.values.get("hold", "0")) / 1000)
    session[request.values["key"]] = request.values["value"]
    return {"known": known}


def append() -> Any:
    session.setdefault("cart", {"items": []})["items"].append("tea")
    return {"items": session["cart"]["items"]}


def untouched() -> Any:
    return {}


def say() -> Any:
    flash(Markup("<b>saved</b>"))
    flash("<i>", "error")
    return {}


def messages() -> Any:
    return {"messages": [[flashed[0], str(Markup.escape(flashed[1]))] for flashed in get_flashed_messages(True)]}


def stream() -> ResponseReturnValue:
    """Change the session before the response starts and while it is being sent."""
    session["before"] = 1

    def blocks() -> Iterator[str]:
        yield json.dumps(sorted(session))
        if "late" in request.values:
            session["late"] = request.values["late"]

    return Response(stream_with_context(blocks()), mimetype="application/json")


def fail() -> Any:
    session["cart"]["items"].append("coffee")
    session["half"] = "done"
    raise RuntimeError("failed on purpose")


def sign_in() -> Any:
    flask_login.login_user(User(request.values["id"]), remember="remember" in request.values)
    flash("welcome")
    return show()


def sign_out() -> ResponseReturnValue:
    flask_login.logout_user()
    flash("good bye")
    return redirect("/messages")


VIEWS = {
    "/show": show,
    "/put": put,
    "/append": append,
    "/untouched": untouched,
    "/say": say,
    "/messages": messages,
    "/stream": stream,
    "/fail": fail,
    "/sign-in": sign_in,
    "/sign-out": sign_out,
}
