"""The page of mutants has the figures that were kept, and says what each reason means."""

import re

import pytest

from tests.mutation.__main__ import MODULES
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
