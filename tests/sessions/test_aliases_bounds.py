"""What an alias costs, how long it is kept, and how many sessions it names."""

import math
import time

import pytest

from session_middleware import ConflictError, MemoryStore, Record, Session, SessionManager, StoreUnavailable
from session_middleware.events import Ended, Event, SweepDone
from session_middleware.notes import MOST_NAMED
from session_middleware.record import pack
from session_middleware.stores.base import Version
from session_middleware.testing import FakeClock, clock_in_hand
from session_middleware.tokens import Token
from tests.core.records import an_envelope
from tests.sessions.test_aliases import DAY, KEY, SID, at_the_alias, ids, noted, signed_in, signing_in
from tests.sites import USER, Site


@pytest.fixture
def site(clock: FakeClock) -> Site:
    """On one store: nothing here depends on which."""
    return Site(MemoryStore(), clock)


class TestHowLong:
    def test_the_alias_is_known_as_long_as_the_last_of_its_sessions(self, site: Site) -> None:
        """Promise 19: used again and again, up to the absolute timeout; and no longer."""
        signed_in(site)
        site.clock.advance(DAY / 2)
        token = signed_in(site)
        for _ in range(47):
            site.clock.advance(900)
            site.request(token, len)
            assert ids(site) == [token.id]
        assert noted(site).expires_at == math.ceil(site.manager.sessions_with(SID)[0].signed_in_at or 0) + DAY
        site.manager.revoke_alias(SID)
        assert not site.is_alive(token)

    @pytest.mark.parametrize("late", [False, True])
    def test_a_session_that_is_to_last_longer_keeps_its_alias_longer(self, site: Site, late: bool) -> None:
        """Promise 19: "stay signed in", at the sign-in or in a request after it."""

        def remember(session: Session) -> None:
            session.set_lifetime(idle=None, absolute=30 * DAY, persistent=True)

        session = site.open()
        signing_in()(session)
        if not late:
            remember(session)
        token = site.sent(session)
        if late:
            token = site.follow(token, remember)
        site.clock.advance(29 * DAY)

        assert ids(site) == [token.id]
        assert site.manager.revoke_alias(SID) == 1
        assert not site.is_alive(token)

    def test_a_sign_in_without_an_alias_keeps_those_that_are_there(self, site: Site) -> None:
        """Promise 19: it starts the absolute timeout anew, and the alias has to be known until then."""
        session = site.open()
        signing_in()(session)
        session.set_lifetime(idle=None)
        token = site.sent(session)
        site.clock.advance(DAY - 60)
        token = site.follow(token, lambda session: session.login(USER))
        site.clock.advance(DAY - 60)

        assert ids(site) == [token.id]
        assert site.manager.revoke_alias(SID) == 1

    def test_it_is_remembered_for_a_day_that_all_were_ended(self, site: Site) -> None:
        """Promise 19: a sign-in that takes longer is not told."""
        site.manager.revoke_alias(SID)
        assert noted(site).expires_at == math.ceil(site.clock()) + DAY
        session = site.open()
        signing_in()(session)
        site.clock.advance(DAY + 1)

        assert site.manager.commit(session) is None  # what it has read is not there any more

    def test_the_record_of_an_alias_is_no_session(self, site: Site) -> None:
        """It is nobody's: not listed, not ended, not told of."""
        signed_in(site)

        assert site.manager.find(KEY) is None
        assert site.manager.revoke(KEY) is False
        assert site.manager.mark_of(USER) is None
        assert noted(site).ids

    def test_ending_everybody_leaves_it(self, clock: FakeClock) -> None:
        """It tells sign-ins that are under way of what came before."""
        site = Site(MemoryStore(), clock)
        signed_in(site)

        assert site.manager.revoke_everybody() == 1
        assert noted(site).ids
        assert ids(site) == []

    def test_a_sweep_removes_it_and_tells_of_no_session(self) -> None:
        """Promises 13 and 24."""
        told: list[Event] = []

        class Observer:
            def on(self, event: Event) -> None:
                told.append(event)

        store = MemoryStore()
        with clock_in_hand() as clock:
            manager = SessionManager(store, observer=Observer())
            session = manager.open()
            signing_in()(session)
            manager.commit(session)
            clock.advance(2 * DAY)
            manager._sessions.sweep(store)

        assert store.load(KEY) is None
        assert [event.session_id for event in told if isinstance(event, Ended)] == [session.id]
        assert [event.removed for event in told if isinstance(event, SweepDone)][-1] == 2

    def test_each_end_is_told_once(self) -> None:
        """Promise 24: by whoever removed the session."""
        told: list[Event] = []

        class Observer:
            def on(self, event: Event) -> None:
                told.append(event)

        manager = SessionManager(MemoryStore(), observer=Observer())
        session, late = manager.open(), manager.open()
        keys = [session.id, late.id]
        for one in (session, late):
            signing_in()(one)
        manager.commit(session)
        for _ in range(2):
            manager.revoke_alias(SID)
        manager.commit(late)

        ended = [(event.session_id, event.reason) for event in told if isinstance(event, Ended)]
        assert ended == [(key, "revoked") for key in keys]


class TestHowMany:
    def test_it_names_fifty_and_of_more_the_oldest_ends(self, site: Site) -> None:
        """Promise 19: what nobody could end by the alias any more is not there any more."""
        tokens = [signed_in(site) for _ in range(MOST_NAMED + 2)]

        assert [site.is_alive(token) for token in tokens] == [False] * 2 + [True] * MOST_NAMED
        assert sorted(ids(site)) == sorted(token.id for token in tokens[2:])
        assert site.manager.revoke_alias(SID) == MOST_NAMED

    def test_what_is_gone_makes_room_first(self, site: Site) -> None:
        """Whoever signs in and out all day signs nobody out elsewhere."""
        elsewhere = signed_in(site)
        for _ in range(2 * MOST_NAMED):
            site.request(signed_in(site), Session.invalidate)

        assert ids(site) == [elsewhere.id]
        assert len(noted(site).ids) <= MOST_NAMED
        assert site.manager.revoke_alias(SID) == 1

    def test_one_that_signs_in_again_is_a_late_one(self, site: Site) -> None:
        """It has one place, the last."""
        tokens = [signed_in(site) for _ in range(MOST_NAMED)]
        site.clock.advance(10)
        first = site.follow(tokens[0], signing_in())
        signed_in(site)

        assert site.is_alive(first)
        assert not site.is_alive(tokens[1])
        assert len(noted(site).ids) == MOST_NAMED

    def test_one_that_is_stored_when_it_has_just_lost_its_place_ends(self, site: Site) -> None:
        """Promise 19: it looked like one that is gone."""
        slow = site.loaded(site.begin())
        signing_in()(slow)
        site.store.fail("update")
        with pytest.raises(StoreUnavailable):
            site.manager.commit(slow)
        assert noted(site).ids == (slow.id,)
        others = [signed_in(site) for _ in range(MOST_NAMED - 1)]
        tokens: list[Token] = []
        last = site.open()
        signing_in()(last)
        at_the_alias(site, "update", 1, lambda: tokens.append(site.sent(slow)))
        others.append(site.sent(last))

        assert [token.id for token in tokens] == [slow.id]
        assert not site.is_alive(*tokens)
        assert sorted(ids(site)) == sorted(token.id for token in others)


class Busy(MemoryStore):
    """Each note under the alias comes after another one."""

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return key != KEY and super().update(key, record, version=version)


class TestWhatIsThere:
    def test_too_many_at_once_are_told(self, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 4: never lost in silence."""
        monkeypatch.setattr("session_middleware.aliases.pause", lambda number: None)
        site = Site(Busy(), clock)
        signed_in(site)
        session = site.open()
        signing_in()(session)
        for act in (lambda: site.manager.commit(session), lambda: site.manager.revoke_alias(SID)):
            with pytest.raises(ConflictError, match="one alias at once"):
                act()

    @pytest.mark.parametrize("value", [b"damaged", pack(an_envelope("alice"), b"\x80")], ids=["damaged", "a session"])
    def test_what_is_no_alias_names_nothing_and_gives_way(
        self, site: Site, value: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 10: a line in the log, and the next sign-in or revocation puts a good one there."""
        site.store.create(KEY, Record(value, math.ceil(time.time()) + 9999, None))
        assert ids(site) == []
        assert ("an alias is damaged" in caplog.text) == (value == b"damaged")
        token = signed_in(site)

        assert ids(site) == [token.id]
        assert site.manager.revoke_alias(SID) == 1

    def test_a_damaged_session_is_left_alone_until_its_id_is_named(self, site: Site) -> None:
        """Promise 10: nobody knows whose it was, or what named it; it opens nothing."""
        token = signed_in(site)
        site.store.delete(token.id)
        site.store.create(token.id, Record(b"damaged", math.ceil(time.time()) + 9999, None))

        assert site.manager.revoke_alias(SID) == 0
        assert site.manager.revoke(token.id) is True
