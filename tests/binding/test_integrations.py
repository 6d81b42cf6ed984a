"""Every integration hands the option on, and a test client of each framework can play the device."""

from collections.abc import Callable
from typing import Any

import flask
import pytest
from webtest import TestApp

from tests.integrations import django_site  # noqa: F401  # it configures Django

# isort: split

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings

from session_middleware import MemoryStore, SessionManager, SessionMiddleware
from session_middleware.binding import DeviceBinding
from session_middleware.integrations.django import settings as configured
from session_middleware.integrations.flask import Sessions, session
from session_middleware.testing import FakeDevice
from tests.binding.sites import BINDING, BOUND, an_app
from tests.integrations.optioned import EVERYWHERE, Option

HTTPS = {"wsgi.url_scheme": "https", "HTTP_HOST": "localhost"}
OPTION = Option("device_binding", BINDING, "tests.binding.sites:BINDING")


@pytest.mark.parametrize("make", EVERYWHERE)
def test_each_integration_binds_a_sign_in(make: Callable[[MemoryStore, Option], Any]) -> None:
    """By the option of the same name, with nothing else to write."""
    store = MemoryStore()
    client = TestApp(make(store, OPTION), extra_environ=HTTPS)
    device = FakeDevice(client)
    assert device.register(client.get("/act/login", {"user": "alice"})) == 200

    (info,) = SessionManager(store).sessions_of("alice")
    assert (info.id, info.device_bound) == (device.session_id, True)
    assert device.refresh() == 200
    assert device.cookie == BOUND


def test_a_client_of_flask_can_play_the_device() -> None:
    """It is told where the site is, for it goes by http otherwise."""
    app = flask.Flask(__name__)
    Sessions(app, MemoryStore(), device_binding=DeviceBinding())

    @app.get("/in")
    def sign_in() -> str:
        session.login("alice")
        return ""

    app.add_url_rule("/", view_func=lambda: str(session.device_bound))
    client = app.test_client()
    device = FakeDevice(client)
    assert device.register(client.get("/in", base_url="https://localhost")) == 200

    assert client.get("/", base_url="https://localhost").text == "True"
    assert device.refresh() == 200
    device.lose_key()
    assert device.refresh() == 503  # as it has been bound a moment ago


def test_what_was_never_bound_cannot_be_refreshed() -> None:
    """The device says so, and what to look at."""
    client = TestApp(SessionMiddleware(an_app, MemoryStore(), device_binding=DeviceBinding()), extra_environ=HTTPS)
    device = FakeDevice(client)
    with pytest.raises(ValueError, match="bound to no session"):
        device.refresh()
    with pytest.raises(ValueError, match="asks for no registration"):
        device.register(client.get("/"))
    assert device.session_id is None


def test_django_has_it_by_the_middleware_around_it() -> None:
    """Its own setting does not know the option, so that nobody takes it for on."""
    store = MemoryStore()
    client = TestApp(SessionMiddleware(WSGIHandler(), store, device_binding=DeviceBinding()), extra_environ=HTTPS)
    device = FakeDevice(client)
    assert device.register(client.get("/act/login", {"user": "alice"})) == 200
    (info,) = SessionManager(store).sessions_of("alice")
    assert info.device_bound

    wrong = override_settings(SESSION_MIDDLEWARE={"device_binding": DeviceBinding()})
    with wrong, pytest.raises(ImproperlyConfigured, match="device_binding"):
        configured.manager()
