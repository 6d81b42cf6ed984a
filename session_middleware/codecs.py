"""A mapping to bytes and back, exactly. Bytes from a store are data: nothing in them is ever run.

One rule for subclasses: a value whose type is a subclass of a supported one is kept as that supported type (Markup and
StrEnum as str, IntEnum as int, OrderedDict and defaultdict as dict, a named tuple as tuple), a bytearray or memoryview as
bytes, and an object with the methods of ``str`` (Django's and Babel's lazy strings) as the text it stands for.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any, NoReturn, Protocol, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from msgpack import ExtType, packb, unpackb

from session_middleware.exceptions import PayloadError

_DEEPEST = 500
_LONGEST_PATH = 400
_REFUSALS = (TypeError, ValueError, OverflowError, RecursionError)


class Codec(Protocol):
    """How the application's mapping becomes bytes. A codec keeps no state and may be used by any number of threads."""

    def encode(self, data: Mapping[str, Any]) -> bytes:
        """Return *data* as bytes; the same data always gives the same bytes.

        Raise :exc:`PayloadError`, naming the path, for a value that :meth:`decode` would not give back as it is.
        """
        ...

    def decode(self, payload: bytes) -> dict[str, Any]:
        """Return the mapping, built anew; raise :exc:`PayloadError`, and nothing else, for bytes that hold none."""
        ...


class MsgpackCodec:
    """MessagePack with extension types. It keeps the exact type of

    None, bool, int of any size, float, str, bytes, list, tuple, set, frozenset, dict with any hashable supported keys,
    datetime (naive, or aware with a ``zoneinfo`` or ``datetime.timezone`` zone), date, time, timedelta, Decimal and UUID.
    """

    def encode(self, data: Mapping[str, Any]) -> bytes:
        try:
            return _pack(data)
        except _REFUSALS as error:
            _explain(data, _pack, error)

    def decode(self, payload: bytes) -> dict[str, Any]:
        try:
            data = unpackb(payload, strict_map_key=False, ext_hook=_extension, list_hook=_sequence)
        # The bytes choose which constructors run, and with what: any of them may raise anything.
        except Exception as error:
            raise PayloadError(f"not a MessagePack payload: {error}") from error
        return _checked(data)


class JSONCodec:
    """JSON, for those who want to read their store by eye.

    It keeps None, bool, int, finite float, str, list and dict with str keys, and refuses every other type instead of
    changing it.
    """

    def encode(self, data: Mapping[str, Any]) -> bytes:
        try:
            return _to_json(_json_value(data, 0))
        except _REFUSALS as error:
            _explain(data, lambda value: _to_json(_json_value(value, 0)), error)

    def decode(self, payload: bytes) -> dict[str, Any]:
        try:
            data = json.loads(payload.decode(), parse_constant=_no_constant, parse_float=_finite)
            if b"\\u" in payload:
                _to_json(data)  # an escape may hide a lone surrogate, which could never be written again
        except (ValueError, RecursionError) as error:
            raise PayloadError(f"not a JSON payload: {error}") from error
        return _checked(data)


def _checked(data: object) -> dict[str, Any]:
    if type(data) is not dict:
        raise PayloadError(f"the payload holds a {type(data).__name__}, not a dict")
    for key in data:
        if key.__class__ is not str:
            raise PayloadError(f"the payload has a key of type {type(key).__name__}")
    return data


# MessagePack: how the types that it lacks are written. A tuple or a set is an array that starts with a mark, so that the
# library's own bound on depth holds for them too.

_TUPLE, _SET, _FROZENSET, _INT, _DATETIME, _DATE, _TIME, _TIMEDELTA, _DECIMAL, _UUID = range(1, 11)


class _Mark:
    """What the first element of a marked array is read as."""

    __slots__ = ("build",)

    def __init__(self, build: Callable[[list[Any]], object]) -> None:
        self.build = build


_MARKS = {_TUPLE: _Mark(tuple), _SET: _Mark(set), _FROZENSET: _Mark(frozenset)}
_TUPLE_MARK, _SET_MARK, _FROZENSET_MARK = (ExtType(code, b"") for code in _MARKS)


def _sequence(items: list[Any]) -> object:
    if items and items[0].__class__ is _Mark:
        return items[0].build(items[1:])
    return items


def _ordered(items: set[Any] | frozenset[Any]) -> list[Any]:
    return sorted(items, key=_pack)  # one order for one set, whatever the hash seed of the process


def _zone(zone: tzinfo | None) -> list[Any]:
    if zone is None:
        return []
    if type(zone) is ZoneInfo and zone.key is not None:
        return [zone.key]
    if type(zone) is timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        return [offset // timedelta(microseconds=1), None if name == timezone(offset).tzname(None) else name]
    raise TypeError(f"a time zone of type {type(zone).__name__} (use zoneinfo.ZoneInfo or datetime.timezone)")


def _to_zone(parts: list[Any]) -> tzinfo | None:
    match parts:
        case []:
            return None
        case [str(key)]:
            return ZoneInfo(key)
        case [int(microseconds), None]:
            return timezone(timedelta(microseconds=microseconds))
        case [int(microseconds), str(name)]:
            return timezone(timedelta(microseconds=microseconds), name)
    raise ValueError("not a time zone")


def _moment(code: int, value: datetime | time) -> ExtType:
    parts = [value.replace(tzinfo=None).isoformat(), value.fold, *_zone(value.tzinfo)]
    return ExtType(code, packb(parts))


def _to_moment(kind: type[datetime] | type[time], data: bytes) -> datetime | time:
    text, fold, *zone = unpackb(data)
    return kind.fromisoformat(text).replace(fold=fold, tzinfo=_to_zone(zone))


def _integer(value: int) -> int | ExtType:
    if -(2**63) <= value < 2**64:
        return value
    return ExtType(_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


_WRITERS: dict[type, Callable[[Any], Any]] = {
    tuple: lambda value: [_TUPLE_MARK, *value],
    datetime: partial(_moment, _DATETIME),
    Decimal: lambda value: ExtType(_DECIMAL, str(value).encode()),
    UUID: lambda value: ExtType(_UUID, value.bytes),
    date: lambda value: ExtType(_DATE, value.isoformat().encode()),
    set: lambda value: [_SET_MARK, *_ordered(value)],
    timedelta: lambda value: ExtType(_TIMEDELTA, packb([value.days, value.seconds, value.microseconds])),
    frozenset: lambda value: [_FROZENSET_MARK, *_ordered(value)],
    time: partial(_moment, _TIME),
    int: _integer,
}

_READERS: dict[int, Callable[[bytes], Any]] = {
    _INT: lambda data: int.from_bytes(data, "big", signed=True),
    _DATETIME: partial(_to_moment, datetime),
    _DATE: lambda data: date.fromisoformat(data.decode()),
    _TIME: partial(_to_moment, time),
    _TIMEDELTA: lambda data: timedelta(*unpackb(data)),
    _DECIMAL: lambda data: Decimal(data.decode()),
    _UUID: lambda data: UUID(bytes=data),
}


def _extension(code: int, data: bytes) -> object:
    mark = _MARKS.get(code)
    return _READERS[code](data) if mark is None else mark


# The rule for subclasses: the first supported type that a value is an instance of, and the way to that exact type.
# The methods of the base are called on it, so that nothing that the subclass overrides has a say.
_PLAIN: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: bytes.__bytes__,
    dict: dict,
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    datetime: lambda value: datetime.combine(datetime.date(value), datetime.timetz(value)),
    date: lambda value: date.fromordinal(date.toordinal(value)),
    time: lambda value: time(
        value.hour, value.minute, value.second, value.microsecond, tzinfo=value.tzinfo, fold=value.fold
    ),
    timedelta: lambda value: timedelta(value.days, value.seconds, value.microseconds),
    Decimal: Decimal,
    UUID: lambda value: UUID(int=value.int),
}


def _plain(value: object) -> Any:
    """Return *value* as the supported type that it is a subclass of; raise ``TypeError`` if there is none."""
    for base, convert in _PLAIN.items():
        if isinstance(value, base):
            return convert(value)
    if hasattr(value, "casefold"):
        return str(value)
    raise TypeError(type(value).__qualname__)


def _written(value: object) -> Any:
    write = _WRITERS.get(type(value))
    if write is None:
        value = _plain(value)
        write = _WRITERS.get(type(value))
    return value if write is None else write(value)


_pack = cast("Callable[[object], bytes]", partial(packb, strict_types=True, default=_written))


def _json_value(value: object, depth: int) -> Any:
    if depth > _DEEPEST:
        raise RecursionError
    kind = type(value)
    if value is None or kind in (bool, str, int, float):
        return value
    if kind is list:
        return [_json_value(item, depth + 1) for item in cast("list[Any]", value)]
    if kind is dict:
        return {_json_key(key): _json_value(item, depth + 1) for key, item in cast("dict[Any, Any]", value).items()}
    plain = _plain(value)
    if type(plain) not in (str, int, float, list, dict) or type(plain) is kind:
        raise TypeError(kind.__qualname__)
    return _json_value(plain, depth)


def _json_key(key: object) -> str:
    plain = _plain(key)
    if type(plain) is not str:
        raise TypeError(f"a key of type {type(key).__qualname__}")
    return plain


def _to_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


# What to tell when encoding failed: the innermost value that is at fault, and the way to it.


def _explain(data: Mapping[str, Any], encode: Callable[[Any], bytes], cause: Exception) -> NoReturn:
    """Raise the :exc:`PayloadError` that names the value in *data* which *encode* refuses."""
    path, value, error = "session", cast("Any", data), cause
    above: set[int] = set()
    while True:
        above.add(id(value))
        steps = _inside(value, at_top=value is data)
        found = next(((step, inner, refusal) for step, inner in steps if (refusal := _refusal(inner, encode))), None)
        if found is None:
            break
        step, value, error = found
        path = path + step if len(path) < _LONGEST_PATH else path
        if id(value) in above:
            error = ValueError(f"{type(value).__qualname__} contains itself")
            break
    if isinstance(error, UnicodeEncodeError):
        error = ValueError("str with a lone surrogate")
    raise PayloadError(f"{path}: {error}", path=path) from cause


def _refusal(value: object, encode: Callable[[Any], bytes]) -> Exception | None:
    try:
        encode(value)
    except _REFUSALS as error:
        return error
    return None


def _inside(value: Any, *, at_top: bool) -> Iterator[tuple[str, object]]:
    """Yield what *value* contains, each with the step that leads there: ``['cart']``, ``.price``, ``[3]``."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield ", a key", key
            dotted = not at_top and isinstance(key, str) and key.isidentifier()
            yield (f".{key}" if dotted else f"[{key!r}]"), inner
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield f"[{index}]", inner
    elif isinstance(value, set | frozenset):
        for inner in value:
            yield ", a member", inner
