"""Reads the sessions of Beaker 1.14: JSON, in files, in Redis and in a database. It needs no Beaker.

::

    cookie     = [hex(HMAC-SHA1(secret, id))] id
    file       = pickle({"session": text})    at container_file/i/id/id.cache, by the first letters of the id
    Redis      = pickle(text)                 under "beaker_cache:" id ":session"
    database   = pickle({"session": text})    in beaker_cache.data, by beaker_cache.namespace
    text       = base64(zlib(JSON))

The pickles around the text are Beaker's, whatever its serializer is: they are read as plain values, and nothing else.
Sessions that are kept in the cookie are not carried over: a copy of the cookie would open them again after a sign-out.
"""

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

from session_middleware.carry_over import Carried
from session_middleware.exceptions import PayloadError
from session_middleware.integrations.moving import plain_pickle
from session_middleware.integrations.moving.formats import (
    Pickles,
    from_base64,
    from_json,
    inflated,
    is_pickled,
    unsigned_by_beaker,
)
from session_middleware.integrations.moving.places import FilePlace, Place, RedisPlace, TablePlace
from session_middleware.integrations.moving.reading import Reader, checked_choice, checked_secret
from session_middleware.lifetime import Duration, seconds

BOOKKEEPING: Final = frozenset({"_creation_time", "_accessed_time", "_id", "_domain", "_path"})
"""What Beaker itself keeps among the data."""

_ID: Final = "[0-9a-f]{32,40}"
_CONVERSION: Final = (
    "let Beaker run for one session timeout with a data_serializer object whose loads() reads both and whose dumps() writes"
    " zlib.compress(json.dumps(data).encode())"
)


class FromBeaker(Reader):
    """Carries Beaker's sessions over: ``SessionMiddleware(app, store, carry_over=FromBeaker("redis://localhost"))``.

    *place*: a ``redis://`` URL; the ``data_dir`` of file sessions, as ``file:///...`` or a path; the URL of a database; or
    a :class:`Place`. The others are Beaker's own: *secret*, *timeout* (seconds), *cookie_name* (its ``key``) and so on.
    From *carry_over_until* on (a date, by UTC, or a ``datetime`` with a zone) no session is carried over any more.
    *user_key*: where the application keeps the user id, so that its sessions can be listed and revoked.
    *plain_pickles*: carry pickled sessions over, too, if they hold only plain values; nothing in them is run.
    """

    library = "Beaker"

    def __init__(
        self,
        place: Place | str | os.PathLike[str],
        *,
        secret: str | None = None,
        timeout: Duration | None = None,
        cookie_name: str = "beaker.session.id",
        cookie_path: str = "/",
        cookie_domain: str | None = None,
        user_key: str | None = None,
        plain_pickles: bool = False,
        carry_over_until: date | None = None,
    ) -> None:
        super().__init__(
            _place(place),
            name=cookie_name,
            path=cookie_path,
            domain=cookie_domain,
            form=_ID if secret is None else f"[0-9a-f]{{40}}{_ID}",
            user_key=user_key,
            carry_over_until=carry_over_until,
            look_at="secret",
        )
        self._secret = None if secret is None else checked_secret("secret", secret)
        self._timeout = None if timeout is None else seconds("timeout", timeout)
        self._pickles = Pickles(plain=checked_choice("plain_pickles", plain_pickles), conversion=_CONVERSION)
        self._in_redis = isinstance(self.place, RedisPlace)

    def unsigned(self, value: str) -> str | None:
        return value if self._secret is None else unsigned_by_beaker(self._secret, value)

    def key_of(self, old_id: str) -> str:
        return f"beaker_cache:{old_id}:session" if self._in_redis else old_id

    def carried(self, found: bytes, now: float) -> Carried | None:
        data = self._data(from_base64(_unwrapped(found)))
        if self._has_timed_out(data, now):
            return None
        own = {key: value for key, value in data.items() if key not in BOOKKEEPING}
        return Carried(own, self.user_of(own)) if own else None

    def _data(self, packed: bytes) -> dict[str, Any]:
        return self._pickles.mapping(packed) if is_pickled(packed) else from_json(inflated(packed))

    def _has_timed_out(self, data: Mapping[str, Any], now: float) -> bool:
        accessed = data.get("_accessed_time")
        return self._timeout is not None and isinstance(accessed, int | float) and accessed < now - self._timeout


def _place(place: Place | str | os.PathLike[str]) -> Place:
    if not isinstance(place, str | os.PathLike):
        return place
    scheme, separator, rest = os.fspath(place).partition("://")
    if not separator or scheme == "file":
        return FilePlace(Path(rest if separator else scheme) / "container_file", _path_of)
    if scheme in ("redis", "rediss", "unix"):
        return RedisPlace(place)
    return TablePlace(str(place), "beaker_cache", key_column="namespace", value_column="data")


def _path_of(old_id: str) -> str:
    return f"{old_id[:1]}/{old_id[:2]}/{old_id}.cache"


def _unwrapped(found: bytes) -> str:
    if not is_pickled(found):
        return found.decode("ascii", "replace")
    try:
        value = plain_pickle.read(found)
    except plain_pickle.NotPlain as error:
        raise PayloadError(f"it is not as Beaker stores it ({error})") from None
    text = value.get("session") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise PayloadError("it is not as Beaker stores it")
    return text
