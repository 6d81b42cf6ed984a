"""What happens to sessions, as observers are told of it. It knows nothing of how it came about.

No event holds a token, a secret or a value of a session. Times are epoch seconds.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Reason: TypeAlias = Literal[
    "signed_out",
    "replaced",
    "revoked",
    "signed_out_everywhere",
    "revoked_everybody",
    "replayed",
    "limit",
    "expired",
    "expired_idle",
    "expired_absolute",
]
"""Why a session has ended: by ``invalidate()``; by a sign-in of the same request, in another session; by ``revoke()`` or
``revoke_alias()``; by ``revoke_all()``; by ``revoke_everybody()``; because somebody came with an old secret
(``on_replay="end"``); because its user has more than ``max_per_user`` allows; by its time, of which a sweep knows no more;
unused for too long; at its absolute end."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something has happened at the time *at*. *session_id* and *user_id* are ``None`` where it concerns none, or an unknown
    one."""

    at: float
    session_id: str | None = None
    user_id: str | None = None

    @property
    def name(self) -> str:
        """What kind of event it is, such as ``"SignedIn"``."""
        return type(self).__name__


@dataclass(frozen=True, kw_only=True)
class Created(Event):
    """A session is in the store for the first time. *carried*: it was one of another library until now."""

    carried: bool = False


@dataclass(frozen=True, kw_only=True)
class SignedIn(Event):
    """``login()`` is stored. A session that it has made was :class:`Created` before."""


@dataclass(frozen=True, kw_only=True)
class Regenerated(Event):
    """The session has a new secret because the application asked; the old one is dead."""


@dataclass(frozen=True, kw_only=True)
class Renewed(Event):
    """The session has a new secret because time has passed; the old one works until the new one has been used."""


@dataclass(frozen=True, kw_only=True)
class Ended(Event):
    """The session is gone. It is told once, by whoever removed it from the store.

    What a store removes by itself, to make room or because its time is over, is not told. Nor is an end if the answer of the
    store was lost.
    """

    reason: Reason


@dataclass(frozen=True, kw_only=True)
class Replayed(Event):
    """Somebody came with an old secret, whose successor has been used: a copy of the cookie, or a very late request."""


@dataclass(frozen=True, kw_only=True)
class Bound(Event):
    """The session is bound to the device that has signed in."""


@dataclass(frozen=True, kw_only=True)
class Unproven(Event):
    """A request for a bound session has come without the proof that it is from its device. *refused*: it got no session."""

    why: str
    refused: bool


@dataclass(frozen=True, kw_only=True)
class BindingRefused(Event):
    """What a browser has sent to bind a session, or to prove that it is the device, was refused."""

    why: str


@dataclass(frozen=True, kw_only=True)
class TooManyCookies(Event):
    """A request has brought *count* different cookies of the session's name; not all of them were looked at."""

    count: int


@dataclass(frozen=True, kw_only=True)
class Damaged(Event):
    """The record of a session cannot be read, and is left alone. *why* quotes nothing of it."""

    why: str


@dataclass(frozen=True, kw_only=True)
class Conflict(Event):
    """What a request has changed is not stored: the session ``"kept changing"``, it has ``"ended"``, or someone has
    ``"signed in"`` meanwhile."""

    why: Literal["kept changing", "ended", "signed in"]


@dataclass(frozen=True, kw_only=True)
class StoreFailed(Event):
    """The store begins to fail requests. *error* is the text of the first failure."""

    error: str


@dataclass(frozen=True, kw_only=True)
class StoreRecovered(Event):
    """The store answers again; it has failed *requests* requests in *seconds* seconds."""

    requests: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SweepDone(Event):
    """A sweep has removed *removed* expired records, in *seconds* seconds."""

    removed: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Asked(Event):
    """The store was asked. It has taken *seconds* seconds.

    *outcome*: ``"done"``; ``"absent"`` if there was nothing there, or a write was refused for what was; ``"failed"``. A
    listing is told of at its end, as one call.
    """

    verb: str
    seconds: float
    outcome: Literal["done", "absent", "failed"]


class Observer(Protocol):
    """Whoever wants to be told. It may be called by any number of threads."""

    def on(self, event: Event) -> None:
        """Take note of an event, after the store has answered and before the response leaves: whoever is slow here is slow
        for that request. What is raised is logged, once a minute, and changes no response."""
        ...
