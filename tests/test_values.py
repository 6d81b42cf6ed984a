"""The application's mapping over encoded values: a dict to whoever uses it, and bytes where nobody does."""

import logging
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from markupsafe import Markup

from session_middleware import JSONCodec, MsgpackCodec, PayloadError
from session_middleware.record import Encoded
from session_middleware.values import Changes, Values, checked_key, encoded
from tests.values import EVERYTHING, same

CODEC = MsgpackCodec()
BROKEN = b"\xc1"
NOTHING: Changes = Changes({}, {}, frozenset())

# Few keys, and values that Python holds for equal and a codec does not, so that the interesting cases are common.
KEYS = ["a", "b", "c", "d", "", "é", "\0"]
keys = st.sampled_from(KEYS)
some_values = st.sampled_from([0, 1, True, 1.0, -0.0, 0.0, "1", None, (1,), [1], [], {"a": [1]}, {"a": (1,)}, {1}]).map(
    deepcopy
)
mappings = st.dictionaries(keys, some_values, max_size=6)
encodings = st.dictionaries(keys, st.sampled_from([b"", b"1", b"2", b"3"]), max_size=6)


class Counting:
    """A codec that notes what it is asked for."""

    def __init__(self) -> None:
        self.encoded: list[Any] = []
        self.decoded: list[bytes] = []

    def encode(self, value: Any) -> bytes:
        self.encoded.append(value)
        return CODEC.encode(value)

    def decode(self, encoded: bytes) -> Any:
        self.decoded.append(encoded)
        return CODEC.decode(encoded)


def values_of(data: dict[str, Any], **broken: bytes) -> Values:
    return Values(encoded(data, CODEC) | broken, CODEC)


def raised(call: Callable[[], object]) -> tuple[object, ...]:
    """Return what a call returns, or the type and the arguments of what it raises."""
    try:
        return ("returned", call())
    except (LookupError, TypeError, RuntimeError, ValueError) as error:
        return type(error), error.args


class AsADict(RuleBasedStateMachine):
    """A session's data are used like a dict, in every operation of a ``MutableMapping``; what does not decode is absent.

    Whatever is done to the values is done to a dict, too, and all that can be seen is compared; then it is stored.
    """

    @initialize(data=mappings, broken=st.sets(keys, max_size=2))
    def begin(self, data: dict[str, Any], broken: set[str]) -> None:
        self.stored: Encoded = encoded(data, CODEC) | dict.fromkeys(broken, BROKEN)
        self.values = Values(self.stored, CODEC)
        self.model = {key: value for key, value in data.items() if key not in broken}
        self.broken = set(broken)

    def both(self, call: Callable[[Any], object]) -> None:
        ours, theirs = raised(lambda: call(self.values)), raised(lambda: call(self.model))

        assert ours[0] == theirs[0]
        assert same(ours[1], theirs[1]), (ours, theirs)

    def assigned(self, *assigned: str) -> None:
        if self.broken.intersection(assigned):
            # Nobody had looked whether it decodes, so it is where it stood, and not the newest.
            self.model = {key: self.model[key] for key in self.values}
            self.broken.difference_update(assigned)

    @rule(key=keys)
    def get_item(self, key: str) -> None:
        self.both(lambda mapping: mapping[key])

    @rule(key=keys, default=some_values)
    def get(self, key: str, default: Any) -> None:
        self.both(lambda mapping: mapping.get(key))
        self.both(lambda mapping: mapping.get(key, default))

    @rule(key=keys)
    def contains(self, key: str) -> None:
        self.both(lambda mapping: (key in mapping, key not in mapping, key in mapping.keys()))  # noqa: SIM118 - a view

    @rule(key=keys, value=some_values)
    def set_item(self, key: str, value: Any) -> None:
        self.both(lambda mapping: mapping.__setitem__(key, deepcopy(value)))
        self.assigned(key)

    @rule(key=keys)
    def set_to_itself(self, key: str) -> None:
        self.both(lambda mapping: mapping.__setitem__(key, mapping[key]))

    @rule(key=keys)
    def del_item(self, key: str) -> None:
        self.both(lambda mapping: mapping.__delitem__(key))

    @rule(key=keys, default=some_values)
    def pop(self, key: str, default: Any) -> None:
        self.both(lambda mapping: mapping.pop(key, default))
        self.both(lambda mapping: mapping.pop(key))

    @rule()
    def pop_item(self) -> None:
        self.both(lambda mapping: mapping.popitem())

    @rule(key=keys, default=some_values)
    def set_default(self, key: str, default: Any) -> None:
        self.both(lambda mapping: mapping.setdefault(key, deepcopy(default)))
        self.both(lambda mapping: mapping.setdefault(key))
        self.assigned(key)

    @rule(data=mappings, more=st.dictionaries(st.sampled_from("ab"), some_values))
    def update(self, data: dict[str, Any], more: dict[str, Any]) -> None:
        self.both(lambda mapping: mapping.update(deepcopy(data), **deepcopy(more)))
        self.both(lambda mapping: mapping.update([(key, deepcopy(value)) for key, value in data.items()]))
        self.both(lambda mapping: mapping.update())
        self.assigned(*data, *more)

    @rule(data=mappings)
    def update_in_place(self, data: dict[str, Any]) -> None:
        def merge(mapping: Any) -> bool:
            merged = mapping
            merged |= deepcopy(data)
            return merged is mapping

        self.both(merge)
        self.assigned(*data)

    @rule()
    def clear(self) -> None:
        self.both(lambda mapping: mapping.clear())
        self.broken.clear()

    @rule(key=keys)
    def change_in_place(self, key: str) -> None:
        def grow(mapping: Any) -> None:
            match mapping[key]:
                case [*_] as found if isinstance(found, list):
                    found.append(2)
                case dict() as found:
                    found.setdefault("a", 5)
                    found["b"] = []
                case set() as found:
                    found.add(7)

        self.both(grow)

    @rule()
    def look_at_all(self) -> None:
        self.both(list)
        self.both(len)
        self.both(bool)
        self.both(dict)
        self.both(lambda mapping: list(mapping.keys()))
        self.both(lambda mapping: list(mapping.values()))
        self.both(lambda mapping: list(mapping.items()))
        self.both(lambda mapping: mapping.copy())

    @rule(data=mappings)
    def compare(self, data: dict[str, Any]) -> None:
        self.both(lambda mapping: (mapping == data, data == mapping, mapping != data, mapping == list(data)))
        assert self.values == self.model
        assert self.model == self.values

    @rule()
    def revert(self) -> None:
        self.values.revert()
        self.model = {key: CODEC.decode(value) for key, value in self.stored.items() if value != BROKEN}
        self.broken = {key for key, value in self.stored.items() if value == BROKEN}

    @rule()
    def store(self) -> None:
        """What is stored is what is there."""
        own = self.values.changes()
        self.stored = own.over(self.stored)

        assert self.stored == encoded(self.model, CODEC) | dict.fromkeys(self.broken, BROKEN)
        self.values.rebase(self.stored, own)
        assert not self.values.differ()

    @rule(theirs=mappings, gone=st.sets(keys))
    def store_over_what_another_request_did(self, theirs: dict[str, Any], gone: set[str]) -> None:
        """What neither the other request nor this one has changed stays; where both have, it is as we have it."""
        there = {key: value for key, value in (self.stored | encoded(theirs, CODEC)).items() if key not in gone}
        own = self.values.changes()
        self.stored = own.over(there)
        self.values.rebase(self.stored, own)
        self.model = {key: CODEC.decode(value) for key, value in self.stored.items() if value != BROKEN}
        self.broken = {key for key, value in self.stored.items() if value == BROKEN}

        assert same(dict(sorted(self.values.items())), dict(sorted(self.model.items())))
        self.model = dict(self.values)  # in the same order

    @invariant()
    def nothing_is_lost_that_was_not_touched(self) -> None:
        if hasattr(self, "values"):
            after = self.values.changes().over(self.stored)

            assert {key for key, value in after.items() if value == BROKEN} == self.broken
            assert self.values.differ() == (after != self.stored)


AsADict.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


TestAsADict = AsADict.TestCase


class TestAsAMapping:
    @pytest.mark.parametrize("key", [1, None, b"a", ("a",), 1.5], ids=repr)
    def test_another_key_than_text_is_not_there(self, key: Any) -> None:
        """Asked for, it is absent, as in a dict."""
        values = values_of({"a": 1})

        assert key not in values
        assert values.get(key, 5) == 5
        assert values.pop(key, 5) == 5
        for call in (lambda: values[key], lambda: values.pop(key), lambda: values.__delitem__(key)):
            with pytest.raises(KeyError) as caught:
                call()
            assert caught.value.args == (key,)
        assert not values.suspect

    def test_an_unhashable_key_is_a_type_error(self) -> None:
        """As in a dict."""
        values = values_of({"a": 1})
        key: Any = []
        for call in (lambda: values[key], lambda: key in values, lambda: values.get(key)):
            with pytest.raises(TypeError, match="unhashable"):
                call()

    @pytest.mark.parametrize("change", [
        lambda values, key: values.__delitem__(key),
        lambda values, key: values.__setitem__(f"{key} and more", 1),
        lambda values, key: values.popitem(),
        lambda values, key: values.clear(),
    ], ids=["del", "set", "popitem", "clear"])  # fmt: skip
    @pytest.mark.parametrize("look", [iter, lambda values: iter(values.items()), lambda values: iter(values.values())])
    def test_to_change_its_size_while_iterating_is_an_error(
        self, look: Callable[[Any], Iterator[Any]], change: Callable[[Any, str], object]
    ) -> None:
        """As in a dict, and with the same words: a loop that goes on by chance is worse."""
        data = {"a": 1, "b": [2], "c": 3}
        for mapping in (data, values_of(dict(data))):
            found = look(mapping)
            next(found)
            change(mapping, "a")
            with pytest.raises(RuntimeError, match="dictionary changed size during iteration"):
                next(found)

    def test_to_change_a_value_while_iterating_is_none(self) -> None:
        """As in a dict."""
        values = values_of({"a": 1, "b": 2})
        for key, value in values.items():
            values[key] = value + 1

        assert dict(values) == {"a": 2, "b": 3}

    def test_what_was_read_is_the_same_object_each_time(self) -> None:
        """Promise 8: so changing it in place changes the session."""
        values = values_of({"cart": {"items": []}})
        values["cart"]["items"].append("tea")

        assert values["cart"] is values["cart"] is values.get("cart") is dict(values)["cart"]
        assert values["cart"] == {"items": ["tea"]}

    def test_its_repr_shows_no_value(self) -> None:
        """Promise 11: what is in a session is nobody's business but the application's."""
        values = values_of({"secret key": "secret value"})
        values["secret key"] += "!"

        assert repr(values) == "<Values of 1 keys>"
        assert "secret" not in f"{values} {values.keys()} {values.items()} {values.values()}"

    def test_a_copy_is_a_plain_dict(self) -> None:
        """As of that moment, for whoever wants to keep it."""
        values = values_of({"a": 1})
        copied = values.copy()
        values["a"] = 2

        assert type(copied) is dict
        assert copied == {"a": 1}


class TestKeys:
    @pytest.mark.parametrize("key", [1, None, b"key", ("a",), 1.5, object], ids=repr)
    def test_a_key_is_text(self, key: Any) -> None:
        """Promise 9, F-A1: refused where it is set, and nothing has changed."""
        values = values_of({"a": 1})
        for call in (
            lambda: values.__setitem__(key, 1),
            lambda: values.update({key: 1}),
            lambda: values.setdefault(key, 1),
            lambda: values.__ior__({key: 1}),
            lambda: encoded({key: 1}, CODEC),
        ):
            with pytest.raises(PayloadError, match=rf"^a key of type {type(key).__name__}: keys at the top level are str$"):
                call()
        assert not values.differ()
        assert dict(values) == {"a": 1}

    @pytest.mark.parametrize("key", ["\ud800", "a\udfff", Markup("\ud800")], ids=ascii)
    def test_a_key_can_be_encoded(self, key: str) -> None:
        """Promise 9, V-33: a lone surrogate is refused where it is set."""
        with pytest.raises(PayloadError, match=r"^session\['.*\\ud.*'\]: a key with a lone surrogate$") as caught:
            values_of({})[key] = 1
        assert str(caught.value).isascii()

    @pytest.mark.parametrize(
        "key", ["", "a", "é", "\0", "\U0001f36a", "a b", "x" * 100_000], ids=lambda key: ascii(key)[:20]
    )
    def test_any_other_text_will_do(self, key: str) -> None:
        """Promise 9."""
        values = values_of({})
        values[key] = 1

        assert values.changes().assigned == {key: CODEC.encode(1)}
        assert checked_key(key) is key

    def test_a_subclass_of_str_is_kept_as_text(self) -> None:
        """Promise 9: the rule for subclasses, for keys, too; what it overrides has no say."""

        class Loud(str):
            __slots__ = ()

            def __str__(self) -> str:
                return self.upper()

        class Word(StrEnum):
            HELLO = "hello"

        values = values_of({"hello": 1, "b": 2})
        values[Word.HELLO] = 3
        values[Loud("b")] = 4
        values[Markup("c")] = 5
        values[Loud("é")] = 6

        assert dict(values) == {"hello": 3, "b": 4, "c": 5, "é": 6}
        assert {type(key) for key in values} == {str}
        assert {type(key) for key in values.changes().assigned} == {str}
        assert values[Word.HELLO] == 3
        assert Markup("c") in values
        del values[Loud("b")]
        assert values.changes().deleted == {"b"}


class TestLaziness:
    """Promise 21: you pay for what you touch."""

    @pytest.fixture
    def codec(self) -> Counting:
        return Counting()

    @pytest.fixture
    def stored(self) -> Encoded:
        return encoded({"number": 1, "cart": ["tea"], "text": "x" * 1000, "user": {"name": "alice"}}, CODEC)

    @pytest.fixture
    def values(self, stored: Encoded, codec: Counting) -> Values:
        return Values(stored, codec)

    def test_what_nobody_touches_costs_nothing(self, values: Values, stored: Encoded, codec: Counting) -> None:
        """To make it, to name it, to ask for another key, to ask what has changed."""
        repr(values)
        assert "other" not in values
        assert values.get("other") is None
        assert values.pop("other", None) is None
        assert not values.differ()
        assert values.changes() == NOTHING
        assert values.changes().over(stored) is stored
        assert values.assigned() == {}
        values.rebase(stored, values.changes())
        values.revert()

        assert codec.decoded == codec.encoded == []
        assert not values.suspect

    @pytest.mark.parametrize(
        "touch",
        [
            lambda values: values["text"],
            lambda values: values.get("text"),
            lambda values: "text" in values,
            lambda values: values.pop("text"),
            lambda values: values.setdefault("text", 1),
            lambda values: values.__delitem__("text"),
            lambda values: (values["text"], values["text"], "text" in values, values.get("text")),
        ],
        ids=["[]", "get", "in", "pop", "setdefault", "del", "all of it"],
    )
    def test_reading_one_key_decodes_one_value(
        self, touch: Callable[[Values], object], values: Values, stored: Encoded, codec: Counting
    ) -> None:
        """Once, however often it is read."""
        touch(values)
        assert codec.decoded == [stored["text"]]

    def test_writing_one_key_encodes_one_value(self, values: Values, stored: Encoded, codec: Counting) -> None:
        """And decodes none."""
        values["text"] = "y"

        assert values.changes() == Changes({"text": CODEC.encode("y")}, {}, frozenset())
        assert codec.encoded == ["y"]
        assert codec.decoded == []

    def test_a_value_that_cannot_change_is_not_encoded_again(self, values: Values, codec: Counting) -> None:
        """What was read is as it was."""
        assert (values["number"], values["text"]) == (1, "x" * 1000)
        assert not values.suspect
        assert values.changes() == NOTHING
        assert codec.encoded == []

    def test_one_that_can_is_encoded_once(self, values: Values, codec: Counting) -> None:
        """What was handed out may have changed."""
        assert values["cart"] == ["tea"]
        assert values.suspect
        assert values.changes() == NOTHING
        assert codec.encoded == [["tea"]]

    def test_the_others_stay_the_bytes_that_they_were(self, values: Values, stored: Encoded) -> None:
        """Not only equal: nothing is copied."""
        values["text"] = "y"
        values["cart"].append("milk")
        del values["number"]
        after = values.changes().over(stored)

        assert after == encoded({"cart": ["tea", "milk"], "text": "y", "user": {"name": "alice"}}, CODEC)
        assert after["user"] is stored["user"]

    def test_the_newest_is_all_that_popitem_decodes(self, values: Values, stored: Encoded, codec: Counting) -> None:
        """As many values as it takes until one can be read."""
        assert values.popitem() == ("user", {"name": "alice"})
        assert codec.decoded == [stored["user"]]

    def test_truth_is_known_with_the_first(self, values: Values, stored: Encoded, codec: Counting) -> None:
        """``if session:`` reads no more than it needs."""
        assert values
        assert len(codec.decoded) == 1

    def test_going_through_all_decodes_each_once(self, values: Values, stored: Encoded, codec: Counting) -> None:
        """Keys alone, too: one that cannot be read is none."""
        assert list(values) == list(stored)
        assert len(values) == len(stored)
        assert dict(values.items()) == {key: CODEC.decode(value) for key, value in stored.items()}
        assert sorted(codec.decoded) == sorted(stored.values())

    def test_deleting_all_decodes_none(self, values: Values, stored: Encoded, codec: Counting) -> None:
        """Nor does a sign-in that keeps some keys."""
        values.keep_only(frozenset({"text"}))
        assert values.changes().deleted == set()
        values.clear()
        assert values.changes().deleted == stored.keys()
        assert codec.decoded == codec.encoded == []


class Level(IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    items: list[int]


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

    @settings(max_examples=200, deadline=None)
    @given(mappings, mappings)
    def test_they_lead_from_the_one_to_the_other(self, base: dict[str, Any], mine: dict[str, Any]) -> None:
        """Promise 3: nothing that differs is left out, to the type."""
        values = values_of(base)
        values.clear()
        values.update(mine)

        assert values.changes().over(encoded(base, CODEC)) == encoded(mine, CODEC)


changes = st.builds(
    lambda assigned, grown, deleted: Changes(
        assigned,
        {key: value for key, value in grown.items() if key not in assigned},
        deleted - assigned.keys() - grown.keys(),
    ),
    encodings,
    encodings,
    st.frozensets(keys),
)


class TestOver:
    """Promise 3: what one request changed, laid over what another has stored meanwhile."""

    @settings(deadline=None)
    @given(changes, encodings)
    def test_each_key_is_decided_alone(self, own: Changes, theirs: Encoded) -> None:
        """What was set is there; what was deleted is not; what grew is there if it still is; all else is theirs."""
        after = own.over(theirs)
        for key in own.assigned.keys() | own.grown.keys() | own.deleted | theirs.keys():
            if key in own.assigned:
                assert after[key] is own.assigned[key]
            elif key in own.deleted:
                assert key not in after
            elif key in own.grown and key in theirs:
                assert after[key] is own.grown[key]
            else:
                assert after.get(key) is theirs.get(key)
        assert after.keys() <= own.assigned.keys() | theirs.keys()

    @settings(deadline=None)
    @given(changes, encodings)
    def test_laying_it_over_twice_is_once(self, own: Changes, theirs: Encoded) -> None:
        """A request that is tried again does no harm."""
        assert own.over(own.over(theirs)) == own.over(theirs)

    @settings(deadline=None)
    @given(changes, changes, encodings, st.sets(keys))
    def test_changes_of_different_keys_both_survive(
        self, one: Changes, other: Changes, theirs: Encoded, ours: set[str]
    ) -> None:
        """Whichever request is stored first, the result is the same, with the changes of both."""
        one, other = only(one, ours), only(other, {*KEYS} - ours)

        assert one.over(other.over(theirs)) == other.over(one.over(theirs))

    @settings(deadline=None)
    @given(changes, encodings)
    def test_it_leaves_both_as_they_were(self, own: Changes, theirs: Encoded) -> None:
        """It makes a new mapping, or returns theirs if there is nothing to lay over it."""
        before = deepcopy((own, theirs))
        after = own.over(theirs)

        assert (own, theirs) == before
        assert (after is theirs) == (not any(own))

    def test_a_deletion_by_another_request_wins_over_growth(self) -> None:
        """A cart that was emptied elsewhere does not come back because a tab has added to it."""
        values = values_of({"cart": ["tea"]})
        values["cart"].append("milk")
        assert values.changes().over({}) == {}

        values["cart"] = values["cart"]
        assert values.changes().over({}) == encoded({"cart": ["tea", "milk"]}, CODEC)


def only(own: Changes, ours: set[str]) -> Changes:
    return Changes(
        {key: value for key, value in own.assigned.items() if key in ours},
        {key: value for key, value in own.grown.items() if key in ours},
        own.deleted & ours,
    )


class TestAValueThatDoesNotDecode:
    """Promise 10: it is logged, absent, and left alone."""

    @pytest.fixture
    def values(self) -> Values:
        return values_of({"a": 1, "c": 3}, bad=b"\xc1 secret value")

    @pytest.mark.parametrize(
        "is_absent",
        [
            lambda values: values.get("bad", 5) == 5,
            lambda values: "bad" not in values,
            lambda values: values.pop("bad", 5) == 5,
            lambda values: raised(lambda: values["bad"]) == (KeyError, ("bad",)),
            lambda values: raised(lambda: values.pop("bad")) == (KeyError, ("bad",)),
            lambda values: raised(lambda: values.__delitem__("bad")) == (KeyError, ("bad",)),
            lambda values: list(values) == ["a", "c"],
            lambda values: dict(values) == {"a": 1, "c": 3},
            lambda values: "bad" not in values.keys(),  # noqa: SIM118 - a view
            lambda values: len(values) == 2,
            lambda values: len(values.items()) == 2,
            lambda values: values.popitem() == ("c", 3),
            lambda values: values == {"a": 1, "c": 3},
        ],
        ids=["get", "in", "pop or", "[]", "pop", "del", "iter", "dict", "keys", "len", "items", "popitem", "=="],
    )
    def test_it_is_absent_everywhere_and_logged_once(
        self, is_absent: Callable[[Values], bool], values: Values, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With its key, and never with what is in it."""
        for _ in range(3):
            assert is_absent(values)
            values.setdefault("c", 3)
        dict(values)

        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert caplog.messages == [
            "a value of a session cannot be read, and counts as absent: ['bad']: no MessagePack (FormatError)"
        ]

    def test_a_session_of_nothing_else_is_empty(self, caplog: pytest.LogCaptureFixture) -> None:
        """Each is logged."""
        values = Values({"bad": BROKEN, "worse": BROKEN}, CODEC)

        assert not values
        assert len(values) == 0
        assert values == {}
        with pytest.raises(KeyError, match="dictionary is empty"):
            values.popitem()
        assert not values.suspect
        assert len(caplog.records) == 2

    @pytest.mark.parametrize(
        "change",
        [
            lambda values: None,
            lambda values: values.get("bad"),
            lambda values: values.update(a=5),
            lambda values: (dict(values), values.update(a=5)),
            lambda values: values.pop("bad", None),
            lambda values: values and values.popitem(),
            lambda values: (values.popitem(), values.update(b=5)),
            lambda values: values.keep_only(frozenset({"a", "bad"})),
            lambda values: (dict(values), values.keep_only(frozenset({"bad"}))),
        ],
    )
    def test_it_is_carried_over_untouched(self, change: Callable[[Values], object], values: Values) -> None:
        """Another version of the application may know what to make of it."""
        stored = encoded({"a": 1, "c": 3}, CODEC) | {"bad": b"\xc1 secret value"}
        for _ in range(3):
            change(values)
            own = values.changes()
            stored = own.over(stored)
            assert stored["bad"] == b"\xc1 secret value"
            values.rebase(stored, own)

    @pytest.mark.parametrize("look_before", [False, True])
    def test_it_is_replaced_by_what_is_set(self, look_before: bool, values: Values) -> None:
        """From then on it is a value like any other, which can be deleted, too."""
        assert not look_before or "bad" not in values
        values["bad"] = "good"

        assert values["bad"] == "good"
        assert values.changes().assigned == encoded({"bad": "good"}, CODEC)
        del values["bad"]
        assert values.changes().deleted == {"bad"}

    @pytest.mark.parametrize("look_before", [False, True])
    def test_it_goes_with_all_others(self, look_before: bool, values: Values) -> None:
        """When everything goes."""
        assert not look_before or "bad" not in values
        values.clear()

        assert "bad" in values.changes().deleted

    def test_a_request_that_commits_many_times_logs_it_once(self, values: Values, caplog: pytest.LogCaptureFixture) -> None:
        """As long as it is what it was."""
        stored = encoded({"a": 1, "c": 3}, CODEC) | {"bad": b"\xc1 secret value"}
        for number in range(3):
            assert "bad" not in values
            values["a"] = number
            own = values.changes()
            stored = own.over(stored)
            values.rebase(stored, own)
        assert len(caplog.records) == 1

        own = values.changes()
        values.rebase(stored | {"bad": CODEC.encode("good")}, own)
        assert values["bad"] == "good"
        values.rebase(stored, own)
        assert "bad" not in values
        assert len(caplog.records) == 2

    @pytest.mark.parametrize("bad", [b"NaN", b"\xff secret value", b'"secret value', b'"\\ud800"', b"[" * 100_000])
    def test_the_log_line_is_short_and_quotes_nothing(self, bad: bytes, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 11: with the other codec, too, and a key that is long and odd."""
        assert not Values({"\n" * 1000: bad}, JSONCodec())
        (line,) = caplog.messages

        assert line.startswith(r"a value of a session cannot be read, and counts as absent: ['\n\n")
        assert len(line) < 300
        assert line.isprintable()
        assert "secret" not in line


class TestRebase:
    """Going on after a commit: the application may hold values of the session and go on changing them."""

    def test_a_value_that_is_equal_stays_the_object_that_it_was(self) -> None:
        """Promise 8: what was read, what was set and what grew, whether others have changed something or not."""
        stored = encoded({"read": [1], "grown": [2], "theirs": [3], "gone": [4], "number": 5}, CODEC)
        values = Values(stored, CODEC)
        values["set"] = [6]
        values["grown"].append(7)
        held = {key: values[key] for key in ("read", "grown", "theirs", "gone", "set", "number")}
        own = values.changes()
        theirs = stored | encoded({"theirs": [8], "new": [9]}, CODEC)
        del theirs["gone"]
        values.rebase(own.over(theirs), own)

        assert dict(values) == {"read": [1], "grown": [2, 7], "theirs": [8], "number": 5, "set": [6], "new": [9]}
        for key in ("read", "grown", "set"):
            assert values[key] is held[key]
        assert values["theirs"] is not held["theirs"]
        assert values.changes() == NOTHING
        held["read"].append(10)
        held["set"].append(11)
        held["theirs"].append(12)
        assert values.changes() == Changes({}, encoded({"read": [1, 10], "set": [6, 11]}, CODEC), frozenset())

    def test_a_value_may_be_encoded_as_no_bytes(self) -> None:
        """A codec of one's own may have a short word for what is common."""

        class Terse(MsgpackCodec):
            def encode(self, value: Any) -> bytes:
                return b"" if value == [] else super().encode(value)

            def decode(self, encoded: bytes) -> Any:
                return super().decode(encoded) if encoded else []

        stored = {"a": CODEC.encode([1]), "b": b""}
        values = Values(stored, Terse())
        held = values["a"]
        held.clear()
        values["c"] = []
        assert values["b"] == []
        own = values.changes()
        assert own == Changes({"c": b""}, {"a": b""}, frozenset())
        values.rebase(own.over(stored), own)

        assert values["a"] is held
        held.append(5)
        assert values.changes().grown == {"a": CODEC.encode([5])}

    def test_what_was_replaced_by_another_is_not_ours_any_more(self) -> None:
        """Promise 3: of what both have set, the later one is there, and the earlier object has no say."""
        values = values_of({"a": 1})
        held: list[int] = []
        values["a"] = held
        own = values.changes()
        values.rebase(encoded({"a": "theirs"}, CODEC), own)
        held.append(5)

        assert values["a"] == "theirs"
        assert values.changes() == NOTHING

    def test_what_another_has_deleted_is_gone(self) -> None:
        """Promise 3: and growing on in the dark brings it not back."""
        values = values_of({"a": [1], "b": 2})
        held = values["a"]
        own = values.changes()
        values.rebase(encoded({"b": 2}, CODEC), own)
        held.append(5)

        assert dict(values) == {"b": 2}
        assert values.changes() == NOTHING
        values.rebase(encoded({"a": [1], "b": 2}, CODEC), NOTHING)
        assert values["a"] == [1]
        assert values["a"] is not held

    def test_nothing_is_suspected_after_it_that_cannot_change(self) -> None:
        """Promise 21: the end of the request encodes nothing twice."""
        codec = Counting()
        stored = encoded({"a": 1}, CODEC)
        values = Values(stored, codec)
        values["a"], values["b"] = 2, "text"
        own = values.changes()
        values.rebase(own.over(stored), own)

        assert not values.suspect
        assert values.changes() == NOTHING
        assert codec.encoded == [2, "text"]

    @settings(max_examples=150, deadline=None)
    @given(mappings, mappings, mappings, st.sets(keys))
    def test_what_is_seen_is_what_is_stored(
        self, base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any], read: set[str]
    ) -> None:
        """Whatever was read, set and deleted, by this request and by others."""
        values = values_of(base)
        for key in read:
            values.get(key)
        values.update(mine)
        for key in read & base.keys() - mine.keys():
            del values[key]
        held = dict(values)
        own = values.changes()
        stored = own.over(encoded(theirs, CODEC))
        values.rebase(stored, own)

        assert same(dict(sorted(values.items())), {key: CODEC.decode(stored[key]) for key in sorted(stored)})
        assert values.changes() == NOTHING
        for key in held.keys() & stored.keys():
            assert values[key] is held[key] or CODEC.encode(held[key]) != stored[key]


class TestRevertAndKeepOnly:
    def test_reverted_is_as_it_was_stored(self) -> None:
        """Whatever was done, and changed in place."""
        values = values_of({"a": [1], "b": 2, "c": 3})
        values["a"].append(2)
        values["d"] = 4
        del values["b"]
        values.revert()

        assert not values.suspect
        assert values.changes() == NOTHING
        assert dict(values) == {"a": [1], "b": 2, "c": 3}

    def test_kept_alone_is_what_was_named(self) -> None:
        """Of what is stored and of what was set; a key that is not there is none. It deletes nothing: what another sign-in
        of the same user keeps or has added stays."""
        values = values_of({"a": 1, "b": 2})
        values["c"], values["d"] = 3, 4
        values.keep_only(frozenset({"a", "c", "missing"}))

        assert dict(values) == {"a": 1, "c": 3}
        assert values.changes() == Changes(encoded({"c": 3}, CODEC), {}, frozenset())
        assert values.assigned() == encoded({"c": 3}, CODEC)


class TestEncoded:
    @settings(max_examples=50, deadline=None)
    @given(mappings)
    def test_it_is_what_a_session_would_hold(self, data: dict[str, Any]) -> None:
        """For what comes from elsewhere: every value by its key, in the same order."""
        found = encoded(data, CODEC)

        assert found == {key: CODEC.encode(value) for key, value in data.items()}
        assert list(found) == list(data)
        assert same(dict(Values(found, CODEC)), data)

    def test_a_subclass_is_kept_as_the_supported_type(self) -> None:
        """Promise 9: read again, it is the plain type."""
        data = {"level": Level.HIGH, "markup": Markup("<b>"), "point": Point(1, [2]), "ordered": OrderedDict(a=1)}

        assert same(
            dict(Values(encoded(data, CODEC), CODEC)), {"level": 3, "markup": "<b>", "point": (1, [2]), "ordered": {"a": 1}}
        )
