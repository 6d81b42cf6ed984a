"""The mapping decodes and encodes what is touched, and leaves alone what does not decode."""

import logging
from collections.abc import Callable

import pytest

from session_middleware import JSONCodec
from session_middleware.record import Encoded
from session_middleware.values import Changes, Values, encoded
from tests.core.mappings import BROKEN, CODEC, NOTHING, Counting, raised, values_of


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

    def test_one_that_another_has_replaced_is_a_value_like_any_other(self, values: Values) -> None:
        """Also where a sign-in has gone on without it, and another of the same user has kept it."""
        assert "bad" not in values
        mended = encoded({"bad": "good"}, CODEC)
        values.rebase(mended, values.changes())
        assert values["bad"] == "good"
        values.keep_only(frozenset())
        values.rebase(mended, values.changes())

        assert values["bad"] == "good"

    @pytest.mark.parametrize("bad", [b"NaN", b"\xff secret value", b'"secret value', b'"\\ud800"', b"[" * 100_000])
    def test_the_log_line_is_short_and_quotes_nothing(self, bad: bytes, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 11: with the other codec, too, and a key that is long and odd."""
        assert not Values({"\n" * 1000: bad}, JSONCodec())
        (line,) = caplog.messages

        assert line.startswith(r"a value of a session cannot be read, and counts as absent: ['\n\n")
        assert len(line) < 300
        assert line.isprintable()
        assert "secret" not in line
