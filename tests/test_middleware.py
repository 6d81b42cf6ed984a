"""What a request costs, what it tells the browser and the caches between, and which configurations do not start."""

import logging
import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest

from session_middleware import (
    ConfigurationError,
    CookiePolicy,
    JSONCodec,
    Lifetime,
    MemoryStore,
    Session,
    SessionManager,
    SessionMiddleware,
    SQLiteStore,
    Store,
    StoreUnavailable,
    get_session,
    tokens,
)
from session_middleware.testing import FakeClock, FaultyStore
from tests.apps import Act, Gateway, an_environ, list_app, some_headers, visit
from tests.clients import Browser, SharedCache


@pytest.fixture
def store(store: Store) -> FaultyStore:
    """A store of each kind, which notes its calls and fails when told to."""
    return FaultyStore(store)


def using(use: Callable[[Session], object]) -> Act:
    return lambda environ: use(get_session(environ))


def respond(store: FaultyStore, use: Callable[[Session], object], cookie: str | None = None) -> Gateway:
    return visit(SessionMiddleware(list_app(using(use)), store), cookie=cookie)


def a_session(store: FaultyStore, **data: Any) -> str:
    """Store a session and return its Cookie header."""
    cookie = respond(store, lambda session: session.update(name="old", **data)).cookie
    store.calls.clear()
    return cookie


def verbs(store: FaultyStore) -> list[str]:
    return [verb for verb, _ in store.calls if verb != "sweep"]


# Every way to use a session, by the name of the attribute that it goes through.
READS: dict[str, Callable[[Session], object]] = {
    "__getitem__": lambda session: [session[name] for name in session],
    "__iter__": list,
    "__len__": len,
    "__contains__": lambda session: "name" in session,
    "__eq__": lambda session: session == {},
    "get": lambda session: session.get("name"),
    "keys": lambda session: list(session.keys()),
    "items": lambda session: list(session.items()),
    "values": lambda session: list(session.values()),
    "user_id": lambda session: session.user_id,
    "is_new": lambda session: session.is_new,
    "created_at": lambda session: session.created_at,
    "last_seen_at": lambda session: session.last_seen_at,
    "expires_at": lambda session: session.expires_at,
    "persistent": lambda session: session.persistent,
    "id": lambda session: session.id,
}
WRITES: dict[str, Callable[[Session], object]] = {
    "__setitem__": lambda session: session.__setitem__("name", "new"),
    "__ior__": lambda session: session.__ior__({"name": "new"}),
    "setdefault": lambda session: session.setdefault("other", "new"),
    "update": lambda session: session.update(name="new"),
    "transact": lambda session: session.transact(lambda data: data.update(name="new")),
    "login": lambda session: session.login("alice"),
}
REMOVALS: dict[str, Callable[[Session], object]] = {
    "__delitem__": lambda session: session.__delitem__("name") if session else None,
    "pop": lambda session: session.pop("name", None),
    "popitem": lambda session: session.popitem() if session else None,
    "clear": lambda session: session.clear(),
}
TOKEN_CHANGES: dict[str, Callable[[Session], object]] = {
    "regenerate": lambda session: session.regenerate(),
    "invalidate": lambda session: session.invalidate(),
    "set_lifetime": lambda session: session.set_lifetime(persistent=True),
}
USES = READS | WRITES | REMOVALS | TOKEN_CHANGES

# What they say does not depend on the cookie, so long as nothing else is used.
INDEPENDENT: dict[str, Callable[[Session], object]] = {
    "accessed": lambda session: session.accessed,
    "announced": lambda session: session.announced,
    "fault": lambda session: session.fault,
    "modified": lambda session: session.modified,
    "progress": lambda session: session.progress,
    "belongs_to": lambda session: session.belongs_to(SessionManager(MemoryStore())),
    "keeper": lambda session: session.keeper,
    "start_over": lambda session: session.start_over(),
    "__repr__": repr,
}


def public_names() -> set[str]:
    """Return the names through which a session can be used."""
    machinery = {"__abstractmethods__", "__annotations__", "__class_getitem__", "__dict__", "__module__", "__slots__"}
    machinery |= {"__weakref__", "__reversed__", "__orig_bases__", "__parameters__", "__static_attributes__"}
    machinery |= {
        "__provides__",
        "__providedBy__",
        "__implemented__",
    }  # zope.interface notes them on classes
    machinery |= {"__firstlineno__", "__annotate_func__", "__annotations_cache__", "__annotate__"}
    special = {name for name in dir(Session) if name.startswith("__") and name not in dir(object)} | {"__eq__", "__repr__"}
    return {name for name in dir(Session) if not name.startswith("_")} | special - machinery


class TestAccess:
    def test_every_public_name_is_here(self) -> None:
        """V-16, G-16: a method that is added later fails this test until the tables above know it."""
        assert public_names() == USES.keys() | INDEPENDENT.keys()

    @pytest.mark.parametrize("name", USES)
    def test_whatever_uses_the_session_says_vary(self, store: FaultyStore, name: str) -> None:
        """Promise 2, V-16, W-30: with a cookie and without; ``in``, ``len``, iteration and truth are uses like any."""
        for cookie in (None, "session=" + "x" * 43, a_session(store)):
            assert respond(store, USES[name], cookie).values("Vary") == ["Cookie"]

    @pytest.mark.parametrize("name", INDEPENDENT)
    def test_what_says_nothing_of_the_session_is_no_use_of_it(self, store: FaultyStore, name: str) -> None:
        """Promise 1: the answer is the same for everyone, so nothing is loaded and nothing is said."""
        response = respond(store, INDEPENDENT[name], a_session(store))

        assert response.headers == [*some_headers(), ("Content-Length", "6")]
        assert store.calls == []

    def test_truth_is_a_use(self, store: FaultyStore) -> None:
        """W-30: ``if session:`` depends on the cookie like everything else."""
        assert respond(store, bool).values("Vary") == ["Cookie"]

    @pytest.mark.parametrize("name", [*READS, *REMOVALS, "regenerate", "invalidate", "set_lifetime"])
    def test_without_a_cookie_and_without_data_nothing_is_stored(self, store: FaultyStore, name: str) -> None:
        """Promise 2: no store call, no record, no Set-Cookie."""
        assert respond(store, USES[name]).set_cookies == []
        assert store.calls == []

    @pytest.mark.parametrize("name", READS)
    def test_reading_is_one_load(self, store: FaultyStore, name: str) -> None:
        """Promise 2: and no Set-Cookie, however often it is read."""

        def twice(session: Session) -> None:
            READS[name](session)
            READS[name](session)

        assert respond(store, twice, a_session(store)).set_cookies == []
        assert verbs(store) == ["load"]

    @pytest.mark.parametrize("name", [*READS, *REMOVALS, "regenerate", "set_lifetime"])
    def test_an_unknown_token_gets_no_cookie(self, store: FaultyStore, name: str) -> None:
        """Design, "Cookie": a late response must not wipe the cookie that a sign-in has just set."""
        assert respond(store, USES[name], f"session={tokens.new()}").set_cookies == []
        assert verbs(store) == ["load"]

    @pytest.mark.parametrize("name", WRITES)
    def test_an_unknown_token_is_never_adopted(self, store: FaultyStore, name: str) -> None:
        """Promise 11, C-11, V-1: who writes under it gets a token of ours."""
        theirs = tokens.new()
        response = respond(store, WRITES[name], f"session={theirs}")

        assert verbs(store) == ["load", "create"]
        assert response.token != theirs
        assert store.calls[0][1] not in [key for _, key in store.calls[1:]]

    @pytest.mark.parametrize("name", USES)
    def test_a_cookie_goes_with_no_store_and_never_goes_twice(self, store: FaultyStore, name: str) -> None:
        """K-3, V-16, G-16: even where the application calls its page public."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            USES[name](get_session(environ))
            start_response("200 OK", [*some_headers(), ("Cache-Control", "public, max-age=3600")])
            return [b"page"]

        for cookie in (None, a_session(store)):
            response = visit(SessionMiddleware(app, store), cookie=cookie)
            expected = ["private, no-store"] if response.set_cookies else ["public, max-age=3600"]

            assert len(response.set_cookies) <= 1
            assert response.values("Cache-Control") == expected
            assert response.values("Vary") == ["Cookie"]

    def test_an_applications_private_page_stays_private(self, store: FaultyStore) -> None:
        """Design, "Cookie": its own value stays where it forbids shared caching already."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            get_session(environ)["name"] = "value"
            start_response("200 OK", [("Cache-Control", "private, max-age=60"), ("Vary", "Accept")])
            return []

        response = visit(SessionMiddleware(app, store))

        assert response.values("Cache-Control") == ["private, max-age=60"]
        assert response.values("Vary") == ["Accept, Cookie"]

    def test_what_is_set_and_cleared_again_creates_nothing(self, store: FaultyStore) -> None:
        """Design, "Commit": there is nothing to keep."""

        def set_and_clear(session: Session) -> None:
            session["name"] = "value"
            del session["name"]

        assert respond(store, set_and_clear).set_cookies == []
        assert store.calls == []

    def test_what_is_written_after_the_end_is_a_new_session(self, store: FaultyStore) -> None:
        """Design, "Commit": one Set-Cookie, with the new token."""

        def start_anew(session: Session) -> None:
            session.invalidate()
            session["name"] = "new"

        cookie = a_session(store, secret="old")
        response = respond(store, start_anew, cookie)
        found: list[dict[str, Any]] = []
        for sent in (cookie, response.cookie):
            respond(store, lambda session: found.append(dict(session)), sent)

        assert found == [{}, {"name": "new"}]

    def test_token_and_key_stay_out_of_the_response(self, store: FaultyStore) -> None:
        """Promise 11, A-3.3.4: the token is in its Set-Cookie and nowhere else; what names the session is no cookie."""
        response = respond(store, lambda session: session.update(name="value"))
        rest = [header for header in response.headers if header[0] != "Set-Cookie"]

        assert response.token not in repr((rest, response.body))
        assert respond(store, len, f"session={store.calls[0][1]}").set_cookies == []
        assert store.inner.load(store.calls[0][1]) is not None
        assert len(verbs(store)) == 2

    def test_a_token_anywhere_but_in_the_cookie_is_ignored(self, store: FaultyStore) -> None:
        """C-5, A-14.2.1: not in the query, not in other headers."""
        cookie = a_session(store)
        elsewhere = {"QUERY_STRING": cookie, "HTTP_AUTHORIZATION": cookie, "HTTP_X_SESSION_ID": cookie, "PATH_INFO": "/"}
        found: list[int] = []
        application = SessionMiddleware(list_app(using(lambda session: found.append(len(session)))), store)
        Gateway().run(application, an_environ() | elsewhere)

        assert found == [0]
        assert store.calls == []


class TestBrowsers:
    @pytest.mark.parametrize("origin", ["http://www.example.com", "https://www.example.com"])
    def test_a_browser_can_sign_in_and_out(self, store: FaultyStore, origin: str) -> None:
        """G-15, G-27: over http and https every cookie is accepted, and one that is to go is gone."""
        browser = Browser(SessionMiddleware(a_site, store), origin=origin)
        steps = [
            ("/page", b"nobody"),
            ("/visit", b"nobody"),
            ("/login/alice", b"alice"),
            ("/page", b"alice"),
            ("/token", b"alice"),
            ("/remember", b"alice"),
            ("/login/bob", b"bob"),
            ("/logout", b"nobody"),
            ("/page", b"nobody"),
        ]
        tokens_seen = []
        for path, body in steps:
            assert browser.get(path).body == body
            tokens_seen.append([cookie.value for cookie in browser.agent.cookies.values()])

        assert browser.refused == []
        assert list(map(len, tokens_seen)) == [0, 1, 1, 1, 1, 1, 1, 0, 0]
        assert len({token for (token,) in tokens_seen[1:7]}) == 5

    def test_a_persistent_cookie_lasts_as_long_as_the_session(self, store: FaultyStore) -> None:
        """K-6, C-10: not persistent unless asked for; then until the absolute timeout, and rounded up."""
        clock = FakeClock(1_900_000_000.25)
        application = SessionMiddleware(a_site, store, clock=clock, lifetime=Lifetime(absolute=timedelta(days=30)))
        browser = Browser(application, now=1_900_000_000)
        browser.get("/login/alice")
        (cookie,) = browser.agent.cookies.values()
        assert cookie.expires is None

        clock.advance(60)
        browser.get("/remember")
        (cookie,) = browser.agent.cookies.values()
        assert cookie.expires == 1_900_000_000 + 30 * 86400 - 60
        browser.get("/page")
        assert browser.agent.cookies == {cookie.identity: cookie}

    def test_a_page_beside_ours_keeps_its_cookies(self, store: FaultyStore) -> None:
        """K-9: two sites under one host, each with its path, on http and https."""
        for origin in ("http://www.example.com", "https://www.example.com"):
            one, two = (
                SessionMiddleware(a_site, MemoryStore(), cookie=CookiePolicy(path=path)) for path in ("/page", "/visit")
            )
            browser = Browser(one, origin=origin)
            browser.agent.receive(f"{origin}/visit", visit(two, "/visit", scheme=origin.partition(":")[0]).set_cookies[0])

            assert browser.agent.header(f"{origin}/page") is None
            assert browser.agent.header(f"{origin}/visit") is not None


def a_site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A small site that calls every page of it public."""
    headers = [("Content-Type", "text/plain"), ("Cache-Control", "public, max-age=3600")]
    path = environ["PATH_INFO"]
    if path == "/static":
        start_response("200 OK", headers)
        return [b"static"]
    session = get_session(environ)
    match path.split("/")[1:]:
        case ["visit"]:
            session["visits"] = session.get("visits", 0) + 1
        case ["login", user]:
            session.login(user)
        case ["logout"]:
            session.invalidate()
        case ["token"]:
            session.regenerate()
        case ["remember"]:
            session.set_lifetime(persistent=True)
        case ["plain"]:
            headers.pop()
        case ["length"]:
            start_response("200 OK", headers)
            return [b"%d" % bool(len(session))]
    start_response("200 OK", headers)
    return [(session.user_id or "nobody").encode()]


def careless_site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A site behind whose back a cache may do what it likes, for it does not say Vary."""

    def without_vary(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        return start_response(status, [header for header in headers if header[0] not in ("Vary", "Cache-Control")])

    return a_careful_site(environ, without_vary)


a_careful_site = SessionMiddleware(a_site, MemoryStore())


def browse(app: WSGIApplication, requests: int) -> tuple[int, int, int]:
    """Let users browse through one shared cache; return how often it answered, and how often with another's page
    or another's cookie."""
    chance, cache = random.Random(9111), SharedCache(app)
    browsers = [(Browser(cache), f"user{number}") for number in range(20)]
    signed_in: dict[str, bytes] = {}
    owners: dict[str, str] = {}
    wrong_pages = wrong_cookies = 0
    for _ in range(requests):
        browser, user = chance.choice(browsers)
        pages = [
            "/static",
            "/page",
            "/page",
            "/plain",
            "/length",
            "/visit",
            "/token",
            "/remember",
            f"/login/{user}",
            "/logout",
        ]
        path = chance.choice(pages)
        response = browser.get(path, REMOTE_ADDR=user)
        if path.startswith("/log"):
            signed_in[user] = user.encode() if path != "/logout" else b"nobody"
        if path not in ("/static", "/length"):
            wrong_pages += response.body != signed_in.get(user, b"nobody")
        wrong_cookies += sum(
            owners.setdefault(cookie, user) != user for cookie in response.set_cookies if "=;" not in cookie
        )
    return cache.hits, wrong_pages, wrong_cookies


class TestSharedCaches:
    def test_nobody_gets_anothers_page_or_cookie(self, store: FaultyStore) -> None:
        """G-17, V-16: 1,000 mixed requests of 20 users through one cache, which keeps all that RFC 9111 lets it keep."""
        hits, wrong_pages, wrong_cookies = browse(SessionMiddleware(a_site, store), 1000)

        assert hits > 100
        assert (wrong_pages, wrong_cookies) == (0, 0)

    def test_the_cache_would_leak_if_it_were_not_told(self) -> None:
        """G-17: the model of a cache is one that shows the mistake."""
        _, wrong_pages, wrong_cookies = browse(careless_site, 1000)

        assert wrong_pages > 0
        assert wrong_cookies > 0


class TestFailures:
    @pytest.mark.parametrize("name", USES)
    @pytest.mark.parametrize("answered", [True, False])
    def test_a_failing_store_never_touches_the_cookie(self, store: FaultyStore, name: str, answered: bool) -> None:
        """Promise 7: no token, no deletion, for whatever the application wanted, and whatever it makes of the failure."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            try:
                USES[name](get_session(environ))
            except StoreUnavailable:
                if not answered:
                    raise
            start_response("200 OK", some_headers())
            return [b"page"]

        cookie = a_session(store)
        store.fail(times=None)
        response = visit(SessionMiddleware(app, store), cookie=cookie)
        store.heal()
        found: list[str] = []
        respond(store, lambda session: found.append(session["name"]), cookie)

        assert response.set_cookies == []
        assert "no-store" in response.values("Cache-Control")[0]
        assert found == ["old"]

    @pytest.mark.parametrize("verb", ["create", "update", "load"])
    @pytest.mark.parametrize("name", [*WRITES, "regenerate", "invalidate", "set_lifetime"])
    def test_no_cookie_goes_out_for_what_was_not_stored(self, store: FaultyStore, name: str, verb: str) -> None:
        """Promises 6 and 7, G-15: whichever call of the commit fails."""
        cookie = a_session(store)
        store.fail(verb, at=2 if verb == "load" else 1, times=None)
        response = respond(store, USES[name], cookie)
        store.heal()

        found: list[dict[str, Any]] = []
        for sent in (cookie, *(set_cookie.partition(";")[0] for set_cookie in response.set_cookies)):
            respond(store, lambda session: found.append(dict(session)), sent)

        if response.status != "200 OK":
            assert (response.status, response.set_cookies) == ("503 Service Unavailable", [])
            assert found == [{"name": "old"}]
        elif not response.set_cookies:
            assert found[0]
        else:
            assert found[0] == {}
            assert bool(found[1]) == ("Max-Age=0" not in response.set_cookies[0])

    def test_the_log_says_what_failed_and_not_for_whom(self, store: FaultyStore, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 11, A-16.5.1: the token is neither there nor in the answer, nor is the reason in the answer."""
        cookie = a_session(store)
        store.fail("load")
        response = respond(store, len, cookie)

        assert "could not be loaded or stored: load: not done, as the test asked" in caplog.text
        assert cookie.removeprefix("session=") not in caplog.text
        assert b"as the test asked" not in response.body


class TestConstruction:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"app": None}, "None is not a WSGI application"),
            ({"app": "tests.apps"}, "is not a WSGI application"),
            ({"store": 5}, "store=5: write a URL, or a store such as SQLiteStore"),
            ({"store": {}}, "write a URL, or a store"),
            ({"store": Path("sessions.sqlite3")}, "write a URL, or a store"),
            ({"store": MemoryStore}, "write a URL, or a store"),
            ({"store": logging}, "write a URL, or a store"),
            ({"store": "sessions.sqlite3"}, "'sessions.sqlite3' is not a kind of store"),
            ({"store": ""}, "is not a kind of store"),
            ({"store": "mongodb://localhost"}, "'mongodb' is not a kind of store"),
            ({"cookie": "sid"}, r"cookie='sid': write CookiePolicy\(name=...\)"),
            ({"cookie": {"name": "sid"}}, r"write CookiePolicy\(name=...\)"),
            ({"cookie": None}, r"write CookiePolicy\(name=...\)"),
            ({"environ_key": "session"}, "environ_key='session': write a text with a dot in it"),
            ({"environ_key": None}, "write a text with a dot"),
            ({"lifetime": timedelta(hours=1)}, r"write Lifetime\(idle=..., absolute=...\)"),
            ({"lifetime": 3600}, "write Lifetime"),
            ({"max_bytes": 10}, "write a number of bytes, at least 1024"),
            ({"max_bytes": "1 MB"}, "write a number of bytes"),
            ({"max_bytes": True}, "write a number of bytes"),
            ({"codec": "json"}, r"codec='json': write MsgpackCodec\(\), JSONCodec\(\) or a codec of your own"),
            ({"codec": JSONCodec}, r"write MsgpackCodec\(\), JSONCodec\(\)"),
        ],
    )
    def test_what_cannot_work_does_not_start(self, options: dict[str, Any], message: str) -> None:
        """Promise 15: the error is raised at once and says what to write instead."""
        arguments: dict[str, Any] = {"app": a_site, "store": MemoryStore()} | options

        with pytest.raises(ConfigurationError, match=message):
            SessionMiddleware(**arguments)

    @pytest.mark.parametrize("option", ["secret", "cookie_name", "httponly", "timeout", "type"])
    def test_an_option_that_there_is_not_is_an_error(self, option: str) -> None:
        """Promise 15: as with any Python function."""
        with pytest.raises(TypeError, match=option):
            SessionMiddleware(a_site, MemoryStore(), **{option: "x"})  # type: ignore[arg-type]

    def test_options_have_names(self) -> None:
        """Style: a call says what its arguments mean."""
        with pytest.raises(TypeError, match="positional"):
            SessionMiddleware(a_site, MemoryStore(), Lifetime.AAL1)  # type: ignore[call-arg]

    def test_the_default_store_is_a_file_beside_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Design, 5: right for one machine; nothing is made before it is needed."""
        monkeypatch.chdir(tmp_path)
        application = SessionMiddleware(a_site)
        assert list(tmp_path.iterdir()) == []

        visit(application, "/visit")
        assert isinstance(application.manager.store, SQLiteStore)
        assert (tmp_path / "sessions.sqlite3").stat().st_mode & 0o777 == 0o600
        application.manager.store.close()

    def test_every_option_is_used(self) -> None:
        """Promise 15: an option with no effect is impossible."""
        store, clock = MemoryStore(), FakeClock(1_900_000_000)
        seen: list[object] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            session = get_session(environ, "my.session")
            session["name"] = "value"
            seen.extend([session.created_at, session.expires_at])
            start_response("200 OK", some_headers())
            return []

        application = SessionMiddleware(
            app,
            store,
            lifetime=Lifetime.AAL3,
            cookie=CookiePolicy(name="sid", samesite="Strict"),
            codec=JSONCodec(),
            max_bytes=1024,
            environ_key="my.session",
            clock=clock,
        )
        response = visit(application)

        assert seen == [1_900_000_000, 1_900_000_000 + 15 * 60]
        assert response.cookie.startswith("sid=")
        assert "SameSite=Strict" in response.set_cookies[0]
        (key,) = store.keys()
        assert b'{"name":"value"}' in (store.load(key) or (b"",))[0]

    def test_attributes_are_those_of_the_application(self) -> None:
        """Design, 5: ``app.route`` goes on working when ``app`` has been wrapped."""

        class Site:
            answer = 42

            def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
                return a_site(environ, start_response)

        application = SessionMiddleware(Site(), MemoryStore())

        assert application.answer == 42
        with pytest.raises(AttributeError, match="question"):
            _ = application.question
        with pytest.raises(AttributeError, match="app"):
            _ = SessionMiddleware.__new__(SessionMiddleware).anything

    @pytest.mark.parametrize("environ", [{}, {"session_middleware.session": {}}, {"beaker.session": {}}])
    def test_without_the_middleware_there_is_no_session(self, environ: dict[str, Any]) -> None:
        """Promise 15: the error says what is missing."""
        with pytest.raises(ConfigurationError, match="wrap the application with SessionMiddleware"):
            get_session(environ)


class TestWarnings:
    def test_a_store_of_one_process_says_so_once_when_there_are_several(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """F-P5: sessions would come and go with the worker that happens to answer."""
        application = SessionMiddleware(a_site, MemoryStore())
        for multiprocess in (False, True, True):
            Gateway().run(application, an_environ() | {"wsgi.multiprocess": multiprocess})
        shared = SQLiteStore(tmp_path / "sessions.sqlite3")
        Gateway().run(SessionMiddleware(a_site, shared), an_environ() | {"wsgi.multiprocess": True})

        assert [record.getMessage()[:44] for record in caplog.records] == ["the store keeps sessions in this process alo"]

    @pytest.mark.parametrize("proto", ["https", "HTTPS", "https, http"])
    def test_a_proxy_that_is_not_trusted_is_mentioned_once(
        self, store: FaultyStore, proto: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Design, "Cookie": the cookie goes out without Secure then, so the log says what to set."""
        application = SessionMiddleware(a_site, store)
        visit(application, "/page", HTTP_X_FORWARDED_PROTO=proto)
        assert caplog.records == []

        for _ in range(2):
            response = visit(application, "/visit", HTTP_X_FORWARDED_PROTO=proto)
        assert [record.message for record in caplog.records if "proxy" in record.message] == [
            "a proxy says https, the server http, so the session cookie is not Secure: let the server trust the proxy"
            " (gunicorn: forwarded_allow_ips), or set CookiePolicy(secure=True)"
        ]
        assert "secure" not in response.set_cookies[0].lower()

    @pytest.mark.parametrize(
        ("policy", "request_headers"),
        [
            (CookiePolicy(), {}),
            (CookiePolicy(), {"HTTP_X_FORWARDED_PROTO": "http"}),
            (CookiePolicy(), {"HTTP_X_FORWARDED_PROTO": "https", "scheme": "https"}),
            (CookiePolicy(secure=True), {"HTTP_X_FORWARDED_PROTO": "https"}),
            (CookiePolicy(secure=False), {"HTTP_X_FORWARDED_PROTO": "https"}),
        ],
    )
    def test_there_is_nothing_to_say_where_nothing_is_wrong(
        self, policy: CookiePolicy, request_headers: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Design, "Cookie": or where someone has decided."""
        visit(SessionMiddleware(a_site, MemoryStore(), cookie=policy), "/visit", **request_headers)

        assert caplog.records == []
