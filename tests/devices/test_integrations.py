"""Every integration hands the callable on, and asks it of its own requests."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.integrations import django_site  # it configures Django

# isort: split

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings

from session_middleware import ConfigurationError, MemoryStore, SessionManager, SessionMiddleware
from session_middleware.devices import browser_and_network
from session_middleware.integrations.django import settings as configured
from tests.apps import a_site, visit
from tests.integrations.django_site import DJANGOS, OURS
from tests.integrations.optioned import EVERYWHERE, Option, in_flask

FIREFOX = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
NAME = "session_middleware.devices:browser_and_network"
DESCRIBE = Option("describe", browser_and_network, NAME)


def with_login(environ: Any, start_response: Any) -> Any:
    return a_site({**environ, "PATH_INFO": "/login/alice"}, start_response)


def device_in(store: MemoryStore) -> str | None:
    (info,) = SessionManager(store).sessions_of("alice")
    return info.device


@pytest.mark.parametrize("make", EVERYWHERE)
def test_a_sign_in_keeps_the_device_in_each_integration(make: Callable[[MemoryStore, Option], Any]) -> None:
    """By the option of the same name."""
    store = MemoryStore()
    request = {"QUERY_STRING": "user=alice", "HTTP_USER_AGENT": FIREFOX, "REMOTE_ADDR": "203.0.113.77"}
    assert visit(make(store, DESCRIBE), "/act/login", **request).status == "200 OK"

    assert device_in(store) == "Firefox on Ubuntu, 203.0.113.0/24"


def test_an_ini_file_names_the_function() -> None:
    """As it names other things of the application."""
    site = SessionMiddleware.from_config(with_login, {"session.store": "memory:", "session.describe": NAME})
    visit(site, HTTP_USER_AGENT=FIREFOX)

    (info,) = site.manager.sessions_of("alice")
    assert info.device == "Firefox on Ubuntu"


def test_what_an_ini_file_names_must_be_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 15: also where the parser is missing, which is said at the start."""
    module = ModuleType("a_shop")
    monkeypatch.setitem(sys.modules, "a_shop", module)
    vars(module)["number"] = 5
    for name, said in (("a_shop:number", "a function of the environ"), ("a_shop:gone", "the name of a function")):
        with pytest.raises(ConfigurationError, match=said):
            SessionMiddleware.from_config(with_login, {"session.store": "memory:", "session.describe": name})
    monkeypatch.delitem(sys.modules, "session_middleware.devices")
    monkeypatch.setitem(sys.modules, "ua_parser", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'session-middleware\[devices\]'"):
        SessionMiddleware.from_config(with_login, {"session.store": "memory:", "session.describe": NAME})


def test_the_session_of_a_flask_test_has_one_too() -> None:
    """Where a test signs in without a request that the middleware serves."""
    store = MemoryStore()
    client = in_flask(store, DESCRIBE).test_client()
    with client.session_transaction(environ_overrides={"HTTP_USER_AGENT": FIREFOX}) as opened:
        opened.login("alice")

    assert device_in(store) == "Firefox on Ubuntu"


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    """The store of the Django project."""
    store = MemoryStore()
    with override_settings(SESSION_MIDDLEWARE={"store": store, "describe": NAME.replace(":", ".")}):
        yield store


def test_django_keeps_the_device(store: MemoryStore) -> None:
    """Its own session of a request, and one that ``login()`` has made new."""
    request = {"QUERY_STRING": "user=alice", "HTTP_USER_AGENT": FIREFOX, "REMOTE_ADDR": "2001:db8::1"}
    visit(WSGIHandler(), "/act/login", **request)

    assert device_in(store) == "Firefox on Ubuntu, 2001:db8::/48"


def test_django_keeps_the_device_under_asgi(store: MemoryStore) -> None:
    """Where ``request.META`` is what an environ is under WSGI."""
    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/act/login", "root_path": "",
        "query_string": b"user=alice", "headers": [(b"host", b"www.example.com"), (b"user-agent", FIREFOX.encode())],
        "client": ("203.0.113.77", 5000), "server": ("www.example.com", 80),
    }  # fmt: skip
    sent: list[Any] = []
    to_come = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not to_come:
            await asyncio.Event().wait()  # the client stays
        return to_come.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(ASGIHandler()(scope, receive, send))

    assert sent[0]["status"] == 200
    assert device_in(store) == "Firefox on Ubuntu, 203.0.113.0/24"


def test_under_a_middleware_around_django_that_one_is_asked(store: MemoryStore) -> None:
    """It serves the session, with its own options."""
    outer = SessionMiddleware(WSGIHandler(), store, describe=lambda environ: "a phone")
    visit(outer, "/act/login", QUERY_STRING="user=alice", HTTP_USER_AGENT=FIREFOX)

    assert device_in(store) == "a phone"


def test_under_djangos_own_middleware_nobody_is_asked(store: MemoryStore) -> None:
    """That gives the engine a key, and no request."""
    with override_settings(MIDDLEWARE=django_site.middleware(DJANGOS)):
        visit(WSGIHandler(), "/act/login", QUERY_STRING="user=alice", HTTP_USER_AGENT=FIREFOX)

    assert device_in(store) is None


@pytest.mark.parametrize(("given", "said"), [("tests.devices.nowhere", "nowhere"), (5, "a function of the environ")])
def test_what_is_no_function_is_refused_by_django(given: object, said: str) -> None:
    """Promise 15: when the project starts."""
    with (
        override_settings(MIDDLEWARE=[OURS], SESSION_MIDDLEWARE={"store": MemoryStore(), "describe": given}),
        pytest.raises(ImproperlyConfigured, match=said),
    ):
        configured.manager()
