"""What a request costs, and what it tells the browser: every way to use a session, one by one."""

from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from session_middleware import MemoryStore, Session, SessionManager, SessionMiddleware, Store, StoreUnavailable, get_session
from session_middleware.testing import FaultyStore
from session_middleware.tokens import Token
from tests.apps import Act, Gateway, an_environ, list_app, some_headers, visit


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
    "__bool__": bool,
    "get": lambda session: session.get("name"),
    "keys": lambda session: list(session.keys()),
    "items": lambda session: list(session.items()),
    "values": lambda session: list(session.values()),
    "user_id": lambda session: session.user_id,
    "is_new": lambda session: session.is_new,
    "created_at": lambda session: session.created_at,
    "signed_in_at": lambda session: session.signed_in_at,
    "is_gone": lambda session: session.is_gone,
    "last_seen_at": lambda session: session.last_seen_at,
    "expires_at": lambda session: session.expires_at,
    "persistent": lambda session: session.persistent,
    "device_bound": lambda session: session.device_bound,
    "ended": lambda session: session.ended,
    "is_fresh": lambda session: session.is_fresh(60),
    "id": lambda session: session.id,
}


WRITES: dict[str, Callable[[Session], object]] = {
    "__setitem__": lambda session: session.__setitem__("name", "new"),
    "__ior__": lambda session: session.__ior__({"name": "new"}),
    "setdefault": lambda session: session.setdefault("other", "new"),
    "update": lambda session: session.update(name="new"),
    "transact": lambda session: session.transact(lambda data: data.update(name="new")),
    "login": lambda session: session.login("alice"),
    "use": lambda session: session.use(),
    "confirm": lambda session: session.confirm() if session.user_id else session.use(),
}


REMOVALS: dict[str, Callable[[Session], object]] = {
    "__delitem__": lambda session: session.__delitem__("name") if session else None,
    "pop": lambda session: session.pop("name", None),
    "popitem": lambda session: session.popitem() if session else None,
    "clear": lambda session: session.clear(),
    "revert": lambda session: session.revert(),
    "amend": lambda session: session.amend(idle=60.0),
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
    "offers": lambda session: session.offers,
    "describe": lambda session: session.describe,
    "announced": lambda session: session.announced,
    "fault": lambda session: session.fault,
    "modified": lambda session: session.modified,
    "is_over": lambda session: session.is_over,
    "is_socket": lambda session: session.is_socket,
    "state": lambda session: session.state,
    "tells": lambda session: session.tells,
    "belongs_to": lambda session: session.belongs_to(SessionManager(MemoryStore())),
    "keeper": lambda session: session.keeper,
    "start_over": lambda session: session.start_over(),
    "store_now": lambda session: session.store_now(lambda: None),
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

    def test_whatever_uses_the_session_says_vary(self, store: FaultyStore) -> None:
        """Promise 2, V-16, W-30: with a cookie and without; ``in``, ``len``, iteration and truth are uses like any."""
        for name, use in USES.items():
            for cookie in (None, "session=" + "x" * 40, a_session(store)):
                assert (name, respond(store, use, cookie).values("Vary")) == (name, ["Cookie"])

    def test_what_says_nothing_of_the_session_is_no_use_of_it(self, store: FaultyStore) -> None:
        """Promise 1: the answer is the same for everyone, so nothing is loaded and nothing is said."""
        for name, use in INDEPENDENT.items():
            response = respond(store, use, a_session(store))

            assert (name, response.headers) == (name, [*some_headers(), ("Content-Length", "6")])
            assert (name, store.calls) == (name, [])

    def test_truth_is_a_use(self, store: FaultyStore) -> None:
        """W-30: ``if session:`` depends on the cookie like everything else."""
        assert respond(store, bool).values("Vary") == ["Cookie"]

    def test_without_a_cookie_and_without_data_nothing_is_stored(self, store: FaultyStore) -> None:
        """Promise 2: no store call, no record, no Set-Cookie."""
        for name in (*READS, *REMOVALS, *TOKEN_CHANGES):
            assert (name, respond(store, USES[name]).set_cookies, store.calls) == (name, [], [])

    def test_reading_is_one_load(self, store: FaultyStore) -> None:
        """Promise 2: and no Set-Cookie, however often it is read."""
        for name, use in READS.items():

            def twice(session: Session, use: Callable[[Session], object] = use) -> None:
                use(session)
                use(session)

            response = respond(store, twice, a_session(store))
            assert (name, response.set_cookies, verbs(store)) == (name, [], ["load"])

    def test_an_unknown_token_gets_no_cookie(self, store: FaultyStore) -> None:
        """Design, "Cookie": a late response must not wipe the cookie that a sign-in has just set."""
        for name in (*READS, *REMOVALS, "regenerate", "set_lifetime"):
            store.calls.clear()
            response = respond(store, USES[name], f"session={Token.new().reveal()}")
            assert (name, response.set_cookies, verbs(store)) == (name, [], ["load"])

    @pytest.mark.parametrize("name", WRITES)
    def test_an_unknown_token_is_never_adopted(self, store: FaultyStore, name: str) -> None:
        """Promise 11, C-11, V-1: who writes under it gets a token of ours."""
        theirs = Token.new().reveal()
        response = respond(store, WRITES[name], f"session={theirs}")

        reads_marks = ["load"] if name == "login" else []
        assert verbs(store) == ["load", *reads_marks, "create", *reads_marks]
        assert response.token[:12] != theirs[:12]
        assert store.calls[0][1] not in [key for _, key in store.calls[1:]]

    def test_a_cookie_goes_with_no_store_and_never_goes_twice(self, store: FaultyStore) -> None:
        """K-3, V-16, G-16: even where the application calls its page public."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            USES[name](get_session(environ))
            start_response("200 OK", [*some_headers(), ("Cache-Control", "public, max-age=3600")])
            return [b"page"]

        for name in USES:
            for cookie in (None, a_session(store)):
                response = visit(SessionMiddleware(app, store), cookie=cookie)
                expected = ["private, no-store"] if response.set_cookies else ["public, max-age=3600"]

                assert (name, len(response.set_cookies) <= 1) == (name, True)
                assert (name, response.values("Cache-Control")) == (name, expected)
                assert (name, response.values("Vary")) == (name, ["Cookie"])

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

        assert response.token[12:] not in repr((rest, response.body))
        key = store.calls[0][1]
        assert response.token.startswith(key)
        assert respond(store, len, f"session={key}").set_cookies == []
        assert verbs(store) == ["create"]

    def test_a_token_anywhere_but_in_the_cookie_is_ignored(self, store: FaultyStore) -> None:
        """C-5, A-14.2.1: not in the query, not in other headers."""
        cookie = a_session(store)
        elsewhere = {"QUERY_STRING": cookie, "HTTP_AUTHORIZATION": cookie, "HTTP_X_SESSION_ID": cookie, "PATH_INFO": "/"}
        found: list[int] = []
        application = SessionMiddleware(list_app(using(lambda session: found.append(len(session)))), store)
        Gateway().run(application, an_environ() | elsewhere)

        assert found == [0]
        assert store.calls == []


class TestFailures:
    @pytest.mark.parametrize("answered", [True, False])
    def test_a_failing_store_never_touches_the_cookie(self, store: FaultyStore, answered: bool) -> None:
        """Promise 7: no token, no deletion, for whatever the application wanted, and whatever it makes of the failure."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            try:
                USES[name](get_session(environ))
            except StoreUnavailable:
                if not answered:
                    raise
            start_response("200 OK", some_headers())
            return [b"page"]

        for name in USES:
            cookie = a_session(store)
            store.fail(times=None)
            response = visit(SessionMiddleware(app, store), cookie=cookie)
            store.heal()
            found: list[str] = []
            respond(store, lambda session: found.append(session["name"]), cookie)  # noqa: B023 - called at once

            assert (name, response.set_cookies) == (name, [])
            assert (name, "no-store" in response.values("Cache-Control")[0]) == (name, True)
            assert (name, found) == (name, ["old"])

    @pytest.mark.parametrize("verb", ["create", "update", "load"])
    @pytest.mark.parametrize("name", [*WRITES, "regenerate", "invalidate", "set_lifetime"])
    def test_no_cookie_goes_out_for_what_was_not_stored(self, store: FaultyStore, name: str, verb: str) -> None:
        """Promises 6 and 7, G-15: whichever call of the commit fails."""
        cookie = a_session(store)
        store.fail(verb, at=2 if verb == "load" else 1, times=None)
        response = respond(store, USES[name], cookie)
        store.heal()

        def opened(sent: str) -> dict[str, Any]:
            found: list[dict[str, Any]] = []
            respond(store, lambda session: found.append({} if session.is_gone else dict(session)), sent)
            return found[0]

        if response.status != "200 OK":
            assert (response.status, response.set_cookies) == ("503 Service Unavailable", [])
            assert opened(cookie) == {"name": "old"}
        elif not response.set_cookies:
            assert opened(cookie)
        elif "Max-Age=0" in response.set_cookies[0]:
            assert opened(cookie) == {}
        else:
            assert opened(response.cookie)["name"] == "old"
            assert response.cookie == cookie or opened(cookie) == {}

    def test_the_log_says_what_failed_and_not_for_whom(self, store: FaultyStore, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 11, A-16.5.1: the token is neither there nor in the answer, nor is the reason in the answer."""
        cookie = a_session(store)
        store.fail("load")
        response = respond(store, len, cookie)

        assert "could not be loaded or stored: load: not done, as the test asked" in caplog.text
        assert cookie.removeprefix("session=") not in caplog.text
        assert b"as the test asked" not in response.body
