"""A Flask shop with Flask-Login and Flask-WTF: a cart for everybody, and a form to sign in. Also served by gunicorn."""

import hashlib
from typing import Any

import flask
import flask_login
from flask import Flask, redirect, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect
from jinja2 import DictLoader

from session_middleware import Store
from session_middleware.integrations.flask import Sessions, session

PASSWORDS = {"alice": "looking-glass", "bob": "long-way-home"}

PAGES = {
    "sign-in.html": """<!doctype html><title>Sign in</title>
<form method="post" action="{{ url_for('sign_in') }}">
<input type="hidden" name="csrf_token" value="{{ csrf_token() }}">
<input name="user"><input name="password" type="password"><button>Sign in</button></form>
<form method="post" action="{{ url_for('add') }}">
<input type="hidden" name="csrf_token" value="{{ csrf_token() }}"><input name="item"><button>Add</button></form>""",
    "account.html": """<!doctype html><title>{{ current_user.get_id() }}</title>
<p id="cart">{{ session.get("cart", [])|join(" ") }}</p>""",
}


class User(flask_login.UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    def __init__(self, name: str) -> None:
        self.id = name


def make(store: Store | str = "sqlite:///sessions.sqlite3", *, rounds: int = 10, **options: Any) -> Flask:
    """Return the shop; to check a password takes so many *rounds* of something slow."""
    app = Flask(__name__)
    app.secret_key = "signs the tokens of forms"
    app.config["ROUNDS"] = rounds
    app.jinja_loader = DictLoader(PAGES)
    Sessions(app, store, **options)
    CSRFProtect(app)
    manager = flask_login.LoginManager(app)
    manager.user_loader(lambda name: User(name) if name in PASSWORDS else None)
    manager.login_view = "sign_in"
    app.add_url_rule("/", view_func=flask_login.login_required(account))
    app.add_url_rule("/cart", view_func=add, methods=["GET", "POST"])
    app.add_url_rule("/sign-in", view_func=sign_in, methods=["GET", "POST"])
    app.add_url_rule("/who", view_func=who)
    return app


def account() -> str:
    return flask.render_template("account.html")


def add() -> ResponseReturnValue:
    session.setdefault("cart", []).append(request.values["item"])
    return redirect(flask.url_for("sign_in"))


def sign_in() -> ResponseReturnValue:
    """Show the form, or sign in and go on to the account; who is signed in already goes there at once."""
    if flask_login.current_user.is_authenticated and "again" not in request.args:
        return redirect(flask.url_for("account"))
    if request.method == "POST" and is_right(request.form["user"], request.form["password"]):
        flask_login.login_user(User(request.form["user"]), remember="remember" in request.form)
        return redirect(flask.url_for("account"))
    return flask.render_template("sign-in.html")


def is_right(name: str, password: str) -> bool:
    for _ in range(flask.current_app.config["ROUNDS"]):
        hashlib.scrypt(password.encode(), salt=name.encode(), n=1024, r=8, p=1)
    return PASSWORDS.get(name) == password


def who() -> Any:
    return {"name": flask_login.current_user.get_id(), "user": session.user_id, "cart": session.get("cart", [])}
