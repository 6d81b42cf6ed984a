"""What requests with any cookie cost and answer: nothing where there is no token, and one ``Set-Cookie`` at most."""

import itertools
from typing import Any
from wsgiref.types import WSGIEnvironment

import flask
import pytest
from webtest import TestApp

from session_middleware import CookiePolicy, MemoryStore, SessionMiddleware, get_session
from session_middleware.cookies import values_in
from session_middleware.testing import FaultyStore
from tests.apps import an_environ, list_app, visit
from tests.cookies.headers import JUNK, LONGEST, LOOKALIKES, NASTY, OF_NO_USE, PLAIN, TOKEN, pairs, read, tokens


def read_all(environ: WSGIEnvironment) -> None:
    len(get_session(environ))


def test_values_of_several_cookies_are_found_in_their_order() -> None:
    """With their groups; a longer name is another one."""
    find = values_in(("one", "t.o"), r"(\d)(\d)")

    assert find("one=12; t.o=34; two=56; one=x; xone=78; t.o = 90 ,one=11") == [("1", "2"), ("3", "4"), ("9", "0")]


class TestRequests:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_header_without_a_token_never_reaches_the_store(self, scheme: str) -> None:
        """K-20, K-29, G-2, C-12: whatever is in it, and nothing of it comes back in any header or in the log."""
        cookie = CookiePolicy().for_scheme(scheme)
        store = FaultyStore(MemoryStore())
        application = SessionMiddleware(list_app(read_all), store)
        headers = [f"{cookie.name}={value}" for value in OF_NO_USE]
        headers += [evil.format(name=cookie.name, token=TOKEN) for evil in LOOKALIKES]
        headers += [*JUNK, pairs(cookie.name, *tokens(1, 2, 3, 4)), *(make(LONGEST) for make in NASTY.values())]
        for header in headers:
            store.calls.clear()
            response = visit(application, cookie=header, scheme=scheme)

            assert response.headers[-1] == ("Vary", "Cookie")
            assert (response.status, response.set_cookies) == ("200 OK", [])
            assert store.calls == [] or read(cookie, header)

    def test_a_flood_of_tokens_costs_eight_loads_at_most(self) -> None:
        """K-30: 1,200 cookies of our name with three tokens, and with a thousand."""
        store = FaultyStore(MemoryStore())
        application = SessionMiddleware(list_app(read_all), store)
        visit(application, cookie=pairs("session", *tokens(1, 2, 3) * 400))
        assert len(store.calls) == 3

        store.calls.clear()
        visit(application, cookie=pairs("session", *tokens(*range(1000))))
        assert len(store.calls) == 8

    def test_of_several_tokens_the_live_one_is_used(self) -> None:
        """K-12: garbage that another site on the domain has planted logs nobody out."""
        store = MemoryStore()
        application = SessionMiddleware(list_app(lambda environ: get_session(environ).update(name="value")), store)
        mine = visit(application).token
        names: list[str | None] = []
        reader = SessionMiddleware(list_app(lambda environ: names.append(get_session(environ).get("name"))), store)
        for planted in itertools.permutations([mine, *tokens(1, 2)]):
            assert visit(reader, cookie=pairs("session", *planted)).set_cookies == []

        assert names == ["value"] * 6

    def test_of_two_live_ones_none_is_used(self, caplog: pytest.LogCaptureFixture) -> None:
        """K-12: who plants a session of his own does not get the victim to use it; nor is any cookie set."""
        store = MemoryStore()
        application = SessionMiddleware(list_app(lambda environ: get_session(environ).update(name="value")), store)
        mine, theirs = visit(application).token, visit(application).token
        names: list[str | None] = []
        reader = SessionMiddleware(list_app(lambda environ: names.append(get_session(environ).get("name"))), store)
        for planted in ((mine, theirs), (theirs, mine)):
            assert visit(reader, cookie=pairs("session", *planted)).set_cookies == []

        assert names == [None, None]
        assert "2 sessions of the same rank in one request" in caplog.text
        assert mine not in caplog.text

    def test_the_two_schemes_do_not_share_a_cookie(self) -> None:
        """K-9, C-6: what was sent over http in the clear opens nothing over https under the prefixed name."""
        store = FaultyStore(MemoryStore())
        application = SessionMiddleware(list_app(read_all), store)
        visit(application, cookie=f"session={TOKEN}", scheme="https")

        assert store.calls == []

    @pytest.mark.parametrize("theirs", ["session=1", "session=1; Path=/other", " session\t=2; HttpOnly"])
    def test_there_is_one_set_cookie_of_our_name(self, theirs: str, caplog: pytest.LogCaptureFixture) -> None:
        """K-3, K-4: the application's own is left out, and that is logged; its others stay, in lines of their own."""

        def app(environ: WSGIEnvironment, start_response: Any) -> list[bytes]:
            get_session(environ)["name"] = "value"
            start_response("200 OK", [("Set-Cookie", "a=b"), ("set-cookie", theirs), ("SET-COOKIE", "sessions=1")])
            return []

        first, second, ours = visit(SessionMiddleware(app, MemoryStore())).set_cookies

        assert (first, second) == ("a=b", "sessions=1")
        assert read(PLAIN, ours.partition(";")[0])
        assert "sets a cookie named session itself" in caplog.text

    @pytest.mark.parametrize("act", [read_all, lambda environ: None])
    @pytest.mark.parametrize("shape", [list, tuple, iter])
    def test_an_applications_cookie_stays_when_we_set_none(
        self, act: Any, shape: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """K-3: it is alone then; when a cookie of our name has come that is none of ours, too, that is said once."""

        def app(environ: WSGIEnvironment, start_response: Any) -> Any:
            act(environ)
            start_response("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", environ["PATH_INFO"].strip("/"))])
            return shape([b"page"])

        application = SessionMiddleware(app, MemoryStore())
        for cookie in (None, "sid=1", "a=session", f"session={TOKEN}"):
            assert visit(application, "/session=1", cookie=cookie).set_cookies == ["a=1", "session=1"]
        application.http.read("b=2; session=eyJhIjoxfQ")
        assert visit(application, "/sessions=1").set_cookies == ["a=1", "sessions=1"]
        assert caplog.records == []

        for _ in range(2):
            assert visit(application, "/session=1").set_cookies == ["a=1", "session=1"]
        (record,) = caplog.records
        assert "alone it takes its place and signs the user out; give it another name" in record.getMessage()

    @pytest.mark.parametrize("headers", [[None], [("Set-Cookie",)], [(1, 2)], [()]])
    def test_headers_that_are_none_are_left_to_the_server(self, headers: Any) -> None:
        """Promise 14: as without the middleware."""
        seen: list[Any] = []

        def app(environ: WSGIEnvironment, start_response: Any) -> list[bytes]:
            start_response("200 OK", headers)
            return []

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
            seen.append(headers)

        application = SessionMiddleware(app, MemoryStore())
        application.http.read("session=1")
        application(an_environ(), start_response)
        assert seen == [headers]

    def test_flasks_own_session_inside_is_told_of(self, caplog: pytest.LogCaptureFixture) -> None:
        """K-3: where Sessions(app) was forgotten, each flash signs the user out."""
        app = flask.Flask(__name__)
        app.secret_key = "secret"

        @app.get("/login")
        def sign_in() -> str:
            get_session(flask.request.environ).login("alice")
            return "page"

        @app.get("/account")
        def account() -> str:
            return str(get_session(flask.request.environ).user_id)

        @app.get("/flash")
        def flash() -> str:
            flask.flash("hello")
            return "page"

        application = SessionMiddleware(app, MemoryStore())
        browser = TestApp(application)
        for path in ("/login", "/flash", "/account"):
            browser.get(path)
        assert caplog.records == []

        browser.get("/flash")
        assert "write Sessions(app)" in caplog.text

    @pytest.mark.parametrize("path", ["/", "/app"])
    def test_a_cookie_of_https_that_comes_by_http_is_told_of(self, path: str, caplog: pytest.LogCaptureFixture) -> None:
        """C-6: no browser sends it; code on a server does that passes cookies on, or a proxy that is not trusted."""
        policy = CookiePolicy(path=path)
        name = policy.for_scheme("https").name
        application = SessionMiddleware(list_app(read_all), MemoryStore(), cookie=policy)
        for cookie in (f"{name}={TOKEN}", f"a=1; {name}={TOKEN}"):
            visit(application, cookie=cookie, scheme="https")
            visit(application, cookie=cookie.replace("; ", " ;\t"), scheme="https")
            visit(application, cookie=f"session={TOKEN}; my{name}-x=1")
        assert caplog.records == []

        for _ in range(2):
            visit(application, cookie=f"a=1; {name}={TOKEN}")
        (record,) = caplog.records
        assert record.getMessage().startswith(f"a cookie named {name} came by http, which no browser does")
        assert TOKEN not in caplog.text

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_where_no_cookie_is_secure_one_that_is_may_come(self, scheme: str, caplog: pytest.LogCaptureFixture) -> None:
        """C-6: it is that of another application, or of former days."""
        application = SessionMiddleware(list_app(read_all), MemoryStore(), cookie=CookiePolicy(secure=False))
        visit(application, cookie=f"__Host-session={TOKEN}", scheme=scheme)

        assert caplog.records == []

    def test_a_set_cookie_forbids_to_keep_the_response(self) -> None:
        """K-14: caches keep a response with Set-Cookie like any other."""
        response = visit(SessionMiddleware(list_app(lambda environ: get_session(environ).login("alice")), MemoryStore()))

        assert response.values("Cache-Control") == ["private, no-store"]

    def test_the_browsers_clock_decides_nothing(self) -> None:
        """K-15: a cookie that should be gone is as good as the session in the store."""
        store = MemoryStore()

        def brief(environ: WSGIEnvironment) -> None:
            get_session(environ).set_lifetime(persistent=True, absolute=1e9)
            get_session(environ)["name"] = "value"

        response = visit(SessionMiddleware(list_app(brief), store))
        names: list[str | None] = []
        reader = SessionMiddleware(list_app(lambda environ: names.append(get_session(environ).get("name"))), store)
        visit(reader, cookie=response.cookie)

        assert "; Max-Age=34560000; " in response.set_cookies[0]
        assert names == ["value"]
