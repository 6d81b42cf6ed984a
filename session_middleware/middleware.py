"""SessionMiddleware: WSGI (PEP 3333) and nothing else. What to store and what to tell the browser, the manager says."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from session_middleware.advice import Advice
from session_middleware.carry_over import CarryOver
from session_middleware.clock import system_clock
from session_middleware.codecs import Codec
from session_middleware.config import options
from session_middleware.cookies import CookiePolicy, SessionCookie, reader
from session_middleware.describing import Describer, Description
from session_middleware.exceptions import ConfigurationError
from session_middleware.exchange import Body, Exchange
from session_middleware.lifetime import Lifetime
from session_middleware.limit import AtLimit
from session_middleware.manager import DEFAULT_STORE, MAX_BYTES, SessionManager
from session_middleware.session import Session
from session_middleware.state import Candidates
from session_middleware.stores.base import Store

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from session_middleware.binding import DeviceBinding
    from session_middleware.binding.exchange import BoundSite
    from session_middleware.events import Observer
    from session_middleware.seal import Seal

ENVIRON_KEY = "session_middleware.session"
_ENVIRON_KEY = re.compile(r"(?!wsgi\.)\w[\w-]*(\.[\w-]+)+")

_NESTED = (
    "two session middlewares are nested and would use the same session or cookie:"
    " give one of them another environ_key and CookiePolicy(name=...), and where both bind devices DeviceBinding(path=...),"
    " or take one away"
)

# Where a middleware, or a framework's application, keeps what it wraps.
_WRAPPED = ("app", "wsgi_app", "application", "middleware", "wsgi")


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
    *observer*, one or several: is told what happens (:class:`~session_middleware.events.Observer`).
    *max_per_user*: so many sessions a user may have; *at_limit*: whether a further sign-in ends the oldest
    (``"end_oldest"``) or raises :exc:`TooManySessions` (``"refuse"``).
    *describe*: returns a short text about the environ of a request, such as
    :func:`session_middleware.devices.browser_and_network`, or ``None``; it is kept with the sessions of users.
    *seal*: the keys that sessions are sealed with (:class:`~session_middleware.seal.Seal`).
    *device_binding*: bind sessions to the device that has signed in, where the browser can; experimental
    (:class:`~session_middleware.binding.DeviceBinding`).

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
        observer: "Observer | Iterable[Observer] | None" = None,
        max_per_user: int | None = None,
        at_limit: AtLimit = "end_oldest",
        describe: "Callable[[WSGIEnvironment], str | None] | None" = None,
        seal: "Seal | None" = None,
        device_binding: "DeviceBinding | None" = None,
    ) -> None:
        _refuse(app, cookie, namespace, environ_key, carry_over, unavailable)
        self._describer = None if describe is None else Describer(describe)
        self.app = app
        others: dict[str, Any] = {"lifetime": lifetime, "codec": codec, "max_bytes": max_bytes, "clock": clock}
        others |= {"observer": observer, "max_per_user": max_per_user, "at_limit": at_limit, "seal": seal}
        self.manager = SessionManager(store, namespace=cookie.name if namespace is None else namespace, **others)
        self.environ_key, self.carry_over, self.unavailable = environ_key, carry_over, unavailable
        self.http, self.https = cookie.for_scheme("http"), cookie.for_scheme("https")
        if self.manager.teller is not None:
            self.http.tell_of_many = self.https.tell_of_many = self.manager.teller.too_many_cookies
        is_alone = getattr(self.manager.store, "single_process", False)
        self.advice = Advice(of_proxy=cookie.secure == "auto", of_processes=is_alone)
        read_http, read_https = reader(self.http, carry_over), reader(self.https, carry_over)
        bound = None if device_binding is None else _bound(device_binding, cookie, self, read_https)
        self.binding_path = None if device_binding is None else device_binding.path
        # What each request needs, in one piece: Python is slow to find attributes where there is a __getattr__().
        keeps_environ = unavailable is not None or describe is not None
        self._by_http = self.http, read_http, environ_key, self.advice, bound, keeps_environ
        self._by_https = self.https, read_https, environ_key, self.advice, bound, keeps_environ
        _refuse_collisions(self, app)
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
        cookie, read, environ_key, advice, bound, keeps_environ = self._by_https if https else self._by_http
        if (environ_key in environ or cookie.environ_key in environ) and self._is_inner(environ, cookie):
            return self.app(environ, start_response)
        app = self.app
        if bound is None:
            exchange = Exchange(
                self, cookie, read, environ.get("HTTP_COOKIE"), start_response, environ.get("REQUEST_METHOD")
            )
        else:
            exchange, app = bound.begin(app, self, environ, cookie, read, start_response)
        if keeps_environ:
            self._let_keep(exchange, environ)
        environ[environ_key] = environ[cookie.environ_key] = exchange
        wrapper = environ.get("wsgi.file_wrapper")
        if wrapper is not None and type(wrapper) is not type:
            # A function, as on uWSGI: only the object that it returned tells the server that it is a file.
            exchange.wrap_file, environ["wsgi.file_wrapper"] = wrapper, exchange.wrapped_file
        if "HTTP_UPGRADE" in environ:
            exchange.is_socket = "websocket" in str(environ["HTTP_UPGRADE"]).lower()
        if advice.of_processes and environ.get("wsgi.multiprocess"):
            advice.processes()
        result: Iterable[bytes] = ()
        try:
            result = app(environ, exchange.start_response)
            if exchange.accessed or result.__class__ is not list:
                if advice.of_proxy and not https:
                    exchange.look_at_proxy(environ)
                del environ
                if result.__class__ is not list and not exchange.is_complete(result, wrapper):
                    return Body(exchange, result).start()
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

    def _let_keep(self, exchange: Exchange, environ: "WSGIEnvironment") -> None:
        exchange.describe = self.description(environ)
        exchange.environ = None if self.unavailable is None else dict(environ)

    def description(self, environ: "WSGIEnvironment") -> Description | None:
        """Return what can be asked how to call the browser of a request; ``None`` if nobody wants to know."""
        return None if self._describer is None else self._describer.description(environ)

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
        """Tell whether the two, around one application, would use the same place in the environ, cookie or path."""
        names = (self.http.name == outer.http.name, self.https.name == outer.https.name)
        binds = self.binding_path is not None and self.binding_path == outer.binding_path
        return self.environ_key == outer.environ_key or any(names) or binds


def _bound(
    options: "DeviceBinding", cookie: CookiePolicy, middleware: SessionMiddleware, read: Callable[[object], Candidates]
) -> "BoundSite":
    from session_middleware.binding.exchange import BoundSite  # what nobody has asked for costs no import

    return BoundSite(options, cookie, middleware.manager, middleware.https, read)


def _refuse_collisions(middleware: SessionMiddleware, app: object) -> None:
    for inner in _wrapped_by(app):
        if isinstance(inner, SessionMiddleware) and inner.collides_with(middleware):
            raise ConfigurationError(_NESTED)


def _wrapped_by(app: object) -> Iterator[object]:
    """Yield *app* and what it wraps: one of ours by any name, others as far as the usual names of attributes tell."""
    seen: set[int] = set()
    while app is not None and id(app) not in seen:
        seen.add(id(app))
        yield app
        found = getattr(app, "__dict__", {})
        ours = (value for value in found.values() if isinstance(value, SessionMiddleware))
        app = next(ours, None) or next((found[name] for name in _WRAPPED if found.get(name) is not None), None)


def _refuse(
    app: object,
    cookie: object,
    namespace: str | None,
    environ_key: object,
    carry_over: CarryOver | None,
    unavailable: object,
) -> None:
    """Raise :exc:`ConfigurationError` for options that cannot work."""
    if not callable(app):
        raise ConfigurationError(f"{app!r} is not a WSGI application")
    if unavailable is not None and not callable(unavailable):
        raise ConfigurationError(f"unavailable={unavailable!r}: write a WSGI application, which answers with a 503")
    if not isinstance(cookie, CookiePolicy):
        raise ConfigurationError(f"cookie={cookie!r}: write CookiePolicy(name=...)")
    refuse_environ_key(environ_key)
    if carry_over is not None:
        refuse_collision(cookie, carry_over)
    if namespace is None and any(former.name != cookie.name for former in cookie.former):
        raise ConfigurationError(
            "cookie: sessions belong to a namespace, which has been the name of the cookie; now that this has another,"
            f" write namespace={cookie.former[-1].name!r}, and keep it when former=... goes"
        )


def refuse_environ_key(environ_key: object) -> None:
    """Raise :exc:`ConfigurationError` unless *environ_key* is where a session may be put."""
    if not isinstance(environ_key, str) or not _ENVIRON_KEY.fullmatch(environ_key):
        raise ConfigurationError(
            f"environ_key={environ_key!r}: write a text with a dot in it, but none of wsgi's own (PEP 3333)"
        )


def refuse_collision(cookie: CookiePolicy, carry_over: CarryOver) -> None:
    """Raise :exc:`ConfigurationError` unless *carry_over* finds sessions, whose cookie a browser tells from *cookie*."""
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
