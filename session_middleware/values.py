"""The application's mapping over encoded values: what was decoded, set, deleted, handed out. It does no I/O.

A value stays bytes until it is touched, and is encoded again only if it was set, or was handed out mutable. What is not
touched is carried over as bytes, so it costs nothing, whatever its size.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from session_middleware.codecs import Codec
from session_middleware.codecs.errors import step
from session_middleware.exceptions import PayloadError
from session_middleware.record import Encoded

log = logging.getLogger("session_middleware")

# A value of one of these types cannot change once it has been handed out.
_IMMUTABLE: Final = frozenset({type(None), bool, int, float, str, bytes, date, datetime, time, timedelta, Decimal, UUID})

_ENCODED: Final = object()
"""Stands for a value that nobody has touched."""


class Changes(NamedTuple):
    """What a request did to the values; the values are encoded."""

    assigned: Encoded
    grown: Encoded
    """What was only changed in place: nobody has asked for the key to be there."""
    deleted: frozenset[str]

    def over(self, theirs: Encoded) -> Encoded:
        """Return *theirs* with these changes on top. What was only changed in place and they deleted stays deleted."""
        assigned, grown, deleted = self
        if not (assigned or grown or deleted):
            return theirs
        result = {key: value for key, value in theirs.items() if key not in deleted} if deleted else theirs
        if grown:
            result = result | {key: value for key, value in grown.items() if key in result}
        return {**result, **assigned}


_NOTHING: Final[frozenset[str]] = frozenset()
_NO_CHANGES: Final = Changes({}, {}, _NOTHING)

_STR: Final = {str}


class Values(MutableMapping[str, Any]):
    """The values of a session, by ``str`` keys. One that does not decode is logged, and absent."""

    __slots__ = ("_assigned", "_codec", "_deleted", "_handed_out", "_now", "_stored", "_unreadable", "suspect")

    def __init__(self, stored: Encoded, codec: Codec) -> None:
        self._stored = stored
        self._codec = codec
        self._now: dict[str, Any] = dict.fromkeys(stored, _ENCODED)
        # Sets that keep their order.
        self._assigned: dict[str, None] = {}
        self._handed_out: dict[str, None] = {}
        self._deleted: set[str] = set()
        self._unreadable: set[str] = set()
        self.suspect = False
        """Whether anything may differ from what is stored: a key was set or deleted, or a mutable value handed out."""

    def __getitem__(self, key: str) -> Any:
        value = self._now[key]
        if value is _ENCODED:
            value = self._decoded(key)
        if value.__class__ not in _IMMUTABLE:
            self.suspect = True
            self._handed_out[key] = None
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        if key.__class__ is not str or not key.isascii():
            key = checked_key(key)
        self._now[key] = value
        self._assigned[key] = None
        self.suspect = True

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        del self._now[key]
        self._forget(key)

    def __contains__(self, key: object) -> bool:
        if self._now.get(key) is _ENCODED:  # type: ignore[call-overload]  # any object may be asked for
            try:
                self._decoded(key)  # type: ignore[arg-type]  # it is one of the keys
            except KeyError:
                return False
            return True
        return key in self._now

    def __iter__(self) -> Iterator[str]:
        self._decode_all()
        return iter(self._now)

    def __len__(self) -> int:
        self._decode_all()
        return len(self._now)

    def __bool__(self) -> bool:
        return any(key in self for key in tuple(self._now))

    def get(self, key: str, default: Any = None) -> Any:
        if key not in self._now:
            return default
        try:
            return self[key]
        except KeyError:
            return default

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the newest key and its value; raise ``KeyError`` if there is none."""
        while self._now and next(reversed(self._now)) not in self:
            pass  # it did not decode, and is gone from the end
        key, value = self._now.popitem()
        self._forget(key)
        return key, value

    def clear(self) -> None:
        self._now.clear()
        self._assigned.clear()
        self._deleted.update(self._stored)
        self.suspect = True

    def __ior__(self, other: Mapping[str, Any]) -> "Values":
        self.update(other)
        return self

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def __repr__(self) -> str:
        return f"<Values of {len(self._now)} keys>"

    def changes(self) -> Changes:
        """Return what differs from what is stored; raise :exc:`PayloadError` for what cannot be encoded."""
        if not self.suspect:
            return _NO_CHANGES
        stored, now = self._stored, self._now
        assigned = {key: value for key, value in self.assigned().items() if value != stored.get(key)}
        grown = self._encoded([key for key in self._handed_out if key in now and key not in self._assigned])
        if grown:
            grown = {key: value for key, value in grown.items() if value != stored.get(key)}
        deleted = (
            frozenset([key for key in self._deleted if key not in now and key in stored]) if self._deleted else _NOTHING
        )
        return Changes(assigned, grown, deleted)

    def assigned(self) -> Encoded:
        """Return what was set, whether it differs or not; raise :exc:`PayloadError` for what cannot be encoded."""
        return self._encoded(self._assigned)

    def written(self) -> dict[str, Any]:
        """Return what was set since it was last stored, decoded."""
        return {key: self._now[key] for key in self._assigned}

    def differ(self) -> bool:
        """Tell whether there is anything to store."""
        try:
            return self.suspect and any(self.changes())
        except PayloadError:
            return True

    def rebase(self, stored: Encoded, own: Changes | None) -> None:
        """Go on from what is stored now: *own* changes, and what others have changed; ``None``: nothing of others is there.

        A value that is equal stays the object that the application may hold.
        """
        if own is not None:
            now, before = self._now, self._stored
            for key, encoded in stored.items():
                mine = own.assigned.get(key, own.grown.get(key, before.get(key)))
                if encoded != mine or (key not in now and key not in self._unreadable):
                    now[key] = _ENCODED
                    self._unreadable.discard(key)
                    self._handed_out.pop(key, None)
            for key in now.keys() - stored.keys():
                del now[key]
                self._handed_out.pop(key, None)
        # Who has put a mutable value there may go on changing it.
        for key in self._assigned:
            held = self._now.get(key, _ENCODED)
            if held is not _ENCODED and held.__class__ not in _IMMUTABLE:
                self._handed_out[key] = None
        self._stored = stored
        self._assigned.clear()
        self._deleted.clear()
        self.suspect = bool(self._handed_out)

    def update(self, other: Any = (), /, **others: Any) -> None:
        """See :meth:`dict.update`."""
        given = dict(other, **others)
        if {*map(type, given)} <= _STR and "".join(given).isascii():
            self._now.update(given)
            self._assigned.update(dict.fromkeys(given))
            self.suspect = True
        else:
            for key, value in given.items():
                self[key] = value

    def keep_only(self, keys: frozenset[str]) -> None:
        """Go on without the others, as a sign-in does: that is no deletion which another sign-in would have to follow."""
        for key in [key for key in self._now if key not in keys]:
            del self._now[key]
            self._assigned.pop(key, None)
            self._deleted.discard(key)
        self.suspect = True

    def revert(self) -> None:
        """Undo what was changed."""
        self.__init__(self._stored, self._codec)  # type: ignore[misc]  # all that it has is made there

    def _forget(self, key: str) -> None:
        self._assigned.pop(key, None)
        self._deleted.add(key)
        self.suspect = True

    def _decoded(self, key: str) -> Any:
        try:
            value = self._codec.decode(self._stored[key])
        except PayloadError as error:
            log.error("a value of a session cannot be read, and counts as absent: %s: %s", step(key), error)
            del self._now[key]
            self._unreadable.add(key)
            raise KeyError(key) from None
        self._now[key] = value
        return value

    def _decode_all(self) -> None:
        for key in [key for key, value in self._now.items() if value is _ENCODED]:
            _ = key in self

    def _encoded(self, keys: Iterable[str]) -> Encoded:
        encode, now, key = self._codec.encode, self._now, ""
        result: Encoded = {}
        try:
            for key in keys:
                result[key] = encode(now[key])
        except PayloadError as error:
            raise PayloadError(error.reason, path=f"session{step(key)}{error.path}") from error.__cause__
        return result


def encoded(data: Mapping[str, Any], codec: Codec) -> Encoded:
    """Return the values of *data* as they are stored; raise :exc:`PayloadError` for what cannot be encoded."""
    values = Values({}, codec)
    values.update(data)
    return values.assigned()


def checked_key(key: object) -> str:
    """Return *key* as plain ``str``; raise :exc:`PayloadError` if it is none, or cannot be written as UTF-8."""
    if key.__class__ is str and key.isascii():
        return key
    if not isinstance(key, str):
        raise PayloadError(f"a key of type {type(key).__name__}: keys at the top level are str")
    plain = str.__str__(key)
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise PayloadError("a key with a lone surrogate", path=f"session{step(plain)}") from None
    return plain
