"""What one request changed is laid over what another has stored meanwhile, and the request goes on with it."""

from collections import OrderedDict
from copy import deepcopy
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from session_middleware import MsgpackCodec
from session_middleware.record import Encoded
from session_middleware.values import Changes, Values, encoded
from tests.core.mappings import CODEC, KEYS, NOTHING, Counting, Point, keys, mappings, values_of
from tests.values import same

encodings = st.dictionaries(keys, st.sampled_from([b"", b"1", b"2", b"3"]), max_size=6)


class Level(IntEnum):
    HIGH = 3


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

    @given(changes, encodings)
    def test_laying_it_over_twice_is_once(self, own: Changes, theirs: Encoded) -> None:
        """A request that is tried again does no harm."""
        assert own.over(own.over(theirs)) == own.over(theirs)

    @given(changes, changes, encodings, st.sets(keys))
    def test_changes_of_different_keys_both_survive(
        self, one: Changes, other: Changes, theirs: Encoded, ours: set[str]
    ) -> None:
        """Whichever request is stored first, the result is the same, with the changes of both."""
        one, other = only(one, ours), only(other, {*KEYS} - ours)

        assert one.over(other.over(theirs)) == other.over(one.over(theirs))

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

    @pytest.mark.parametrize("theirs", [{"a": [2]}, {"a": "text"}, {}])
    def test_what_another_has_changed_is_suspected_no_more(self, theirs: dict[str, Any]) -> None:
        """Promise 21: as long as nobody has read it again, there is nothing of ours to encode."""
        values = values_of({"a": [1]})
        held = values["a"]
        own = values.changes()
        values.rebase(encoded(theirs, CODEC), own)
        held.append(5)

        assert not values.suspect
        assert values.changes() == NOTHING
        assert dict(values) == theirs

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

    @settings(max_examples=150)
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

    def test_not_keeping_undoes_what_was_done_to_a_key(self) -> None:
        """As if it had not been touched, also where it was deleted and set anew; what is deleted stays so."""
        values = values_of({"a": 1, "b": 2})
        del values["a"], values["b"]
        values["a"] = 3
        values.keep_only(frozenset())

        assert values.changes() == Changes({}, {}, frozenset({"b"}))


class TestEncoded:
    @settings(max_examples=50)
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
