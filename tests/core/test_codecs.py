"""The codecs: what goes in comes out, type for type."""

import os
import subprocess
import sys
import time as clock
from collections import Counter, OrderedDict, defaultdict
from copy import deepcopy
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import IntEnum, IntFlag, StrEnum
from itertools import chain, islice
from random import Random
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from django.utils.functional import SimpleLazyObject, lazystr
from django.utils.safestring import mark_safe
from hypothesis import given, settings
from markupsafe import Markup
from werkzeug.datastructures import ImmutableDict
from werkzeug.local import LocalProxy

from session_middleware import PayloadError
from session_middleware.values import encoded
from tests.core.coding import JSON, MSGPACK, Shade, kept_or_refused, nested, refusal, round_trip
from tests.values import EVERYTHING, flipped, json_values, mutated, same, truncated, values


class Word(StrEnum):
    HELLO = "hello"


class Level(IntEnum):
    HIGH = 3


class Flags(IntFlag):
    A = 1
    B = 4


class Point(NamedTuple):
    x: int
    y: int


class Moment(datetime):
    pass


class Day(date):
    pass


class Hour(time):
    pass


class Span(timedelta):
    pass


class Money(Decimal):
    pass


class Name(UUID):
    pass


class Temperature(float):
    def __float__(self) -> float:
        return 99.0


class Count(int):
    def __int__(self) -> int:
        return 99


class Raw(bytes):
    pass


class Shouted(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


class TestMsgpackCodec:
    @settings(max_examples=120)
    @given(values)
    def test_what_goes_in_comes_out(self, value: Any) -> None:
        """Promise 9: every supported type, nested in any way, comes back type for type; and V-33: values never become
        structure."""
        payload = MSGPACK.encode(value)

        assert same(MSGPACK.decode(payload), value)
        assert MSGPACK.encode(MSGPACK.decode(payload)) == payload

    @pytest.mark.soak
    @settings(max_examples=2_000)
    @given(values)
    def test_what_goes_in_comes_out_at_length(self, value: Any) -> None:
        """Promise 9."""
        payload = MSGPACK.encode(value)

        assert same(MSGPACK.decode(payload), value)
        assert MSGPACK.encode(MSGPACK.decode(payload)) == payload

    def test_a_value_of_every_type_comes_out(self) -> None:
        """Promise 9: each alone, and all of them together."""
        for value in (*EVERYTHING.values(), EVERYTHING, list(EVERYTHING.values())):
            assert same(round_trip(value), value)

    @settings(max_examples=60)
    @given(values, values)
    def test_different_values_are_different_bytes(self, one: Any, other: Any) -> None:
        """Promise 8: a change is seen in the bytes, whatever Python holds for equal; and what is the same is not one."""
        assert MSGPACK.encode(deepcopy(one)) == MSGPACK.encode(one)
        assert MSGPACK.encode(one) != MSGPACK.encode(other) or same(one, other)

    def test_large_values_come_out(self) -> None:
        """V-33: 10 MB of text, bytes and numbers."""
        data = {"text": "|\0\"'é🍪" * 1_000_000, "bytes": b"\xc7" * 10**7, "ints": list(range(100_000)), "int": 2**80_000}

        assert MSGPACK.decode(MSGPACK.encode(data)) == data

    def test_an_integer_has_any_size(self) -> None:
        """Promise 9: 64 bits are no border."""
        for bits in (8, 16, 32, 63, 64, 65, 127, 128, 4096):
            for value in (2**bits, 2**bits - 1, -(2**bits), -(2**bits) - 1):
                assert same(round_trip({value: value}), {value: value})

    def test_truth_is_no_number(self) -> None:
        """Promise 9: True stays apart from 1, as a value and as a key."""
        assert round_trip([True, 1, False, 0]) == [True, 1, False, 0]
        assert [type(value) for value in round_trip([True, 1, False, 0])] == [bool, int, bool, int]
        assert type(next(iter(round_trip({True: 1})))) is bool

    @pytest.mark.parametrize(
        "zone",
        [
            None,
            UTC,
            ZoneInfo("Europe/Berlin"),
            timezone(timedelta(hours=5, minutes=30)),
            timezone(timedelta(hours=1), "CET"),
            timezone(timedelta(0), ""),
            timezone(-timedelta(hours=1, seconds=2, microseconds=3)),
        ],
    )
    @pytest.mark.parametrize("fold", [0, 1])
    def test_a_moment_keeps_its_zone_and_fold(self, zone: tzinfo | None, fold: int) -> None:
        """Promise 9: naive stays naive, aware stays aware; the hour that comes twice stays the one it was."""
        moment = datetime(2024, 10, 27, 2, 30, 0, 1, zone, fold=fold)

        assert same(round_trip([moment, moment.timetz()]), [moment, moment.timetz()])
        assert round_trip(moment).utcoffset() == moment.utcoffset()
        assert round_trip(moment).tzname() == moment.tzname()

    def test_one_set_is_always_the_same_bytes(self) -> None:
        """A session is compared as bytes, by several processes: the order of a set must not depend on the hash seed."""
        program = """
import sys
from session_middleware import MsgpackCodec
words = [f"word {number}" for number in range(50)]
data = {"set": set(words), "pairs": frozenset(map(frozenset, zip(words, words[1:]))), "in": {(word, 1) for word in words}}
sys.stdout.write(MsgpackCodec().encode(data).hex())
"""
        outputs = {
            subprocess.run(
                [sys.executable, "-W", "ignore", "-c", program],
                env={**os.environ, "PYTHONHASHSEED": str(seed)},
                capture_output=True,
                check=True,
                timeout=600,
            ).stdout
            for seed in (1, 2, 3)
        }

        assert len(outputs) == 1
        assert len(outputs.pop()) > 1000

    def test_the_extension_types_of_the_library_come_out(self) -> None:
        """What the application itself unpacked with msgpack is kept as it is, and never taken for a type of ours."""
        values = [msgpack.ExtType(code, b"\0data") for code in range(128)]
        values += [msgpack.Timestamp(0), msgpack.Timestamp(2**33, 5), msgpack.Timestamp(-1, 999_999_999)]

        assert same(round_trip(values), values)
        assert same(round_trip({value: (value,) for value in values}), {value: (value,) for value in values})

    def test_a_set_of_sets_costs_no_more_than_its_size(self) -> None:
        """Sorting a set packs its members once: sets in sets do not double the work at each level."""
        data = {"value": nested(8, lambda inner: frozenset({inner}), "x" * 500_000)}
        began = clock.process_time()

        assert MSGPACK.decode(MSGPACK.encode(data)) == data
        assert clock.process_time() - began < 1

    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            (Markup("<b>"), "<b>"),
            (mark_safe("<i>"), "<i>"),
            (Shouted("quiet"), "quiet"),
            (Word.HELLO, "hello"),
            (Level.HIGH, 3),
            (Flags.A | Flags.B, 5),
            (Count(3), 3),
            (Temperature(1.5), 1.5),
            (Raw(b"raw"), b"raw"),
            (bytearray(b"array"), b"array"),
            (memoryview(b"view"), b"view"),
            (OrderedDict([("b", 1), ("a", 2)]), {"b": 1, "a": 2}),
            (defaultdict(list, a=[1]), {"a": [1]}),
            (Counter("aab"), {"a": 2, "b": 1}),
            (ImmutableDict(a=1), {"a": 1}),
            (Point(1, 2), (1, 2)),
            (Moment(2024, 1, 2, 3, 4, 5, 6, UTC, fold=1), datetime(2024, 1, 2, 3, 4, 5, 6, UTC, fold=1)),
            (Day(2024, 1, 2), date(2024, 1, 2)),
            (Hour(3, 4, 5, 6, UTC, fold=1), time(3, 4, 5, 6, UTC, fold=1)),
            (Span(days=-1, microseconds=7), timedelta(days=-1, microseconds=7)),
            (Money("1.50"), Decimal("1.50")),
            (Name(int=5), UUID(int=5)),
            (type("List", (list,), {})([1]), [1]),
            (type("Set", (set,), {})([1]), {1}),
            (type("FrozenSet", (frozenset,), {})([1]), frozenset([1])),
            (lazystr("lazy"), "lazy"),
            (lazystr(mark_safe("<u>")), "<u>"),
            (SimpleLazyObject(lambda: "simple"), "simple"),
            (LocalProxy(lambda: "local"), "local"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_a_subclass_is_kept_as_the_supported_type(self, value: Any, kept: Any) -> None:
        """Promise 9, the one rule for subclasses: nothing that they override has a say, and none fails by surprise."""
        assert same(round_trip([value]), [kept])
        assert same(round_trip({"deep": (value,)}), {"deep": (kept,)})

    def test_a_lazy_text_may_be_a_key(self) -> None:
        """Promise 9: as Django's choices are."""
        assert same(round_trip({lazystr("name"): {Word.HELLO: 1, Markup("m"): 2, Level.HIGH: 3}}), {
            "name": {"hello": 1, "m": 2, 3: 3}
        })  # fmt: skip

    def test_a_translation_is_kept_as_its_text(self) -> None:
        """Promise 9: gettext_lazy() in a flash message, as the language of the request has it."""
        program = """
from django.conf import settings
settings.configure(USE_I18N=True, LANGUAGE_CODE="de")
import django
django.setup()
from django.utils.translation import gettext_lazy, override
from session_middleware import MsgpackCodec
with override("de"):
    payload = MsgpackCodec().encode({"flash": [gettext_lazy("Monday")], "keys": {gettext_lazy("March"): 1}})
print(MsgpackCodec().decode(payload))
"""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True, timeout=600
        )
        assert done.stdout.strip() == "{'flash': ['Montag'], 'keys': {'März': 1}}"


class TestJSONCodec:
    @settings(max_examples=80)
    @given(json_values)
    def test_what_goes_in_comes_out(self, value: Any) -> None:
        """Promise 9: what JSON carries exactly comes back type for type."""
        payload = JSON.encode(value)

        assert same(JSON.decode(payload), value)
        assert JSON.encode(JSON.decode(payload)) == payload

    def test_the_store_can_be_read_by_eye(self) -> None:
        """That is what it is for: text as it is, nothing between."""
        assert (
            JSON.encode({"name": "Zoë", "cart": [1, 2.5, None, True]}) == '{"name":"Zoë","cart":[1,2.5,null,true]}'.encode()
        )

    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            (Markup("<b>"), "<b>"),
            (Word.HELLO, "hello"),
            (Level.HIGH, 3),
            (Temperature(1.5), 1.5),
            (OrderedDict(a=1), {"a": 1}),
            (lazystr("lazy"), "lazy"),
            ({lazystr("lazy"): Markup("m")}, {"lazy": "m"}),
            (type("List", (list,), {})([1]), [1]),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_a_subclass_is_kept_as_the_supported_type(self, value: Any, kept: Any) -> None:
        """Promise 9: the same rule as everywhere."""
        assert same(round_trip([value], JSON), [kept])

    @pytest.mark.parametrize(
        ("value", "path", "reason"),
        [
            ((1, 2), "", "tuple"),
            (Point(1, 2), "", "Point"),
            ({1}, "", "set"),
            (b"bytes", "", "bytes"),
            (bytearray(b"bytes"), "", "bytearray"),
            ([datetime(2024, 1, 1)], "[0]", "datetime"),
            ({"price": Decimal(1)}, "['price']", "Decimal"),
            (UUID(int=1), "", "UUID"),
            (Shade.RED, "", "Shade"),
            ({1: 2}, "", "a key of type int"),
            ({None: 2}, "", "a key of type NoneType"),
            ({True: 2}, "", "a key of type bool"),
            (float("nan"), "", "Out of range float values are not JSON compliant"),
            ([float("-inf")], "[0]", "Out of range float values are not JSON compliant"),
            ("\ud800", "", "str with a lone surrogate"),
            ({"\ud800": 1}, ", a key", "str with a lone surrogate"),
            (10**5000, "", "Exceeds the limit (4300 digits) for integer string conversion"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_json_would_change_is_refused(self, value: Any, path: str, reason: str) -> None:
        """Promise 9: exact or refused, by the same paths."""
        error = refusal(value, JSON)

        assert error.path == path
        assert error.reason.startswith(reason)
        assert str(error) == (f"{path}: {error.reason}" if path else error.reason)
        with pytest.raises(PayloadError) as caught:
            encoded({"cart": value}, JSON)
        assert caught.value.path == f"session['cart']{path}"

    def test_depth_has_the_same_bound_both_ways(self) -> None:
        """M11: a hundred deep, whatever the depth of the application's own calls."""
        deepest = nested(100, lambda inner: [inner], [])

        assert JSON.decode(JSON.encode(deepest)) == deepest
        assert str(refusal([deepest], JSON)).endswith("nested more than 100 deep")
        assert JSON.decode(b"[" * 101 + b"]" * 101) == deepest
        with pytest.raises(PayloadError, match="nested more than 100 deep"):
            JSON.decode(b"[" * 102 + b"]" * 102)

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b" ",
            b"nul",
            b"\xff",
            b"\xef\xbb\xbf{}",
            b"{} {}",
            b"{'a': 1}",
            b'{"a":NaN}',
            b'{"a":Infinity}',
            b'{"a":-Infinity}',
            b'{"a":1e999}',
            b'{"a":' + b"1" * 400 + b".0e9" + b"}",
            b'{"a":"\\ud800"}',
            b'{"\\udfff":1}',
            b'{"a":"\xed\xa0\x80"}',
            b'{"a":' + b"9" * 5000 + b"}",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"a":' + b"[" * 500 + b"]" * 500 + b"}",
            b'{"a":"\n"}',
        ],
        ids=lambda payload: payload[:24].decode(errors="replace"),
    )
    def test_hostile_bytes_are_refused(self, payload: bytes) -> None:
        """Promise 10, F-L2, M11."""
        with pytest.raises(PayloadError) as caught:
            JSON.decode(payload)
        assert len(str(caught.value)) <= 200

    def test_the_last_of_two_equal_keys_counts(self) -> None:
        """Promise 10: it is data, and never both."""
        assert JSON.decode(b'{"a":1,"a":2}') == {"a": 2}

    @pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
    def test_damaged_payloads_are_refused_or_mere_data(self, count: int) -> None:
        """Promise 10, F-L2."""
        originals = [JSON.encode({"a": [1, -2.5e7, None, True], "cart": {"items": [{"sku": "tea \\ \n é"}]}, "n": 10**30})]
        damaged = chain(*map(truncated, originals), *map(flipped, originals), mutated(originals, Random(3)))

        decoded = sum(kept_or_refused(JSON, payload) for payload in islice(damaged, count))

        assert 0 < decoded < count
