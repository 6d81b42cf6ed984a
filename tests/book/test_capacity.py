"""The figures of the pages on capacity and on a read cache follow from what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from docs.capacity import MEASURED, PAGES, planned_for, written
from session_middleware.capacity import STORES
from session_middleware.record import LEAST
from tests.book.pages import Block
from tests.cli.running import ROOT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tables_are_those_of_what_was_measured(page: Path) -> None:
    """``python -m docs.capacity`` writes them anew."""
    assert written(page.read_text()) == page.read_text()


def test_what_was_really_made_is_what_the_plan_says() -> None:
    """Within 15 %: many sessions, of a size for which nothing was measured."""
    found = json.loads((MEASURED / "many.json").read_text())

    assert [one["store"] for one in found] == ["redis", "sqlite"]
    for one in found:
        assert planned_for(one) == pytest.approx(one["bytes"], rel=0.15)


def test_the_command_of_the_page_plans_for_every_store(claimed: list[Block], monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands there; the command may not be installed where tests run."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (block,) = claimed
    printed = replace(block, text=block.text.replace("session-middleware", "python -W ignore -m session_middleware")).shell()

    assert [line for line in printed.splitlines() if line in STORES] == list(STORES)


def test_the_envelope_takes_what_the_page_says() -> None:
    """Beside the id of the user and the values."""
    assert LEAST == 82
    assert "82 bytes, the user's id, and the values" in PAGES[0].read_text()
