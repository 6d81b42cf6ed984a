"""The threat model and the gates name tests that pytest finds; together they cover every promise and every gate."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.gates import named_on
from tests.book.pages import Page

ROOT = Path(__file__).parents[2]
THREATS, GATES = "explanation/threat-model", "reference/gates"


def rows(page: str) -> list[list[str]]:
    """Return the cells of the lines of all tables of a page, without their heads."""
    lines = re.findall(r"^\| (?!can |happens |gate )(.*) \|$", Page(page).text, re.MULTILINE)
    return [line.split(" | ") for line in lines]


def test_pytest_finds_every_test_that_they_name() -> None:
    """By its path, as it stands on the page, so that it can be run by whoever doubts it."""
    named = {*named_on(THREATS), *named_on(GATES)}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *named]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, re.findall("^ERROR.*", done.stdout + done.stderr, re.MULTILINE)


@pytest.mark.parametrize("page", [THREATS, GATES])
def test_every_line_names_a_test(page: str) -> None:
    """A claim without one is none."""
    assert len(rows(page)) > 30
    assert [cells[:2] for cells in rows(page) if not any("`tests/" in cell for cell in cells)] == []


@pytest.mark.parametrize("page", [THREATS, GATES])
def test_no_line_stands_outside_of_a_table(page: str) -> None:
    """After an empty line a table begins, with its head."""
    assert re.findall(r"\n\n(\|.*\n)(?!\|---\|)", Page(page).text) == []


def test_every_promise_is_in_the_threat_model() -> None:
    """By its number; what belongs to an option comes with the option."""
    spoken_of = {
        int(number)
        for cells in rows(THREATS)
        for group in re.findall(r"promises? ([\d, and]+)", cells[1])
        for number in re.findall(r"\d+", group)
    }

    assert spoken_of == set(range(1, 26))


def test_no_gate_is_missing() -> None:
    assert [cells[0] for cells in rows(GATES)] == [f"G-{number}" for number in range(1, 37)]


def test_a_traceback_without_the_environ_has_no_cookie() -> None:
    """As the page of error reports makes it, causes and contexts included."""
    report = Page("how-to/error-reports").run()["report"]

    def application(environ: dict[str, str]) -> None:
        try:
            raise LookupError("inner")
        except LookupError as error:
            raise ValueError("outer") from error

    with pytest.raises(ValueError, match="outer") as caught:
        application({"HTTP_COOKIE": "session=" + "s" * 28})
    shown = report(caught.value)

    assert "inner" in shown
    assert "s" * 28 not in shown


def test_what_stops_nobody_is_said() -> None:
    """Of whom it does not stop, in their section."""
    sections = re.split("^## ", Page(THREATS).text, flags=re.MULTILINE)[1:]

    assert sum("**Not stopped:**" in section for section in sections) >= 8
