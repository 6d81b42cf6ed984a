"""The mapping tells what was set, changed in place and deleted, and nothing else."""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings

from session_middleware import JSONCodec, MsgpackCodec, PayloadError
from session_middleware.values import Changes, Values, encoded
from tests.core.mappings import CODEC, NOTHING, Point, mappings, values_of
from tests.values import EVERYTHING, same


def grown_list(items: Any) -> None:
    items.append("more")


IN_PLACE: dict[str, tuple[Any, Callable[[Any], object]]] = {
    "list": (["tea"], grown_list),
    "list, an item": (["tea"], lambda value: value.__setitem__(0, "milk")),
    "list, an item gone": (["tea"], lambda value: value.pop()),
    "list, another order": ([1, 2], lambda value: value.reverse()),
    "dict": ({"a": 1}, lambda value: value.update(b=2)),
    "dict, an item gone": ({"a": 1}, lambda value: value.clear()),
    "dict, another order": ({"a": 1, "b": 2}, lambda value: value.update(a=value.pop("a"))),
    "dict, a value of another type": ({"a": 1}, lambda value: value.update(a=True)),
    "set": ({1, 2}, lambda value: value.add(3)),
    "set, a member gone": ({1, 2}, lambda value: value.discard(1)),
    "list in a list": ([[1]], lambda value: grown_list(value[0])),
    "list in a tuple": ((1, [2]), lambda value: grown_list(value[1])),
    "list in a tuple in a tuple": (((1, ([2],)),), lambda value: grown_list(value[0][1][0])),
    "dict in a list in a dict": ({"items": [{"count": 1}]}, lambda value: value["items"][0].update(count=2)),
    "list under a tuple": ({(1, 2): []}, lambda value: grown_list(value[1, 2])),
    "set in a dict in a tuple": (({"a": {1}},), lambda value: value[0]["a"].add(2)),
    "deep": ([[[[[[[[[[1]]]]]]]]]], lambda value: grown_list(value[0][0][0][0][0][0][0][0][0])),
}

# What may be set and is then kept as the supported type; each may change before it is stored, and after.
SUBCLASSES: dict[str, tuple[Any, Callable[[Any], object]]] = {
    "OrderedDict": (OrderedDict(a=1, b=2), lambda value: value.move_to_end("a")),
    "defaultdict": (defaultdict(list, a=[1]), lambda value: value["b"].append(1)),
    "a list of one's own": (type("Cart", (list,), {})(["tea"]), grown_list),
    "a set of one's own": (type("Tags", (set,), {})({1}), lambda value: value.add(2)),
    "a dict of one's own": (type("User", (dict,), {"__slots__": ()})(a=1), lambda value: value.update(b=2)),
    "a named tuple": (Point(1, [2]), lambda value: value.items.append(3)),
    "bytearray": (bytearray(b"abc"), lambda value: value.extend(b"d")),
}


class TestInPlace:
    @pytest.mark.parametrize(("value", "change"), IN_PLACE.values(), ids=IN_PLACE)
    def test_a_change_of_what_was_read_is_noticed(self, value: Any, change: Callable[[Any], object]) -> None:
        """Promise 8: of every mutable type, however deep it is nested, with no flag to set."""
        values = values_of({"key": value, "other": value})
        expected = deepcopy(value)
        change(expected)
        change(values["key"])

        assert CODEC.encode(expected) != CODEC.encode(value)
        assert values.changes() == Changes({}, {"key": CODEC.encode(expected)}, frozenset())
        assert values.differ()

    @pytest.mark.parametrize(("value", "change"), (IN_PLACE | SUBCLASSES).values(), ids=IN_PLACE | SUBCLASSES)
    def test_a_change_of_what_was_set_is_noticed(self, value: Any, change: Callable[[Any], object]) -> None:
        """Promise 8: by whatever name the application has it, after it was stored, too."""
        values, held = values_of({}), deepcopy(value)
        values["key"] = held
        own = values.changes()
        stored = own.over({})
        values.rebase(stored, own)
        assert stored == encoded({"key": value}, CODEC)
        assert not values.differ()

        change(held)
        own = values.changes()
        assert own == Changes({}, encoded({"key": held}, CODEC), frozenset())
        assert own.grown != stored
        values.rebase(own.over(stored), own)
        assert not values.differ()

    @pytest.mark.parametrize(("value", "change"), (IN_PLACE | SUBCLASSES).values(), ids=IN_PLACE | SUBCLASSES)
    def test_what_is_set_is_stored_as_it_is_then(self, value: Any, change: Callable[[Any], object]) -> None:
        """Promise 8: not as it was when it was set."""
        values, held = values_of({}), deepcopy(value)
        values["key"] = held
        change(held)

        assert values.changes().assigned == values.assigned() == encoded({"key": held}, CODEC)

    @pytest.mark.parametrize("touch", [
        lambda values: values["key"],
        lambda values: values.get("key"),
        lambda values: values.setdefault("key", None),
        lambda values: next(iter(values.values())),
        lambda values: next(iter(values.items()))[1],
        lambda values: values.copy()["key"],
    ], ids=["[]", "get", "setdefault", "values", "items", "copy"])  # fmt: skip
    def test_it_is_noticed_however_it_was_read(self, touch: Callable[[Values], Any]) -> None:
        """Promise 8."""
        values = values_of({"key": {"items": []}})
        touch(values)["items"].append("tea")

        assert values.changes().grown == {"key": CODEC.encode({"items": ["tea"]})}

    @pytest.mark.parametrize("value", [deque([1]), type("Odd", (), {})()], ids=["deque", "object"])
    def test_what_cannot_be_encoded_differs(self, value: Any) -> None:
        """Promise 9: there is something to store, and that it cannot be is told when it is tried."""
        values = values_of({"cart": []})
        values["cart"].append(value)

        assert values.differ()
        with pytest.raises(
            PayloadError, match=rf"^session\['cart'\]\[0\]: {type(value).__name__} cannot be kept; what can be: None"
        ):
            values.changes()

    @pytest.mark.parametrize(
        ("data", "path"),
        [
            ({"cart": [0, 1, 2, {"price": object()}]}, "session['cart'][3]['price']"),
            ({"a": {"b c": (1, object())}}, "session['a']['b c'][1]"),
            ({"not an identifier": object()}, "session['not an identifier']"),
            ({"\n": object()}, r"session['\n']"),
            ({"a": {1, frozenset({object})}}, "session['a'], a member, a member"),
            ({"a": {object: 1}}, "session['a'], a key"),
            ({"é": {"b": "\ud800"}}, "session['é']['b']"),
            ({"x" * 1000: object()}, f"session['{'x' * 59}...]"),
        ],
        ids=lambda value: value[:30] if isinstance(value, str) else "",
    )
    @pytest.mark.parametrize("codec", [MsgpackCodec(), JSONCodec()], ids=["msgpack", "json"])
    def test_a_refusal_names_the_way_from_the_session(
        self, data: dict[str, Any], path: str, codec: MsgpackCodec | JSONCodec
    ) -> None:
        """Promise 9, F-A1: whoever asks for the bytes."""
        values = Values({}, codec)
        values.update(data)
        for call in (values.changes, values.assigned, lambda: encoded(data, codec)):
            with pytest.raises(PayloadError) as caught:
                call()
            assert caught.value.path == (path if isinstance(codec, MsgpackCodec) else caught.value.path)
            assert caught.value.path.startswith("session[")
            assert str(caught.value) == f"{caught.value.path}: {caught.value.reason}"
            assert caught.value.__suppress_context__

    def test_a_codec_of_ones_own_is_told_of_with_the_key(self) -> None:
        """Promise 9: its error may have no cause and no path."""

        class Picky(MsgpackCodec):
            def encode(self, value: Any) -> bytes:
                raise PayloadError("not today")

        with pytest.raises(PayloadError, match=r"^session\['a'\]: not today$") as caught:
            encoded({"a": 1}, Picky())
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


class TestChanges:
    def test_what_was_set_grown_and_deleted_is_told_apart(self) -> None:
        """Promise 3: nobody has asked for a key to be there whose value was only changed in place."""
        values = values_of({"set": 1, "grown": [], "deleted": 2, "read": [], "untouched": [], "both": [], "replaced": 5})
        values["set"] = 5
        values["new"] = 6
        values["grown"].append(1)
        del values["deleted"]
        assert values["read"] == []
        values["both"].append(1)
        values["both"] = values["both"]
        del values["replaced"]
        values["replaced"] = 7

        assert values.changes() == Changes(
            encoded({"set": 5, "new": 6, "both": [1], "replaced": 7}, CODEC),
            encoded({"grown": [1]}, CODEC),
            frozenset({"deleted"}),
        )
        assert values.assigned() == encoded({"set": 5, "new": 6, "both": [1], "replaced": 7}, CODEC)

    @pytest.mark.parametrize("value", [5, "text", [1, 2], {"a": {"b": []}}, None, (1, [2])], ids=repr)
    def test_setting_what_is_there_is_no_change(self, value: Any) -> None:
        """Promise 2: but it was set, which counts where there is no session yet."""
        values = values_of({"key": value})
        values["key"] = deepcopy(value)

        assert values.suspect
        assert values.changes() == NOTHING
        assert not values.differ()
        assert values.assigned() == encoded({"key": value}, CODEC)

    @pytest.mark.parametrize(("before", "after"), [
        (1, True), (1, 1.0), (0.0, -0.0), ("1", 1), ("a", b"a"), ([1], (1,)), ({1}, frozenset({1})), (None, False), ({}, []),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (date(2024, 1, 1), datetime(2024, 1, 1)), (Decimal("1.0"), Decimal("1.00")),
    ])  # fmt: skip
    def test_what_python_holds_for_equal_is_a_change(self, before: Any, after: Any) -> None:
        """Promise 9: to the type and to the last detail."""
        values = values_of({"key": before})
        values["key"] = after

        assert values.changes().assigned == encoded({"key": after}, CODEC)

    def test_setting_and_deleting_again_leaves_nothing(self) -> None:
        """Promise 2: and deleting and setting again, to what it was."""
        values = values_of({"old": 1})
        values["new"] = 5
        del values["new"]
        del values["old"]
        values["old"] = 1

        assert values.changes() == NOTHING
        assert values.assigned() == encoded({"old": 1}, CODEC)

    @pytest.mark.parametrize(
        "remove",
        [
            lambda values: values.__delitem__("b"),
            lambda values: values.pop("b"),
            lambda values: values.pop("b", None),
            lambda values: values.popitem(),
            lambda values: (values.clear(), values.update(a=1)),
        ],
        ids=["del", "pop", "pop or", "popitem", "clear"],
    )
    def test_what_is_removed_is_deleted(self, remove: Callable[[Values], object]) -> None:
        """Promise 3: by whatever call; what was only set by this request leaves nothing."""
        values = values_of({"a": 1, "b": [2]})
        remove(values)
        values["c"] = 3
        values.popitem()

        assert values.suspect
        assert values.changes() == Changes({}, {}, frozenset({"b"}))
        assert values.changes().over(encoded({"a": 5, "b": 6, "d": 7}, CODEC)) == encoded({"a": 5, "d": 7}, CODEC)

    def test_asking_changes_nothing(self) -> None:
        """The commit may be tried many times."""
        values = values_of({"a": [1], "b": 2, "c": 3})
        values["a"].append(2)
        values["b"] = 5
        del values["c"]

        assert values.changes() == values.changes()
        assert values.assigned() == values.assigned()
        assert dict(values) == {"a": [1, 2], "b": 5}

    @pytest.mark.parametrize("value", EVERYTHING.values(), ids=EVERYTHING)
    def test_what_was_only_read_has_not_changed(self, value: Any) -> None:
        """Promise 2: whatever its type, a value that went through the codec twice is the same bytes."""
        values = values_of({"key": value})
        assert same(values["key"], value)
        assert values.changes() == NOTHING

    @pytest.mark.parametrize("value", [
        None, True, 5, 1.5, "text", b"bytes", date(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC), time(1), timedelta(1),
        Decimal(1), UUID(int=1),
    ], ids=lambda value: type(value).__name__)  # fmt: skip
    def test_one_that_cannot_change_is_not_even_suspected(self, value: Any) -> None:
        """Promise 21."""
        values = values_of({"key": value})
        assert values["key"] == value
        assert not values.suspect

    @settings(max_examples=200)
    @given(mappings, mappings)
    def test_they_lead_from_the_one_to_the_other(self, base: dict[str, Any], mine: dict[str, Any]) -> None:
        """Promise 3: nothing that differs is left out, to the type."""
        values = values_of(base)
        values.clear()
        values.update(mine)

        assert values.changes().over(encoded(base, CODEC)) == encoded(mine, CODEC)
