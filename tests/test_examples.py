"""The example of each framework does what it shows, in process between two validators and under the real gunicorn."""

import importlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
from django.conf import settings
from django.test.signals import setting_changed  # whose receivers forget
from django.utils.functional import empty

from session_middleware import SessionMiddleware
from tests.browser import Browser, Transport, in_process, over_http
from tests.servers.gunicorn import ROOT, Gunicorn

EXAMPLES = ["wsgi_app", "webob_app", "flask_app", "bottle_app", "pyramid_app", "django_app"]
CONFIG = ("--config", str(ROOT / "examples" / "gunicorn.conf.py"))


@pytest.fixture(params=EXAMPLES, scope="module")
def example(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def django_unconfigured() -> Iterator[None]:
    """Let an example configure Django, whoever has done so before in this process."""
    before, settings._wrapped = settings._wrapped, empty
    try:
        yield
    finally:
        settings._wrapped = before
        if before is not empty:
            # What Django keeps of settings, such as where templates are, is forgotten as after a test of its own.
            for setting in filter(str.isupper, dir(settings)):
                setting_changed.send(sender=None, setting=setting, value=getattr(settings, setting), enter=False)


@pytest.fixture(params=["in process", "gunicorn"], scope="module")
def transport(request: pytest.FixtureRequest, example: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transport]:
    cwd = tmp_path_factory.mktemp(example)
    if request.param == "gunicorn":
        with Gunicorn(f"examples.{example}:application", *CONFIG, cwd=cwd) as server:
            yield over_http(server.url)
        return
    with pytest.MonkeyPatch.context() as patch, django_unconfigured():
        patch.chdir(cwd)
        application: Any = importlib.import_module(f"examples.{example}").application
        is_wrapped = isinstance(application, SessionMiddleware)
        if is_wrapped:
            patch.setattr(application, "app", validator(application.app))
        yield in_process(validator(application))
        if is_wrapped:
            application.manager.store.close()


@pytest.fixture
def browser(transport: Transport) -> Browser:
    return Browser(transport)


def view(browser: Browser, method: str, path: str, **fields: str) -> Any:
    answer = browser.get(path) if method == "GET" else browser.post(path, **fields)
    assert answer.status == 200
    return json.loads(answer.text)


def test_visits_are_counted(browser: Browser) -> None:
    """The counter goes up with each request of one browser."""
    assert [view(browser, "GET", "/")["visits"] for _ in range(3)] == [1, 2, 3]


def test_the_cookie_is_set_once_and_out_of_the_reach_of_scripts(browser: Browser) -> None:
    """HttpOnly, SameSite=Lax, Path=/, and not Secure on http; sent only when there is something to learn."""
    (cookie,) = browser.get("/").all("Set-Cookie")

    name, *attributes = cookie.split("; ")
    assert name == f"session={browser.token}"
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Lax"]
    assert browser.get("/").all("Set-Cookie") == []


def test_a_nested_change_is_kept(browser: Browser) -> None:
    """Promise 8: what is appended to a list inside the session is there at the next request."""
    view(browser, "POST", "/cart", item="tea")
    view(browser, "POST", "/cart", item="Grüner Tee & <b>")

    assert view(browser, "GET", "/")["cart"] == ["tea", "Grüner Tee & <b>"]


def test_two_browsers_have_two_sessions(transport: Transport) -> None:
    """Nobody sees another's cart."""
    one, other = Browser(transport), Browser(transport)
    view(one, "POST", "/cart", item="tea")

    assert view(other, "GET", "/")["cart"] == []
    assert one.token != other.token


def test_signing_in_keeps_the_cart_and_the_id_and_changes_the_secret(browser: Browser) -> None:
    """Promise 18: the cookie from before the sign-in reads what was there before, and changes nothing."""
    view(browser, "POST", "/cart", item="tea")
    before = browser.token
    assert before is not None

    assert view(browser, "POST", "/login", user="alice") == {"user": "alice", "visits": 0, "cart": ["tea"]}
    after = browser.token
    assert after is not None
    assert after[:12] == before[:12]
    assert after[12:] != before[12:]
    view(browser, "POST", "/cart", item="sugar")
    browser.token = before
    assert [view(browser, "GET", "/") for _ in range(2)] == [{"user": None, "visits": 1, "cart": ["tea"]}] * 2
    assert browser.token == before
    browser.token = after
    assert view(browser, "GET", "/") == {"user": "alice", "visits": 1, "cart": ["tea", "sugar"]}


def test_a_stranger_is_not_signed_in(browser: Browser) -> None:
    """A refused sign-in changes neither user nor token."""
    view(browser, "GET", "/")
    before = browser.token

    assert browser.post("/login", user="mallory").status == 403
    assert browser.token == before
    assert view(browser, "GET", "/")["user"] is None


def test_signing_out_is_final(browser: Browser) -> None:
    """Promise 5: the cookie is removed, and sent again it opens nothing."""
    view(browser, "POST", "/cart", item="tea")
    view(browser, "POST", "/login", user="alice")
    before = browser.token
    assert before is not None

    assert view(browser, "POST", "/logout") == {"user": None, "visits": 0, "cart": []}
    assert browser.token is None
    browser.token = before
    assert view(browser, "GET", "/") == {"user": None, "visits": 1, "cart": []}


def test_a_page_that_is_not_there_makes_no_session(browser: Browser) -> None:
    """Promise 2: no record, no cookie."""
    answer = browser.get("/nowhere")

    assert answer.status == 404
    assert answer.all("Set-Cookie") == []


def test_a_restart_of_the_server_ends_no_session(example: str, tmp_path: Path) -> None:
    """The store is one file of mode 0600 in the working directory, and all that a session needs."""
    with Gunicorn(f"examples.{example}:application", *CONFIG, cwd=tmp_path) as server:
        browser = Browser(over_http(server.url))
        view(browser, "GET", "/")
        view(browser, "POST", "/login", user="alice")
    with Gunicorn(f"examples.{example}:application", *CONFIG, "--preload", cwd=tmp_path) as server:
        browser.transport = over_http(server.url)

        assert view(browser, "GET", "/") == {"user": "alice", "visits": 2, "cart": []}
        assert "ERROR" not in server.log()
        assert "Traceback" not in server.log()

    assert stat.S_IMODE(os.stat(tmp_path / "sessions.sqlite3").st_mode) == 0o600


def test_the_configuration_is_two_workers_of_four_threads() -> None:
    """The figures that the README names; on an address that only this machine reaches."""
    settings: dict[str, Any] = {}
    exec((ROOT / "examples" / "gunicorn.conf.py").read_text(), settings)

    assert (settings["workers"], settings["threads"], settings["worker_class"]) == (2, 4, "gthread")
    assert settings["bind"] == "127.0.0.1:8000"


def test_behind_a_tls_proxy_on_this_machine_the_cookie_is_secure(tmp_path: Path) -> None:
    """gunicorn believes the proxy's X-Forwarded-Proto, so the cookie is Secure and named ``__Host-``."""
    with Gunicorn("examples.wsgi_app:application", *CONFIG, cwd=tmp_path) as server:
        (cookie,) = Browser(over_http(server.url)).get("/", X_Forwarded_Proto="https").all("Set-Cookie")

    assert cookie.startswith("__Host-session=")
    assert "secure" in cookie.lower().split("; ")
