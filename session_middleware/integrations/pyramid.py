"""Pyramid: ``request.session`` is the session, with all of ``ISession``. It stores nothing itself.

``config.include("session_middleware.integrations.pyramid")`` is all; the options of :class:`SessionMiddleware` stand in
the settings under ``session_middleware.``, written as for :meth:`SessionMiddleware.from_config`, or as objects.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

try:
    from pyramid.interfaces import IExecutionPolicy, ISession
except ModuleNotFoundError as error:
    if error.name != "pyramid":
        raise
    raise ImportError("Pyramid is not installed: pip install 'session-middleware[pyramid]'", name="pyramid") from error
from pyramid.router import default_execution_policy
from pyramid.threadlocal import manager as threadlocals
from zope.interface import implementer

from session_middleware.config import options
from session_middleware.exceptions import ConfigurationError
from session_middleware.integrations.embedded import EmbeddedMiddleware, Embedding, handed_over
from session_middleware.integrations.view import SessionView
from session_middleware.manager import SessionManager
from session_middleware.middleware import ENVIRON_KEY, get_session
from session_middleware.session import Session

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PREFIX = "session_middleware."

_OBJECTS = (
    *("store", "codec", "lifetime", "cookie", "clock", "carry_over", "unavailable", "observer", "describe", "seal"),
    "device_binding",
)
_REGISTERED = "session_middleware.integrations.pyramid"
_LAST = 1000

# What pyramid.authentication.SessionAuthenticationPolicy and SessionAuthenticationHelper keep, with their own prefix.
_USERID = "auth.userid"
_CSRF_TOKEN = "_csrft_"  # noqa: S105  # a key, not a token
_FLASH = "_f_"


@implementer(ISession)
class PyramidSession(SessionView):
    """``request.session``: the request's :class:`Session`, with what Pyramid documents for its own.

    ``remember()`` of Pyramid's session authentication is a ``login()``, and its ``forget()`` an :meth:`invalidate`, as is
    whatever else removes the user id that they keep under ``auth.userid``. Attributes that it lacks are those of the
    session: ``id``, ``user_id``, ``login()``, ``regenerate()``, ``transact()`` and so on.
    """

    _special = frozenset({_USERID})

    # The mapping

    def __setitem__(self, key: str, value: Any) -> None:
        if key == _USERID:
            if str(self.underlying.get(_USERID, value)) != str(value):
                self.underlying.invalidate()  # login() may not know of that user, if the session was carried over
            self.underlying.login(str(value))
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        if key == _USERID:
            self.invalidate()

    def popitem(self) -> tuple[str, Any]:
        key, value = super().popitem()
        if key == _USERID:
            self.invalidate()
        return key, value

    def clear(self) -> None:
        if _USERID in self.underlying:
            self.invalidate()
        else:
            self.underlying.clear()

    # What Pyramid documents

    @property
    def created(self) -> int:
        """When the session was created (epoch seconds)."""
        return int(self.underlying.created_at)

    @property
    def new(self) -> bool:
        """Whether the store holds no such session (yet)."""
        return self.underlying.is_new

    def invalidate(self) -> None:
        """See :meth:`Session.invalidate`."""
        self.underlying.invalidate()

    def changed(self) -> None:
        """Do nothing: nested changes are noticed."""

    def flash(self, msg: Any, queue: str = "", allow_duplicate: bool = True) -> None:
        """Add a message to a queue, unless it is there and *allow_duplicate* is false."""
        messages = self.underlying.setdefault(_FLASH + queue, [])
        if allow_duplicate or msg not in messages:
            messages.append(msg)

    def pop_flash(self, queue: str = "") -> list[Any]:
        """Remove a queue and return its messages."""
        messages: list[Any] = self.underlying.pop(_FLASH + queue, [])
        return messages

    def peek_flash(self, queue: str = "") -> list[Any]:
        """Return the messages of a queue and leave them there."""
        messages: list[Any] = self.underlying.get(_FLASH + queue, [])
        return messages

    def new_csrf_token(self) -> str:
        """Make, keep and return a new token against cross-site request forgery."""
        token = self.underlying[_CSRF_TOKEN] = secrets.token_hex(20)
        return token

    def get_csrf_token(self) -> str:
        """Return the token; make one if there is none."""
        token = self.underlying.get(_CSRF_TOKEN)
        return self.new_csrf_token() if token is None else str(token)


def session_factory(request: Any) -> PyramidSession:
    """Return the session of a request, not touched yet; that of a subrequest is the one of the request that made it.

    Raise :exc:`ConfigurationError` for a request that was not made of the application, such as that of a script.
    """
    environ_key = _environ_key(request.registry)
    makers = [frame["request"] for frame in reversed(threadlocals.stack)]
    for environ in (request.environ, *(maker.environ for maker in makers if maker is not None)):
        if environ_key in environ:
            return PyramidSession(get_session(environ, environ_key))
    raise ConfigurationError(
        "the request has no session: it is not one that the application is serving with"
        ' config.include("session_middleware.integrations.pyramid"), or wrapped with SessionMiddleware'
    )


def manager_of(where: Any) -> SessionManager:
    """Return the manager of the sessions of a request, a registry or a configurator.

    For a request it is the one that knows its session, also where that is of a :class:`SessionMiddleware` around the
    application. Raise :exc:`ConfigurationError` if there is none.
    """
    registry = getattr(where, "registry", where)
    session = getattr(where, "environ", {}).get(_environ_key(registry))
    if isinstance(session, Session) and isinstance(session.keeper, SessionManager):
        return session.keeper
    if _REGISTERED not in registry:
        raise ConfigurationError('write config.include("session_middleware.integrations.pyramid") first')
    manager: SessionManager = registry[_REGISTERED].manager
    return manager


def _environ_key(registry: Any) -> str:
    return registry[_REGISTERED].environ_key if _REGISTERED in registry else ENVIRON_KEY


def includeme(config: Any) -> None:
    """Let every request have its session, and store it when the response starts.

    Raise :exc:`ConfigurationError` for settings that cannot work.
    """
    middleware = _configured(config.get_settings())
    config.registry[_REGISTERED] = middleware
    config.set_session_factory(session_factory)

    def register() -> None:
        inner = config.registry.queryUtility(IExecutionPolicy, default=default_execution_policy)
        config.registry.registerUtility(_Policy(middleware, inner), IExecutionPolicy)

    # After the policy of whoever sets one, such as pyramid_retry, for this one has it inside.
    config.action(_REGISTERED, register, order=_LAST)


def _configured(settings: Mapping[str, Any]) -> EmbeddedMiddleware:
    own = {key.removeprefix(PREFIX): value for key, value in settings.items() if key.startswith(PREFIX)}
    objects = {name: value for name, value in own.items() if name in _OBJECTS and not isinstance(value, str)}
    texts = {PREFIX + name: str(value) for name, value in own.items() if name not in objects}
    written = options(texts, PREFIX)
    if both := objects.keys() & written.keys():
        raise ConfigurationError(f"{PREFIX}{min(both)} is an object: write none of its parts beside it")
    return EmbeddedMiddleware(handed_over, **written, **objects)


class _Policy:
    """An execution policy: how Pyramid makes a response of an environ. This one does what another does, with a session.

    A tween would be too late and too early: responses are changed after the tweens, and stream after them.
    """

    def __init__(self, middleware: EmbeddedMiddleware, inner: Callable[[Any, Any], Any]) -> None:
        self._middleware = middleware
        self._inner = inner

    def __call__(self, environ: "WSGIEnvironment", router: Any) -> Callable[..., Iterable[bytes]]:
        attempts = _Attempts(router, self._middleware.environ_key)

        def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            blocks: Iterable[bytes] = self._inner(environ, attempts)(environ, start_response)
            return blocks

        return Embedding(self._middleware, application)


class _Attempts:
    """The router, for a policy that may try a request again: each attempt finds the session as it is stored."""

    def __init__(self, router: Any, environ_key: str) -> None:
        self._router = router
        self._environ_key = environ_key
        self._tried = False

    def request_context(self, environ: "WSGIEnvironment") -> Any:
        if self._tried:
            get_session(environ, self._environ_key).start_over()
        self._tried = True
        return self._router.request_context(environ)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._router, name)
