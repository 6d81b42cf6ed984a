"""What can be asked for, and what cannot work."""

import sys
from datetime import timedelta
from typing import Any

import pytest

from session_middleware import ConfigurationError, CookiePolicy, MemoryStore, SessionMiddleware
from session_middleware.binding import DeviceBinding
from tests.apps import visit
from tests.binding.sites import REGISTRATION, an_app


def test_time_spans_are_kept_as_seconds() -> None:
    """As those of a lifetime are."""
    options = DeviceBinding(cookie_age=timedelta(minutes=15), grace=timedelta(0))

    assert (options.cookie_age, options.grace) == (900.0, 0.0)
    assert options == DeviceBinding(cookie_age=900, grace=0)
    assert DeviceBinding().cookie_age == 600.0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cookie_age": 299}, "at least 5 minutes"),
        ({"cookie_age": 86401}, "at most a day"),
        ({"cookie_age": "10"}, "a timedelta or a number of seconds"),
        ({"grace": 301}, "at most 300"),
        ({"grace": -1}, "grace=-1"),
        ({"grace": None}, "grace=None"),
        ({"path": "/session"}, "begins and ends"),
        ({"path": "session/"}, "begins and ends"),
        ({"path": "/"}, "begins and ends"),
        ({"path": '/a"/'}, "begins and ends"),
        ({"path": "/../"}, "begins and ends"),
        ({"path": "/a/./"}, "begins and ends"),
        ({"path": 5}, "begins and ends"),
        ({"report_only": 1}, "report_only=1: write True or False"),
        ({"accept_unproven": "yes"}, "accept_unproven='yes': write True or False"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, Any], said: str) -> None:
    """Promise 15: by name, with what to write instead."""
    with pytest.raises(ConfigurationError, match=said):
        DeviceBinding(**given)


@pytest.mark.parametrize(
    ("cookie", "said"),
    [
        (CookiePolicy(domain="example.com"), "domain='example.com'"),
        (CookiePolicy(path="/shop"), "path='/shop'"),
        (CookiePolicy(secure=True, partitioned=True, samesite="None"), "partitioned=True"),
        (CookiePolicy(secure=False), "secure=False"),
    ],
)
def test_a_cookie_that_others_can_set_is_refused(cookie: CookiePolicy, said: str) -> None:
    """Promise 15: at the start."""
    with pytest.raises(ConfigurationError, match=said):
        SessionMiddleware(an_app, MemoryStore(), cookie=cookie, device_binding=DeviceBinding())


def test_it_takes_options_and_nothing_else() -> None:
    """True is not enough: the options have names."""
    wrong: Any = True
    with pytest.raises(ConfigurationError, match=r"device_binding=True: write DeviceBinding\(\)"):
        SessionMiddleware(an_app, MemoryStore(), device_binding=wrong)


@pytest.mark.parametrize("missing", ["jwt", "cryptography.hazmat.primitives.asymmetric.ec"])
def test_what_is_not_installed_is_said_at_the_start(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    for module in [name for name in sys.modules if name.startswith("session_middleware.binding.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(ImportError, match=r"pip install 'session-middleware\[dbsc\]'"):
        SessionMiddleware(an_app, MemoryStore(), device_binding=DeviceBinding())


def test_an_ini_file_names_the_binding() -> None:
    """As it names other things of the application."""
    options = {"session.store": "memory:", "session.device_binding": "tests.binding.sites:BINDING"}
    site = SessionMiddleware.from_config(an_app, options)

    (offer,) = visit(site, "/login/alice", scheme="https").values("Secure-Session-Registration")
    assert f'path="{REGISTRATION}"' in offer


def test_by_http_nothing_is_offered() -> None:
    """Promise 14: it is as if it was off; no browser would bind."""
    site = SessionMiddleware(an_app, MemoryStore(), device_binding=DeviceBinding())

    assert visit(site, "/login/alice").values("Secure-Session-Registration") == []
