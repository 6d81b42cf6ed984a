"""``request.session`` in WebOb, in process and under gunicorn."""

from typing import Any, ClassVar

import pytest
import webob
from webob.dec import wsgify

from session_middleware import ConfigurationError, MemoryStore, SessionMiddleware, get_session
from session_middleware.integrations.webob import Request, SessionMixin
from tests.integrations import webob_site
from tests.integrations.contract import IntegrationContract


class TestSite(IntegrationContract):
    site: ClassVar = webob_site

    @classmethod
    def inner(cls) -> Any:
        return webob_site.site


class TestRequest:
    def test_the_session_is_that_of_the_middleware(self) -> None:
        """The very object, so that nothing stands between it and the application."""

        @wsgify(RequestClass=Request)
        def app(request: Request) -> str:
            assert request.session is get_session(request.environ)
            return "yes"

        assert Request.blank("/").get_response(SessionMiddleware(app, MemoryStore())).text == "yes"

    def test_a_request_class_of_ones_own_has_it_too(self) -> None:
        """With the ``environ_key`` that its middleware has."""

        class MyRequest(SessionMixin, webob.Request):
            session_environ_key = "shop.session"

        @wsgify(RequestClass=MyRequest)
        def app(request: MyRequest) -> str:
            request.session["seen"] = request.session.get("seen", 0) + 1
            return str(request.session["seen"])

        application = SessionMiddleware(app, MemoryStore(), environ_key="shop.session")
        first = MyRequest.blank("/").get_response(application)
        cookie = first.headers["Set-Cookie"].partition(";")[0]

        assert MyRequest.blank("/", headers={"Cookie": cookie}).get_response(application).text == "2"

    def test_without_the_middleware_it_says_what_to_write(self) -> None:
        """Promise 15."""
        with pytest.raises(ConfigurationError, match="wrap the application with SessionMiddleware"):
            _ = Request.blank("/").session

    def test_it_cannot_be_replaced(self) -> None:
        """What is stored is what the middleware has opened; a mapping in its place would be lost."""
        request: Any = Request.blank("/")

        with pytest.raises(AttributeError):
            request.session = {}
