"""One event of each kind."""

from session_middleware.events import (
    Asked,
    BindingRefused,
    Bound,
    Conflict,
    Created,
    Damaged,
    Ended,
    Event,
    Regenerated,
    Renewed,
    Replayed,
    SignedIn,
    StoreFailed,
    StoreRecovered,
    SweepDone,
    TooManyCookies,
    Unproven,
)

AT = 1_800_000_000.5

EACH: list[Event] = [
    Created(at=AT, session_id="a"),
    SignedIn(at=AT, session_id="a", user_id="alice"),
    Renewed(at=AT, session_id="a"),
    Regenerated(at=AT, session_id="a"),
    Ended(at=AT, session_id="a", reason="revoked"),
    Replayed(at=AT, session_id="a"),
    Bound(at=AT, session_id="a", user_id="alice"),
    Unproven(at=AT, session_id="a", user_id="alice", why="no cookie proves it", refused=True),
    BindingRefused(at=AT, session_id="a", why="it is too late"),
    TooManyCookies(at=AT, count=9),
    Damaged(at=AT, session_id="a", why="too short"),
    Conflict(at=AT, session_id="a", why="kept changing"),
    StoreFailed(at=AT, error="away"),
    StoreRecovered(at=AT, requests=7, seconds=2.0),
    SweepDone(at=AT, removed=5, seconds=0.25),
    Asked(at=AT, session_id="a", verb="load", seconds=0.5, outcome="done"),
    Asked(at=AT, session_id="a", verb="load", seconds=0.25, outcome="failed"),
]
