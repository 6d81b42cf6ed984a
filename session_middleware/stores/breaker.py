"""Keeps requests from queueing for a server that is away. It knows no protocol and no verb."""

import time
from collections.abc import Callable
from typing import Final

from session_middleware.exceptions import StoreUnavailable

_PAUSE: Final = 0.3


class Breaker:
    """After a failure, lets one verb through every *pause* (seconds) and refuses the others at once, until one succeeds.

    Without locks: that two threads sometimes try at the same moment does no harm, nor does a fork.
    """

    def __init__(self, name: str, *, pause: float = _PAUSE, clock: Callable[[], float] = time.monotonic) -> None:
        self.is_open = False
        self._name = name
        self._pause = pause
        self._clock = clock
        self._next_try = 0.0

    def check(self) -> None:
        """Raise :exc:`StoreUnavailable` if the server failed a moment ago and it is not yet time to try again."""
        if self.is_open:
            now = self._clock()
            if now < self._next_try:
                raise StoreUnavailable(f"{self._name}: the server did not answer a moment ago")
            self._next_try = now + self._pause

    def failed(self) -> None:
        """The server could not be reached, or did not answer in time."""
        self._next_try = self._clock() + self._pause
        self.is_open = True

    def answered(self) -> None:
        """The server answered, be it with an error of its own."""
        self.is_open = False
