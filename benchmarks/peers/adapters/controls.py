"""Two that show what the harness can tell: sessions that lose nothing, and sessions that lose everything."""

import secrets
from collections import defaultdict
from collections.abc import Callable
from threading import RLock
from typing import Any

from benchmarks.peers.adapters import frameworks
from benchmarks.peers.application import Ways, handle
from benchmarks.peers.contenders import Made, Place


class Held(dict[str, Any]):
    """A session as the application sees it; *fate* is what is to become of it."""

    fate = "keep"


def _sign_in(session: Held) -> None:
    session.fate = "rotate"
    session["user"] = "alice"


def _sign_out(session: Held) -> None:
    session.fate = "end"


WAYS = Ways(_sign_in, _sign_out)


class Keeps:
    """One request of a session after the other, each on what the one before has left."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.locks: defaultdict[str, RLock] = defaultdict(RLock)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        key = _cookie(environ)
        with self.locks[key]:
            session = Held(self.sessions.get(key, {}))
            text = handle(WAYS, lambda: session, environ["PATH_INFO"], environ["QUERY_STRING"])
            headers = self.store(key, session)
        start_response("200 OK", [*frameworks.TEXT, *headers])
        return [text.encode()]

    def store(self, key: str, session: Held) -> list[tuple[str, str]]:
        if session.fate == "end":
            self.sessions.pop(key, None)
            return _set("; Max-Age=0")
        if not session or (key in self.sessions and session.fate == "keep"):
            if session:
                self.sessions[key] = dict(session)
            return []
        self.sessions.pop(key, None)
        key = secrets.token_urlsafe(30)
        self.sessions[key] = dict(session)
        return _set(key)


class Loses(Keeps):
    """What a session has when it begins stays for ever, under every id that it had or was given; nothing is added."""

    first: dict[str, Any] | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        key = _cookie(environ)
        session = Held(self.sessions.get(key, {}))
        text = handle(WAYS, lambda: session, environ["PATH_INFO"], environ["QUERY_STRING"])
        if session and key not in self.sessions:
            key = key or "guessed"
            self.sessions[key] = dict(session)
        elif session.fate == "rotate":
            self.sessions[key]["user"] = "alice"
        start_response("200 OK", [*frameworks.TEXT, *(_set(key) if session else [])])
        return [text.encode()]


def _cookie(environ: dict[str, Any]) -> str:
    return str(environ.get("HTTP_COOKIE", "")).partition("session=")[2].partition(";")[0]


def _set(value: str) -> list[tuple[str, str]]:
    return [("Set-Cookie", f"session={value}")]


def make(store: str, place: Place, options: dict[str, Any]) -> Made:
    return Made(Keeps() if options["keeps"] else Loses(), frameworks.plain(lambda environ: {}))
