"""What applications do in these tests, and in which ways they fail."""

import sys
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper

from session_middleware import SessionMiddleware, get_session
from session_middleware.testing import FaultyStore
from tests.apps import SHAPES, Act, Blocks, Shape, list_app, some_headers, visit


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


UNAVAILABLE = b"The service is unavailable for a moment. Please try again.\n"
