"""A small, strict WSGI server, and applications of every shape to put behind it."""

import sys
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO, StringIO
from types import TracebackType
from typing import Any, TypeAlias
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper

from session_middleware import get_session

Headers: TypeAlias = list[tuple[str, str]]
ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Act: TypeAlias = Callable[[WSGIEnvironment], object]
Shape: TypeAlias = Callable[[Act], WSGIApplication]

HOP_BY_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade"} | {
    "transfer-encoding"
}


def an_environ(
    path: str = "/", *, cookie: str | None = None, scheme: str = "http", method: str = "GET", **extra: object
) -> dict[str, Any]:
    """Return the environ of a request, as a server makes it."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "www.example.com",
        "SERVER_PORT": "443" if scheme == "https" else "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "www.example.com",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": BytesIO(),
        "wsgi.errors": StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }
    if cookie is not None:
        environ["HTTP_COOKIE"] = cookie
    return environ | extra


class Gateway:
    """Serves one request as PEP 3333 has it, checks what the linters do not, and notes what it sees."""

    def __init__(self, on_start: Callable[[], object] = lambda: None) -> None:
        self.status = ""
        self.headers: Headers = []
        self.blocks: list[bytes] = []
        self.starts = 0
        self.result: Iterable[bytes] = ()
        self._on_start = on_start
        self._sent = False

    def start_response(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Callable[[bytes], object]:
        try:
            if exc_info is None:
                assert self.starts == 0, "start_response() was called a second time without exc_info"
            elif self._sent:
                assert exc_info[1] is not None
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            exc_info = None
        check_headers(headers)
        self._on_start()
        self.starts += 1
        self.status, self.headers = status, headers
        return self._write

    def _write(self, data: bytes) -> None:
        assert type(data) is bytes
        assert self.starts, "a block came before start_response()"
        self._sent = self._sent or data != b""
        self.blocks.append(data)

    def run(self, app: WSGIApplication, environ: WSGIEnvironment, *, most: int | None = None) -> "Gateway":
        """Serve a request; after *most* blocks the client goes away."""
        self.result = app(environ, self.start_response)
        try:
            blocks = iter(self.result)
            while most is None or len(self.blocks) < most:
                try:
                    block = next(blocks)
                except StopIteration:
                    assert self.starts, "start_response() was not called"
                    self._sent = True
                    break
                self._write(block)
        finally:
            if close := getattr(self.result, "close", None):
                close()
        return self

    @property
    def body(self) -> bytes:
        return b"".join(self.blocks)

    def values(self, name: str) -> list[str]:
        """Return the values of the headers of that name, in their order."""
        return [value for header, value in self.headers if header.lower() == name.lower()]

    @property
    def set_cookies(self) -> list[str]:
        return self.values("Set-Cookie")

    @property
    def cookie(self) -> str:
        """What a ``Cookie`` header would be after the only ``Set-Cookie`` of the response."""
        (set_cookie,) = self.set_cookies
        return set_cookie.partition(";")[0]

    @property
    def token(self) -> str:
        return self.cookie.partition("=")[2]


def check_headers(headers: Headers) -> None:
    """Check what PEP 3333 and RFC 9110 ask of headers, control characters up to DEL and hop-by-hop fields included."""
    assert type(headers) is list
    for header in headers:
        assert type(header) is tuple
        name, value = header
        assert type(name) is str
        assert type(value) is str
        for text in header:
            text.encode("latin-1")
            assert not any(character < " " or character == "\x7f" for character in text), header
        assert name.lower() not in HOP_BY_HOP


def visit(app: WSGIApplication, path: str = "/", **request: Any) -> Gateway:
    """Make one request; keywords as for :func:`an_environ`."""
    return Gateway().run(app, an_environ(path, **request))


def some_headers() -> Headers:
    return [("Content-Type", "text/plain"), ("X-One", "1"), ("x-one", "2"), ("ETag", '"v1"')]


def list_app(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [*some_headers(), ("Content-Length", "6")])
        act(environ)
        return [b"one", b"two"]

    return app


def tuple_app(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        start_response("200 OK", some_headers())
        return (b"one", b"two")

    return app


def empty_list_app(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        start_response("302 Found", [*some_headers(), ("Location", "/elsewhere")])
        return []

    return app


def list_subclass_app(act: Act) -> WSGIApplication:
    class Lines(list[bytes]):
        """Not a plain list: iterating it may run code of the application."""

        def __iter__(self) -> Iterator[bytes]:
            yield from [b"one", b"two"]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        start_response("200 OK", some_headers())
        return Lines()

    return app


def generator_app(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", some_headers())
        act(environ)
        yield b"one"
        yield b""
        yield b"two"

    return app


def generator_of_a_function_app(act: Act) -> WSGIApplication:
    def blocks() -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        start_response("200 OK", some_headers())
        return blocks()

    return app


def empty_block_first_app(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", some_headers())
        act(environ)
        yield b""
        yield b"one"

    return app


def empty_generator_app(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        act(environ)
        start_response("200 OK", some_headers())
        yield from ()

    return app


def write_app(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", some_headers())
        act(environ)
        write(b"one")
        write(b"two")
        return []

    return app


def write_and_list_app(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        write = start_response("200 OK", some_headers())
        write(b"one")
        return [b"two", b"three"]

    return app


def write_and_generator_app(act: Act) -> WSGIApplication:
    def blocks() -> Iterator[bytes]:
        yield b"two"
        yield b"three"

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        start_response("200 OK", some_headers())(b"one")
        return blocks()

    return app


def error_page_app(act: Act) -> WSGIApplication:
    """Calls start_response() again, with exc_info, before anything is sent."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/html"), ("X-Dropped", "1")])
        act(environ)
        try:
            raise LookupError
        except LookupError:
            start_response("404 Not Found", some_headers(), sys.exc_info())
        return [b"not found"]

    return app


def late_error_page_app(act: Act) -> WSGIApplication:
    """Calls start_response() again, with exc_info, after an empty block."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/html"), ("X-Dropped", "1")])
        act(environ)
        yield b""
        try:
            raise LookupError
        except LookupError:
            start_response("404 Not Found", some_headers(), sys.exc_info())
        yield b"not found"

    return app


def no_content_app(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        start_response("204 No Content", [("X-One", "1")])
        return []

    return app


def not_modified_app(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        start_response("304 Not Modified", [("ETag", '"v1"')])
        return []

    return app


def head_app(act: Act) -> WSGIApplication:
    """Sends no body when asked by HEAD."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        start_response("200 OK", [*some_headers(), ("Content-Length", "6")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"onetwo"]

    return app


def file_app(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        start_response("200 OK", some_headers())
        blocks: Iterable[bytes] = environ["wsgi.file_wrapper"](BytesIO(b"one" * 5000), 4096)
        return blocks

    return app


def open_file_app(act: Act) -> WSGIApplication:
    """Returns a file as it is: it is iterated by lines, and has a close()."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(environ)
        start_response("200 OK", some_headers())
        return BytesIO(b"one\ntwo\n")

    return app


class Blocks:
    """An iterable with a close(), which starts the response and acts when the first block is asked for."""

    def __init__(
        self,
        act: Act = lambda environ: None,
        environ: WSGIEnvironment | None = None,
        start: StartResponse | None = None,
    ) -> None:
        self.pulled = self.closed = 0
        self._act, self._environ, self._start = act, environ, start

    def __iter__(self) -> "Blocks":
        return self

    def __next__(self) -> bytes:
        assert not self.closed
        if self._start is not None:
            self._start("200 OK", some_headers())
            self._start = None
            self._act(self._environ or {})
        self.pulled += 1
        if self.pulled > 3:
            raise StopIteration
        return b"%d" % self.pulled

    def close(self) -> None:
        self.closed += 1


def iterator_app(act: Act) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return Blocks(act, environ, start_response)

    return app


SHAPES: dict[str, Shape] = {
    "list": list_app,
    "tuple": tuple_app,
    "empty_list": empty_list_app,
    "list_subclass": list_subclass_app,
    "generator": generator_app,
    "generator_of_a_function": generator_of_a_function_app,
    "empty_block_first": empty_block_first_app,
    "empty_generator": empty_generator_app,
    "write": write_app,
    "write_and_list": write_and_list_app,
    "write_and_generator": write_and_generator_app,
    "error_page": error_page_app,
    "late_error_page": late_error_page_app,
    "no_content": no_content_app,
    "not_modified": not_modified_app,
    "head": head_app,
    "file": file_app,
    "open_file": open_file_app,
    "iterator": iterator_app,
}


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
