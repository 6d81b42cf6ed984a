"""How long something took, and how much of that was the machine's doing."""

import os
import sys
import time
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Final, Self

NAP: Final = 0.01
"""How long the process sleeps that shows whether the machine is late (seconds)."""

# The first naps are left out: a machine that is busy lets who has just used it for its start wait.
_SETTLED: Final = 10

# It ends with the process that it is for, and not when a terminal interrupts both.
_NAPPING: Final = f"""
import os, signal, struct, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
while os.getppid() == {{parent}}:
    time.sleep({NAP})
    os.write(1, struct.pack("d", time.monotonic()))
"""


class Stopwatch:
    """Times a ``with`` block (seconds), while another process only sleeps: what that is late is the machine's doing.

    Nothing that the block does in this process delays the other one. ``late(start, end)`` and ``lost(start, end)`` may be
    asked within the block, for a part of it, by ``time.monotonic()``.
    """

    took = 0.0
    """How long the block took in all."""

    own = 0.0
    """The same, less what the machine was late at worst."""

    least = 0.0
    """The same, less all that the machine was late."""

    def __enter__(self) -> Self:
        self._notes = _notes()
        self._first = self._notes.stat().st_size - 8
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = time.monotonic()
        self.took = self._ended - self._started
        self.own = self.took - self.late(self._started, self._ended)
        self.least = self.within(0)

    def within(self, budget: float) -> float:
        """Return how long it took, less what the machine was late when so much of it was over (seconds).

        For what waits for a deadline: no lateness before that delays it.
        """
        return self.took - self.lost(self._started + budget, self._ended)

    def late(self, start: float, end: float) -> float:
        """Return for how much of that time the worst of the naps was too long (seconds): for what waits once."""
        return max(lateness(self._woke(), start, end), default=0.0)

    def lost(self, start: float, end: float) -> float:
        """Return for how much of that time any nap was too long (seconds): for what takes many steps, in turn.

        Each of them, in whichever process, may come as late as a nap.
        """
        return sum(lateness(self._woke(), start, end))

    def _woke(self) -> Sequence[float]:
        with self._notes.open("rb") as notes:
            notes.seek(self._first)
            return memoryview(notes.read()).cast("d")


def lateness(woke: Sequence[float], start: float, end: float) -> list[float]:
    """Return for how much of the time from *start* to *end* each nap was too long, where it was.

    *woke* is when each nap ended and the next began; the last one goes on.
    """
    naps = pairwise([*woke, inf])
    return [late for down, up in naps if (late := min(up, end) - max(down + NAP, start)) > 0]


@cache
def _notes() -> Path:
    """Return where a process that only sleeps, as long as this one lives, notes when it woke; a fork reads the same.

    It is in memory, and open in that process alone: who counts what this one has open finds nothing.
    """
    file = os.memfd_create("naps")
    command = [sys.executable, "-I", "-S", "-c", _NAPPING.format(parent=os.getpid())]
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, file, 1)])
    while os.fstat(file).st_size < 8 * _SETTLED:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the process that sleeps has ended"
        time.sleep(NAP)
    os.close(file)
    return Path(f"/proc/{pid}/fd/1")
