"""What Django's own session middleware makes of our engine."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware as DjangosMiddleware
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings

from session_middleware import Lifetime
from session_middleware.testing import FakeClock, FaultyStore
from tests.browser import Browser
from tests.integrations.contract import answer
from tests.integrations.django.visits import USER, WAYS, a_browser, sign_in


class TestEngineUnderDjangosMiddleware:
    """What only Django's own middleware makes of it."""

    @pytest.fixture(autouse=True)
    def engine(self, store: FaultyStore) -> Iterator[None]:
        with override_settings(MIDDLEWARE=WAYS["engine"], SESSION_MIDDLEWARE={"store": store}):
            yield

    def interrupted(self, client: Client, path: str, meanwhile: Any) -> Any:
        """Ask for a page, and do something just before Django saves the session."""
        request = RequestFactory().get(path)
        request.COOKIES["session"] = client.cookies["session"].value

        def view(request: HttpRequest) -> HttpResponse:
            request.session["late"] = "yes"
            meanwhile(client)
            return HttpResponse("done")

        return DjangosMiddleware(view)(request)

    def test_a_secret_that_was_renewed_and_is_in_service_saves(self, client: Client) -> None:
        """Promises 20 and 22: the response with the next one was lost, or another tab has it."""
        clock = FakeClock()
        options = {**settings.SESSION_MIDDLEWARE, "clock": clock, "lifetime": Lifetime(renew=60)}
        with override_settings(SESSION_MIDDLEWARE=options):
            client.get("/act/put?key=a&value=1")
            old = client.cookies["session"].value
            clock.advance(61)
            for number in range(5):
                client.cookies["session"] = old
                assert client.get(f"/act/put?key=a{number}&value=1").status_code == 200
                clock.advance(20)
            assert {f"a{number}" for number in range(5)} <= set(client.session.keys())

    def test_a_secret_that_is_due_is_renewed_by_a_use_and_sent_by_django(self, client: Client) -> None:
        """Promise 22: once somebody came with the next one, no save sends the old one; Django sends what it has saved."""
        clock = FakeClock()
        options = {**settings.SESSION_MIDDLEWARE, "clock": clock, "lifetime": Lifetime(renew=60)}
        with override_settings(SESSION_MIDDLEWARE=options):
            client.get("/act/put?key=a&value=1")
            old = client.cookies["session"].value
            assert "session" not in client.get("/act/show").cookies
            clock.advance(61)
            new = client.get("/act/show").cookies["session"].value
            assert (new[:12], new != old) == (old[:12], True)
            assert client.get("/act/put?key=b&value=1").cookies["session"].value == new
            client.cookies["session"] = old
            assert "session" not in client.get("/act/show").cookies
            late = client.get("/act/put?key=c&value=1")
            assert (late.status_code, "session" in late.cookies) == (400, False)

    def test_a_session_that_was_ended_meanwhile_interrupts_the_request(self, client: Client) -> None:
        """Promise 5: nothing brings it back. Django answers 400 to its ``SessionInterrupted``."""
        client.force_login(User.objects.get(username="alice"))
        with pytest.raises(SessionInterrupted):
            self.interrupted(client, "/", lambda client: client.session.flush())
        assert list(client.session.keys()) == []

    def test_a_sign_in_meanwhile_keeps_its_cookie_and_its_data(self, client: Client) -> None:
        """Promise 18: Django would send the old token again, over the new one; the interruption prevents that."""
        client.get("/act/put?key=a&value=1")

        def sign_in(client: Client) -> None:
            assert client.login(username="alice", password="wonder")

        with pytest.raises(SessionInterrupted):
            self.interrupted(client, "/", sign_in)
        assert {"a", USER} <= set(client.session.keys())
        assert "late" not in client.session

    def test_the_old_token_of_a_moment_ago_does_not_remove_the_cookie(self, browser_of_engine: Browser) -> None:
        """Design, "Cookie": a late response must not wipe the cookie that a sign-in has just set."""
        browser = browser_of_engine
        answer(browser, "put?key=a&value=1")
        before = browser.token
        sign_in(browser)
        browser.token = str(before)

        page = browser.get("/act/show")
        assert (json.loads(page.text)["data"], page.all("Set-Cookie")) == ({"a": "1"}, [])

    @pytest.fixture
    def browser_of_engine(self, store: FaultyStore) -> Browser:
        return a_browser("engine", store)

    @pytest.mark.parametrize("cookie", ["x" * 40, "junk", "0123456789abcdef0123456789abcdef"])
    def test_a_cookie_that_opens_nothing_is_removed_by_django(self, browser_of_engine: Browser, cookie: str) -> None:
        """As with each of its own engines; and nobody's token is adopted (promise 11)."""
        browser_of_engine.token = cookie
        page = browser_of_engine.get("/act/show")

        assert page.status == 200
        assert browser_of_engine.token is None

    def test_nested_changes_are_saved(self, browser_of_engine: Browser) -> None:
        """Promise 8: ``modified`` sees them, so Django saves."""
        for value in ("tea", "coffee"):
            answer(browser_of_engine, f"append?value={value}")

        assert answer(browser_of_engine, "show")["data"] == {"cart": {"items": ["tea", "coffee"]}}

    def test_reading_saves_nothing(self, browser_of_engine: Browser, store: FaultyStore) -> None:
        """Promise 2: one load, no cookie."""
        answer(browser_of_engine, "append?value=tea")
        store.calls.clear()

        assert browser_of_engine.get("/act/show").all("Set-Cookie") == []
        assert [verb for verb, _ in store.calls] == ["load"]

    def test_every_request_saves_if_the_settings_say_so(self, browser_of_engine: Browser, store: FaultyStore) -> None:
        """``SESSION_SAVE_EVERY_REQUEST``."""
        answer(browser_of_engine, "put?key=a&value=1")
        store.calls.clear()
        with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
            assert len(browser_of_engine.get("/untouched").all("Set-Cookie")) == 1

        assert [verb for verb, _ in store.calls] == ["load", "update"]
