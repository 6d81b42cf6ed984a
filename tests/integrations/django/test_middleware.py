"""What our middleware for Django does where no WSGI middleware is around."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings

from session_middleware import HeadersAlreadySent, Lifetime
from session_middleware.integrations import django as ours
from session_middleware.integrations.django.settings import cookie_of
from session_middleware.testing import FakeClock, FaultyStore


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
