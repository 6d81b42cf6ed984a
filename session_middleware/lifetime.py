"""How long a session may live. Arithmetic only: it reads no clock."""

from datetime import timedelta
from typing import ClassVar, TypeAlias

from session_middleware.exceptions import ConfigurationError
from session_middleware.frozen import Frozen

Duration: TypeAlias = timedelta | float
"""A time span: a ``timedelta``, or a number of seconds."""

LONGEST = 100 * 365 * 86400.0

_AN_HOUR = 3600.0
_SOONEST = 60.0


class Lifetime(Frozen):
    """The two timeouts of a session, whichever comes first ends it; when its secret is renewed; what is kept of its end.

    ``idle``: the session ends this long after it was last used; ``None`` for no idle timeout. If it is left out, that is an
    hour, or the absolute timeout if that is shorter.
    ``absolute``: it ends this long after it was created or signed in, used or not; it cannot be left out
    (NIST SP 800-63B-4, 2.2.3; OWASP ASVS 5.0, 7.3.1 and 7.3.2).
    ``persistent``: whether the cookie of a new session outlives the browser, until the absolute timeout.
    ``renew``: a session that is used gets a new secret this long after the last one; ``None``: only at a sign-in and by
    ``regenerate()``. The old one works until the browser has come with the new one, and 30 s longer; what comes with it
    later is a replay. At least a minute, for the answer with the new one has to arrive meanwhile.
    ``on_replay``: ``"refuse"`` whoever comes late with an old secret, or ``"end"`` the session, too, for somebody has a copy
    of its cookie.
    ``keep_ended``: so long it is kept why somebody else or a timeout has ended a session of a user, for its holder
    (:attr:`Session.ended <session_middleware.Session.ended>`); the store keeps each of these so much longer. ``None``: not.
    Of a session that nobody has signed in to, nothing is kept.

    Time spans are given as ``timedelta`` or seconds, and are kept as seconds (``float``). Raise :exc:`ConfigurationError`
    for what is none, for an idle timeout that is longer than the absolute one, and for a renewal within a minute.
    """

    AAL1: ClassVar["Lifetime"]
    AAL2: ClassVar["Lifetime"]
    AAL3: ClassVar["Lifetime"]

    idle: float | None
    absolute: float
    persistent: bool
    renew: float | None
    on_replay: str
    keep_ended: float | None

    def __init__(
        self,
        *,
        idle: Duration | None = _AN_HOUR,
        absolute: Duration = 86400,
        persistent: bool = False,
        renew: Duration | None = None,
        on_replay: str = "refuse",
        keep_ended: Duration | None = None,
    ) -> None:
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
        renew = None if renew is None else seconds("renew", renew)
        if renew is not None and renew < _SOONEST:
            raise ConfigurationError(f"renew={renew:g}: write at least a minute, such as timedelta(minutes=15)")
        if on_replay not in ("refuse", "end"):
            raise ConfigurationError(f'on_replay={on_replay!r}: write "refuse" or "end"')
        keep_ended = None if keep_ended is None else seconds("keep_ended", keep_ended)
        vars(self).update(idle=idle, absolute=absolute, persistent=persistent)
        vars(self).update(renew=renew, on_replay=on_replay, keep_ended=keep_ended)


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
