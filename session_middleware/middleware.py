"""SessionMiddleware: WSGI (PEP 3333) and nothing else. What to store and what to tell the browser, the manager says."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from session_middleware.carry_over import CarryOver
from session_middleware.clock import system_clock
from session_middleware.codecs import Codec
from session_middleware.config import options
from session_middleware.cookies import CookiePolicy, SessionCookie, reader
from session_middleware.exceptions import ConfigurationError, ConflictError, SessionError, StoreError, anew
from session_middleware.headers import Headers, forbid_shared_caching, refuse_unsendable, vary_on_cookie
from session_middleware.lifetime import Lifetime
from session_middleware.manager import DEFAULT_STORE, MAX_BYTES, Send, SessionManager, Verdict
from session_middleware.session import Session
from session_middleware.state import Candidates
from session_middleware.stores.base import Store

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("session_middleware")

ENVIRON_KEY = "session_middleware.session"
ERROR_KEY = "session_middleware.error"

_FORWARDED_HTTPS = re.compile(r'(?:^|[;,\s])proto="?https\b', re.IGNORECASE)
_ENVIRON_KEY = re.compile(r"(?!wsgi\.)\w[\w-]*(\.[\w-]+)+")

_UNAVAILABLE = b"The service is unavailable for a moment. Please try again.\n"
_UNAVAILABLE_HEADERS = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", str(len(_UNAVAILABLE))),
    ("Cache-Control", "no-store"),
    ("Retry-After", "5"),
]

_END = object()

_NESTED = (
    "two session middlewares are nested and would use the same session or cookie:"
    " give one of them another environ_key and CookiePolicy(name=...), or take one away"
)

# Where a middleware, or a framework's application, keeps what it wraps.
_WRAPPED = ("app", "wsgi_app", "application", "middleware")

# The session could not be loaded or stored: the client gets a 503 and none of the application's response.
_FAULTS = (StoreError, ConflictError)


def get_session(environ: Mapping[str, Any], environ_key: str = ENVIRON_KEY) -> Session:
    """Return the session of the request; raise :exc:`ConfigurationError` if no middleware has put one there."""
    session = environ.get(environ_key)
    if not isinstance(session, Session):
        raise ConfigurationError(f"no session in environ[{environ_key!r}]: wrap the application with SessionMiddleware")
    return session


class SessionMiddleware:
    """Wrap a WSGI application, so that :func:`get_session` finds the session of each request.

    *store*: a :class:`Store`, or a URL for :func:`open_store`; ``./sessions.sqlite3`` if it is left out.
    *lifetime*: the timeouts of new sessions. *cookie*: name and attributes. *codec*: how data become bytes;
    :class:`MsgpackCodec` by default. *max_bytes*: the largest session. *namespace*: keeps the tokens of two sites apart that
    share one store; without it the name of the cookie. *environ_key*: where the session is put; give another one when two
    middlewares are nested. *clock* returns epoch seconds. *carry_over*: opens the sessions of another
    library, once each, so that users stay signed in through a move; see :mod:`session_middleware.integrations.moving`.
    *unavailable*: a WSGI application that answers in place of a short 503 text when the session cannot be loaded or stored.
    It finds the :exc:`StoreError` or :exc:`ConflictError` in ``environ["session_middleware.error"]``, and no session.
    *check_store*: try the store at once (:meth:`SessionManager.check_store`), so that what can never work does not start.

    Raise :exc:`ConfigurationError` for options that cannot work. Attributes that it lacks are those of the application.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        store: Store | str = DEFAULT_STORE,
        *,
        lifetime: Lifetime = Lifetime.AAL2,
        cookie: CookiePolicy = CookiePolicy(),  # noqa: B008  # frozen
        codec: Codec | None = None,
        max_bytes: int = MAX_BYTES,
        namespace: str | None = None,
        environ_key: str = ENVIRON_KEY,
        clock: Callable[[], float] = system_clock,
        carry_over: CarryOver | None = None,
        unavailable: "WSGIApplication | None" = None,
        check_store: bool = True,
    ) -> None:
        if not callable(app):
            raise ConfigurationError(f"{app!r} is not a WSGI application")
        if unavailable is not None and not callable(unavailable):
            raise ConfigurationError(f"unavailable={unavailable!r}: write a WSGI application, which answers with a 503")
        if not isinstance(cookie, CookiePolicy):
            raise ConfigurationError(f"cookie={cookie!r}: write CookiePolicy(name=...)")
        if not isinstance(environ_key, str) or not _ENVIRON_KEY.fullmatch(environ_key):
            raise ConfigurationError(
                f"environ_key={environ_key!r}: write a text with a dot in it, but none of wsgi's own (PEP 3333)"
            )
        if carry_over is not None:
            _refuse_collision(cookie, carry_over)
        if namespace is None and any(former.name != cookie.name for former in cookie.former):
            raise ConfigurationError(
                "cookie: sessions belong to a namespace, which has been the name of the cookie; now that this has another,"
                f" write namespace={cookie.former[-1].name!r}, and keep it when former=... goes"
            )
        self.app = app
        self.manager = SessionManager(
            store,
            lifetime=lifetime,
            codec=codec,
            namespace=cookie.name if namespace is None else namespace,
            max_bytes=max_bytes,
            clock=clock,
        )
        self.environ_key = environ_key
        self.carry_over = carry_over
        self.unavailable = unavailable
        self.http, self.https = cookie.for_scheme("http"), cookie.for_scheme("https")
        self._by_http = self.http, reader(self.http, carry_over)
        self._by_https = self.https, reader(self.https, carry_over)
        self._warn_of_processes = getattr(self.manager.store, "single_process", False)
        self._warn_of_proxy = cookie.secure == "auto"
        self._warn_of_late_use = self._warn_of_twin = True
        for inner in _wrapped_by(app):
            if isinstance(inner, SessionMiddleware) and inner.collides_with(self):
                raise ConfigurationError(_NESTED)
        if check_store:
            self.manager.check_store()

    @classmethod
    def from_config(
        cls, app: "WSGIApplication", mapping: Mapping[str, str], prefix: str = "session."
    ) -> "SessionMiddleware":
        """Wrap *app* with the options that *mapping*, as from an ini file, holds under *prefix*; others are ignored.

        Raise :exc:`ConfigurationError` for an unknown option, naming the nearest, and for a value that cannot be read.
        """
        return cls(app, **options(mapping, prefix))

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        https = environ.get("wsgi.url_scheme") == "https"
        cookie, read = self._by_https if https else self._by_http
        if (self.environ_key in environ or cookie.environ_key in environ) and self._is_inner(environ, cookie):
            return self.app(environ, start_response)
        exchange = _Exchange(self, cookie, read, environ.get("HTTP_COOKIE"), start_response, environ.get("REQUEST_METHOD"))
        if self.unavailable is not None:
            exchange.environ = dict(environ)
        environ[self.environ_key] = environ[cookie.environ_key] = exchange
        wrapper = environ.get("wsgi.file_wrapper")
        if wrapper is not None and type(wrapper) is not type:
            # A function, as on uWSGI: only the object that it returned tells the server that it is a file.
            exchange.wrap_file, environ["wsgi.file_wrapper"] = wrapper, exchange.wrapped_file
        if "HTTP_UPGRADE" in environ:
            exchange.is_socket = "websocket" in str(environ["HTTP_UPGRADE"]).lower()
        if self._warn_of_processes and environ.get("wsgi.multiprocess"):
            self._warn_of_processes = False
            log.warning("the store keeps sessions in this process alone, and there are several: requests will miss them")
        result: Iterable[bytes] = ()
        try:
            result = self.app(environ, exchange.start_response)
            if exchange.accessed or result.__class__ is not list:
                if self._warn_of_proxy and not https:
                    self._look_at_proxy(environ, exchange)
                del environ
                if result.__class__ is not list and not exchange.is_complete(result, wrapper):
                    return _Body(exchange, result).start()
            else:
                # It has the cookie, and a traceback of what fails from here on may be shown with its locals.
                del environ
            # No code of the application runs after this, so its own object can go on to the server.
            is_over = exchange.complete()
        except BaseException as error:
            if not exchange.fail(error, result):
                raise
            return exchange.unavailable()
        if not is_over:
            exchange.end()
            exchange.let_go()
        return result

    def __getattr__(self, name: str) -> Any:
        if name == "app":
            raise AttributeError(name)
        return getattr(self.app, name)

    def _is_inner(self, environ: "WSGIEnvironment", cookie: SessionCookie) -> bool:
        """Tell whether the application made this request of its own environ; refuse two middlewares that would collide.

        A session left from a request that has been answered is of no matter: an error page may be asked for with the
        environ of the page that failed.
        """
        found = [environ[key] for key in (self.environ_key, cookie.environ_key) if key in environ]
        if all(isinstance(session, Session) and session.announced for session in found):
            return False
        if all(isinstance(session, Session) and session.belongs_to(self.manager) for session in found):
            return True
        raise ConfigurationError(_NESTED)

    def collides_with(self, outer: "SessionMiddleware") -> bool:
        """Tell whether the two would use the same place in the environ, or the same cookie, around one application."""
        names = (self.http.name == outer.http.name, self.https.name == outer.https.name)
        return self.environ_key == outer.environ_key or any(names)

    def note_proxy(self) -> None:
        """Warn once that a proxy has ended TLS and the server was not told: the cookie goes out without Secure."""
        if self._warn_of_proxy:
            self._warn_of_proxy = False
            log.warning(
                "a proxy says https, the server http, so the session cookie is not Secure: let the server trust the"
                " proxy (gunicorn: forwarded_allow_ips), or set CookiePolicy(secure=True)"
            )

    def note_late_use(self) -> None:
        """Warn once that a page depends on the session and cannot say so."""
        if self._warn_of_late_use:
            self._warn_of_late_use = False
            log.warning(
                "a session was used for the first time after its response had started: so that has no Vary: Cookie, and a"
                " cache may give it to others; use the session, if only by reading, before the first block"
            )

    def note_twin(self, name: str) -> None:
        """Warn once that the application sets a cookie of our name."""
        if self._warn_of_twin:
            self._warn_of_twin = False
            log.warning(
                "the application sets a cookie named %s itself: beside the session's it is left out, and alone it takes its"
                " place and signs the user out; give it another name; if it is Flask's own session, write Sessions(app)",
                name,
            )

    def _look_at_proxy(self, environ: "WSGIEnvironment", exchange: "_Exchange") -> None:
        """Warn once if what corrects the scheme stands inside, for the cookie was chosen by then."""
        if environ.get("wsgi.url_scheme") != "https":
            exchange.is_forwarded = was_https(environ)
            return
        self._warn_of_proxy = False
        log.warning(
            "the scheme became https inside of SessionMiddleware, so the session cookie is not Secure: wrap in the other"
            " order, so that ProxyFix, or what else reads the proxy's headers, is outside: ProxyFix(SessionMiddleware(app))"
        )


def was_https(environ: "WSGIEnvironment") -> bool:
    """Tell whether a proxy says that the request came to it by https (RFC 7239 and what was there before it)."""
    return (
        ("HTTP_X_FORWARDED_PROTO" in environ and "https" in str(environ["HTTP_X_FORWARDED_PROTO"]).lower())
        or ("HTTP_FORWARDED" in environ and _FORWARDED_HTTPS.search(str(environ["HTTP_FORWARDED"])) is not None)
        or ("HTTP_X_FORWARDED_SSL" in environ and str(environ["HTTP_X_FORWARDED_SSL"]).lower() == "on")
    )


def _wrapped_by(app: object) -> Iterator[object]:
    """Yield *app* and what it wraps, as far as the usual names of attributes tell."""
    seen: set[int] = set()
    while app is not None and id(app) not in seen:
        seen.add(id(app))
        yield app
        found = getattr(app, "__dict__", {})
        app = next((found[name] for name in _WRAPPED if found.get(name) is not None), None)


def _refuse_collision(cookie: CookiePolicy, carry_over: CarryOver) -> None:
    wanted = ("name", "path", "domain", "find", "deletion_header")
    if isinstance(carry_over, type) or not all(hasattr(carry_over, name) for name in wanted):
        raise ConfigurationError(
            f"carry_over={carry_over!r}: write FromBeaker(...), FromFlaskSession(...) or FromDjango(...)"
        )
    elsewhere = (carry_over.path, carry_over.domain) != (cookie.path, cookie.domain)
    if elsewhere and any(cookie.for_scheme(scheme).name == carry_over.name for scheme in ("http", "https")):
        raise ConfigurationError(
            f"cookie name={cookie.name!r}: the cookie of the sessions to carry over has the same name, but another path or"
            " domain, so a browser would keep both; write CookiePolicy(name=...) with another name"
        )


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


class _Exchange(Session):
    """One request: the session that the application sees, and the way out, which holds the status and headers back until it
    is stored. It keeps no reference to the environ, which has one to it: nothing is left for the garbage collector."""

    environ: "WSGIEnvironment | None" = None
    """As the request came, for :attr:`SessionMiddleware.unavailable`, if there is one."""

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
        middleware: SessionMiddleware,
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
            if self.is_socket:
                self._tell_what_is_lost()  # servers take it for the way in which a handler ends, and say nothing
            _close(result)
            if not self.is_sent and isinstance(error, _FAULTS):
                self._failure, is_answered = anew(error), True
        finally:
            if not is_answered:
                self.let_go()
        return is_answered

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
        self.is_over = True

    def _commit(self) -> None:
        failed = self._is_failed()
        if self.fault is not None:
            self._note(self.fault)
        if self._failure is not None:
            raise anew(self._failure)
        state = self._state
        if state is not None and (state.acted or state.values.suspect or state.tells_anyhow):
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
            self._middleware.note_proxy()
        theirs = [header for header in self._headers if self._is_same_cookie(header)]
        if theirs:
            # RFC 6265bis, 4.1.1: no two Set-Cookie of one name in a response.
            self._middleware.note_twin(self._cookie.name)
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
                self._middleware.note_twin(self._cookie.name)

    def _first_used_late(self) -> None:
        if not self.is_over:
            self._middleware.note_late_use()

    def _is_same_cookie(self, header: tuple[str, str]) -> bool:
        return header[0].lower() == "set-cookie" and self._cookie.is_set_by(header[1])


class _Body:
    """What the application returned, block by block: one in, one out, nothing read ahead."""

    __slots__ = ("_exchange", "_iterable", "_iterator")

    def __init__(self, exchange: _Exchange, iterable: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._iterable = iterable
        self._iterator = iter(iterable)

    def start(self) -> "_Body":
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
