"""Every command, as a person runs it, on stores with 100,000 sessions."""

import json
from pathlib import Path
from typing import Any

import pexpect
import pytest

from session_middleware import SQLiteStore
from tests import gates
from tests.cli.loading import load, sessions
from tests.cli.running import Site, in_terminal, result, run
from tests.cli.test_terminal import code

pytestmark = [pytest.mark.soak, pytest.mark.unmeasured]

MANY = 100_000
OF_ALICE = 50_000
LEFT = MANY - OF_ALICE + 1
"""What there is when all of hers but one have ended."""
MARKS = 2
"""What is copied beside sessions: the marks of two users who were signed out everywhere."""
EXPIRED = 2_500
UNCOUNTED = 100
"""Of a batch that was in work when it was interrupted, it may not be known whether it was done."""


@pytest.fixture
def full(site: Site) -> Site:
    """A site with very many sessions: half of them of alice, a tenth of nobody, the others each of somebody else."""
    site.manager.find("A" * 12)  # which makes what the store needs
    load(site.url, sessions(["alice"] * OF_ALICE, ago=1200))
    load(site.url, sessions([f"user-{n}" if n % 5 else None for n in range(MANY - OF_ALICE)]))
    if "memcached" not in site.url and "redis" not in site.url:
        load(site.url, sessions([None] * EXPIRED, ago=10**7))
    return site


def told(site: Site, *arguments: str) -> Any:
    """Run a command for programs; return the result. There is nothing beside the envelope."""
    done = run("--store", site.url, *arguments, "--json")
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["command"] == arguments[0]
    return result(done)


def printed(site: Site, *arguments: str) -> list[str]:
    """Run a command for people, in a pipe; return the lines."""
    done = run("--store", site.url, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    return done.stdout.splitlines()


def interrupted(what: str, after: int, *arguments: str) -> int:
    """Run a command in a terminal, and interrupt it when it is so far; return how far it says that it has come."""
    child = in_terminal(*arguments)
    child.expect(rf"{what} .*/s")
    while True:
        child.expect(r"([\d,]+) +[\d,]+/s")
        if int(child.match[1].replace(",", "")) >= after:
            break
    child.sendintr()
    child.expect(r"(?:ended|copied|alive) +([\d,]+)\s")
    number = int(child.match[1].replace(",", ""))
    child.expect("interrupted: ")
    assert code(child) == 130
    return number


def look(site: Site) -> None:
    """Run all that changes nothing."""
    assert told(site, "check")["ok"]
    stats = told(site, "stats", "--users", "1")
    assert (stats["alive"], stats["signed_in"], stats["users"]) == (MANY, 90_000, 40_001)
    assert stats["most_sessions"] == [{"user": "alice", "sessions": OF_ALICE}]
    assert stats["idle"]["up to 1 h"] == OF_ALICE
    assert len(told(site, "list")) == 50
    assert len(printed(site, "list", "--limit", "0")) == MANY + 1
    assert {one["user"] for one in told(site, "list", "--idle", "15m", "--limit", "1000")} == {"alice"}
    assert len(told(site, "list", "--user", "alice", "--limit", "0")) == OF_ALICE
    (one,) = told(site, "list", "--user", "user-1")
    assert told(site, "show", one["id"], "--values")["values"] == {"cart": "['a book']", "n": "1"}
    assert "n\t1\t1" in printed(site, "show", one["id"], "--values")


def end(site: Site) -> None:
    """End a few, those of a user, and what has expired."""
    keep, gone = (one["id"] for one in told(site, "list", "--user", "alice", "--limit", "2"))
    assert told(site, "revoke", gone, "--yes") == {"ended": [gone], "absent": []}
    first = interrupted("ending", 5_000, "--store", site.url, "revoke-user", "alice", "--keep", keep, "--yes")
    second = told(site, "revoke-user", "alice", "--keep", keep, "--yes")["ended"]
    assert 0 <= OF_ALICE - 2 - first - second <= UNCOUNTED
    assert min(first, second) > 0
    assert [one["id"] for one in told(site, "list", "--user", "alice")] == [keep]
    if "memcached" not in site.url and "redis" not in site.url:
        assert 0 < told(site, "sweep")["removed"] <= EXPIRED  # listing does not, but ending may sweep
    assert told(site, "sweep") == {"removed": 0}


@pytest.mark.parametrize("site", gates.full(["sqlite"], ["sqlite", "redis", "postgresql", "mariadb"]), indirect=True)
def test_every_command_does_its_work_with_very_many(full: Site, tmp_path: Path) -> None:
    """What is long can be interrupted, and goes on: nothing is ended or copied twice, and nothing is left."""
    look(full)
    watched = in_terminal("--store", full.url, "watch", "--every", "0.1s")
    seen = False
    while not seen:  # its first look takes its time
        key = full.begin("carol")
        seen = watched.expect_exact([f"Created\t{key}\tcarol", pexpect.TIMEOUT], timeout=10) == 0
    watched.sendintr()
    assert code(watched) == 0
    told(full, "revoke-user", "carol", "--yes")
    schema = run("--store", full.url, "schema")
    assert schema.returncode == (0 if hasattr(full.store, "ddl") else 2)
    end(full)

    everybody = "--store", full.url, "revoke-everybody", "--yes"
    ended = interrupted("ending", LEFT - 20_000, *everybody)
    target = tmp_path / "new.sqlite3"
    SQLiteStore(target).open()
    way = full.url, f"sqlite:///{target}"
    first = interrupted("copying", 200, "copy", *way)
    rest = result(run("copy", *way, "--json"))
    assert rest["left"] == 0
    assert 0 <= LEFT + MARKS - ended - first - rest["copied"] <= 2 * UNCOUNTED
    full.url = f"moving:{way[1]} {way[0]}"
    moved = told(full, "stats")["alive"]
    assert 0 <= moved - (first + rest["copied"] - MARKS) <= 1
    assert told(full, "revoke-everybody", "--yes") == {"ended": moved}
    assert told(full, "list") == []


@pytest.mark.parametrize("site", ["memcached"], indirect=True)
def test_what_memcached_cannot_do_is_refused_however_many_there_are(site: Site) -> None:
    """What needs no list is done."""
    load(site.url, sessions(["alice"] * 10_000))
    key = site.begin("alice")
    for command in ("stats", "list", "list --user alice", "watch", "schema", "revoke-everybody", "revoke-user alice"):
        done = run("--store", site.url, *command.split(), *["--yes"] * command.startswith("revoke"))
        assert (done.returncode, done.stdout) == (2, ""), command
        assert "Error: " in done.stderr
    assert run("copy", site.url, "memory:").returncode == 2
    assert told(site, "check")["ok"]
    assert told(site, "show", key)["user_id"] == "alice"
    assert told(site, "sweep") == {"removed": 0}
    assert told(site, "revoke", key, "--yes")["ended"] == [key]
