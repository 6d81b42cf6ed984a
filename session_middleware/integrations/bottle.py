"""Bottle: a plugin that gives each request its session. It stores nothing itself."""

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

try:
    import bottle
except ModuleNotFoundError as error:
    if error.name != "bottle":
        raise
    raise ImportError("Bottle is not installed: pip install 'session-middleware[bottle]'", name="bottle") from error

from session_middleware.carry_over import CarryOver
from session_middleware.clock import system_clock
from session_middleware.codecs import Codec
from session_middleware.cookies import CookiePolicy
from session_middleware.exceptions import ConfigurationError
from session_middleware.integrations.embedded import EmbeddedMiddleware, Embedding, handed_over
from session_middleware.lifetime import Lifetime
from session_middleware.limit import AtLimit
from session_middleware.manager import DEFAULT_STORE, MAX_BYTES
from session_middleware.middleware import ENVIRON_KEY, get_session
from session_middleware.session import Session
from session_middleware.stores.base import Store

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from session_middleware.binding import DeviceBinding
    from session_middleware.events import Observer
    from session_middleware.seal import Seal


log = logging.getLogger("session_middleware")


class SessionPlugin:
    """``app.install(SessionPlugin())``: ``request.session`` is the session, and a callback that names it is given it.

    The application is then served as it is. Where it is wrapped with :class:`SessionMiddleware`, or mounted in one that
    is, or that has this plugin, the session is the one from there, and the options here, *keyword* apart, are not used.
    *keyword* names the attribute and the argument. The other options are those of :class:`SessionMiddleware`.

    Raise :exc:`ConfigurationError` for options that cannot work.
    """

    name = "session_middleware"
    api = 2

    def __init__(
        self,
        store: Store | str = DEFAULT_STORE,
        *,
        keyword: str = "session",
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
        if not isinstance(keyword, str) or not keyword.isidentifier() or hasattr(bottle.BaseRequest, keyword):
            raise ConfigurationError(f"keyword={keyword!r}: write a name that an argument can have and Bottle does not use")
        self.keyword = keyword
        others: dict[str, Any] = {"describe": describe, "seal": seal, "device_binding": device_binding, "clock": clock}
        self._middleware = EmbeddedMiddleware(
            handed_over,
            store,
            lifetime=lifetime,
            cookie=cookie,
            codec=codec,
            max_bytes=max_bytes,
            namespace=namespace,
            environ_key=environ_key,
            carry_over=carry_over,
            unavailable=unavailable,
            check_store=check_store,
            observer=observer,
            max_per_user=max_per_user,
            at_limit=at_limit,
            **others,
        )
        self.manager = self._middleware.manager
        self._installed: list[Any] = []

    # For Bottle

    def setup(self, app: Any) -> None:
        if any(isinstance(plugin, SessionPlugin) for plugin in app.plugins):
            raise ConfigurationError("a SessionPlugin is installed already: one is enough")
        attribute = f"bottle.request.ext.{self.keyword}"  # where Bottle looks for an attribute that it does not know
        wsgi, unseen = app.wsgi, [app]

        def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            while unseen:  # at the first request, when all is routed and mounted
                self._look_at(unseen.pop())
            environ[attribute] = get_session(environ, self._middleware.environ_key)
            blocks: Iterable[bytes] = wsgi(environ, start_response)
            return blocks

        app.wsgi = Embedding(self._middleware, application)
        self._installed.append(app)

    def apply(self, callback: Callable[..., Any], route: Any) -> Callable[..., Any]:
        if self.keyword not in _arguments(route.callback):
            return callback

        def with_session(*args: Any, **kwargs: Any) -> Any:
            # A part of the URL may have the name, too.
            return callback(*args, **(kwargs if self.keyword in kwargs else {**kwargs, self.keyword: self._session()}))

        return with_session

    def close(self) -> None:
        """Leave the applications that it is not installed in any more. The store stays open."""
        for app in [app for app in self._installed if self not in app.plugins]:
            del app.wsgi
            self._installed.remove(app)

    def _look_at(self, app: Any) -> None:
        """Warn of callbacks in mounted applications that nobody will give their session to: plugins stay outside of them."""
        routes = list(app.routes)
        mounted = [route.config.get("mountpoint.target") for route in routes]
        for target in dict.fromkeys(target for target in mounted if isinstance(target, bottle.Bottle)):
            self._look_at(target)
        for route in routes:
            is_named = self.keyword in _arguments(route.callback) and self.keyword not in route.rule
            if is_named and not any(getattr(plugin, "keyword", None) == self.keyword for plugin in route.all_plugins()):
                log.warning(
                    "the route %s names %r among its arguments, and its application has no SessionPlugin: install one there,"
                    " too, or write request.%s",
                    route.rule,
                    self.keyword,
                    self.keyword,
                )

    def _session(self) -> Session:
        environ = bottle.request.environ
        if self._middleware.environ_key not in environ:
            raise ConfigurationError(
                "install SessionPlugin in the application that is served, too, not only in one mounted in it"
            )
        return get_session(environ, self._middleware.environ_key)


def _arguments(callback: Callable[..., Any]) -> Iterable[str]:
    try:
        return inspect.signature(callback).parameters
    except (TypeError, ValueError):
        return ()  # a builtin
