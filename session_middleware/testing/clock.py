"""A clock to set by hand. It stands still by itself."""

import time


class FakeClock:
    """A clock that stands still until it is set forward; call it for the time (epoch seconds)."""

    def __init__(self, start: float | None = None) -> None:
        self.now = time.time() if start is None else start

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Set the clock forward; a negative number sets it back."""
        self.now += seconds
