"""Flask-Login signs our session in and out."""

from typing import Any

import flask
import flask_login
import pytest
from flask import Flask
from flask.testing import FlaskClient

from session_middleware import SessionManager
from session_middleware.integrations.flask import session
from session_middleware.testing import FakeClock, FaultyStore
from tests.integrations.flask_login.site import HOUR, anonymous, confirm, sign_in, signed_in, token
from tests.integrations.flask_site import User


class TestSigningIn:
    def test_it_is_a_login_of_ours(self, client: FlaskClient, sessions: SessionManager) -> None:
        """Promise 18: a new secret of the same session, the user recorded, and what the visitor had is kept."""
        client.get("/put")
        before = token(client)

        assert client.get("/in/1").json == signed_in()
        assert token(client) not in (before, None)
        assert client.get("/who").json == signed_in()
        assert sessions.open(before).user_id is None
        (listed,) = sessions.sessions_of("1")
        assert listed.data["cart"] == ["tea"]
        assert (before or "").startswith(listed.id)

    def test_again_as_the_same_user_is_a_new_secret(self, client: FlaskClient, clock: FakeClock) -> None:
        """OWASP ASVS 5.0, 7.2.4: at re-authentication, too; both timeouts start anew, and the session is the same."""
        client.get("/in/1")
        client.get("/put")
        before = token(client)
        clock.advance(HOUR / 2)

        assert client.get("/in/1").json == signed_in()
        assert token(client) != before
        assert client.get("/data").json["cart"] == ["tea"]  # type: ignore[index]
        with client:
            client.get("/who")
            assert (session.signed_in_at, session.created_at) == (clock(), clock() - HOUR / 2)
            assert (before or "").startswith(session.id)

    def test_to_confirm_a_sign_in_is_one(self, client: FlaskClient) -> None:
        """``confirm_login`` follows a password that was given again; without a user it is nothing."""
        client.get("/in/1")
        before = token(client)
        assert client.get("/confirm").json == signed_in()
        assert token(client) != before

        stranger = client.application.test_client()
        assert stranger.get("/confirm").json == anonymous()

    def test_as_another_user_drops_what_the_first_had(self, client: FlaskClient, sessions: SessionManager) -> None:
        """Design, "Lifetimes": with no sign-out between; Flask-Login's own keys are those of the second."""
        client.get("/in/1")
        client.get("/put")

        assert client.get("/in/2?remember=1").json == signed_in("2")
        assert client.get_cookie("remember_token") is not None
        assert "cart" not in client.get("/data").json  # type: ignore[operator]
        assert client.get("/who").json == signed_in("2")
        assert sessions.sessions_of("1") == []

    def test_who_signs_in_is_signed_in_if_the_session_was_ended_meanwhile(
        self, app: Flask, client: FlaskClient, sessions: SessionManager
    ) -> None:
        """Design, "Acts": a sign-in whose session is gone begins another with what the request has set: Flask-Login's own
        keys are there, whether they differ from what there was or not, and nothing that was only read."""
        other = app.test_client()

        def end() -> None:
            assert sessions.revoke(session.id)

        def slow_sign_in() -> Any:
            flask.session["cart"]
            end()
            return sign_in("1")

        def slow_confirm() -> Any:
            assert flask_login.current_user.is_authenticated
            end()
            return confirm()

        app.add_url_rule("/slow-in", view_func=slow_sign_in)
        app.add_url_rule("/slow-confirm", view_func=slow_confirm)
        for path in ("/slow-in", "/slow-confirm"):
            client.get("/put")
            before = token(client)
            assert client.get(path).json == signed_in()
            assert (token(client) or "")[:12] != (before or "")[:12]
            assert client.get("/who").json == signed_in()
            assert client.get("/data").json.keys() == {"_user_id", "_fresh", "_id"}  # type: ignore[union-attr]
        other.set_cookie("session", before or "")
        assert other.get("/who").json == anonymous()

    def test_an_id_that_is_no_text_is_recorded_as_text(self, app: Flask, client: FlaskClient) -> None:
        """``get_id`` should return ``str``; where it returns a number, that works with Flask-Login, and with us."""
        app.add_url_rule("/number", view_func=lambda: str(flask_login.login_user(User(1))))  # type: ignore[arg-type]
        assert client.get("/number").text == "True"
        assert client.get("/data").json["_user_id"] == 1  # type: ignore[index]

    def test_an_inactive_user_is_not_signed_in(self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        """No signal, no new secret."""
        monkeypatch.setattr(User, "is_active", False)
        client.get("/put")
        before = token(client)
        with pytest.raises(AssertionError):
            client.get("/in/1")
        assert (token(client), client.get("/who").json) == (before, anonymous())

    def test_a_failed_request_signs_nobody_in(self, app: Flask, client: FlaskClient) -> None:
        """Promise 16."""
        app.testing = False

        def fail() -> str:
            flask_login.login_user(User("1"))
            raise RuntimeError("on purpose")

        app.add_url_rule("/fail", view_func=fail)
        client.get("/put")
        before = token(client)
        assert client.get("/fail").status_code == 500
        assert (token(client), client.get("/who").json) == (before, anonymous())


class TestSigningOut:
    def test_it_ends_the_session(self, client: FlaskClient, sessions: SessionManager) -> None:
        """Promise 5: with all that was in it; the message of the next line is in a new one."""
        client.get("/in/1")
        client.get("/put")
        before = token(client)

        assert client.get("/out").json == anonymous()
        assert sessions.open(before).is_new
        assert sessions.sessions_of("1") == []
        assert client.get("/data").json == {"_flashes": [["message", "good bye"]]}
        assert client.get("/sign-in").text == "['good bye']"

    def test_it_removes_both_cookies(self, client: FlaskClient) -> None:
        """Flask-Login removes its own in ``after_request``, from what it has put into the session."""
        client.get("/in/1?remember=1")
        assert client.get_cookie("remember_token") is not None
        client.get("/out")
        assert client.get_cookie("remember_token") is None
        client.get("/sign-in")
        assert client.get("/who").json == anonymous()

    def test_what_the_request_has_written_and_messages_go_on(self, client: FlaskClient, sessions: SessionManager) -> None:
        """As with Flask's own session; the rest of what the user had is gone, and the new session is nobody's."""
        client.get("/in/1?remember")
        client.get("/put")
        client.get("/say")
        left = client.get("/noted-sign-out")

        assert "remember_token=;" in "".join(left.headers.getlist("Set-Cookie"))
        assert left.json == {"user": None, "recorded": None, "fresh": None}
        assert client.get("/data").json == {
            "_flashes": [["message", "unseen"], ["message", "you are signing out"]],
            "to_forget": ["their_cookie"],
        }
        assert sessions.sessions_of("1") == []

    def test_right_after_the_sign_in_it_leaves_nothing(self, client: FlaskClient, kept: FaultyStore) -> None:
        """In one request: no record and no cookie of either kind; what is asked for is the mark of the user."""
        assert client.get("/both").json == anonymous()
        assert (token(client), client.get_cookie("remember_token")) == (None, None)
        assert [verb for verb, _ in kept.calls] == ["load"]

    def test_while_the_response_is_sent_it_ends_the_session_at_once(
        self, client: FlaskClient, sessions: SessionManager
    ) -> None:
        """Promise 5: only the cookies stay, and open nothing."""
        client.get("/in/1?remember=1")
        before = token(client)
        assert client.get("/late", buffered=True).text == "blockmore"
        assert sessions.open(before).is_new

    def test_everywhere(self, client: FlaskClient, sessions: SessionManager) -> None:
        """``revoke_all`` ends what ``login_user`` has begun, on every device."""
        other = client.application.test_client()
        client.get("/in/1")
        other.get("/in/1")
        assert sessions.revoke_all("1") == 2
        assert [each.get("/who").json for each in (client, other)] == [anonymous()] * 2
