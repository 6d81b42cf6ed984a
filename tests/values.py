"""Values of every supported kind, how to compare them to the last detail, and how to damage bytes."""

import math
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

ZONES = ["UTC", "Europe/Berlin", "America/Argentina/ComodRivadavia", "Asia/Kathmandu", "Etc/GMT+5"]

ODD_DECIMALS = [Decimal(text) for text in ("-0", "0E-1000", "1E+999999", "-1.50", "NaN", "-NaN7", "Infinity", "-Infinity")]
SIGNALING = [Decimal("sNaN"), Decimal("-sNaN42")]


def same(one: Any, other: Any) -> bool:
    """Tell whether the two are equal in type and in every detail, all the way down."""
    if type(one) is not type(other):
        return False
    match one, other:
        case float(), float():
            return (math.isnan(one) and math.isnan(other)) or repr(one) == repr(other)
        case Decimal(), Decimal():
            return one.as_tuple() == other.as_tuple()
        case (datetime(), datetime()) | (time(), time()):
            return _moment(one) == _moment(other)
        case dict(), dict():
            return same(list(one.items()), list(other.items()))
        case (list(), list()) | (tuple(), tuple()):
            return len(one) == len(other) and all(map(same, one, other))
        case (set(), set()) | (frozenset(), frozenset()):
            return _same_members(list(one), list(other))
    return bool(one == other)


def _moment(value: Any) -> tuple[object, ...]:
    return value.replace(tzinfo=None, fold=0), value.fold, *_zone(value.tzinfo)


def _zone(zone: tzinfo | None) -> tuple[object, ...]:
    if isinstance(zone, ZoneInfo):
        return ZoneInfo, zone.key
    return (type(zone),) if zone is None else (type(zone), zone.utcoffset(None), zone.tzname(None))


def _same_members(ones: list[Any], others: list[Any]) -> bool:
    for one in ones:
        for place, other in enumerate(others):
            if same(one, other):
                del others[place]
                break
        else:
            return False
    return not others


offsets = st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23))
zones = st.one_of(
    st.none(),
    st.sampled_from(ZONES).map(ZoneInfo),
    offsets.map(timezone),
    st.builds(timezone, offsets, st.text(max_size=5)),
)
folds = st.integers(0, 1)
datetimes = st.builds(lambda value, zone, fold: value.replace(tzinfo=zone, fold=fold), st.datetimes(), zones, folds)
times = st.builds(lambda value, zone, fold: value.replace(tzinfo=zone, fold=fold), st.times(), zones, folds)
integers = st.one_of(
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.sampled_from([sign * 2**bits + step for sign in (1, -1) for bits in (7, 31, 63, 64, 1000) for step in (-1, 0, 1)]),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    datetimes,
    st.dates(),
    times,
    st.timedeltas(),
    st.decimals().filter(lambda value: not value.is_snan()),
    st.sampled_from(ODD_DECIMALS),
    st.uuids(),
)
hashables = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
values = st.recursive(
    hashables | st.sampled_from(SIGNALING),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(hashables, max_size=3),
        st.dictionaries(hashables, inner, max_size=4),
    ),
    max_leaves=12,
)
json_values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)

EVERYTHING: dict[str, Any] = {
    "none": None,
    "truth": [True, False],
    "numbers": [0, -1, 127, 2**63, -(2**63) - 1, 2**64, 10**40, 0.5, -0.0, math.inf, math.nan],
    "text": "a|b\"'\\\0\n \u2028 \U0001f36a",
    "bytes": b"\x00\xff",
    "tuple": (1, ("nested", ()), [2]),
    "sets": [{"a", "b", "c"}, frozenset({1, (2, frozenset({3, None}))})],
    "keys": {1: "int", (1, date(2024, 2, 29)): "tuple", None: "none", frozenset({b"k"}): "set", 2.5: "float"},
    "moments": [
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-3, seconds=7, microseconds=1), "odd")),
        datetime(9999, 12, 31, 23, 59, 59, 999999),
        time(12, 0, tzinfo=timezone.utc),  # noqa: UP017  # beside timezone(...) above
        date(2024, 2, 29),
        timedelta(-1, 5, 7),
    ],
    "amounts": [*ODD_DECIMALS, *SIGNALING],
    "uuid": UUID(int=2**127 + 1),
    "cart": {"items": [{"sku": "tea", "price": Decimal("4.20"), "count": 2}], "vouchers": []},
}


def truncated(value: bytes) -> Iterator[bytes]:
    """Yield *value*, cut at every byte."""
    for size in range(len(value)):
        yield value[:size]


def flipped(value: bytes) -> Iterator[bytes]:
    """Yield *value* with every single bit flipped."""
    for place in range(len(value)):
        for bit in range(8):
            yield value[:place] + bytes((value[place] ^ 1 << bit,)) + value[place + 1 :]


def mutated(values: list[bytes], random: Random) -> Iterator[bytes]:
    """Yield, without end: random bytes, the front of one value with the end of another, a value with bytes overwritten."""
    while True:
        yield random.randbytes(random.randrange(200))
        one, other = random.choice(values), random.choice(values)
        yield one[: random.randrange(len(one))] + other[random.randrange(len(other)) :]
        broken = bytearray(one)
        for _ in range(random.randrange(1, 6)):
            broken[random.randrange(len(broken))] = random.choice((0, 0xFF, 0xC7, 0xDD, random.randrange(256)))
        yield bytes(broken)
