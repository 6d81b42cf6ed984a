"""Other execution policies, and requests within requests, have the sessions that they should."""

import json
from typing import Any
from wsgiref.types import WSGIEnvironment

import pytest
from pyramid import testing
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPConflict
from pyramid.interfaces import ISessionFactory
from pyramid.request import Request
from pyramid.response import Response
from pyramid.scripting import prepare
from pyramid.wsgi import wsgiapp2

from session_middleware import ConfigurationError, MemoryStore, SessionMiddleware, StoreUnavailable
from session_middleware.integrations.pyramid import manager_of, session_factory
from session_middleware.testing import FaultyStore
from tests.apps import visit
from tests.integrations.contract import id_of
from tests.integrations.pyramid.application import INCLUDE, View, a_session, app_of, configured, seen, show


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
