"""One exchange of a request for a response (PEP 3333): nothing leaves before the session is stored, nothing is read ahead.

What to store and what to tell the browser, the manager says; what stands in a cookie, its policy.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from session_middleware.advice import Advice, was_https
from session_middleware.carry_over import CarryOver
from session_middleware.cookies import SessionCookie
from session_middleware.describing import Description
from session_middleware.exceptions import ConflictError, SessionError, StoreError, anew
from session_middleware.headers import Headers, forbid_shared_caching, refuse_unsendable, vary_on_cookie
from session_middleware.manager import Send, SessionManager, Verdict
from session_middleware.session import Session
from session_middleware.state import Candidates

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("session_middleware")

ERROR_KEY: Final = "session_middleware.error"

_UNAVAILABLE = b"The service is unavailable for a moment. Please try again.\n"
_UNAVAILABLE_HEADERS = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", str(len(_UNAVAILABLE))),
    ("Cache-Control", "no-store"),
    ("Retry-After", "5"),
]

_END = object()

# The session could not be loaded or stored: the client gets a 503 and none of the application's response.
_FAULTS = (StoreError, ConflictError)


class Around(Protocol):
    """What an exchange knows of the middleware."""

    @property
    def manager(self) -> SessionManager: ...
    @property
    def advice(self) -> Advice: ...
    @property
    def carry_over(self) -> CarryOver | None: ...
    @property
    def unavailable(self) -> "WSGIApplication | None": ...


def _close(result: Iterable[bytes]) -> None:
    if close := getattr(result, "close", None):
        close()


def _start_uncached(send: "StartResponse", status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
    """Pass on what answers in place of the application: no cache is to keep it."""
    headers = list(headers)
    forbid_shared_caching(headers)
    return send(status, headers, exc_info) if exc_info else send(status, headers)


def _nobody(*_: object) -> None:
    """What stands for the server once it is not listening any more."""


class Exchange(Session):
    """One request: the session that the application sees, and the way out, which holds the status and headers back until it
    is stored. It keeps no reference to the environ, which has one to it: nothing is left for the garbage collector."""

    describe: Description | None = None

    environ: "WSGIEnvironment | None" = None
    """As the request came, for :attr:`Around.unavailable`, if there is one."""

    _status: str | None = None
    _headers: Headers
    _exc_info: Any = None
    _server_write: Any = None
    _verdict: Verdict | None = None
    _escaped = False
    _failure: StoreError | ConflictError | None = None
    _over = False
    is_sent = False
    """Whether status and headers have gone to the server."""
    wrap_file: Any = None
    """The server's ``wsgi.file_wrapper``, if it is a function."""
    _files: tuple[object, ...] = ()
    is_forwarded = False
    """Whether a proxy says that a request that came by http was https."""

    def __init__(
        self,
        middleware: Around,
        cookie: SessionCookie,
        read: Callable[[object], Candidates],
        header: object,
        start_response: "StartResponse",
        method: object,
    ) -> None:
        # What Session's own __init__() does, without the call: it is on the way of every request, touched or not.
        self._keeper = middleware.manager
        self._read = read
        self._source: Any = header
        self._middleware = middleware
        self._cookie = cookie
        self._send: Any = start_response
        self._method = method

    def wrapped_file(self, *arguments: Any) -> Any:
        """The ``wsgi.file_wrapper`` for the application where the server's is a function."""
        file = self.wrap_file(*arguments)
        self._files = (*self._files, file)
        return file

    def look_at_proxy(self, environ: "WSGIEnvironment") -> None:
        """The request came by http: see whether a proxy says otherwise, or what stands inside has corrected the scheme."""
        if environ.get("wsgi.url_scheme") == "https":
            self._middleware.advice.order()
        else:
            self.is_forwarded = was_https(environ)

    def is_complete(self, result: Iterable[bytes], wrapper: object) -> bool:
        """Tell whether the server can have what the application returned, which is no list, as it is."""
        files, self._files = self._files, ()
        return (
            result.__class__ is tuple
            or (isinstance(wrapper, type) and isinstance(result, wrapper))
            or any(result is file for file in files)
        )

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        """Note what the application wants to send; it leaves with the first block (PEP 3333, start_response())."""
        if self._status is not None and exc_info is None:
            raise AssertionError("start_response() was called a second time without exc_info")
        self._status, self._headers = status, list(headers)
        if exc_info is not None:
            self._exc_info = exc_info
            if self.is_sent:
                # The server raises exc_info if bytes have left; if none have, these headers replace the first ones.
                exc_info = None  # no cycle through the frames of the traceback
                self._pass_on()
        return self.write

    def write(self, data: bytes) -> None:
        """The write() of PEP 3333: the first one sends the headers."""
        if not isinstance(data, bytes):
            raise TypeError(f"write() takes bytes, not {type(data).__name__}")
        self.begin()
        self._server_write(data)

    @property
    def is_ready(self) -> bool:
        """Whether status and headers are there, and wait for the first block."""
        return self._status is not None and not self.is_sent

    def begin(self) -> None:
        """Store the session, then let status and headers go; nothing if they have gone, or if there are none yet."""
        if self.is_sent or self._status is None:
            return
        if self.accessed:
            self._commit()
        self.announced = self.is_sent = True
        self._pass_on()

    def complete(self) -> bool:
        """The application has returned its whole response: let it go. Return whether nothing is left to do then."""
        if not (self.accessed or self.is_sent or self._status is None or self._exc_info):
            if self._cookie.met_another:
                self._look_for_twin()
            self.announced = self.is_sent = self.is_over = True
            send, self._send = self._send, _nobody
            send(self._status, self._headers)
            return True
        has_written = self.is_sent
        self.begin()
        self._over = self.is_sent and not has_written
        return False

    def fail(self, error: BaseException, result: Iterable[bytes] = ()) -> bool:
        """An exception escapes, so the request changes nothing but what it ended. Close what the server will not see.

        Return whether the error is to be answered with a 503: a failed store, in a response that has not started.
        """
        self._escaped = True
        is_answered = False
        try:
            self.end()
            if self.is_socket:  # servers take it for the way in which a handler ends, and say nothing
                self._tell_what_is_lost()
            _close(result)
            is_answered = not self.is_sent and self._is_answered(error)
        finally:
            if not is_answered:
                self.let_go()
        return is_answered

    def _is_answered(self, error: BaseException) -> bool:
        """Tell whether :meth:`unavailable` is to answer what has failed."""
        self._failure = anew(error) if isinstance(error, _FAULTS) else None
        return self._failure is not None

    def unavailable(self) -> Iterable[bytes]:
        """Answer in place of the application (RFC 9110, 15.6.4); none of its bytes leave."""
        middleware, send = self._middleware, self._send
        middleware.manager.outage.failed(cast("SessionError", self._failure))
        self.is_sent, self._send, self._server_write = True, _nobody, _nobody
        try:
            if middleware.unavailable is not None:
                return middleware.unavailable(self._taken_environ(), partial(_start_uncached, send))
        finally:
            self.let_go()
        send("503 Service Unavailable", list(_UNAVAILABLE_HEADERS))
        return [] if self._method == "HEAD" else [_UNAVAILABLE]

    def _taken_environ(self) -> "WSGIEnvironment":
        environ, self.environ = self.environ or {}, None
        return environ | {ERROR_KEY: self._failure}

    def end(self) -> None:
        """The request is over. Store what a started response changed since; of one that never started, only the end."""
        if not self.is_sent:
            self._exc_info = None
            self.announced = True
        self.settle()
        self._over = True
        if self._status is None and not self._escaped:
            self._tell_what_is_lost()

    def _tell_what_is_lost(self) -> None:
        """Log that what a request changed is not stored, because it has ended without a response."""
        if self._status is None and self.modified:
            log.warning(
                "%r: the request has ended without a response, so what it changed is not stored: where none follows, as with"
                " a WebSocket, call session.transact(), which stores at once",
                self,
            )

    def settle(self) -> None:
        """Store what has changed since the response started, before the client can see its end."""
        if not self.accessed or self._over:
            return
        try:
            self._middleware.manager.commit(self, failed=not self.is_sent or self._is_failed())
        except SessionError as error:
            self._over = True
            self._middleware.manager.lost(self, error)

    def let_go(self) -> None:
        """Nothing of the request is left to do. Forget the server, which may have a reference to the environ."""
        self._send = self._server_write = _nobody
        self.environ = None
        if self.describe is not None:
            self.describe.forget()
        self.is_over = True

    def _commit(self) -> None:
        failed = self._is_failed()
        if self.fault is not None:
            self._note(self.fault)
        if self._failure is not None:
            raise anew(self._failure)
        state = self._state
        if state is not None and state.may_tell(self._keeper.now):
            # While nothing is stored: the browser would never learn of a new token.
            refuse_unsendable(cast("str", self._status), self._headers)
        try:
            self._verdict = self._middleware.manager.commit(self, failed=failed)
        except _FAULTS as error:
            self._failure, self._over = anew(error), True
            raise

    def _note(self, fault: StoreError | ConflictError) -> None:
        """Something has failed in the application. A framework makes a 500 of what nobody has handled."""
        if self._escaped or (self._status or "")[:3] == "500":
            self._failure = self._failure or fault
        elif isinstance(fault, StoreError):
            self._middleware.manager.outage.failed(fault)

    def _is_failed(self) -> bool:
        return self._escaped or self._status is None or self._status[:1] == "5"

    def _pass_on(self) -> None:
        """Let status and headers go. No local has the headers, nor the cookie: tracebacks may be shown with their locals."""
        exc_info, self._exc_info = self._exc_info, None
        if self.accessed:
            vary_on_cookie(self._headers)
            if self._verdict is not None:
                self._set_cookie(self._verdict)
            elif self._state is None:
                # The session could not be loaded, and the application went on without.
                forbid_shared_caching(self._headers)
        if self._cookie.met_another and self._verdict is None:
            self._look_for_twin()
        status, send = self._status or "", self._send
        try:
            self._server_write = send(status, self._headers, exc_info) if exc_info else send(status, self._headers)
        finally:
            exc_info = None

    def _set_cookie(self, verdict: Verdict) -> None:
        if self.is_forwarded:
            self._middleware.advice.proxy()
        theirs = [header for header in self._headers if self._is_same_cookie(header)]
        if theirs:
            # RFC 6265bis, 4.1.1: no two Set-Cookie of one name in a response.
            self._middleware.advice.twin(self._cookie.name)
            self._headers[:] = [header for header in self._headers if header not in theirs]
        if self._cookie.former:
            self._headers.extend([("Set-Cookie", text) for text in self._cookie.removals(self._source)])
        self._headers.append(("Set-Cookie", self._set_cookie_text(verdict)))
        old = self._middleware.carry_over
        if old is not None and old.name != self._cookie.name and old.find(self._source) is not None:
            self._headers.append(("Set-Cookie", old.deletion_header()))
        forbid_shared_caching(self._headers)

    def _set_cookie_text(self, verdict: Verdict) -> str:
        if isinstance(verdict, Send):
            return self._cookie.header(verdict.token, max_age=verdict.max_age)
        return self._cookie.deletion_header()

    def _look_for_twin(self) -> None:
        """Notice that the application sets a cookie of our name, which takes the place of ours."""
        with suppress(TypeError, AttributeError, IndexError):  # what headers can be is for the server to say
            if any(map(self._is_same_cookie, self._headers)):
                self._middleware.advice.twin(self._cookie.name)

    def _first_used_late(self) -> None:
        if not self.is_over:
            self._middleware.advice.late_use()

    def _has_odd_cookie(self) -> bool:
        return self._cookie.is_in(self._source)

    def _is_same_cookie(self, header: tuple[str, str]) -> bool:
        return header[0].lower() == "set-cookie" and self._cookie.is_set_by(header[1])


class Body:
    """What the application returned, block by block: one in, one out, nothing read ahead."""

    __slots__ = ("_exchange", "_iterable", "_iterator")

    def __init__(self, exchange: Exchange, iterable: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._iterable = iterable
        self._iterator = iter(iterable)

    def start(self) -> "Body":
        """Let the response start if the application has called start_response(), so that the server hears of it at once.

        The first block is made before that: if that fails, the request is to change nothing.
        """
        if self._exchange.is_ready:
            block: Any = next(self._iterator, _END)
            self._exchange.begin()
            self._iterator = iter(()) if block is _END else chain((block,), self._iterator)
        return self

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        exchange = self._exchange
        block: Any
        try:
            block = next(self._iterator, _END)
            if not exchange.is_sent:
                exchange.begin()
        except BaseException as error:
            if not exchange.fail(error):
                raise
            self._close()
            self._iterable = exchange.unavailable()
            self._iterator = iter(self._iterable)
            block = next(self._iterator, _END)
        if block is _END:
            exchange.settle()
            raise StopIteration
        return cast("bytes", block)

    def close(self) -> None:
        """Close what the application returned, exactly once, and end the request whatever comes of that."""
        try:
            self._close()
        except BaseException as error:
            self._exchange.fail(error)
            raise
        self._exchange.end()
        self._exchange.let_go()

    def _close(self) -> None:
        iterable, self._iterable = self._iterable, ()
        _close(iterable)
