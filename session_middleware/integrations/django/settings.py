"""What the settings of a Django project say: the manager, and the cookie where only Django serves. It answers no request."""

import difflib
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import timedelta
from functools import lru_cache
from inspect import iscoroutinefunction
from threading import RLock
from typing import Any, Final, NamedTuple, TypeVar

from django.conf import UserSettingsHolder, global_settings, settings
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core.exceptions import ImproperlyConfigured
from django.http import parse_cookie
from django.utils.module_loading import import_string

from session_middleware.carry_over import CarryOver
from session_middleware.cookies import CookiePolicy, SessionCookie
from session_middleware.describing import Describer
from session_middleware.exceptions import ConfigurationError
from session_middleware.lifetime import Lifetime
from session_middleware.manager import SessionManager
from session_middleware.middleware import ENVIRON_KEY, refuse_collision, refuse_environ_key
from session_middleware.record import Envelope, Kind
from session_middleware.rules import Opens
from session_middleware.state import Candidates, State
from session_middleware.stores import open_store
from session_middleware.stores.base import Store
from session_middleware.tokens import Token, well_formed_id
from session_middleware.values import Values

T = TypeVar("T")

_OPTIONS: Final = (
    "store",
    "test_store",
    "lifetime",
    "codec",
    "namespace",
    "max_bytes",
    "clock",
    "environ_key",
    "carry_over",
    "check_store",
    "unavailable",
    "former",
    "observer",
    "max_per_user",
    "at_limit",
    "describe",
    "seal",
)
_SERIALIZER: Final = "django.contrib.sessions.serializers.JSONSerializer"
_PREFIXES: Final = ("__Host-", "__Secure-")
_LONGEST: Final = timedelta(days=30).total_seconds()


_cookies: Final[ContextVar[str]] = ContextVar("the Cookie header of the request", default="")


class ById(Token):
    """The public id of a session, from code that may open any: it is no secret, and no cookie is ever taken for one."""

    __slots__ = ()


class DjangoManager(SessionManager):
    """A manager whose new sessions outlive the browser or not as ``SESSION_EXPIRE_AT_BROWSER_CLOSE`` says."""

    def new(self) -> Envelope:
        return super().new()._replace(persistent=not settings.SESSION_EXPIRE_AT_BROWSER_CLOSE)

    def load(self, candidates: Candidates) -> State:
        if not (candidates and isinstance(candidates[0], ById)):
            return super().load(candidates)
        found = self._sessions.find(candidates[0].id)
        if found is None or found.seal is not None or self.seal is not None:
            # Without its secret nobody opens what is sealed, or to be sealed.
            return super().load(candidates[1:])
        envelope = found.envelope
        # As whoever has the oldest secret in service: that one must not look as if its successor had been used.
        renewed = [previous.proof for previous in envelope.previous if previous.kind is Kind.RENEWED and previous.at is None]
        proof = (*renewed, *envelope.current)[0]
        return State(Values(found.values, self.codec), envelope, found, Opens.SESSION, proof)


class Setup(NamedTuple):
    """What ``SESSION_MIDDLEWARE`` describes."""

    manager: SessionManager
    carry_over: CarryOver | None
    describer: Describer | None


class _Configured:
    """The manager for the settings as they are; another one when they have changed, as tests make them."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._known: tuple[object, ...] = ()
        self._store: Store | None = None
        self._setup: Setup | None = None
        self._unfinished: Setup | None = None

    def setup(self) -> "Setup":
        given, age = getattr(settings, "SESSION_MIDDLEWARE", None), settings.SESSION_COOKIE_AGE
        testing = is_testing() and _store_of(given) == _store_of(_of_the_project())
        setup, known = self._setup, self._known
        if setup is not None and known[0] is given and known[1:] == (age, testing):
            return setup
        with self._lock:
            if self._unfinished is not None:
                return self._unfinished  # what is to carry old sessions over opens one of ours
            if self._setup is None or self._known[0] is not given or self._known[1:] != (age, testing):
                try:
                    self._setup = _refusing(self._build, given, age, testing)
                finally:
                    self._unfinished = None
                self._known = (given, age, testing)
            return self._setup

    def _build(self, given: object, age: float, testing: bool) -> "Setup":
        options = _options(given)
        store, test_store = options.pop("store", "sqlite:///sessions.sqlite3"), options.pop("test_store", "memory:")
        if testing:
            store = test_store
        if isinstance(store, str):
            store = self._opened(store, same=bool(self._known) and self._known[0] is given and self._known[2] == testing)
        else:
            self._store = None
        for name in ("environ_key", "check_store", "unavailable", "former"):
            options.pop(name, None)
        options.setdefault("lifetime", Lifetime(idle=age, absolute=max(age, _LONGEST)))
        for name in ("observer", "describe", "seal"):
            if isinstance(options.get(name), str):
                options[name] = _imported(name, options[name])
        carry_over, describe = options.pop("carry_over", None), options.pop("describe", None)
        describer = None if describe is None else Describer(describe)
        manager = DjangoManager(store, **options)
        self._unfinished = Setup(manager, None, describer)
        if callable(carry_over):
            carry_over = carry_over()
        if carry_over is not None:
            refuse_collision(_policy(*_described()), carry_over)
        return Setup(manager, carry_over, describer)

    def _opened(self, url: str, *, same: bool) -> Store:
        if self._store is not None and not same:
            close: Callable[[], object] = getattr(self._store, "close", lambda: None)
            close()
            self._store = None
        if self._store is None:
            self._store = open_store(url)
        return self._store


_configured: Final = _Configured()


def manager() -> SessionManager:
    """Return the manager of the sessions that ``SESSION_MIDDLEWARE`` describes: it lists and revokes them.

    Raise ``ImproperlyConfigured`` for settings that cannot work.
    """
    return setup().manager


def setup() -> Setup:
    """Return the manager, and what carries the sessions of another library over or describes requests, if anything does."""
    if settings.SESSION_SERIALIZER != _SERIALIZER:
        raise ImproperlyConfigured(
            f"SESSION_SERIALIZER={settings.SESSION_SERIALIZER!r}: leave it out; sessions are kept by the codec of"
            " SESSION_MIDDLEWARE, which knows more types than JSON and never pickles"
        )
    return _configured.setup()


def check_store() -> None:
    """Try the store that ``SESSION_MIDDLEWARE`` names, unless it says ``"check_store": False``.

    The default one is not tried: under a WSGI middleware, which has a store, it is never used.
    """
    options = _options(getattr(settings, "SESSION_MIDDLEWARE", None))
    if "store" in options and options.get("check_store", True):
        _refusing(setup().manager.check_store)


def check_options() -> None:
    """Raise ``ImproperlyConfigured`` for what in ``SESSION_MIDDLEWARE`` is only needed later, and cannot work."""
    options = _options(getattr(settings, "SESSION_MIDDLEWARE", None))
    _refusing(refuse_environ_key, options.get("environ_key", ENVIRON_KEY))
    if not isinstance(options.get("check_store", True), bool):
        raise ImproperlyConfigured(f"SESSION_MIDDLEWARE['check_store']={options['check_store']!r}: write True or False")
    test_store = options.get("test_store", "memory:")
    _refusing(SessionManager, test_store)
    unavailable_view()


def unavailable_view() -> Callable[..., Any] | None:
    """Return the view that answers when the store fails, called with the request and the error; ``None`` without one."""
    view = found = _options(getattr(settings, "SESSION_MIDDLEWARE", None)).get("unavailable")
    if isinstance(view, str):
        found = _imported("unavailable", view)
    if found is not None and (not callable(found) or iscoroutinefunction(found)):
        raise ImproperlyConfigured(
            f"SESSION_MIDDLEWARE['unavailable']={view!r}: write a view that is no coroutine, or its name with dots; it is"
            " called with the request and the error"
        )
    return found


def _imported(option: str, name: str) -> Any:
    try:
        return import_string(name)
    except ImportError as error:
        if option == "seal":
            # Whatever it is, it may be a key.
            raise ImproperlyConfigured(
                "SESSION_MIDDLEWARE['seal']: write a seal, or its name, such as shop.keys.seal"
            ) from None
        raise ImproperlyConfigured(f"SESSION_MIDDLEWARE[{option!r}]={name!r}: {error}") from error


def is_testing() -> bool:
    """Tell whether Django's test runner, or pytest-django, has set up its environment in this process."""
    found = sys.modules.get("django.test.utils")
    return found is not None and hasattr(found._TestState, "saved_data")  # noqa: SLF001  # what setup_test_environment() keeps


def _of_the_project() -> object:
    """Return ``SESSION_MIDDLEWARE`` as the project has it, whatever a test has put over it."""
    below = settings._wrapped  # noqa: SLF001  # nothing else tells
    while isinstance(below, UserSettingsHolder) and below.default_settings is not global_settings:
        below = below.default_settings
    return getattr(below, "SESSION_MIDDLEWARE", None)


def _store_of(given: object) -> object:
    """Return the store that the settings name; ``None`` if they name none."""
    return given.get("store") if isinstance(given, Mapping) else None


def kinds_of_middleware() -> tuple[bool, bool]:
    """Tell whether ``MIDDLEWARE`` has our session middleware, and whether it has Django's own or one derived from that."""
    return _kinds(tuple(settings.MIDDLEWARE))


@lru_cache
def _kinds(names: tuple[str, ...]) -> tuple[bool, bool]:
    found = [kind for kind in map(find, names) if isinstance(kind, type)]
    ours = [kind for kind in found if getattr(kind, "takes_tokens_alone", False)]
    # Those that others have written in place of Django's are named as it is.
    theirs = [kind for kind in found if issubclass(kind, DjangoSessionMiddleware) or kind.__name__ == "SessionMiddleware"]
    return bool(ours), len(theirs) > len(ours)


def find(name: str) -> object:
    """Return what *name*, with dots, names; ``None`` if it is not there."""
    try:
        return import_string(name)
    except ImportError:
        return None


def ids_open() -> bool:
    """Tell whether trusted code alone opens sessions by a key, so that the key may be the public id.

    Django's own middleware, and Channels, open them by what a cookie holds.
    """
    return kinds_of_middleware() == (True, False) and "channels.sessions" not in sys.modules


def note_cookies(*, environ: Mapping[str, Any] | None = None, **_: object) -> None:
    """Note the cookies of a request: whoever opens a public id that one of them holds, such as a middleware that others have
    written, has it from the browser."""
    _cookies.set("" if environ is None else environ.get("HTTP_COOKIE") or "")


def opens_by_id(session_key: str) -> bool:
    """Tell whether a key is a public id that trusted code has given."""
    return well_formed_id(session_key) and ids_open() and session_key not in parse_cookie(_cookies.get()).values()


def environ_key() -> str:
    """Return the name that a WSGI middleware around Django has for the session in the environ."""
    return str(_options(getattr(settings, "SESSION_MIDDLEWARE", None)).get("environ_key", ENVIRON_KEY))


def cookie_of(*, https: bool, plain: bool = False) -> SessionCookie:
    """Return the cookie that the ``SESSION_COOKIE_...`` settings describe.

    A Secure one has a prefix before ``SESSION_COOKIE_NAME``, so that no sibling host can set it, unless it is to be *plain*:
    Django's test client looks for that name. Raise ``ImproperlyConfigured`` for a cookie that no browser would take.
    """
    cookie = _cookie("https" if https else "http", *_described())
    return cookie.named(settings.SESSION_COOKIE_NAME) if plain else cookie


@lru_cache
def _cookie(scheme: str, *described: Any) -> SessionCookie:
    return _policy(*described).for_scheme(scheme)


def _described() -> tuple[Any, ...]:
    """Return the settings that :func:`_policy` takes."""
    given = getattr(settings, "SESSION_MIDDLEWARE", None)
    former = given.get("former") or () if isinstance(given, Mapping) else ()
    if not isinstance(former, tuple) or not all(isinstance(policy, CookiePolicy) for policy in former):
        raise ImproperlyConfigured(
            f"SESSION_MIDDLEWARE['former']={former!r}: write a tuple of all former ones, (CookiePolicy(...),)"
        )
    return (
        settings.SESSION_COOKIE_NAME,
        bool(settings.SESSION_COOKIE_SECURE),
        bool(settings.SESSION_COOKIE_HTTPONLY),
        settings.SESSION_COOKIE_SAMESITE,
        settings.SESSION_COOKIE_PATH,
        settings.SESSION_COOKIE_DOMAIN,
        former,
    )


@lru_cache
def _policy(
    name: str,
    secure: bool,
    httponly: bool,
    samesite: Any,
    path: str,
    domain: str | None,
    former: tuple[CookiePolicy, ...],
) -> CookiePolicy:
    if not httponly:
        raise ImproperlyConfigured("SESSION_COOKIE_HTTPONLY=False: leave it out; the session cookie is always HttpOnly")
    if not samesite:
        raise ImproperlyConfigured(f"SESSION_COOKIE_SAMESITE={samesite!r}: write 'Lax', 'Strict' or 'None'")
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
    policy = _refusing(
        CookiePolicy,
        name=name.removeprefix(prefix),
        secure=secure or "auto",
        samesite=samesite,
        path=path,
        domain=domain,
        former=former,
    )
    if prefix and (not secure or policy.for_scheme("https").name != name):
        raise ImproperlyConfigured(
            f"SESSION_COOKIE_NAME={name!r}: browsers want SESSION_COOKIE_SECURE=True for it, and for __Host- neither"
            " SESSION_COOKIE_DOMAIN nor SESSION_COOKIE_PATH (RFC 6265bis, 4.1.3)"
        )
    return policy


def _options(given: object) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f'SESSION_MIDDLEWARE={given!r}: write {{"store": ...}}')
    for name in given:
        if name == "cookie":
            raise ImproperlyConfigured("SESSION_MIDDLEWARE['cookie']: write SESSION_COOKIE_NAME and its like")
        if name not in _OPTIONS:
            near = difflib.get_close_matches(str(name), _OPTIONS, n=1, cutoff=0)[0]
            raise ImproperlyConfigured(f"SESSION_MIDDLEWARE[{name!r}]: there is no such option; did you mean {near!r}?")
    return {str(name): value for name, value in given.items() if value is not None or name == "store"}


def _refusing(build: Callable[..., T], *arguments: object, **options: object) -> T:
    try:
        return build(*arguments, **options)
    except ConfigurationError as error:
        raise ImproperlyConfigured(f"SESSION_...: {error}") from error
