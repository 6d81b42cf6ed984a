"""Django's expiry of a session, in each of its forms, is a lifetime of ours."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from session_middleware.integrations.django import SessionStore, manager
from session_middleware.testing import FakeClock
from tests.integrations.django_api.sessions import DAY, NOW, a_token


class TestExpiry:
    @pytest.mark.parametrize(
        ("value", "age", "at_close", "lifetime"),
        [
            (None, 1000, False, (1000, 30 * DAY, True)),
            (0, 1000, True, (1000, 30 * DAY, False)),
            (300, 300, False, (300, 30 * DAY, True)),
            (60 * DAY, 60 * DAY, False, (60 * DAY, 60 * DAY, True)),
            (timedelta(hours=2), 7200, False, (None, 7200, True)),
            (datetime.fromtimestamp(NOW + 500, UTC), 500, False, (None, 500, True)),
        ],
    )
    @pytest.mark.parametrize("form", ["{}", "a{}"])
    def test_set_expiry_in_each_of_its_forms(
        self, opened: Callable[[str | None], Any], form: str, value: Any, age: int, at_close: bool, lifetime: Any
    ) -> None:
        """A number is an idle timeout, a moment an absolute one, 0 ends with the browser, ``None`` brings the usual back."""

        def call(name: str, *arguments: Any) -> Any:
            method = getattr(session, form.format(name))
            return async_to_sync(method)(*arguments) if form == "a{}" else method(*arguments)

        session = opened(a_token(name="value"))
        call("set_expiry", 77)
        call("set_expiry", value)
        session.save()
        manager().commit(session.underlying)
        envelope = session.state.envelope

        assert call("get_expiry_age") == age
        assert call("get_expiry_date") == datetime.fromtimestamp(NOW + age, UTC)
        assert call("get_expire_at_browser_close") == at_close
        assert (envelope.idle, envelope.absolute, envelope.persistent) == lifetime

    def test_the_times_hold(self, opened: Callable[[str | None], Any], clock: FakeClock) -> None:
        """Promise 12: on the server, whatever the cookie says."""
        token = a_token(name="value")
        session = opened(token)
        session.set_expiry(timedelta(seconds=100))
        session.save()
        verdict = manager().commit(session.underlying)
        token = getattr(verdict, "token", token)
        clock.advance(99)
        assert SessionStore().exists(token)
        clock.advance(1)

        assert not SessionStore().exists(token)

    @pytest.mark.parametrize("value", [-1, timedelta(seconds=-1), datetime.fromtimestamp(NOW - 100, UTC)])
    def test_a_time_that_has_passed_ends_the_session(self, opened: Callable[[str | None], Any], value: Any) -> None:
        """As Django's engines have it."""
        session = opened(a_token(name="value"))
        session.set_expiry(value)
        session.save()
        manager().commit(session.underlying)

        assert manager().find(session.id) is None

    def test_a_moment_may_be_given_to_the_question(self, opened: Callable[[str | None], Any]) -> None:
        """``get_expiry_age(modification=..., expiry=...)``."""
        moment = datetime(2030, 1, 1, tzinfo=UTC)
        session = opened(None)

        assert session.get_expiry_age(modification=moment, expiry=moment + timedelta(seconds=5)) == 5
        assert session.get_expiry_date(modification=moment, expiry=5) == moment + timedelta(seconds=5)

    @pytest.mark.parametrize("value", [2, datetime.fromtimestamp(NOW + 2, UTC), "2030-03-17T17:46:42+00:00"])
    def test_what_is_assigned_is_what_happens(
        self, opened: Callable[[str | None], Any], clock: FakeClock, value: Any
    ) -> None:
        """``session["_session_expiry"] = 2``, as others do: what is reported holds (promise 12)."""
        session = opened(a_token(name="value"))
        session["_session_expiry"] = value
        assert session.get_expiry_age() == 2
        session.save()
        manager().commit(session.underlying)
        clock.advance(1.9)
        assert manager().find(session.id) is not None
        clock.advance(0.1)

        assert manager().find(session.id) is None

    @pytest.mark.parametrize(
        "remove",
        [
            lambda session: session.pop("_session_expiry"),
            lambda session: session.pop("_session_expiry", None),
            lambda session: session.__delitem__("_session_expiry"),
            lambda session: session.clear(),
            lambda session: session.set_expiry(None),
            lambda session: session.update({"_session_expiry": None}),
        ],
    )
    def test_without_it_the_usual_is_back(self, opened: Callable[[str | None], Any], remove: Callable[[Any], Any]) -> None:
        """One truth, also where it is taken away."""
        session = opened(a_token(name="value", _session_expiry=2))
        assert session.get_expiry_age() == 2
        remove(session)
        envelope = session.state.envelope

        assert session.get_expiry_age() == 1000
        assert (envelope.idle, envelope.absolute, envelope.persistent) == (1000, 30 * DAY, True)

    def test_what_our_own_call_sets_is_reported(self, opened: Callable[[str | None], Any]) -> None:
        """One truth: ``_session_expiry`` counts as long as it is what holds."""
        session = opened(a_token(name="value"))
        for expiry in (300, timedelta(hours=1)):
            session.set_expiry(expiry)
            session.set_lifetime(idle=77, absolute=DAY)

            assert session.get_expiry_age() == async_to_sync(session.aget_expiry_age)() == 77
            assert session.get_expiry_date() == datetime.fromtimestamp(NOW + 77, UTC)

    def test_the_absolute_end_is_told(self, opened: Callable[[str | None], Any], clock: FakeClock) -> None:
        """Promise 12: also where the idle timeout would last longer."""
        session = opened(a_token(name="value"))
        session.set_lifetime(idle=None, absolute=500)
        clock.advance(100)

        assert session.get_session_cookie_age() == session.get_expiry_age() == 400

    def test_another_end_is_told_with_the_same_token(self, opened: Callable[[str | None], Any], clock: FakeClock) -> None:
        """Promise 20: the cookie lasts longer, and parallel requests go on with the one that they have."""
        token = a_token(name="value")
        for _ in range(3):
            clock.advance(50)
            session = opened(token)
            session.set_expiry(timedelta(minutes=1))
            assert session.get_expiry_age() == 60
            verdict: Any = manager().commit(session.underlying)
            assert (verdict.token.reveal(), verdict.max_age) == (token, 60)

        assert dict(SessionStore(token))["name"] == "value"
