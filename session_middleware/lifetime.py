"""How long a session may live. Arithmetic only: it reads no clock."""

from datetime import timedelta
from typing import ClassVar, TypeAlias

from session_middleware.exceptions import ConfigurationError
from session_middleware.frozen import Frozen

Duration: TypeAlias = timedelta | float
"""A time span: a ``timedelta``, or a number of seconds."""

LONGEST = 100 * 365 * 86400.0

_AN_HOUR = 3600.0


class Lifetime(Frozen):
    """The two timeouts of a session, in seconds; whichever comes first ends it.

    ``idle``: the session ends this long after it was last used; ``None`` for no idle timeout. If it is left out, that is an
    hour, or the absolute timeout if that is shorter.
    ``absolute``: it ends this long after it was created or signed in, used or not; it cannot be left out
    (NIST SP 800-63B-4, 2.2.3; OWASP ASVS 5.0, 7.3.1 and 7.3.2).
    ``persistent``: whether the cookie of a new session outlives the browser, until the absolute timeout.

    Both timeouts are given as ``timedelta`` or seconds, and are kept as seconds (``float``). Raise
    :exc:`ConfigurationError` for what is no time span, and for an idle timeout that is longer than the absolute one.
    """

    AAL1: ClassVar["Lifetime"]
    AAL2: ClassVar["Lifetime"]
    AAL3: ClassVar["Lifetime"]

    idle: float | None
    absolute: float
    persistent: bool

    def __init__(self, *, idle: Duration | None = _AN_HOUR, absolute: Duration = 86400, persistent: bool = False) -> None:
        is_given = idle is not _AN_HOUR
        absolute = seconds("absolute", absolute)
        idle = None if idle is None else seconds("idle", idle) if is_given else min(_AN_HOUR, absolute)
        if idle is not None and idle > absolute:
            raise ConfigurationError(
                f"idle={idle:g} is longer than absolute={absolute:g} (seconds), which ends a session in any case: write"
                " idle=None, or a shorter one"
            )
        if not isinstance(persistent, bool):
            raise ConfigurationError(f"persistent={persistent!r}: write True or False")
        vars(self).update(idle=idle, absolute=absolute, persistent=persistent)


def seconds(name: str, duration: Duration) -> float:
    """Return *duration* as seconds; raise :exc:`ConfigurationError`, naming *name*, unless it is a positive time span."""
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        raise ConfigurationError(f"{name}={duration!r}: write a timedelta or a number of seconds")
    if not 0 < duration <= LONGEST:
        raise ConfigurationError(f"{name}={duration!r}: write a time span above 0 and up to 100 years")
    return float(duration)


def touch_interval(idle: float | None) -> float:
    """Return how many seconds pass before a mere read brings ``last_seen_at`` forward again."""
    return 60.0 if idle is None else min(60.0, idle / 10)


# NIST SP 800-63B-4, sections 2.1.3, 2.2.3 and 2.3.3: reauthentication at each authentication assurance level.
Lifetime.AAL1 = Lifetime(idle=None, absolute=timedelta(days=30))
Lifetime.AAL2 = Lifetime(idle=timedelta(hours=1), absolute=timedelta(hours=24))
Lifetime.AAL3 = Lifetime(idle=timedelta(minutes=15), absolute=timedelta(hours=12))
