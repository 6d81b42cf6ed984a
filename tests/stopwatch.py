"""How long something took, and how much of that was the machine's doing."""

import time
from threading import Event, Thread
from typing import Self


class Stopwatch:
    """Times a ``with`` block (seconds), while a thread only sleeps: what that is late is the machine's, not the block's.

    ``late(start, end)`` may be asked within the block, for a part of it, by ``time.monotonic()``.
    """

    took = 0.0
    """How long the block took in all."""

    own = 0.0
    """The same, less what the machine was late at worst."""

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
        self._over.set()

    def late(self, start: float, end: float) -> float:
        """Return by how much the worst of the naps in that time was too long (seconds)."""
        naps = [*self._naps, (self._lay_down, end)]
        return max(0.0, *(up - down - self._NAP for down, up in naps if start <= up and down < end))

    def _sleep(self) -> None:
        while not self._over.is_set():
            self._lay_down = time.monotonic()
            time.sleep(self._NAP)
            self._naps.append((self._lay_down, time.monotonic()))
