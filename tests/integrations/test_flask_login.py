"""Flask-Login works unchanged, and signs our session in and out."""

import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import flask
import flask_login
import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from session_middleware import MemoryStore, SessionManager
from session_middleware.integrations.flask import Sessions, session
from session_middleware.testing import FakeClock, FaultyStore
from tests.integrations.flask_site import User, load_user

HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kept() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def app(kept: FaultyStore, clock: FakeClock) -> Flask:
    app = Flask(__name__)
    app.testing = True
    app.secret_key = "signs the cookie that remembers"
    Sessions(app, kept, clock=clock)
    manager = flask_login.LoginManager(app)  # after Sessions: the order does not matter
    manager.user_loader(load_user)
    manager.login_view = "sign_in_page"
    manager.refresh_view = "refresh_page"
    for rule, view in VIEWS.items():
        app.add_url_rule(rule, view.__name__, view)
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def sessions(app: Flask) -> SessionManager:
    manager: SessionManager = app.extensions["session_middleware"].manager
    return manager


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
