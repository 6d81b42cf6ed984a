"""What is counted of events, under which names. It knows no library that counts."""

from collections.abc import Callable
from typing import Any, NamedTuple

from session_middleware.events import (
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


class Counted(NamedTuple):
    """A count. *label*: the field of the event that tells its parts apart, if any; *amount*: by how much it grows."""

    name: str
    help: str
    unit: str
    label: str | None = None
    amount: Callable[[Any], float] = lambda event: 1


COUNTS: dict[type[Event], Counted] = {
    Created: Counted("sessions_created", "Sessions that were stored for the first time.", "session"),
    SignedIn: Counted("sign_ins", "Sign-ins that were stored.", "sign-in"),
    Renewed: Counted("secrets_renewed", "Secrets that were replaced because time had passed.", "secret"),
    Regenerated: Counted("secrets_regenerated", "Secrets that were replaced because the application asked.", "secret"),
    Ended: Counted("sessions_ended", "Sessions that have ended.", "session", "reason"),
    Replayed: Counted("replays", "Requests with a secret whose successor has been used.", "request"),
    Bound: Counted("sessions_bound", "Sessions that were bound to a device.", "session"),
    Unproven: Counted("unproven_requests", "Requests for a bound session that did not prove its device.", "request"),
    BindingRefused: Counted("bindings_refused", "Registrations and refreshes of devices that were refused.", "request"),
    TooManyCookies: Counted("cookie_floods", "Requests with more session cookies than are looked at.", "request"),
    Damaged: Counted("damaged_records", "Times that a damaged record was read.", "record"),
    Conflict: Counted("conflicts", "Requests whose changes were not stored because of others.", "request", "why"),
    StoreFailed: Counted("store_outages", "Times that the store began to fail.", "outage"),
    StoreRecovered: Counted(
        "store_failed_requests",
        "Requests failed by the store, when it answers again.",
        "request",
        None,
        lambda it: it.requests,
    ),
    SweepDone: Counted("swept_records", "Expired records that sweeps have removed.", "record", None, lambda it: it.removed),
}

BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Bounds for the time of a call (seconds): from SQLite to a store that gives up."""
