"""The Flask extension: ``flask.session`` is the session of the middleware. It stores nothing itself.

::

    from session_middleware.integrations.flask import Sessions

    Sessions(app, "redis://localhost:6379/0")
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

try:
    import flask
except ModuleNotFoundError as error:
    if error.name != "flask":
        raise
    raise ImportError("Flask is not installed: pip install 'session-middleware[flask]'", name="flask") from error
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.datastructures import Headers
from werkzeug.middleware.proxy_fix import ProxyFix

from session_middleware.carry_over import CarryOver
from session_middleware.clock import system_clock
from session_middleware.codecs import Codec
from session_middleware.cookies import CookiePolicy, SessionCookie
from session_middleware.exceptions import ConfigurationError, SessionError
from session_middleware.headers import forbid_shared_caching, refuse_unsendable, vary_on_cookie
from session_middleware.integrations.embedded import EmbeddedMiddleware
from session_middleware.integrations.flask.signin import follow
from session_middleware.integrations.flask.view import FlaskSession, session
from session_middleware.lifetime import Lifetime
from session_middleware.limit import AtLimit
from session_middleware.manager import DEFAULT_STORE, MAX_BYTES, Send, SessionManager
from session_middleware.middleware import ENVIRON_KEY
from session_middleware.session import Session
from session_middleware.stores.base import Store

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from session_middleware.binding import DeviceBinding
    from session_middleware.events import Observer
    from session_middleware.seal import Seal

__all__ = ["FlaskSession", "FlaskSessions", "Sessions", "session"]

log = logging.getLogger("session_middleware")

_EXTENSION = "session_middleware"
_MOST_LAYERS = 50


class Sessions:
    """The extension: ``Sessions(app)``, or ``Sessions()`` and then ``init_app(app)``, makes ``flask.session`` ours.

    *store* and the options are those of :class:`SessionMiddleware`. Without *cookie*, the ``SESSION_COOKIE_...`` settings
    of the application count, as they are by then; if they change later, that is logged, and not heeded. *former*: how the
    cookie was before other settings, see :class:`CookiePolicy`. ``SECRET_KEY`` is not needed.
    """

    def __init__(
        self,
        app: flask.Flask | None = None,
        store: Store | str = DEFAULT_STORE,
        *,
        lifetime: Lifetime = Lifetime.AAL2,
        cookie: CookiePolicy | None = None,
        former: tuple[CookiePolicy, ...] = (),
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
        self._store = store
        self._cookie = cookie
        self._former = former
        self._options: dict[str, Any] = {
            "lifetime": lifetime,
            "codec": codec,
            "max_bytes": max_bytes,
            "namespace": namespace,
            "environ_key": environ_key,
            "clock": clock,
            "carry_over": carry_over,
            "unavailable": unavailable,
            "check_store": check_store,
            "observer": observer,
            "max_per_user": max_per_user,
            "at_limit": at_limit,
            "describe": describe,
            "seal": seal,
            "device_binding": device_binding,
        }
        self._app = app
        if app is not None:
            self.init_app(app)

    def init_app(
        self,
        app: flask.Flask,
        store: Store | str | None = None,
        *,
        lifetime: Lifetime | None = None,
        cookie: CookiePolicy | None = None,
        former: tuple[CookiePolicy, ...] | None = None,
        codec: Codec | None = None,
        max_bytes: int | None = None,
        namespace: str | None = None,
        environ_key: str | None = None,
        clock: Callable[[], float] | None = None,
        carry_over: CarryOver | None = None,
        unavailable: "WSGIApplication | None" = None,
        check_store: bool | None = None,
        observer: "Observer | Iterable[Observer] | None" = None,
        max_per_user: int | None = None,
        at_limit: AtLimit | None = None,
        describe: "Callable[[WSGIEnvironment], str | None] | None" = None,
        seal: "Seal | None" = None,
        device_binding: "DeviceBinding | None" = None,
    ) -> None:
        """Set *app* up; what is left out is as it was given to the constructor.

        Raise :exc:`ConfigurationError` for an application that is set up already, and for options that cannot work.
        """
        if not isinstance(app, flask.Flask):
            raise ConfigurationError(f"app={app!r}: write Flask(__name__)")
        if _EXTENSION in app.extensions:
            raise ConfigurationError(f"{app!r} has its sessions already: write Sessions(app, ...) once, with all options")
        given: dict[str, Any] = {
            "lifetime": lifetime,
            "codec": codec,
            "max_bytes": max_bytes,
            "namespace": namespace,
            "environ_key": environ_key,
            "clock": clock,
            "carry_over": carry_over,
        }
        given |= {"observer": observer, "max_per_user": max_per_user, "at_limit": at_limit, "check_store": check_store}
        given |= {"describe": describe, "seal": seal, "device_binding": device_binding, "unavailable": unavailable}
        options = self._options | {name: value for name, value in given.items() if value is not None}
        former = self._former if former is None else former
        _set_up(app, self._store if store is None else store, cookie or self._cookie, former, options)

    @property
    def manager(self) -> SessionManager:
        """The manager of the current application (``flask.current_app``), or else of the one given to the constructor."""
        app = flask.current_app if self._app is None or flask.has_app_context() else self._app
        return cast("_Middleware", app.extensions[_EXTENSION]).manager


def _set_up(
    app: flask.Flask,
    store: Store | str,
    cookie: CookiePolicy | None,
    former: tuple[CookiePolicy, ...],
    options: Mapping[str, Any],
) -> None:
    """Put the middleware inside of *app*, and our sessions in the place of Flask's."""
    settings = None
    if cookie is None:
        cookie = settings = _configured_cookie(app, former)
    elif former:
        raise ConfigurationError("cookie=... and former=...: write cookie=CookiePolicy(..., former=...)")
    fix = _proxy_fix(app.wsgi_app)
    middleware = _Middleware(app.wsgi_app if fix is None else fix.app, store, cookie=cookie, **options)
    if fix is None:
        app.wsgi_app = middleware  # type: ignore[method-assign]  # Flask's documented way
    else:
        fix.app = middleware
    app.extensions[_EXTENSION], middleware.unchecked = middleware, app
    app.session_interface = FlaskSessions(middleware, cookie, settings)


def _proxy_fix(layer: Any) -> ProxyFix | None:
    """Return the innermost ``ProxyFix`` around an application: the scheme decides about the cookie, so it stays outside."""
    found = None
    for _ in range(_MOST_LAYERS):
        if isinstance(layer, ProxyFix):
            found = layer
        names = [name for name in ("app", "application", "wsgi_app") if callable(getattr(layer, name, None))]
        if not names or isinstance(layer, flask.Flask):
            break
        layer = getattr(layer, names[0])
    return found


class FlaskSessions(SessionInterface):
    """What Flask asks for sessions (``app.session_interface``). *settings*: the cookie, if the settings made it."""

    def __init__(self, middleware: "_Middleware", cookie: CookiePolicy, settings: CookiePolicy | None = None) -> None:
        self._middleware = middleware
        self._cookie = cookie
        self._settings = settings
        self._knows_flask_login = False

    def open_session(self, app: flask.Flask, request: flask.Request) -> FlaskSession:
        """Return a view of the request's session, which is not touched by that.

        Where no middleware has put one into the environ, as in ``test_request_context()`` and ``session_transaction()``,
        it is opened here, and stored by :meth:`save_session`.
        """
        if not self._knows_flask_login and hasattr(app, "login_manager"):
            follow(app)
            self._knows_flask_login = True
        settings, self._settings = self._settings, None
        if settings is not None and _has_changed(app, settings):
            log.warning("SESSION_COOKIE_... has changed since Sessions(app), and is not heeded: change it before")
        found = self._middleware.session_of(request.environ)
        return _DetachedSession(self._middleware, request.environ, app) if found is None else FlaskSession(found, app)

    def save_session(self, app: flask.Flask, session: SessionMixin, response: flask.Response) -> None:
        """Store the session, so that Flask handles what goes wrong: ``errorhandler(500)``, ``got_request_exception``.

        What a failed request has changed is not stored. A stream may go on changing it, and a new cookie is to leave with
        what it opens: that is stored by the middleware, when the response starts.
        """
        if isinstance(session, _DetachedSession):
            session.commit(response)
        elif isinstance(session, FlaskSession) and response.status_code < 500 and not response.is_streamed:
            session.underlying.store_now(lambda: refuse_unsendable(response.status, _headers_of(response)))

    def regenerate(self, session: FlaskSession) -> None:
        """Give the session a new secret; Flask-Session has this method here."""
        session.regenerate()

    def get_cookie_name(self, app: flask.Flask) -> str:
        return self._cookie.for_scheme("https" if self.get_cookie_secure(app) else "http").name

    def get_cookie_domain(self, app: flask.Flask) -> str | None:
        return self._cookie.domain

    def get_cookie_path(self, app: flask.Flask) -> str:
        return self._cookie.path

    def get_cookie_httponly(self, app: flask.Flask) -> bool:
        return True

    def get_cookie_secure(self, app: flask.Flask) -> bool:
        secure = self._cookie.secure
        return (flask.has_request_context() and flask.request.is_secure) if secure == "auto" else secure

    def get_cookie_samesite(self, app: flask.Flask) -> str:
        return self._cookie.samesite

    def get_cookie_partitioned(self, app: flask.Flask) -> bool:
        return self._cookie.partitioned


class _Middleware(EmbeddedMiddleware):
    unchecked: flask.Flask | None = None
    """The application, until its first request."""

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Serve the request; with the session of a middleware further out, if there is one."""
        if self.unchecked is not None:
            interface, self.unchecked = self.unchecked.session_interface, None
            if not isinstance(interface, FlaskSessions):
                log.warning(
                    "flask.session is not ours, but of %s, set up after Sessions(app): take that away",
                    type(interface).__qualname__,
                )
        if self.session_of(environ) is not None:
            return self.app(environ, start_response)
        return super().__call__(environ, start_response)

    def session_of(self, environ: "WSGIEnvironment") -> Session | None:
        """Return the session of a request that is being answered; ``None`` if no middleware has put one there."""
        found = environ.get(self.environ_key)
        return found if isinstance(found, Session) and not found.announced else None

    def cookie_of(self, environ: "WSGIEnvironment") -> SessionCookie:
        """Return the cookie of the request's scheme, or that of https if it came with that one alone.

        No browser does the latter. A test client does, between requests of which some only are by https.
        """
        header = environ.get("HTTP_COOKIE")
        is_https = environ.get("wsgi.url_scheme") == "https" or (self.https.read(header) and not self.http.read(header))
        return self.https if is_https else self.http

    def open(self, environ: "WSGIEnvironment") -> Session:
        """Return the session that the cookies of a request stand for."""
        read = (self._by_https if self.cookie_of(environ) is self.https else self._by_http)[1]
        session = Session(self.manager, read, environ.get("HTTP_COOKIE"))
        session.describe = self.description(environ)
        return session


class _DetachedSession(FlaskSession):
    """A session that no middleware stores."""

    def __init__(self, middleware: _Middleware, environ: "WSGIEnvironment", app: flask.Flask) -> None:
        self._cookie = middleware.cookie_of(environ)
        self._manager = middleware.manager
        super().__init__(middleware.open(environ), app)

    def commit(self, response: flask.Response) -> None:
        """Store what was changed and tell the browser; what a stream changes later is stored when it ends."""
        session, late = self.underlying, self.underlying.announced
        failed = response.status_code >= 500
        verdict = self._manager.commit(session, failed=failed)
        session.announced = True
        headers = response.headers.to_wsgi_list()
        if session.accessed:
            vary_on_cookie(headers)
        if verdict is not None:
            if isinstance(verdict, Send):
                cookie = self._cookie.header(verdict.token, max_age=verdict.max_age)
            else:
                cookie = self._cookie.deletion_header()
            headers.append(("Set-Cookie", cookie))
            forbid_shared_caching(headers)
        response.headers = Headers(headers)
        if not late:
            response.call_on_close(lambda: self._commit_late(failed))

    def _commit_late(self, failed: bool) -> None:
        try:
            self._manager.commit(self.underlying, failed=failed)
        except SessionError as error:
            self._manager.lost(self.underlying, error)
        finally:
            self.underlying.is_over = True


def _headers_of(response: flask.Response) -> list[tuple[str, str]]:
    return response.get_wsgi_headers(flask.request.environ).to_wsgi_list()


def _has_changed(app: flask.Flask, settings: CookiePolicy) -> bool:
    try:
        return _configured_cookie(app, settings.former) != settings
    except ConfigurationError:
        return True


def _configured_cookie(app: flask.Flask, former: tuple[CookiePolicy, ...]) -> CookiePolicy:
    """Return the cookie that Flask's own settings ask for."""
    config = app.config
    if not config["SESSION_COOKIE_HTTPONLY"]:
        raise ConfigurationError("SESSION_COOKIE_HTTPONLY=False: leave it out; the session cookie is always HttpOnly")
    return CookiePolicy(
        name=config["SESSION_COOKIE_NAME"],
        secure=bool(config["SESSION_COOKIE_SECURE"]) or "auto",
        samesite=config["SESSION_COOKIE_SAMESITE"] or "Lax",
        path=config["SESSION_COOKIE_PATH"] or config["APPLICATION_ROOT"] or "/",
        domain=config["SESSION_COOKIE_DOMAIN"] or None,
        partitioned=config.get("SESSION_COOKIE_PARTITIONED", False),
        former=former,
    )
