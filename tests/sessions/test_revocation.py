"""Ending sessions from elsewhere: one by its id, all of a user, everybody; and sign-ins that are under way meanwhile."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_middleware import MemoryStore, Record, Scannable, Session, SQLiteStore, StoreUnavailable, repository
from session_middleware.notes import Mark, pack_tombstone
from session_middleware.record import pack, unpack
from session_middleware.stores.base import Version
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token
from tests.sealing import mark_there
from tests.sites import DATA, MADE_UP, USER, Act, Site, login, regenerate, setting

DAY = 86400


class Contended(MemoryStore):
    """A store in which each update comes after something else."""

    before_update: Callable[[], object] | None = None

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        act, self.before_update = self.before_update, None
        if act is not None:
            act()
        return super().update(key, record, version=version)


class TestOne:
    def test_a_session_is_ended_by_its_id_at_once(self, site: Site) -> None:
        """Promise 19: and only that one; a second time there is nothing to end."""
        token, other = site.begin(user_id=USER), site.begin(user_id=USER)

        assert site.manager.revoke(token.id) is True
        assert not site.is_alive(token)
        assert site.is_alive(other)
        assert site.manager.revoke(token.id) is False

    def test_an_anonymous_session_is_ended_too(self, site: Site) -> None:
        """Whoever has its id."""
        token = site.begin()

        assert site.manager.revoke(token.id) is True
        assert site.records() == []

    @pytest.mark.parametrize(
        "session_id", ["", "x", "A" * 11, "A" * 13, "A" * 40, "../" * 4, "A" * 11 + "\n", "é" * 12, None, 5, b"A" * 12]
    )
    def test_what_has_not_the_form_of_an_id_reaches_no_store(self, site: Site, session_id: Any) -> None:
        """It is nobody's id; a token is none either."""
        assert site.calls(lambda: site.manager.revoke(session_id)) == []
        assert site.manager.revoke(session_id) is False

    def test_an_id_that_nobody_has_ends_nothing(self, site: Site) -> None:
        """Absence is an answer, not an error; and a token is not an id."""
        token = site.begin()

        assert site.manager.revoke(MADE_UP.id) is False
        assert site.manager.revoke(token.reveal()) is False
        assert site.is_alive(token)

    @pytest.mark.parametrize("act", [regenerate, login(USER), setting("a", 2), lambda s: s.set_lifetime(persistent=True)])
    def test_an_id_that_was_listed_before_still_ends_the_session(self, site: Site, act: Act) -> None:
        """Promise 17: the list that was clicked on was made a moment ago, and many things have happened since."""
        token = tokens = site.begin(user_id=USER)
        (info,) = site.manager.sessions_of(USER)
        old = [token]
        for _ in range(45):
            verdict = site.request(tokens, act)
            tokens = getattr(verdict, "token", tokens)
            old.append(tokens)

        assert site.manager.revoke(info.id) is True
        assert not any(map(site.is_alive, old))
        assert site.live() == []

    @pytest.mark.parametrize("value", [b"damaged", b"", b"x" * 400_000])
    def test_a_damaged_record_can_be_ended(self, site: Site, value: bytes) -> None:
        """What cannot be read can still be removed, by who asks for just that."""
        site.store.create(MADE_UP.id, Record(value, int(site.clock()) + 99, None))

        assert site.manager.revoke(MADE_UP.id) is True
        assert site.records() == []

    def test_what_has_ended_already_stays_as_it_is(self, site: Site) -> None:
        """The end of a session that was carried over keeps its id from being used again."""
        site.store.create(MADE_UP.id, Record(pack_tombstone(), int(site.clock()) + 99, None))

        assert site.manager.revoke(MADE_UP.id) is False
        assert site.records() == [MADE_UP.id]

    @pytest.mark.parametrize("act", [setting("a", 2), regenerate, login(USER)])
    def test_a_session_that_changes_while_it_is_being_ended_ends(self, clock: FakeClock, act: Act) -> None:
        """Promise 19: the compare-and-delete is tried again."""
        store = Contended()
        site = Site(store, clock)
        token = site.begin(user_id=USER)
        store.before_update = lambda: site.request(token, act)

        assert site.manager.revoke(token.id) is True
        assert site.live() == []

    @pytest.mark.parametrize("act", [setting("a", 2), regenerate, login(USER), len])
    def test_a_request_under_way_does_not_bring_it_back(self, site: Site, act: Act) -> None:
        """Promise 5: what it changed is dropped; who signs in has a new session, without anything of the old one."""
        token = site.begin({"old": 1}, user_id=USER)
        session = site.loaded(token)
        site.manager.revoke(token.id)
        act(session)
        site.manager.commit(session)

        assert not site.is_alive(token)
        assert not any("old" in data for data in site.live())
        assert site.manager.find(token.id) is None

    def test_it_works_when_the_store_refuses_writes(self, site: Site) -> None:
        """M8: ending is a delete or a compare-and-delete, never a write that a full store would refuse."""
        token = site.begin(user_id=USER)
        before = [verb for verb, _ in site.store.calls]
        site.manager.revoke(token.id)
        (record,) = [key for verb, key in site.store.calls[len(before) :] if verb in ("create", "update")]

        assert record == token.id
        assert site.store.inner.load(token.id) is None


class TestAllOfOneUser:
    def test_all_sessions_of_a_user_are_ended(self, site: Site) -> None:
        """Promise 19: how many, and nobody else's."""
        mine = [site.begin(user_id=USER) for _ in range(3)]
        other, anonymous = site.begin(user_id="bob"), site.begin()

        assert site.manager.revoke_all(USER) == 3
        assert not any(map(site.is_alive, mine))
        assert site.is_alive(other)
        assert site.is_alive(anonymous)
        assert site.manager.revoke_all(USER) == 0

    def test_it_says_so_when_the_store_refuses_to_note_it(self, site: Site) -> None:
        """Promise 19: a sign-in under way could escape, so it raises and has ended nothing."""
        token = site.begin(user_id=USER)
        site.store.refuse_writes()
        with pytest.raises(StoreUnavailable):
            site.manager.revoke_all(USER)
        site.store.heal()

        assert site.is_alive(token)
        assert site.manager.revoke_all(USER) == 1

    def test_all_but_one(self, site: Site) -> None:
        """The session of who asks; an id of somebody else spares nothing."""
        keep, *others = (site.begin(user_id=USER) for _ in range(3))
        bob = site.begin(user_id="bob")

        assert site.manager.revoke_all(USER, keep=keep.id) == 2
        assert site.is_alive(keep)
        assert not any(map(site.is_alive, others))
        assert site.manager.revoke_all(USER, keep=bob.id) == 1

    @pytest.mark.parametrize("act", [Session.regenerate, login(USER)])
    def test_all_but_the_one_that_is_getting_a_new_secret(self, site: Site, act: Act) -> None:
        """A new password: ``session.regenerate()`` and all other sessions ended, in one request, in either order."""
        token, other = site.begin(user_id=USER), site.begin(user_id=USER)
        session = site.open(token)
        act(session)

        assert site.manager.revoke_all(USER, keep=session.id) == 1
        new = site.sent(session)
        assert site.data(new) == DATA
        assert not site.is_alive(other)
        site.begin(user_id=USER)
        assert site.manager.revoke_all(USER, keep=session.id) == 1
        assert site.is_alive(new)

    @pytest.mark.parametrize("before", [True, False])
    def test_a_first_sign_in_ends_the_other_sessions_of_the_user(self, site: Site, before: bool) -> None:
        """Before or after the commit, on an anonymous session, on a new one and on that of somebody else."""
        for start in (site.begin(), MADE_UP, site.begin(user_id="bob")):
            other = site.begin(user_id=USER)
            session = site.open(start)
            session.login(USER)
            if before:
                assert site.manager.revoke_all(USER, keep=session.id) == 1
            new = site.sent(session)
            if not before:
                assert site.manager.revoke_all(USER, keep=session.id) == 1
            assert not site.is_alive(other)
            assert [info.id for info in site.manager.sessions_of(USER)] == [new.id]
            site.manager.revoke(session.id)

    def test_a_session_that_gets_a_new_secret_after_the_index_was_read_ends(self, clock: FakeClock) -> None:
        """Promise 19: and the one to keep stays, whatever new secret it gets."""
        store = MemoryStore()
        site = Site(store, clock)
        keep, other = site.begin(user_id=USER), site.begin(user_id=USER)
        new: list[Token] = []

        def keys_of(user_id: str) -> Iterator[str]:
            found = list(store.keys_of(user_id))
            if found:
                new[:] = [site.follow(token, Session.regenerate) for token in (keep, other)]
            yield from found

        site.store.keys_of = keys_of
        assert site.manager.revoke_all(USER, keep=keep.id) == 1
        assert [site.is_alive(token) for token in new] == [True, False]

    def test_one_that_keeps_changing_does_not_protect_the_others(self, clock: FakeClock) -> None:
        """Promise 19: in the end it is removed, too."""
        store = Contended()
        site = Site(store, clock)
        mine = [site.begin(user_id=USER) for _ in range(3)]

        def write() -> None:
            site.request(mine[1], setting("n", site.clock()))
            site.clock.advance(0.001)
            store.before_update = write

        store.before_update = write
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("session_middleware.repository.time.sleep", lambda seconds: None)
            assert site.manager.revoke_all(USER) == 3
        assert not any(map(site.is_alive, mine))

    def test_a_store_that_fails_halfway_says_so(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 7: whoever asked is not told that everything has ended; asking again ends the rest."""
        monkeypatch.setattr(repository, "_BATCH", 1)
        mine = [site.begin(user_id=USER) for _ in range(3)]
        site.store.fail("update", "delete_many", at=2)

        with pytest.raises(StoreUnavailable):
            site.manager.revoke_all(USER)
        assert sum(map(site.is_alive, mine)) == 2
        assert site.manager.revoke_all(USER) == 2


class TestSignInsUnderWay:
    """Promise 19: a sign-in that began before a user was signed out everywhere does not outlive that."""

    @pytest.mark.parametrize("start", ["anonymous", "none", "another user", "signed in"])
    def test_one_that_began_before_ends(self, site: Site, start: str) -> None:
        """No cookie and no session, whatever there was before; the request keeps its response, and what it writes goes."""
        user_id = {"another user": "bob", "signed in": USER}.get(start)
        token = MADE_UP if start == "none" else site.begin(user_id=user_id)
        session = site.open(token)
        session.login(USER)
        site.manager.revoke_all(USER)
        session["private"] = 1
        verdict = site.manager.commit(session)
        assert getattr(verdict, "token", None) is None
        session.announced = True
        session["late"] = 1
        assert site.manager.commit(session) is None

        assert site.live() == []
        assert session.is_gone

    def test_one_that_began_after_is_untouched(self, site: Site) -> None:
        """0 innocent ones end."""
        token = site.begin()
        site.manager.revoke_all(USER)
        session = site.open(token)
        session.login(USER)
        new = site.sent(session)

        assert site.user(new) == USER

    def test_one_whose_password_was_checked_before_ends(self, site: Site) -> None:
        """``login(mark=manager.mark_of(user))``: the mark as it was before the password was looked at."""
        for token in (site.begin(), site.begin()):
            mark = site.manager.mark_of(USER)
            site.manager.revoke_all(USER)
            session = site.open(token)
            session.login(USER, mark=mark)

            assert site.manager.commit(session) is None
            assert site.manager.sessions_of(USER) == []

    def test_a_mark_that_was_read_before_costs_no_load_later(self, site: Site) -> None:
        """It is read once, and once more when the record is written."""
        token = site.begin()
        mark = site.manager.mark_of(USER)
        session = site.loaded(token)

        assert site.calls(lambda: session.login(USER, mark=mark)) == []
        assert site.calls(lambda: site.manager.commit(session)) == ["update", "load"]

    def test_one_that_keeps_itself_stays(self, site: Site) -> None:
        """``revoke_all(user, keep=session.id)`` in the request that signs in, before or after its record is written."""
        for token in (site.begin(), MADE_UP):
            session = site.open(token)
            session.login(USER)
            site.manager.revoke_all(USER, keep=session.id)
            new = site.sent(session)

            assert site.user(new) == USER

    def test_two_that_keep_themselves_leave_the_later_one(self, site: Site) -> None:
        """Each signs out all others: whoever asked last is left; nobody ends up without."""
        first, second = site.open(site.begin()), site.open(site.begin())
        for session in (first, second):
            session.login(USER)
            site.manager.revoke_all(USER, keep=session.id)
        verdicts = [site.manager.commit(session) for session in (first, second)]

        assert [verdict is not None for verdict in verdicts] == [False, True]
        assert [info.id for info in site.manager.sessions_of(USER)] == [second.id]

    def test_two_that_sign_out_all_others_at_once_sign_each_other_out(self, site: Site) -> None:
        """On two machines: both began before either asked. Whoever signs in again is signed in."""
        sessions = [site.open(site.begin()), site.open(site.begin())]
        for session in sessions:
            session.login(USER)
        for session in sessions:
            site.manager.revoke_all(USER, keep=session.id)

        assert [site.manager.commit(session) for session in sessions] == [None, None]
        assert site.user(site.follow(MADE_UP, login(USER))) == USER

    @pytest.mark.parametrize("others", range(6))
    def test_the_mark_remembers_the_latest_four(self, site: Site, others: int) -> None:
        """One that keeps this session and some that do not; where some may be forgotten, it ends."""
        for kept in range(others + 1):
            token = site.begin()
            session = site.open(token)
            session.login(USER)
            for number in range(others):
                site.manager.revoke_all(USER, keep=session.id if number < kept else None)
            verdict = site.manager.commit(session)

            assert (verdict is not None) == (kept == others and others < 4)
            site.manager.revoke_all(USER)
            site.store.delete(mark_there(USER))

    def test_the_second_click_of_a_sign_in_that_ended_is_none(self, site: Site) -> None:
        """Both read the mark before; neither outlives it."""
        token = site.begin()
        clicks = [site.loaded(token) for _ in range(2)]
        for click in clicks:
            click.login(USER)
        first = site.sent(clicks[0])
        site.manager.revoke_all(USER)

        assert site.manager.commit(clicks[1]) is None
        assert not site.is_alive(first)
        assert site.live() == []

    def test_the_mark_of_one_user_is_nobody_elses(self, site: Site) -> None:
        """Nor is that of one site another's on the same store."""
        token, other = site.begin(), Site(site.store, site.clock, namespace="other")
        session = site.open(token)
        session.login(USER)
        site.manager.revoke_all("bob")
        other.manager.revoke_all("carol")
        assert other.manager.mark_of(USER) is None

        assert site.user(site.sent(session)) == USER

    def test_the_mark_goes_after_a_day(self, site: Site) -> None:
        """Promise 13: by itself, like any record; its entries are no more than four."""
        for _ in range(9):
            site.manager.revoke_all(USER)
        stored = site.store.inner.load(mark_there(USER))
        assert stored is not None
        mark = unpack(stored.value)
        assert isinstance(mark, Mark)
        assert len(mark.entries) == 4
        assert site.manager.mark_of(USER) is not None
        site.clock.advance(DAY + 1)

        assert site.manager.mark_of(USER) is None
        site.manager.revoke_all(USER)
        assert site.manager.mark_of(USER) is not None

    @pytest.mark.parametrize("value", [b"damaged", pack_tombstone()])
    def test_a_damaged_mark_is_written_anew(self, site: Site, value: bytes, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 10: nobody is kept from signing in or from signing out everywhere; a sign-in under way ends."""
        key = mark_there(USER)
        site.store.create(key, Record(value, int(site.clock()) + 99, None))
        session = site.open(site.begin())
        session.login(USER)
        assert site.manager.mark_of(USER) is None
        site.manager.revoke_all(USER)

        assert site.manager.commit(session) is None
        assert site.manager.mark_of(USER) is not None
        assert ("the mark of a user is damaged" in caplog.text) == (value == b"damaged")

    def test_a_session_in_place_of_a_mark_is_none(self, site: Site) -> None:
        """Promise 10: whoever can write to the store gains nothing by it."""
        state = site.loaded(site.begin()).state
        assert state is not None
        site.store.create(mark_there(USER), Record(pack(state.envelope, b"\x80"), int(site.clock()) + 99, None))

        assert site.manager.mark_of(USER) is None
        assert site.user(site.follow(site.begin(), login(USER))) == USER


def test_a_flood_of_anonymous_sessions_does_not_hide_a_revocation(tmp_path: Path, clock: FakeClock) -> None:
    """Promise 19: the user's mark is no anonymous session, which would go first."""
    for store in (MemoryStore(max_entries=50), SQLiteStore(tmp_path / "sessions.sqlite3", max_anonymous=20)):
        site = Site(store, clock)
        session = site.manager.open()
        session.login("alice")
        site.manager.revoke_all("alice")
        for number in range(200):
            site.begin({"n": number})
        assert site.manager.commit(session) is None
        assert site.manager.sessions_of("alice") == []


class TestEverybody:
    def test_all_sessions_end_also_anonymous_ones(self, site: Site) -> None:
        """Promise 19: how many; marks stay."""
        assert isinstance(site.store, Scannable)
        mine = [site.begin(user_id=USER), site.begin(user_id="bob"), site.begin()]
        site.manager.revoke_all("carol")

        assert site.manager.revoke_everybody() == 3
        assert not any(map(site.is_alive, mine))
        assert site.manager.mark_of("carol") is not None
        assert site.manager.revoke_everybody() == 0

    def test_how_far_it_is_is_told_and_it_can_be_broken_off(self, site: Site) -> None:
        """Promise 19: on every store that lists; called again, it ends the rest."""
        mine = [site.begin() for _ in range(203)]
        told: list[int] = []

        def once(ended: int) -> None:
            told.append(ended)
            raise InterruptedError

        with pytest.raises(InterruptedError):
            site.manager.revoke_everybody(progress=once)
        assert sum(map(site.is_alive, mine)) == 203 - told[0]
        assert site.manager.revoke_everybody(progress=told.append) == 203 - told[0] == told[-1]
        assert not any(map(site.is_alive, mine))

    def test_a_request_under_way_brings_none_back(self, site: Site) -> None:
        """Promise 5."""
        sessions = [site.loaded(site.begin(user_id=user)) for user in (None, USER)]
        site.manager.revoke_everybody()
        for session in sessions:
            regenerate(session)
            assert site.manager.commit(session) is None

        assert site.live() == []

    def test_a_sign_in_under_way_is_not_among_them(self, site: Site) -> None:
        """As documented: it begins a session of its own, with nothing of the one that ended."""
        session = site.open(site.begin({"old": 1}))
        session.login(USER)
        site.manager.revoke_everybody()

        assert site.data(site.sent(session)) == {}
