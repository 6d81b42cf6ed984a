"""The session in Pyramid, through WebTest, through Pyramid's own test tools and under gunicorn."""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module, reload
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import Mock
from wsgiref.types import WSGIEnvironment

import pytest
from pyramid import testing
from pyramid.authentication import SessionAuthenticationHelper, SessionAuthenticationPolicy
from pyramid.authorization import ACLAuthorizationPolicy
from pyramid.config import Configurator
from pyramid.csrf import (
    CookieCSRFStoragePolicy,
    LegacySessionCSRFStoragePolicy,
    SessionCSRFStoragePolicy,
    get_csrf_token,
    new_csrf_token,
)
from pyramid.events import NewResponse
from pyramid.httpexceptions import HTTPConflict, HTTPInternalServerError
from pyramid.interfaces import ISession, ISessionFactory
from pyramid.request import Request
from pyramid.response import FileResponse, Response
from pyramid.scripting import prepare
from pyramid.security import forget, remember
from pyramid.wsgi import wsgiapp2
from webtest import TestApp
from zope.interface.verify import verifyClass, verifyObject

from session_middleware import (
    ConfigurationError,
    CookiePolicy,
    JSONCodec,
    Lifetime,
    MemoryStore,
    SessionManager,
    SessionMiddleware,
    StoreUnavailable,
)
from session_middleware.integrations.moving import FromFlaskSession
from session_middleware.integrations.pyramid import PyramidSession, manager_of, session_factory
from session_middleware.testing import FakeClock, FaultyStore
from tests.apps import Gateway, visit
from tests.integrations import pyramid_site
from tests.integrations.contract import IntegrationContract, id_of

INCLUDE = "session_middleware.integrations.pyramid"
View = Callable[[Any], Any]


class TestSite(IntegrationContract):
    site: ClassVar = pyramid_site


def configured(**views: View) -> Any:
    """Return a configurator with a view for each name, which is its path, too."""
    config = Configurator(settings={"session_middleware.store": "memory:"})
    config.include(INCLUDE)
    for name, view in views.items():
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name, renderer="json")
    return config


def app_of(**views: View) -> Any:
    return configured(**views).make_wsgi_app()


def show(request: Any) -> Any:
    return {"user": request.session.user_id, "data": dict(request.session)}


def seen(app: Any, before: Gateway) -> Any:
    return json.loads(visit(app, "/show", cookie=before.cookie).body)


def a_session(**data: Any) -> PyramidSession:
    session = PyramidSession(SessionManager(MemoryStore(), clock=FakeClock(1000.9)).open())
    session.update(data)
    return session


# ISession, member by member: how it is used, and what comes of it.
MEMBERS: dict[str, Callable[[Any], bool]] = {
    "created": lambda s: s.created == 1000 and type(s.created) is int,
    "new": lambda s: s.new is True,
    "invalidate": lambda s: s.invalidate() is None and not s,
    "changed": lambda s: s.changed() is None,
    "flash": lambda s: s.flash("x", "q") is None and s["_f_q"] == ["x"],
    "pop_flash": lambda s: s.flash("x") is None and s.pop_flash() == ["x"] and s.pop_flash() == [],
    "peek_flash": lambda s: s.flash("x") is None and s.peek_flash() == ["x"] == s.peek_flash(),
    "__contains__": lambda s: "a" in s and "x" not in s,
    "__setitem__": lambda s: s.__setitem__("x", 1) is None and s["x"] == 1,
    "__delitem__": lambda s: s.__delitem__("a") is None and "a" not in s,
    "__getitem__": lambda s: s["a"] == 1,
    "__iter__": lambda s: list(s) == ["a", "b"],
    "get": lambda s: (s.get("a"), s.get("x"), s.get("x", 7)) == (1, None, 7),
    "items": lambda s: list(s.items()) == [("a", 1), ("b", [])],
    "keys": lambda s: list(s.keys()) == ["a", "b"],
    "values": lambda s: list(s.values()) == [1, []],
    "pop": lambda s: (s.pop("a"), s.pop("a", 7)) == (1, 7) and "a" not in s,
    "popitem": lambda s: s.popitem() == ("b", []) and list(s) == ["a"],
    "setdefault": lambda s: (s.setdefault("a", 7), s.setdefault("x", 7)) == (1, 7) and s["x"] == 7,
    "update": lambda s: s.update({"a": 2, "x": 3}) is None and (s["a"], s["x"]) == (2, 3),
    "clear": lambda s: s.clear() is None and dict(s) == {},
}


class TestInterface:
    def test_zope_finds_all_of_it(self) -> None:
        """Every method with its arguments, every attribute."""
        assert verifyClass(ISession, PyramidSession)
        assert verifyObject(ISession, a_session())

    def test_the_table_is_complete(self) -> None:
        """A member that Pyramid adds fails this test until the table knows it."""
        assert set(ISession.names(all=True)) == MEMBERS.keys()

    @pytest.mark.parametrize("name", MEMBERS)
    def test_each_member_does_what_is_documented(self, name: str) -> None:
        """On a session that holds a number and a list."""
        assert MEMBERS[name](a_session(a=1, b=[]))

    def test_the_rest_of_a_mapping_is_there_too(self) -> None:
        """A key that is not there is a ``KeyError``; length, truth, equality and repr are those of a mapping."""
        session = a_session(a=1)

        for use in (lambda: session["x"], lambda: session.pop("x"), lambda: session.__delitem__("x")):
            with pytest.raises(KeyError):
                use()
        assert (len(session), bool(session), session == {"a": 1}) == (1, True, True)
        assert repr(session) == "<Session, new>"
        assert not a_session()

    def test_what_a_session_has_on_top_is_there(self) -> None:
        """See :class:`Session`."""
        session = a_session(a=1)
        session.set_lifetime(idle=timedelta(minutes=5), persistent=True)
        session.login("alice")
        session.regenerate()

        assert session.transact(lambda data: data.pop("a")) == 1
        assert session.user_id == session.underlying.user_id == "alice"
        assert session.id == session.underlying.id
        assert (session.created_at, session.last_seen_at, session.expires_at) == (1000.9, 1000.9, 1300.9)

    def test_a_message_is_not_added_twice_unless_that_is_allowed(self) -> None:
        """Queue by queue."""
        session = a_session()
        for allow_duplicate in (True, False, True):
            session.flash("one", allow_duplicate=allow_duplicate)
        session.flash("one", "other", allow_duplicate=False)

        assert (session.peek_flash(), session.peek_flash("other")) == (["one", "one"], ["one"])

    def test_the_csrf_token_of_the_session_stays_until_a_new_one_is_made(self) -> None:
        """As sessions had it before Pyramid 1.9; under the key that Pyramid's own policy uses."""
        session = a_session()
        token = session.get_csrf_token()

        assert session.get_csrf_token() == session["_csrft_"] == token
        assert session.new_csrf_token() != token
        assert session.get_csrf_token() == session["_csrft_"] != token


class TestFlash:
    def test_a_message_is_shown_once(self) -> None:
        """Across requests, and however often it was looked at before."""

        def say(request: Any) -> Any:
            request.session.flash("saved")
            return {}

        app = TestApp(
            app_of(
                say=say,
                peek=lambda request: request.session.peek_flash(),
                pop=lambda request: request.session.pop_flash(),
            )
        )
        app.get("/say")
        shown = [app.get(path).json for path in ("/peek", "/peek", "/pop", "/pop", "/peek")]

        assert shown == [["saved"], ["saved"], ["saved"], [], []]


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


class TestCommit:
    """The session is stored when the whole of Pyramid is done with the request, and the response starts."""

    def test_what_callbacks_and_subscribers_change_is_stored(self) -> None:
        """Response callbacks, NewResponse and finished callbacks all run before that."""

        def home(request: Any) -> Any:
            request.add_response_callback(lambda request, response: note(request, "response"))
            request.add_finished_callback(lambda request: note(request, "finished"))
            return {}

        def note(request: Any, name: str) -> None:
            request.session.setdefault("notes", []).append(name)

        config = configured(home=home, show=show)
        config.add_subscriber(lambda event: note(event.request, "subscriber"), NewResponse)
        app = config.make_wsgi_app()
        first = visit(app, "/home")

        assert seen(app, first)["data"] == {"notes": ["response", "subscriber", "finished"]}

    @pytest.mark.parametrize(("response", "stored"), [(HTTPInternalServerError, False), (HTTPConflict, True)])
    def test_an_exception_view_decides_whether_the_request_has_failed(self, response: Any, stored: bool) -> None:
        """Promise 16: with a status of the 500 kind it has, with another one it has not."""

        def fail(request: Any) -> Any:
            request.session["a"] = 1
            raise LookupError

        config = configured(fail=fail, show=show)
        config.add_exception_view(lambda error, request: response(), LookupError)
        page = visit(config.make_wsgi_app(), "/fail")

        assert page.status == response().status
        assert bool(page.set_cookies) == stored

    def test_a_sign_out_holds_even_if_the_page_fails(self) -> None:
        """Promise 16: ending a session always ends it."""

        def fail(request: Any) -> Any:
            request.session.invalidate()
            raise LookupError

        def put(request: Any) -> Any:
            request.session["a"] = 1

        app = app_of(put=put, fail=fail, show=show)
        first = visit(app, "/put")
        with pytest.raises(LookupError):
            visit(app, "/fail", cookie=first.cookie)

        assert seen(app, first)["data"] == {}

    def test_a_file_goes_to_the_server_as_it_is(self, tmp_path: Path) -> None:
        """Promise 1: the server's own wrapper, so that it can send the file its fast way."""
        (tmp_path / "file").write_bytes(b"content")
        app = app_of(file=lambda request: FileResponse(tmp_path / "file", request=request))
        page = visit(app, "/file")

        assert page.body == b"content"
        assert type(page.result).__name__ == "FileWrapper"

    def test_the_list_of_blocks_is_the_views_own(self) -> None:
        """Promise 1."""
        blocks = [b"one", b"two"]

        assert visit(app_of(page=lambda request: Response(app_iter=blocks)), "/page").result is blocks

    def test_a_session_is_there_in_every_tween(self) -> None:
        """Those above Pyramid's exception views, too: the policy is around all of them."""
        config = configured(show=show)
        config.add_tween("tests.integrations.test_pyramid.counting")
        app = config.make_wsgi_app()
        first = visit(app, "/show")

        assert seen(app, first)["data"] == {"above": 2}


def counting(handler: View, registry: Any) -> View:
    def tween(request: Any) -> Any:
        request.session["above"] = request.session.get("above", 0) + 1
        return handler(request)

    return tween


class Again(Exception):
    """What :func:`retrying` tries again over."""


def retrying(environ: WSGIEnvironment, router: Any) -> Any:
    """An execution policy in the manner of pyramid_retry: a new request for each attempt, over one environ."""
    for number in range(3):
        environ["attempt"] = number
        with router.request_context(environ) as request:
            try:
                response = router.invoke_request(request)
            except Again:
                continue
            if not isinstance(getattr(request, "exception", None), Again):
                return response
    return Response(status=409)


class TestOtherPolicies:
    @staticmethod
    def attempts(view: View, *, squashed: bool = False, included_first: bool = True, store: Any = "memory:") -> Any:
        def attempted(request: Any) -> Any:
            view(request)
            if request.environ["attempt"] < 2:
                raise Again
            return dict(request.session)

        config = Configurator(settings={"session_middleware.store": store})
        if included_first:
            config.include(INCLUDE)
        config.set_execution_policy(retrying)
        config.include(INCLUDE)  # nothing, if it is the second time
        for name, handler in {"attempted": attempted, "show": show}.items():
            config.add_route(name, f"/{name}")
            config.add_view(handler, route_name=name, renderer="json")
        if squashed:
            config.add_exception_view(lambda error, request: HTTPConflict(), Again)
        return config.make_wsgi_app()

    @pytest.mark.parametrize("included_first", [True, False])
    @pytest.mark.parametrize("squashed", [True, False])
    def test_each_attempt_begins_with_what_is_stored(self, squashed: bool, included_first: bool) -> None:
        """Promise 16: an attempt that is given up has failed, whether an exception view has made a page of it or not."""

        def view(request: Any) -> None:
            request.session["count"] = request.session.get("count", 0) + 1
            request.session.flash("saved")

        app = self.attempts(view, squashed=squashed, included_first=included_first)
        first = visit(app, "/attempted")
        second = visit(app, "/attempted", cookie=first.cookie)

        assert json.loads(first.body) == {"count": 1, "_f_": ["saved"]}
        assert json.loads(second.body) == {"count": 2, "_f_": ["saved", "saved"]}
        assert seen(app, first)["data"] == {"count": 2, "_f_": ["saved", "saved"]}

    def test_under_the_middleware_too(self) -> None:
        """The same with the session of that."""
        app = self.attempts(lambda request: request.session.flash("saved"))

        assert json.loads(visit(SessionMiddleware(app, MemoryStore()), "/attempted").body) == {"_f_": ["saved"]}

    def test_what_an_attempt_has_ended_stays_ended(self) -> None:
        """Promise 5: a later attempt does not find it again."""

        def view(request: Any) -> None:
            if request.environ["attempt"] == 0:
                request.session.invalidate()
            request.session["seen"] = [*request.session.get("seen", []), request.environ["attempt"]]

        app = self.attempts(view)
        first = visit(app, "/attempted")
        second = visit(app, "/attempted", cookie=first.cookie)

        assert json.loads(second.body) == {"seen": [2]}
        assert second.token != first.token
        assert seen(app, first)["data"] == {}

    @pytest.mark.parametrize("act", ["regenerate", "login"])
    def test_a_secret_that_an_attempt_has_stored_is_the_one_to_go_on_with(self, act: str) -> None:
        """Promise 20: a transaction stores it at once, and the old one is dead; so the browser is told in any case."""

        def view(request: Any) -> None:
            if request.environ["attempt"] == 0 and request.cookies:
                request.session.login("alice") if act == "login" else request.session.regenerate()
                request.session.transact(lambda data: data.update(counted=1))
            request.session["last"] = request.environ["attempt"]

        app = self.attempts(view)
        first = visit(app, "/attempted")
        second = visit(app, "/attempted", cookie=first.cookie)

        assert json.loads(second.body) == {"last": 2, "counted": 1}
        assert id_of(second.token) == id_of(first.token)
        assert seen(app, second) == {"user": "alice" if act == "login" else None, "data": {"last": 2, "counted": 1}}

    @pytest.mark.parametrize("cookie", [True, False])
    def test_what_an_attempt_has_begun_and_stored_is_there_in_the_next(self, cookie: bool) -> None:
        """Promise 5: also after it has ended the session of another user; that stays ended."""

        def view(request: Any) -> None:
            if request.environ["attempt"] == 0:
                request.session.login("bob" if request.cookies else "alice")
                request.session.transact(lambda data: data.update(counted=1))

        app = self.attempts(view)
        first = visit(app, "/attempted")
        last = visit(app, "/attempted", cookie=first.cookie) if cookie else first

        assert json.loads(last.body) == {"counted": 1}
        assert seen(app, last) == {"user": "bob" if cookie else "alice", "data": {"counted": 1}}
        assert len(manager_of(app.registry).sessions_of("alice")) == (0 if cookie else 1)

    @pytest.mark.parametrize("gone", ["revoked", "store fails"])
    def test_if_that_is_gone_meanwhile_nothing_is_sent(self, gone: str) -> None:
        """Promises 7 and 19: it is ended elsewhere, or cannot be asked for; then the request fails, and none is tried."""
        store = FaultyStore(MemoryStore())

        def view(request: Any) -> None:
            if request.environ["attempt"] == 0:
                request.session.login("alice")
                request.session.transact(lambda data: data.update(counted=1))
                if gone == "revoked":
                    manager_of(request).revoke_all("alice")
                else:
                    store.fail("load")

        app = self.attempts(view, store=store)
        page = visit(app, "/attempted")

        assert (page.status, page.set_cookies) == ("200 OK" if gone == "revoked" else "503 Service Unavailable", [])

    def test_a_failure_of_the_store_is_not_held_against_the_next_attempt(self) -> None:
        """Whoever tries again wants it tried."""
        store = FaultyStore(MemoryStore())

        def view(request: Any) -> None:
            if request.environ["attempt"] == 0 and request.cookies:
                store.fail("load")
                with pytest.raises(StoreUnavailable):
                    len(request.session)
            else:
                request.session["count"] = request.session.get("count", 0) + 1

        app = self.attempts(view, store=store)
        first = visit(app, "/attempted")
        second = visit(app, "/attempted", cookie=first.cookie)

        assert (second.status, json.loads(second.body)) == ("200 OK", {"count": 2})


class TestRequestsWithinRequests:
    @pytest.mark.parametrize("use_tweens", [True, False])
    def test_a_subrequest_has_the_session_of_its_request(self, use_tweens: bool) -> None:
        """One session, stored once, and one cookie."""

        def outer(request: Any) -> Any:
            request.session["outer"] = 1
            return request.invoke_subrequest(Request.blank("/inner"), use_tweens=use_tweens).json

        def inner(request: Any) -> Any:
            request.session["inner"] = 2
            return dict(request.session)

        app = app_of(outer=outer, inner=inner, show=show)
        first = visit(app, "/outer")

        assert json.loads(first.body) == seen(app, first)["data"] == {"outer": 1, "inner": 2}

    def test_an_application_inside_has_it_too(self) -> None:
        """Another Pyramid with sessions of its own, mounted as WSGI."""
        inner = app_of(inner=lambda request: request.session.setdefault("inner", manager_of(request).store is not None))
        config = configured(show=show)
        config.add_route("mounted", "/mounted/*subpath")
        config.add_view(wsgiapp2(inner), route_name="mounted")
        app = config.make_wsgi_app()
        first = visit(app, "/mounted/inner")

        assert len(first.set_cookies) == 1
        assert seen(app, first)["data"] == {"inner": True}

    def test_an_application_that_is_merely_called_has_its_own(self) -> None:
        """A whole request of its own, as a client of the API would make it."""

        def outer(request: Any) -> Any:
            request.session["outer"] = 1
            return Request.blank("/inner").get_response(app).json

        app = app_of(outer=outer, inner=show)

        assert json.loads(visit(app, "/outer").body) == {"user": None, "data": {}}

    def test_a_request_of_a_script_has_none_and_says_why(self) -> None:
        """What it changed would be stored by nobody."""
        app = app_of(show=show)
        with prepare(registry=app.registry) as env, pytest.raises(ConfigurationError, match="the application is serving"):
            _ = env["request"].session

    def test_pyramids_own_test_tools_work(self) -> None:
        """With the session of ``DummyRequest``, or with one of a test's own."""
        with testing.testConfig(settings={"session_middleware.store": "memory:"}) as config:
            config.include(INCLUDE)
            request = testing.DummyRequest()
            request.session["a"] = 1
            assert show(testing.DummyRequest(session=a_session(b=2))) == {"user": None, "data": {"b": 2}}
            assert config.registry.queryUtility(ISessionFactory) is session_factory


class TestConfiguration:
    def test_settings_are_those_of_an_ini_file(self) -> None:
        """Promise 15: as text."""
        config = Configurator(
            settings={
                "session_middleware.store": "memory:",
                "session_middleware.codec": "json",
                "session_middleware.max_bytes": "4096",
                "session_middleware.namespace": "shop",
                "session_middleware.lifetime.idle": "none",
                "session_middleware.lifetime.absolute": "600",
                "session_middleware.cookie.name": "sid",
                "session_middleware.cookie.samesite": "strict",
                "session_middleware.environ_key": "shop.session",
                "session_middlewares": "another",
            }
        )
        config.include(INCLUDE)
        config.add_route("home", "/")
        config.add_view(self.home, route_name="home", renderer="json")
        page = visit(config.make_wsgi_app())

        assert page.body == b"true"
        assert page.cookie.startswith("sid=")
        assert "SameSite=Strict" in page.set_cookies[0]
        assert isinstance(manager_of(config).codec, JSONCodec)
        assert manager_of(config.registry).lifetime == Lifetime(idle=None, absolute=600)
        assert manager_of(config.registry).namespace == "shop"

    @staticmethod
    def home(request: Any) -> bool:
        request.session["a"] = 1
        return request.session.underlying is request.environ["shop.session"]

    def test_settings_may_be_objects(self) -> None:
        """Where the settings are made in Python."""
        store, clock, codec, lifetime = MemoryStore(), FakeClock(), JSONCodec(), Lifetime.AAL3
        config = Configurator(
            settings={
                "session_middleware.store": store,
                "session_middleware.clock": clock,
                "session_middleware.codec": codec,
                "session_middleware.lifetime": lifetime,
                "session_middleware.cookie": CookiePolicy(name="sid"),
                "session_middleware.max_bytes": 4096,
            }
        )
        config.include(INCLUDE)
        manager = manager_of(config)

        assert (manager.store, manager.now, manager.codec, manager.lifetime) == (store, clock, codec, lifetime)

    def test_sessions_of_another_library_are_carried_over(self) -> None:
        """Pyramid's sessions were often Beaker's."""
        carry_over = FromFlaskSession(Mock(get=Mock(return_value=b'{"count": 7}')), cookie_name="old")
        with Configurator(
            settings={"session_middleware.store": "memory:", "session_middleware.carry_over": carry_over}
        ) as config:
            config.include(INCLUDE)
            config.add_route("home", "/")
            config.add_view(lambda request: Response(str(request.session["count"])), route_name="home")

        assert visit(config.make_wsgi_app(), cookie=f"old={'a' * 43}").body == b"7"

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"stor": "memory:"}, "did you mean session_middleware.store"),
            ({"store": "nowhere:"}, "not a kind of store"),
            ({"max_bytes": 10}, "max_bytes=10"),
            ({"cookie": 7}, "CookiePolicy"),
            ({"lifetime": Lifetime.AAL1, "lifetime.idle": 60}, "write none of its parts beside it"),
        ],
    )
    def test_settings_that_cannot_work_do_not_start(self, settings: dict[str, Any], message: str) -> None:
        """Promise 15: at ``config.include``."""
        config = Configurator(settings={f"session_middleware.{name}": value for name, value in settings.items()})

        with pytest.raises(ConfigurationError, match=message):
            config.include(INCLUDE)

    def test_including_it_twice_is_including_it_once(self) -> None:
        """As when two parts of an application both need it."""
        config = configured(show=show)
        config.include(INCLUDE)

        assert visit(config.make_wsgi_app(), "/show").status == "200 OK"

    def test_a_policy_that_takes_its_place_is_noticed(self) -> None:
        """No session is better than one that is never stored."""
        config = configured(show=show)
        config.commit()
        config.set_execution_policy(None)

        with pytest.raises(ConfigurationError, match="the application is serving"):
            visit(config.make_wsgi_app(), "/show")

    def test_under_the_middleware_the_factory_alone_is_enough(self) -> None:
        """Nothing is included; the manager is that of the middleware."""
        config = Configurator()
        config.set_session_factory(session_factory)
        config.add_route("home", "/")
        store = MemoryStore()
        config.add_view(lambda request: manager_of(request).store is store, route_name="home", renderer="json")

        assert visit(SessionMiddleware(config.make_wsgi_app(), store)).body == b"true"

    def test_the_manager_of_a_request_knows_its_session(self) -> None:
        """Its own, or that of the middleware around the application."""

        def sign_in(request: Any) -> Any:
            request.session.login("alice")
            return {}

        def ours(request: Any) -> Any:
            return [info.user_id for info in manager_of(request).sessions_of("alice")]

        app = app_of(sign_in=sign_in, ours=ours)
        for application in (app, SessionMiddleware(app, MemoryStore())):
            visit(application, "/sign_in")
            assert json.loads(visit(application, "/ours").body) == ["alice"]

    def test_without_anything_there_is_no_manager(self) -> None:
        """And the error says what to write."""
        with pytest.raises(ConfigurationError, match=r"config\.include"):
            manager_of(Configurator())


class _Absent(MetaPathFinder):
    """What finds that there is no Pyramid."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pyramid":
            raise ModuleNotFoundError("No module named 'pyramid'", name="pyramid")


def test_without_pyramid_the_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the extra."""
    module = import_module(INCLUDE)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyramid"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Absent(), *sys.meta_path])

    with pytest.raises(ImportError, match=r"pip install 'session-middleware\[pyramid\]'"):
        reload(module)


def test_it_imports_no_other_framework() -> None:
    """The others need not be installed, and ``import session_middleware`` imports none."""
    program = f"""
import sys
import session_middleware
before = {{"bottle", "pyramid", "flask", "django"}} & sys.modules.keys()
import {INCLUDE}
print(before, {{"bottle", "flask", "django"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set() set()\n"
