"""What the codec for msgpack cannot keep is refused by its path, and has the same bounds both ways."""

from collections import UserDict
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils.functional import SimpleLazyObject, lazystr
from markupsafe import Markup
from werkzeug.local import LocalProxy

from session_middleware import PayloadError
from session_middleware.codecs import Codec
from session_middleware.values import encoded
from tests.core.coding import JSON, MSGPACK, Shade, nested, refusal

KEPT = (
    "None, bool, int, float, str, list, dict, bytes, tuple, set, frozenset, datetime, date, time, timedelta, Decimal, UUID"
)


def a_set_of(packed: bytes) -> bytes:
    """Return a frozenset with one member, as it is packed."""
    return b"\xc7" + bytes((5 + len(packed),)) + b"\xfc\xdd\0\0\0\1" + packed


class Foo:
    pass


class FrozenDict(dict[Any, Any]):
    def __hash__(self) -> int:  # type: ignore[override]  # the point of it: a dict that may be a key
        return 1


class Secretive:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Unbound:
    """As a proxy for something that is not there."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("working outside of a request\n")


class Broken(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise LookupError("nothing today")


class OldZone(tzinfo):
    """As the zones of pytz: no name that zoneinfo knows, no fixed offset."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, moment: datetime | None) -> str:
        return "Old"


def words_of_python(make: Callable[[], object]) -> str:
    """Return what this Python says of something unhashable; each names more than the one before."""
    with pytest.raises(TypeError, match="unhashable type: 'dict'") as caught:
        make()
    return str(caught.value)


class TestWhatCannotBeKept:
    @pytest.mark.parametrize(
        ("value", "path", "reason"),
        [
            (Foo(), "", "Foo"),
            ([0, 1, 2, {"price": Foo()}], "[3]['price']", "Foo"),
            ({"b c": (1, Foo())}, "['b c'][1]", "Foo"),
            ({"cart": {"items": [Foo()]}}, "['cart']['items'][0]", "Foo"),
            ({1: {None: Foo()}}, "[1][None]", "Foo"),
            ({(1, 2): Foo()}, "[(1, 2)]", "Foo"),
            ({Foo: 1}, ", a key", "type"),
            ({"a": {Foo: 1}}, "['a'], a key", "type"),
            ({1, Shade.RED}, ", a member", "Shade"),
            ([{1, Shade.RED}], "[0], a member", "Shade"),
            ({("x", frozenset({Shade.RED}))}, ", a member[1], a member", "Shade"),
            (Shade.RED, "", "Shade"),
            (Markup, "", "type"),
            (1j, "", "complex"),
            (range(3), "", "range"),
            ((x for x in "ab"), "", "generator"),
            (UserDict(b=1), "", "UserDict"),
            (Path(), "", "PosixPath"),
            (print, "", "builtin_function_or_method"),
            (UTC, "", "timezone"),
            (SimpleLazyObject(dict), "", "SimpleLazyObject"),
            ("\ud800", "", "str with a lone surrogate"),
            ({"b": "\ud800"}, "['b']", "str with a lone surrogate"),
            ({"\udfff": 1}, ", a key", "str with a lone surrogate"),
            ([lazystr("\ud800")], "[0]", "str with a lone surrogate"),
            (timezone(timedelta(0), "\ud800"), "", "timezone"),
            ({10**5000: Foo()}, "[int]", "Foo"),
            ({Secretive(): 1}, ", a key", "Secretive"),
            ({FrozenDict(): 1}, "", words_of_python(lambda: dict.fromkeys([{}]))),
            ([{(1, FrozenDict())}], "[0]", words_of_python(lambda: set().union([(1, {})]))),
        ],
        ids=lambda value: value if isinstance(value, str) and value.isprintable() else "",
    )
    def test_what_cannot_be_kept_is_refused_by_its_path(self, value: Any, path: str, reason: str) -> None:
        """Promise 9, F-A1: the error names the way from the value to what is at fault, and its type; the session puts its
        key in front."""
        error = refusal(value)
        if " " not in reason:
            reason = f"{reason} cannot be kept; what can be: {KEPT}"

        assert (error.path, error.reason) == (path, reason)
        assert str(error) == (f"{path}: {reason}" if path else reason)
        with pytest.raises(PayloadError) as caught:
            encoded({"cart": value}, MSGPACK)
        assert (caught.value.path, caught.value.reason) == (f"session['cart']{path}", reason)
        assert str(caught.value) == f"session['cart']{path}: {reason}"

    def test_a_foreign_zone_is_refused_with_a_hint(self) -> None:
        """Promise 9: what pytz and dateutil make has no name to keep it by."""
        hint = "[0]: a time zone of type OldZone (use zoneinfo.ZoneInfo or datetime.timezone)"
        for moment in (datetime(2024, 1, 1, tzinfo=OldZone()), time(1, tzinfo=OldZone())):
            assert str(refusal([moment])) == hint

    def test_a_zone_that_its_name_does_not_find_is_refused(self, tmp_path: Path) -> None:
        """Promise 9: a zone from a file of one's own could not be read back."""
        version_one = b"TZif" + bytes(16) + (0).to_bytes(4, "big") * 3 + b"\0\0\0\0\0\0\0\1\0\0\0\4" + bytes(6) + b"UTC\0"
        for key, message in [("No/Where", "no time zone is named 'No/Where'"), (None, "a time zone of type ZoneInfo")]:
            (tmp_path / "zone").write_bytes(version_one)
            with (tmp_path / "zone").open("rb") as file:
                zone = ZoneInfo.from_file(file, key=key)
            assert message in str(refusal(datetime(2024, 1, 1, tzinfo=zone)))

    @pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
    def test_a_cycle_is_refused(self, codec: Codec) -> None:
        """F-A1: a value that contains itself, at once and by way of others."""
        one: list[Any] = [1]
        one.append(one)
        two: dict[str, Any] = {}
        two["list"] = [[two]]

        assert str(refusal(one, codec)) == "[1]: list contains itself"
        assert str(refusal({"a": two}, codec)) == "['a']['list'][0][0]: dict contains itself"

    def test_a_cycle_through_a_tuple_is_refused(self) -> None:
        """F-A1."""
        data: dict[str, Any] = {}
        data["tuple"] = ([data],)

        assert str(refusal(data)) == "['tuple'][0][0]: dict contains itself"

    def test_an_object_that_fails_is_refused(self) -> None:
        """F-A1: a lazy text without its request, a proxy for nothing, a broken list."""
        nothing: ContextVar[str] = ContextVar("nothing")

        assert str(refusal(Unbound())).startswith("Unbound, which failed: working outside")
        assert str(refusal(LocalProxy(nothing))) == "LocalProxy, which failed: object is not bound"
        assert str(refusal({"b": Broken([1])})) == "['b']: Broken, which failed: nothing today"

    def test_the_way_to_a_value_is_told_briefly(self) -> None:
        """A path names the value; it does not copy the session into the log."""
        assert len(str(refusal({"x" * 100_000: {"y" * 100_000: {"z": Foo()}}}))) < 300
        assert len(str(refusal({"a": nested(100_000, lambda inner: [inner])}))) < 600

    def test_depth_has_the_same_bound_both_ways(self) -> None:
        """M11: too deep is a PayloadError, never a RecursionError, and all that decodes can be encoded again."""
        wraps: list[tuple[Callable[[Any], Any], bytes]] = [
            (lambda inner: [inner], b"\x91"),
            (lambda inner: {"a": inner}, b"\x81\xa1a"),
            (lambda inner: (inner,), b"\x92\xc7\x00\xfe"),
        ]
        for wrap, opening in wraps:
            payload = MSGPACK.encode(nested(1024, wrap))
            assert payload == opening * 1024 + b"\xc0"
            assert MSGPACK.encode(MSGPACK.decode(payload)) == payload
            assert refusal(nested(1025, wrap))
            with pytest.raises(PayloadError):
                MSGPACK.decode(opening * 1025 + b"\xc0")

    def test_sets_in_sets_have_the_same_bound_both_ways(self) -> None:
        """M11."""
        deepest = nested(8, lambda inner: frozenset({inner}))
        packed, too_deep = nested(8, a_set_of, b"\xc0"), nested(9, a_set_of, b"\xc0")

        assert MSGPACK.encode(deepest) == packed
        assert MSGPACK.decode(packed) == deepest
        assert str(refusal(frozenset({deepest}))) == "sets in sets, more than 8 deep"
        with pytest.raises(PayloadError):
            MSGPACK.decode(too_deep)
