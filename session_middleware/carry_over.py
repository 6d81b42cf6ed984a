"""What the middleware asks of whoever reads the sessions of another library, so a move signs nobody out. It reads none."""

from typing import Any, NamedTuple, Protocol


class Carried(NamedTuple):
    """What a session of another library holds. ``persistent``: its cookie outlives the browser.

    ``idle`` and ``absolute`` (seconds, above 0): that this one session was to last so long unused, or from now on in any
    case. Without them it lasts as new sessions do.
    """

    data: dict[str, Any]
    user_id: str | None = None
    persistent: bool = False
    idle: float | None = None
    absolute: float | None = None


class OldSession(Protocol):
    """A session of another library that a request names. Nothing has been looked up yet."""

    @property
    def secret(self) -> str:
        """What opens it there, always the same, and known to the browser alone: of a signed cookie the whole value.

        Our token is made of it, so it must be as hard to guess as a token. It is neither stored nor logged here.
        """
        ...

    def read(self, now: float) -> Carried | None:
        """Return what it holds, ``None`` if it is not there or has timed out at *now* (epoch seconds).

        Raise :exc:`PayloadError`, which says what to do about it, if it cannot be carried over, and
        :exc:`StoreUnavailable` if its store cannot be asked.
        """
        ...

    def remove(self) -> None:
        """Remove it; nothing if it is not there. Raise :exc:`StoreUnavailable` if that is not certain."""
        ...


class CarryOver(Protocol):
    """Finds the sessions of another library. It may be used by any number of threads, and after a fork."""

    @property
    def name(self) -> str:
        """The name of the other library's cookie."""
        ...

    @property
    def path(self) -> str: ...

    @property
    def domain(self) -> str | None: ...

    def find(self, header: object) -> OldSession | None:
        """Return the session that a ``Cookie`` header names; ``None`` if it names none, or none for certain.

        It never raises and asks no store. What the other library signed is verified.
        """
        ...

    def deletion_header(self) -> str:
        """Return the value of the ``Set-Cookie`` that removes the other library's cookie."""
        ...
