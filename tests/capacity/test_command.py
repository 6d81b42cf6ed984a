"""``session-middleware plan``, as it is typed."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from session_middleware.capacity import STORES, Site, rates
from session_middleware.cli.group import sessions

A_SITE = ("--users", "2000000", "--requests", "5000/s", "--session", "1200B")


def planned(*arguments: str) -> Result:
    return CliRunner().invoke(sessions, ["plan", *arguments], prog_name="session-middleware")


def as_json(*arguments: str) -> Any:
    done = planned(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.output)["result"]


def test_each_store_has_its_paragraph() -> None:
    """With what it takes, what is asked of it, what to set, and where it ends."""
    lines = planned(*A_SITE).output.splitlines()

    assert lines[0].startswith("2,000,000 sessions alive, ")
    assert [line for line in lines if line in STORES] == list(STORES)
    for begins in ("asked", "ends"):
        assert len([line for line in lines if line.strip().startswith(begins)]) == len(STORES)
    assert any(line.split() == ["set", "maxmemory-policy", "noeviction"] for line in lines)


def test_one_store_can_be_asked_for() -> None:
    """And is alone then."""
    assert [one["store"] for one in as_json(*A_SITE, "--only", "redis")["plans"]] == ["redis"]


def test_a_cluster_says_how_many_servers() -> None:
    """Beside its name."""
    lines = planned("--users", "1G", "--requests", "1M/s", "--only", "redis").output.splitlines()

    assert any(line.startswith("redis, ") and line.endswith(" servers") for line in lines)


def test_json_has_the_rates_and_the_plans() -> None:
    """The numbers as they are, not rounded for people."""
    found, expected = as_json(*A_SITE), rates(Site(users=2e6, requests=5000, session=1200))

    assert found["rates"] == {**expected._asdict(), "writes": expected.writes}
    assert [one["store"] for one in found["plans"]] == list(STORES)


def test_the_lifetime_can_be_told() -> None:
    """In units; an idle timeout of 0 is none."""
    found = as_json(*A_SITE, "--idle", "0", "--absolute", "30d", "--pace", "1m", "--signed-in", "0.5", "--threads", "64")

    assert found["rates"]["lives"] == 30 * 86400
    assert {one["connections"] for one in found["plans"]} == {0, 64}


@pytest.mark.parametrize("text", ["2000000", "2,000,000", "2_000_000", "2M", "2000k", "2m/s"])
def test_numbers_are_read_as_people_write_them(text: str) -> None:
    """With a unit or without."""
    assert as_json("--users", text, "--requests", "5000")["rates"]["sessions"] == 2_000_000


def test_binary_units_are_of_1024() -> None:
    """For memory."""
    small, large = (as_json("--users", "20M", "--requests", "100k", "--server-memory", memory)
                    for memory in ("8GiB", "64GiB"))  # fmt: skip

    servers = [[one["servers"] for one in found["plans"] if one["store"] == "redis"] for found in (small, large)]
    assert servers[0] > servers[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--users", "many", "--requests", "5"), "write a number such as"),
        (("--users", "1.2.3", "--requests", "5"), "write a number such as"),
        (("--users", "2M", "--requests", "5"), "users are those who have a session at the same time"),
        (("--requests", "5"), "Missing option '--users'"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], says: str) -> None:
    """On stderr, with an exit code that is not 0."""
    done = planned(*arguments)

    assert done.exit_code != 0
    assert says in done.stderr
