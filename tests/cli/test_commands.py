"""Each command in a process of its own, on every kind of store that can do it."""

import json
import os
import subprocess
import sys

import pytest

from session_middleware import SessionManager
from tests.cli.running import HOUR, LONG, Site, environ, result, run

LISTED = ["sqlite", "redis", "postgresql"]
EVERY = [*LISTED, "memcached"]

on_every_store = pytest.mark.parametrize("site", EVERY, indirect=True)
on_stores_with_lists = pytest.mark.parametrize("site", LISTED, indirect=True)
on_memcached = pytest.mark.parametrize("site", ["memcached"], indirect=True)


@on_every_store
def test_check_tells_what_there_is(site: Site) -> None:
    """In words, and as JSON; nothing is wrong with these."""
    site.begin()
    done = run("--store", site.url, "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "latency\t" in done.stdout

    health = result(run("check", "--json", SESSION_STORE=site.url))
    assert health["ok"]
    assert health["kind"] == done.stdout.partition("store\t")[2].partition("\n")[0]


@on_every_store
def test_a_session_is_shown_and_ended_by_its_id(site: Site) -> None:
    """With names and sizes; the values come when they are asked for, and the token never."""
    key = site.begin("alice", data={"cart": ["a book"], "n": 1})
    shown = run("--store", site.url, "show", key)
    assert shown.returncode == 0
    assert "user\talice" in shown.stdout
    assert "cart\t8" in shown.stdout
    assert "a book" not in shown.stdout

    told = result(run("--store", site.url, "show", key, "--values", "--json"))
    assert (told["id"], told["user_id"]) == (key, "alice")
    assert told["values"] == {"cart": "['a book']", "n": "1"}
    assert not [secret for secret in site.secrets() if secret in f"{shown.stdout}{told}"]

    ended = run("--store", site.url, "revoke", key, "A" * 12, "--yes")
    assert (ended.returncode, ended.stdout) == (1, "ended 1\n")
    assert "there is no session 'AAAAAAAAAAAA'" in ended.stderr
    assert site.lives(key) == [False]
    assert run("--store", site.url, "show", key).returncode == 1


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_devices_are_shown_where_they_are_kept(site: Site) -> None:
    """In the list, and of one session; as JSON, too, and with nothing that a terminal obeys."""
    manager = SessionManager(site.url)
    session = manager.open()
    session.describe = lambda before: "Firefox on \x1b[2JUbuntu"
    session.login("alice")
    manager.commit(session)
    without = site.begin("bob")

    listed = [line.split("\t") for line in run("--store", site.url, "list").stdout.splitlines()]
    assert {row[0]: row[-1] for row in listed[1:]} == {session.id: "Firefox on \\x1b[2JUbuntu", without: ""}
    shown = run("--store", site.url, "show", session.id).stdout
    assert "device\tFirefox on \\x1b[2JUbuntu\n" in shown
    assert "device" not in run("--store", site.url, "show", without).stdout
    told = result(run("--store", site.url, "list", "--user", "alice", "--json"))[0]
    assert told["device"] == result(run("--store", site.url, "show", session.id, "--json"))["device"]
    assert result(run("--store", site.url, "show", without, "--json"))["device"] is None


@on_stores_with_lists
def test_sessions_are_listed_and_counted(site: Site) -> None:
    """All, those of a user, those that nobody uses; by age, by size and by user."""
    old, ids = site.begin("alice", ago=3 * HOUR), [site.begin("alice"), site.begin("bob"), site.begin()]

    listed = run("--store", site.url, "list")
    assert listed.stdout.splitlines()[0].split("\t") == ["id", "user", "age", "idle", "ends in", "bytes", "device"]
    assert {line.split("\t")[0] for line in listed.stdout.splitlines()[1:]} == {old, *ids}
    alice = [session["id"] for session in result(run("--store", site.url, "list", "--user", "alice", "--json"))]
    assert alice == [ids[0], old]
    assert [session["id"] for session in result(run("--store", site.url, "list", "--idle", "1h", "--json"))] == [old]

    stats = run("--store", site.url, "stats")
    assert "alive\t4" in stats.stdout
    counted = result(run("--store", site.url, "stats", "--json"))
    assert (counted["alive"], counted["signed_in"], counted["users"]) == (4, 3, 2)
    assert counted["most_sessions"][0] == {"user": "alice", "sessions": 2}
    assert (counted["age"]["up to 1 d"], counted["idle"]["up to 1 d"]) == (1, 1)
    assert counted["bytes"]["p50"] <= counted["bytes"]["p99"] <= counted["bytes"]["largest"]
    assert not [secret for secret in site.secrets() if secret in f"{listed.stdout}{stats.stdout}{counted}"]


@on_stores_with_lists
def test_the_sessions_of_a_user_end_and_then_all(site: Site) -> None:
    """But the one to keep; others are not touched before it is their turn."""
    kept, gone, bob, nobody = site.begin("alice"), site.begin("alice"), site.begin("bob"), site.begin()

    done = run("--store", site.url, "revoke-user", "alice", "--keep", kept, "--yes")
    assert (done.returncode, done.stdout) == (0, "ended 1\n")
    assert site.lives(kept, gone, bob, nobody) == [True, False, True, True]

    assert result(run("--store", site.url, "revoke-everybody", "--yes", "--json")) == {"ended": 3}
    assert site.lives(kept, bob, nobody) == [False, False, False]


@pytest.mark.parametrize("site", ["sqlite", "postgresql"], indirect=True)
def test_what_has_expired_is_swept(site: Site) -> None:
    """And nothing else."""
    live = site.begin()
    for _ in range(3):
        site.begin(ago=1000 * HOUR)

    swept = result(run("--store", site.url, "sweep", "--json"))
    assert 0 <= swept["removed"] <= 3  # making sessions sweeps, too
    assert result(run("--store", site.url, "sweep", "--json")) == {"removed": 0}
    assert site.lives(live) == [True]


@pytest.mark.parametrize("site", ["postgresql"], indirect=True)
def test_the_schema_is_printed(site: Site) -> None:
    """What SQLAlchemyStore.ddl() returns."""
    assert run("--store", site.url, "schema").stdout == site.store.ddl()


@on_memcached
@pytest.mark.parametrize("command", [["list"], ["stats"], ["revoke-everybody", "--yes"], ["revoke-user", "u", "--yes"]])
def test_what_a_store_cannot_do_is_a_wrong_use(site: Site, command: list[str]) -> None:
    """2, and what it cannot."""
    done = run("--store", site.url, *command)

    assert (done.returncode, done.stdout) == (2, "")
    assert "MemcachedStore " in done.stderr


def test_a_store_that_is_away_ends_with_3() -> None:
    """But for check, whose finding that is."""
    url = "redis://127.0.0.1:1/0"
    listed, checked = run("--store", url, "list"), run("--store", url, "check", "--json")

    assert (listed.returncode, listed.stdout) == (3, "")
    assert listed.stderr.startswith("Error: 127.0.0.1:1/0: ")
    assert checked.returncode == 1
    assert json.loads(checked.stdout)["result"]["findings"][0]["name"] == "unreachable"


@pytest.mark.parametrize(
    "command",
    [
        ["list", "--limit", "0"],
        ["list", "--json"],
        ["stats"],
        ["check"],
        ["plan", "--users", "10", "--requests", "1"],
        ["watch", "--every", "0", "--log", "/dev/stdin", "--from-start"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_pipe_that_is_closed_early_ends_with_1(site: Site, command: list[str]) -> None:
    """As by head: without a word, as all that is made with click."""
    site.begin()
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "session_middleware", "--store", site.url, *command],
        env=environ(),
        input=json.dumps({"event": "Ended", "at": 1}) + "\n",
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LONG,
        check=False,
    )
    os.close(writing)

    assert (done.returncode, done.stderr) == (1, "")


def test_what_a_pipe_has_taken_is_there(site: Site) -> None:
    """The first line, for head."""
    for _ in range(300):
        site.begin(data={"long": "x" * 100})
    command = f"{sys.executable} -m session_middleware --store {site.url} list --limit 0 | head -n 1"
    done = subprocess.run(["sh", "-c", command], env=environ(), capture_output=True, text=True, timeout=LONG, check=False)

    assert (done.stdout, done.stderr) == ("id\tuser\tage\tidle\tends in\tbytes\tdevice\n", "")
