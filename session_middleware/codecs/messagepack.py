"""MsgpackCodec: MessagePack, with extension types for what it lacks. It knows no record and no session."""

import re
from collections import Counter
from collections.abc import Callable, Collection
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from uuid import UUID

from msgpack import ExtType, packb, unpackb

from session_middleware.codecs.errors import REFUSALS, explained
from session_middleware.codecs.json import KEPT_AS_JSON
from session_middleware.codecs.packers import Packers
from session_middleware.codecs.subclasses import plain_of
from session_middleware.exceptions import PayloadError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

C = TypeVar("C", bound=Collection[Any])

# What an error says that can be written instead.
_KEPT = f"{KEPT_AS_JSON}, bytes, tuple, set, frozenset, datetime, date, time, timedelta, Decimal, UUID"


class MsgpackCodec:
    """MessagePack with extension types. It keeps, and gives back as they were,

    None, bool, int of any size, float, str, bytes, list, tuple, set, frozenset, dict with any hashable supported keys,
    datetime (naive, or aware with a ``zoneinfo`` or ``datetime.timezone`` zone), date, time, timedelta, Decimal and UUID.
    A value of a subclass comes back as the plain type: a ``StrEnum`` as ``str``, an ``OrderedDict`` as ``dict``, a named
    tuple as ``tuple``. A ``zoneinfo`` zone is kept by its name. Sets may stand in sets, eight deep; everything else, a
    thousand deep. In one dict or set there may be a hundred keys of the same hash: over more, which come about on purpose
    only, Python would take seconds.
    """

    def encode(self, value: Any) -> bytes:
        try:
            before = next(_written)
            payload = _pack(value)
            return payload if len(payload) <= _SHORT else _readable(payload, before)
        except REFUSALS:
            pass  # tried once more outside of this clause, so that the traceback shows one error and not three
        return explained(_packed, value, _KEPT)

    def decode(self, encoded: bytes) -> Any:
        try:
            return _unpack(encoded, _read) if len(encoded) <= _SHORT else _unpack_long(encoded)
        # The bytes choose which constructors run, and with what: any of them may raise anything, and quote the data in it.
        except Exception as error:
            raise PayloadError(f"no MessagePack ({type(error).__name__})") from error


# MessagePack: how the types that it lacks are written. A tuple is an array that starts with a mark, so that the library's
# own bound on depth holds for it too. A set is the packed array of its packed members in their order as bytes: one order
# for one set, whatever the hash seed of the process. The codes are below -1: the application may keep an ExtType or a
# Timestamp of the library in its session, and none of those has such a code.

_TUPLE, _SET, _FROZENSET, _INT, _DATETIME, _DATE, _TIME, _TIMEDELTA, _DECIMAL, _UUID = range(-2, -12, -1)


def _extension(code: int, data: bytes) -> ExtType:
    return tuple.__new__(ExtType, (code, data))


_TUPLE_MARK = _extension(_TUPLE, b"")

# What the mark is read as. It is known by its identity; at any other place, in a hostile record, it is mere data.
_TUPLE_NEXT = bytes(bytearray(b"tuple"))

# Each level of sets in sets is a call within a call for the library, with 40 KiB on the stack of the thread.
_DEEPEST_SET = 8

# The library's buffers are larger than this by default, so that each call would ask the system for memory.
_SMALL_BUFFER = 256


# Keys of one hash make a dict or a set take seconds. Text and bytes hash differently in each process; int and float of the
# library's own, at most a few dozen alike. All other keys are extensions; so many of them, or those that a payload of so
# many bytes has room for, do not matter.
_MOST_ALIKE = 100
_MOST_UNSEEN = 300
_SHORT = 4096

# Numbers the extensions that are written, by whichever thread.
_written = count()


def _told_apart(keys: C) -> C:
    """Return *keys*, of which a dict or a set is to be made; raise ``ValueError`` if too many have the same hash."""
    if len(keys) > _MOST_ALIKE:
        ((_, alike),) = Counter(map(hash, keys)).most_common(1)
        if alike > _MOST_ALIKE:
            raise ValueError(f"a dict or a set with more than {_MOST_ALIKE} keys of the same hash")
    return keys


def _mapping(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    if len(pairs) > _MOST_ALIKE:
        _told_apart([key for key, _ in pairs])
    return dict(pairs)


class _TooMany(Exception):
    """There are more extensions than may be read without a look at the keys of each dict."""


class _Counting:
    """Reads extensions, but not more than so many."""

    left = _MOST_UNSEEN

    def __call__(self, code: int, data: bytes) -> object:
        self.left -= 1
        if self.left < 0:
            raise _TooMany
        return _read(code, data)


def _unpack_long(payload: bytes) -> Any:
    try:
        return _unpack(payload, _Counting())
    except _TooMany:
        return unpackb(payload, strict_map_key=False, list_hook=_sequence, object_pairs_hook=_mapping, ext_hook=_read)


def _sequence(items: list[Any]) -> object:
    if items and items[0] is _TUPLE_NEXT:
        return tuple(items[1:])
    return items


def _array(packed: list[bytes]) -> bytes:
    return b"".join((b"\xdd", len(packed).to_bytes(4, "big"), *packed))


_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]{1,64}(/[A-Za-z0-9_+-]{1,64}){0,3}").fullmatch


def _zone(zone: tzinfo | None) -> list[Any]:
    if zone is None:
        return []
    from zoneinfo import ZoneInfo  # few sessions hold a time with a zone

    if type(zone) is ZoneInfo and zone.key is not None:
        return [_zone_named(zone.key).key]
    if type(zone) is timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        return [offset // timedelta(microseconds=1), None if name == timezone(offset).tzname(None) else name]
    raise TypeError(f"a time zone of type {type(zone).__name__} (use zoneinfo.ZoneInfo or datetime.timezone)")


def _to_zone(parts: list[Any]) -> tzinfo | None:
    match parts:
        case []:
            return None
        case [str(key)]:
            return _zone_named(key)
        case [int(microseconds), None]:
            return timezone(timedelta(microseconds=microseconds))
        case [int(microseconds), str(name)]:
            return timezone(timedelta(microseconds=microseconds), name)
    raise ValueError("not a time zone")


def _zone_named(key: str) -> "ZoneInfo":
    from zoneinfo import ZoneInfo

    try:
        if _ZONE_KEY(key):
            return ZoneInfo(key)
    except (LookupError, OSError, ValueError):
        pass
    raise ValueError(f"no time zone is named {key[:80]!r}")


def _moment(code: int, value: datetime | time) -> ExtType:
    parts = [value.replace(tzinfo=None).isoformat(), value.fold, *_zone(value.tzinfo)]
    return _extension(code, packb(parts, buf_size=_SMALL_BUFFER))


def _to_moment(kind: type[datetime] | type[time], data: bytes) -> datetime | time:
    text, fold, *zone = unpackb(data)
    return kind.fromisoformat(text).replace(fold=fold, tzinfo=_to_zone(zone))


def _to_date(kind: type[date], data: bytes) -> date:
    return kind.fromisoformat(data.decode())


def _integer(value: int) -> int | ExtType:
    if -(2**63) <= value < 2**64:
        return value
    return _extension(_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


_WRITERS: dict[type, Callable[[Any], Any]] = {
    tuple: lambda value: [_TUPLE_MARK, *value],
    datetime: partial(_moment, _DATETIME),
    Decimal: lambda value: _extension(_DECIMAL, str(value).encode()),
    UUID: lambda value: _extension(_UUID, value.bytes),
    date: lambda value: _extension(_DATE, value.isoformat().encode()),
    timedelta: lambda value: _extension(
        _TIMEDELTA, packb([value.days, value.seconds, value.microseconds], buf_size=_SMALL_BUFFER)
    ),
    time: partial(_moment, _TIME),
    int: _integer,
}

_READERS: dict[int, Callable[[bytes], Any]] = {
    _TUPLE: lambda data: _TUPLE_NEXT,
    _INT: lambda data: int.from_bytes(data, "big", signed=True),
    _DATETIME: partial(_to_moment, datetime),
    _DATE: partial(_to_date, date),
    _TIME: partial(_to_moment, time),
    _TIMEDELTA: lambda data: timedelta(*unpackb(data)),
    _DECIMAL: lambda data: Decimal(data.decode()),
    _UUID: lambda data: UUID(bytes=data),
}


class _Hashable(TypeError):
    """A subclass of list, dict or set that has a hash may stand where the plain type cannot: as a key or a member."""


def _plain_for_sure(value: object) -> Any:
    plain = plain_of(value)
    if type(plain).__hash__ is None and type(value).__hash__ is not None:
        raise _Hashable(type(value).__qualname__)
    return plain


def _packer(plain: Callable[[object], Any], sets: int = 0) -> Callable[[object], bytes]:
    """Return what packs a value that stands inside that many *sets*; *plain* is the rule for subclasses."""
    writers = _WRITERS | {set: _refuse_set, frozenset: _refuse_set}
    if sets < _DEEPEST_SET:
        inner = _packer(plain, sets + 1)
        writers[set] = lambda value: _extension(_SET, _array(sorted(map(inner, _told_apart(value)))))
        writers[frozenset] = lambda value: _extension(_FROZENSET, _array(sorted(map(inner, _told_apart(value)))))

    def written(value: object) -> Any:
        next(_written)
        write = writers.get(type(value))
        if write is None:
            value = plain(value)
            write = writers.get(type(value))
        return value if write is None else write(value)

    return Packers(written).pack


def _refuse_set(_: object) -> NoReturn:
    raise ValueError(f"sets in sets, more than {_DEEPEST_SET} deep")


def _reader(sets: int = 0) -> Callable[[int, bytes], object]:
    """Return what reads an extension that stands inside that many *sets*."""
    readers = _READERS
    if sets < _DEEPEST_SET:
        inner = _reader(sets + 1)
        readers = readers | {
            _SET: lambda data: set(_told_apart(_unpack(data, inner))),
            _FROZENSET: lambda data: frozenset(_told_apart(_unpack(data, inner))),
        }

    def read(code: int, data: bytes) -> object:
        return ExtType(code, data) if code >= 0 else readers[code](data)

    return read


def _unpack(payload: bytes, read: Callable[[int, bytes], object]) -> Any:
    return unpackb(payload, strict_map_key=False, list_hook=_sequence, ext_hook=read)


_pack, _pack_hashables, _read = _packer(_plain_for_sure), _packer(plain_of), _reader()


def _readable(payload: bytes, before: int) -> bytes:
    """Return *payload*, a long one; raise ``ValueError`` if it could not be read for its keys.

    *before* is a number that was taken before its extensions were written.
    """
    if next(_written) - before > _MOST_UNSEEN:
        _unpack_long(payload)
    return payload


def _packed(value: object) -> bytes:
    before = next(_written)
    try:
        payload = _pack(value)
    except _Hashable:
        payload = _pack_hashables(value)
        _unpack(payload, _read)
    return payload if len(payload) <= _SHORT else _readable(payload, before)
