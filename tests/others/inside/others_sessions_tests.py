"""What Django's tests want of every session backend, of ours."""

from typing import Any

from django.test import RequestFactory, SimpleTestCase
from sessions_tests.tests import SessionTestsMixin  # type: ignore[import-not-found]  # Django's

from session_middleware.integrations.django import SessionMiddleware, SessionStore


class EngineTests(SessionTestsMixin, SimpleTestCase):  # type: ignore[misc]  # Django has no types
    """The engine."""

    backend = SessionStore


class RequestTests(SessionTestsMixin, SimpleTestCase):  # type: ignore[misc]  # Django has no types
    """``request.session`` under our middleware."""

    @staticmethod
    def backend(session_key: str | None = None) -> Any:
        request = RequestFactory().get("/")
        if session_key is not None:
            request.COOKIES["sessionid"] = session_key
        SessionMiddleware(lambda request: None).process_request(request)
        return request.session
