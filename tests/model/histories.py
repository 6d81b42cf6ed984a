"""What can happen in random histories: what requests do, what happens meanwhile, and which store calls fail."""

from copy import deepcopy
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.sites import ANOTHER, MADE_UP

T = TypeVar("T")

USERS = ("alice", "bob")

Plan = tuple[int, bool] | None
"""Which store call fails, counted from now, and whether it is done all the same; ``None`` for no fault."""

Change = partial[None]

# The requests in flight, and one that comes and goes meanwhile.
SLOTS = (0, 1)
ANOTHER_ONE = 2
slots = st.sampled_from(SLOTS)
keys = st.sampled_from("abcd")
users = st.sampled_from(USERS)
values = st.one_of(
    st.sampled_from([0, 1, True, 1.0, None, "", "text", b"\0", (), (1,), 2**70, datetime(2024, 2, 29, tzinfo=UTC)]),
    st.lists(st.integers(0, 9), max_size=2),
    st.dictionaries(st.sampled_from("xy"), st.lists(st.integers(0, 9), max_size=1), max_size=2),
)
NOBODYS = (MADE_UP, ANOTHER)
recent = st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, -1, -2])
keeps = st.sampled_from([None, None, None, (), ("a",), ("b", "d")])


def weighted(*choices: tuple[int, st.SearchStrategy[T]]) -> st.SearchStrategy[T]:
    """Return what draws from each strategy as often as its weight says; one_of() takes a repeated one for one."""
    return st.sampled_from([strategy for weight, strategy in choices for _ in range(weight)]).flatmap(lambda chosen: chosen)


no_fault: st.SearchStrategy[Plan] = st.none()
faults = weighted((6, no_fault), (1, st.tuples(st.integers(1, 5), st.booleans())))
seconds = st.sampled_from([0.5, 1, 1, 2, 5, 9, 9, 10, 11, 29, 59, 60, 61, 299, 599, 600, 1500])
failures = st.sampled_from([False, False, False, True])


def append(key: str, number: int, data: Any) -> None:
    """Change inside the value under the key, whatever it is."""
    match data.get(key):
        case list(items):
            items.append(number)
        case dict(inner):
            inner.setdefault("x", []).append(number)
        case _:
            data[key] = number


def assign(key: str, value: object, data: Any) -> None:
    data[key] = deepcopy(value)


def remove(key: str, data: Any) -> None:
    data.pop(key, None)


def clear(data: Any) -> None:
    data.clear()


def nothing(data: Any) -> None:
    """A change that changes nothing."""


def look(key: str, data: Any) -> None:
    data.get(key)


changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(partial, st.just(assign), keys, values),
    st.builds(partial, st.just(append), keys, st.integers(0, 9)),
    st.builds(partial, st.just(remove), keys),
    st.builds(partial, st.just(look), keys),
    st.sampled_from([partial(clear), partial(nothing)]),
)
lifetimes = st.fixed_dictionaries(
    {},
    optional={
        "idle": st.sampled_from([None, 50.0, 600.0, 2000.0]),
        "absolute": st.sampled_from([100.0, 3000.0, 9000.0]),
        "persistent": st.booleans(),
    },
)


Act = tuple[str, dict[str, Any]]


def act(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Act]:
    """Return what a request can do: a method of the machine below, and its arguments."""
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


acts = st.lists(
    weighted(
        (9, act("changes", change=changes)),
        (1, act("takes_the_newest_item")),
        (1, act("uses")),
        (4, act("transacts", change=changes, plan=faults)),
        (4, act("regenerates")),
        (1, act("checks_a_password", user_id=users)),
        (5, act("signs_in", user_id=users, keep=keeps, plan=faults)),
        (3, act("sets_lifetimes", lifetimes=lifetimes)),
        (1, act("invalidates", plan=faults)),
    ),
    min_size=1,
    max_size=3,
)
events = st.lists(
    weighted(
        (6, act("time_passes", by=seconds)),
        (1, act("a_request_cannot_load", applied=st.booleans())),
        (1, act("somebody_revokes", one=recent, plan=faults)),
        (2, act("somebody_revokes_all", user_id=users, number=st.none() | slots, plan=faults)),
    ),
    min_size=1,
    max_size=2,
)
