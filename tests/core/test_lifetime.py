"""Lifetimes: the numbers, what they add up to, and what is refused."""

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_middleware import ConfigurationError, Lifetime
from session_middleware.lifetime import LONGEST, seconds, touch_interval
from session_middleware.record import Envelope

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

moments = st.floats(0, 1e10)
durations = st.floats(1e-3, LONGEST)


@pytest.mark.parametrize(
    ("preset", "idle", "absolute"),
    [
        (Lifetime.AAL1, None, 30 * DAY),
        (Lifetime.AAL2, HOUR, 24 * HOUR),
        (Lifetime.AAL3, 15 * MINUTE, 12 * HOUR),
    ],
)
def test_the_presets_are_those_of_the_standard(preset: Lifetime, idle: float | None, absolute: float) -> None:
    """Promise 12: NIST SP 800-63B-4, 2.1.3, 2.2.3 and 2.3.3."""
    assert (preset.idle, preset.absolute) == (idle, absolute)


def test_the_default_is_the_second_level() -> None:
    """Promise 12: nobody has to choose to be safe."""
    assert Lifetime() == Lifetime.AAL2


def test_time_spans_and_seconds_are_the_same() -> None:
    """Both are kept as seconds."""
    spans = Lifetime(idle=timedelta(minutes=5), absolute=timedelta(days=1))

    assert spans == Lifetime(idle=300, absolute=86400.0)
    assert (type(spans.idle), type(spans.absolute)) == (float, float)
    assert type(Lifetime(idle=300, absolute=600).idle) is float


def test_a_lifetime_does_not_change() -> None:
    """One is shared by every session of an application."""
    lifetime = Lifetime()
    with pytest.raises(AttributeError):
        lifetime.idle = 5  # type: ignore[misc]  # the point of it
    assert hash(lifetime) == hash(Lifetime())


@pytest.mark.parametrize(
    "spans",
    [
        {"idle": 100, "absolute": 10},
        {"idle": 3600, "absolute": 600},
        {"idle": timedelta(days=2)},
        {"idle": 10.001, "absolute": 10},
    ],
)
def test_an_idle_timeout_is_not_longer_than_the_absolute_one(spans: Any) -> None:
    """Promise 15: it would never end a session, whatever was meant by it; also beside a default."""
    with pytest.raises(ConfigurationError, match=r"idle=.* is longer than absolute=.* write idle=None, or a shorter one"):
        Lifetime(**spans)
    assert Lifetime(idle=10, absolute=10).idle == 10


def test_the_default_idle_timeout_gives_way_to_a_shorter_absolute_one() -> None:
    """Who only wants a short session says so in one word."""
    assert Lifetime(absolute=600) == Lifetime(idle=600, absolute=600)
    assert Lifetime(absolute=7200).idle == 3600


def test_persistent_is_yes_or_no() -> None:
    """Promise 15: a number of days would be taken for yes."""
    assert not Lifetime().persistent
    assert Lifetime(persistent=True).persistent
    with pytest.raises(ConfigurationError, match="persistent=30: write True or False"):
        Lifetime(persistent=30)  # type: ignore[arg-type]  # the point of it


def test_options_go_by_name() -> None:
    """Promise 15: which of two numbers is which is written down."""
    with pytest.raises(TypeError):
        Lifetime(300, 600)  # type: ignore[call-arg]  # the point of it


def test_only_the_idle_timeout_can_be_left_out() -> None:
    """Who says ``None`` means none."""
    assert Lifetime(idle=None) == Lifetime(idle=None, absolute=24 * HOUR)
    assert Lifetime(idle=None).idle is None


def test_what_is_off_until_it_is_asked_for() -> None:
    """Renewal, and what is kept of a session that has ended; both in seconds."""
    plain = Lifetime()
    asked = Lifetime(renew=timedelta(minutes=15), keep_ended=timedelta(hours=1), on_replay="end")

    assert (plain.renew, plain.keep_ended, plain.on_replay) == (None, None, "refuse")
    assert (asked.renew, asked.keep_ended, asked.on_replay) == (900.0, 3600.0, "end")
    assert (type(asked.renew), type(asked.keep_ended)) == (float, float)


def test_a_renewal_has_a_minute_to_arrive() -> None:
    """Promise 15: who writes less means minutes."""
    assert Lifetime(renew=60).renew == 60
    with pytest.raises(ConfigurationError, match=r"renew=59\.9: write at least a minute"):
        Lifetime(renew=59.9)


@pytest.mark.parametrize("answer", ["ignore", "END", "", None, True])
def test_a_replay_has_two_answers(answer: Any) -> None:
    """Promise 15."""
    with pytest.raises(ConfigurationError, match=f'on_replay={answer!r}: write "refuse" or "end"'):
        Lifetime(on_replay=answer)


@pytest.mark.parametrize("name", ["idle", "absolute", "renew", "keep_ended"])
@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (0, "above 0 and up to 100 years"),
        (-1, "above 0 and up to 100 years"),
        (-0.0, "above 0 and up to 100 years"),
        (timedelta(0), "above 0 and up to 100 years"),
        (timedelta(days=-1), "above 0 and up to 100 years"),
        (math.nan, "above 0 and up to 100 years"),
        (math.inf, "above 0 and up to 100 years"),
        (timedelta.max, "above 0 and up to 100 years"),
        (LONGEST + 1, "above 0 and up to 100 years"),
        (10**400, "above 0 and up to 100 years"),
        (True, "a timedelta or a number of seconds"),
        ("3600", "a timedelta or a number of seconds"),
        ((1, 2), "a timedelta or a number of seconds"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_time_span_is_refused(name: str, value: Any, advice: str) -> None:
    """Promise 15: at the start, and the error names the option and says what to write."""
    with pytest.raises(ConfigurationError, match=rf"^{name}=.*: write .*{advice}"):
        Lifetime(**{name: value})


def test_the_absolute_timeout_cannot_be_left_out() -> None:
    """Promise 12, OWASP ASVS 7.3.2."""
    options: dict[str, Any] = {"absolute": None}
    with pytest.raises(ConfigurationError, match="absolute=None: write a timedelta or a number of seconds"):
        Lifetime(**options)


def test_the_longest_is_a_hundred_years() -> None:
    """It is kept exactly."""
    assert seconds("idle", LONGEST) == LONGEST == 100 * 365 * DAY
    assert seconds("idle", 1e-6) == 1e-6


@given(moments, moments, st.none() | durations, durations)
def test_whichever_comes_first_ends_it(created: float, seen: float, idle: float | None, absolute: float) -> None:
    """Promise 12: both timeouts hold."""
    envelope = Envelope(None, created, created, seen, idle, absolute, False, 0, (), created)

    assert envelope.expires_at == min(created + absolute, math.inf if idle is None else seen + idle)


@pytest.mark.parametrize(
    ("idle", "interval"), [(None, 60), (HOUR, 60), (600, 60), (599, 59.9), (300, 30), (10, 1), (0.001, 0.0001)]
)
def test_use_is_noted_now_and_then(idle: float | None, interval: float) -> None:
    """Promise 2: at most once a minute or a tenth of the idle timeout, whichever is less."""
    assert touch_interval(idle) == pytest.approx(interval)
