"""In a terminal: questions, colours, progress, Ctrl-C, completion."""

import re
from pathlib import Path

import pexpect
import pytest

from tests.cli.running import Site, environ, in_terminal, run, spawned

SLOW = """
import sys
from session_middleware import SessionManager, open_store
from session_middleware.cli.group import run
from session_middleware.testing import FaultyStore

store = FaultyStore(open_store(sys.argv[1]))
store.delay(0.02)
run(sys.argv[2:], "sessions", lambda: SessionManager(store))
"""
MANY = 400


def code(child: "pexpect.spawn[str]") -> int | None:
    """Return the exit code when it has ended."""
    child.expect(pexpect.EOF)
    child.close()
    status: int | None = child.exitstatus
    return status


@pytest.mark.parametrize(("answer", "lives", "ends"), [("n", True, 1), ("y", False, 0)])
def test_what_ends_sessions_asks(site: Site, answer: str, lives: bool, ends: int) -> None:
    """No is nothing done, and 1."""
    key = site.begin("alice")
    child = in_terminal("--store", site.url, "revoke-user", "alice")
    child.expect_exact("End all sessions of 'alice'? [y/N]: ")
    child.sendline(answer)

    assert code(child) == ends
    assert site.lives(key) == [lives]


def test_ctrl_c_at_the_question_is_130(site: Site) -> None:
    """And nothing done."""
    key = site.begin("alice")
    child = in_terminal("--store", site.url, "revoke-everybody")
    child.expect_exact("Sign everybody out?")
    for _ in range(5):  # what comes right before Python waits for a line is seen when something comes after it
        child.sendintr()
        if child.expect_exact([pexpect.EOF, pexpect.TIMEOUT], timeout=30) == 0:
            break

    assert code(child) == 130
    assert site.lives(key) == [True]


@pytest.mark.parametrize("no_color", [{}, {"NO_COLOR": "1"}], ids=["colour", "NO_COLOR"])
def test_colours_are_for_terminals_that_want_them(no_color: dict[str, str]) -> None:
    """In a pipe there are none, either."""
    child = in_terminal("--store", "memory:", "check", **no_color)
    child.expect(pexpect.EOF)

    assert "one process" in child.before
    assert bool(re.search(r"\x1b\[[\d;]*3\d", child.before)) is not bool(no_color)
    assert "\x1b" not in run("--store", "memory:", "check").stdout


def test_a_terminal_gets_a_table(site: Site) -> None:
    """In columns, and without what a user id would do to it."""
    site.begin("alice\x1b]0;mine\x07")
    child = in_terminal("--store", site.url, "list")
    child.expect(pexpect.EOF)

    assert "alice\\x1b]0;mine\\x07" in child.before
    assert "\t" not in child.before
    assert "\x07" not in child.before


def slowly(site: Site, tmp_path: Path, *arguments: str) -> "pexpect.spawn[str]":
    """Run the command on a store that takes its time."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    return spawned(str(script), site.url, *arguments, env=environ())


@pytest.mark.parametrize("command", [["revoke-user", "alice"], ["revoke-everybody"]], ids=" ".join)
def test_what_is_interrupted_says_what_was_done_and_goes_on(site: Site, tmp_path: Path, command: list[str]) -> None:
    """Each session ends once: what the first run has ended and what the second one has are all."""
    for _ in range(MANY):
        site.begin("alice")
    child = slowly(site, tmp_path, *command, "--yes")
    child.expect(r"ending .*/s")
    child.sendintr()
    child.expect(r"ended (\d+)\s")
    first = int(child.match[1])
    child.expect_exact("interrupted: run it again to go on")
    assert code(child) == 130
    assert 0 < first < MANY

    second = run("--store", site.url, *command, "--yes")
    assert second.returncode == 0
    # The one in work when it was interrupted may have ended uncounted.
    assert first + int(second.stdout.split()[1]) in (MANY - 1, MANY)


def test_counting_that_is_interrupted_shows_what_it_has(site: Site, tmp_path: Path) -> None:
    """And says that it is not all."""
    for _ in range(MANY):
        site.begin("alice")
    child = slowly(site, tmp_path, "stats")
    child.expect(r"counting .*/s")
    child.sendintr()
    child.expect(r"alive\s+(\d+)\s")
    assert 0 < int(child.match[1]) < MANY
    child.expect_exact("interrupted: these are not all sessions")

    assert code(child) == 130


def test_watching_ends_by_ctrl_c(site: Site) -> None:
    """Which is no failure."""
    child = in_terminal("--store", site.url, "watch", "--every", "0.1s", "--times", "1000")
    seen = False
    while not seen:  # what is made before its first look is nothing new
        site.begin("alice")
        seen = child.expect([r"Created\s+\S+\s+alice", pexpect.TIMEOUT], timeout=1) == 0
    child.sendintr()

    assert code(child) == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_it(shell: str) -> None:
    """With click's own completion."""
    words = "session-middleware revoke-"
    word = "revoke-" if shell == "fish" else "1"
    done = run(_SESSION_MIDDLEWARE_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=word)

    assert "revoke-everybody" in done.stdout
    assert "stats" not in done.stdout
