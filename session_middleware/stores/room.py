"""Bounds how many connections a store has to a server. It knows no connection."""

import os
import time
from threading import Semaphore

from session_middleware.exceptions import ConfigurationError


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
