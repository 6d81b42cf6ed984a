"""What an application returns goes on block by block, or as it is, and is closed once: W-12 to W-14, W-21 to W-23, W-32."""

import gc
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import BytesIO
from threading import Thread
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import FileWrapper

import pytest
import webob

from session_middleware import SessionMiddleware, SQLiteStore, get_session
from session_middleware.testing import FaultyStore
from tests.apps import SHAPES, Act, Blocks, Gateway, an_environ, generator_app, iterator_app, some_headers, visit
from tests.wsgi.acts import (
    ACTS,
    Raising,
    a_session,
    invalidate,
    is_closed,
    login,
    method_for,
    nothing,
    noting,
    raising,
    read,
    regenerate,
    returning,
    stored,
    verbs,
    write,
)


def nested(environ: WSGIEnvironment) -> None:
    get_session(environ)["cart"]["items"].append(2)


STARTING_LATE = ("generator", "empty_generator", "empty_block_first", "late_error_page", "iterator")
"""The shapes that call start_response() when they are asked for their first block."""


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

        for app, results in (noting(returning(Blocks(), act)), noting(iterator_app(act))):
            store.fail("create")
            response = visit(SessionMiddleware(app, store))
            if close := getattr(response.result, "close", None):
                close()
            store.heal()
            assert all(is_closed(result) for result in results)

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
        """W-14: the server closes before it asks for the first block of a response that has not started."""
        cookie = a_session(store)
        for act, name in ((write, {"name": "old", "cart": {"items": [1]}}), (invalidate, {})):

            def app(environ: WSGIEnvironment, start_response: StartResponse, act: Act = act) -> Iterable[bytes]:
                act(environ)
                return Blocks(nothing, environ, start_response)

            gateway = Gateway().run(SessionMiddleware(app, store), an_environ(cookie=cookie), most=0)

            assert gateway.starts == 0
            assert stored(store, cookie) == name

    @pytest.mark.parametrize("is_started", [True, False])
    def test_a_request_that_was_given_up_ends_what_it_ended_even_if_close_fails(
        self, store: FaultyStore, is_started: bool
    ) -> None:
        """W-13, W-14: our own cleanup runs whatever the application's does."""
        cookie, result = a_session(store), Raising(LookupError(), closing=True)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            invalidate(environ)
            if is_started:
                start_response("200 OK", some_headers())
            return result

        with pytest.raises(LookupError):
            Gateway().run(SessionMiddleware(app, store), an_environ(cookie=cookie), most=0)
        assert result.closed == 1
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

    @pytest.mark.parametrize("act", ACTS)
    def test_what_a_wrapper_function_returned_goes_on_as_it_is(self, store: FaultyStore, act: Act) -> None:
        """W-21, promise 1: on uWSGI it is the file itself, which need not be iterable."""

        class File:
            """A file that can only be read."""

            def read(self, size: int) -> bytes:
                return b""

        file, gateway = File(), Gateway()
        given: list[tuple[object, ...]] = []

        def wrapper(*arguments: Any) -> Any:
            given.append(arguments)
            return arguments[0]

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            act(environ)
            start_response("200 OK", some_headers())
            blocks: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 4096)
            environ["wsgi.file_wrapper"](File())
            return blocks

        environ = an_environ() | {"wsgi.file_wrapper": wrapper}
        result = SessionMiddleware(app, store)(environ, gateway.start_response)

        assert cast("object", result) is file
        assert (given[0], gateway.starts) == ((file, 4096), 1)

    def test_a_tuple_goes_on_as_it_is_beside_a_file_that_was_wrapped(self, store: FaultyStore) -> None:
        """W-22, promise 1: the application may have changed its mind."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            environ["wsgi.file_wrapper"](BytesIO())
            start_response("200 OK", some_headers())
            return (b"one",)

        environ = an_environ() | {"wsgi.file_wrapper": lambda file: file}
        assert SessionMiddleware(app, store)(environ, Gateway().start_response) == (b"one",)

    def test_a_wrapper_function_that_was_not_used_for_it_changes_nothing(self, store: FaultyStore) -> None:
        """W-21: the application may read the file itself."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            write(environ)
            start_response("200 OK", some_headers())
            return iter([environ["wsgi.file_wrapper"](BytesIO(b"one")).read()])

        gateway = Gateway().run(SessionMiddleware(app, store), an_environ() | {"wsgi.file_wrapper": lambda file: file})

        assert gateway.body == b"one"
        assert stored(store, gateway.cookie) == {"name": "new"}

    def test_a_wrapper_of_the_applications_own_is_no_servers(self, store: FaultyStore) -> None:
        """W-21: the server would not know what it made, and it may run the application's code."""
        cookie = a_session(store)

        class Wrapper:
            def __init__(self, environ: WSGIEnvironment) -> None:
                self.environ = environ

            def __iter__(self) -> Iterator[bytes]:
                yield b"one"
                write(self.environ)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            environ["wsgi.file_wrapper"] = Wrapper
            start_response("200 OK", some_headers())
            return Wrapper(environ)

        visit(SessionMiddleware(app, store), cookie=cookie)

        assert stored(store, cookie)["name"] == "new"

    def test_other_iterables_have_no_length(self, store: FaultyStore) -> None:
        """W-22: a server takes a length of 1 for the right to set Content-Length."""
        response = visit(SessionMiddleware(SHAPES["list_subclass"](nothing), store))

        assert not hasattr(response.result, "__len__")

    def test_one_block_in_is_one_block_out(self, store: FaultyStore) -> None:
        """W-23, promise 14: one block is made when the response starts, and each other when the server asks for it."""
        for act in (nothing, write):
            result = Blocks()
            body = iter(SessionMiddleware(returning(result, act), store)(an_environ(), Gateway().start_response))

            assert result.pulled == 1
            for number in (1, 2, 3):
                assert next(body) == b"%d" % number
                assert result.pulled == number

    def test_a_response_that_has_not_started_is_not_asked_for_a_block(self, store: FaultyStore) -> None:
        """W-23, promise 14: a generator function starts its response when the server asks for the first one."""
        result, gateway = Blocks(write, an_environ(), lambda *_: bytes), Gateway()
        body = iter(SessionMiddleware(lambda environ, start_response: result, store)(an_environ(), gateway.start_response))

        assert (result.pulled, gateway.starts) == (0, 0)
        assert iter(body) is body

    @pytest.mark.parametrize("shape", [name for name in SHAPES if name not in STARTING_LATE])
    @pytest.mark.parametrize("act", ACTS)
    def test_a_response_has_started_when_the_applications_has(self, store: FaultyStore, shape: str, act: Act) -> None:
        """Promise 14: who looks at us when the call returns sees status and headers of the application, and our cookie."""
        gateway = Gateway()
        application = SessionMiddleware(SHAPES[shape](act), store)
        result = application(an_environ(cookie=a_session(store), method=method_for(SHAPES[shape])), gateway.start_response)

        assert gateway.starts == 1
        assert bool(gateway.set_cookies) == (act in (login, regenerate, invalidate))
        if act in (write, login):
            assert "update" in verbs(store)
        if close := getattr(result, "close", None):
            close()

    @pytest.mark.parametrize("act", [write, login])
    def test_a_first_block_that_fails_leaves_nothing(self, store: FaultyStore, act: Act) -> None:
        """Promise 16: the status is not passed on before it is there; the exception comes out of the call."""
        cookie, result, gateway = a_session(store), Raising(LookupError(), closing=False), Gateway()

        with pytest.raises(LookupError):
            SessionMiddleware(returning(result, act), store)(an_environ(cookie=cookie), gateway.start_response)
        assert (gateway.starts, result.closed) == (0, 1)
        assert stored(store, cookie)["name"] == "old"

    def test_an_iterator_that_has_ended_is_not_asked_again(self, store: FaultyStore) -> None:
        """W-6: a response without blocks ends when the call returns."""
        asked: list[int] = []

        def none_there() -> bytes:
            asked.append(1)
            return b""

        response = visit(SessionMiddleware(returning(iter(none_there, b""), write), store))

        assert (len(asked), response.blocks) == (1, [])
        assert stored(store, response.cookie) == {"name": "new"}

    def test_a_middleware_of_webob_outside_pulls_one_block(self, store: FaultyStore) -> None:
        """Promise 14: ``request.get_response()`` takes the status that is there when the call returns."""
        result = Blocks()
        response = webob.Request.blank("/").get_response(SessionMiddleware(returning(result, write), store))

        assert (response.status, result.pulled) == ("200 OK", 1)
        assert "session=" in response.headers["Set-Cookie"]
        assert response.body == b"123"

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

    @pytest.mark.parametrize(
        ("act", "lost"),
        [(nothing, False), (read, False), (invalidate, False), (write, True), (login, True), (nested, True)],
    )
    @pytest.mark.parametrize("end", ["list", "iterator", "socket"])
    def test_what_is_lost_without_a_response_is_in_the_log(
        self, store: FaultyStore, act: Act, lost: bool, end: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 8: not without a word; an exception that escapes is told of by the server."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            act(environ)
            if end == "socket":
                raise StopIteration  # as gunicorn wants it
            return [] if end == "list" else iter([])

        cookie = a_session(store)
        with suppress(StopIteration, AssertionError):
            visit(SessionMiddleware(app, store), cookie=cookie, HTTP_UPGRADE="websocket" if end == "socket" else "")
        said = [record.getMessage() for record in caplog.records]

        assert [message.startswith(f"<Session {cookie[8:20]}>: the request has ended") for message in said] == [True] * lost
        with suppress(LookupError):
            visit(SessionMiddleware(raising(LookupError(), "call", act), store), cookie=cookie)
        assert len(caplog.records) == lost

    @pytest.mark.parametrize(("upgrade", "at_once"), [("websocket", True), ("WebSocket", True), ("h2c", False)])
    def test_a_session_that_is_ended_where_no_response_follows_ends_at_once(
        self, store: FaultyStore, upgrade: str, at_once: bool
    ) -> None:
        """Promise 5: the socket may stay open for hours."""
        seen: list[list[str]] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            invalidate(environ)
            seen.append(verbs(store))
            start_response("200 OK", some_headers())
            return []

        cookie = a_session(store)
        response = visit(SessionMiddleware(app, store), cookie=cookie, HTTP_UPGRADE=upgrade)

        assert seen == [["load", "update"] if at_once else ["load"]]
        assert verbs(store) == ["load", "update"]
        assert "Max-Age=0" in response.set_cookies[0]

    def test_a_block_that_comes_before_start_response_is_left_to_the_server(self, store: FaultyStore) -> None:
        """W-6: as without the middleware."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            yield b"early"

        with pytest.raises(AssertionError, match="before start_response"):
            visit(SessionMiddleware(app, store))
