"""A session that is carried over ends as any other does, and no late request brings it back."""

from collections.abc import Callable

import pytest

from session_middleware import Session
from session_middleware.carry_over import Carried
from session_middleware.testing import FakeClock, FaultyStore
from tests.apps import Gateway
from tests.takeover.library import (
    ANNA,
    DAY,
    Act,
    Library,
    Site,
    fails,
    own,
    regenerating,
    removed,
    setting,
    sign_out,
    signing_in,
    told,
)


class TestEnding:
    def test_another_user_who_signs_in_at_once_gets_a_session_of_their_own(self, site: Site) -> None:
        """The other's data are dropped, and their session has ended, wherever it was."""
        response = site.request(signing_in("8"))
        assert site.opened(own(response)) == {"signed in": True}
        assert own(response)[:12] != site.token.id
        assert site.manager.sessions_of("7") == []
        assert site.library.sessions == {}
        assert site.sees() == {}

    def test_who_proves_who_they_are_goes_on(self, site: Site, clock: FakeClock) -> None:
        """Promise 18: nothing from before opens what comes after, and the old cookie opens nothing from then on."""
        response = site.request(signing_in("7"))
        assert site.opened(own(response)) == ANNA | {"signed in": True}
        assert site.sees() == {}
        assert site.request(setting("late")).set_cookies == []
        clock.advance(10)
        assert site.sees() == {}
        assert site.opened(own(response)) == ANNA | {"signed in": True}

    def test_an_anonymous_visitor_who_signs_in_at_once_takes_the_cart_along(self, site: Site, clock: FakeClock) -> None:
        """For 10 s the old cookie still reads what was there before, and can sign in, as the second of a double click."""
        site.library.sessions["anna"] = Carried(ANNA)
        response = site.request(signing_in("7"))
        assert site.sees() == ANNA
        assert site.request(setting("late")).set_cookies == []
        second = site.request(signing_in("7"))
        assert [site.opened(own(one)) for one in (response, second)] == [ANNA | {"signed in": True}] * 2
        assert len(site.manager.sessions_of("7")) == 1
        clock.advance(10)
        assert site.sees() == {}

    def test_a_new_secret_that_was_asked_for_ends_the_old_cookie(self, site: Site) -> None:
        """``regenerate()``: nothing else opens the session from then on."""
        response = site.request(regenerating)
        assert site.opened(own(response)) == ANNA | {"regenerated": True}
        assert site.sees() == {}

    @pytest.mark.parametrize("user", ["7", None])
    def test_who_signs_out_at_once_is_out(self, site: Site, user: str | None) -> None:
        """Promise 5: the old cookie opens nothing any more, and is removed."""
        site.library.sessions["anna"] = Carried(ANNA, user)
        response = site.request(sign_out)
        assert told(response) == []
        assert removed(response) == ["session", "old"]
        assert site.sees() == {}

    @pytest.mark.parametrize("user", ["7", None])
    def test_the_end_lasts_as_long_as_the_session_could_have(self, site: Site, clock: FakeClock, user: str | None) -> None:
        """Promise 5: the library may have a copy, for whatever reason. It is not asked."""
        site.library.sessions["anna"] = copy = Carried(ANNA, user)
        token = own(site.request())
        site.request(sign_out, cookie=f"session={token}")
        site.library.sessions["anna"] = copy
        for _ in range(25):
            assert site.sees() == {}
            clock.advance(DAY / 25 - 1)
            site.library.sessions["anna"] = copy
        assert site.library.calls.count("read") == 1

    def test_the_old_cookie_can_sign_out(self, site: Site) -> None:
        """As long as it opens the session."""
        token = own(site.request())
        assert removed(site.request(sign_out)) == ["session", "old"]
        assert site.opened(token) == {}
        assert site.sees() == {}

    def test_a_session_can_be_revoked_before_it_has_its_token(self, site: Site) -> None:
        """A failed request carries over, too, and the session counts from then on."""
        ways: list[Callable[[], int]] = [
            lambda: site.manager.revoke_all("7"),
            lambda: site.manager.revoke(site.token.id),
            site.manager.revoke_everybody,
        ]
        for revoke in ways:
            site.library.sessions["anna"] = Carried(ANNA, "7")
            with pytest.raises(RuntimeError):
                site.request(fails)
            assert revoke() == 1
            assert site.sees() == {}
            assert revoke() == 0
            site.manager.store.delete(site.token.id)

    def test_a_session_that_timed_out_here_is_gone(self, site: Site, clock: FakeClock) -> None:
        """Promise 12: its old record was removed, so there is nothing to carry over again."""
        site.request()
        clock.advance(3601)
        assert site.sees() == {}
        assert site.library.calls == ["read", "remove", "read"]

    def test_a_session_that_no_request_got_is_carried_over_again(self, site: Site, clock: FakeClock) -> None:
        """It has timed out here, but was never removed there, so nobody has had it: the library's own timeout decides."""
        site.library.fault = "remove"
        assert site.request().status[:3] == "503"
        clock.advance(3601)
        site.library.fault = ""
        assert site.opened(own(site.request())) == ANNA

    def test_a_full_store_ends_sessions_all_the_same(self, site: Site, faulty: FaultyStore) -> None:
        """Whoever signs out, or is signed out, is out, though no more can be stored than that a record is gone."""
        for end in (
            lambda: site.request(sign_out),
            lambda: site.manager.revoke(site.token.id),
            lambda: site.manager.revoke_everybody(),
        ):
            for user in ("7", None):
                site.library.sessions["anna"] = Carried(ANNA, user)
                token = own(site.request())
                faulty.fail("update")
                end()
                faulty.heal()
                assert (site.opened(token), site.sees()) == ({}, {})


class TestStragglers:
    """A request with the old cookie has read the other library's store, and creates the session when all is over."""

    @pytest.fixture(params=["7", None], ids=["signed in", "anonymous"])
    def user(self, request: pytest.FixtureRequest, library: Library) -> str | None:
        user: str | None = request.param
        library.sessions["anna"] = Carried(ANNA, user)
        return user

    def straggle(self, site: Site, act: Act, meanwhile: Callable[[], object]) -> Gateway:
        site.library.meanwhile = meanwhile
        response = site.request(act)
        assert response.status == "200 OK"
        return response

    @pytest.mark.usefixtures("user")
    def test_nothing_is_brought_back(self, site: Site) -> None:
        """Promise 5: of a session that was carried over and ended meanwhile."""
        response = self.straggle(site, setting("late"), lambda: site.request(sign_out))
        assert site.opened(own(response)) == {"late": True}
        assert site.library.sessions == {}
        assert site.sees() == {}

    def test_nothing_is_brought_back_where_another_user_has_signed_in(self, site: Site, user: str | None) -> None:
        """Promise 18. Of an anonymous visitor the straggler may read, for 10 s, what was there before."""
        response = self.straggle(site, dict, lambda: site.request(signing_in("8")))
        assert site.seen == ({} if user else ANNA)
        assert response.set_cookies == []
        assert len(site.manager.sessions_of("8")) == 1
        assert site.manager.sessions_of("7") == []

    def test_nothing_is_brought_back_by_the_new_cookie_either(self, site: Site, user: str | None) -> None:
        """Promise 5: the sign-out may come with it."""

        def carry_and_end() -> None:
            site.request(sign_out, cookie=f"session={own(site.request())}")

        self.straggle(site, dict, carry_and_end)
        assert site.seen == {}
        assert site.sees() == {}

    def test_a_revoked_session_stays_so(self, site: Site, user: str | None) -> None:
        """Promise 19."""
        for revoke in (lambda: site.manager.revoke(site.token.id), site.manager.revoke_everybody):
            site.library.sessions["anna"] = Carried(ANNA, user)
            self.straggle(site, dict, lambda revoke=revoke: (site.request(), revoke()))  # type: ignore[misc]
            assert site.seen == {}
            site.manager.store.delete(site.token.id)

    def test_a_sign_in_that_was_revoked_stays_so(self, site: Site, user: str | None) -> None:
        """Promise 19: the user is signed out everywhere, which is found out when the sign-in has been stored."""

        def sign_in(session: Session) -> None:
            session.login("7")
            # As far as a revoke_all() has come that has not looked for sessions yet.
            site.manager._sessions.leave_mark(site.manager._mark_id("7"), None)

        self.straggle(site, dict, lambda: site.request(sign_in))
        assert site.seen == {}
        assert site.manager.sessions_of("7") == []
        assert site.sees() == {}

    @pytest.mark.usefixtures("user")
    def test_a_session_that_has_moved_on_is_not_opened(self, site: Site, clock: FakeClock) -> None:
        """Its new secret has been used more than 30 s ago."""

        def carry_and_use() -> None:
            site.sees(f"session={own(site.request(setting('kept')))}")
            clock.advance(30)

        response = self.straggle(site, dict, carry_and_use)
        assert (site.seen, response.set_cookies) == ({}, [])

    @pytest.mark.usefixtures("user")
    def test_a_session_that_is_there_is_opened_with_what_has_changed(self, site: Site) -> None:
        """Promise 3."""
        response = self.straggle(site, setting("late"), lambda: site.request(setting("kept")))
        assert response.set_cookies == []
        assert site.sees() == ANNA | {"kept": True, "late": True}
