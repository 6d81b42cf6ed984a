"""What becomes of a Django request whose session cannot be loaded or stored."""

import re
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings

from session_middleware import ConflictError, PayloadError, StoreUnavailable
from session_middleware.integrations import django as ours
from session_middleware.testing import FaultyStore
from tests.browser import Browser
from tests.integrations import django_site
from tests.integrations.acts import GO
from tests.integrations.django.visits import NOBODY, a_browser, sign_in, sign_out, whoami


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
