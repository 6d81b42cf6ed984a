"""Signing in, ending sessions, failing stores and counted calls for Django: its own test client, and others."""

from collections.abc import Iterator
from typing import Any

import pytest
import webtest
from django.contrib import auth
from django.core.handlers.wsgi import WSGIHandler
from django.test import AsyncClient, Client, override_settings
from django.test.utils import setup_test_environment, teardown_test_environment

from session_middleware import MemoryStore, SessionMiddleware
from session_middleware.integrations.django import manager
from session_middleware.testing import (
    clock_in_hand,
    expire,
    faulty_store,
    interleavings,
    manager_of,
    session_of,
    sign_in,
    signed_in_cookie,
    store_calls,
)

ALICE = {"name": "alice", "user": "1"}
NOBODY = {"name": "", "user": None}


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    with override_settings(SESSION_MIDDLEWARE={"store": MemoryStore()}):
        yield


@pytest.fixture
def runner() -> Iterator[None]:
    """As under Django's own test runner."""
    setup_test_environment()
    yield
    teardown_test_environment()


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


def alice() -> Any:
    return auth.get_user_model().objects.get(username="alice")


@pytest.mark.parametrize("secure", [False, True])
def test_a_user_of_django_is_signed_in(client: Client, secure: bool) -> None:
    """By force_login(), with the data that were given, by http and by https."""
    session_id = sign_in(client, alice(), {"cart": ["tea"]})

    assert client.get("/whoami", secure=secure).json() == ALICE
    found = session_of(client)
    assert found is not None
    assert (found.id, found.user_id, found.data["cart"]) == (session_id, "1", ["tea"])
    assert expire(client)
    assert client.get("/whoami", secure=secure).json() == NOBODY
    assert session_of(client) is None


def test_a_text_is_the_user_of_the_session_alone(client: Client) -> None:
    """For a site that has its users elsewhere."""
    sign_in(client, "alice")

    assert client.get("/whoami").json() == {"name": "", "user": "alice"}
    client.get("/act/logout")
    assert client.get("/whoami").json() == NOBODY
    assert session_of(client) is None


def test_the_asynchronous_client_is_signed_in() -> None:
    """Its cookies are kept in the same way."""
    client = AsyncClient()
    sign_in(client, alice())

    found = session_of(client)
    assert found is not None
    assert found.user_id == "1"


def test_the_store_of_the_settings_fails_and_its_calls_are_noted(client: Client) -> None:
    """The client stands for the project; so does its handler."""
    session_id = sign_in(client, "alice")
    with store_calls(client) as calls:
        client.get("/untouched")
        assert calls == []
        client.get("/act/show")
    assert calls == [("load", session_id)]
    with faulty_store(WSGIHandler()) as store:
        store.fail("load")
        assert client.get("/act/show").status_code == 503
    assert client.get("/act/show").status_code == 200


def test_sessions_end_by_the_clock_in_the_hand_of_the_test(client: Client) -> None:
    """SESSION_COOKIE_AGE is the idle timeout."""
    with override_settings(SESSION_COOKIE_AGE=600), clock_in_hand() as clock:
        sign_in(client, alice())
        clock.advance(601)
        assert client.get("/whoami").json() == NOBODY


@pytest.mark.usefixtures("runner")
def test_it_is_all_the_same_under_the_test_runner(client: Client) -> None:
    """There, too, the cookie has its plain name for every client."""
    with override_settings(SESSION_COOKIE_SECURE=True):
        sign_in(client, alice())
        assert client.get("/whoami", secure=True).json() == ALICE
        other = webtest.TestApp(WSGIHandler(), extra_environ={"wsgi.url_scheme": "https"})
        sign_in(other, "alice")
        assert other.get("/whoami").json == {"name": "", "user": "alice"}


def test_webtest_in_front_of_django_has_the_cookie_that_django_reads() -> None:
    """By https with its prefix."""
    client = webtest.TestApp(WSGIHandler())
    for base_url in ("http://localhost", "https://localhost"):
        sign_in(client, "alice", base_url=base_url)
        assert client.get(f"{base_url}/whoami").json == {"name": "", "user": "alice"}


def test_a_middleware_around_django_has_the_sessions() -> None:
    """It is found first."""
    site = SessionMiddleware(WSGIHandler(), MemoryStore())
    client = webtest.TestApp(site)
    sign_in(client, "alice")

    assert manager_of(client) is site.manager is not manager()
    assert client.get("/whoami").json == {"name": "", "user": "alice"}


def test_requests_of_django_are_ordered(client: Client) -> None:
    """Promise 3: two that change different keys lose neither of them; two that change one value lose one of two changes."""
    cookie = signed_in_cookie(client, "alice")

    def count() -> int:
        found: int = Client(HTTP_COOKIE=cookie).get("/act/count").json()["count"]
        return found

    def once_each(first: int, second: int) -> None:
        assert {first, second} == {1, 2}

    found = interleavings(client, count, count, check=once_each)
    assert (found.complete, found.broken) == (True, [])
    assert found.orders > 2
