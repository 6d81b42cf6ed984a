"""Bounds how many connections a store has to a server, and for how long it keeps them. It knows no protocol."""

import os
import time
from collections.abc import MutableSequence
from threading import Semaphore
from typing import Protocol, TypeVar

from session_middleware.exceptions import ConfigurationError


class Resting(Protocol):
    """A connection that is not in use; ``deadline`` is that of the verb that used it last."""

    deadline: float

    def close(self) -> None: ...


R = TypeVar("R", bound=Resting)


def close_resting(idle: MutableSequence[R], since: float) -> None:
    """Close the connections that nobody has used *since* then (``time.monotonic``).

    After a burst those at the bottom would stay for good, for the last one used is always taken first.
    """
    try:
        while idle[0].deadline < since:
            # If another thread was faster this is one that was used just now: that costs another connection, no more.
            idle.pop(0).close()
    except IndexError:
        pass


def checked_bound(max_connections: object) -> int | None:
    """Return *max_connections* if it is a bound, or ``None``; raise :exc:`ConfigurationError` for anything else."""
    if max_connections is None:
        return None
    if isinstance(max_connections, bool) or not isinstance(max_connections, int) or max_connections < 1:
        raise ConfigurationError(f"max_connections={max_connections!r}: write how many, 1 or more, or leave it out")
    return max_connections


class Room:
    """Lets in at most *size* threads at once: each of them has a connection, and none is made that is not for one of them.

    A process that was forked has room of its own.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._pid = os.getpid()
        self._places = Semaphore(size)

    def enter(self, deadline: float) -> bool:
        """Wait for a place; return ``False`` if there was none by the *deadline* (of ``time.monotonic``)."""
        if self._pid != os.getpid():
            self._pid, self._places = os.getpid(), Semaphore(self.size)
        return self._places.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def leave(self) -> None:
        """Give the place back."""
        self._places.release()
