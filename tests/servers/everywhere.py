"""What every WSGI server is to serve alike. Its files are in the working directory."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from session_middleware import Session, SessionMiddleware, get_session

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

BLOCK = b"x" * 65536
MOST_BLOCKS = 4000
"""More than any buffers hold."""

FILE = Path("file")
NOWHERE = "redis://127.0.0.1:1/0"
"""The store of what is below ``/away``: nobody listens there."""

_WAIT_FOR = 60.0


def _inside(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    act = _ACTS[environ["PATH_INFO"]]
    return act(environ, start_response, dict(parse_qsl(environ["QUERY_STRING"])))


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    path, away = environ["PATH_INFO"], "/away"
    if path.startswith(away):
        return _AWAY({**environ, "PATH_INFO": path.removeprefix(away)}, start_response)
    return _HERE(environ, start_response)


def behind_a_proxy(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """The same, for a server that does not itself believe what the proxy before it says of the scheme."""
    scheme = environ.get("HTTP_X_FORWARDED_PROTO", environ["wsgi.url_scheme"])
    return application({**environ, "wsgi.url_scheme": scheme}, start_response)


def _set(environ: "WSGIEnvironment", start_response: "StartResponse", query: dict[str, str]) -> Iterable[bytes]:
    """Set keys; with ``until`` after that file has come, and with the session loaded before that."""
    session = get_session(environ)
    until = query.pop("until", None)
    if until:
        len(session)
        Path(f"{until}-awaited").touch()
        _wait_for(until)
    session.update(query)
    return _json(environ, start_response, {})


def _get(environ: "WSGIEnvironment", start_response: "StartResponse", query: dict[str, str]) -> Iterable[bytes]:
    session = get_session(environ)
    return _json(environ, start_response, {"user": session.user_id, "data": dict(session)})


def _untouched(environ: "WSGIEnvironment", start_response: "StartResponse", query: dict[str, str]) -> Iterable[bytes]:
    return _json(environ, start_response, {})


def _sign_in(environ: "WSGIEnvironment", start_response: "StartResponse", query: dict[str, str]) -> Iterable[bytes]:
    get_session(environ).login(query["user"])
    return _json(environ, start_response, {})


def _sign_out(environ: "WSGIEnvironment", start_response: "StartResponse", query: dict[str, str]) -> Iterable[bytes]:
    get_session(environ).invalidate()
    return _json(environ, start_response, {})


def _not_modified(environ: "WSGIEnvironment", start_response: "StartResponse", query: dict[str, str]) -> Iterable[bytes]:
    get_session(environ)["asked"] = True
    start_response("304 Not Modified", [("ETag", '"1"')])
    return []


def _raise(environ: "WSGIEnvironment", start_response: "StartResponse", query: dict[str, str]) -> Iterable[bytes]:
    get_session(environ)["half"] = "done"
    raise RuntimeError("failed on purpose")


def _error(environ: "WSGIEnvironment", start_response: "StartResponse", query: dict[str, str]) -> Iterable[bytes]:
    get_session(environ)["half"] = "done"
    return _json(environ, start_response, {}, "500 Internal Server Error")


def _file(environ: "WSGIEnvironment", start_response: "StartResponse", query: dict[str, str]) -> Iterable[bytes]:
    get_session(environ)["file"] = "sent"
    size = str(FILE.stat().st_size)
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", size)])
    file = FILE.open("rb")
    wrapper: Callable[..., Iterable[bytes]] | None = environ.get("wsgi.file_wrapper")
    return wrapper(file, 8192) if wrapper else iter(lambda: file.read(8192), b"")


def _stream(environ: "WSGIEnvironment", start_response: "StartResponse", query: dict[str, str]) -> Iterable[bytes]:
    """Send a block, and another one when the file ``until`` has come; change the session in between."""
    session = get_session(environ)
    session["early"] = "yes"
    start_response("200 OK", [("Content-Type", "text/plain")])

    def blocks() -> Iterator[bytes]:
        yield b"first"
        _wait_for(query["until"])
        session["late"] = "yes"
        yield b"second"

    return blocks()


def _endless(environ: "WSGIEnvironment", start_response: "StartResponse", query: dict[str, str]) -> Iterable[bytes]:
    session = get_session(environ)
    session["early"] = "yes"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return _Endless(session, Path(query["closed"]))


class _Endless:
    """A body of more blocks than anybody wants; how many were taken is in a file when it has been closed."""

    def __init__(self, session: Session, closed: Path) -> None:
        self._session, self._closed, self._taken = session, closed, 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._taken == MOST_BLOCKS:
            raise StopIteration
        self._taken += 1
        self._session["late"] = "yes"
        return BLOCK

    def close(self) -> None:
        with self._closed.open("a") as file:
            file.write(f"{self._taken}\n")


def _json(
    environ: "WSGIEnvironment", start_response: "StartResponse", answer: dict[str, Any], status: str = "200 OK"
) -> Iterable[bytes]:
    body = json.dumps(answer).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _wait_for(name: str) -> None:
    deadline = time.monotonic() + _WAIT_FOR
    while not Path(name).exists() and time.monotonic() < deadline:
        time.sleep(0.01)


_ACTS: dict[str, Callable[["WSGIEnvironment", "StartResponse", dict[str, str]], Iterable[bytes]]] = {
    "/set": _set,
    "/get": _get,
    "/untouched": _untouched,
    "/sign-in": _sign_in,
    "/sign-out": _sign_out,
    "/not-modified": _not_modified,
    "/raise": _raise,
    "/error": _error,
    "/file": _file,
    "/stream": _stream,
    "/endless": _endless,
}
_HERE = SessionMiddleware(_inside, f"sqlite:///{Path('sessions.sqlite3').absolute()}?timeout=10")
_AWAY = SessionMiddleware(_inside, NOWHERE)
