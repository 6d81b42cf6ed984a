"""Sessions by the names that others have for them: signing in with an alias, listing by it, ending by it."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from session_middleware import MemoryStore, Send, Session, StoreUnavailable
from session_middleware.carry_over import Carried
from session_middleware.notes import Alias
from session_middleware.record import MOST_ALIASES, unpack
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token
from tests.sealing import alias_there, names
from tests.sites import USER, Act, Bare, Site, login, setting

DAY = 86400
SID = "https://id.example 08a5019c"
KEY = alias_there(SID)


def signing_in(user_id: str = USER, alias: Any = SID, **data: object) -> Act:
    """Return an act: somebody signs in with an alias."""

    def act(session: Session) -> None:
        session.login(user_id, alias=alias)
        session.update(data)

    return act


def signed_in(site: Site, user_id: str = USER, alias: Any = SID) -> Token:
    session = site.open()
    signing_in(user_id, alias)(session)
    return site.sent(session)


def at_the_alias(site: Site, verb: str, number: int, act: Callable[[], object]) -> None:
    """Do something right before the call of that number that the store gets about the alias."""
    plain, left = getattr(site.store, verb), [number]

    def around(key: str, *rest: Any, **named: Any) -> Any:
        if key == KEY:
            left[0] -= 1
            if left[0] == 0:
                act()
        return plain(key, *rest, **named)

    setattr(site.store, verb, around)


def ids(site: Site, alias: str = SID) -> list[str]:
    return [info.id for info in site.manager.sessions_with(alias)]


def noted(site: Site, alias: str = SID) -> Alias:
    stored = site.store.inner.load(alias_there(alias))
    assert stored is not None
    found = unpack(stored.value)
    assert isinstance(found, Alias)
    return found


class TestListing:
    def test_an_alias_names_the_sessions_that_have_signed_in_with_it(self, site: Site) -> None:
        """On every store, with an index of users or without; the one last used first."""
        one, other = signed_in(site, "alice"), signed_in(site, "bob")
        signed_in(site, "carol", "another")
        signed_in(site, "dave", None)
        site.clock.advance(120)
        site.request(one, len)

        assert ids(site) == [one.id, other.id]
        info = site.manager.sessions_with(SID)[1]
        assert (info.user_id, info.signed_in_at) == ("bob", info.created_at)

    def test_an_alias_that_nobody_has_names_none(self, site: Site) -> None:
        """Absence is an answer; so it is when the record of it is older than all that it named."""
        assert site.manager.sessions_with(SID) == []
        signed_in(site)
        site.clock.advance(2 * DAY)
        assert site.manager.sessions_with(SID) == []

    def test_what_has_ended_is_not_among_them(self, site: Site) -> None:
        """Signed out, revoked, or expired: no matter what is still noted."""
        out, revoked, expired = signed_in(site), signed_in(site), signed_in(site)
        site.clock.advance(3000)
        here = signed_in(site)
        site.request(out, Session.invalidate)
        site.manager.revoke(revoked.id)
        site.clock.advance(1000)

        assert ids(site) == [here.id]
        assert not site.is_alive(expired)

    def test_a_session_may_have_two_of_them(self, site: Site) -> None:
        """The identity provider's session, and its user there."""
        token = signed_in(site, alias=(SID, "sub 5"))

        assert ids(site) == ids(site, "sub 5") == [token.id]

    @pytest.mark.parametrize("alias", [(), ("a", "b", "c"), "a" * 256, "", ("a", ""), "é" * 128])
    def test_what_is_no_alias_is_refused(self, site: Site, alias: Any) -> None:
        """At most two texts of 1 to 255 bytes each; none at all is no mistake."""
        session = site.open()
        if alias == ():
            session.login(USER, alias=alias)
            return
        with pytest.raises(ValueError, match="alias"):
            session.login(USER, alias=alias)
        assert session.user_id is None

    @pytest.mark.parametrize("alias", [5, b"sid", ("a", None)])
    def test_what_is_no_text_is_refused(self, site: Site, alias: Any) -> None:
        """An alias is looked for by its text."""
        with pytest.raises(TypeError):
            site.open().login(USER, alias=alias)
        for ask in (site.manager.sessions_with, site.manager.revoke_alias):
            with pytest.raises(TypeError, match="an alias is str"):
                ask(5)  # type: ignore[arg-type]  # the point of it

    def test_sign_ins_without_one_cost_what_they_did(self, site: Site) -> None:
        """Who does not ask for it, asks the store for nothing more."""
        session = site.open()
        site.calls(lambda: session.login(USER))

        calls = site.calls(lambda: site.manager.commit(session))
        assert [verb for verb in calls if verb != "sweep"] == ["create", "load"]

    @pytest.mark.parametrize("alias", ["a", ("a", "b")])
    def test_each_alias_costs_four_calls(self, site: Site, alias: Any) -> None:
        """One before, two to note the sign-in, one afterwards."""

        def cost(alias: Any) -> int:
            calls = site.calls(lambda: signed_in(site, alias=alias))
            return len([verb for verb in calls if verb != "sweep"])

        count = 1 if isinstance(alias, str) else len(alias)
        assert cost(alias) - cost(None) == 4 * count

    def test_other_sites_have_aliases_of_their_own(self, clock: FakeClock) -> None:
        """The namespace keeps them apart in one store."""
        store = MemoryStore()
        site, other = Site(store, clock), Site(store, clock, namespace="other")
        token = signed_in(site)

        assert other.manager.sessions_with(SID) == []
        assert other.manager.revoke_alias(SID) == 0
        assert site.is_alive(token)


class TestEnding:
    def test_all_sessions_with_an_alias_end_at_once_and_no_others(self, site: Site) -> None:
        """Promise 19: of whichever user."""
        ended = [signed_in(site, user_id) for user_id in ("alice", "alice", "bob")]
        others = [signed_in(site, alias="other"), signed_in(site, alias=None), site.begin()]

        assert site.manager.revoke_alias(SID) == 3
        assert not any(map(site.is_alive, ended))
        assert all(map(site.is_alive, others))
        assert site.manager.revoke_alias(SID) == 0

    def test_whoever_signs_in_afterwards_is_signed_in(self, site: Site) -> None:
        """Promise 20: at once, and with the same alias; that one can be ended, too."""
        site.manager.revoke_alias(SID)
        token = signed_in(site)

        assert ids(site) == [token.id]
        assert site.manager.revoke_alias(SID) == 1
        assert not site.is_alive(token)

    @pytest.mark.parametrize(
        "act", [setting("n", 1), Session.regenerate, login(USER), lambda s: s.set_lifetime(persistent=True)]
    )
    def test_it_ends_whatever_became_of_the_session_since(self, site: Site, act: Act) -> None:
        """Promises 17 and 19: the id stays, and so do the aliases."""
        token = signed_in(site)
        for _ in range(3):
            token = getattr(site.request(token, act), "token", token)

        assert site.manager.revoke_alias(SID) == 1
        assert not site.is_alive(token)

    def test_a_second_sign_in_with_another_alias_leaves_both(self, site: Site) -> None:
        """Promise 19: either ends it."""
        for ending in (SID, "later"):
            token = site.follow(signed_in(site), signing_in(alias="later"))
            assert ids(site) == ids(site, "later") == [token.id]
            assert site.manager.revoke_alias(ending) == 1
            assert not site.is_alive(token)

    def test_a_session_keeps_its_latest_eight_aliases(self, site: Site) -> None:
        """Nothing grows without bound; the one used again is a late one."""
        token = signed_in(site, alias="0")
        for number in (*range(1, MOST_ALIASES), 0, MOST_ALIASES):
            token = site.follow(token, signing_in(alias=str(number)))

        assert [bool(ids(site, str(number))) for number in range(MOST_ALIASES + 1)] == [True, False, *[True] * 7]
        assert site.manager.revoke_alias("1") == 0

    def test_somebody_elses_sign_in_in_the_same_browser_has_no_part_in_it(self, site: Site) -> None:
        """The session of the former user has ended, and with it what named it."""
        token = site.follow(signed_in(site), login("bob"))

        assert site.manager.revoke_alias(SID) == 0
        assert site.user(token) == "bob"

    def test_a_session_that_was_to_be_signed_in_and_was_not_is_none_of_them(self, site: Site) -> None:
        """Somebody else was faster in this browser: the sign-in is a new session, and the alias names that alone."""
        token = site.begin()
        session = site.loaded(token)
        bobs = site.follow(token, login("bob"))
        signing_in()(session)
        new = site.sent(session)

        assert token.id in noted(site).ids
        assert ids(site) == [new.id]
        assert site.manager.revoke_alias(SID) == 1
        assert site.user(bobs) == "bob"

    def test_a_session_of_another_library_keeps_its_end(self, site: Site) -> None:
        """Promise 5: its id is not used again, so that no straggler brings it back."""

        class Old:
            secret = "s" * 40

            def read(self, now: float) -> Carried:
                return Carried({"a": 1}, USER)

            def remove(self) -> None: ...

        session = Session(site.manager, lambda _: (Old(),), None)
        signing_in()(session)
        token = site.sent(session)

        assert site.manager.revoke_alias(SID) == 1
        assert Session(site.manager, lambda _: (Old(),), None).user_id is None
        assert not site.is_alive(token)

    @pytest.mark.parametrize("verb", ["load", "update"])
    def test_what_could_not_be_ended_is_ended_the_next_time(self, site: Site, verb: str) -> None:
        """Promise 7: nothing is forgotten before it is over, so that it can be called again."""
        tokens = [signed_in(site) for _ in range(3)]
        # The first is for the alias itself, and those before it for what it was called before a seal.
        site.store.fail(verb, at=3 + (len(names().old_aliases(SID)) if verb == "load" else 0))
        with pytest.raises(StoreUnavailable):
            site.manager.revoke_alias(SID)

        assert [site.is_alive(token) for token in tokens] == [False, True, True]
        assert site.manager.revoke_alias(SID) == 2
        assert not any(map(site.is_alive, tokens))

    def test_a_store_with_the_four_verbs_is_enough(self, clock: FakeClock) -> None:
        """There is no index of it."""
        site = Site(Bare(), clock)
        token = signed_in(site)

        assert ids(site) == [token.id]
        assert site.manager.revoke_alias(SID) == 1
        assert not site.is_alive(token)


class TestASignInUnderWay:
    """Promise 19: it began before all sessions with its alias were ended."""

    @pytest.mark.parametrize("act", [signing_in(), signing_in(alias=("a", SID)), signing_in(alias=(SID, "z"))])
    @pytest.mark.parametrize("user_id", [None, USER, "bob"])
    def test_it_ends_too(self, site: Site, act: Act, user_id: str | None, caplog: pytest.LogCaptureFixture) -> None:
        """It sends no cookie, and nothing of it is left; a line in the log says why."""
        caplog.set_level(logging.INFO, "session_middleware")
        session = site.loaded(site.begin(user_id=user_id))
        act(session)
        site.manager.revoke_alias(SID)

        assert not isinstance(site.manager.commit(session), Send)
        assert session.is_gone
        assert ids(site) == []
        assert [info for info in map(site.manager.find, site.records()) if info and info.user_id == USER] == []
        assert "signed out by an alias while signing in" in caplog.text

    def test_it_ends_in_a_transaction_too(self, site: Site) -> None:
        """What it has returned, it returns."""
        session = site.loaded(site.begin())
        signing_in()(session)
        site.manager.revoke_alias(SID)

        assert session.transact(lambda data: data.pop("a")) == 1
        assert site.manager.commit(session) is None
        assert site.live() == []

    def test_one_that_began_afterwards_goes_on(self, site: Site) -> None:
        """Promise 20: also if it is in the browser of one that began before."""
        token = site.begin()
        early, late = site.loaded(token), site.loaded(token)
        signing_in()(early)
        site.manager.revoke_alias(SID)
        signing_in(name="late")(late)
        new = site.sent(late)

        assert site.manager.commit(early) is None
        assert site.data(new) == {**site.data(new), "name": "late"}
        assert ids(site) == [new.id]

    def test_two_clicks_of_which_one_began_before_share_no_session(self, site: Site) -> None:
        """Promises 19 and 20: the one that has to end does not take the other with it."""
        token = site.begin()
        early, late = site.loaded(token), site.loaded(token)
        signing_in()(early)
        at_the_alias(site, "load", 2, lambda: (site.manager.revoke_alias(SID), signing_in()(late)))
        assert site.manager.commit(early) is None
        new = site.sent(late)

        assert ids(site) == [new.id]
        assert site.user(new) == USER

    def test_a_double_click_is_one_session(self, site: Site) -> None:
        """Promise 20: which both of the tokens open, and which the alias names."""
        token = site.begin()
        sessions = [site.loaded(token), site.loaded(token)]
        for session in sessions:
            signing_in()(session)
        tokens = [site.sent(session) for session in sessions]

        assert tokens[0].id == tokens[1].id == token.id
        assert all(map(site.is_alive, tokens))
        assert ids(site) == [token.id]

    def test_two_sign_ins_with_different_aliases_are_two_sessions(self, site: Site) -> None:
        """Promises 19 and 20: each ends with its own."""
        token = site.begin()
        sessions = [site.loaded(token), site.loaded(token)]
        for session, alias in zip(sessions, (SID, "other"), strict=True):
            signing_in(alias=alias)(session)
        tokens = [site.sent(session) for session in sessions]
        site.manager.revoke_alias(SID)

        assert [site.is_alive(token) for token in tokens] == [False, True]
        assert ids(site, "other") == [tokens[1].id]

    def test_one_whose_note_is_lost_ends(self, site: Site) -> None:
        """Promise 19: a store that forgets may leave no session that nobody could end by its alias."""
        session = site.loaded(site.begin())
        signing_in()(session)
        at_the_alias(site, "load", 2, lambda: site.store.inner.delete(KEY))

        assert site.manager.commit(session) is None
        assert site.live() == []

    @pytest.mark.parametrize("verb", ["load", "create", "update"])
    def test_a_store_that_fails_meanwhile_is_no_answer(self, site: Site, verb: str) -> None:
        """Promises 7 and 20: the error says so, and the next sign-in is one."""
        token = site.begin()
        session = site.loaded(token)
        signing_in()(session)
        site.store.fail(verb)
        with pytest.raises(StoreUnavailable):
            site.manager.commit(session)
        site.store.heal()
        new = site.follow(token, signing_in())

        assert ids(site) == [new.id]

    def test_a_store_that_fails_at_the_call_fails_the_request(self, site: Site) -> None:
        """Promise 7: nobody is signed in with an alias that nobody has looked for."""
        session = site.loaded(site.begin())
        site.store.fail("load")
        with pytest.raises(StoreUnavailable):
            session.login(USER, alias=SID, mark=None)

        assert isinstance(session.fault, StoreUnavailable)
        assert session.user_id is None
