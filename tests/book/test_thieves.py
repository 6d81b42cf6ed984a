"""What the pages about stolen cookies and fresh sign-ins say, is what their applications do."""

import re
from datetime import timedelta
from typing import Any, get_args

import flask.testing
import pytest
from webtest import TestApp

from session_middleware import Lifetime
from session_middleware.events import Reason
from session_middleware.notes import REASONS, Tombstone, pack_tombstone
from tests.book.pages import Page


@pytest.fixture
def fresh() -> dict[str, Any]:
    return Page("how-to/fresh-sign-ins").run()


def test_a_stale_sign_in_is_confirmed_and_comes_back(fresh: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert browser.post("/confirm?next=//evil.example/", data={"password": "wonderland"}).location == "/"
    assert browser.get("/password").status_code == 200


def test_the_page_of_reasons_has_all_that_are_kept() -> None:
    """And what one takes."""
    page = Page("how-to/stolen-cookies").text
    section = page.partition("## Why was I signed out?")[2]
    named = set(re.findall(r"`\"(\w+)\"`", section))

    assert named == set(REASONS) - {"", "limit"} <= {*get_args(Reason)}
    assert 30 <= len(pack_tombstone(Tombstone("replayed", 1.0, (b"p" * 16,) * 2))) <= 60


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
