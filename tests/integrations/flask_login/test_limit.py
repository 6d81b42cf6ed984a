"""A sign-in that the limit of sessions refuses is none for Flask-Login, either."""

from collections.abc import Iterator
from typing import Any

import flask_login
import pytest
from flask import Flask
from flask.testing import FlaskClient

from session_middleware import SessionManager, TooManySessions
from session_middleware.integrations.flask import Sessions
from session_middleware.testing import FaultyStore
from tests.integrations.flask_login.site import VIEWS, anonymous, signed_in, who
from tests.integrations.flask_site import load_user


@pytest.fixture
def app(kept: FaultyStore) -> Flask:
    """One session a user; it answers a refused sign-in with who is signed in now."""
    app = Flask(__name__)
    app.testing = True
    app.secret_key = "signs the cookie that remembers"
    Sessions(app, kept, max_per_user=1, at_limit="refuse")
    flask_login.LoginManager(app).user_loader(load_user)
    for rule, view in VIEWS.items():
        app.add_url_rule(rule, view.__name__, view)

    @app.errorhandler(TooManySessions)
    def refused(error: TooManySessions) -> Any:
        return {"limit": error.limit, "now": who()}, 403

    return app


@pytest.fixture
def elsewhere(app: Flask) -> Iterator[FlaskClient]:
    """A browser in which user 1 is signed in."""
    client = app.test_client()
    client.get("/in/1")
    yield client
    assert client.get("/who").json == signed_in()


@pytest.mark.parametrize("how", ["", "?remember=1"])
def test_who_is_refused_is_not_signed_in(client: FlaskClient, elsewhere: FlaskClient, how: str) -> None:
    """Not in the request that was refused, and in none after it; the cookie that remembers is not set."""
    client.get("/put")
    answer = client.get(f"/in/1{how}")

    assert (answer.status_code, answer.json) == (403, {"limit": 1, "now": anonymous()})
    assert client.get("/who").json == anonymous()
    data = client.get("/data").json
    assert data is not None
    assert (data["cart"], "_user_id" in data) == (["tea"], False)
    assert client.get_cookie("remember_token") is None


def test_who_was_signed_in_still_is(client: FlaskClient, elsewhere: FlaskClient) -> None:
    """Another user of this browser, in the request that was refused, too."""
    client.get("/in/2")
    answer = client.get("/in/1")

    assert answer.json == {"limit": 1, "now": signed_in("2")}
    assert client.get("/who").json == signed_in("2")


def test_whom_the_browser_remembers_is_refused_likewise(client: FlaskClient, sessions: SessionManager) -> None:
    """There is room, or there is none: the cookie that remembers is a sign-in of its own."""
    client.get("/in/1?remember=1")
    client.delete_cookie("session")
    assert client.get("/who").json == {"limit": 1, "now": anonymous()}

    sessions.revoke_all("1")
    assert client.get("/who").json == signed_in(fresh=False)
