"""A clock to set by hand. It stands still by itself."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta


class FakeClock:
    """A clock that stands still until it is set forward; call it for the time (epoch seconds)."""

    def __init__(self, start: float | None = None) -> None:
        self.now = time.time() if start is None else start

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float | timedelta) -> None:
        """Set the clock forward; what is negative sets it back."""
        self.now += seconds.total_seconds() if isinstance(seconds, timedelta) else seconds


@contextmanager
def clock_in_hand(start: float | None = None) -> Iterator[FakeClock]:
    """Put a :class:`FakeClock` in the place of ``time.time`` until the block ends; *start*: epoch seconds, or else now.

    Sessions, and the stores of this process, go by it, unless the application was given a ``clock`` of its own. What asks
    for the time in another way, as ``datetime.now()``, does not: for that there are freezegun and time-machine, which
    sessions go by, too. A store on a server drops records by the server's clock, later than they end here.
    """
    before, clock = time.time, FakeClock(start)
    setattr(time, "time", clock)  # noqa: B010  # a function, for mypy
    try:
        yield clock
    finally:
        setattr(time, "time", before)  # noqa: B010  # as above
