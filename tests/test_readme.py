"""What the README says is executed; it is short, and leads on."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from webtest import TestApp

from session_middleware import SessionMiddleware
from tests.backends.process import executable
from tests.backends.redis import RedisServer
from tests.book.pages import Block, Page
from tests.servers.gunicorn import ROOT, Gunicorn

TEXT = (ROOT / "README.md").read_text()
README = Page("README", TEXT)
PEERS = ["session_middleware", "Flask-Session", "Django", "Beaker", "pyramid_session_redis"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ten_lines() -> Block:
    (block,) = README.in_language("python")
    return block


def test_it_is_read_in_a_few_minutes() -> None:
    """The book has the rest."""
    assert len(TEXT.splitlines()) <= 150


def test_the_example_has_ten_lines(ten_lines: Block) -> None:
    """The heading says so."""
    assert len([line for line in ten_lines.text.splitlines() if line]) <= 10


def test_the_example_counts_visits(ten_lines: Block, tmp_path: Path) -> None:
    """As it stands it keeps a session in ./sessions.sqlite3, mode 0600."""
    names: dict[str, SessionMiddleware] = {}
    ten_lines.execute(names)
    browser = TestApp(names["application"])

    assert [browser.get("/").text for _ in range(2)] == ["visit number 1\n", "visit number 2\n"]
    assert (tmp_path / "sessions.sqlite3").stat().st_mode & 0o777 == 0o600
    names["application"].manager.store.close()  # type: ignore[attr-defined]


def test_the_transcript_is_what_one_sees(ten_lines: Block, tmp_path: Path) -> None:
    """Under the gunicorn of the command that it names."""
    executable("curl", "curl")
    command = re.search(r"`hello\.py`, run `gunicorn ([^`]+)`", TEXT)
    assert command
    *arguments, application = shlex.split(command[1])
    Path("hello.py").write_text(ten_lines.text)
    (transcript,) = README.in_language("console")
    with Gunicorn(application, *arguments, cwd=tmp_path) as server:
        assert transcript.type(server.url) == 4


def test_every_link_and_picture_leads_somewhere() -> None:
    """None of them leaves the repository."""
    targets = set(re.findall(r"\]\(([^)\s]+)\)", TEXT) + re.findall(r'(?:src|srcset)="([^"]+)"', TEXT))

    assert len(targets) > 10
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_command_is_a_target_of_make() -> None:
    """Whatever the README tells to make."""
    rules = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b(?=[` ])", TEXT))

    assert {"demo", "test", "docs"} <= named <= rules


def table() -> dict[str, dict[str, str]]:
    """Return what the README says of each library, row by row."""
    names, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line[:1] == "|"
    ]
    return {row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in rows}


@pytest.mark.parametrize("name", PEERS)
def test_what_the_table_says_of_a_library_is_what_it_does(name: str) -> None:
    """Asked in a process of its own, over a server of its own."""
    with RedisServer() as server:
        asked = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.book.peers", name, server.url],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    said = {row: cells[name] for row, cells in table().items() if row in found}

    assert said.keys() == found.keys()
    assert {row: fact for row, fact in found.items() if not said[row].startswith(fact)} == {}
