"""The rule for subclasses: a value is kept as the supported type that its own is a subclass of. It knows no format.

Markup and StrEnum are kept as str, IntEnum as int, OrderedDict and defaultdict as dict, a named tuple as tuple, a bytearray
or memoryview as bytes, and an object with the methods of ``str`` (Django's and Babel's lazy strings) as the text it stands
for.
"""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from session_middleware.codecs.errors import NotKept

_LONGEST_MESSAGE = 200

# The types of dates are bound, here and in messagepack: freezegun puts others in place of the names of this module.


def _datetime(kind: type[datetime], value: datetime) -> datetime:
    return kind.combine(kind.date(value), kind.timetz(value))


def _date(kind: type[date], value: date) -> date:
    return kind.fromordinal(kind.toordinal(value))


# The rule for subclasses: the first supported type that a value is an instance of, and the way to that exact type.
# The base does the conversion wherever it can: a str or int subclass has no say in it, a container is asked for its items.
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
    datetime: partial(_datetime, datetime),
    date: partial(_date, date),
    time: lambda value: time(
        value.hour, value.minute, value.second, value.microsecond, tzinfo=value.tzinfo, fold=value.fold
    ),
    timedelta: lambda value: timedelta(value.days, value.seconds, value.microseconds),
    Decimal: Decimal,
    UUID: lambda value: UUID(int=value.int),
}


def plain_of(value: object) -> Any:
    """Return *value* as the supported type that it is a subclass of; raise ``TypeError`` if there is none."""
    kind = type(value)
    try:
        for base in kind.__mro__:
            if base in _PLAIN:
                return _PLAIN[base](value)
        if hasattr(value, "casefold") and not isinstance(value, type) and isinstance(value.casefold(), str):
            return str.__str__(str(value))
    # What runs here is the application's own: a lazy string may find no translation, a proxy nothing to stand for.
    except Exception as error:
        raise TypeError(f"{kind.__qualname__}, which failed: {error}"[:_LONGEST_MESSAGE]) from error
    raise NotKept(kind.__qualname__)
