"""What an application asks of a session beside its data: a new secret, a sign-in, an end, lifetimes."""

from datetime import timedelta
from typing import Any

import pytest

from session_middleware import ConfigurationError, Forget, Lifetime, MemoryStore, Send, Session, StoreUnavailable
from session_middleware.testing import FakeClock
from tests.sites import DATA, MADE_UP, Site, setting

HOUR = 3600
DAY = 86400


class Text(str):
    """A subclass of str, as template engines have them."""


class TestRegenerate:
    def test_the_session_gets_a_new_token_and_the_old_one_is_dead(self, site: Site) -> None:
        """Promises 11 and 17: same id, data and times; the old token opens nothing from then on."""
        token = site.begin(user_id="alice")
        session = site.open(token)
        created = session.created_at
        site.clock.advance(100)
        session.regenerate()
        new = site.sent(session)

        assert new != token
        assert new.id == token.id
        assert not site.is_alive(token)
        assert site.data(token) == {}
        assert site.data(new) == DATA
        assert site.open(new).user_id == "alice"
        assert site.open(new).created_at == created

    def test_twice_in_a_request_is_once(self, site: Site) -> None:
        """One request sends one token."""
        token = site.begin()
        session = site.open(token)
        session.regenerate()
        session.regenerate()

        assert site.calls(lambda: site.sent(session)) == ["update"]
        assert len(site.live()) == 1

    def test_a_new_session_has_nothing_to_regenerate(self, site: Site) -> None:
        """It gets a token of its own anyway, and only if it holds something."""
        empty, session = site.open(), site.open()
        empty.regenerate()
        session.regenerate()
        session["a"] = 1

        assert site.manager.commit(empty) is None
        assert site.data(site.sent(session)) == {"a": 1}

    def test_none_of_many_old_tokens_opens_anything(self, site: Site) -> None:
        """Promise 19: 45 in a row and then a sign-out, which is one step: none of the 46 tokens opens anything after."""
        tokens = [site.begin(user_id="alice")]
        for _ in range(45):
            tokens.append(site.follow(tokens[-1], Session.regenerate))
        assert [token for token in tokens if site.is_alive(token)] == tokens[-1:]
        site.store.calls.clear()
        assert site.request(tokens[-1], Session.invalidate) == Forget()

        assert [verb for verb, _ in site.store.calls] == ["load", "delete"]
        assert not any(map(site.is_alive, tokens))
        assert all(site.data(token) == {} for token in tokens)

    def test_it_does_not_extend_the_absolute_timeout(self, site: Site) -> None:
        """Promise 12: however often it gets a new token, the session ends when it was to end."""
        token = site.begin()
        for _ in range(47):
            site.clock.advance(1800)
            session = site.open(token)
            session.regenerate()
            token = site.sent(session)
        site.clock.advance(1799)
        assert site.is_alive(token)
        site.clock.advance(1)

        assert not site.is_alive(token)


class TestLogin:
    def test_it_records_the_user_under_a_new_token(self, site: Site) -> None:
        """Promise 11, A-7.2.4: the anonymous session keeps its data; its token is dead."""
        token = site.begin()
        session = site.open(token)
        session.login("alice")
        assert session.user_id == "alice"
        new = site.sent(session)

        assert not site.is_alive(token)
        assert site.open(new).user_id == "alice"
        assert site.data(new) == DATA

    def test_it_starts_both_timeouts_anew(self, site: Site) -> None:
        """Promise 12: signing in again is a new beginning."""
        token = site.begin(user_id="alice")
        for _ in range(25):
            site.clock.advance(3500)
            session = site.open(token)
            session.login("alice")
            token = site.sent(session)

        assert site.data(token) == DATA
        assert site.open(token).signed_in_at == site.clock()
        assert site.open(token).created_at == site.clock() - 25 * 3500

    def test_it_drops_the_data_of_another_user(self, site: Site) -> None:
        """Promise 5: signing in as somebody else ends the former session, in the store too."""
        token = site.begin(user_id="alice")
        session = site.open(token)
        session.login("bob")
        session["b"] = 2
        new = site.sent(session)

        assert site.data(new) == {"b": 2}
        assert site.live() == [{"b": 2}]
        assert site.manager.sessions_of("alice") == []

    def test_it_is_enough_to_make_a_session(self, site: Site) -> None:
        """A user without data is a session."""
        session = site.open()
        session.login("alice")
        token = site.sent(session)

        assert site.open(token).user_id == "alice"
        assert site.data(token) == {}

    @pytest.mark.parametrize("user_id", ["a", "é" * 127, "x" * 255, "'; DROP TABLE sessions; --", "a\0b", Text("alice")])
    def test_any_text_up_to_255_bytes_is_a_user_id(self, site: Site, user_id: str) -> None:
        """It comes back as it was given, as plain str."""
        session = site.open(site.begin(user_id=user_id))

        assert session.user_id == user_id
        assert type(session.user_id) is str

    @pytest.mark.parametrize("user_id", ["", "x" * 256, "é" * 128, "\ud800"])
    def test_no_other_length_is(self, site: Site, user_id: str) -> None:
        """Refused at the call, and the session is as it was."""
        session = site.open(site.begin())

        with pytest.raises(ValueError, match=r"1 to 255 bytes|surrogates"):
            session.login(user_id)
        assert not session.modified

    @pytest.mark.parametrize("user_id", [1, None, b"alice"])
    def test_no_other_type_is(self, site: Site, user_id: Any) -> None:
        """The error says what to write."""
        session = site.open()

        with pytest.raises(TypeError, match=r"write str\(\.\.\.\)"):
            session.login(user_id)


class TestInvalidate:
    def test_the_store_forgets_it_and_the_browser_is_told_to(self, site: Site) -> None:
        """Promise 5: nothing is left of it."""
        token = site.begin(user_id="alice")
        session = site.open(token)
        session.invalidate()

        assert session == {}
        assert session.user_id is None
        assert session.is_new
        assert site.manager.commit(session) == Forget()
        assert not site.is_alive(token)
        assert site.records() == []

    def test_it_holds_even_if_the_request_fails(self, site: Site) -> None:
        """Promise 16: ending a session always ends it; what was written after it is dropped."""
        token = site.begin()
        session = site.open(token)
        session.invalidate()
        session["a"] = 2

        assert site.manager.commit(session, failed=True) == Forget()
        assert site.records() == []

    def test_what_is_written_afterwards_is_a_new_session(self, site: Site) -> None:
        """Under a new token, which is all that the browser is told."""
        token = site.begin(user_id="alice")
        site.clock.advance(100)
        session = site.open(token)
        session.set_lifetime(idle=60)
        session.invalidate()
        session["a"] = 2
        new = site.sent(session)

        assert new != token
        assert site.data(new) == {"a": 2}
        opened = site.open(new)
        assert (opened.user_id, opened.created_at, opened.expires_at) == (None, site.clock(), site.clock() + HOUR)
        assert len(site.records()) == 1

    def test_on_a_new_session_there_is_nothing_to_end(self, site: Site) -> None:
        """Without a cookie nobody is to forget one."""
        session = site.open()
        session["a"] = 1
        session.invalidate()

        assert site.calls(lambda: site.manager.commit(session)) == []
        assert site.manager.commit(session) is None

    def test_a_dead_cookie_is_removed(self, site: Site) -> None:
        """Signing out of a session that has already ended leaves no cookie behind."""
        session = site.open(MADE_UP)
        session.invalidate()

        assert site.manager.commit(session) == Forget()

    def test_two_sessions_ended_by_one_request_are_both_dead(self, site: Site) -> None:
        """Also one that this request began."""
        token = site.begin(user_id="alice")
        session = site.open(token)
        session.invalidate()
        session["a"] = 2
        new = site.sent(session)
        session.announced = True
        session.invalidate()

        assert not site.is_alive(token)
        assert not site.is_alive(new)

    def test_a_failing_store_is_no_end(self, site: Site) -> None:
        """Promise 7: the error is raised, and what could not be ended is still to be ended."""
        token = site.begin()
        session = site.open(token)
        session.invalidate()
        site.store.fail()

        with pytest.raises(StoreUnavailable):
            site.manager.commit(session)
        assert site.is_alive(token)
        assert site.manager.commit(session) == Forget()
        assert not site.is_alive(token)


class TestLifetime:
    def test_timeouts_of_its_own_survive_reload_and_regenerate(self, site: Site) -> None:
        """Promise 12: per session, until they are set again."""
        token = site.begin()
        assert site.request(token, lambda s: s.set_lifetime(idle=timedelta(minutes=10), absolute=1800)) is None
        session = site.open(token)
        session.regenerate()
        token = site.sent(session)
        assert site.open(token).expires_at == site.clock() + 600
        for _ in range(3):
            site.clock.advance(599)
            site.request(token, setting("a", site.clock()))

        assert site.open(token).expires_at == site.open(token).created_at + 1800
        site.clock.advance(3)
        assert not site.is_alive(token)

    def test_there_may_be_no_idle_timeout(self, site: Site) -> None:
        """Promise 12: the absolute timeout still holds."""
        token = site.begin()
        site.request(token, lambda s: s.set_lifetime(idle=None))
        site.clock.advance(DAY - 1)
        assert site.is_alive(token)
        site.clock.advance(1)

        assert not site.is_alive(token)

    @pytest.mark.parametrize("name", ["idle", "absolute"])
    @pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "1", timedelta(0), 101 * 365 * DAY])
    def test_a_timeout_that_cannot_be_is_refused(self, site: Site, name: str, value: Any) -> None:
        """The error names it, and nothing has changed."""
        session = site.open(site.begin())

        with pytest.raises(ConfigurationError, match=f"{name}="):
            session.set_lifetime(**{name: value})
        assert not session.modified

    def test_there_is_always_an_absolute_timeout(self, site: Site) -> None:
        """A-7.3.2: it cannot be left out."""
        with pytest.raises(ConfigurationError, match="absolute=None"):
            site.open().set_lifetime(absolute=None)  # type: ignore[arg-type]

    def test_a_persistent_session_keeps_its_cookie_until_the_absolute_timeout(self, site: Site) -> None:
        """The browser is sent its token again, with the new attributes, and so with each new one."""
        token = site.begin()
        verdict = site.request(token, lambda s: s.set_lifetime(persistent=True, absolute=timedelta(days=30)))
        assert isinstance(verdict, Send)
        assert (verdict.token, verdict.max_age) == (token, 30 * DAY)
        site.clock.advance(100.5)
        verdict = site.request(verdict.token, Session.regenerate)

        assert isinstance(verdict, Send)
        assert verdict.max_age == 30 * DAY - 100
        assert not site.is_alive(token)

    def test_a_new_session_may_be_persistent_from_the_start(self, site: Site) -> None:
        """One cookie, with its Max-Age."""
        session = site.open()
        session.set_lifetime(persistent=True)
        session["a"] = 1
        verdict = site.manager.commit(session)

        assert isinstance(verdict, Send)
        assert verdict.max_age == DAY

    def test_a_session_that_is_persistent_no_more_gets_a_cookie_without_an_end(self, site: Site) -> None:
        """A browser-session cookie has no Max-Age."""
        session = site.open()
        session.set_lifetime(persistent=True)
        session["a"] = 1
        verdict = site.request(site.sent(session), lambda s: s.set_lifetime(persistent=False))

        assert isinstance(verdict, Send)
        assert verdict.max_age is None

    def test_a_token_that_another_request_has_replaced_is_not_sent_again(self, site: Site) -> None:
        """Promise 20: it is dead, and would take the place of the one that the browser has just got."""
        token = site.begin()
        session = site.loaded(token)
        new = site.follow(token, Session.regenerate)
        session.set_lifetime(persistent=True)

        assert site.manager.commit(session) is None
        assert site.open(new).persistent

    def test_what_another_request_has_changed_alike_is_still_told(self, site: Site) -> None:
        """Each response says what the session is by then; there is nothing left to store."""
        token = site.begin()
        session = site.loaded(token)
        site.request(token, lambda s: s.set_lifetime(persistent=True))
        session.set_lifetime(persistent=True)

        assert site.sent(session) == token

    def test_only_what_the_cookie_shows_needs_a_new_one(self, site: Site) -> None:
        """The absolute timeout of a persistent session does; an idle timeout never does."""
        session = site.open()
        session.set_lifetime(persistent=True)
        session["a"] = 1
        token = site.sent(session)

        assert site.request(token, lambda s: s.set_lifetime(idle=60)) is None
        verdict = site.request(token, lambda s: s.set_lifetime(absolute=2 * DAY))
        assert isinstance(verdict, Send)
        assert verdict.max_age == 2 * DAY

    def test_a_session_may_be_set_to_end_now(self, site: Site) -> None:
        """Promise 12: a timeout that has already passed ends it."""
        token = site.begin()
        site.clock.advance(100)
        site.request(token, lambda s: s.set_lifetime(absolute=50))

        assert not site.is_alive(token)

    def test_new_sessions_have_the_lifetime_of_the_manager(self) -> None:
        """The default of the site."""
        site = Site(MemoryStore(), FakeClock(), lifetime=Lifetime(idle=None, absolute=100))
        token = site.begin()

        assert site.open(token).expires_at == site.clock() + 100
