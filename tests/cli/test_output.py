"""What is printed is safe to look at, and says what was done; what is asked is answered by somebody, or by ``--yes``."""

import json
from pathlib import Path
from typing import Any

import pytest

from session_middleware import MemoryStore, SessionManager
from session_middleware.cli import scan
from session_middleware.cli.group import COMMANDS, sessions
from session_middleware.cli.stats import Statistics
from session_middleware.cli.terminal import bars, duration, safe, seconds, size
from session_middleware.stores.base import Record
from session_middleware.testing import a_key
from tests.cli.running import Site, here
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
