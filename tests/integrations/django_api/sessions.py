"""Sessions of both kinds, by the token that the browser has, and those of Django that are carried over."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from session_middleware.integrations.django import RequestSession, SessionMiddleware, SessionStore
from session_middleware.integrations.moving import FromDjango

NOW = 1_900_000_000
DAY = 86400


def the_engines(token: str | None) -> SessionStore:
    return SessionStore(token)


def the_requests(token: str | None) -> RequestSession:
    found: list[Any] = []

    def view(request: HttpRequest) -> HttpResponse:
        found.append(request.session)
        return HttpResponse()

    request = RequestFactory().get("/", **({} if token is None else {"HTTP_COOKIE": f"session={token}"}))
    SessionMiddleware(view).process_request(request)
    session: RequestSession = request.session
    return session


def a_token(**data: Any) -> str:
    """Store a session, and return its token."""
    session = SessionStore()
    session.update(data)
    session.save()
    token: str = session.session_key
    return token


class OldSessions:
    """Where Django's own engine has kept one session."""

    def __init__(self, key: str = "k" * 32) -> None:
        self.kept = {key: SessionStore().encode({"_auth_user_id": "5"}).encode()}

    def get(self, key: str, now: float) -> bytes | None:
        return self.kept.get(key)

    def remove(self, key: str) -> None:
        self.kept.pop(key, None)


OLD_KEY = "k" * 32


def carrying_over(old: OldSessions, name: str) -> FromDjango:
    return FromDjango(old, secret_key=settings.SECRET_KEY, cookie_name=name)
