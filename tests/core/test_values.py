"""The application's mapping over encoded values is a dict to whoever uses it."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from markupsafe import Markup

from session_middleware import PayloadError
from session_middleware.record import Encoded
from session_middleware.values import Values, checked_key, encoded
from tests.core.mappings import BROKEN, CODEC, keys, mappings, raised, some_values, values_of
from tests.values import same


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


AsADict.TestCase.settings = settings(max_examples=50, stateful_step_count=30)


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
