"""A sign-in that is fresh enough for what a thief must not do; and one that the identity provider limits."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from session_middleware import ConfigurationError, HeadersAlreadySent, Send, Session
from session_middleware.rules import WINDOW
from tests.sites import Site


class TestIsFresh:
    def test_a_sign_in_is_fresh_for_so_long(self, site: Site) -> None:
        """ASVS 7.5.1: by ``login()``, not by using the session."""
        token = site.begin(user_id="alice")
        site.clock.advance(599)
        assert site.open(token).is_fresh(timedelta(minutes=10))
        site.request(token, lambda session: session.update(a=2))
        site.clock.advance(1)
        assert not site.open(token).is_fresh(timedelta(minutes=10))
        assert site.open(token).is_fresh(601)

    def test_nobody_is_not_fresh(self, site: Site) -> None:
        """An anonymous session has been proved by nobody."""
        assert not site.open().is_fresh(600)
        assert not site.open(site.begin()).is_fresh(600)

    @pytest.mark.parametrize("age", [0, -1, timedelta(0), 4e9, float("nan"), True, None, "600"])
    def test_an_age_that_is_none_is_refused(self, site: Site, age: Any) -> None:
        """Also where nobody has signed in, so that the mistake is seen at the first try."""
        for session in (site.open(), site.open(site.begin(user_id="alice"))):
            with pytest.raises(ConfigurationError, match="age="):
                session.is_fresh(age)

    def test_a_sign_in_of_this_request_is_fresh(self, site: Site) -> None:
        session = site.open()
        session.login("alice")
        assert session.is_fresh(60)


class TestConfirm:
    def test_it_is_a_boundary_and_keeps_the_data(self, site: Site) -> None:
        """Promise 18: a new secret; the old one opens nothing any more, and the sign-in is fresh."""
        token = site.begin({"cart": [1]}, "alice")
        site.clock.advance(1800)
        new = site.follow(token, Session.confirm)

        assert new.id == token.id
        assert site.data(new) == {"cart": [1]}
        assert site.user(new) == "alice"
        assert site.open(new).is_fresh(60)
        assert site.data(token) == {}
        site.clock.advance(WINDOW)
        assert site.user(token) is None

    def test_it_starts_the_timeouts_anew(self, site: Site) -> None:
        """Promise 12: the user is there, and has proved it."""
        token = site.begin(user_id="alice")
        site.clock.advance(1800)
        new = site.follow(token, Session.confirm)

        assert site.open(new).expires_at == site.clock.now + 3600
        assert site.open(new).signed_in_at == site.clock.now

    def test_nobody_has_nothing_to_confirm(self, site: Site) -> None:
        with pytest.raises(ValueError, match="call login"):
            site.open(site.begin()).confirm()

    def test_it_needs_a_cookie(self, site: Site) -> None:
        session = site.loaded(site.begin(user_id="alice"))
        session.announced = True
        with pytest.raises(HeadersAlreadySent):
            session.confirm()


class TestNotAfter:
    def test_the_session_ends_then_however_it_is_used(self, site: Site) -> None:
        """ASVS 7.6.1: the identity provider's own limit comes before both timeouts."""
        session = site.open()
        session.login("alice", not_after=site.clock.now + 1200)
        assert session.expires_at == site.clock.now + 1200
        token = site.sent(session)
        site.clock.advance(1199)
        assert site.request(token, lambda session: session.update(a=1)) is None
        assert site.user(token) == "alice"
        site.clock.advance(1)
        assert site.user(token) is None

    def test_it_is_a_moment_of_either_kind(self, site: Site) -> None:
        session = site.open()
        session.login("alice", not_after=datetime.fromtimestamp(site.clock.now + 60, UTC))
        assert site.open(site.sent(session)).expires_at == pytest.approx(site.clock.now + 60, abs=1e-4)

    @pytest.mark.parametrize("later", [None, 2400.0])
    def test_it_holds_until_another_sign_in_brings_another(self, site: Site, later: float | None) -> None:
        """To prove it to us again is not to prove it to the identity provider."""
        session = site.open()
        session.login("alice", not_after=site.clock.now + 1200)
        token = site.sent(session)
        until = None if later is None else site.clock.now + later
        ends_at = site.clock.now + 1200 if until is None else until
        site.clock.advance(600)
        new = site.follow(token, lambda session: session.login("alice", not_after=until))

        assert site.open(new).expires_at == ends_at

    def test_it_outlasts_no_timeout(self, site: Site) -> None:
        """Promise 12."""
        session = site.open()
        session.login("alice", not_after=site.clock.now + 10 * 86400)
        assert site.open(site.sent(session)).expires_at == site.clock.now + 3600

    def test_a_cookie_that_outlives_the_browser_ends_with_it(self, site: Site) -> None:
        session = site.open()
        session.set_lifetime(persistent=True)
        session.login("alice", not_after=site.clock.now + 1200)
        verdict = site.manager.commit(session)

        assert isinstance(verdict, Send)
        assert verdict.max_age == 1200

    @pytest.mark.parametrize("moment", [True, "tomorrow", b"", datetime.now()])
    def test_what_is_no_moment_is_refused(self, site: Site, moment: Any) -> None:
        with pytest.raises((TypeError, ValueError), match="not_after="):
            site.open().login("alice", not_after=moment)

    @pytest.mark.parametrize("later", [0, -1, 1e11, float("nan")])
    def test_what_has_been_is_refused(self, site: Site, later: float) -> None:
        session = site.open()
        with pytest.raises(ValueError, match="that is to come"):
            session.login("alice", not_after=site.clock.now + later)
        assert session.user_id is None
