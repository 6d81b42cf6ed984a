"""Flask-Login's cookie that remembers brings the user back, into our session."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from session_middleware import SessionManager
from session_middleware.integrations.flask import session
from session_middleware.testing import FakeClock, FaultyStore
from tests.integrations.flask_login.site import HOUR, anonymous, signed_in, token, who
from tests.integrations.flask_site import load_user

DAY = 24 * HOUR


class TestRememberMe:
    def test_the_user_is_back_when_the_session_has_ended(
        self, client: FlaskClient, clock: FakeClock, sessions: SessionManager
    ) -> None:
        """It is a sign-in: recorded, under a new secret, and not fresh."""
        client.get("/in/1?remember=1")
        before = token(client)
        clock.advance(DAY)

        assert client.get("/who").json == signed_in(fresh=False)
        assert token(client) not in (before, None)
        assert client.get("/who").json == signed_in(fresh=False)
        assert len(sessions.sessions_of("1")) == 1

    def test_a_closed_browser_keeps_only_the_cookie_that_remembers(self, client: FlaskClient) -> None:
        """The session cookie goes when the browser is closed."""
        client.get("/in/1?remember=1")
        client.delete_cookie("session")
        assert client.get("/who").json == signed_in(fresh=False)

    def test_what_an_anonymous_session_holds_is_kept(self, client: FlaskClient) -> None:
        """Its secret goes, as at every sign-in."""
        client.get("/in/1?remember=1")
        client.delete_cookie("session")
        client.get("/put")
        before = token(client)
        assert client.get("/who").json == signed_in(fresh=False)
        assert token(client) != before
        assert client.get("/data").json["cart"] == ["tea"]  # type: ignore[index]

    def remembered(self, client: FlaskClient) -> FlaskClient:
        """Let the browser have an anonymous session and the cookie that remembers; return another one with the same cookies,
        as for a request that is on its way while another is answered."""
        client.get("/in/1?remember=1")
        client.delete_cookie("session")
        client.get("/put")
        parallel = client.application.test_client()
        for name in ("session", "remember_token"):
            cookie = client.get_cookie(name)
            assert cookie is not None
            parallel.set_cookie(name, cookie.value)
        return parallel

    def test_of_two_requests_at_once_each_is_told_of_the_same_session(
        self, client: FlaskClient, sessions: SessionManager
    ) -> None:
        """Promise 20: the second, whose secret the first has just replaced, joins; whichever cookie stays is signed in."""
        parallel = self.remembered(client)
        first, late = client.get("/who"), parallel.get("/who")
        assert first.json == late.json == signed_in(fresh=False)
        assert len({token(client), token(parallel)}) == 2
        for each in (client, parallel):
            assert each.get("/who").json == signed_in(fresh=False)
            assert each.get("/data").json["cart"] == ["tea"]  # type: ignore[index]
        assert sorted(info.data.get("cart", []) for info in sessions.sessions_of("1")) == [[], ["tea"]]

    @pytest.mark.parametrize("user", ["1", "2"])
    def test_a_cookie_that_remembers_does_not_join_who_has_just_given_a_password(
        self, client: FlaskClient, sessions: SessionManager, user: str
    ) -> None:
        """Promise 18: be it the same user or another. The request is answered for the user that is remembered, and nothing
        is stored, and no cookie sent: who has signed in stays so, and stays fresh."""
        parallel = self.remembered(client)
        client.get(f"/in/{user}")
        before = len(sessions.sessions_of("1"))

        for _ in range(2):
            late = parallel.get("/who")
            assert late.json == {"user": "1", "recorded": None, "fresh": False}
            assert [cookie for cookie in late.headers.getlist("Set-Cookie") if cookie.startswith("session=")] == []
        assert client.get("/who").json == signed_in(user)
        assert len(sessions.sessions_of("1")) == before

    def test_it_does_not_either_once_that_has_ended(
        self, app: Flask, client: FlaskClient, sessions: SessionManager, kept: FaultyStore
    ) -> None:
        """Promise 5: a transaction finds the session gone, so the user has signed out meanwhile."""

        def transact() -> Any:
            assert session["cart"] == ["tea"]
            assert sessions.revoke(session.id)
            session.transact(lambda data: data.update(seen=True))
            return who()

        app.add_url_rule("/transact", view_func=transact)
        self.remembered(client)
        response = client.get("/transact")
        assert response.json == {"user": "1", "recorded": None, "fresh": False}
        assert response.headers.getlist("Set-Cookie") == []

    @pytest.mark.parametrize("before", [{}, {"_fresh": False}], ids=["unread", "read"])
    def test_a_sign_in_by_password_joins_who_is_remembered_and_is_fresh(
        self, client: FlaskClient, before: dict[str, Any]
    ) -> None:
        """Promise 20: whichever of the two cookies stays."""
        parallel = self.remembered(client)
        with client.session_transaction() as stored:
            stored.update(before)
        client.get("/who")
        parallel.get("/in/1")
        for each in (client, parallel):
            assert each.get("/who").json == signed_in()
            assert each.get("/data").json["cart"] == ["tea"]  # type: ignore[index]

    def test_a_user_who_is_no_more_is_not_signed_in(
        self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, sessions: SessionManager
    ) -> None:
        """The loader decides."""
        client.get("/in/1?remember=1")
        client.delete_cookie("session")
        monkeypatch.delitem(load_user.__globals__["NAMES"], "1")
        assert client.get("/who").json == anonymous()

    def test_only_a_fresh_sign_in_is_fresh(self, client: FlaskClient) -> None:
        """``fresh_login_required`` asks a remembered user again, and ``confirm_login`` satisfies it."""
        client.get("/in/1?remember=1")
        assert client.get("/fresh").text == "for fresh members"
        client.delete_cookie("session")

        assert client.get("/members").text == "for members"
        refused = client.get("/fresh")
        assert refused.headers["Location"].startswith("/refresh")
        assert "reauthenticate" in client.get("/refresh").text
        client.get("/confirm")
        assert client.get("/fresh").text == "for fresh members"
