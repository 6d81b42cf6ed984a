"""With the garbage collector off, a request that is over leaves nothing alive: neither its session nor its environ."""

import gc
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest

from session_middleware import ConflictError, Session, SessionError, SessionMiddleware, StoreUnavailable, get_session
from session_middleware.testing import FaultyStore
from tests.apps import SHAPES, Act, ExcInfo, Headers, Shape, an_environ, some_headers
from tests.wsgi.acts import FAILING, a_session, invalidate, late, login, nothing, read, regenerate, write


class Resource:
    """Something that a request holds, such as a connection: it is in the environ."""


class Handler:
    """A server's, as wsgiref has them: it holds the environ, and the application gets its bound methods."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        self.sent = False

    def start_response(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Callable[[bytes], object]:
        try:
            if exc_info and self.sent:
                assert exc_info[1] is not None
                raise exc_info[1]
        finally:
            exc_info = None
        return self.write

    def write(self, data: bytes) -> None:
        self.sent = True

    def run(self, app: WSGIApplication, most: int | None = None) -> None:
        """Serve the request; after *most* blocks the client goes away."""
        result: Iterable[bytes] = ()
        with suppress(LookupError, SessionError, OSError, ValueError):
            try:
                result = app(self.environ, self.start_response)
                for number, block in enumerate(result):
                    if number == most:
                        break
                    self.write(block)
            finally:
                if close := getattr(result, "close", None):
                    close()


def touch_late(environ: WSGIEnvironment) -> None:
    session = get_session(environ)
    session["late"] = [session.get("name")]


def write_what_cannot_be(environ: WSGIEnvironment) -> None:
    get_session(environ)["name"] = object()


def transact(environ: WSGIEnvironment) -> None:
    get_session(environ).transact(lambda data: data.update(name=[1]))


def sign_in_and_transact(environ: WSGIEnvironment) -> None:
    login(environ)
    transact(environ)


def swallow(act: Act) -> Act:
    """Return an act that goes on whatever the store does."""

    def swallowing(environ: WSGIEnvironment) -> None:
        for _ in range(2):
            with suppress(StoreUnavailable, ConflictError):
                act(environ)

    return swallowing


ACTS: dict[str, Act] = {
    "untouched": nothing,
    "read": read,
    "written": write,
    "nested": lambda environ: get_session(environ)["cart"]["items"].append(2),
    "signed in": login,
    "regenerated": regenerate,
    "ended": invalidate,
    "transacted": transact,
    "signed in and transacted": sign_in_and_transact,
    "refused": write_what_cannot_be,
    "swallowed": swallow(sign_in_and_transact),
}


@pytest.fixture(autouse=True)
def _no_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nor a log whose records keep what they tell of."""
    monkeypatch.setattr(logging.getLogger("session_middleware"), "disabled", True)
    gc.disable()
    yield
    gc.enable()


def assert_nothing_is_left(
    store: FaultyStore,
    app: WSGIApplication,
    *,
    method: str = "GET",
    most: int | None = None,
    fail: Callable[[], object] = lambda: None,
    unavailable: WSGIApplication | None = None,
) -> None:
    """Assert it of one request, with the cookie of a session; *fail* is called when that is there."""
    environ = an_environ(cookie=a_session(store), method=method) | {"test.resource": Resource()}
    fail()
    handler = Handler(environ)
    handler.run(SessionMiddleware(app, store, unavailable=unavailable), most)
    store.heal()
    alive: dict[str, weakref.ref[Any]] = {
        "environ": weakref.ref(environ["test.resource"]),
        "session": weakref.ref(environ["session_middleware.session"]),
        "handler": weakref.ref(handler),
    }
    del environ, handler

    assert [name for name, kept in alive.items() if kept() is not None] == []


def failing(where: str, act: Act) -> WSGIApplication:
    """Return an application that acts, and then raises an exception that nobody else has."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if where != "call":
            start_response("200 OK", some_headers())
        if where in ("empty", "later", "close"):
            return blocks(environ)
        act(environ)
        raise LookupError

    def blocks(environ: WSGIEnvironment) -> Iterator[bytes]:
        try:
            if where != "empty":
                yield b"first"
                yield b"second"
            act(environ)
            raise LookupError
        finally:
            if where == "close":
                raise LookupError

    return app


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_of_any_request(store: FaultyStore, shape: Shape, act: Act) -> None:
    """W-14: whatever it did to its session, in whatever shape the response came."""
    assert_nothing_is_left(store, shape(act), method="HEAD" if shape is SHAPES["head"] else "GET")


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("name", ["list", "generator", "write", "error_page", "iterator"])
def test_of_a_request_whose_store_fails(store: FaultyStore, name: str, act: Act) -> None:
    """W-31: neither the failure that the session remembers, nor the one that was answered, keeps its frames."""
    for verb in ("load", "create", "update", "delete"):
        for at in (1, 2, 3):
            assert_nothing_is_left(store, SHAPES[name](act), fail=partial(store.fail, verb, at=at, times=None))


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("name", ["list", "generator", "iterator"])
def test_of_a_request_that_the_site_has_an_answer_for(store: FaultyStore, name: str, act: Act) -> None:
    """W-31: nor does the answer keep what it was given."""
    for verb in ("load", "create", "update", "delete"):
        fail = partial(store.fail, verb, times=None)
        assert_nothing_is_left(store, SHAPES[name](act), fail=fail, unavailable=SHAPES[name](nothing))


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("where", ["call", "started", "empty", "later", "close"])
def test_of_a_request_that_fails(store: FaultyStore, where: str, act: Act) -> None:
    """W-11: the exception goes to the server, and takes nothing of ours along when that is done with it."""
    for verb in (None, "load", "update"):
        for most in (None, 1):
            fail = partial(store.fail, verb, times=None) if verb else lambda: None
            assert_nothing_is_left(store, failing(where, act), most=most, fail=fail)


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("name", FAILING)
def test_of_a_request_that_answers_with_an_error(store: FaultyStore, name: str, act: Act) -> None:
    """W-9, W-10: exc_info is let go."""
    assert_nothing_is_left(store, FAILING[name](act))


@pytest.mark.parametrize("most", [0, 1, None])
@pytest.mark.parametrize("act", [nothing, read, touch_late, write_what_cannot_be])
def test_of_a_stream(store: FaultyStore, act: Act, most: int | None) -> None:
    """W-3, W-14: to its end, or until the client went away; with late changes, and ones that cannot be stored."""
    assert_nothing_is_left(store, late(act), most=most)


class Refusing(Handler):
    """A server whose client has gone."""

    def start_response(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Callable[[bytes], object]:
        raise OSError("the client has gone")


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_of_a_request_whose_server_refuses_to_start(
    store: FaultyStore, act: Act, shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W-13: the response never left."""
    monkeypatch.setattr(Handler, "start_response", Refusing.start_response)
    assert_nothing_is_left(store, shape(act))


def test_of_a_request_with_headers_that_cannot_be_sent(store: FaultyStore) -> None:
    """Promise 6: it is refused before anything is stored."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        get_session(environ)["name"] = "new"
        start_response("200 OK", [("X-A", "b\r\nc")])
        return [b""]

    assert_nothing_is_left(store, app)


def test_a_session_that_outlives_its_request_keeps_no_server(store: FaultyStore) -> None:
    """W-14: an application that holds on to it holds the session alone."""
    kept: list[Session] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        kept.append(get_session(environ))
        start_response("200 OK", [])
        kept[-1]["name"] = "new"
        yield b"block"

    environ = an_environ(cookie=a_session(store)) | {"test.resource": Resource()}
    handler = Handler(environ)
    handler.run(SessionMiddleware(app, store))
    alive = [weakref.ref(environ["test.resource"]), weakref.ref(handler)]
    del environ, handler

    assert [one() for one in alive] == [None, None]
    assert kept[0]["name"] == "new"


def test_a_traceback_that_is_kept_is_the_only_thing_that_keeps_a_request(store: FaultyStore) -> None:
    """W-9: whoever keeps the exception, as a debugger does, keeps its frames; when it goes, all goes."""
    environ = an_environ(cookie=a_session(store)) | {"test.resource": Resource()}
    kept: list[BaseException] = []
    try:
        SessionMiddleware(failing("call", write), store)(environ, Handler(environ).start_response)
    except LookupError as error:
        kept.append(error)
    alive = weakref.ref(environ["test.resource"])
    del environ
    assert alive() is not None
    kept.clear()

    assert alive() is None
