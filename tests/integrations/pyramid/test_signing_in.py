"""What Pyramid has for signing in and out, and against forged forms, is ours."""

import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from pyramid.authentication import SessionAuthenticationHelper, SessionAuthenticationPolicy
from pyramid.authorization import ACLAuthorizationPolicy
from pyramid.csrf import (
    CookieCSRFStoragePolicy,
    LegacySessionCSRFStoragePolicy,
    SessionCSRFStoragePolicy,
    get_csrf_token,
    new_csrf_token,
)
from pyramid.security import forget, remember
from webtest import TestApp

from session_middleware import MemoryStore, SessionManager
from session_middleware.integrations.pyramid import PyramidSession, manager_of
from tests.apps import visit
from tests.integrations.contract import id_of
from tests.integrations.pyramid.application import a_session, configured, seen, show


class Policy:
    """A security policy as Pyramid's documentation has it."""

    def __init__(self, prefix: str = "auth.") -> None:
        helper = SessionAuthenticationHelper(prefix)
        self.remember, self.forget, self.authenticated_userid = helper.remember, helper.forget, helper.authenticated_userid

    def identity(self, request: Any) -> Any:
        return self.authenticated_userid(request)


def sign_in(request: Any) -> Any:
    if "ended" in request.params:
        assert manager_of(request).revoke(request.session.id)
    assert remember(request, json.loads(request.params["id"])) == []
    return request.authenticated_userid


def sign_out(request: Any) -> Any:
    assert forget(request) == []
    request.session.flash("good bye")
    return request.authenticated_userid


def who(request: Any) -> Any:
    return [request.authenticated_userid, request.session.user_id]


@pytest.fixture(params=["helper", "policy"])
def signing(request: pytest.FixtureRequest) -> Any:
    """An application that signs in with what Pyramid has for that, of today or before 2.0."""
    config = configured(sign_in=sign_in, sign_out=sign_out, who=who, show=show)
    if request.param == "helper":
        config.set_security_policy(Policy())
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            config.set_authentication_policy(SessionAuthenticationPolicy())
            config.set_authorization_policy(ACLAuthorizationPolicy())
    return config.make_wsgi_app()


class TestSigningIn:
    def test_remember_signs_in_under_a_new_secret(self, signing: Any) -> None:
        """Promise 18: the one from before is dead; the user id is recorded as text, and comes back as it was given."""
        first = visit(signing, "/sign_in", QUERY_STRING="id=5")
        second = visit(signing, "/sign_in", QUERY_STRING="id=5", cookie=first.cookie)

        assert (json.loads(first.body), second.token == first.token) == (5, False)
        assert id_of(second.token) == id_of(first.token)
        assert json.loads(visit(signing, "/who", cookie=second.cookie).body) == [5, "5"]
        assert json.loads(visit(signing, "/who", cookie=first.cookie).body) == [None, None]
        assert [info.user_id for info in manager_of(signing.registry).sessions_of("5")] == ["5"]

    def test_a_double_click_signs_in_whichever_answer_is_kept(self, signing: Any) -> None:
        """Promise 20: both answers have a secret of the same session, with what the visitor had."""
        first = visit(signing, "/sign_out")
        clicks = [visit(signing, "/sign_in", QUERY_STRING='id="alice"', cookie=first.cookie) for _ in range(2)]

        assert len({first.token, *(click.token for click in clicks)}) == 3
        for click in clicks:
            assert id_of(click.token) == id_of(first.token)
            shown = {"user": "alice", "data": {"_f_": ["good bye"], "auth.userid": "alice"}}
            assert seen(signing, click) == shown

    def test_who_is_remembered_is_so_if_the_session_was_ended_meanwhile(self, signing: Any) -> None:
        """Design, "Acts": a sign-in whose session is gone begins another, which Pyramid knows the user of, too."""
        first = visit(signing, "/sign_out")
        second = visit(signing, "/sign_in", QUERY_STRING='id="alice"&ended', cookie=first.cookie)

        assert id_of(second.token) != id_of(first.token)
        assert json.loads(visit(signing, "/who", cookie=second.cookie).body) == ["alice", "alice"]

    def test_another_user_finds_nothing_of_the_first(self, signing: Any) -> None:
        """Design, "Lifetimes": without a sign-out between."""
        first = visit(signing, "/sign_in", QUERY_STRING='id="alice"')
        second = visit(signing, "/sign_in", QUERY_STRING='id="bob"', cookie=first.cookie)

        assert seen(signing, second) == {"user": "bob", "data": {"auth.userid": "bob"}}
        assert manager_of(signing.registry).sessions_of("alice") == []

    def test_nor_if_only_the_data_tell_of_the_first(self) -> None:
        """As in a session of another library, where nobody has called ``login()``."""
        underlying = SessionManager(MemoryStore()).open()
        underlying.update({"auth.userid": "alice", "cart": ["tea"]})
        session = PyramidSession(underlying)
        session["auth.userid"] = "alice"
        assert dict(session) == {"auth.userid": "alice", "cart": ["tea"]}
        session["auth.userid"] = "bob"
        assert dict(session) == {"auth.userid": "bob"}

    def test_forget_ends_the_session(self, signing: Any) -> None:
        """Promise 5: what is said afterwards is in a new session."""
        first = visit(signing, "/sign_in", QUERY_STRING='id="alice"')
        second = visit(signing, "/sign_out", cookie=first.cookie)

        assert second.token != first.token
        assert seen(signing, second) == {"user": None, "data": {"_f_": ["good bye"]}}
        assert seen(signing, first) == {"user": None, "data": {}}

    def test_to_forget_nobody_is_nothing(self, signing: Any) -> None:
        """A visitor who is not signed in keeps the session."""
        first = visit(signing, "/sign_out")
        second = visit(signing, "/sign_out", cookie=first.cookie)

        assert second.set_cookies == []
        assert seen(signing, first) == {"user": None, "data": {"_f_": ["good bye", "good bye"]}}

    @pytest.mark.parametrize(
        "remove",
        [
            lambda session: session.pop("auth.userid"),
            lambda session: session.popitem(),
            lambda session: session.clear(),
            lambda session: session.__delitem__("auth.userid"),
            lambda session: session.invalidate(),
        ],
        ids=["pop", "popitem", "clear", "del", "invalidate"],
    )
    def test_whatever_removes_the_user_id_ends_the_session(self, remove: Callable[[PyramidSession], object]) -> None:
        """Promise 5: nobody may be signed in for us and not for Pyramid."""
        session = a_session(cart=["tea"])
        session.update({"auth.userid": "alice"})
        assert (session.user_id, dict(session)) == ("alice", {"cart": ["tea"], "auth.userid": "alice"})
        remove(session)

        assert (session.user_id, dict(session)) == (None, {})

    def test_with_another_prefix_the_application_signs_in_itself(self) -> None:
        """Documented: only the key of Pyramid's default is known."""

        def also(request: Any) -> Any:
            remember(request, "alice")
            before = request.session.user_id
            request.session.login("alice")
            return [before, request.session.user_id, request.authenticated_userid]

        config = configured(also=also)
        config.set_security_policy(Policy("my."))

        assert json.loads(visit(config.make_wsgi_app(), "/also").body) == [None, "alice", "alice"]


class TestCSRF:
    @pytest.mark.parametrize(
        "policy", [None, LegacySessionCSRFStoragePolicy, SessionCSRFStoragePolicy, CookieCSRFStoragePolicy]
    )
    def test_each_of_pyramids_policies_works(self, policy: Callable[[], Any] | None) -> None:
        """A form needs the token of its own session."""

        def form(request: Any) -> Any:
            return get_csrf_token(request) if request.method == "GET" else "taken"

        config = configured(form=form)
        config.set_default_csrf_options(require_csrf=True)
        if policy is not None:
            config.set_csrf_storage_policy(policy())
        wsgi = config.make_wsgi_app()
        app, other = TestApp(wsgi), TestApp(wsgi)
        token = app.get("/form").json

        assert app.get("/form").json == token
        assert app.post("/form", {"csrf_token": token}).json == "taken"
        assert app.post("/form", {"csrf_token": "x"}, status=400).status_int == 400
        assert app.post("/form", status=400).status_int == 400
        assert other.post("/form", {"csrf_token": token}, status=400).status_int == 400

    @pytest.mark.parametrize("renews", [False, True])
    @pytest.mark.parametrize("policy", [LegacySessionCSRFStoragePolicy, SessionCSRFStoragePolicy, CookieCSRFStoragePolicy])
    def test_a_form_from_before_a_sign_in_is_good_for_a_second_click(self, policy: Callable[[], Any], renews: bool) -> None:
        """Promise 20: with the cookie from before, and where a sign-in makes a new token, as Pyramid advises; the form of
        the last answer works, and so does the one in another tab unless there is a new token."""

        def form(request: Any) -> Any:
            if request.method == "GET":
                return get_csrf_token(request)
            if "user" in request.POST:
                remember(request, request.POST["user"])
            return new_csrf_token(request) if renews and "user" in request.POST else get_csrf_token(request)

        config = configured(form=form, who=who)
        config.set_default_csrf_options(require_csrf=True)
        config.set_security_policy(Policy())
        config.set_csrf_storage_policy(policy())
        wsgi = config.make_wsgi_app()
        app, second = TestApp(wsgi), TestApp(wsgi)
        other_tab = token = app.get("/form").json
        if policy is CookieCSRFStoragePolicy:
            app.get("/who")
        for cookie in app.cookiejar:
            second.cookiejar.set_cookie(cookie)

        app.post("/form", {"csrf_token": token, "user": "alice"})
        last = second.post("/form", {"csrf_token": token, "user": "alice"}).json
        assert second.get("/who").json == ["alice", "alice"]
        assert second.post("/form", {"csrf_token": last}).json == last
        assert second.post("/form", {"csrf_token": other_tab}, expect_errors=True).status_int == (400 if renews else 200)
