"""The site that the tests of Flask-Login visit."""

from collections.abc import Callable, Iterator
from typing import Any

import flask
import flask_login
from flask import Response
from flask.testing import FlaskClient

from session_middleware.integrations.flask import session
from tests.integrations.flask_site import User

HOUR = 3600


def who() -> Any:
    user = flask_login.current_user
    fresh = flask_login.login_fresh() if user.is_authenticated else None
    return {"user": user.get_id(), "recorded": session.user_id, "fresh": fresh}


def sign_in(user: str) -> Any:
    assert flask_login.login_user(User(user), remember="remember" in flask.request.args)
    return who()


def sign_out() -> Any:
    flask_login.logout_user()
    flask.flash("good bye")
    return who()


def confirm() -> Any:
    flask_login.confirm_login()
    return who()


def put() -> Any:
    session["cart"] = ["tea"]
    return {}


def data() -> Any:
    return dict(session)


def sign_in_page() -> str:
    return str(flask.get_flashed_messages())


def refresh_page() -> str:
    return str(flask.get_flashed_messages())


def members() -> str:
    return "for members"


def fresh_members() -> str:
    return "for fresh members"


def noted_sign_out() -> Any:
    """Note things before the sign-out: what others wrote, and what Flask-Security and its like do to their cookies."""
    flask.flash("you are signing out")
    session["to_forget"] = ["their_cookie"]
    session["cart"].append("coffee")
    flask_login.logout_user()
    return who()


def say() -> Any:
    flask.flash("unseen")
    return {}


def both() -> Any:
    flask_login.login_user(User("1"), remember=True)
    flask_login.logout_user()
    return who()


def plain() -> str:
    return "page"


def late() -> Response:
    def blocks() -> Iterator[str]:
        yield "block"
        flask_login.logout_user()
        yield "more"

    return Response(flask.stream_with_context(blocks()))


VIEWS: dict[str, Callable[..., Any]] = {
    "/who": who,
    "/in/<user>": sign_in,
    "/out": sign_out,
    "/confirm": confirm,
    "/put": put,
    "/data": data,
    "/sign-in": sign_in_page,
    "/refresh": refresh_page,
    "/members": flask_login.login_required(members),
    "/fresh": flask_login.fresh_login_required(fresh_members),
    "/noted-sign-out": noted_sign_out,
    "/say": say,
    "/both": both,
    "/plain": plain,
    "/late": late,
}


def token(client: FlaskClient) -> str | None:
    cookie = client.get_cookie("session")
    return None if cookie is None else cookie.value


def anonymous() -> dict[str, Any]:
    return {"user": None, "recorded": None, "fresh": None}


def signed_in(user: str = "1", *, fresh: bool = True) -> dict[str, Any]:
    return {"user": user, "recorded": user, "fresh": fresh}
