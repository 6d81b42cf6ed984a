"""What an application returns goes on block by block, or as it is, and is closed once: W-12 to W-14, W-21 to W-23, W-32."""

import gc
import weakref
from collections.abc import Iterable, Iterator
from io import BytesIO
from threading import Thread
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import FileWrapper

import pytest

from session_middleware import SessionMiddleware, SQLiteStore, get_session
from session_middleware.testing import FaultyStore
from tests.apps import SHAPES, Act, Blocks, Gateway, an_environ, generator_app, some_headers, visit
from tests.wsgi.acts import ACTS, Raising, a_session, invalidate, nothing, returning, stored, write


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
