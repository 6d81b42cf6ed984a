"""Applications and stores that fail: W-9 to W-11, W-31."""

import gc
import sys
import weakref
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

import pytest
from webtest import lint

from session_middleware import MemoryStore, PayloadError, SessionMiddleware, StoreUnavailable, get_session
from session_middleware.testing import FaultyStore
from tests.apps import SHAPES, Act, Blocks, Gateway, Shape, an_environ, list_app, some_headers, visit
from tests.wsgi.acts import (
    FAILING,
    UNAVAILABLE,
    a_session,
    fail_deep_inside,
    invalidate,
    is_closed,
    late,
    login,
    method_for,
    noting,
    raising,
    read,
    regenerate,
    returning,
    stored,
    verbs,
    write,
)


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


class TestUnavailable:
    def test_a_store_that_fails_is_a_503_with_nothing_of_the_application(self, store: FaultyStore, shape: Shape) -> None:
        """W-31, promises 6 and 7: no cookie, no byte of its body, no header of its own; what it returned is closed."""
        for verb, act in (
            ("create", write),
            ("load", read),
            ("update", write),
            ("update", login),
            ("load", login),
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
        store.fail("update", times=None)
        gateway = Gateway()
        try:
            gateway.run(SessionMiddleware(app, store), an_environ(cookie=cookie))
        except LookupError:
            assert error is not None

        assert verbs(store) == ["load", "update"]
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
