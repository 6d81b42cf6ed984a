"""What a request really did: a layer around the middleware and one around the store write it down. It keeps no secret."""

import logging
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

from examples.lab.notebook import Notebook
from examples.lab.shortened import short_cookies, short_path, short_set_cookie
from session_middleware import CookiePolicy
from session_middleware.cookies import SessionCookie
from session_middleware.middleware import ENVIRON_KEY
from session_middleware.rules import Opens
from session_middleware.session import Session
from session_middleware.stores.around import StoreAround
from session_middleware.stores.base import Record, Version

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("examples.lab")

T = TypeVar("T")

Phase: TypeAlias = Literal["application", "commit", "late"]
Kind: TypeAlias = Literal["untouched", "read", "write"]
About: TypeAlias = Literal["own", "mark", "other"]
Act: TypeAlias = Literal["", "login", "joined", "regenerate"]

_WRITES = frozenset({"create", "update", "delete"})
_RUN = re.compile(r"[a-z-]{1,40}\.[0-9a-f]{8}")
_VISITORS = {
    secure: re.compile(rf"(?:^|;)[ \t]*{prefix}lab=([0-9a-f]{{32}})(?=[ \t]*(?:;|$))")
    for secure, prefix in ((False, ""), (True, "__Host-"))
}


class Call(NamedTuple):
    """One call of the store.

    *phase*: while the application ran, when the response was about to leave, or after that. *about*: a session that the
    request's cookie names, the mark of the user that it is about, or anything else.
    """

    verb: str
    ms: float
    outcome: bool
    phase: Phase
    about: About


@dataclass(slots=True)
class Trace:
    """One request; what would open a session is shortened before it gets here."""

    method: str
    path: str
    cookie: str | None
    """The ``Cookie`` header; ``None`` without one."""
    has_token: bool
    at: float
    ids: tuple[str, ...] = ()
    """Those of the sessions that the cookie names."""
    run: str = ""
    """The experiment that the request is part of; empty for what the visitor's browser asked for itself."""
    phase: Phase = "application"
    calls: list[Call] = field(default_factory=list)
    opens: str = ""
    """What the cookie opened, see :class:`Opens`; empty if the site has not said."""
    mark: str = ""
    """The id of the mark of the user that the request is about."""
    act: Act = ""
    """What gave the session a new secret, if anything did."""
    check_ms: float | None = None
    """How long the user database took, if it was asked."""
    status: str = ""
    set_cookie: str | None = None
    ms: float = 0.0
    """Until the first byte could leave."""
    kind: Kind = "untouched"
    only_read: bool = False
    """Whether the application left the session as it was; a write is then no more than a note that it was used."""
    session_id: str | None = None

    def came_in(self, session: Session) -> None:
        """Note what the cookie opens; whoever uses the session would load it as well."""
        state = None if session.is_new else session.state
        self.opens = (Opens.NOTHING if state is None else state.opens).value

    def going_out(self, session: Session) -> None:
        """Note what the application did, before that is stored."""
        state = session.state
        self.only_read = not session.modified
        if state is not None:
            self.act = "login" if state.login is not None else "regenerate" if state.regenerates else ""
        self.phase = "commit"


CURRENT: ContextVar[Trace | None] = ContextVar("lab_trace", default=None)


@contextmanager
def untraced() -> Iterator[None]:
    """What the lab itself asks the store for its pages is not part of the request."""
    before = CURRENT.set(None)
    try:
        yield
    finally:
        CURRENT.reset(before)


class TimedStore(StoreAround):
    """A store around another that notes each call in the trace of the request."""

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        # What has expired already takes the place of a record that is to go: see the protocol.
        verb = "delete" if record.expires_at <= time.time() else "update"
        return self.around(verb, key, partial(self.inner.update, key, record, version=version))

    def around(self, verb: str, key: str, call: Callable[[], T]) -> T:
        return _timed(verb, key, call)

    def around_list(self, verb: str, key: str, keys: Iterable[str]) -> Iterator[str]:
        return _timed_list(verb, iter(keys))


def _timed(verb: str, key: str, call: Callable[[], T]) -> T:
    trace = CURRENT.get()
    if trace is None:
        return call()
    started, outcome = time.perf_counter(), False
    try:
        result = call()
        outcome = bool(result)
        return result
    finally:
        about: About = "own" if key in trace.ids else "mark" if key and key == trace.mark else "other"
        trace.calls.append(Call(verb, (time.perf_counter() - started) * 1000, outcome, trace.phase, about))


def _timed_list(verb: str, keys: Iterator[str]) -> Iterator[str]:
    """Note a list as one call, which takes as long as its pages do."""
    trace = CURRENT.get()
    if trace is None:
        yield from keys
        return
    place, seconds, key = len(trace.calls), 0.0, None
    trace.calls.append(Call(verb, 0.0, False, trace.phase, "other"))
    while True:
        started = time.perf_counter()
        try:
            key = next(keys, None)
        finally:
            seconds += time.perf_counter() - started
            found = trace.calls[place].outcome or key is not None
            trace.calls[place] = trace.calls[place]._replace(ms=seconds * 1000, outcome=found)
        if key is None:
            return
        yield key


class Recorder:
    """Wrap the middleware; the trace of each request goes into the notebook, under the visitor it belongs to.

    The visitor is known by a cookie of the lab's own, ``lab``: a request that does not touch the session has a trace too.
    It opens nothing, and no script can read it.
    """

    def __init__(self, app: "WSGIApplication", notebook: Notebook, cookie: CookiePolicy) -> None:
        self.app = app
        self._notebook = notebook
        self._cookies = {scheme: cookie.for_scheme(scheme) for scheme in ("http", "https")}

    def __getattr__(self, name: str) -> Any:
        if name == "app":
            raise AttributeError(name)
        return getattr(self.app, name)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        started = time.perf_counter()
        known = visitor_of(environ)
        visitor = environ["lab.visitor"] = known or secrets.token_hex(16)
        trace = environ["lab.trace"] = self._begin(environ)
        CURRENT.set(trace)

        def begin(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
            self._answer(trace, status, headers, environ, started)
            if known is None and status < "4" and _is_page(headers):
                headers = [*headers, ("Set-Cookie", _lab_cookie(visitor, environ))]
            return start_response(status, headers, *exc_info)

        try:
            result = self.app(environ, begin)
        except BaseException:
            self._note(visitor, trace)
            raise
        return _Recording(result, trace, partial(self._note, visitor, trace))

    def _begin(self, environ: "WSGIEnvironment") -> Trace:
        run, header = environ.get("HTTP_X_LAB_RUN", ""), environ.get("HTTP_COOKIE")
        cookie = self._cookie_of(environ)
        return Trace(
            method=environ["REQUEST_METHOD"][:10],
            path=short_path(environ.get("PATH_INFO") or "/"),
            cookie=None if header is None else short_cookies(header, cookie.name),
            has_token=re.search(rf"(?:^|;)[ \t]*{re.escape(cookie.name)}=", header or "") is not None,
            at=time.time(),
            ids=tuple([token.id for token in cookie.read(header)]),
            run=run if _RUN.fullmatch(run) else "",
        )

    def _answer(
        self, trace: Trace, status: str, headers: list[tuple[str, str]], environ: "WSGIEnvironment", started: float
    ) -> None:
        trace.ms = (time.perf_counter() - started) * 1000
        trace.status = status
        cookie = self._cookie_of(environ)
        cookies = [value for key, value in headers if key.lower() == "set-cookie" and cookie.is_set_by(value)]
        trace.set_cookie = short_set_cookie(cookies[0], cookie.name) if cookies else None
        session = environ.get(ENVIRON_KEY)
        if isinstance(session, Session) and session.accessed:
            trace.kind = "read"
            state = session.state
            if state is not None and state.found is not None and state.opens is not Opens.NOTHING:
                trace.session_id = state.found.id
                if trace.act == "login" and len(state.envelope.current) > 1:
                    trace.act = "joined"  # the second click of a double click
        trace.phase = "late"
        self._see_writes(trace)

    def _cookie_of(self, environ: "WSGIEnvironment") -> SessionCookie:
        return self._cookies["https" if environ.get("wsgi.url_scheme") == "https" else "http"]

    def _note(self, visitor: str, trace: Trace) -> None:
        CURRENT.set(None)
        self._see_writes(trace)
        try:
            self._notebook.add(visitor, trace)
        except sqlite3.Error as error:
            log.warning("a trace could not be kept: %s", error)

    def _see_writes(self, trace: Trace) -> None:
        if any(call.verb in _WRITES and (call.phase != "commit" or not trace.only_read) for call in trace.calls):
            trace.kind = "write"


class _Recording:
    """The body on its way out; when it is closed the request is over."""

    def __init__(self, result: Iterable[bytes], trace: Trace, done: Callable[[], None]) -> None:
        self._result = result
        self._iterator = iter(result)
        self._trace = trace
        self._done = done

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        CURRENT.set(self._trace)
        return next(self._iterator)

    def close(self) -> None:
        try:
            if close := getattr(self._result, "close", None):
                close()
        finally:
            self._done()


def visitor_of(environ: "WSGIEnvironment") -> str | None:
    """Return the visitor that the lab's own cookie names; ``None`` without one.

    Over https it is the one that no other host can have set.
    """
    found = _VISITORS[environ["wsgi.url_scheme"] == "https"].search(environ.get("HTTP_COOKIE", ""))
    return found and found[1]


def _is_page(headers: list[tuple[str, str]]) -> bool:
    return any(name.lower() == "content-type" and value.startswith("text/html") for name, value in headers)


def _lab_cookie(visitor: str, environ: "WSGIEnvironment") -> str:
    secure = environ.get("wsgi.url_scheme") == "https"
    return f"{'__Host-' if secure else ''}lab={visitor}; Path=/; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"
