"""Calls the middleware in this process: for races and floods, where the cost of a server would hide what is looked for."""

import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from session_middleware import Session, SessionMiddleware, Store, get_session
from tests.gates import full

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

Handler = Callable[[Session], Iterable[bytes]]
Act = Callable[[], Any]

_WITHIN = full(600, None)


class Answer(NamedTuple):
    """What the client got. ``token`` is what a ``Set-Cookie`` told it; empty for a cookie removed, ``None`` for none."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def token(self) -> str | None:
        found = [value for name, value in self.headers if name == "Set-Cookie"]
        assert len(found) < 2, found
        return found[0].partition("=")[2].partition(";")[0] if found else None


class Site:
    """An application that does what each visit asks of it, behind the middleware."""

    def __init__(self, store: Store, **options: Any) -> None:
        self.middleware = SessionMiddleware(self._application, store, **options)
        self.manager = self.middleware.manager
        self.store = store

    def visit(self, handler: Handler, token: str | None = None) -> Answer:
        """Make one request with the cookie *token*, to its end; *handler* is what the application does."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/",
            "wsgi.url_scheme": "http",
            "site.handler": handler,
        }
        if token is not None:
            environ["HTTP_COOKIE"] = f"session={token}"
        status, headers = "", []

        def start_response(line: str, pairs: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], object]:
            nonlocal status, headers
            status, headers = line, pairs
            return bytes

        blocks = self.middleware(environ, start_response)
        try:
            body = b"".join(blocks)
        finally:
            if close := getattr(blocks, "close", None):
                close()
        return Answer(status, headers, body)

    def sign_in(self, user_id: str | None = None, **data: Any) -> str:
        """Make a session with *data*, of *user_id* if given; return its token."""

        def handler(session: Session) -> Iterable[bytes]:
            session.update(data)
            if user_id is not None:
                session.login(user_id)
            return [b"welcome"]

        token = self.visit(handler).token
        assert token
        return token

    def opened(self, token: str) -> dict[str, Any]:
        """Return the data of the session that *token* opens, and the user as ``user_id`` if there is one.

        Empty if it opens nothing, or no more than what is left for who comes late.
        """
        session = self.manager.open(token)
        if session.is_gone:
            return {}
        user = {} if session.user_id is None else {"user_id": session.user_id}
        return dict(session) | user

    @staticmethod
    def _application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        body: Iterable[bytes] = environ["site.handler"](get_session(environ))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body


class Racers:
    """Threads that begin their acts at the same moment, round after round."""

    def __init__(self, count: int) -> None:
        self._gate = Barrier(count + 1)
        self._acts: list[Act] = []
        self._results: list[Any] = [None] * count
        self._failures: list[BaseException] = []
        self._threads = [Thread(target=self._work, args=(place,), daemon=True) for place in range(count)]
        for thread in self._threads:
            thread.start()

    def run(self, *acts: Act) -> list[Any]:
        """Run each act in a thread of its own; return what they return, raise what the first of them raised."""
        assert len(acts) == len(self._threads)
        self._acts = list(acts)
        self._gate.wait(120)
        self._gate.wait(_WITHIN)
        if self._failures:
            raise self._failures[0]
        return list(self._results)

    def stop(self) -> None:
        self._acts = []
        self._gate.wait(120)
        for thread in self._threads:
            thread.join(120)

    def _work(self, place: int) -> None:
        while True:
            self._gate.wait()
            if not self._acts:
                return
            try:
                self._results[place] = self._acts[place]()
            except BaseException as error:
                self._failures.append(error)
            self._gate.wait()


@contextmanager
def racers(count: int) -> Iterator[Racers]:
    """Yield that many racers; meanwhile the interpreter changes threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    crew = Racers(count)
    try:
        yield crew
    finally:
        crew.stop()
        sys.setswitchinterval(interval)


# What requests do that say whether they had the session


def saw(session: Session) -> list[bytes]:
    return [b"saw it" if "secret" in session else b"saw nothing"]


def write(session: Session) -> Iterable[bytes]:
    seen = saw(session)
    session[secrets.token_hex(4)] = 1
    return seen


def regenerate(session: Session) -> Iterable[bytes]:
    seen = saw(session)
    session["regenerated"] = 1
    session.regenerate()
    return seen


def transact(session: Session) -> Iterable[bytes]:
    seen = saw(session)
    session.transact(lambda data: data.update(count=data.get("count", 0) + 1))
    return seen
