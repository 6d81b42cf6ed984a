"""The book beside the lab, if it has been made: its files under ``/book/``, and where each step of the lesson is in it."""

import re
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from webob import Request, Response
from webob.dec import wsgify

from examples.lab import web

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PREFIX = "/book/"
LESSONS = {"en": "explanation/how-sessions-work.html", "ko": "explanation/how-sessions-work.ko.html"}
TYPES = web.TYPES | {".html": "text/html", ".png": "image/png"}


class Book:
    """The book that ``make docs`` has put into *directory*; what it has not made when this is called is not there."""

    def __init__(self, directory: Path) -> None:
        found = (file for file in directory.rglob("*") if file.suffix in TYPES and file.is_file())
        # Only what is in this list is served, so no path leads out of the directory.
        self._files = {PREFIX + file.relative_to(directory).as_posix(): file for file in found}
        index = self._files.get(f"{PREFIX}index.html")
        if index is not None:
            self._files[PREFIX] = index
        self._headers = web.HEADERS | {"Content-Security-Policy": _policy(index)}

    def step(self, language: str, number: int) -> str:
        """Return the address of a step of the lesson, 1 to 6; empty if it is not there."""
        page = PREFIX + LESSONS[language]
        return f"{page}#step-{number}" if page in self._files else ""

    def beside(self, app: "WSGIApplication") -> "WSGIApplication":
        """Return an application that serves the book, and *app* for all else: who reads leaves no trace in the lab."""

        def serve(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
            read = environ.get("PATH_INFO", "").startswith(PREFIX)
            return self._respond(environ, start_response) if read else app(environ, start_response)

        return serve

    @wsgify
    def _respond(self, request: Request) -> Response:
        response = self._answer(request.method, request.environ["PATH_INFO"])
        response.headers.update(self._headers.items())
        return response

    def _answer(self, method: str, path: str) -> Response:
        file = self._files.get(path)
        if file is None or not file.is_file():
            return Response(status=404, text="There is no such page.\n", content_type="text/plain", charset="UTF-8")
        if method not in ("GET", "HEAD"):
            return Response(status=405, allow="GET, HEAD", content_type="text/plain")
        changed = datetime.fromtimestamp(int(file.stat().st_mtime), UTC)
        response = Response(body=file.read_bytes(), content_type=TYPES[file.suffix], last_modified=changed)
        response.cache_control, response.conditional_response = "no-cache", True
        return response


def _policy(page: Path | None) -> str:
    """Allow what the pages have inline: styles, and the very script that chooses light or dark."""
    scripts = [] if page is None else re.findall(b"<script>(.*?)</script>", page.read_bytes(), re.DOTALL)
    allowed = "".join(f" 'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts)
    return (
        f"default-src 'none'; script-src 'self'{allowed}; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
