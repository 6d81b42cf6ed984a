"""While sessions move, two stores behave as one, in whatever order processes call them, and whoever is killed."""

from collections.abc import Iterator
from itertools import product

import pytest

from session_middleware import moving
from tests.stores.moving.orders import Process, problems

SCRIPTS = ("load update", "load remove", "delete", "create", "load")


def every_pair() -> Iterator[tuple[Process, Process, str, int]]:
    """Yield each two processes that may run beside each other, where the record is at first, and how many are killed."""
    for begins, one, other in product(("old", "new", ""), SCRIPTS, SCRIPTS):
        for kind in ("both", "moving"):
            yield Process("moving", one), Process(kind, other), begins, 1
        yield Process("both", one), Process("both", other), begins, 1
        if begins != "new":
            yield Process("both", one), Process("old", other), begins, 1
        if begins != "old":
            # A place that is kept for who was killed is taken for whom knows the new store alone: they take another key.
            yield Process("moving", one), Process("new", other), begins, 0 if other == "create" else 1
    for begins, one in product(("old", "new", ""), SCRIPTS):
        yield Process("copy", "copy"), Process("moving", one), begins, 1


@pytest.mark.soak
@pytest.mark.parametrize(("one", "other", "begins", "kills"), [*every_pair()], ids=str)
def test_any_two_processes_see_one_store(one: Process, other: Process, begins: str, kills: int) -> None:
    """Promises 3 to 5 and 19, by every order of their calls: nothing is lost, brought back or there twice."""
    assert next(problems((one, other), begins, kills), None) is None


@pytest.mark.parametrize(
    ("one", "other", "begins"),
    [
        (Process("moving", "load update"), Process("both", "load update"), "old"),
        (Process("moving", "load update"), Process("moving", "delete"), "old"),
        (Process("moving", "load update"), Process("both", "load remove"), "old"),
        (Process("copy", "copy"), Process("moving", "load update"), "old"),
        (Process("moving", "create"), Process("both", "create"), ""),
        (Process("both", "load update"), Process("old", "load update"), "old"),
        (Process("moving", "load update"), Process("new", "load update"), "new"),
    ],
    ids=str,
)
def test_a_killed_process_leaves_what_others_go_on_with(one: Process, other: Process, begins: str) -> None:
    """Whichever of the two is killed, at whichever call: the record is there once, or not at all if it was ended."""
    assert next(problems((one, other), begins, 1), None) is None


@pytest.mark.soak
@pytest.mark.parametrize(
    ("processes", "begins"),
    [
        ((Process("moving", "load update"), Process("both", "load update"), Process("moving", "delete")), "old"),
        ((Process("moving", "load update"), Process("copy", "copy"), Process("both", "load remove")), "old"),
        ((Process("moving", "load update"), Process("moving", "load update"), Process("both", "load")), "old"),
        ((Process("moving", "create"), Process("both", "create"), Process("moving", "create")), ""),
        ((Process("moving", "create"), Process("copy", "copy"), Process("moving", "delete")), ""),
    ],
    ids=str,
)
def test_any_three_processes_see_one_store(processes: tuple[Process, ...], begins: str) -> None:
    """Promises 3 to 5: what a third one sees, or does, in between fits, too."""
    assert next(problems(processes, begins), None) is None


def test_a_process_that_knows_the_old_store_alone_must_not_run_beside_one_that_hands_over() -> None:
    """That is why there are two steps: it would lose what the other has handed over."""
    found = next(problems((Process("moving", "load update"), Process("old", "load")), "old"), "")

    assert "finds" in found


@pytest.mark.parametrize("name", ["_marked", "_reserved"])
def test_the_search_finds_a_hand_over_that_does_not_compare_nonces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no test that cannot fail."""
    true_one = getattr(moving, name)
    monkeypatch.setattr(moving, name, lambda found: None if true_one(found) is None else b"any")
    processes = Process("moving", "load update load update"), Process("moving", "load update")

    assert next(problems(processes, "old", 1), "")
