"""What a site asks of its store: the arithmetic, and a site that is played through."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from session_middleware import ConfigurationError, Lifetime
from session_middleware.capacity import Site, rates
from tests.capacity.simulation import Seen

A_SITE: dict[str, Any] = {"users": 2_000_000, "requests": 5000, "session": 1200}


@pytest.mark.parametrize(
    "site",
    [
        Site(users=300, requests=1.0),
        Site(users=200, requests=1.0, writes=0.02, pace=5, signed_in=0.3),
        Site(users=100, requests=1.0, writes=0.5, lifetime=Lifetime(idle=None, absolute=timedelta(hours=1))),
    ],
    ids=["usual", "readers", "no idle timeout"],
)
def test_a_site_that_is_played_through_asks_what_was_reckoned(site: Site) -> None:
    """Real sessions on a clock that is set by hand: visits, reads, writes, notes of a use, ends and sweeps."""
    seen, expected = Seen(site, lives=4, seed=1), rates(site)

    assert seen.sessions == pytest.approx(expected.sessions, rel=0.1)
    assert seen.a_second["create"] == pytest.approx(expected.new, rel=0.1)
    assert seen.a_second["load"] == pytest.approx(expected.loads, rel=0.1)
    assert seen.a_second["changes"] == pytest.approx(expected.changes, rel=0.1)
    assert seen.a_second["create"] + seen.a_second["update"] == pytest.approx(expected.writes, rel=0.1)
    # As many end as begin, and hardly more are held than live.
    assert seen.a_second["swept"] == pytest.approx(expected.new, rel=0.1)
    assert seen.held - seen.sessions < 50


def test_a_session_lives_from_its_first_request_to_its_idle_timeout() -> None:
    """As long as its user is there, and then an hour; as many begin as are needed to keep so many alive."""
    found = rates(Site(**A_SITE))

    assert found.sessions == 2_000_000
    assert found.new * found.lives == pytest.approx(found.sessions)
    assert found.lives * found.active / found.sessions + 3600 == pytest.approx(found.lives)
    assert found.new + found.active / 20 == pytest.approx(5000)


def test_the_absolute_timeout_bounds_its_life() -> None:
    """Of somebody who is always there, and of everybody where there is no idle timeout."""
    always_there = rates(Site(users=10_000, requests=5000, lifetime=Lifetime(idle=3600, absolute=7200)))
    month = rates(Site(users=2_000_000, requests=5000, lifetime=Lifetime.AAL1))

    assert always_there.active == always_there.sessions == 10_000
    assert always_there.lives == 7200
    assert month.lives == 30 * 86400


def test_who_writes_at_every_request_needs_no_note_of_a_use() -> None:
    """And the fewer writes, the more notes: at most one a minute and session."""
    touches = [rates(Site(**A_SITE, writes=share)).touches for share in (0, 0.1, 0.5, 0.9, 1)]

    assert all(more > less for more, less in pairwise(touches))
    assert touches[-1] == 0
    assert touches[0] < rates(Site(**A_SITE)).active / 60


def test_several_sessions_of_a_user_are_as_many_sessions() -> None:
    """A telephone and a computer."""
    assert rates(Site(**A_SITE, sessions_per_user=2)).sessions == 4_000_000


def test_threads_are_as_many_as_the_requests_keep_busy() -> None:
    """Unless it is said how many there are."""
    assert Site(**A_SITE).threads == 500
    assert Site(**A_SITE, threads=64).threads == 64


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"users": 0}, "users=0: write a number above 0"),
        ({"requests": -1}, "requests=-1: write a number above 0"),
        ({"session": float("nan")}, "session=nan: write a number above 0"),
        ({"pace": "fast"}, "pace='fast': write a number above 0"),
        ({"threads": True}, "threads=True: write a number above 0"),
        ({"writes": 1.5}, "writes=1.5: write a share, from 0 to 1"),
        ({"signed_in": None}, "signed_in=None: write a share, from 0 to 1"),
        ({"requests": 500}, "500 requests a second keep fewer than 1,800,000 sessions alive: users are"),
        ({"pace": 3600}, "pace=3600: sessions end between two requests; write less than 3600"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any], says: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigurationError, match=says.replace("(", r"\(")):
        Site(**{**A_SITE, **wrong})
