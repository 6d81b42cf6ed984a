"""What the experiments ask for: requests that look, write together with others, break, and go on after they began."""

import json
import re
import time
from collections.abc import Iterator

from webob import Request, Response
from webob.exc import HTTPBadRequest

from examples.lab import web
from examples.lab.notebook import Notebook
from examples.lab.web import field, page
from session_middleware import Session

_HELD = {"key": 0.6, "late": 2.0}
"""How long a request waits, at most, for the others that are to run together with it (seconds)."""


class Probes:
    """Pages for the lab itself; each answers in JSON or in bits of text."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook

    def who(self, request: Request, session: Session) -> Response:
        """Tell what a request sees: who is signed in, and how often someone has counted."""
        return web.json_answer(json.dumps({"user": session.user_id, "visits": session.get("visits")}))

    def write(self, request: Request, session: Session) -> Response:
        """Add a key, after all that are to run together have loaded the session; do the same by hand beside it."""
        name, run, together = field(request, "name")[:20], field(request, "run")[:60], field(request, "together")
        if not re.fullmatch("(?:key|late)-[0-9]{2}", name) or not re.fullmatch("[0-9]{1,2}", together):
            raise HTTPBadRequest("error.probe")
        known = self._notebook.naive_load(run)
        self._notebook.arrive(run, name)
        deadline = time.monotonic() + _HELD[name.partition("-")[0]]
        while self._notebook.arrived(run) < int(together) and time.monotonic() < deadline:
            time.sleep(0.01)
        session[name] = run
        self._notebook.naive_save(run, [*known, name])
        return web.json_answer("{}")

    def break_(self, request: Request, session: Session) -> Response:
        session["half-done"] = "the order was placed, the payment was not"
        session["visits"] = -1
        return page(request, session, "error.html", status=500, with_forms=False, error="error.broken", code=500)

    def stream(self, request: Request, session: Session) -> Response:
        run = field(request, "run")[:60]
        response = web.json_answer("")
        response.app_iter = self._stream(session, run)
        return response

    def _stream(self, session: Session, run: str) -> Iterator[bytes]:
        parts = 3
        yield b"%d\n" % parts
        for number in range(1, parts):
            time.sleep(0.1)
            session["streamed"] = run
            yield b"part %d\n" % (number + 1)
