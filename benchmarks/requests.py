"""Requests without a server: an environ, and what calls an application with it."""

import io
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from benchmarks.applications import Application

Case = Callable[[], object]


def call(application: Application, token: str | None, path: str = "/") -> Case:
    """Return a case that is one request with the cookie *token*, or with no cookie of ours."""
    environ = _environ(path)
    if token is not None:
        environ["HTTP_COOKIE"] = f"theme=dark; session={token}"
    return lambda: application(dict(environ), _start_response)


def any_of(application: Application, tokens: Sequence[str], chance: Random) -> Case:
    """Return a case that is a request with one of the *tokens* each time."""
    environ, count = _environ("/"), len(tokens)

    def case() -> None:
        request = dict(environ)
        request["HTTP_COOKIE"] = f"theme=dark; session={tokens[int(chance.random() * count)]}"
        application(request, _start_response)

    return case


def _start_response(status: str, headers: object, exc_info: object = None) -> None: ...


def _environ(path: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "wsgi.input": io.BytesIO(),
        "wsgi.url_scheme": "http",
        "wsgi.multiprocess": False,
    }
