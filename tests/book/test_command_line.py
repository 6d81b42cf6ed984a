"""The pages about the command and about health say what these do."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from docs.command_line import PAGE, written
from session_middleware import health
from tests.book.pages import Block, Page
from tests.cli.running import ROOT

COMMAND = "session-middleware"


@pytest.fixture(autouse=True)
def _found_by_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def typed(block: Block) -> int:
    """Type what is on the page; the command may not be installed where tests run."""
    return replace(block, text=block.text.replace(COMMAND, "python -W ignore -m session_middleware")).type()


def test_the_reference_is_that_of_the_commands() -> None:
    """python -m docs.command_line writes it anew."""
    assert PAGE.read_text() == written()


def test_the_commands_of_the_page_print_what_it_says(claimed: list[Block]) -> None:
    """On the sessions that the page makes."""
    Page("how-to/command-line").run()

    assert [typed(block) for block in claimed] == [2, 1]


def test_the_application_of_the_page_is_found(claimed: list[Block]) -> None:
    """And its sessions listed."""
    Page("how-to/command-line").run()
    module, listed = claimed
    module.write()

    assert typed(listed) == 1


def test_the_shell_gets_its_completion(claimed: list[Block]) -> None:
    """A function for bash."""
    (block,) = claimed
    text = (
        block.text.replace('eval "$(', "").replace(')"', "").replace(COMMAND, f"python -W ignore -m {'session_middleware'}")
    )

    assert "complete -o nosort -F" in replace(block, text=text).shell()


def test_the_health_of_the_page_is_served(tmp_path: Path) -> None:
    """200 for what is well, beside the application."""
    names: dict[str, Any] = Page("how-to/health").run()
    server = TestApp(names["server"], lint=False)

    assert server.get("/healthz").json.keys() == {"status", "store", "latency_ms", "findings"}
    assert server.get("/healthz").json["store"] == "SQLite"
    server.get("/", status=204)


def test_every_finding_is_on_the_page() -> None:
    """With its severities."""
    source = Path(health.__file__).read_text()
    found = set(re.findall(r'^ +"([a-z_]+)",$', source, re.MULTILINE)) | set(
        re.findall(r'Finding\("\w+", "([a-z_]+)"', source)
    )
    rows = re.findall(r"^\| `(\w+)` \| (error|warning|note)", Page("how-to/health").text, re.MULTILINE)

    assert {name for name, _ in rows} == found - {"warning", "error", "note"}
