"""What a site asks of its store each second: arithmetic over its requests and the lifetime of its sessions. No I/O."""

import math
from typing import NamedTuple

from session_middleware.exceptions import ConfigurationError
from session_middleware.frozen import Frozen
from session_middleware.lifetime import Lifetime, touch_interval

_RESPONSE = 0.1
"""How long a thread is busy with a request (seconds), if nobody says how many threads there are."""

_MARK_LOADS = 2
"""A sign-in looks twice whether the user was signed out everywhere meanwhile."""


class Site(Frozen):
    """What is known of a site.

    ``users``: how many have a session at the same time, each ``sessions_per_user``; ``signed_in`` is the share of the
    sessions that are of a user, the others are anonymous. ``requests``: those a second that touch the session, at the
    busiest time. ``session``: bytes of a record, about 100 more than the values of the application. ``writes``: the share of
    the requests that change the session. ``pace``: seconds between two requests of somebody who is there. ``threads``: those
    of all processes of the site; if it is left out, as many as requests of 0.1 s keep busy.

    Raise :exc:`ConfigurationError` for what cannot be; also for more sessions than so few requests keep alive.
    """

    users: float
    requests: float
    session: int
    sessions_per_user: float
    signed_in: float
    writes: float
    pace: float
    lifetime: Lifetime
    threads: int

    def __init__(
        self,
        *,
        users: float,
        requests: float,
        session: int = 1200,
        sessions_per_user: float = 1.0,
        signed_in: float = 1.0,
        writes: float = 0.2,
        pace: float = 20.0,
        lifetime: Lifetime = Lifetime.AAL2,
        threads: int | None = None,
    ) -> None:
        positive = {"users": users, "requests": requests, "session": session, "sessions_per_user": sessions_per_user}
        for name, value in {**positive, "pace": pace, "threads": 1 if threads is None else threads}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ConfigurationError(f"{name}={value!r}: write a number above 0")
        for name, value in (("signed_in", signed_in), ("writes", writes)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ConfigurationError(f"{name}={value!r}: write a share, from 0 to 1")
        if threads is None:
            threads = math.ceil(requests * _RESPONSE)
        vars(self).update(
            users=users,
            requests=requests,
            session=session,
            sessions_per_user=sessions_per_user,
            signed_in=signed_in,
            writes=writes,
            pace=pace,
            lifetime=lifetime,
            threads=threads,
        )
        ends_after = lifetime.absolute if lifetime.idle is None else lifetime.idle
        if pace >= ends_after:
            raise ConfigurationError(f"pace={pace!r}: sessions end between two requests; write less than {ends_after:g}")
        if users * sessions_per_user >= requests * ends_after:
            raise ConfigurationError(
                f"{requests:g} requests a second keep fewer than {requests * ends_after:,.0f} sessions alive:"
                " users are those who have a session at the same time, and requests those at the busiest time"
            )


class Rates(NamedTuple):
    """What a site has, and what it asks of its store; all but the first two, and ``lives``, a second."""

    sessions: float
    """Sessions alive."""
    active: float
    """Those of them whose user is there."""
    lives: float
    """How long a session lives (seconds), from its first request to its end."""
    new: float
    """Sessions that begin; as many end."""
    loads: float
    """Records read: one for each request but the first of a session, and two marks for a sign-in."""
    changes: float
    """Records written because a request changed the session."""
    touches: float
    """Records written because a session that was only read had not been noted as used for a while."""

    @property
    def writes(self) -> float:
        """All that is written, but for removals."""
        return self.new + self.changes + self.touches


def rates(site: Site) -> Rates:
    """Return what the site asks of its store, on an average of its busiest time.

    People come at random, make requests at random every ``pace`` seconds for a while, and leave without signing out.
    """
    sessions = site.users * site.sessions_per_user
    idle, absolute, pace = site.lifetime.idle, site.lifetime.absolute, site.pace
    # A session is in use for the share active / sessions of its life, and then idle until its timeout. It begins with a
    # request, after which there is one every pace seconds while it is in use.
    lives = absolute
    active = min(sessions, pace * (site.requests - sessions / absolute))
    if idle is not None:
        rather = min(sessions, pace * (site.requests - sessions / idle) / (1 - pace / idle))
        if rather < sessions and idle / (1 - rather / sessions) < absolute:
            active, lives = rather, idle / (1 - rather / sessions)
    new = sessions / lives
    others = site.requests - new
    interval = touch_interval(idle)
    # It begins with a record that was just written: on an average half an interval passes without a note.
    stays = lives * active / sessions
    noting = max(0.0, 1 - interval / (2 * stays))
    return Rates(
        sessions,
        active,
        lives,
        new,
        loads=others + _MARK_LOADS * site.signed_in * new,
        changes=others * site.writes,
        touches=_touches(others / active, site.writes, interval) * active * noting,
    )


def _touches(pace: float, share: float, interval: float) -> float:
    """Return how often a second a session is noted as used: by a read that finds the latest write an *interval* ago.

    *pace*: requests a second; *share*: of writes among them. Between two writes of either kind there is a first part, of at
    most the interval, that only a change ends, and a second part, that any request ends.
    """
    changing = pace * share
    still_fresh = math.exp(-changing * interval)
    first_part = (1 - still_fresh) / changing if changing else interval
    return (1 - share) * still_fresh / (first_part + still_fresh / pace)
