"""Django's sign-in and sign-out are ours, however our sessions are had: with our middleware, around it, or by the engine."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User, update_last_login
from django.contrib.auth.signals import user_logged_in
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from session_middleware import SessionMiddleware
from session_middleware.integrations import django as ours
from session_middleware.testing import FakeClock, FaultyStore
from tests.browser import Browser, in_process
from tests.gates import full
from tests.integrations import django_site
from tests.integrations.contract import answer
from tests.integrations.django.visits import NOBODY, a_browser, csrf_token, sign_in, sign_out, whoami


@pytest.fixture
def threads() -> Iterator[Executor]:
    """Two of them, each with a connection of its own to the users, of whom it is not noted when they have signed in."""

    def disconnect(_: int) -> None:
        everybody.wait()
        BaseDatabaseWrapper.close(connection)

    everybody = threading.Barrier(2)
    user_logged_in.disconnect(dispatch_uid="update_last_login")
    with ThreadPoolExecutor(2) as pool:
        yield pool
        list(pool.map(disconnect, range(2)))
    user_logged_in.connect(update_last_login, dispatch_uid="update_last_login")


class TestAuth:
    def test_signing_in_regenerates_and_records_the_user(self, browser: Browser) -> None:
        """Promise 18: the token from before opens nothing of it; the cart survives; the user id is the primary key."""
        answer(browser, "put?key=a&value=1")
        before = browser.token
        sign_in(browser)

        alice = User.objects.get(username="alice")
        assert whoami(browser) == {"name": "alice", "user": str(alice.pk)}
        assert answer(browser, "show")["data"]["a"] == "1"
        assert browser.token != before
        (info,) = ours.manager().sessions_of(str(alice.pk))
        assert info.data["a"] == "1"
        browser.token = str(before)
        assert whoami(browser) == NOBODY

    def test_signing_out_ends_the_session(self, browser: Browser) -> None:
        """Promise 5: the token sent again opens nothing."""
        sign_in(browser)
        before = browser.token
        sign_out(browser)

        assert browser.token is None
        browser.token = str(before)
        assert whoami(browser) == NOBODY
        assert ours.manager().sessions_of(str(User.objects.get(username="alice").pk)) == []

    def test_signing_in_as_another_user_shares_nothing(self, browser: Browser) -> None:
        """Design, "Acts": another user's data go with the session that held them."""
        sign_in(browser)
        answer(browser, "put?key=a&value=1")
        sign_in(browser, "bob", "builder")

        assert whoami(browser)["name"] == "bob"
        assert "a" not in answer(browser, "show")["data"]
        assert ours.manager().sessions_of(str(User.objects.get(username="alice").pk)) == []

    def test_a_session_that_another_framework_signed_in_is_not_taken_over(self, browser: Browser) -> None:
        """Design, "Acts": its data are that user's, whether Django knows the user or not."""
        answer(browser, "login?user=someone%20else")
        answer(browser, "put?key=a&value=1")
        sign_in(browser)

        assert whoami(browser)["name"] == "alice"
        assert "a" not in answer(browser, "show")["data"]
        assert ours.manager().sessions_of("someone else") == []

    def test_changing_the_password_keeps_this_session_and_ends_the_others(self, way: str, store: FaultyStore) -> None:
        """``update_session_auth_hash``: the sign-ins elsewhere are void, as Django promises."""
        here, elsewhere = a_browser(way, store), a_browser(way, store)
        sign_in(here, "bob", "builder")
        sign_in(elsewhere, "bob", "builder")
        before = here.token
        answer(here, "put?key=a&value=1")
        bob = User.objects.get(username="bob")
        ids = {info.id for info in ours.manager().sessions_of(str(bob.pk))}
        new = {"new_password1": "better", "new_password2": "better"}
        changed = here.post("/password/", csrfmiddlewaretoken=csrf_token(here.get("/form")), old_password="builder", **new)

        assert changed.status == 302
        assert whoami(here)["name"] == "bob"
        assert here.token != before
        assert answer(here, "show")["data"]["a"] == "1"
        assert ids >= {info.id for info in ours.manager().sessions_of(str(bob.pk))}
        assert whoami(elsewhere) == NOBODY
        thief = a_browser(way, store)
        thief.token = str(before)
        assert whoami(thief) == NOBODY
        assert answer(thief, "show")["data"] == {}
        bob.set_password("builder")
        bob.save()

    def test_the_token_from_before_opens_what_was_there_before_for_ten_seconds(self, way: str, store: FaultyStore) -> None:
        """Promise 18: it can be read in vain by whoever has it, changes nothing, ends nothing, and then opens nothing."""
        clock = FakeClock()
        browser = a_browser(way, store, clock=clock)
        answer(browser, "put?key=a&value=1")
        before = str(browser.token)
        sign_in(browser)
        answer(browser, "put?key=mine&value=2")
        slow = a_browser(way, store, clock=clock)
        slow.token = before
        clock.advance(9.9)
        page = slow.get("/act/show")
        assert (json.loads(page.text), page.all("Set-Cookie")) == ({"user": None, "data": {"a": "1"}}, [])
        for path in ("/act/put?key=a&value=3", "/act/logout", "/act/regenerate"):
            page = slow.get(path)
            assert (page.status, page.all("Set-Cookie")) == (200, [])
        clock.advance(0.1)
        assert answer(slow, "show") == {"user": None, "data": {}}

        data = answer(browser, "show")["data"]
        assert (data["a"], data["mine"]) == ("1", "2")

    def test_the_second_click_of_a_double_click_signs_in(self, way: str, store: FaultyStore) -> None:
        """Promise 20: also if it comes when the first has been answered; whichever cookie the browser keeps."""
        clock = FakeClock()
        browser = a_browser(way, store, clock=clock)
        answer(browser, "put?key=a&value=1")
        form = csrf_token(browser.get("/login/"))
        clicks = []
        for later in (0, 9, 11):
            click = a_browser(way, store, clock=clock)
            click.cookies = dict(browser.cookies)
            clock.advance(later)
            page = click.post("/login/", csrfmiddlewaretoken=form, username="alice", password="wonder")
            assert (page.status, len([cookie for cookie in page.all("Set-Cookie") if cookie.startswith("session=")])) == (
                302,
                1,
            )
            clicks.append(click)

        assert [whoami(click)["name"] for click in clicks] == ["alice"] * 3
        assert [answer(click, "show")["data"].get("a") for click in clicks] == ["1", "1", None]
        assert len({click.token for click in (browser, *clicks)}) == 4

    def test_all_sessions_of_a_user_can_be_revoked(self, way: str, store: FaultyStore) -> None:
        """Design, 5: sign out everywhere."""
        one, other = a_browser(way, store), a_browser(way, store)
        sign_in(one)
        sign_in(other)

        assert ours.manager().revoke_all(str(User.objects.get(username="alice").pk)) == 2
        assert whoami(one) == whoami(other) == NOBODY

    def test_a_failed_sign_in_changes_nothing(self, browser: Browser) -> None:
        """Promise 16: the error page loses nothing, and the old token goes on working."""
        answer(browser, "put?key=a&value=1")
        before = browser.token
        page = browser.get("/sign-in-and-fail")

        assert page.status == 500
        assert browser.token == before
        assert answer(browser, "show") == {"user": None, "data": {"a": "1"}}

    def test_a_sign_out_holds_even_if_the_request_fails(self, browser: Browser) -> None:
        """Promise 16: ending a session always ends it."""
        sign_in(browser)
        before = browser.token

        assert browser.get("/sign-out-and-fail").status == 500
        browser.token = str(before)
        assert whoami(browser) == NOBODY

    def test_a_visitor_whom_nobody_asks_costs_nothing(self, browser: Browser, store: FaultyStore) -> None:
        """Promise 1: ``request.user`` is lazy, and so is the session; no store call with a cookie, no header."""
        sign_in(browser)
        store.calls.clear()
        page = browser.get("/untouched")

        assert page.all("Vary") == page.all("Set-Cookie") == []
        assert store.calls == []


class TestDoubleClicks:
    """Promise 20: whoever proved who they are is signed in with whatever cookie the browser kept."""

    @pytest.fixture
    def two(self, way: str, store: FaultyStore) -> tuple[Browser, Browser]:
        """Two requests of one browser, each in a thread of its own."""
        site: Any = django_site.make(store)
        transport = in_process(SessionMiddleware(site, store) if way == "wrapped" else site)
        return Browser(transport), Browser(transport)

    def test_two_sign_ins_at_once_are_one(self, browser: Browser, two: tuple[Browser, Browser], threads: Executor) -> None:
        """Promise 3: neither knows of the other before it is stored; both cookies and all changes are good."""
        answer(browser, "put?key=before&value=yes")
        for click in two:
            click.cookies = dict(browser.cookies)
        pages = list(threads.map(lambda click, key: click.get(f"/sign-in-together?key={key}"), two, "ab"))

        assert [page.status for page in pages] == [200, 200]
        assert len({click.token for click in (browser, *two)}) == 3
        assert [whoami(click)["name"] for click in two] == ["alice", "alice"]
        for click in two:
            assert answer(click, "show")["data"].keys() >= {"before", "a", "b"}

    @pytest.mark.parametrize("rounds", [50, pytest.param(full(250, 1000), marks=pytest.mark.soak)])
    def test_both_clicks_sign_in(
        self, browser: Browser, two: tuple[Browser, Browser], threads: Executor, rounds: int
    ) -> None:
        """Through Django's login view, in every order in which two threads come."""
        fields = {"username": "alice", "password": "wonder"}
        for number in range(rounds):
            browser.cookies.clear()
            answer(browser, f"put?key=round&value={number}")
            fields["csrfmiddlewaretoken"] = csrf_token(browser.get("/login/"))
            for click in two:
                click.cookies = dict(browser.cookies)
            pages = list(threads.map(lambda click: click.post("/login/", **fields), two))

            assert [page.status for page in pages] == [302, 302]
            assert len({click.token for click in (browser, *two)}) == 3
            assert [whoami(click)["name"] for click in two] == ["alice", "alice"]
            assert [answer(click, "show")["data"]["round"] for click in two] == [str(number)] * 2
        assert len(ours.manager().sessions_of(str(User.objects.get(username="alice").pk))) == rounds
