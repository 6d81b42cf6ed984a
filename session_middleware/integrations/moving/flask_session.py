"""Reads the sessions of Flask-Session 0.8: MessagePack and JSON, in Redis, in files and in a database. It needs neither.

::

    cookie   = id ["." signature]
    Redis    = data                 under "session:" id
    file     = expires(4) data      named hex(SHA-256("session:" id)), as cachelib has it; 0 never expires
    database = data                 in sessions.data, by sessions.session_id, until sessions.expiry
    data     = MessagePack | JSON

cachelib pickles what it writes to files, unless it was told to write JSON: see *plain_pickles*.
"""

import os
import struct
from datetime import date, timedelta
from hashlib import new as new_hash
from typing import Final

from session_middleware.carry_over import Carried
from session_middleware.exceptions import ConfigurationError
from session_middleware.integrations.moving.formats import Pickles, mapping, unsigned_by_flask_session
from session_middleware.integrations.moving.places import FilePlace, Place, RedisPlace, TablePlace
from session_middleware.integrations.moving.reading import Reader, checked_choice, checked_secret
from session_middleware.lifetime import Duration, seconds

_ID: Final = "[A-Za-z0-9_-]{16,256}"
_CONVERSION: Final = (
    "let Flask-Session 0.8 run for one session lifetime: it reads them and writes MessagePack (in files: with"
    " FileSystemCache.serializer set to an object whose load() reads both and whose dump() writes JSON)"
)
_EXPIRES: Final = struct.Struct("I")


class CachelibPlace(FilePlace):
    """The directory of cachelib's ``FileSystemCache``; *hash_name* is the hash that its files are named by."""

    def __init__(self, directory: str | os.PathLike[str], *, hash_name: str = "sha256") -> None:
        try:
            new_hash(hash_name).hexdigest()
        except (TypeError, ValueError):  # one of no fixed length, too, which cachelib cannot use
            raise ConfigurationError(f"hash_name={hash_name!r}: write the name of a hash, such as 'sha256'") from None
        super().__init__(directory, lambda key: new_hash(hash_name, key.encode()).hexdigest())

    def get(self, key: str, now: float) -> bytes | None:
        found = super().get(key, now)
        if found is None or len(found) < _EXPIRES.size:
            return None
        (expires_at,) = _EXPIRES.unpack_from(found)
        return None if 0 < expires_at < now else found[_EXPIRES.size :]


class FromFlaskSession(Reader):
    """Carries Flask-Session's sessions over: ``SessionMiddleware(app, store, carry_over=FromFlaskSession("redis://..."))``.

    *place*: a ``redis://`` URL; the directory of file sessions, as ``file:///...`` or a path; the URL of a database; or a
    :class:`Place`, such as a :class:`TablePlace` for a table of another name. The others are Flask's own settings:
    *key_prefix*, *cookie_name* and so on; *secret_key* if ``SESSION_USE_SIGNER`` was set, and only then. A permanent session
    lasts for *permanent_lifetime* (``timedelta`` or seconds) from the move on, another as new sessions do.
    *user_key*: where the user id is; Flask-Login's by default. *plain_pickles*: carry pickled sessions over, too, if they
    hold only plain values; nothing in them is run. From *carry_over_until* on (a date, by UTC, or a ``datetime`` with a
    zone) no session is carried over any more.
    """

    library = "Flask-Session"

    def __init__(
        self,
        place: Place | str | os.PathLike[str],
        *,
        key_prefix: str = "session:",
        secret_key: str | bytes | None = None,
        cookie_name: str = "session",
        cookie_path: str = "/",
        cookie_domain: str | None = None,
        user_key: str | None = "_user_id",
        permanent_lifetime: Duration = timedelta(days=31),
        plain_pickles: bool = False,
        carry_over_until: date | None = None,
    ) -> None:
        if not isinstance(key_prefix, str):
            raise ConfigurationError(f"key_prefix={key_prefix!r}: write SESSION_KEY_PREFIX")
        super().__init__(
            _place(place),
            name=cookie_name,
            path=cookie_path,
            domain=cookie_domain,
            form=_ID if secret_key is None else rf"{_ID}\.[A-Za-z0-9_-]{{27}}",
            user_key=user_key,
            carry_over_until=carry_over_until,
            look_at="key_prefix and secret_key",
        )
        self._permanent_lifetime = seconds("permanent_lifetime", permanent_lifetime)
        self._prefix = key_prefix
        self._secret_key = None if secret_key is None else checked_secret("secret_key", secret_key)
        self._pickles = Pickles(plain=checked_choice("plain_pickles", plain_pickles), conversion=_CONVERSION)

    def unsigned(self, value: str) -> str | None:
        return value if self._secret_key is None else unsigned_by_flask_session(self._secret_key, value)

    def key_of(self, old_id: str) -> str:
        return self._prefix + old_id

    def carried(self, found: bytes, now: float) -> Carried | None:
        data = mapping(found, self._pickles)
        persistent = data.pop("_permanent", False) is True
        lasts = self._permanent_lifetime if persistent else None
        return Carried(data, self.user_of(data), persistent, idle=lasts, absolute=lasts) if data else None


def _place(place: Place | str | os.PathLike[str]) -> Place:
    if not isinstance(place, str | os.PathLike):
        return place
    scheme, separator, rest = os.fspath(place).partition("://")
    if not separator or scheme == "file":
        return CachelibPlace(rest if separator else scheme)
    if scheme in ("redis", "rediss", "unix"):
        return RedisPlace(place)
    return TablePlace(str(place), "sessions", key_column="session_id", value_column="data", expires_column="expiry")
