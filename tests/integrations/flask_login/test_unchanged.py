"""What Flask-Login does beside signing in works unchanged."""

import logging
import sys

import flask
import flask_login
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from session_middleware import MemoryStore, SessionManager
from session_middleware.integrations.flask import Sessions, session
from session_middleware.testing import FaultyStore
from tests.integrations.flask_login.site import anonymous, put, sign_in, signed_in, token, who
from tests.integrations.flask_site import User, load_user


class TestUnchanged:
    def test_a_stranger_is_sent_to_the_sign_in_page_with_a_message(self, client: FlaskClient) -> None:
        """``login_required``."""
        refused = client.get("/members")
        assert refused.headers["Location"].startswith("/sign-in?next=")
        assert client.get("/sign-in").text == "['Please log in to access this page.']"

    def test_the_next_page_is_remembered_in_the_session(self, app: Flask, client: FlaskClient) -> None:
        """``USE_SESSION_FOR_NEXT``: it is there after the sign-in."""
        app.config["USE_SESSION_FOR_NEXT"] = True
        client.get("/members")
        client.get("/in/1")
        assert client.get("/data").json["next"] == "/members"  # type: ignore[index]

    def test_basic_protection_takes_freshness_away(self, client: FlaskClient) -> None:
        """From another browser the session is not fresh any more."""
        client.get("/in/1")
        other = Headers({"User-Agent": "another"})
        assert client.get("/who", headers=other).json == signed_in(fresh=False)

    def test_strong_protection_ends_the_session(self, app: Flask, client: FlaskClient, sessions: SessionManager) -> None:
        """Flask-Login: the entire session is deleted, and so is the cookie that remembers."""
        app.config["SESSION_PROTECTION"] = "strong"
        client.get("/in/1?remember=1")
        client.get("/put")
        before = token(client)
        other = Headers({"User-Agent": "another"})

        assert client.get("/who", headers=other).json == anonymous()
        assert (token(client), client.get_cookie("remember_token")) == (None, None)
        assert sessions.open(before).is_new

    def test_strong_protection_leaves_an_anonymous_session_alone(self, app: Flask, client: FlaskClient) -> None:
        """Flask-Login suspects every session that it has not signed in, and takes nothing but its own keys from it."""
        app.config["SESSION_PROTECTION"] = "strong"
        client.get("/put")
        before = token(client)
        for _ in range(2):
            assert client.get("/who").json == anonymous()
        assert (token(client), client.get("/data").json) == (before, {"cart": ["tea"]})

    def test_a_request_loader_makes_no_session(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """An API key is no sign-in."""
        app.login_manager.request_loader(lambda request: User("2"))  # type: ignore[attr-defined]
        assert client.get("/who").json == {"user": "2", "recorded": None, "fresh": False}
        assert kept.calls == []

    def test_a_sign_in_elsewhere_is_taken_over_with_a_request_loader(self, app: Flask, client: FlaskClient) -> None:
        """The session knows the user, whoever has signed them in; when it ends there, it has ended here."""

        def load(request: flask.Request) -> User | None:
            return None if session.user_id is None else User(session.user_id)

        app.login_manager.request_loader(load)  # type: ignore[attr-defined]

        def elsewhere() -> str:
            session.login("2")
            return ""

        def end() -> str:
            session.invalidate()
            return ""

        app.add_url_rule("/elsewhere", view_func=elsewhere)
        app.add_url_rule("/end", view_func=end)
        client.get("/elsewhere")
        assert client.get("/who").json == signed_in("2", fresh=False)
        client.get("/end")
        assert client.get("/who").json == anonymous()

    def test_its_test_client_signs_in(self, app: Flask) -> None:
        """``FlaskLoginClient`` writes into the session with ``session_transaction()``."""
        app.test_client_class = flask_login.FlaskLoginClient
        with app.test_client(user=User("1")) as client:
            client.get("/who")
            assert flask_login.current_user.get_id() == "1"
        with app.test_client(user=User("1"), fresh_login=False) as client:
            assert client.get("/who").json["fresh"] is False  # type: ignore[index]

    def test_a_test_can_sign_in_in_a_request_context(self, app: Flask) -> None:
        """Where no middleware is around."""
        with app.test_request_context():
            flask_login.login_user(User("1"))
            assert who() == signed_in()
            flask_login.logout_user()
            assert who() == anonymous()

    def test_applications_do_not_hear_each_other(self, app: Flask, client: FlaskClient) -> None:
        """The signals of one application touch no session of another."""
        other = Flask("other")
        other.secret_key = "another"
        Sessions(other, MemoryStore())
        manager = flask_login.LoginManager(other)
        manager.user_loader(load_user)
        other.add_url_rule("/in/<user>", view_func=sign_in)

        with other.test_client() as theirs:
            assert theirs.get("/in/2").json == signed_in("2")
        assert client.get("/in/1").json == signed_in()

    def test_another_session_interface_is_left_alone(self, app: Flask, client: FlaskClient) -> None:
        """Someone has put Flask's own back."""
        client.get("/who")
        app.session_interface = flask.sessions.SecureCookieSessionInterface()
        app.view_functions["sign_in"] = lambda user: str(flask_login.login_user(User(user)))
        app.view_functions["sign_out"] = lambda: str(flask_login.logout_user())
        assert client.get("/in/1").text == "True"
        assert client.get("/members").text == "for members"
        assert client.get("/out").text == "True"

    def test_a_login_manager_of_another_library_is_left_alone(
        self, app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing of Flask-Login is imported for it."""
        monkeypatch.delitem(sys.modules, "flask_login.signals")
        other = Flask("other")
        other.login_manager = object()  # type: ignore[attr-defined]
        Sessions(other, MemoryStore())
        caplog.set_level(logging.INFO)
        other.add_url_rule("/put", view_func=put)
        assert other.test_client().get("/put").json == {}
        assert "flask_login.signals" not in sys.modules
        assert caplog.records == []
