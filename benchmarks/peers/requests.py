"""Requests to a WSGI application without a server, and the cookies that a browser would keep of the answers."""

import io
import time
from typing import Any, NamedTuple

from benchmarks.peers.contenders import Application


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    text: str
    seconds: float

    @property
    def cookies(self) -> list[str]:
        return [value for name, value in self.headers if name.lower() == "set-cookie"]


def environ_of(path: str, cookie: str = "", scheme: str = "http") -> dict[str, Any]:
    """Return the environ of a GET request for *path*, which may have a query."""
    where, _, query = path.partition("?")
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": where,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "443" if scheme == "https" else "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": scheme,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if cookie:
        environ["HTTP_COOKIE"] = cookie
    return environ


def serve(application: Application, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
    """Do as a server does, to the end of the body."""
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        started[:] = [status, headers]

    blocks = application(environ, start_response)
    try:
        body = b"".join(blocks)
    finally:
        if hasattr(blocks, "close"):
            blocks.close()
    return started[0], started[1], body


def ask(application: Application, path: str, cookie: str = "", scheme: str = "http") -> Answer:
    """Make a request; what escapes from the application is a 500, as any server makes of it."""
    start = time.perf_counter()
    try:
        status, headers, body = serve(application, environ_of(path, cookie, scheme))
    except Exception as error:
        return Answer(500, [], type(error).__name__, time.perf_counter() - start)
    text = body.decode(errors="replace")
    return Answer(int(status.partition(" ")[0]), headers, text, time.perf_counter() - start)


def kept(cookie: str, answer: Answer) -> str:
    """Return the ``Cookie`` header that follows *cookie* after the answer."""
    pairs = dict(pair.split("=", 1) for pair in cookie.split("; ") if "=" in pair)
    for line in answer.cookies:
        pair, _, attributes = line.partition(";")
        name, _, value = pair.strip().partition("=")
        gone = (
            "max-age=0" in attributes.lower() or "01 jan 1970" in attributes.lower() or "01-jan-1970" in attributes.lower()
        )
        pairs.pop(name, None)
        if not gone:
            pairs[name] = value
    return "; ".join(f"{name}={value}" for name, value in pairs.items())
