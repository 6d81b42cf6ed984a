"""The corner cases of PEP 3333, W-1 to W-33, over every store that comes with the core."""

import gc
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from webtest import lint

from session_middleware import (
    ConfigurationError,
    CookiePolicy,
    HeadersAlreadySent,
    MemoryStore,
    PayloadError,
    SessionMiddleware,
    SQLiteStore,
    StoreUnavailable,
    get_session,
)
from session_middleware.testing import FaultyStore
from tests.apps import SHAPES, Act, Blocks, Gateway, Shape, an_environ, generator_app, list_app, some_headers, visit

ADDED = {"Vary", "Set-Cookie", "Cache-Control"}


def nothing(environ: WSGIEnvironment) -> None:
    """Leave the session alone."""


def read(environ: WSGIEnvironment) -> None:
    get_session(environ).get("name")


def write(environ: WSGIEnvironment) -> None:
    get_session(environ)["name"] = "new"


def login(environ: WSGIEnvironment) -> None:
    get_session(environ).login("alice")


def regenerate(environ: WSGIEnvironment) -> None:
    get_session(environ).regenerate()


def invalidate(environ: WSGIEnvironment) -> None:
    get_session(environ).invalidate()


ACTS: list[Act] = [nothing, read, write, login, regenerate, invalidate]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FaultyStore]:
    """A store of each kind, which notes its calls and fails when told to."""
    if request.param == "memory":
        yield FaultyStore(MemoryStore())
    else:
        sqlite = SQLiteStore(tmp_path / "sessions.sqlite3")
        yield FaultyStore(sqlite)
        sqlite.close()


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> Shape:
    return SHAPES[request.param]


def a_session(store: FaultyStore) -> str:
    """Store a session and return its Cookie header."""

    def fill(environ: WSGIEnvironment) -> None:
        get_session(environ).update(name="old", cart={"items": [1]})

    cookie = visit(SessionMiddleware(list_app(fill), store)).cookie
    store.calls.clear()
    return cookie


def stored(store: FaultyStore, cookie: str) -> dict[str, Any]:
    """Return what the session of a Cookie header holds; empty if there is none."""
    found: list[dict[str, Any]] = []
    visit(SessionMiddleware(list_app(lambda environ: found.append(dict(get_session(environ)))), store), cookie=cookie)
    return found[0]


def verbs(store: FaultyStore) -> list[str]:
    """Return what the store was asked to do, but for the sweeping that creating a session brings now and then."""
    return [verb for verb, _ in store.calls if verb != "sweep"]


def method_for(shape: Shape) -> str:
    return "HEAD" if shape is SHAPES["head"] else "GET"


def late(act: Act, *, status: str = "200 OK") -> WSGIApplication:
    """Return an application that acts after its first block."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response(status, some_headers())
        yield b"first"
        act(environ)
        yield b"second"

    return app


def returning(result: Iterable[bytes], act: Act = nothing) -> WSGIApplication:
    """Return an application that returns that very object."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        start_response("200 OK", some_headers())
        return result

    return app


class TestConformance:
    def test_both_linters_find_nothing_on_either_side(
        self, store: FaultyStore, shape: Shape, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """W-33, promise 14: whatever the shape of the application and whatever it does to the session."""

        def linted(app: WSGIApplication) -> WSGIApplication:
            return validator(lint.middleware(app))

        def bare(app: WSGIApplication) -> WSGIApplication:
            return app

        for act in ACTS:
            for outside, inside in ((linted, bare), (bare, linted), (linted, linted)):
                for cookie in (None, a_session(store)):
                    app = outside(SessionMiddleware(inside(shape(act)), store))
                    response = visit(app, cookie=cookie, method=method_for(shape))

                    assert response.status[:1] in "234"
        gc.collect(1)
        assert capsys.readouterr().err == ""

    def test_an_untouched_session_changes_nothing(self, store: FaultyStore, shape: Shape) -> None:
        """W-17, W-29, promise 1: status, headers and blocks are those of the application, with a cookie and without."""
        bare = visit(shape(nothing), method=method_for(shape))
        for cookie in (None, a_session(store)):
            wrapped = visit(SessionMiddleware(shape(nothing), store), cookie=cookie, method=method_for(shape))

            assert (wrapped.status, wrapped.headers) == (bare.status, bare.headers)
            assert wrapped.blocks == bare.blocks
        assert store.calls == []

    def test_a_used_session_adds_three_headers_at_most(self, store: FaultyStore, shape: Shape) -> None:
        """W-15, W-17, W-20: status, body and the application's own headers stay, with their order, case and number."""
        bare = visit(shape(nothing), method=method_for(shape))
        for act in ACTS:
            for cookie in (None, a_session(store)):
                wrapped = visit(SessionMiddleware(shape(act), store), cookie=cookie, method=method_for(shape))

                assert (wrapped.status, wrapped.blocks) == (bare.status, bare.blocks)
                assert wrapped.headers[: len(bare.headers)] == bare.headers
                added = [name for name, _ in wrapped.headers[len(bare.headers) :]]
                assert set(added) <= ADDED
                assert len(set(added)) == len(added)

    def test_what_is_added_is_printable_ascii(self, store: FaultyStore, shape: Shape) -> None:
        """W-27, W-28: no control characters, DEL included, nothing beyond Latin-1, no hop-by-hop headers."""
        for act in ACTS:
            response = visit(SessionMiddleware(shape(act), store), cookie=a_session(store), method=method_for(shape))
            values = [value for name, value in response.headers if name in ADDED]

            assert all(value.isascii() and value.isprintable() for value in values)


class TestCommit:
    def test_a_change_is_stored_and_announced_before_the_response_starts(self, store: FaultyStore, shape: Shape) -> None:
        """W-1, W-2, W-6, promise 6: the store has it when status and headers leave, wherever they come from."""
        seen: list[list[str]] = []
        gateway = Gateway(on_start=lambda: seen.append(verbs(store)))
        gateway.run(SessionMiddleware(shape(write), store), an_environ(method=method_for(shape)))

        assert all(verbs == ["create"] for verbs in seen)
        assert len(seen) == gateway.starts
        assert stored(store, gateway.cookie) == {"name": "new"}

    def test_a_change_to_an_existing_session_needs_no_cookie(self, store: FaultyStore, shape: Shape) -> None:
        """W-1, W-2, W-6: one load, one update, and nothing for the browser to learn."""
        cookie = a_session(store)
        response = visit(SessionMiddleware(shape(write), store), cookie=cookie, method=method_for(shape))

        assert verbs(store) == ["load", "update"]
        assert (response.set_cookies, response.values("Vary")) == ([], ["Cookie"])
        assert stored(store, cookie)["name"] == "new"

    def test_an_existing_session_is_stored_again_when_it_changes_late(self, store: FaultyStore) -> None:
        """W-3: what is written after the first byte is stored, too."""
        cookie = a_session(store)
        response = visit(SessionMiddleware(late(write), store), cookie=cookie)

        assert response.body == b"firstsecond"
        assert stored(store, cookie)["name"] == "new"

    def test_a_late_change_is_stored_before_the_end_is_seen(self, store: FaultyStore) -> None:
        """Promise 6: who has read the response to its end finds in the session what it did, though close() comes later."""
        cookie = a_session(store)
        blocks = iter(SessionMiddleware(late(write), store)(an_environ(cookie=cookie), lambda *_: bytes))
        assert b"".join(blocks) == b"firstsecond"

        assert stored(store, cookie)["name"] == "new"
        cast("Any", blocks).close()

    def test_early_and_late_changes_are_both_stored(self, store: FaultyStore) -> None:
        """W-3: a nested change before the first byte, one after it, and one after the last."""
        cookie = a_session(store)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", some_headers())
            items = get_session(environ)["cart"]["items"]
            for number in (2, 3):
                items.append(number)
                yield b"block"
            items.append(4)

        visit(SessionMiddleware(app, store), cookie=cookie)

        assert stored(store, cookie)["cart"] == {"items": [1, 2, 3, 4]}

    @pytest.mark.parametrize("result", [[], (b"two",), iter([b"two"])])
    def test_a_change_after_write_is_stored(self, store: FaultyStore, result: Iterable[bytes]) -> None:
        """W-3, W-12: the response has started with write(), whatever is returned afterwards."""
        cookie = a_session(store)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            send = start_response("200 OK", some_headers())
            get_session(environ)["cart"]["items"].append(2)
            send(b"one")
            write(environ)
            return result

        visit(SessionMiddleware(app, store), cookie=cookie)

        assert stored(store, cookie) == {"name": "new", "cart": {"items": [1, 2]}}

    def test_a_change_after_write_is_dropped_if_an_exception_escapes(self, store: FaultyStore) -> None:
        """W-11, promise 16: what was stored with the first byte stays, what came later goes."""
        cookie = a_session(store)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            send = start_response("200 OK", some_headers())
            get_session(environ)["cart"]["items"].append(2)
            send(b"one")
            write(environ)
            raise LookupError

        with pytest.raises(LookupError):
            visit(SessionMiddleware(app, store), cookie=cookie)
        assert stored(store, cookie) == {"name": "old", "cart": {"items": [1, 2]}}

    def test_a_late_change_outlives_a_client_that_went_away(self, store: FaultyStore) -> None:
        """W-3, W-13: the server closes early; what was done until then is stored."""
        cookie = a_session(store)
        Gateway().run(SessionMiddleware(late(write), store), an_environ(cookie=cookie), most=2)

        assert stored(store, cookie)["name"] == "new"

    def test_a_late_change_that_cannot_be_stored_is_logged(
        self, store: FaultyStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """W-3: the response is on its way, so there is only the log to tell."""
        cookie = a_session(store)
        store.fail("update")
        response = visit(SessionMiddleware(late(write), store), cookie=cookie)

        assert response.body == b"firstsecond"
        assert "is lost" in caplog.text
        assert response.status == "200 OK"

    @pytest.mark.parametrize(
        "act",
        [
            write,
            login,
            lambda environ: get_session(environ).setdefault("name", "new"),
            lambda environ: get_session(environ).transact(lambda data: data.update(name="new")),
            regenerate,
            lambda environ: get_session(environ).set_lifetime(persistent=True),
        ],
        ids=["set", "login", "setdefault", "transact", "regenerate", "set_lifetime"],
    )
    def test_what_needs_a_cookie_is_refused_when_it_is_too_late(self, store: FaultyStore, act: Act) -> None:
        """W-4: a new session, or a new token, raises at the call, into the application; nothing is stored."""
        with pytest.raises(HeadersAlreadySent):
            visit(SessionMiddleware(late(act), store))

        assert store.calls == []

    @pytest.mark.parametrize("act", [login, regenerate])
    def test_a_late_new_token_leaves_the_session_as_it_was(self, store: FaultyStore, act: Act) -> None:
        """W-4: the token in the browser goes on opening the session."""
        cookie = a_session(store)
        with pytest.raises(HeadersAlreadySent):
            visit(SessionMiddleware(late(act), store), cookie=cookie)

        assert stored(store, cookie)["name"] == "old"

    def test_a_late_end_is_an_end_at_once(self, store: FaultyStore) -> None:
        """W-5: the store forgets the session at the call; only the cookie stays, and opens nothing."""
        cookie = a_session(store)
        found: list[dict[str, Any]] = []

        def act(environ: WSGIEnvironment) -> None:
            get_session(environ).invalidate()
            found.append(stored(store, cookie))

        response = visit(SessionMiddleware(late(act), store), cookie=cookie)

        assert found == [{}]
        assert response.set_cookies == []

    def test_headers_that_replace_the_first_ones_carry_the_cookie_again(self, store: FaultyStore) -> None:
        """W-7: an error page after an empty block does not cost the browser its new token."""
        cookie = a_session(store)
        response = visit(SessionMiddleware(SHAPES["late_error_page"](regenerate), store), cookie=cookie)

        assert (response.starts, response.status) == (2, "404 Not Found")
        assert response.values("Vary") == ["Cookie"]
        assert response.values("Cache-Control") == ["private, no-store"]
        assert stored(store, response.cookie)["name"] == "old"
        assert response.cookie != cookie

    def test_a_second_start_response_is_an_error_and_stores_nothing(self, store: FaultyStore) -> None:
        """W-8: as at a server; without exc_info it is a programming error."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            write(environ)
            start_response("200 OK", some_headers())
            start_response("200 OK", some_headers())
            return []

        with pytest.raises(AssertionError, match="second time"):
            visit(SessionMiddleware(app, store))
        assert store.calls == []

    def test_headers_are_copied_when_they_are_given(self, store: FaultyStore) -> None:
        """W-15: neither the application's list nor the one for the server is anybody else's."""
        theirs = some_headers()

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            write(environ)
            start_response("200 OK", theirs)
            return []

        response = visit(SessionMiddleware(app, store))

        assert theirs == some_headers()
        assert response.headers is not theirs


class TestErrors:
    def test_an_exception_after_the_first_byte_goes_to_the_server(self, store: FaultyStore) -> None:
        """W-9: the server raises exc_info through us, with the application's traceback, and no object is kept by it."""
        gone: list[weakref.ref[Blocks]] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            kept = Blocks()
            gone.append(weakref.ref(kept))
            start_response("200 OK", some_headers())
            read(environ)
            yield b"first"
            try:
                fail_deep_inside()
            except LookupError:
                exc_info = sys.exc_info()
                try:
                    start_response("500 Internal Server Error", some_headers(), exc_info)
                finally:
                    del exc_info

        gc.collect()
        gc.disable()
        try:
            with pytest.raises(LookupError) as caught:
                visit(SessionMiddleware(app, store), cookie=a_session(store))
            assert "fail_deep_inside" in [entry.name for entry in caught.traceback]
            assert gone[0]() is not None
            del caught

            assert gone[0]() is None
        finally:
            gc.enable()

    @pytest.mark.parametrize("most", [None, 0])
    def test_exc_info_before_the_first_byte_is_not_kept(self, store: FaultyStore, most: int | None) -> None:
        """W-9, W-14: nor is it when the client goes away before the response starts."""
        gone: list[weakref.ref[Blocks]] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            kept = Blocks()
            gone.append(weakref.ref(kept))
            try:
                raise LookupError
            except LookupError:
                start_response("404 Not Found", some_headers(), sys.exc_info())
            return iter([b"not found"])

        gc.collect()
        gc.disable()
        try:
            Gateway().run(SessionMiddleware(app, store), an_environ(), most=most)

            assert gone[0]() is None
        finally:
            gc.enable()

    def test_an_error_page_before_the_first_byte_replaces_the_page(self, store: FaultyStore) -> None:
        """W-10: the new status and headers go out, once, and the session with them."""
        response = visit(SessionMiddleware(SHAPES["error_page"](write), store))

        assert (response.starts, response.status, response.values("X-Dropped")) == (1, "404 Not Found", [])
        assert stored(store, response.cookie) == {"name": "new"}

    @pytest.mark.parametrize("act", [write, login, regenerate])
    @pytest.mark.parametrize("failing", ["list", "generator", "write", "exc_info"])
    def test_a_server_error_changes_nothing(self, store: FaultyStore, failing: str, act: Act) -> None:
        """W-10, promise 16: neither for a browser without a session nor for one with."""
        cookie = a_session(store)
        for sent in (None, cookie):
            response = visit(SessionMiddleware(FAILING[failing](act), store), cookie=sent)

            assert response.status == "500 Internal Server Error"
            assert response.set_cookies == []
        assert set(verbs(store)) == {"load"}
        assert stored(store, cookie) == {"name": "old", "cart": {"items": [1]}}

    @pytest.mark.parametrize("failing", ["list", "generator", "write", "exc_info"])
    def test_a_server_error_ends_what_was_ended(self, store: FaultyStore, failing: str) -> None:
        """W-10, promises 5 and 16: and what is written afterwards, to a new session, is dropped like the rest."""

        def act(environ: WSGIEnvironment) -> None:
            get_session(environ).invalidate()
            write(environ)

        cookie = a_session(store)
        response = visit(SessionMiddleware(FAILING[failing](act), store), cookie=cookie)

        assert "Max-Age=0" in response.set_cookies[0]
        assert stored(store, cookie) == {}

    def test_a_server_error_drops_late_changes_too(self, store: FaultyStore) -> None:
        """Promise 16: the session may be used for the first time when the status has long left."""
        cookie = a_session(store)
        visit(SessionMiddleware(late(write, status="503 Service Unavailable"), store), cookie=cookie)

        assert stored(store, cookie)["name"] == "old"

    @pytest.mark.parametrize("where", ["call", "started", "first", "empty", "later", "close"])
    def test_an_escaping_exception_goes_on_unchanged_and_changes_nothing(self, store: FaultyStore, where: str) -> None:
        """W-11, promise 16: the very object, wherever it is raised; pending changes are dropped."""
        cookie, error = a_session(store), LookupError("as it was")

        with pytest.raises(LookupError) as caught:
            visit(SessionMiddleware(raising(error, where, write), store), cookie=cookie)

        assert caught.value is error
        assert stored(store, cookie)["name"] == "old"

    @pytest.mark.parametrize("where", ["call", "started", "first", "empty", "later", "close"])
    def test_an_escaping_exception_ends_what_was_ended(self, store: FaultyStore, where: str) -> None:
        """W-11, promises 5 and 16: logging out works, whatever comes after it."""
        cookie = a_session(store)

        with pytest.raises(LookupError):
            visit(SessionMiddleware(raising(LookupError(), where, invalidate), store), cookie=cookie)

        assert stored(store, cookie) == {}

    def test_an_exception_that_the_server_swallows_is_no_excuse(self, store: FaultyStore) -> None:
        """W-11: whatever inherits from BaseException, such as a worker's time limit, is like any other exception."""
        cookie, error = a_session(store), KeyboardInterrupt()

        with pytest.raises(KeyboardInterrupt):
            visit(SessionMiddleware(raising(error, "first", write), store), cookie=cookie)

        assert stored(store, cookie)["name"] == "old"

    def test_a_value_that_cannot_be_stored_is_the_applications_error(self, store: FaultyStore, shape: Shape) -> None:
        """Promises 9 and 16: it is raised before any byte is sent, and nothing changes; what was returned is closed."""
        cookie = a_session(store)
        app, results = noting(shape(lambda environ: get_session(environ).update(name=object())))
        gateway = Gateway()

        with pytest.raises(PayloadError, match=r"session\['name'\]"):
            gateway.run(SessionMiddleware(app, store), an_environ(cookie=cookie, method=method_for(shape)))
        assert gateway.starts == 0
        assert all(is_closed(result) for result in results)
        assert stored(store, cookie)["name"] == "old"

    def test_a_value_can_be_put_right_after_write_refused_it(self, store: FaultyStore) -> None:
        """W-12: write() raises it into the application, which may go on."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            session = get_session(environ)
            session["name"] = object()
            send = start_response("200 OK", some_headers())
            with pytest.raises(PayloadError):
                send(b"one")
            session["name"] = "new"
            send(b"two")
            return []

        response = visit(SessionMiddleware(app, store))

        assert response.body == b"two"
        assert stored(store, response.cookie) == {"name": "new"}


def fail_deep_inside() -> None:
    raise LookupError


def failing_list(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        start_response("500 Internal Server Error", some_headers())
        return [b"error"]

    return app


def failing_generator(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("500 Internal Server Error", some_headers())
        act(environ)
        yield b"error"

    return app


def failing_write(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        start_response("500 Internal Server Error", some_headers())(b"error")
        return []

    return app


def failing_exc_info(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", some_headers())
        act(environ)
        try:
            fail_deep_inside()
        except LookupError:
            start_response("500 Internal Server Error", some_headers(), sys.exc_info())
        return [b"error"]

    return app


FAILING: dict[str, Shape] = {
    "list": failing_list,
    "generator": failing_generator,
    "write": failing_write,
    "exc_info": failing_exc_info,
}


class Raising(Blocks):
    """An iterable that raises at its first block, or when it is closed."""

    def __init__(self, error: BaseException, *, closing: bool) -> None:
        super().__init__()
        self.error, self.closing = error, closing

    def __next__(self) -> bytes:
        if self.closing:
            raise StopIteration
        raise self.error

    def close(self) -> None:
        super().close()
        if self.closing:
            raise self.error


def raising(error: BaseException, where: str, act: Act) -> WSGIApplication:
    """Return an application that acts, and raises the error *where* it is told."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if where == "call":
            act(environ)
            raise error
        start_response("200 OK", some_headers())
        if where in ("empty", "later"):
            return blocks(environ)
        if where == "close":
            return Acting(act, environ, error)
        act(environ)
        if where == "started":
            raise error
        return Raising(error, closing=False)

    def blocks(environ: WSGIEnvironment) -> Iterator[bytes]:
        if where == "later":
            yield b"first"
        act(environ)
        raise error

    return app


class Acting(Raising):
    """An iterable that acts and then raises when it is closed."""

    def __init__(self, act: Act, environ: WSGIEnvironment, error: BaseException) -> None:
        super().__init__(error, closing=True)
        self.act, self.environ = act, environ

    def close(self) -> None:
        self.act(self.environ)
        super().close()


def noting(app: WSGIApplication) -> tuple[WSGIApplication, list[Iterable[bytes]]]:
    """Return the application, and a list that what it returns is put in."""
    results: list[Iterable[bytes]] = []

    def noting_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        results.append(app(environ, start_response))
        return results[-1]

    return noting_app, results


def is_closed(result: Any) -> bool:
    """Tell whether what an application returned was closed, once if that can be told; true of what has no close()."""
    match result:
        case Blocks():
            return result.closed == 1
        case FileWrapper():
            return bool(result.filelike.closed)
        case BytesIO():
            return result.closed
    return getattr(result, "gi_frame", None) is None


class TestUnavailable:
    def test_a_store_that_fails_is_a_503_with_nothing_of_the_application(self, store: FaultyStore, shape: Shape) -> None:
        """W-31, promises 6 and 7: no cookie, no byte of its body, no header of its own; what it returned is closed."""
        for verb, act in (
            ("create", write),
            ("load", read),
            ("update", write),
            ("create", login),
            (None, invalidate),
            (None, write),
        ):
            cookie = a_session(store)
            app, results = noting(shape(act))
            store.fail(*filter(None, [verb]), times=None)
            sent = None if (verb, act) == ("create", write) else cookie
            gateway = visit(SessionMiddleware(app, store), cookie=sent, method=method_for(shape))
            store.heal()

            assert (gateway.status, gateway.starts) == ("503 Service Unavailable", 1)
            assert dict(gateway.headers) == {
                "Content-Type": "text/plain; charset=utf-8",
                "Content-Length": str(len(UNAVAILABLE)),
                "Cache-Control": "no-store",
                "Retry-After": "5",
            }
            assert gateway.body == (b"" if shape is SHAPES["head"] else UNAVAILABLE)
            assert all(is_closed(result) for result in results)
            assert stored(store, cookie)["name"] == "old"

    def test_each_503_has_headers_of_its_own(self, store: FaultyStore) -> None:
        """W-15: a server, or a middleware between, may add to the list that it gets."""
        application = SessionMiddleware(list_app(write), store)
        store.fail("create", times=None)
        first = visit(application)
        first.headers.append(("X-Request", "1"))

        assert visit(application).headers == first.headers[:-1]

    def test_a_503_satisfies_both_linters(
        self, store: FaultyStore, shape: Shape, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """W-31, W-33: on both sides."""
        app = SessionMiddleware(validator(lint.middleware(shape(write))), store)
        store.fail("create")
        response = visit(validator(lint.middleware(app)), method=method_for(shape))
        del app
        gc.collect(1)

        assert response.status == "503 Service Unavailable"
        assert capsys.readouterr().err == ""

    def test_an_application_that_swallows_the_failure_of_write_sends_nothing(self, store: FaultyStore) -> None:
        """W-31: not by write() again, not by an error page, not by what it returns; the store is not asked twice."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            write(environ)
            send = start_response("200 OK", some_headers())
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    send(b"one")
            try:
                send(b"two")
            except StoreUnavailable:
                start_response("404 Not Found", some_headers(), sys.exc_info())
            return [b"three"]

        store.fail("create")
        response = visit(SessionMiddleware(app, store))

        assert (response.status, response.body) == ("503 Service Unavailable", UNAVAILABLE)
        assert verbs(store) == ["create"]

    @pytest.mark.parametrize("act", [write, read])
    def test_an_application_cannot_send_while_it_is_closed(self, store: FaultyStore, act: Act) -> None:
        """W-31: a last word in ``finally`` or in close() does not get out before the 503 or after it."""
        refused: list[str] = []

        class Stubborn(Blocks):
            def __init__(self, environ: WSGIEnvironment, start_response: StartResponse) -> None:
                super().__init__(act, environ, lambda status, headers, exc_info=None: lambda data: None)
                self.send, self.start = start_response("200 OK", some_headers()), start_response

            def close(self) -> None:
                super().close()
                try:
                    self.send(b"last words")
                except StoreUnavailable as error:
                    refused.append(str(error))
                    self.start("404 Not Found", some_headers(), sys.exc_info())

        cookie = a_session(store)
        store.fail("load", "update", times=None)
        response = visit(SessionMiddleware(Stubborn, store), cookie=cookie)

        assert (response.status, response.starts, response.body) == ("503 Service Unavailable", 1, UNAVAILABLE)
        assert len(refused) == 1

    @pytest.mark.parametrize("error", [None, LookupError()])
    def test_a_store_that_fails_is_not_asked_again(self, store: FaultyStore, error: LookupError | None) -> None:
        """Design, "Stores": it has had its time; the visitor waits for it once, in whatever way the request ends."""
        cookie = a_session(store)
        app = SHAPES["iterator"](invalidate) if error is None else raising(error, "empty", invalidate)
        store.fail("load", at=2, times=None)
        gateway = Gateway()
        try:
            gateway.run(SessionMiddleware(app, store), an_environ(cookie=cookie))
        except LookupError:
            assert error is not None

        assert verbs(store) == ["load", "load"]
        assert gateway.status == ("503 Service Unavailable" if error is None else "")

    def test_a_close_that_fails_leaves_no_part_of_the_response(self, store: FaultyStore) -> None:
        """W-13, W-31: the exception goes to the server, the iterable is closed once, and nothing was sent."""

        class Unclosable(Blocks):
            def close(self) -> None:
                super().close()
                raise LookupError

        result, gateway = Unclosable(), Gateway()
        store.fail("create")

        with pytest.raises(LookupError):
            gateway.run(SessionMiddleware(returning(result, write), store), an_environ())
        assert (gateway.starts, gateway.blocks, result.closed) == (0, [], 1)

    def test_a_failure_after_the_first_byte_cannot_be_a_503(self, store: FaultyStore) -> None:
        """W-31: it is raised in the application and goes to the server, which breaks the response off."""
        cookie, gateway = a_session(store), Gateway()
        store.fail("load")

        with pytest.raises(StoreUnavailable):
            gateway.run(SessionMiddleware(late(read), store), an_environ(cookie=cookie))
        assert (gateway.status, gateway.body) == ("200 OK", b"first")

    def test_a_response_made_without_the_session_is_not_kept(self, store: FaultyStore) -> None:
        """Promise 7: an application may go on without its session; caches must not, nor does the cookie change."""

        def act(environ: WSGIEnvironment) -> None:
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    write(environ)

        store.fail("load")
        response = visit(SessionMiddleware(list_app(act), store), cookie=a_session(store))

        assert (response.status, response.body) == ("200 OK", b"onetwo")
        assert (response.values("Vary"), response.values("Cache-Control")) == (["Cookie"], ["private, no-store"])
        assert response.set_cookies == []
        assert verbs(store) == ["load"]

    def test_a_session_that_never_stops_changing_is_a_503(self) -> None:
        """Promise 3: when compare-and-set keeps losing, that is said, and nothing is lost silently."""

        class Restless(MemoryStore):
            def update(self, key: str, record: Any, *, version: Any) -> bool:
                return False

        store = FaultyStore(Restless())
        response = visit(SessionMiddleware(list_app(write), store), cookie=a_session(store))

        assert (response.status, response.set_cookies) == ("503 Service Unavailable", [])


UNAVAILABLE = b"The service is unavailable for a moment. Please try again.\n"


class TestIterables:
    def test_write_and_blocks_keep_their_order(self, store: FaultyStore) -> None:
        """W-12: what was written comes before what is returned; write() returns nothing and takes only bytes."""
        returned: list[object] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            send = start_response("200 OK", some_headers())
            returned.extend([send(b"one"), send(b"")])
            with pytest.raises(TypeError, match="takes bytes, not str"):
                send("two")  # type: ignore[arg-type]
            return iter([b"three"])

        response = visit(SessionMiddleware(app, store))

        assert response.blocks == [b"one", b"", b"three"]
        assert returned == [None, None]

    @pytest.mark.parametrize("most", [None, 0, 1, 3])
    def test_what_was_returned_is_closed_exactly_once(self, store: FaultyStore, most: int | None) -> None:
        """W-13: at the normal end, and whenever the client goes away."""
        for act in (nothing, write):
            result = Blocks()
            Gateway().run(SessionMiddleware(returning(result, act), store), an_environ(), most=most)

            assert result.closed == 1

    @pytest.mark.parametrize("act", [nothing, write])
    def test_it_is_closed_exactly_once_whatever_fails(self, store: FaultyStore, act: Act) -> None:
        """W-13: an exception in the iteration, in close(), in a commit; the server may close twice."""
        for closing in (False, True):
            result = Raising(LookupError(), closing=closing)
            with pytest.raises(LookupError):
                visit(SessionMiddleware(returning(result, act), store))
            assert result.closed == 1

        store.fail("create")
        twice = Blocks()
        response = visit(SessionMiddleware(returning(twice, act), store))
        response.result.close()  # type: ignore[attr-defined]
        assert twice.closed == 1

    def test_a_file_is_closed_when_the_response_cannot_start(self, store: FaultyStore) -> None:
        """W-13, W-21: the server never sees the file then, so nobody else could close it."""
        file = BytesIO(b"data")

        def refuse() -> None:
            raise LookupError

        with pytest.raises(LookupError):
            Gateway(on_start=refuse).run(SessionMiddleware(returning(FileWrapper(file)), store), an_environ())
        assert file.closed

    def test_what_has_no_close_needs_none(self, store: FaultyStore) -> None:
        """W-13: an iterator over a list has no such method."""
        assert visit(SessionMiddleware(returning(iter([b"one"]), write), store)).body == b"one"

    def test_what_is_no_iterable_is_the_applications_error(self, store: FaultyStore) -> None:
        """W-13: as without the middleware."""
        with pytest.raises(TypeError, match="not iterable"):
            visit(SessionMiddleware(returning(None, write), store))  # type: ignore[arg-type]
        assert store.calls == []

    def test_a_request_that_was_given_up_changes_nothing_but_what_it_ended(self, store: FaultyStore) -> None:
        """W-14: the server closes before it asks for the first block."""
        cookie = a_session(store)
        for act, name in ((write, {"name": "old", "cart": {"items": [1]}}), (invalidate, {})):
            gateway = Gateway().run(
                SessionMiddleware(returning(iter([b"one"]), act), store), an_environ(cookie=cookie), most=0
            )

            assert gateway.starts == 0
            assert stored(store, cookie) == name

    def test_a_request_that_was_given_up_ends_what_it_ended_even_if_close_fails(self, store: FaultyStore) -> None:
        """W-13, W-14: our own cleanup runs whatever the application's does."""
        cookie, result = a_session(store), Raising(LookupError(), closing=True)

        with pytest.raises(LookupError):
            Gateway().run(SessionMiddleware(returning(result, invalidate), store), an_environ(cookie=cookie), most=0)
        assert stored(store, cookie) == {}

    @pytest.mark.parametrize("requests", [300, pytest.param(10_000, marks=pytest.mark.soak)])
    def test_requests_that_were_given_up_leave_nothing_behind(self, store: FaultyStore, requests: int) -> None:
        """W-14: neither connections nor objects, without the garbage collector's help."""
        cookie = a_session(store)
        application = SessionMiddleware(generator_app(write), store)
        alive: list[weakref.ref[Gateway]] = []
        gc.collect()
        gc.disable()
        try:
            for number in range(requests):
                gateway = Gateway().run(application, an_environ(cookie=cookie), most=number % 2)
                gateway.result = ()
                alive.append(weakref.ref(gateway))
                del gateway

            assert sum(kept() is not None for kept in alive) == 0
        finally:
            gc.enable()
        if isinstance(store.inner, SQLiteStore):
            assert len(store.inner._connections.idle) == 1

    @pytest.mark.parametrize("act", ACTS)
    def test_lists_tuples_and_file_wrappers_go_on_as_they_are(self, store: FaultyStore, act: Act) -> None:
        """W-21, W-22, W-29, promise 1: the very object, so that the server can count its blocks or use sendfile()."""
        results: list[Iterable[bytes]] = [[b"one"], [], [b"one", b"two"], (b"one",), (), FileWrapper(BytesIO(b"one"))]
        for result in results:
            response = visit(SessionMiddleware(returning(result, act), store), cookie=a_session(store))

            assert response.result is result

    def test_a_file_wrapper_that_is_a_function_is_iterated(self, store: FaultyStore) -> None:
        """W-21: what it returns cannot be told from other iterables, so it goes through block by block."""
        environ = an_environ() | {"wsgi.file_wrapper": lambda file, size: iter(lambda: file.read(size), b"")}
        gateway = Gateway().run(SessionMiddleware(SHAPES["file"](write), store), environ)

        assert gateway.body == b"one" * 5000
        assert stored(store, gateway.cookie) == {"name": "new"}

    def test_other_iterables_have_no_length(self, store: FaultyStore) -> None:
        """W-22: a server takes a length of 1 for the right to set Content-Length."""
        response = visit(SessionMiddleware(SHAPES["list_subclass"](nothing), store))

        assert not hasattr(response.result, "__len__")

    def test_one_block_in_is_one_block_out(self, store: FaultyStore) -> None:
        """W-23, promise 14: the application is asked for a block when the server asks for one, and not before."""
        for act in (nothing, write):
            result = Blocks()
            body = iter(SessionMiddleware(returning(result, act), store)(an_environ(), Gateway().start_response))

            assert result.pulled == 0
            for number in (1, 2, 3):
                assert next(body) == b"%d" % number
                assert result.pulled == number

    def test_a_body_may_be_made_in_another_thread(self, store: FaultyStore) -> None:
        """W-32: a server may iterate in a thread, or a greenlet, of its own."""
        cookie, gateway = a_session(store), Gateway()

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            session = get_session(environ)
            session["name"] = "new"
            start_response("200 OK", some_headers())
            yield b"first"
            session["cart"]["items"].append(2)
            yield b"second"

        body = SessionMiddleware(app, store)(an_environ(cookie=cookie), gateway.start_response)
        blocks: list[bytes] = []

        def pull() -> None:
            blocks.append(next(iter(body)))

        def finish() -> None:
            blocks.extend(body)
            body.close()  # type: ignore[attr-defined]

        for step in (pull, finish):
            thread = Thread(target=step)
            thread.start()
            thread.join()

        assert blocks == [b"first", b"second"]
        assert stored(store, cookie) == {"name": "new", "cart": {"items": [1, 2]}}

    @pytest.mark.parametrize("act", [write, invalidate])
    def test_a_response_that_was_never_started_is_left_to_the_server(self, store: FaultyStore, act: Act) -> None:
        """W-6: the server says what is wrong; what was ended has ended, and the rest is dropped."""
        results: list[Iterable[bytes]] = [[], iter([])]
        for result in results:

            def app(
                environ: WSGIEnvironment, start_response: StartResponse, result: Iterable[bytes] = result
            ) -> Iterable[bytes]:
                act(environ)
                return result

            cookie = a_session(store)
            with pytest.raises(AssertionError, match="not called"):
                visit(SessionMiddleware(app, store), cookie=cookie)
            assert stored(store, cookie).get("name") == (None if act is invalidate else "old")

    def test_a_block_that_comes_before_start_response_is_left_to_the_server(self, store: FaultyStore) -> None:
        """W-6: as without the middleware."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            yield b"early"

        with pytest.raises(AssertionError, match="before start_response"):
            visit(SessionMiddleware(app, store))


class TestMethodsAndStatuses:
    @pytest.mark.parametrize("act", ACTS)
    def test_head_has_the_headers_of_get(self, store: FaultyStore, act: Act) -> None:
        """W-18: nothing but the token differs, the session is kept alike, and no body is added."""
        application = SessionMiddleware(SHAPES["head"](act), store)
        get, head = (visit(application, cookie=a_session(store), method=method) for method in ("GET", "HEAD"))

        assert head.blocks == []
        assert [name for name, _ in head.headers] == [name for name, _ in get.headers]
        assert [value for name, value in head.headers if name != "Set-Cookie"] == [
            value for name, value in get.headers if name != "Set-Cookie"
        ]

    @pytest.mark.parametrize("name", ["not_modified", "no_content"])
    def test_a_response_without_content_gets_no_content_and_no_type(self, store: FaultyStore, name: str) -> None:
        """W-19: a new token goes out with it all the same, and forbids to keep it."""
        application = SessionMiddleware(SHAPES[name](regenerate), store)
        response = visit(application, cookie=a_session(store))

        assert (response.body, response.values("Content-Type")) == (b"", [])
        assert response.values("Cache-Control") == ["private, no-store"]
        assert stored(store, response.cookie)["name"] == "old"

    def test_a_session_that_is_merely_used_sets_no_cookie(self, store: FaultyStore, shape: Shape) -> None:
        """W-19, W-30, promise 2: one load, ``Vary``, and nothing written."""
        response = visit(SessionMiddleware(shape(read), store), cookie=a_session(store), method=method_for(shape))

        assert (response.set_cookies, response.values("Vary")) == ([], ["Cookie"])
        assert verbs(store) == ["load"]


class TestEnviron:
    def test_two_keys_are_added_and_the_rest_is_left(self, store: FaultyStore) -> None:
        """W-24: keys with a dot; the input is neither read nor wrapped, the cookies stay as they came."""
        environ = an_environ(cookie=a_session(store))
        before = dict(environ)
        Gateway().run(SessionMiddleware(list_app(write), store), environ)
        added = environ.keys() - before.keys()

        assert added == {"session_middleware.session", "session_middleware.cookie.session"}
        assert type(environ) is dict
        assert all(environ[key] is value for key, value in before.items())

    def test_two_middlewares_with_names_of_their_own_both_work(self, store: FaultyStore) -> None:
        """W-25: two sessions, two cookies, and neither token is any good for the other."""

        def act(environ: WSGIEnvironment) -> None:
            get_session(environ)["name"] = "inner"
            get_session(environ, "outer.session")["name"] = "outer"

        inner = SessionMiddleware(list_app(act), store)
        outer = SessionMiddleware(inner, store, environ_key="outer.session", cookie=CookiePolicy(name="outer"))
        response = visit(outer)
        cookies = [value.partition(";")[0] for value in response.set_cookies]

        assert [cookie.partition("=")[0] for cookie in cookies] == ["session", "outer"]
        assert (response.values("Vary"), response.values("Cache-Control")) == (["Cookie"], ["private, no-store"])
        assert stored(store, cookies[0]) == {"name": "inner"}
        assert stored(store, cookies[1].replace("outer=", "session=")) == {}

    @pytest.mark.parametrize(
        "options",
        [{}, {"environ_key": "outer.session"}, {"cookie": CookiePolicy(name="outer")}],
        ids=["same", "same cookie", "same key"],
    )
    def test_two_middlewares_in_each_others_way_are_refused(self, store: FaultyStore, options: dict[str, Any]) -> None:
        """W-25: at the first request, saying what to write."""
        application = SessionMiddleware(SessionMiddleware(list_app(nothing), store), store, **options)

        with pytest.raises(ConfigurationError, match="give one of them another environ_key and CookiePolicy"):
            visit(application)

    def test_a_foreign_object_in_the_environ_is_refused(self, store: FaultyStore) -> None:
        """W-25: whoever put it there relies on it."""
        with pytest.raises(ConfigurationError, match="nested"):
            Gateway().run(SessionMiddleware(list_app(nothing), store), an_environ() | {"session_middleware.session": {}})

    @pytest.mark.parametrize("copied", [dict, lambda environ: environ], ids=["copy", "same"])
    def test_a_request_within_a_request_shares_its_session(
        self, store: FaultyStore, copied: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        """W-26: what the inner one writes is stored once, with the outer response."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/inner":
                write(environ)
                start_response("200 OK", some_headers())
                return [b"inner"]
            inner = Gateway().run(application, copied(environ) | {"PATH_INFO": "/inner"})
            assert inner.set_cookies == []
            assert get_session(environ)["name"] == "new"
            start_response("200 OK", some_headers())
            return inner.blocks

        application = SessionMiddleware(app, store)
        response = visit(application)

        assert verbs(store) == ["create"]
        assert stored(store, response.cookie) == {"name": "new"}
        assert response.body == b"inner"

    def test_a_request_within_a_started_response_has_a_session_of_its_own(self, store: FaultyStore) -> None:
        """W-26: both are stored, and neither loses what the other changed."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", some_headers())
            session = get_session(environ)
            if environ["PATH_INFO"] == "/inner":
                session["name"] = "inner"
                yield b"inner"
                return
            session["outer"] = 1
            yield b"outer"
            yield Gateway().run(application, dict(environ) | {"PATH_INFO": "/inner"}).body
            session["outer"] = 2

        cookie = a_session(store)
        application = SessionMiddleware(app, store)

        assert visit(application, cookie=cookie).body == b"outerinner"
        assert stored(store, cookie) == {"name": "inner", "cart": {"items": [1]}, "outer": 2}

    @pytest.mark.parametrize("first", ["answered", "untouched", "raised", "given up", "by another"])
    def test_an_environ_may_be_used_again_for_another_request(self, store: FaultyStore, first: str) -> None:
        """W-26: error pages are often asked for with the environ of the request that failed; nothing is lost then."""
        cookie = a_session(store)
        environ = an_environ(cookie=cookie)
        application = SessionMiddleware(list_app(write), store)
        match first:
            case "answered":
                Gateway().run(SessionMiddleware(list_app(read), store), environ)
            case "untouched":
                Gateway().run(SessionMiddleware(generator_app(nothing), store), environ)
            case "raised":
                with pytest.raises(LookupError):
                    Gateway().run(SessionMiddleware(raising(LookupError(), "call", nothing), store), environ)
            case "given up":
                Gateway().run(SessionMiddleware(generator_app(nothing), store), environ, most=0)
            case _:
                Gateway().run(application, environ)
        Gateway().run(application, dict(environ))

        assert stored(store, cookie)["name"] == "new"
