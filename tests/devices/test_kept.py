"""When a session keeps what its browser is called, and what that costs."""

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from session_middleware import ConfigurationError, MemoryStore, SessionInfo, SessionMiddleware, Store, get_session
from session_middleware.moving import MovingStore
from session_middleware.testing import FakeClock, FaultyStore
from tests.apps import Gateway, a_site, visit
from tests.takeover.library import OLD, Library


class Shop:
    """A site that calls its browsers as a header of theirs says, and one browser."""

    def __init__(self, store: Store, app: Any = a_site, **options: Any) -> None:
        self.store = FaultyStore(store)
        self.clock = FakeClock()
        self.asked = 0
        self.cookie: str | None = None
        given: dict[str, Any] = {"describe": self.describe, "clock": self.clock} | options
        self.middleware = SessionMiddleware(app, self.store, **given)

    def describe(self, environ: WSGIEnvironment) -> str | None:
        self.asked += 1
        name: str | None = environ.get("HTTP_X_DEVICE")
        if name == "unknown":
            raise LookupError(name)
        return name

    def get(self, path: str, device: str | None = None) -> Gateway:
        """Make a request, and keep the cookie."""
        more = {} if device is None else {"HTTP_X_DEVICE": device}
        answer = visit(self.middleware, path, cookie=self.cookie, **more)
        for header in answer.set_cookies:
            if header.startswith("session="):
                self.cookie = header.partition(";")[0]
        return answer

    def calls(self, path: str, device: str | None = None) -> list[str]:
        """Make a request, and return the verbs that it asks of the store."""
        before = len(self.store.calls)
        self.get(path, device)
        return [verb for verb, _ in self.store.calls[before:]]

    @property
    def found(self) -> SessionInfo | None:
        """What is known of the session that the browser has a cookie for."""
        return None if self.cookie is None else self.middleware.manager.find(self.cookie.partition("=")[2][:12])

    @property
    def info(self) -> SessionInfo:
        assert self.found is not None
        return self.found

    @property
    def device(self) -> str | None:
        return self.info.device


@pytest.fixture
def shop(store: Store) -> Shop:
    return Shop(store)


@pytest.fixture
def quick() -> Shop:
    return Shop(MemoryStore())


class TestWhen:
    def test_it_is_kept_at_sign_in(self, shop: Shop) -> None:
        """By the write that there is anyway; on the session that was anonymous, and without one before."""
        shop.get("/visit", "a phone")
        verbs = shop.calls("/login/alice", "a phone")
        assert shop.device == "a phone"
        assert [verb for verb in verbs if verb in ("create", "update")] == ["update"]

        another = Shop(shop.store)
        another.get("/login/alice", "a laptop")
        assert another.device == "a laptop"

    def test_a_read_brings_what_has_changed_with_the_note_that_the_session_was_used(self, shop: Shop) -> None:
        """Promise 2: not before the note is due, and by its one write."""
        shop.get("/login/alice", "a phone")
        shop.clock.advance(59)
        assert shop.calls("/read", "a laptop") == ["load"]
        assert shop.device == "a phone"
        shop.clock.advance(1)
        assert shop.calls("/read", "a laptop") == ["load", "update"]
        assert shop.device == "a laptop"
        assert shop.calls("/read", "a phone") == ["load"]

        assert shop.device == "a laptop"

    @pytest.mark.parametrize("path", ["/visit", "/token", "/remember", "/login/alice"])
    def test_whatever_is_written_brings_what_has_changed(self, shop: Shop, path: str) -> None:
        """At once, and by one write."""
        shop.get("/login/alice", "a phone")
        verbs = shop.calls(path, "a laptop")

        assert verbs.count("update") == 1
        assert "create" not in verbs
        assert shop.device == "a laptop"

    def test_two_devices_with_one_cookie_write_no_more_often_than_one(self, quick: Shop) -> None:
        """However they alternate: a note in each interval of a minute."""
        quick.get("/login/alice", "a phone")
        quick.store.calls.clear()
        for number in range(600):
            quick.clock.advance(1)
            quick.get("/read", "a laptop" if number % 2 else "a phone")
        verbs = [verb for verb, _ in quick.store.calls]

        assert verbs.count("load") == 600
        assert verbs.count("update") == len(verbs) - 600 == 10

    def test_a_change_that_comes_to_nothing_is_not_written_for_it(self, quick: Shop) -> None:
        """What is equal to what is stored writes nothing, as without."""

        def same(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            get_session(environ)["a"] = 1
            return a_site(environ, start_response)

        shop = Shop(MemoryStore(), same)
        shop.get("/login/alice", "a phone")

        assert shop.calls("/read", "a laptop") == ["load"]
        assert shop.device == "a phone"

    def test_another_user_brings_another_session(self, quick: Shop) -> None:
        """Nothing of the first one is there."""
        quick.get("/login/alice", "a phone")
        first = quick.info.id
        quick.get("/login/bob")

        assert quick.info.id != first
        assert (quick.info.user_id, quick.device) == ("bob", None)

    @pytest.mark.parametrize("path", ["/visit", "/token", "/remember"])
    def test_sessions_of_nobody_have_none(self, shop: Shop, path: str) -> None:
        """Nor is anybody asked for it, however long they are used."""
        shop.get("/visit", "a phone")
        for _ in range(3):
            shop.clock.advance(60)
            shop.get(path, "a phone")

        assert shop.device is None
        assert shop.asked == 0


class TestWhat:
    def test_nothing_takes_the_place_of_what_was_there(self, quick: Shop) -> None:
        """When something is written anyway."""
        quick.get("/login/alice", "a phone")
        quick.get("/visit")

        assert quick.device is None

    def test_what_fails_changes_no_response(self, quick: Shop, caplog: pytest.LogCaptureFixture) -> None:
        """At a sign-in nothing is kept, later what was there."""
        answer = quick.get("/login/alice", "unknown")
        assert (answer.status, answer.body, quick.device) == ("200 OK", b"alice", None)
        quick.get("/visit", "a phone")
        answer = quick.get("/visit", "unknown")

        assert (answer.status, answer.body, quick.device) == ("200 OK", b"alice", "a phone")
        assert [record.getMessage() for record in caplog.records] == [
            "describe failed, and the session keeps what it had: LookupError"
        ]

    def test_a_store_that_refuses_the_note_changes_no_response(self, shop: Shop) -> None:
        """The next request tries again."""
        shop.get("/login/alice", "a phone")
        shop.clock.advance(60)
        shop.store.fail("update")
        answer = shop.get("/read", "a laptop")
        assert (answer.status, answer.body) == ("200 OK", b"alice")
        assert shop.device == "a phone"
        shop.get("/read", "a laptop")

        assert shop.device == "a laptop"

    def test_whoever_does_not_ask_keeps_what_others_have_kept(self, shop: Shop) -> None:
        """A script, a site where the option is off, a console: whatever they write."""
        shop.get("/login/alice", "a phone")
        without = Shop(shop.store, describe=None)
        without.cookie = shop.cookie
        for path in ("/visit", "/token", "/remember", "/login/alice"):
            without.get(path, "a laptop")
            assert without.device == "a phone"

    def test_it_does_not_go_on_to_the_session_after_the_end(self, quick: Shop) -> None:
        """Signing out leaves nothing of it."""
        quick.get("/login/alice", "a phone")
        quick.get("/logout", "a phone")

        assert quick.found is None

    def test_it_moves_with_the_session_to_another_store(self) -> None:
        """A store hands on what it is given, and asks nobody."""
        old, new = MemoryStore(), MemoryStore()
        shop = Shop(old)
        shop.get("/login/alice", "a phone")
        moving = Shop(MovingStore(new, old), describe=None)
        moving.cookie = shop.cookie
        moving.get("/visit")
        moved = Shop(new)
        moved.cookie = shop.cookie

        assert (shop.found, moved.device) == (None, "a phone")

    def test_a_session_of_another_library_has_it_from_its_first_request(self) -> None:
        """It is renewed then, so there is a write."""
        shop = Shop(MemoryStore(), carry_over=Library())
        shop.cookie = OLD
        shop.get("/read", "a phone")

        assert (shop.info.user_id, shop.device) == ("7", "a phone")

    def test_what_cannot_be_called_does_not_start(self) -> None:
        """Promise 15: before a store is opened."""
        with pytest.raises(ConfigurationError, match=r"describe=5: write a function of the environ"):
            SessionMiddleware(a_site, "sqlite:////nowhere/at/all.sqlite3", describe=5)  # type: ignore[arg-type]


def several(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Stores more than once in one request: by a transaction, at the response, and after it has started."""
    session = get_session(environ)
    if environ["PATH_INFO"] == "/login":
        session.login("alice")
    session.transact(lambda data: data.update(a=data.get("a", 0) + 1))
    session["b"] = session["a"]
    start_response("200 OK", [])
    yield b"some"
    session["c"] = session["a"]
    yield b"more"


class TestAsking:
    def test_the_callable_is_asked_once_in_a_request(self) -> None:
        """However often that stores."""
        shop = Shop(MemoryStore(), several)
        shop.get("/login", "a phone")
        assert (shop.asked, shop.device) == (1, "a phone")
        verbs = shop.calls("/more", "a laptop")

        assert verbs.count("update") == 3
        assert "create" not in verbs
        assert (shop.asked, shop.device) == (2, "a laptop")

    def test_it_is_asked_once_however_often_the_write_is_refused(self) -> None:
        """Each try is by the rules for what is there by then."""
        shop = Shop(MemoryStore())
        others: list[Callable[[], object]] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            get_session(environ)["mine"] = environ["HTTP_X_DEVICE"]
            if others:
                others.pop()()
            return a_site(environ, start_response)

        shop.middleware.app = app
        shop.get("/login/alice", "a phone")
        shop.asked = 0
        others.append(lambda: visit(shop.middleware, "/visit", cookie=shop.cookie, HTTP_X_DEVICE="a tablet"))
        verbs = shop.calls("/visit", "a laptop")

        assert verbs.count("update") == 3
        assert (shop.asked, shop.device) == (2, "a laptop")

    def test_reads_within_the_interval_do_not_ask(self, quick: Shop) -> None:
        """Nor do requests that do not touch the session."""
        quick.get("/login/alice", "a phone")
        quick.asked = 0
        for number in range(50):
            quick.clock.advance(1)
            quick.get("/read" if number % 2 else "/static", "a laptop")

        assert quick.asked == 0

    @pytest.mark.parametrize("path", ["/read", "/static"])
    def test_a_request_that_is_over_leaves_nothing_behind(self, quick: Shop, path: str) -> None:
        """What is kept of the environ goes with the session of the request, and no circle keeps that."""
        quick.get("/login/alice", "a phone")
        gone: list[Any] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            gone.append(weakref.ref(get_session(environ)))
            return a_site(environ, start_response)

        quick.middleware.app = app
        gc.disable()
        try:
            quick.get(path, "a phone")
            assert gone[0]() is None
        finally:
            gc.enable()

    def test_when_the_request_is_over_the_environ_is_let_go(self, quick: Shop) -> None:
        """Though the server may keep its own, and the session in it."""
        kept: list[Any] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            kept.append(get_session(environ))
            return a_site(environ, start_response)

        quick.middleware.app = app
        quick.get("/login/alice", "a phone")
        quick.get("/read", "a phone")

        assert [session.describe._environ for session in kept] == [None, None]

    def test_beside_an_answer_of_its_own_for_outages(self) -> None:
        """Which is given the environ as it came, cookies and all."""
        seen = []

        def unavailable(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            seen.append(environ)
            start_response("503 Closed", [])
            return [b""]

        shop = Shop(MemoryStore(), unavailable=unavailable)
        shop.get("/login/alice", "a phone")
        shop.store.fail("load")

        assert shop.get("/read", "a phone").status == "503 Closed"
        assert seen[0]["HTTP_COOKIE"] == shop.cookie
