"""What the pages about stolen cookies and fresh sign-ins say, is what their applications do."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, get_args
from urllib.parse import unquote

import bottle
import flask.testing
import pytest
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp
from werkzeug.test import Client

from session_middleware import Lifetime, SessionMiddleware
from session_middleware.events import Reason
from session_middleware.integrations.bottle import SessionPlugin
from session_middleware.notes import REASONS, Tombstone, pack_tombstone
from tests.book.pages import Page

Names = dict[str, Any]

PASSWORD = {"password": "wonderland"}

HERE = [
    *("/guarded/a", "/guarded/a?b=c&d=%26e%23", "/guarded/caf%C3%A9", "/guarded/a%26b%23c%3Fd/?q=%C3%A9+f"),
    *("/guarded/%2541", "/guarded/a//evil.example"),
]
ELSEWHERE = [
    *("//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example", "/\n/evil.example"),
    *("/\r\n/evil.example", "\t//evil.example", "http://evil.example/", "https:evil.example", "javascript:alert(1)"),
]


def flask_site(names: Names, stack: ExitStack) -> Any:
    app = names["app"]
    app.add_url_rule("/guarded/<path:rest>", "rest", names["fresh_sign_in_required"](lambda rest: rest))
    app.add_url_rule("/in", view_func=lambda: names["session"].login("alice") or "in")
    return app


def django_site(names: Names, stack: ExitStack) -> Any:
    from django.http import HttpResponse
    from django.test import override_settings
    from django.urls import path

    from tests.integrations import django_site  # Django's settings are made by that

    def sign_in(request: Any) -> Any:
        request.session.login("alice")
        return HttpResponse()

    guarded = names["fresh_sign_in_required"](lambda request, rest: HttpResponse())
    rules = {"guarded/<path:rest>": guarded, "in": sign_in, "confirm": names["confirmed"]}
    urls = type("Urls", (), {"urlpatterns": [path(rule, view, name=rule) for rule, view in rules.items()]})
    stack.enter_context(override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[django_site.OURS]))
    return django_site.make("memory:")


def pyramid_site(names: Names, stack: ExitStack) -> Any:
    config = Configurator(settings={"session.store": "memory:"})
    config.include("session_middleware.integrations.pyramid")
    for name, pattern in [("guarded", "/guarded/*rest"), ("in", "/in"), ("confirm", "/confirm")]:
        config.add_route(name, pattern)
    config.add_view(lambda request: Response(), route_name="guarded", decorator=names["fresh_sign_in_required"])
    config.add_view(lambda request: Response(request.session.login("alice")), route_name="in")
    config.add_view(names["confirmed"], route_name="confirm")
    return config.make_wsgi_app()


def bottle_site(names: Names, stack: ExitStack) -> Any:
    app = bottle.Bottle()
    app.install(SessionPlugin("memory:"))
    app.get("/guarded/<rest:path>", apply=[names["fresh_sign_in_required"]], callback=lambda rest, session: rest)
    app.get("/in", callback=lambda session: session.login("alice"))
    app.post("/confirm", name="confirm", callback=lambda session: names["confirmed"](session))
    return app


def wsgi_site(names: Names, stack: ExitStack) -> Any:
    def sign_in(environ: Any, start_response: Any) -> list[bytes]:
        names["get_session"](environ).login("alice")
        start_response("200 OK", [])
        return []

    views = {"/in": sign_in, "/confirm": names["confirmed"]}
    guarded = names["fresh_sign_in_required"](sign_in)
    return SessionMiddleware(lambda environ, start: views.get(environ["PATH_INFO"], guarded)(environ, start), "memory:")


SITES = [flask_site, django_site, pyramid_site, bottle_site, wsgi_site]
"""In the order of the page, whose first block is common to them."""


@pytest.fixture(params=SITES)
def browser(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A browser before a site that guards what is below ``/guarded/`` as the page has it."""
    names: Names = {}
    for block in Page("how-to/fresh-sign-ins").blocks[: 2 + SITES.index(request.param)]:
        block.execute(names)
    with ExitStack() as stack:
        yield Client(request.param(names, stack))


def led_to(response: Any) -> str:
    """Return where a browser is led to; without the host, if that is of the site."""
    assert 302 <= response.status_code <= 303, response.text
    location: str = response.headers["Location"]
    assert set(location) <= {*map(chr, range(33, 127))}
    return re.sub(r"^http://shop\.example(?=/)", "", location)


def names_of(url: str) -> list[str]:
    """Return the parts that a path names, and the query. Frameworks differ in what of a path they quote without need."""
    path, question, query = url.partition("?")
    return [*map(unquote, path.split("/")), question + query]


@pytest.mark.parametrize("mount", ["", "/shop"])
def test_they_come_back_to_where_they_were(browser: Client, mount: str) -> None:
    """Whatever is in the path and the query, and wherever the site is mounted."""
    at = {"base_url": f"http://shop.example{mount}"}
    asked = [led_to(browser.get(here, **at)) for here in HERE]
    assert browser.get("/in", **at).status_code == 200

    for here, page in zip(HERE, asked, strict=True):
        assert re.fullmatch(rf"{mount}/confirm\?next=[^&#]+", page)
        back = led_to(browser.post(page.removeprefix(mount), data=PASSWORD, **at))
        assert names_of(back) == names_of(mount + here)


def test_they_are_led_to_no_other_site(browser: Client) -> None:
    """Browsers, and some servers, leave out tabs and ends of lines, and read a backslash as a slash."""
    at = {"base_url": "http://shop.example"}
    assert browser.get("/in", **at).status_code == 200

    led = {to: led_to(browser.post("/confirm", query_string={"next": to}, data=PASSWORD, **at)) for to in ELSEWHERE}
    assert led == dict.fromkeys(ELSEWHERE, "/")
    assert led_to(browser.post("/confirm", data=PASSWORD, **at)) == "/"


@pytest.fixture
def fresh() -> Names:
    return Page("how-to/fresh-sign-ins").run()


def test_a_stale_sign_in_is_confirmed_and_comes_back(fresh: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the password, on this site, under a new secret."""
    app = fresh["app"]
    app.add_url_rule("/in", view_func=lambda: fresh["session"].login("alice") or "in")
    browser: flask.testing.FlaskClient = app.test_client()
    assert browser.get("/password").location == "/confirm?next=/password", "nobody has signed in"
    assert browser.post("/confirm", data={"password": "wonderland"}).status_code == 403
    browser.get("/in")
    assert browser.get("/password").status_code == 200

    monkeypatch.setitem(fresh, "FRESH", timedelta(microseconds=1))
    assert browser.get("/password").location == "/confirm?next=/password"
    assert browser.post("/confirm?next=/password", data={"password": "guess"}).status_code == 403
    assert browser.get("/password").status_code == 302
    before = browser.get_cookie("session")
    monkeypatch.undo()
    assert browser.post("/confirm?next=/password", data={"password": "wonderland"}).location == "/password"
    assert browser.get_cookie("session") != before
    assert browser.get("/password").status_code == 200


def test_the_page_of_reasons_has_all_that_are_kept() -> None:
    """And what one takes."""
    page = Page("how-to/stolen-cookies").text
    section = page.partition("## Why was I signed out?")[2]
    named = set(re.findall(r"`\"(\w+)\"`", section))

    assert named == set(REASONS) - {""} <= {*get_args(Reason)}
    assert 30 <= len(pack_tombstone(Tombstone("replayed", 1.0, (b"p" * 16,) * 2))) <= 60


def test_the_reference_of_events_has_every_reason() -> None:
    """Each once, with what it comes by."""
    section = Page("reference/events").text.partition("## Why a session has ended")[2].partition("\n## ")[0]

    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(get_args(Reason))


def test_a_browser_is_told_why_it_is_out() -> None:
    """Once the site has ended its session."""
    site = Page("how-to/stolen-cookies").run()
    manager = site["application"].manager
    assert manager.lifetime == Lifetime(renew=900, on_replay="end", keep_ended=86400)
    session = manager.open()
    session.login("alice")
    cookie = manager.commit(session).token
    browser = TestApp(site["application"], extra_environ={"HTTP_COOKIE": f"session={cookie.reveal()}"})
    assert browser.get("/").text == "You are alice."
    manager.revoke_all("alice")
    assert browser.get("/").text == "You were signed out because of this: signed_out_everywhere."
    assert TestApp(site["application"]).get("/").text == "Sign in."
