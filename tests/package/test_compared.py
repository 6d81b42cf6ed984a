"""The comparison with others tells those that lose something from those that do not; its page is made from results."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.__main__ import measure
from benchmarks.peers.contenders import BY_NAME, CONTENDERS, KEEPS, LOSES, OURS
from benchmarks.peers.page import PAGE, RESULTS, charts, page
from benchmarks.peers.results import QUICK
from benchmarks.peers.verdicts import better, equal, find

RESULTS_OF_RUN: dict[str, Any] = json.loads(RESULTS.read_text())

SMALL = QUICK._replace(only=(OURS, KEEPS, LOSES), stores=("memory",), writes=20, increments=20, calls=5)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is measured of ours in memory, and of the two controls."""
    return measure(SMALL, ["behaviour", "cost"], tmp_path_factory.mktemp("compared") / "results.json")


def test_the_controls_are_told_apart(found: dict[str, Any]) -> None:
    """One loses nothing and the other everything, and each is seen as that."""
    rows = found["behaviour"]["rows"]
    keeps, loses = find(rows, KEEPS, "memory"), find(rows, LOSES, "memory")

    assert [keeps["updates"][key]["kept"] for key in ("at once", "5 ms", "increments")] == [20, 20, 20]
    assert [loses["updates"][key]["kept"] for key in ("at once", "5 ms", "increments")] == [0, 0, 0]
    assert not keeps["endings"]["back by a writer"]
    assert loses["endings"]["back by a writer"]
    assert (keeps["endings"]["old token"], keeps["endings"]["id adopted"]) == ("opens nothing", False)
    assert (loses["endings"]["old token"], loses["endings"]["id adopted"]) == ("opens the signed-in session", True)


def test_ours_loses_nothing(found: dict[str, Any]) -> None:
    """Neither a write, nor an increment, nor a sign-out."""
    ours = find(found["behaviour"]["rows"], OURS, "memory")

    assert [ours["updates"][key]["kept"] for key in ("at once", "5 ms", "increments")] == [20, 20, 20]
    assert not ours["endings"]["back by a writer"]
    assert not ours["endings"]["back by a reader"]
    assert (ours["endings"]["writer gets"], ours["endings"]["id adopted"]) == (200, False)
    assert all(ours["cookies"][key] for key in ours["cookies"] if key not in ("http", "https"))


def test_every_verb_has_its_cost(found: dict[str, Any]) -> None:
    """A request that reads costs more than one that does not touch the session."""
    ours = find(found["cost"]["rows"], OURS, "memory")

    assert {key for key in ours if key.endswith(" 1")} == {
        f"{verb} 1" for verb in ("untouched", "read", "write", "new", "sign-in", "sign-out")
    }
    assert ours["read 1"][2] > ours["untouched 1"][0]


def test_the_page_is_made_from_the_results() -> None:
    """No word of it is written by hand, but for the observations."""
    assert PAGE.read_text() == page(RESULTS_OF_RUN)
    for name, text in charts(RESULTS_OF_RUN).items():
        assert (PAGE.parents[1] / name).read_text() == text


def test_every_library_is_on_the_page() -> None:
    """With its figures, or with the reason why there are none."""
    text = PAGE.read_text()
    assert all(f"| {contender.name} |" in text for contender in CONTENDERS)
    assert all(contender.why for contender in CONTENDERS if len(contender.stores) < 4 and not contender.is_control)


def test_what_others_do_better_is_found() -> None:
    """Beyond noise, and under the same framework."""
    rows = [
        {"name": OURS, "store": "Redis", "read 1": [90.0, 100.0, 110.0], "write 1": [190.0, 200.0, 210.0]},
        {"name": "Beaker", "store": "Redis", "read 1": [40.0, 50.0, 60.0], "write 1": [185.0, 195.0, 205.0]},
        {"name": "Django", "store": "Redis", "read 1": [1.0, 2.0, 3.0]},
    ]
    found = better({"cost": {"rows": rows}})

    assert [(one.name, one.what, one.store, one.theirs, one.ours) for one in found] == [
        ("Beaker", "time of read, 1 KB", "Redis", "50 µs", "100 µs")
    ]


@pytest.mark.parametrize(
    ("one", "other", "same"), [(100, 91, True), (100, 80, False), ([90, 100, 150], 120, True), ([90, 100, 150], 80, False)]
)
def test_differences_within_noise_are_equal(one: object, other: object, same: bool) -> None:
    """A tenth of the larger, or quartiles that reach into each other."""
    assert equal(one, other) is same


def test_the_results_tell_no_names_of_the_machine() -> None:
    """Neither paths nor host names, as they are published."""
    text = RESULTS.read_text()
    assert str(Path.home()) not in text
    assert "/tmp/" not in text
    assert set(RESULTS_OF_RUN["machine"]) == {"processor", "processors", "memory", "system"}


@pytest.mark.soak
def test_the_quick_pass_measures_all(tmp_path: Path) -> None:
    """Every group, of ours on every framework, on a store in memory and on a server."""
    only = tuple(name for name, contender in BY_NAME.items() if contender.is_ours)
    groups = ["behaviour", "faults", "calls", "cost", "load", "growth", "memory"]
    found = measure(QUICK._replace(only=only, stores=("memory", "Redis")), groups, tmp_path / "results.json")

    assert not [row for group in groups for row in found[group]["rows"] if "failed" in row]
    assert all(found[group]["rows"] for group in groups)
