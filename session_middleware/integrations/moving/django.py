"""Reads the sessions of Django 4.2 and later: signed JSON, from the database, files and caches. It needs no Django.

::

    cookie   = id
    database = signed               in django_session.session_data, by session_key, until expire_date
    file     = signed               named as the cookie and the id
    cache    = pickle | JSON        under "django.contrib.sessions.cache" id, as the cache names its keys
    signed   = ["."] base64(JSON, packed by zlib if there is a ".") ":" time ":" HMAC-SHA256

Caches pickle what they keep, unless they were told to write JSON: see *plain_pickles*. Sessions in the memory of a process
end with it, and those kept in the cookie are not carried over: a copy of it would open them again after a sign-out.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from hashlib import md5
from typing import Any, Final

from session_middleware.carry_over import Carried
from session_middleware.exceptions import ConfigurationError, PayloadError, StoreUnavailable
from session_middleware.integrations.moving import plain_pickle
from session_middleware.integrations.moving.formats import Pickles, from_json, inflated, mapping, unsigned_by_django
from session_middleware.integrations.moving.places import FilePlace, Place, RedisPlace, redis_client
from session_middleware.integrations.moving.reading import Reader, checked_choice, checked_secret, checked_text
from session_middleware.lifetime import LONGEST, Duration, seconds

_ENGINES: Final = "django.contrib.sessions.backends."
_IN_CACHE: Final = "django.contrib.sessions.cache"
_IN_CACHED_DB: Final = "django.contrib.sessions.cached_db"
_NOT_OF_CONNECTIONS: Final = ("serializer", "pool_class", "parser_class")  # among the OPTIONS of a cache in Redis
_CONVERSION: Final = (
    "give the old Redis cache a serializer in OPTIONS whose loads() reads both and whose dumps() writes JSON, for one"
    " session age; or let Django run with the db engine for as long"
)


class FromDjango(Reader):
    """Carries Django's sessions over: ``SessionMiddleware(app, store, carry_over=FromDjango.from_settings())``.

    *place*: a :class:`Place`. *secret_key*, *fallback_keys*, *cookie_name* and so on are Django's settings; *max_age* is
    ``SESSION_COOKIE_AGE`` (seconds), *persistent* the opposite of ``SESSION_EXPIRE_AT_BROWSER_CLOSE``. *user_key*: where
    the user id is; that of ``django.contrib.auth`` by default. *plain_pickles*: carry pickled sessions from a cache over,
    too, if they hold only plain values; nothing in them is run. From *carry_over_until* on (a date, by UTC, or a
    ``datetime`` with a zone) no session is carried over any more.
    """

    library = "Django"

    def __init__(
        self,
        place: Place,
        *,
        secret_key: str | bytes,
        fallback_keys: Sequence[str | bytes] = (),
        salt: str = "django.contrib.sessions.SessionStore",
        max_age: Duration = 1209600,
        persistent: bool = True,
        cookie_name: str = "sessionid",
        cookie_path: str = "/",
        cookie_domain: str | None = None,
        user_key: str | None = "_auth_user_id",
        plain_pickles: bool = False,
        carry_over_until: date | None = None,
    ) -> None:
        super().__init__(
            place,
            name=cookie_name,
            path=cookie_path,
            domain=cookie_domain,
            form="[a-z0-9]{8,40}",
            user_key=user_key,
            carry_over_until=carry_over_until,
            look_at="secret_key",
        )
        if isinstance(fallback_keys, str | bytes):
            raise ConfigurationError("fallback_keys is one key: write a list of them")
        self._keys = (
            checked_secret("secret_key", secret_key),
            *(checked_secret("one of fallback_keys", key) for key in fallback_keys),
        )
        self._salt = checked_text("salt", salt)
        self._max_age = seconds("max_age", max_age)
        self._persistent = checked_choice("persistent", persistent)
        self._pickles = Pickles(plain=checked_choice("plain_pickles", plain_pickles), conversion=_CONVERSION)
        self._is_cache = isinstance(place, RedisPlace | _CacheFiles | _CacheKeys)

    @classmethod
    def from_settings(
        cls, engine: str = f"{_ENGINES}db", *, plain_pickles: bool = False, carry_over_until: date | None = None
    ) -> "FromDjango":
        """Return a reader of what Django's settings describe; *engine* is the ``SESSION_ENGINE`` of the old sessions.

        Raise :exc:`ConfigurationError` for an engine whose sessions cannot be carried over.
        """
        try:
            from django.conf import settings
        except ImportError as error:
            raise ConfigurationError("Django is not installed: pip install 'session-middleware[django]'") from error
        return cls(
            _place(engine, settings),
            secret_key=settings.SECRET_KEY,
            fallback_keys=settings.SECRET_KEY_FALLBACKS,
            max_age=settings.SESSION_COOKIE_AGE,
            persistent=not settings.SESSION_EXPIRE_AT_BROWSER_CLOSE,
            cookie_name=settings.SESSION_COOKIE_NAME,
            cookie_path=settings.SESSION_COOKIE_PATH,
            cookie_domain=settings.SESSION_COOKIE_DOMAIN,
            plain_pickles=plain_pickles,
            carry_over_until=carry_over_until,
        )

    def key_of(self, old_id: str) -> str:
        return old_id

    def carried(self, found: bytes, now: float) -> Carried | None:
        if self._is_cache:
            data, written_at = mapping(found, self._pickles), None
        else:
            signed, written_at = unsigned_by_django(self._keys, self._salt, found.decode("ascii", "replace"))
            data = from_json(signed)
        expiry = data.get("_session_expiry")
        if not data or self._has_passed(expiry, written_at, now):
            return None
        persistent = self._persistent if expiry is None else expiry != 0
        idle = float(min(expiry, LONGEST)) if isinstance(expiry, int | float) and expiry else None
        absolute = min(_moment(expiry) - now, LONGEST) if isinstance(expiry, str) else None
        return Carried(data, self.user_of(data), persistent, idle, absolute)

    def _has_passed(self, expiry: object, written_at: float | None, now: float) -> bool:
        if isinstance(expiry, str):
            return _moment(expiry) <= now
        age = expiry if isinstance(expiry, int | float) and expiry else self._max_age
        return not age > 0 or (written_at is not None and written_at + age <= now)


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise PayloadError("its _session_expiry is no time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class _Table:
    """The table of ``django.contrib.sessions``, by Django's own connection; *also* removes what a cache has of it."""

    def __init__(self, also: Callable[[str], object] = lambda key: None) -> None:
        from django.apps import apps

        if apps.apps_ready and not apps.is_installed("django.contrib.sessions"):
            raise ConfigurationError(
                "the table of the old sessions is that of 'django.contrib.sessions': leave it in INSTALLED_APPS until the"
                " move is over"
            )
        self._also = also

    def get(self, key: str, now: float) -> bytes | None:
        from django.conf import settings
        from django.contrib.sessions.models import Session
        from django.db import Error
        from django.utils.timezone import make_naive

        moment = datetime.fromtimestamp(now, UTC)
        if not settings.USE_TZ:
            moment = make_naive(moment)
        try:
            found = Session.objects.filter(session_key=key, expire_date__gt=moment)
            text: str | None = found.values_list("session_data", flat=True).first()
        except Error as error:
            raise StoreUnavailable(f"the old sessions cannot be asked ({type(error).__name__})") from error
        return None if text is None else text.encode()

    def remove(self, key: str) -> None:
        from django.contrib.sessions.models import Session
        from django.db import Error

        try:
            Session.objects.filter(session_key=key).delete()
        except Error as error:
            raise StoreUnavailable(f"the old sessions cannot be removed ({type(error).__name__})") from error
        self._also(key)


class _CacheKeys:
    """A cache in Redis, past Django: its own way to read would unpickle."""

    def __init__(self, redis: RedisPlace, name_of: Callable[[str], str]) -> None:
        self._redis = redis
        self._name_of = name_of

    def get(self, key: str, now: float) -> bytes | None:
        return self._redis.get(self._name_of(key), now)

    def remove(self, key: str) -> None:
        self._redis.remove(self._name_of(key))


class _CacheFiles(FilePlace):
    """A cache in files: ``pickle(expires) zlib(pickle(data))``."""

    def get(self, key: str, now: float) -> bytes | None:
        found = super().get(key, now)
        if found is None:
            return None
        try:
            expires_at, packed = plain_pickle.read_first(found)
        except plain_pickle.NotPlain as error:
            raise PayloadError(f"it is not as Django stores it ({error})") from None
        if isinstance(expires_at, int | float) and expires_at < now:
            return None
        return inflated(packed)


def _place(engine: str, settings: Any) -> Place:
    match engine.removeprefix(_ENGINES):
        case "db":
            return _Table()
        case "cached_db":
            return _Table(partial(_remove_from_cache, settings.SESSION_CACHE_ALIAS))
        case "file":
            directory = getattr(settings, "SESSION_FILE_PATH", None) or tempfile.gettempdir()
            return FilePlace(directory, lambda key: f"{settings.SESSION_COOKIE_NAME}{key}")
        case "cache":
            return _cache_place(settings.SESSION_CACHE_ALIAS, settings.CACHES)
        case "signed_cookies":
            raise ConfigurationError(
                "signed_cookies: sessions kept in the cookie are not carried over, for a copy of the cookie would open them"
                " again after a sign-out; leave carry_over out"
            )
    raise ConfigurationError(f"engine={engine!r}: write FromDjango(place, secret_key=...) with a place of your own")


def _cache_place(alias: str, caches: Mapping[str, Any]) -> Place:
    from django.core.cache import caches as opened

    cache, location = opened[alias], caches[alias].get("LOCATION", "")
    kind = caches[alias]["BACKEND"].rpartition(".")[2]

    def name_of(key: str) -> str:
        name: str = cache.make_key(_IN_CACHE + key)
        return name

    if kind == "RedisCache":
        first = location if isinstance(location, str) else location[0]
        # Those in capitals are of django-redis, whose connections know none of them.
        found: Mapping[str, Any] = caches[alias].get("OPTIONS", {})
        options = {name: found[name] for name in found if name.islower() and name not in _NOT_OF_CONNECTIONS}
        return _CacheKeys(RedisPlace(redis_client(first.split(",")[0].split(";")[0].strip(" "), **options)), name_of)
    if kind == "FileBasedCache":
        return _CacheFiles(location, lambda key: md5(name_of(key).encode(), usedforsecurity=False).hexdigest() + ".djcache")
    if kind == "LocMemCache":
        raise ConfigurationError("LocMemCache: its sessions end with the process, so there is nothing to carry over")
    raise ConfigurationError(f"{kind}: write FromDjango(place, secret_key=...) with a place of your own")


def _remove_from_cache(alias: str, key: str) -> None:
    from django.core.cache import caches

    try:
        caches[alias].delete(_IN_CACHED_DB + key)
    # Each kind of cache has its own tree of errors.
    except Exception as error:
        raise StoreUnavailable(f"the old sessions cannot be removed ({type(error).__name__})") from error
