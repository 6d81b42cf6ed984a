"""When what the server keeps ends."""

from typing import Any

HOUR = 3600


def end_of(raw: Any, name: str) -> int:
    """Return when a key ends, in seconds since the epoch. Redis 6.2 has no EXPIRETIME."""
    with raw.pipeline() as both:
        left, now = both.pttl(name).time().execute()
    (seconds, micros), left = map(int, now), int(left)
    assert left > 0
    return round(seconds + micros / 1e6 + left / 1000)
