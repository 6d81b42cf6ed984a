"""What is printed is safe to look at, and says what was done; what is asked is answered by somebody, or by ``--yes``."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from session_middleware import ConfigurationError, ConflictError, MemoryStore, SessionManager, StoreUnavailable
from session_middleware.cli import scan, terminal
from session_middleware.cli.group import COMMANDS, sessions
from session_middleware.cli.stats import Statistics
from session_middleware.cli.terminal import bars, duration, safe, seconds, size
from session_middleware.stores.base import Record
from session_middleware.testing import a_key
from tests.cli.running import LONG, Site, environ, here
from tests.sites import Bare


@pytest.mark.parametrize(
    ("thing", "expected"),
    [(None, ""), (3, "3"), ("aliçe 李", "aliçe 李"), ("a\x1b[31mb\n\u202e", "a\\x1b[31mb\\n\\u202e"), ("\t", "\\t")],
)
def test_nothing_is_printed_that_a_terminal_obeys(thing: object, expected: str) -> None:
    """A user id may be what a visitor has chosen."""
    assert safe(thing) == expected


@pytest.mark.parametrize(
    ("passed", "expected"),
    [(-1, "0 s"), (0.5, "0 s"), (59, "59 s"), (60, "1 min"), (3725, "1 h 2 min"), (90000, "1 d 1 h"), (86400, "1 d")],
)
def test_times_have_their_two_largest_units(passed: float, expected: str) -> None:
    """To be read at a glance."""
    assert duration(passed) == expected


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 B"), (999, "999 B"), (1200, "1.2 KB"), (5_000_000, "5 MB"), (2 * 10**12, "2 TB")]
)
def test_sizes_have_their_unit(number: int, expected: str) -> None:
    """Decimal ones."""
    assert size(number) == expected


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("15m", 900), ("1h", 3600), ("2d", 172800), ("7", 7), (2.0, 2)])
def test_times_are_read(text: object, expected: float) -> None:
    """As people write them."""
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "h", "-1h", "1w", "nan", "inf"])
def test_other_times_are_refused(text: str) -> None:
    """2, and what to write."""
    done = here("--store", "memory:", "list", "--idle", text)

    assert (done.exit_code, "write a time such as 90s, 15m, 1h or 2d" in done.output) == (2, True)


def test_a_bar_shows_a_share(capsys: pytest.CaptureFixture[str]) -> None:
    """The most has all of it, a little has a sliver, nothing has none."""
    bars("t", [("a", 1000), ("b", 1), ("c", 0)])

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "t"
    assert [line.count("█") for line in lines[1:]] == [30, 0, 0]
    assert [line.count("▏") for line in lines[1:]] == [0, 1, 0]


@pytest.mark.parametrize("command", [["revoke", "A" * 12], ["revoke-user", "alice"], ["revoke-everybody"]])
def test_without_a_terminal_nobody_is_asked(site: Site, command: list[str]) -> None:
    """Nothing is done."""
    key = site.begin("alice")
    done = here("--store", site.url, *command)

    assert (done.exit_code, "write --yes" in done.output) == (2, True)
    assert site.lives(key) == [True]


def test_the_session_of_nobody_is_shown(site: Site) -> None:
    """And what is long is cut."""
    key = site.begin(data={"long": "x" * 1000})
    shown = here("--store", site.url, "show", key, "--values").output

    assert "user\tnobody" in shown
    assert "xxx..." in shown
    assert "signed in" not in shown


def test_values_of_another_codec_are_read(site: Site) -> None:
    """--codec says which."""
    from session_middleware import JSONCodec

    manager = SessionManager(site.store, codec=JSONCodec())
    session = manager.open()
    session["a"] = [1]
    manager.commit(session)

    told = json.loads(here("--store", site.url, "--codec", "json", "show", session.id, "--json", "--values").output)
    assert told["result"]["values"] == {"a": "[1]"}


def test_a_list_is_as_long_as_it_is_wanted(site: Site) -> None:
    """0 is no limit."""
    for _ in range(3):
        site.begin()

    assert len(here("--store", site.url, "list", "--limit", "2").output.splitlines()) == 3
    assert len(here("--store", site.url, "list", "--limit", "0").output.splitlines()) == 4


def test_what_is_no_session_is_not_counted() -> None:
    """The mark of a user, what is damaged, and what has ended by the clock of the site."""
    store = MemoryStore()
    now = SessionManager(store).now()
    for value in (b"damaged", b""):
        store.create(a_key(), Record(value, int(now) + 100, None))
    old = SessionManager(store, clock=lambda: now - 7200)
    session = old.open()
    session.login("alice")
    old.commit(session)
    old.revoke_all("bob")  # which leaves a mark

    assert list(scan.all_sessions(SessionManager(store, clock=lambda: now))) == []
    assert list(scan.sessions_of(SessionManager(store, clock=lambda: now), "alice")) == []


def test_no_sessions_have_no_sizes() -> None:
    """And nothing is divided by nothing."""
    assert Statistics(0.0).size_at(0.5) is None


def test_a_store_without_lists_is_said_to_have_none() -> None:
    """How many there are, nobody knows."""
    manager = SessionManager(Bare())

    assert scan.how_many(manager) is None
    assert here("sweep", obj=lambda: manager).output == "removed 0\n"
    assert "keeps no table" in here("schema", obj=lambda: manager).output
    assert here("revoke-user", "u", "--yes", obj=lambda: manager).exit_code == 2


def test_a_strict_check_ends_with_1_for_a_warning() -> None:
    """Without it, warnings are words."""

    class Told(Bare):
        def health(self) -> Any:
            from session_middleware import Health

            return Health("Redis", tls=False, latency=1.0)

    manager = SessionManager(Told())
    lax, strict = (here("check", *flag, obj=lambda: manager) for flag in ([], ["--strict"]))

    assert (lax.exit_code, strict.exit_code) == (0, 1)
    assert "warning: What goes to the server" in lax.output
    assert "encrypted\tno" in lax.output


def test_the_schema_is_printed_without_a_server() -> None:
    """It connects to nothing."""
    told = json.loads(here("--store", "postgresql://nowhere/db", "schema", "--json").output)

    assert told["result"].startswith("CREATE TABLE")


def test_every_command_is_helped() -> None:
    """In the order in which they are listed, and each has a module; what is none is refused."""
    listed = here("--help").output
    assert [line.split()[0] for line in listed.partition("Commands:\n")[2].splitlines()] == list(COMMANDS)
    for name in COMMANDS:
        assert here(name, "--help").exit_code == 0
    modules = {path.stem for path in Path(scan.__file__).parent.glob("*.py")}
    assert {name.replace("-", "_") for name in COMMANDS} < modules
    assert here("no-such-command").exit_code == 2
    assert sessions.name == "sessions"


def test_a_terminal_gets_tables_and_progress(site: Site) -> None:
    """Which is what FORCE_COLOR asks for."""
    site.begin("alice")
    forced = {"FORCE_COLOR": "1", "COLUMNS": "120", "TERM": "xterm"}
    listed = here("--store", site.url, "list", env=forced)
    ended = here("--store", site.url, "revoke-user", "alice", "--yes", env=forced)

    assert "\t" not in listed.output
    assert "\x1b[1m" in listed.output
    assert "ended 1" in ended.output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnavailable("away"), 3),
        (ConfigurationError("wrong"), 2),
        (ConflictError("again"), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=str,
)
def test_what_is_raised_is_an_exit_code(error: BaseException, code: int) -> None:
    """And a line on stderr, without a traceback."""

    def manager() -> SessionManager:
        raise error

    done = here("list", obj=manager)
    assert (done.exit_code, done.output) == (code, f"Error: {str(error) or 'interrupted'}\n")


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1)])
def test_an_answer_is_heeded(site: Site, answer: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No is nothing done."""
    key = site.begin("alice")
    monkeypatch.setattr(terminal, "_somebody_is_here", lambda: True)

    assert here("--store", site.url, "revoke", key, input=answer).exit_code == code
    assert site.lives(key) == [code == 1]


@pytest.mark.parametrize("command", [["stats"], ["revoke-everybody", "--yes"]])
def test_an_interruption_is_in_the_envelope(command: list[str]) -> None:
    """What was done until then, and 130."""

    class Interrupted(MemoryStore):
        def keys(self) -> Iterator[str]:
            for number, key in enumerate(super().keys()):
                if number == 250:
                    raise KeyboardInterrupt
                yield key

    manager = SessionManager(Interrupted())
    for _ in range(300):
        session = manager.open()
        session["a"] = 1
        manager.commit(session)
    done = here(*command, "--json", obj=lambda: manager)
    envelope = json.loads(done.output.splitlines()[0])

    assert (done.exit_code, envelope["interrupted"]) == (130, True)
    assert next(iter(envelope["result"].values())) in (200, 250)


@pytest.mark.parametrize("library", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(library: str) -> None:
    """And there is no traceback."""
    program = f"import sys; sys.modules[{library!r}] = None; sys.argv = ['x', '--store', 'memory:', 'check']"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; from session_middleware.cli import main; main()"],
        env=environ(),
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )

    assert "pip install 'session-middleware[cli]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize("module", ["click", "session_middleware.cli.target", "session_middleware.cli.check"])
def test_an_interruption_before_there_is_a_command_is_130(module: str) -> None:
    """While Python still imports what it takes; without a traceback."""
    program = f"""
import os, signal, sys
from session_middleware.cli import main

class Interrupting:
    def find_spec(name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting)
sys.argv = ["session-middleware", "--store", "memory:", "check"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ(), capture_output=True, text=True, timeout=LONG, check=False
    )

    assert (done.returncode, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr
