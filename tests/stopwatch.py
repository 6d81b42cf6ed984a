"""How long something took, and how much of that was the machine's doing."""

import time
from threading import Event, Thread
from typing import Self


class Stopwatch:
    """Times a ``with`` block (seconds), while a thread only sleeps: what that is late is the machine's, not the block's.

    ``late(start, end)`` and ``lost(start, end)`` may be asked within the block, for a part of it, by ``time.monotonic()``.
    """

    took = 0.0
    """How long the block took in all."""

    own = 0.0
    """The same, less what the machine was late at worst."""

    least = 0.0
    """The same, less all that the machine was late."""

    _NAP = 0.01

    def __enter__(self) -> Self:
        self._over = Event()
        self._naps: list[tuple[float, float]] = []
        self._started = self._lay_down = time.monotonic()
        Thread(target=self._sleep, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        end = time.monotonic()
        self.took = end - self._started
        self.own = self.took - self.late(self._started, end)
        self.least = self.took - self.lost(self._started, end)
        self._over.set()

    def late(self, start: float, end: float) -> float:
        """Return by how much the worst of the naps in that time was too long (seconds): for what waits once."""
        return max(0.0, *self._lateness(start, end))

    def lost(self, start: float, end: float) -> float:
        """Return by how much all of the naps in that time were too long (seconds): for what takes many steps, in turn.

        Each of them, in whichever process, may come as late as a nap.
        """
        return sum(late for late in self._lateness(start, end) if late > 0)

    def _lateness(self, start: float, end: float) -> list[float]:
        naps = [*self._naps, (self._lay_down, end)]
        return [up - down - self._NAP for down, up in naps if start <= up and down < end]

    def _sleep(self) -> None:
        while not self._over.is_set():
            self._lay_down = time.monotonic()
            time.sleep(self._NAP)
            self._naps.append((self._lay_down, time.monotonic()))
