"""What a view of Django sees of the limit of sessions."""

from collections.abc import Iterator

import pytest

from tests.integrations import django_site  # it configures Django

# isort: split

from django.contrib import auth
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from session_middleware import MemoryStore, TooManySessions
from session_middleware.integrations.django import manager
from tests.integrations.django.visits import WAYS


def sign_in(request: HttpRequest) -> HttpResponse:
    user = auth.authenticate(request, username="alice", password="wonder")
    assert user is not None
    try:
        auth.login(request, user)
    except TooManySessions as error:
        return HttpResponse(f"{error.limit} already", status=403)
    return HttpResponse("welcome")


def put(request: HttpRequest) -> HttpResponse:
    request.session["cart"] = "tea"
    return HttpResponse("put")


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.user} {request.session.get('cart')}")


urlpatterns = [path("sign-in", sign_in), path("put", put), path("who", who), *django_site.urlpatterns]


@pytest.fixture(params=["middleware", "engine"])
def strict(request: pytest.FixtureRequest) -> Iterator[None]:
    """One session a user, and no further sign-in."""
    options = {"store": MemoryStore(), "max_per_user": 1, "at_limit": "refuse"}
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=WAYS[request.param], SESSION_MIDDLEWARE=options):
        yield


@pytest.mark.usefixtures("strict")
def test_login_raises_in_the_view() -> None:
    """Promise 23: the view answers; nobody is signed in then, and the visitor's data are as they were."""
    first, second = Client(), Client()
    assert first.get("/sign-in").content == b"welcome"
    second.get("/put")
    refused = second.get("/sign-in")

    assert (refused.status_code, refused.content) == (403, b"1 already")
    assert second.get("/who").content == b"AnonymousUser tea"
    assert first.get("/who").content == b"alice None"
    manager().revoke_all("1")
    assert second.get("/sign-in").content == b"welcome"
    assert second.get("/who").content == b"alice tea"


@pytest.mark.usefixtures("strict")
def test_a_view_that_does_not_answer_it_fails() -> None:
    """As Django's own LoginView does not: its form is a 500, and nobody is signed in."""
    Client().get("/sign-in")
    second = Client(raise_request_exception=False)

    assert second.post("/login/", {"username": "alice", "password": "wonder"}).status_code == 500
    assert second.get("/who").content == b"AnonymousUser None"
