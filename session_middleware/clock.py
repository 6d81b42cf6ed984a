"""The clocks: the one that counts when no other is given, and one to wait by. What a time means is said elsewhere."""

import time

_STEADY = getattr(time, "CLOCK_MONOTONIC", None)


def system_clock() -> float:
    """Return the time (epoch seconds), from ``time.time`` as it is at the call: tests put another one there."""
    return time.time()


def steady_clock() -> float:
    """Return seconds that pass also where a test holds ``time.monotonic`` still: for waiting no longer than is allowed."""
    return time.monotonic() if _STEADY is None else time.clock_gettime(_STEADY)
