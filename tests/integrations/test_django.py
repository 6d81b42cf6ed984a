"""Django: what its users rely on, with our middleware, with it inside the WSGI middleware, and with the engine alone."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from tests.integrations import django_site  # it configures Django

# isort: split

from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth.models import Group, User, update_last_login
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware as DjangosMiddleware
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.test.utils import setup_test_environment, teardown_test_environment

from session_middleware import (
    ConfigurationError,
    ConflictError,
    HeadersAlreadySent,
    JSONCodec,
    Lifetime,
    MemoryStore,
    PayloadError,
    SessionManager,
    SessionMiddleware,
    SessionTooLarge,
    SQLiteStore,
    StoreUnavailable,
)
from session_middleware.integrations import django as ours
from session_middleware.integrations.django.settings import cookie_of
from session_middleware.testing import FakeClock, FaultyStore
from tests.browser import Answer, Browser, in_process, over_http
from tests.integrations.acts import GO, MEETING
from tests.integrations.contract import IntegrationContract, answer
from tests.servers.gunicorn import ROOT, Gunicorn

WAYS = {
    "middleware": django_site.middleware(django_site.OURS),
    "wrapped": django_site.middleware(django_site.OURS),
    "engine": django_site.middleware(django_site.UNAVAILABLE, django_site.DJANGOS),
}
USER, BACKEND = "_auth_user_id", "django.contrib.auth.backends.ModelBackend"


class TestContract(IntegrationContract):
    site: ClassVar = django_site

    def test_head_is_like_get(self, browser: Browser) -> None:
        """Promise 14: the session is stored; the body of a HEAD Django leaves to the server."""
        assert browser.send("HEAD", "/act/put?key=a&value=1").status == 200
        assert answer(browser, "show")["data"] == {"a": "1"}


@pytest.fixture(scope="module", autouse=True)
def users() -> Iterator[None]:
    """A database in memory, with alice, who may use the admin site, bob, and a group."""
    django_site.add_users()
    yield
    connection.close()


@pytest.fixture(autouse=True)
def nothing_cached() -> Iterator[None]:
    yield
    cache.clear()


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


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, store: FaultyStore) -> Iterator[str]:
    """One of the ways to have our sessions in Django."""
    with override_settings(MIDDLEWARE=WAYS[request.param], SESSION_MIDDLEWARE={"store": store}):
        yield request.param


@pytest.fixture
def browser(way: str, store: FaultyStore) -> Browser:
    return a_browser(way, store)


def a_browser(way: str, store: FaultyStore, **options: Any) -> Browser:
    site: Any = django_site.make(store, **options)
    return Browser(in_process(SessionMiddleware(site, store, **options) if way == "wrapped" else site))


@pytest.fixture
def client(store: FaultyStore) -> Iterator[Client]:
    with override_settings(SESSION_MIDDLEWARE={"store": store}):
        yield Client()


def csrf_token(page: Answer) -> str:
    found = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def submit(browser: Browser, path: str, **fields: str) -> Answer:
    return browser.post(path, csrfmiddlewaretoken=csrf_token(browser.get(path)), **fields)


def sign_in(browser: Browser, user: str = "alice", password: str = "wonder") -> None:
    assert submit(browser, "/login/", username=user, password=password).status == 302


def sign_out(browser: Browser) -> None:
    answer = browser.post("/logout/", csrfmiddlewaretoken=csrf_token(browser.get("/form")))
    assert answer.status == 302


def whoami(browser: Browser) -> Any:
    return json.loads(browser.get("/whoami").text)


NOBODY = {"name": "", "user": None}


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

    @pytest.mark.parametrize("rounds", [200, pytest.param(1000, marks=pytest.mark.soak)])
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


class TestContribApplications:
    @pytest.mark.parametrize("storage", ["session.SessionStorage", "fallback.FallbackStorage"])
    def test_messages_appear_once(self, browser: Browser, storage: str) -> None:
        """What one request says the next one shows, and then no more."""
        with override_settings(MESSAGE_STORAGE=f"django.contrib.messages.storage.{storage}"):
            browser.get("/say?text=Saved%20%3Cb%3E")
            browser.get("/say?text=twice" + "x" * 5000)  # more than a cookie holds
            first, second = (json.loads(browser.get("/said").text)["messages"] for _ in range(2))

        assert first == ["Saved <b>", "twice" + "x" * 5000]
        assert second == []

    def test_csrf_tokens_may_be_in_the_session(self, browser: Browser) -> None:
        """``CSRF_USE_SESSIONS``: a form with the token is taken, another is not, also over a sign-in."""
        with override_settings(CSRF_USE_SESSIONS=True):
            assert submit(browser, "/form", text="one").status == 200
            assert browser.post("/form", text="two").status == 403
            sign_in(browser)
            assert browser.get("/form").all("Set-Cookie") == []
            assert submit(browser, "/form", text="three").status == 200
            data = answer(browser, "show")["data"]

        assert data["posted"] == "three"
        assert "_csrftoken" in data

    def test_the_admin_site_works(self, browser: Browser) -> None:
        """Through its real forms: sign in, change an object, read the message, sign out."""
        readers = Group.objects.get()
        page = f"/admin/auth/group/{readers.pk}/change/"
        assert browser.get(page).status == 302
        assert submit(browser, "/admin/login/", username="alice", password="wonder", next=page).header("Location") == page

        assert submit(browser, page, name="writers").status == 302
        assert "was changed successfully" in browser.get("/admin/auth/group/").text
        assert "was changed successfully" not in browser.get("/admin/auth/group/").text
        assert Group.objects.get().name == "writers"
        before = browser.token
        browser.post("/admin/logout/", csrfmiddlewaretoken=csrf_token(browser.get(page)))
        assert browser.token != before
        assert browser.get(page).status == 302
        readers.save()

    def test_the_system_check_takes_our_middleware_for_djangos(self, way: str) -> None:
        """The admin site refuses to start without a session middleware."""
        call_command("check", fail_level="WARNING")

    def test_no_cache_of_djangos_gives_a_page_to_someone_else(self, way: str, store: FaultyStore) -> None:
        """G-17: it stands between us and the WSGI middleware, and must see what that will say."""
        pages = {}
        outermost, innermost = (f"django.middleware.cache.{name}CacheMiddleware" for name in ("Update", "FetchFrom"))
        with override_settings(MIDDLEWARE=[outermost, *WAYS[way], innermost]):
            for user in ("alice", "bob", ""):
                browser = a_browser(way, store)
                if user:
                    answer(browser, f"login?user={user}")
                pages[user] = [browser.get("/cached").text for _ in range(2)]

        assert pages == {"alice": ["for alice"] * 2, "bob": ["for bob"] * 2, "": ["for None"] * 2}


class TestFailures:
    @pytest.mark.parametrize("verb", ["load", "update"])
    def test_a_store_that_fails_is_a_503(self, browser: Browser, store: FaultyStore, verb: str) -> None:
        """Promises 6 and 7: never "not signed in", never a cookie, and nothing of the application's answer."""
        sign_in(browser)
        store.fail(verb, times=None)
        page = browser.get("/act/put?key=a&value=1")
        store.heal()

        assert (page.status, page.all("Set-Cookie")) == (503, [])
        assert page.all("Retry-After") == ["5"]
        assert page.all("Cache-Control") == ["no-store"]
        assert b"{}" not in page.body
        assert whoami(browser)["name"] == "alice"

    def test_a_sign_out_that_fails_is_a_503_and_can_be_tried_again(self, browser: Browser, store: FaultyStore) -> None:
        """Promises 5 and 7: nobody is told that they are signed out while they are not."""
        sign_in(browser)
        before = browser.token
        store.fail("delete", times=None)
        page = browser.get("/act/logout")
        store.heal()
        assert (page.status, page.all("Set-Cookie")) == (503, [])
        assert whoami(browser)["name"] == "alice"
        sign_out(browser)

        browser.token = str(before)
        assert whoami(browser) == NOBODY

    def test_without_our_middleware_djangos_error_page_is_a_500(self, store: FaultyStore) -> None:
        """Promise 7: Django knows no 503, but neither does it take a failure for an answer."""
        with override_settings(MIDDLEWARE=django_site.middleware(django_site.DJANGOS), SESSION_MIDDLEWARE={"store": store}):
            browser = a_browser("engine", store)
            sign_in(browser)
            store.fail("load")
            page = browser.get("/act/show")

            assert (page.status, page.all("Set-Cookie")) == (500, [])
            assert whoami(browser)["name"] == "alice"

    def test_a_value_that_cannot_be_kept_is_an_error_before_anything_is_sent(self, client: Client) -> None:
        """Promise 9: the error names the path of the value."""

        def view(request: HttpRequest) -> HttpResponse:
            request.session["cart"] = {"items": [object()]}
            return HttpResponse("fine")

        with pytest.raises(PayloadError, match=re.escape("session['cart']['items'][0]: object")):
            ours.SessionMiddleware(view)(RequestFactory().get("/"))

    @pytest.mark.parametrize(("value", "named"), [("a\x01b", "X-Odd"), ("a", "Connection")])
    def test_what_no_server_sends_is_found_before_anything_is_stored(
        self, client: Client, store: FaultyStore, value: str, named: str
    ) -> None:
        """Promise 6: no sign-in whose cookie never arrives."""

        def view(request: HttpRequest) -> HttpResponse:
            request.session["a"] = 1
            response = HttpResponse("fine")
            response[named] = value
            return response

        with pytest.raises(ValueError, match=named):
            ours.SessionMiddleware(view)(RequestFactory().get("/"))
        assert [verb for verb, _ in store.calls if verb in ("create", "update")] == []

    def test_a_conflict_is_a_503(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 4: the change that was given up is not answered as if it were stored."""

        def give_up(*_: Any, **__: Any) -> None:
            raise ConflictError("session keeps changing")

        client.get("/act/put?key=a&value=1")
        monkeypatch.setattr(ours.manager(), "commit", give_up)

        assert client.get("/act/put?key=a&value=2").status_code == 503

    @pytest.mark.parametrize(("status", "wanted"), [(502, 502), (503, 503), (500, 503)])
    def test_an_answer_of_the_applications_own_goes_out(
        self, store: FaultyStore, client: Client, status: int, wanted: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 7: but for a 500, which is Django's page of what nobody has handled; an outage is one line."""

        def view(request: HttpRequest) -> HttpResponse:
            with pytest.raises(StoreUnavailable):
                request.session.get("a")
            return HttpResponse("closed for repairs", status=status)

        client.get("/act/put?key=a&value=1")
        for _ in range(2):
            store.fail("load")
            request = RequestFactory().get("/")
            request.META["HTTP_COOKIE"] = client.cookies.output(attrs=[], header="").strip()
            response = ours.SessionMiddleware(view)(request)

            assert response.status_code == wanted
            assert (response.content == b"closed for repairs") == (wanted == status)
            assert "no-store" in response["Cache-Control"]
        lost = [record for record in caplog.records if "could not be loaded" in record.getMessage()]
        assert len(lost) == (wanted != status)

    def test_what_a_stream_cannot_store_any_more_is_logged(
        self, store: FaultyStore, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 6 cannot hold for what comes after the first byte: the log says what was lost."""
        client.get("/act/put?key=a&value=1")
        GO.clear()
        response = client.get("/stream")
        store.fail("update", times=None)
        blocks = response.streaming_content
        next(blocks)
        GO.set()

        assert list(blocks) == [b"two\n"]
        assert "the session could not be loaded or stored" in caplog.text
        store.heal()


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


class TestOurMiddleware:
    """What is particular to it, where no WSGI middleware is around."""

    def test_the_cookie_is_sent_once_and_as_the_settings_say(self, store: FaultyStore) -> None:
        """``SESSION_COOKIE_...``; it is named to the letter, and always HttpOnly."""
        expected = {"httponly": True, "secure": True, "samesite": "Strict", "path": "/shop", "domain": "example.com"}
        with override_settings(
            SESSION_MIDDLEWARE={"store": store},
            SESSION_COOKIE_NAME="sid",
            SESSION_COOKIE_SECURE=True,
            SESSION_COOKIE_SAMESITE="Strict",
            SESSION_COOKIE_PATH="/shop",
            SESSION_COOKIE_DOMAIN="example.com",
        ):
            client = Client()
            cookie = client.get("/act/put?key=a&value=1").cookies["sid"]

            assert {name: cookie[name] for name in expected} == expected
            assert client.get("/act/put?key=a&value=2").cookies == {}

    def on_https(self, cookie: str = "", path: str = "/") -> Any:
        """Ask as a browser does, without the mark of the test client."""
        request = RequestFactory().get(path, secure=True, HTTP_COOKIE=cookie)
        return ours.SessionMiddleware(self.remember)(request)

    @staticmethod
    def remember(request: HttpRequest) -> HttpResponse:
        request.session["seen"] = request.session.get("seen", 0) + 1
        return HttpResponse(str(request.session["seen"]))

    @pytest.mark.parametrize(
        ("setting", "name"),
        [({}, "__Host-session"), ({"SESSION_COOKIE_DOMAIN": "example.com"}, "__Secure-session")],
    )
    def test_on_https_the_cookie_has_a_prefix(self, store: FaultyStore, setting: dict[str, str], name: str) -> None:
        """A-3.3.3: no sibling host can set it. One of the plain name, which it can, opens nothing and is not removed."""
        with override_settings(SESSION_MIDDLEWARE={"store": store}, **setting):
            (cookie,) = self.on_https().cookies.values()
            assert (cookie.key, cookie["secure"]) == (name, True)
            assert self.on_https(f"{name}={cookie.value}").content == b"2"
            tossed = self.on_https(f"session={cookie.value}")

            assert tossed.content == b"1"
            assert list(tossed.cookies) == [name]

    @pytest.mark.parametrize(
        ("secure", "headers", "lines"),
        [
            (False, {"HTTP_X_FORWARDED_PROTO": "https"}, 1),
            (False, {"HTTP_FORWARDED": "for=1.2.3.4;proto=https"}, 1),
            (False, {"HTTP_X_FORWARDED_PROTO": "http"}, 0),
            (False, {}, 0),
            (True, {"HTTP_X_FORWARDED_PROTO": "https"}, 0),
        ],
    )
    def test_a_proxy_that_django_was_not_told_of_is_warned_of(
        self, client: Client, caplog: pytest.LogCaptureFixture, secure: bool, headers: dict[str, str], lines: int
    ) -> None:
        """The cookie would go out without Secure: one warning that says what to set."""
        site = ours.SessionMiddleware(self.remember)
        for _ in range(3):
            assert site(RequestFactory().get("/", secure=secure, **headers)).cookies

        assert caplog.text.count("set SECURE_PROXY_SSL_HEADER") == lines

    def test_who_only_looks_like_the_test_client_has_the_prefix(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A-3.3.3: a site that takes its own requests out of the CSRF checks opens no tossed cookie by that."""
        monkeypatch.delitem(sys.modules, "django.test.client")
        request = RequestFactory().get("/", secure=True)
        request._dont_enforce_csrf_checks = True

        assert list(ours.SessionMiddleware(self.remember)(request).cookies) == ["__Host-session"]

    def test_the_test_client_knows_the_plain_name_alone(self, client: Client) -> None:
        """It looks for the session where ``SESSION_COOKIE_NAME`` says, on https, too."""
        client.post("/login/", {"username": "alice", "password": "wonder"}, secure=True)

        assert set(client.cookies) == {"session", "csrftoken"}
        assert client.session["_auth_user_id"] == str(User.objects.get(username="alice").pk)

    def test_what_has_become_of_the_cookies_counts(self, client: Client) -> None:
        """``request.COOKIES``, as a test fills it, or a middleware that takes the token from somewhere else."""
        session = ours.SessionStore()
        session["seen"] = 5
        session.save()
        for header in ("", f"session={'x' * 40}", f"other=1; session={session.session_key}"):
            request = RequestFactory().get("/", HTTP_COOKIE=header)
            request.COOKIES["session"] = session.session_key
            assert int(ours.SessionMiddleware(self.remember)(request).content) > 5
        request = RequestFactory().get("/", HTTP_COOKIE=f"session={session.session_key}")
        del request.COOKIES["session"]
        assert ours.SessionMiddleware(self.remember)(request).content == b"1"

    @pytest.mark.parametrize("before", ["\u2000", "\xa0", "\x85", "\x1f", "\x0b"])
    def test_what_django_takes_for_our_cookie_is_none(self, store: FaultyStore, before: str) -> None:
        """M3: a sibling host sets ``__Host-session`` with a blank before it, and someone looks at the cookies."""
        with override_settings(SESSION_MIDDLEWARE={"store": store}):
            (cookie,) = self.on_https().cookies.values()
            tossed = f"{before}__Host-session={cookie.value}".encode().decode("latin-1")
            request = RequestFactory().get("/", secure=True, HTTP_COOKIE=tossed)
            assert dict(request.COOKIES) == {"__Host-session": cookie.value}

            assert ours.SessionMiddleware(self.remember)(request).content == b"1"

    def test_a_request_made_by_hand_has_what_it_was_given(self, client: Client) -> None:
        """``HttpRequest()``: as tests make one, of which no server knows."""
        session = ours.SessionStore()
        session["seen"] = 5
        session.save()
        for filled in ("COOKIES", "META"):
            request = HttpRequest()
            request.COOKIES["session"] = session.session_key if filled == "COOKIES" else ""
            request.META["HTTP_COOKIE"] = f"session={session.session_key}"
            if filled == "META":
                del request.COOKIES["session"]
            assert int(ours.SessionMiddleware(self.remember)(request).content) > 5

    @pytest.mark.parametrize("junk", ["junk", "0123456789abcdef0123456789abcdef", ""])
    def test_whoever_ends_the_session_loses_a_cookie_that_is_none(self, client: Client, junk: str) -> None:
        """``flush()``: Django removes a cookie of that name, whatever is in it; and none that is not there."""

        def view(request: HttpRequest) -> HttpResponse:
            request.session.flush()
            return HttpResponse("ended")

        for header, removed in ((f"session={junk}", ["session"]), (f"other={junk}; session2={junk}", [])):
            response = ours.SessionMiddleware(view)(RequestFactory().get("/", HTTP_COOKIE=header))
            assert list(response.cookies) == removed
            assert [cookie["max-age"] for cookie in response.cookies.values()] == ["0"] * len(removed)
        looked_at = ours.SessionMiddleware(lambda request: HttpResponse(request.session.get("a")))
        assert looked_at(RequestFactory().get("/", HTTP_COOKIE=f"session={junk}")).cookies == {}

    @pytest.mark.parametrize(("secure", "expected"), [(False, ""), (True, True)])
    def test_the_cookie_is_secure_on_https(self, client: Client, secure: bool, expected: object) -> None:
        """Design, "Cookie": ``auto``; Django tells the scheme, with ``SECURE_PROXY_SSL_HEADER`` in mind."""
        assert client.get("/act/put?key=a&value=1", secure=secure).cookies["session"]["secure"] == expected
        assert client.get("/act/show", secure=secure).json()["data"] == {"a": "1"}

    def test_it_ends_with_the_browser_if_the_settings_say_so(self, store: FaultyStore) -> None:
        """``SESSION_EXPIRE_AT_BROWSER_CLOSE``."""
        ages = []
        for close in (True, False):
            with override_settings(SESSION_MIDDLEWARE={"store": store}, SESSION_EXPIRE_AT_BROWSER_CLOSE=close):
                ages.append(Client().get("/act/put?key=a&value=1").cookies["session"]["max-age"])

        assert ages == ["", str(30 * 86400)]

    def test_a_prefix_may_be_part_of_the_name(self) -> None:
        """RFC 6265bis, 4.1.3: Django's users write it themselves."""
        with override_settings(SESSION_COOKIE_NAME="__Host-sid", SESSION_COOKIE_SECURE=True):
            assert cookie_of(https=False).name == cookie_of(https=True).name == "__Host-sid"
        with override_settings(
            SESSION_COOKIE_NAME="__Secure-sid", SESSION_COOKIE_SECURE=True, SESSION_COOKIE_DOMAIN="example.com"
        ):
            assert cookie_of(https=True).name == "__Secure-sid"

    def test_every_request_is_a_use_if_the_settings_say_so(self, store: FaultyStore) -> None:
        """``SESSION_SAVE_EVERY_REQUEST``: the idle timeout starts anew, also for who only looks on."""
        clock = FakeClock(1_900_000_000)
        options = {"store": store, "clock": clock, "lifetime": Lifetime(idle=100, absolute=1000)}
        with override_settings(SESSION_MIDDLEWARE=options, SESSION_SAVE_EVERY_REQUEST=True):
            client = Client()
            client.get("/act/put?key=a&value=1")
            for _ in range(5):
                clock.advance(90)
                client.get("/untouched")

            assert client.get("/act/show").json()["data"] == {"a": "1"}
            store.calls.clear()
            Client().get("/untouched")
            assert store.calls == []
            store.fail("load")
            assert client.get("/untouched").status_code == 503

    def test_a_request_from_just_before_a_sign_in_is_no_use(
        self, store: FaultyStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """``SESSION_SAVE_EVERY_REQUEST``: it has nothing to save, which is not worth a line in the log."""
        caplog.set_level("INFO", "session_middleware")
        with override_settings(SESSION_MIDDLEWARE={"store": store}, SESSION_SAVE_EVERY_REQUEST=True):
            client, late = Client(), Client()
            client.get("/act/put?key=a&value=1")
            late.cookies["session"] = client.cookies["session"].value
            client.force_login(User.objects.get(username="alice"))

            assert late.get("/untouched").cookies == {}
        assert {*caplog.messages} == {f"sessions are kept by {store}"}

    def test_asynchronous_views_have_the_session(self, store: FaultyStore) -> None:
        """Under ASGI there is no WSGI middleware; the cookie is the same."""

        async def visit() -> list[Any]:
            client = AsyncClient()
            await client.get("/untouched")
            return [(await client.get("/async")).json() for _ in range(3)]

        with override_settings(SESSION_MIDDLEWARE={"store": store}):
            assert async_to_sync(visit)() == [{"seen": 1}, {"seen": 2}, {"seen": 3}]

    def test_an_asynchronous_stream_may_change_the_session(self, store: FaultyStore) -> None:
        """Promise 14: as any other."""

        async def view(request: HttpRequest) -> StreamingHttpResponse:
            async def blocks() -> Any:
                yield b"one\n"
                await request.session.aset("late", "yes")

            await request.session.aset("early", "yes")
            return StreamingHttpResponse(blocks())

        async def visit() -> tuple[list[bytes], str]:
            request = RequestFactory().get("/")
            response = await ours.SessionMiddleware(view)(request)
            return [block async for block in response.streaming_content], response.cookies["session"].value

        with override_settings(SESSION_MIDDLEWARE={"store": store}):
            body, token = async_to_sync(visit)()

            assert body == [b"one\n"]
            assert dict(ours.SessionStore(token)) == {"early": "yes", "late": "yes"}

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_a_stream_that_breaks_off_stores_nothing_more(self, store: FaultyStore, asynchronous: bool) -> None:
        """Promise 16: an exception has escaped."""

        def blocks(request: HttpRequest) -> Iterator[bytes]:
            yield b"one\n"
            request.session["late"] = "yes"
            raise ArithmeticError

        async def asynchronous_blocks(request: HttpRequest) -> Any:
            for block in blocks(request):
                yield block

        def view(request: HttpRequest) -> StreamingHttpResponse:
            request.session["early"] = "yes"
            return StreamingHttpResponse((asynchronous_blocks if asynchronous else blocks)(request))

        async def read(response: Any) -> list[bytes]:
            return [block async for block in response.streaming_content]

        with override_settings(SESSION_MIDDLEWARE={"store": store}):
            response = ours.SessionMiddleware(view)(RequestFactory().get("/"))
            with pytest.raises(ArithmeticError):
                async_to_sync(read)(response) if asynchronous else list(response.streaming_content)
            response.close()

            assert dict(ours.SessionStore(response.cookies["session"].value)) == {"early": "yes"}

    @pytest.mark.parametrize("streaming", [False, True])
    def test_a_change_that_nobody_stores_any_more_is_refused(self, store: FaultyStore, streaming: bool) -> None:
        """Promise 4: as by a middleware around it, or by what goes on after the response."""

        def view(request: HttpRequest) -> Any:
            requests.append(request)
            text = request.session["early"]
            return StreamingHttpResponse([text]) if streaming else HttpResponse(text)

        requests: list[Any] = []
        with override_settings(SESSION_MIDDLEWARE={"store": store}):
            session = ours.SessionStore()
            session["early"] = "yes"
            session.save()
            cookie = f"session={session.session_key}"
            response = ours.SessionMiddleware(view)(RequestFactory().get("/", HTTP_COOKIE=cookie))
            if streaming:
                requests[0].session["late"] = "yes"
                assert list(response.streaming_content) == [b"yes"]
                response.close()
            late = requests[0].session
            for method, *arguments in (
                ("pop", "early"),
                ("__delitem__", "early"),
                ("__setitem__", "a", 1),
                ("clear",),
                ("save",),
            ):
                with pytest.raises(HeadersAlreadySent):
                    getattr(late, method)(*arguments)

            assert late["early"] == "yes"
            assert dict(ours.SessionStore(session.session_key)) == {"early": "yes"} | ({"late": "yes"} if streaming else {})

    def test_a_response_of_a_file_stays_one(self, client: Client) -> None:
        """Promise 1: the server may send it in its own way."""
        with Path(__file__).open("rb") as file:
            response = ours.SessionMiddleware(lambda request: FileResponse(file))(RequestFactory().get("/"))

            assert response.file_to_stream is file

    def test_a_session_that_someone_has_replaced_is_left_alone(self, client: Client) -> None:
        """Django's middleware does without one, too."""

        def view(request: HttpRequest) -> HttpResponse:
            del request.session
            return HttpResponse("fine")

        for middleware in (ours.SessionMiddleware, ours.UnavailableMiddleware):
            request = RequestFactory().get("/")
            request.session = {}
            assert middleware(view)(request).content == b"fine"

    def test_another_engine_is_warned_of(self, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 15: the test client would look for sessions elsewhere."""
        with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.db"):
            ours.SessionMiddleware(HttpResponse)

        assert "set it to 'session_middleware.integrations.django'" in caplog.text


class TestTestClient:
    """Nobody has to restructure a test suite."""

    @pytest.fixture(params=["middleware", "engine"], autouse=True)
    def way(self, request: pytest.FixtureRequest) -> Iterator[str]:
        with override_settings(MIDDLEWARE=WAYS[request.param]):
            yield request.param

    @pytest.mark.parametrize("secure", [False, True])
    def test_login_force_login_and_logout(self, client: Client, secure: bool) -> None:
        """On http and https alike, for the cookie's name is the same."""
        assert not client.login(username="alice", password="wrong")
        assert client.login(username="alice", password="wonder")
        assert client.get("/whoami", secure=secure).json()["name"] == "alice"
        client.logout()
        assert client.get("/whoami", secure=secure).json() == NOBODY
        client.force_login(User.objects.get(username="bob"))
        assert client.get("/whoami", secure=secure).json()["name"] == "bob"

    def test_the_session_can_be_written_and_read(self, client: Client) -> None:
        """``client.session``, before the first request and after it."""
        session = client.session
        session["cart"] = ["tea"]
        session.save()
        client.get("/act/put?key=a&value=1")

        assert client.get("/act/show").json()["data"] == {"cart": ["tea"], "a": "1"}
        assert dict(client.session) == {"cart": ["tea"], "a": "1"}

    def test_a_sign_in_by_hand_keeps_its_key(self, client: Client) -> None:
        """Tests that write the user's key themselves have no use for a new token."""
        alice = User.objects.get(username="alice")
        session = client.session
        session["_auth_user_id"], session["_auth_user_backend"] = str(alice.pk), BACKEND
        session["_auth_user_hash"] = alice.get_session_auth_hash()
        session.save()

        assert client.get("/whoami").json() == {"name": "alice", "user": str(alice.pk)}

    def test_it_goes_through_a_form_as_through_its_own_login(self, client: Client) -> None:
        """The session after a request is the one that the request left."""
        client.post("/login/", {"username": "alice", "password": "wonder"})

        assert client.session["_auth_user_id"] == str(User.objects.get(username="alice").pk)

    @pytest.mark.skipif(not hasattr(AsyncClient, "alogin"), reason="Django 5.0 brought it")
    def test_the_asynchronous_client_signs_in(self, store: FaultyStore) -> None:
        """``aforce_login``, ``asession`` and ``alogout``."""

        async def visit() -> list[Any]:
            client = AsyncClient()
            await client.aforce_login(alice, BACKEND)
            user = await (await client.asession()).aget(USER)
            page = (await client.get("/async")).json()
            await client.alogout()
            return [user, page, (await client.get("/async")).json()]

        alice = User.objects.get(username="alice")
        with override_settings(SESSION_MIDDLEWARE={"store": store}):
            assert async_to_sync(visit)() == [str(alice.pk), {"seen": 1}, {"seen": 1}]


class TestConfiguration:
    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"SESSION_MIDDLEWARE": "memory:"}, 'write {"store": ...}'),
            ({"SESSION_MIDDLEWARE": {"stor": "memory:"}}, "did you mean 'store'?"),
            ({"SESSION_MIDDLEWARE": {"cookie": "sid"}}, "write SESSION_COOKIE_NAME"),
            ({"SESSION_MIDDLEWARE": {"store": 5}}, "write a URL, or a store"),
            ({"SESSION_MIDDLEWARE": {"store": None}}, "store=None: write a URL, or a store"),
            ({"SESSION_MIDDLEWARE": {"store": "memory:", "lifetime": 5}}, "write Lifetime(idle=..., absolute=...)"),
            ({"SESSION_COOKIE_HTTPONLY": False}, "is always HttpOnly"),
            ({"SESSION_COOKIE_SAMESITE": False}, "write 'Lax', 'Strict' or 'None'"),
            ({"SESSION_COOKIE_SAMESITE": "None"}, "needs secure=True"),
            ({"SESSION_COOKIE_NAME": "__Host-sid"}, "SESSION_COOKIE_SECURE=True"),
            (
                {"SESSION_COOKIE_NAME": "__Host-sid", "SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_PATH": "/shop"},
                "neither SESSION_COOKIE_DOMAIN nor SESSION_COOKIE_PATH",
            ),
            ({"SESSION_SERIALIZER": "django.contrib.sessions.serializers.PickleSerializer"}, "never pickles"),
        ],
    )
    def test_what_cannot_work_does_not_start(self, setting: dict[str, Any], message: str) -> None:
        """Promise 15: the error says what to write instead."""
        with (
            override_settings(**({"SESSION_MIDDLEWARE": {"store": "memory:"}} | setting)),
            pytest.raises(ImproperlyConfigured, match=re.escape(message)),
        ):
            ours.SessionMiddleware(HttpResponse)

    def test_a_store_that_will_never_do_does_not_start(self, tmp_path: Path) -> None:
        """Promise 15: it is tried when the middleware is made, unless that is not wanted; a server may be away."""
        (tmp_path / "text").touch(0o600)
        (tmp_path / "text").write_text("This is not a database. " * 1000)
        store: dict[str, Any] = {"store": f"sqlite:///{tmp_path}/text"}
        with (
            override_settings(SESSION_MIDDLEWARE=store),
            pytest.raises(ImproperlyConfigured, match="text: file is not a database"),
        ):
            ours.SessionMiddleware(HttpResponse)
        with override_settings(SESSION_MIDDLEWARE=store | {"check_store": False}):
            ours.SessionMiddleware(HttpResponse)

    def test_every_option_is_used(self, store: FaultyStore) -> None:
        """Promise 15: an option with no effect is impossible."""
        clock = FakeClock(1_900_000_000)
        options = {
            "store": store,
            "lifetime": Lifetime(idle=100, absolute=1000),
            "codec": JSONCodec(),
            "namespace": "shop",
            "max_bytes": 2048,
            "clock": clock,
            "environ_key": "shop.session",
        }
        with override_settings(SESSION_MIDDLEWARE=options):
            session = ours.SessionStore()
            session["a"] = "1"
            session.save()
            request = RequestFactory().get("/", **{"shop.session": SessionMiddleware(HttpResponse, store).manager.open()})
            ours.SessionMiddleware(lambda request: HttpResponse())(request)

            assert session.expires_at == 1_900_000_100
            assert ours.manager().codec is options["codec"]
            others = [SessionManager(store, codec=JSONCodec(), namespace=name, clock=clock) for name in ("shop", "session")]
            assert [dict(other.open(session.session_key)) for other in others] == [{"a": "1"}, {}]
            assert request.session.underlying is request.environ["shop.session"]
            session["a"] = "x" * 2048
            with pytest.raises(SessionTooLarge, match="over the limit of 2,048"):
                session.save()

    def test_without_the_setting_it_is_a_file_beside_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Design, 5: SQLite; Django's age of the cookie is the idle timeout."""
        monkeypatch.chdir(tmp_path)
        with override_settings(SESSION_MIDDLEWARE=None, SESSION_COOKIE_AGE=60 * 86400):
            manager = ours.manager()

            assert isinstance(manager.store, SQLiteStore)
            assert manager.lifetime == Lifetime(idle=60 * 86400, absolute=60 * 86400)
            with override_settings(SESSION_COOKIE_AGE=3600):
                assert ours.manager().lifetime == Lifetime(idle=3600, absolute=30 * 86400)
                assert ours.manager().store is manager.store
            with override_settings(SESSION_MIDDLEWARE={"store": "memory:"}):
                assert ours.manager().store is not manager.store
            ours.SessionStore().save()
            assert (tmp_path / "sessions.sqlite3").exists()
        with override_settings(SESSION_MIDDLEWARE={"store": "memory:"}):
            ours.manager()

    def test_under_the_test_runner_the_project_has_another_store(
        self, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever its settings say; another store that a test sets over them counts, and an option beside the store's."""
        monkeypatch.setattr(settings._wrapped, "SESSION_MIDDLEWARE", {"store": store}, raising=False)
        setup_test_environment()
        try:
            assert isinstance(ours.manager().store, MemoryStore)
            assert ours.manager() is ours.manager()
            with override_settings(SESSION_MIDDLEWARE={"store": store, "namespace": "other"}):
                assert isinstance(ours.manager().store, MemoryStore)
                assert ours.manager().namespace == "other"
            another = FaultyStore(MemoryStore())
            with override_settings(SESSION_MIDDLEWARE={"store": another}):
                assert ours.manager().store is another
        finally:
            teardown_test_environment()
        assert ours.manager().store is store

    def test_the_typed_session_is_the_one_of_the_request(self, store: FaultyStore) -> None:
        """``session_of(request)``; a request without one of ours says what is missing."""
        with override_settings(SESSION_MIDDLEWARE={"store": store}):
            request = RequestFactory().get("/")
            ours.SessionMiddleware(HttpResponse).process_request(request)
            ours.session_of(request).login("5")

            assert (request.session.user_id, ours.session_of(request)) == ("5", request.session.underlying)
            request.session = {}
            with pytest.raises(ConfigurationError, match="MIDDLEWARE needs"):
                ours.session_of(request)

    def test_clearsessions_removes_what_has_expired(self, store: FaultyStore) -> None:
        """``manage.py clearsessions``: all of it, in batches; and nothing where the store does it by itself."""
        clock = FakeClock(1_000_000_000)  # long ago
        memory = MemoryStore()
        with override_settings(SESSION_MIDDLEWARE={"store": memory, "clock": clock}):
            for _ in range(3):
                ours.SessionStore().save()
        with override_settings(SESSION_MIDDLEWARE={"store": memory}):
            call_command("clearsessions")
            ours.SessionStore().save()
            async_to_sync(ours.SessionStore.aclear_expired)()
            assert len(list(memory.keys())) == 1
        verbs = {verb: getattr(store, verb) for verb in ("create", "load", "update", "delete")}
        with override_settings(SESSION_MIDDLEWARE={"store": SimpleNamespace(**verbs)}):
            call_command("clearsessions")
            assert store.calls == []

    def test_without_django_the_error_says_what_to_install(self) -> None:
        """And the other modules are unaffected."""
        program = """
import sys
sys.modules["django"] = None
import session_middleware, session_middleware.integrations
try:
    import session_middleware.integrations.django
except ImportError as error:
    print(error)
"""
        run = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, cwd=ROOT)
        assert run.stdout.strip() == "Django is not installed: pip install 'session-middleware[django]'"


@pytest.fixture(params=["middleware", "engine"], scope="class")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The site with its users, under gunicorn."""
    directory = tmp_path_factory.mktemp("site")
    env = {"SITE_DATABASE": str(directory / "users.sqlite3"), "SITE_SESSIONS": " ".join(WAYS[request.param][:2])}
    if request.param == "middleware":
        env["SITE_SESSIONS"] = django_site.OURS
    arguments = ("--worker-class", "gthread", "--threads", "8")
    site = "tests.integrations.django_site:make_with_users()"
    with Gunicorn(site, *arguments, cwd=directory, env=env) as server:
        yield server


class TestUnderGunicorn:
    """With a real HTTP client; what needs no users is in the contract."""

    def test_a_visit_from_sign_in_to_sign_out(self, server: Gunicorn) -> None:
        """Promises 5, 8, 11 and 16, one after the other, in one browser."""
        browser = Browser(over_http(server.url))
        answer(browser, "append?value=tea")
        before = browser.token
        assert submit(browser, "/admin/login/", username="alice", password="wonder", next="/admin/").status == 302
        assert browser.token not in (before, None)
        assert "Site administration" in browser.get("/admin/").text

        page = browser.get("/sign-in-and-fail")
        assert page.status == 500
        answer(browser, "append?value=coffee")
        assert answer(browser, "show")["data"]["cart"] == {"items": ["tea", "coffee"]}

        assert submit(browser, "/admin/auth/group/1/change/", name="writers").status == 302
        assert "was changed successfully" in browser.get("/admin/auth/group/").text
        assert "was changed successfully" not in browser.get("/admin/auth/group/").text

        signed_in = browser.token
        sign_out(browser)
        for dead in (before, signed_in):
            browser.token = str(dead)
            assert whoami(browser) == NOBODY
        assert "Forbidden" not in server.log()

    def test_parallel_requests_keep_each_others_changes(self, server: Gunicorn) -> None:
        """Promise 3: all of them have the session open before any of them is stored."""
        browser = Browser(over_http(server.url))
        answer(browser, "put?key=before&value=yes")
        others = [Browser(over_http(server.url)) for _ in range(MEETING)]
        for other in others:
            other.cookies = dict(browser.cookies)
        with ThreadPoolExecutor(MEETING) as pool:
            met = list(pool.map(answer, others, [f"meet?key=k{number}&value=v" for number in range(MEETING)]))

        assert met == [{"known": 1}] * MEETING
        assert answer(browser, "show")["data"] == {"before": "yes"} | {f"k{number}": "v" for number in range(MEETING)}
