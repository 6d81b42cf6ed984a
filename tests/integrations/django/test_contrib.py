"""Django's own applications, and middlewares in any order, work with our sessions."""

import json

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.test import override_settings

from session_middleware.testing import FaultyStore
from tests.browser import Browser
from tests.integrations.contract import answer
from tests.integrations.django.visits import WAYS, a_browser, csrf_token, sign_in, submit


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
