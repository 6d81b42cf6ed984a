"""Merging: what one request changed, laid over what another has stored meanwhile."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_middleware import MsgpackCodec, PayloadError
from session_middleware.merge import Changes, bring_up_to_date, changes, envelope_over
from session_middleware.record import Envelope
from tests.values import same

encode = MsgpackCodec().encode

# Few keys, and values that Python holds for equal and a codec does not, so that the interesting cases are common.
values = st.sampled_from([0, 1, True, 1.0, -0.0, 0.0, "1", None, (1,), [1], {"a": [1]}, {"a": (1,)}]).map(deepcopy)
mappings = st.dictionaries(st.sampled_from("abcde"), values, max_size=5)
envelopes = st.builds(
    Envelope,
    st.sampled_from([None, "alice", "bob"]),
    st.sampled_from([1.0, 2.0]),
    st.sampled_from([3.0, 4.0, 5.0]),
    st.sampled_from([None, 60.0, 90.0]),
    st.sampled_from([100.0, 200.0]),
    st.booleans(),
)


def same_data(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return same(dict(sorted(one.items())), dict(sorted(other.items())))


@settings(max_examples=200, deadline=None)
@given(mappings, mappings)
def test_changes_lead_from_the_one_to_the_other(base: dict[str, Any], mine: dict[str, Any]) -> None:
    """Promise 3: nothing that differs is left out, to the type."""
    assert same_data(changes(encode, base, mine).over(base), mine)


@settings(max_examples=100, deadline=None)
@given(mappings)
def test_what_did_not_change_is_no_change(base: dict[str, Any]) -> None:
    """Promise 3: a request that changed nothing overwrites nothing."""
    assert changes(encode, base, deepcopy(base)) == Changes({}, set())


@settings(max_examples=200, deadline=None)
@given(mappings, mappings, mappings, st.sets(st.sampled_from("abcde")))
def test_changes_of_different_keys_both_survive(
    base: dict[str, Any], one: dict[str, Any], other: dict[str, Any], ours: set[str]
) -> None:
    """Promise 3: whichever request is stored first, the result is the same, with the changes of both."""
    one = {key: value for key, value in one.items() if key in ours} | {
        key: value for key, value in base.items() if key not in ours
    }
    other = {key: value for key, value in other.items() if key not in ours} | {
        key: value for key, value in base.items() if key in ours
    }
    mine, theirs = changes(encode, base, one), changes(encode, base, other)

    assert same_data(mine.over(theirs.over(base)), theirs.over(mine.over(base)))
    merged = mine.over(theirs.over(base))
    assert same_data({key: merged[key] for key in merged if key in ours}, {key: one[key] for key in one if key in ours})
    assert {key for key in merged if key not in ours} == {key for key in other if key not in ours}


@settings(max_examples=100, deadline=None)
@given(mappings, mappings, mappings)
def test_the_last_one_wins_on_the_same_key(base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Promise 3, as documented: what I set is there, what I deleted is not, and all else is theirs."""
    own = changes(encode, base, mine)
    merged = own.over(theirs)

    assert all(merged[key] is value for key, value in own.values.items())
    assert own.deleted.isdisjoint(merged)
    assert all(merged[key] is theirs[key] for key in theirs if key not in own.values and key not in own.deleted)


@settings(max_examples=100, deadline=None)
@given(mappings, mappings, mappings)
def test_changes_can_give_way(base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Promise 3: without the keys that another changed too, laying mine over theirs leaves every change of theirs."""
    own, other = changes(encode, base, mine), changes(encode, base, theirs)
    merged = own.but_for(other).over(theirs)

    assert all(merged[key] is value for key, value in other.values.items())
    assert other.deleted.isdisjoint(merged)
    for key in (own.values.keys() | own.deleted) - (other.values.keys() | other.deleted):
        assert (key in merged) == (key in mine)
        assert key not in mine or merged[key] is mine[key]


def test_laying_changes_over_leaves_both_as_they_were() -> None:
    """It makes a new mapping."""
    own, theirs = Changes({"a": 1}, {"b"}), {"b": 2, "c": 3}

    assert own.over(theirs) == {"c": 3, "a": 1}
    assert theirs == {"b": 2, "c": 3}
    assert own == Changes({"a": 1}, {"b"})


@settings(max_examples=200, deadline=None)
@given(mappings, mappings)
def test_bringing_up_to_date_keeps_what_is_equal(data: dict[str, Any], target: dict[str, Any]) -> None:
    """Promise 8: the application may hold a value of the session and go on changing it."""
    held = dict(data)
    bring_up_to_date(encode, data, target)

    assert same_data(data, target)
    for key in held.keys() & target.keys():
        if same(held[key], target[key]):
            assert data[key] is held[key]
        else:
            assert data[key] is target[key]


@pytest.mark.parametrize("value", [{"a": [object()]}, "\ud800"], ids=["object", "surrogate"])
def test_a_value_that_cannot_be_compared_is_named(value: Any) -> None:
    """Promise 9: the error has the path in the session."""
    with pytest.raises(PayloadError, match=r"^session\['cart'\]"):
        changes(encode, {"cart": 1}, {"cart": value})
    with pytest.raises(PayloadError, match=r"^session\['cart'\]"):
        bring_up_to_date(encode, {"cart": value}, {"cart": 1})


@given(envelopes, envelopes, envelopes)
def test_of_two_envelopes_the_changed_fields_are_mine(base: Envelope, mine: Envelope, theirs: Envelope) -> None:
    """Promises 3 and 12: what I changed is as I set it, all else as they left it; use never goes back in time."""
    merged = envelope_over(base, mine, theirs)

    assert merged.last_seen_at == max(mine.last_seen_at, theirs.last_seen_at)
    for field in ("user_id", "created_at", "idle", "absolute", "persistent"):
        changed = getattr(base, field) != getattr(mine, field)
        assert getattr(merged, field) == getattr(mine if changed else theirs, field)


def test_an_envelope_that_did_not_change_is_theirs() -> None:
    """Promise 3."""
    base = Envelope(None, 1.0, 1.0, 60.0, 600.0, persistent=False)
    theirs = Envelope("alice", 5.0, 6.0, None, 700.0, persistent=True)

    assert envelope_over(base, base, theirs) == theirs
