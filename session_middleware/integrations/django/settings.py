"""What the settings of a Django project say: the manager, and the cookie of requests that only Django serves."""

import difflib
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from threading import Lock
from typing import Any, Final, NamedTuple, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from session_middleware.carrying import CarryOver
from session_middleware.cookies import CookiePolicy, SessionCookie
from session_middleware.exceptions import ConfigurationError
from session_middleware.lifetime import Lifetime
from session_middleware.manager import SessionManager
from session_middleware.middleware import ENVIRON_KEY
from session_middleware.record import Envelope
from session_middleware.stores import open_store
from session_middleware.stores.base import Store

T = TypeVar("T")

_OPTIONS: Final = ("store", "lifetime", "codec", "namespace", "max_bytes", "clock", "environ_key", "carry_over")
_SERIALIZER: Final = "django.contrib.sessions.serializers.JSONSerializer"
_PREFIXES: Final = ("__Host-", "__Secure-")
_LONGEST: Final = timedelta(days=30).total_seconds()


class DjangoManager(SessionManager):
    """A manager whose new sessions outlive the browser or not as ``SESSION_EXPIRE_AT_BROWSER_CLOSE`` says."""

    def new(self) -> Envelope:
        return super().new()._replace(persistent=not settings.SESSION_EXPIRE_AT_BROWSER_CLOSE)


class Setup(NamedTuple):
    """What ``SESSION_MIDDLEWARE`` describes."""

    manager: SessionManager
    carry_over: CarryOver | None


class _Configured:
    """The manager for the settings as they are; another one when they have changed, as tests make them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._given: object = self
        self._age: object = None
        self._store: Store | None = None
        self._setup: Setup | None = None

    def setup(self) -> "Setup":
        given, age = getattr(settings, "SESSION_MIDDLEWARE", None), settings.SESSION_COOKIE_AGE
        setup = self._setup
        if setup is not None and given is self._given and age == self._age:
            return setup
        with self._lock:
            if self._setup is None or given is not self._given or age != self._age:
                self._setup = _refusing(self._build, given, age)
                self._given, self._age = given, age
            return self._setup

    def _build(self, given: object, age: float) -> "Setup":
        options = _options(given)
        store = options.pop("store", "sqlite:///sessions.sqlite3")
        if isinstance(store, str):
            store = self._opened(store, same=given is self._given)
        else:
            self._store = None
        options.pop("environ_key", None)
        options.setdefault("lifetime", Lifetime(idle=age, absolute=max(age, _LONGEST)))
        carry_over = options.pop("carry_over", None)
        manager = DjangoManager(store, **options)
        return Setup(manager, carry_over() if callable(carry_over) else carry_over)

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
    """Return the manager, and what carries the sessions of another library over, if anything does."""
    if settings.SESSION_SERIALIZER != _SERIALIZER:
        raise ImproperlyConfigured(
            f"SESSION_SERIALIZER={settings.SESSION_SERIALIZER!r}: leave it out; sessions are kept by the codec of"
            " SESSION_MIDDLEWARE, which knows more types than JSON and never pickles"
        )
    return _configured.setup()


def environ_key() -> str:
    """Return the name that a WSGI middleware around Django has for the session in the environ."""
    return str(_options(getattr(settings, "SESSION_MIDDLEWARE", None)).get("environ_key", ENVIRON_KEY))


def cookie_of(*, https: bool) -> SessionCookie:
    """Return the cookie that the ``SESSION_COOKIE_...`` settings describe.

    It is named as ``SESSION_COOKIE_NAME`` says, to the letter: Django's test client looks for that name. Raise
    ``ImproperlyConfigured`` for a cookie that no browser would take.
    """
    return _cookie(
        settings.SESSION_COOKIE_NAME,
        bool(settings.SESSION_COOKIE_SECURE),
        bool(settings.SESSION_COOKIE_HTTPONLY),
        settings.SESSION_COOKIE_SAMESITE,
        settings.SESSION_COOKIE_PATH,
        settings.SESSION_COOKIE_DOMAIN,
        "https" if https else "http",
    )


@lru_cache
def _cookie(
    name: str, secure: bool, httponly: bool, samesite: Any, path: str, domain: str | None, scheme: str
) -> SessionCookie:
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
    )
    if prefix and (not secure or policy.for_scheme("https").name != name):
        raise ImproperlyConfigured(
            f"SESSION_COOKIE_NAME={name!r}: browsers want SESSION_COOKIE_SECURE=True for it, and for __Host- neither"
            " SESSION_COOKIE_DOMAIN nor SESSION_COOKIE_PATH (RFC 6265bis, 4.1.3)"
        )
    return policy.for_scheme(scheme).named(name)


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
    return {str(name): value for name, value in given.items() if value is not None}


def _refusing(build: Callable[..., T], *arguments: object, **options: object) -> T:
    try:
        return build(*arguments, **options)
    except ConfigurationError as error:
        raise ImproperlyConfigured(f"SESSION_...: {error}") from error
