"""The page of mutants has the figures that were kept, and says what each reason means."""

import re

import pytest

from tests.mutation.__main__ import KILLED, MODULES, UNSEEN, unseen
from tests.mutation.survivors import PAGE, REASONS, ROOT, kept, written

TEXT = PAGE.read_text()


def test_its_table_is_what_was_found() -> None:
    """``make mutants`` writes it anew."""
    assert list(kept()) == list(MODULES)
    assert written(TEXT, kept()) == TEXT


@pytest.mark.parametrize("module", MODULES)
def test_each_survivor_has_a_reason(module: str) -> None:
    """One that the page explains, and why it is that."""
    found = kept()[module]
    assert [change for change, why in found["survivors"].items() if why.split(": ", 1)[0] not in REASONS] == []
    assert all(why.partition(": ")[2] for why in found["survivors"].values())
    assert len(found["survivors"]) < found["mutants"]


def test_each_reason_is_explained() -> None:
    assert tuple(re.findall(r"^(\w+)\n: ", TEXT, re.MULTILINE)) == REASONS


@pytest.mark.parametrize("module", MODULES)
def test_the_tests_of_a_module_are_there(module: str) -> None:
    assert (ROOT / "session_middleware" / f"{module}.py").exists()
    assert all((ROOT / test.partition("::")[0]).exists() for test in MODULES[module])


def test_what_some_test_has_seen_is_killed() -> None:
    """It failed, or did not end. What no test has seen, or none runs, is a survivor."""
    codes = {f"mutant {code}": code for code in KILLED + UNSEEN}

    assert unseen(codes) == [f"mutant {code}" for code in UNSEEN]


@pytest.mark.parametrize("code", [None, 2, 4, 34, 35, -11, -15])
def test_what_was_not_looked_at_is_not_killed(code: int | None) -> None:
    """Not run, interrupted, skipped, ended by somebody: no figure is made of it."""
    with pytest.raises(SystemExit, match=f"'mutant': {code}"):
        unseen({"killed": 1, "mutant": code})
