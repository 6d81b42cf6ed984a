"""Each event, when it is told, and what it says."""

from collections.abc import Callable

import pytest

from session_middleware import ConflictError, MemoryStore, Session, SessionManager, StoreUnavailable
from session_middleware.events import (
    Asked,
    Conflict,
    Created,
    Damaged,
    Ended,
    Regenerated,
    Renewed,
    Replayed,
    SignedIn,
    StoreFailed,
    StoreRecovered,
    SweepDone,
)
from session_middleware.notes import pack_tombstone
from session_middleware.record import Envelope
from session_middleware.stores.base import Record
from session_middleware.testing import FakeClock, FaultyStore
from session_middleware.testing.helpers import a_key, a_record
from session_middleware.tokens import Token
from tests.observers.notes import USER, Notes, begin, request


def write(session: Session) -> None:
    session["b"] = 2


def user_of(session: Session) -> None:
    _ = session.user_id


class TestBeginnings:
    def test_a_new_session_is_told_of(self, manager: SessionManager, notes: Notes, clock: FakeClock) -> None:
        """When it is stored for the first time, and never again."""
        token = begin(manager)
        request(manager, write, token)

        assert [event for event in notes.events if not isinstance(event, Asked)][:1] == [
            Created(at=clock.now, session_id=token.id, carried=False)
        ]
        assert notes.names == ["Created", "SweepDone"]

    def test_a_sign_in_is_told_of(self, manager: SessionManager, notes: Notes, clock: FakeClock) -> None:
        """After what it has created."""
        token = begin(manager, USER)

        assert [name for name in notes.names if name != "SweepDone"] == ["Created", "SignedIn"]
        assert notes.of(SignedIn) == [SignedIn(at=clock.now, session_id=token.id, user_id=USER)]
        assert notes.of(Created)[0].user_id == USER

    def test_a_sign_in_on_a_session_creates_none(self, manager: SessionManager, notes: Notes) -> None:
        """It keeps its id."""
        token = begin(manager)
        notes.clear()
        request(manager, lambda session: session.login(USER), token)

        assert notes.names == ["SignedIn"]
        assert notes.of(SignedIn)[0].session_id == token.id

    def test_a_sign_in_that_was_revoked_meanwhile_is_an_end(self, manager: SessionManager, notes: Notes) -> None:
        """The session was there, and nobody is signed in."""

        def act(session: Session) -> None:
            session.login(USER)
            manager.revoke_all(USER)

        request(manager, act)

        assert [name for name in notes.names if name != "SweepDone"] == ["Created", "Ended"]
        assert notes.of(Ended)[0].reason == "signed_out_everywhere"

    def test_what_is_not_stored_is_not_told(self, manager: SessionManager, notes: Notes) -> None:
        """A session that nobody wrote to is none."""
        request(manager, user_of)
        request(manager, lambda session: session.invalidate())

        assert notes.events == []


class TestSecrets:
    def test_a_new_secret_that_was_asked_for_is_told_of(self, manager: SessionManager, notes: Notes) -> None:
        token = begin(manager, USER)
        notes.clear()
        request(manager, lambda session: session.regenerate(), token)

        assert notes.names == ["Regenerated"]
        assert notes.of(Regenerated)[0].session_id == token.id
        assert notes.of(Regenerated)[0].user_id == USER

    def test_a_secret_that_is_replaced_by_time_is_told_of(
        self, manager: SessionManager, notes: Notes, clock: FakeClock
    ) -> None:
        """The old one works until the new one has come, and is a replay 30 s after that."""
        token = begin(manager)
        notes.clear()
        renewed = request(manager, _renewing, token)
        assert renewed is not None
        assert notes.names == ["Renewed"]
        assert notes.of(Renewed)[0].session_id == token.id

        request(manager, user_of, renewed)
        clock.advance(31)
        request(manager, user_of, token)
        assert notes.names == ["Renewed", "Replayed"]
        assert notes.of(Replayed) == [Replayed(at=clock.now, session_id=token.id)]


def _renewing(session: Session) -> None:
    _ = session.user_id
    assert session.state is not None
    session.state.renew = 0.0


def by_invalidate(manager: SessionManager, token: Token) -> None:
    request(manager, lambda session: session.invalidate(), token)


def by_revoke(manager: SessionManager, token: Token) -> None:
    assert manager.revoke(token.id)


def by_user(manager: SessionManager, token: Token) -> None:
    assert manager.revoke_all(USER) == 1


def everybody(manager: SessionManager, token: Token) -> None:
    assert manager.revoke_everybody() == 1


def by_another(manager: SessionManager, token: Token) -> None:
    request(manager, lambda session: session.login("bob"), token)


ENDS: dict[str, tuple[Callable[[SessionManager, Token], None], str]] = {
    "invalidate": (by_invalidate, "signed_out"),
    "revoke": (by_revoke, "revoked"),
    "revoke_all": (by_user, "signed_out_everywhere"),
    "revoke_everybody": (everybody, "revoked_everybody"),
    "login of another": (by_another, "replaced"),
}


class TestEnds:
    """An end is told once, with its reason, by whoever removed the session."""

    @pytest.mark.parametrize(("end", "reason"), ENDS.values(), ids=ENDS)
    def test_an_end_is_told_with_its_reason(
        self, manager: SessionManager, notes: Notes, end: Callable[[SessionManager, Token], None], reason: str
    ) -> None:
        token = begin(manager, USER)
        end(manager, token)

        assert notes.ends == [(token.id, USER, reason)]
        for again in (by_invalidate, lambda manager, token: manager.revoke(token.id)):
            again(manager, token)
        manager.revoke_all(USER)
        assert notes.ends == [(token.id, USER, reason)]

    @pytest.mark.parametrize(("end", "reason"), ENDS.values(), ids=ENDS)
    def test_so_it_is_on_a_store_that_is_asked_one_by_one(
        self, notes: Notes, end: Callable[[SessionManager, Token], None], reason: str, clock: FakeClock
    ) -> None:
        """A store need not know how to take many keys at once."""
        manager = SessionManager(_Plain(), observer=notes)
        token = begin(manager, USER)
        end(manager, token)

        assert notes.ends == [(token.id, USER, reason)]

    def test_an_anonymous_session_that_is_ended_has_no_user(self, manager: SessionManager, notes: Notes) -> None:
        token = begin(manager)
        by_invalidate(manager, token)

        assert notes.ends == [(token.id, None, "signed_out")]

    def test_a_sign_in_ends_the_browsers_other_session(self, manager: SessionManager, notes: Notes) -> None:
        token, other = begin(manager, USER), begin(manager)
        request(manager, lambda session: session.login(USER), token, other)

        assert notes.ends == [(other.id, None, "replaced")]

    def test_a_damaged_record_that_is_removed_is_an_end_of_nobody(
        self, manager: SessionManager, notes: Notes, faulty: FaultyStore
    ) -> None:
        """Whose it was, nobody can read."""
        key = a_key()
        faulty.create(key, a_record(user_id=USER))
        assert manager.revoke(key)

        assert notes.ends == [(key, None, "revoked")]

    def test_a_key_that_nobody_has_is_no_end(self, manager: SessionManager, notes: Notes) -> None:
        assert not manager.revoke(a_key())
        assert manager.revoke_all(USER) == 0

        assert notes.ends == []


class _Plain:
    """A store that can do no more than it must, and list."""

    def __init__(self) -> None:
        store = MemoryStore()
        self.create, self.load, self.update, self.delete = store.create, store.load, store.update, store.delete
        self.keys_of, self.keys = store.keys_of, store.keys


class TestExpiry:
    def test_a_sweep_tells_of_each_session(self, manager: SessionManager, notes: Notes, clock: FakeClock) -> None:
        """And of itself. It does not know how the time of a session was over."""
        tokens = [begin(manager, USER), begin(manager)]
        notes.clear()
        clock.advance(90_000)
        assert manager.sweep() == 2

        assert sorted(notes.ends, key=str) == sorted(
            [(tokens[0].id, USER, "expired"), (tokens[1].id, None, "expired")], key=str
        )
        assert notes.of(SweepDone)[0].removed == 2
        assert notes.of(SweepDone)[0].seconds >= 0
        assert notes.names[-1] == "SweepDone"

    def test_a_mark_and_a_tombstone_are_no_sessions(
        self, manager: SessionManager, notes: Notes, clock: FakeClock, faulty: FaultyStore
    ) -> None:
        """They are records, and are counted as such."""
        manager.revoke_all(USER)  # which leaves a mark
        faulty.create(a_key(), Record(pack_tombstone(), int(clock.now) + 10, ""))
        notes.clear()
        clock.advance(200_000)
        assert manager.sweep() == 2

        assert notes.ends == []
        assert notes.of(SweepDone)[0].removed == 2

    def test_nothing_is_swept_where_the_store_does_that(self, notes: Notes, clock: FakeClock) -> None:
        manager = SessionManager(_Plain(), observer=notes)

        assert manager.sweep() == 0
        assert notes.of(SweepDone) == []

    @pytest.mark.parametrize(
        ("idle", "absolute", "reason"),
        [(10.5, 1000.0, "expired_idle"), (None, 10.5, "expired_absolute"), (10.5, 10.5, "expired_absolute")],
    )
    def test_who_finds_a_session_over_removes_it(
        self,
        manager: SessionManager,
        notes: Notes,
        clock: FakeClock,
        idle: float | None,
        absolute: float,
        reason: str,
    ) -> None:
        """Stores keep whole seconds, so that a session is there for the rest of its last one."""
        clock.now = float(int(clock.now))
        token = begin(manager)
        request(manager, lambda session: session.set_lifetime(idle=idle, absolute=absolute), token)
        notes.clear()
        clock.advance(10.7)
        request(manager, user_of, token)
        assert notes.ends == [(token.id, None, reason)]

        request(manager, user_of, token)
        clock.advance(10)
        manager.sweep()
        assert len(notes.ends) == 1

    def test_who_cannot_remove_it_says_nothing(
        self, manager: SessionManager, notes: Notes, clock: FakeClock, faulty: FaultyStore
    ) -> None:
        """The request goes on as it would without an observer."""
        clock.now = float(int(clock.now))
        token = begin(manager)
        request(manager, lambda session: session.set_lifetime(idle=10.5), token)
        clock.advance(10.7)
        faulty.fail("update")
        request(manager, user_of, token)
        assert notes.ends == []

        request(manager, user_of, token)
        assert notes.ends == [(token.id, None, "expired_idle")]

    def test_who_comes_too_late_says_nothing(
        self, manager: SessionManager, notes: Notes, clock: FakeClock, faulty: FaultyStore
    ) -> None:
        """Another request has removed it between the look and the removal."""
        clock.now = float(int(clock.now))
        token = begin(manager)
        request(manager, lambda session: session.set_lifetime(idle=10.5), token)
        clock.advance(10.7)
        stored = faulty.load(token.id)
        assert stored is not None
        found = faulty.inner.load
        faulty.inner.load = lambda key: (found(key), faulty.inner.delete(key))[0]  # type: ignore[method-assign]
        request(manager, user_of, token)

        assert notes.ends == []

    def test_a_lifetime_that_is_over_already_is_an_end(
        self, manager: SessionManager, notes: Notes, clock: FakeClock, faulty: FaultyStore
    ) -> None:
        """To store such a session is to remove it."""
        token = begin(manager, USER)
        clock.advance(100)
        request(manager, lambda session: session.set_lifetime(absolute=50, idle=None), token)

        assert notes.ends == [(token.id, USER, "expired_absolute")]
        assert faulty.load(token.id) is None

    def test_it_is_told_by_whoever_has_removed_it(
        self, manager: SessionManager, notes: Notes, clock: FakeClock, faulty: FaultyStore
    ) -> None:
        """It was signed out between the look and the removal."""
        token = begin(manager, USER)
        clock.advance(100)

        def act(session: Session) -> None:
            session.set_lifetime(absolute=50, idle=None)
            manager.revoke(token.id)

        request(manager, act, token)

        assert notes.ends == [(token.id, USER, "revoked")]


class TestConflicts:
    def test_what_is_dropped_because_the_session_has_ended_is_told_of(self, manager: SessionManager, notes: Notes) -> None:
        token = begin(manager, USER)

        def act(session: Session) -> None:
            write(session)
            manager.revoke(token.id)

        request(manager, act, token)

        assert [(event.session_id, event.user_id, event.why) for event in notes.of(Conflict)] == [(token.id, USER, "ended")]

    def test_what_is_dropped_because_someone_has_signed_in_is_told_of(self, manager: SessionManager, notes: Notes) -> None:
        token = begin(manager)

        def act(session: Session) -> None:
            write(session)
            request(manager, lambda other: other.login(USER), token)

        request(manager, act, token)
        assert [event.why for event in notes.of(Conflict)] == ["signed in"]

    def test_so_is_what_comes_with_a_secret_from_before_a_sign_in(self, manager: SessionManager, notes: Notes) -> None:
        token = begin(manager)
        request(manager, lambda session: session.login(USER), token)
        notes.clear()
        request(manager, user_of, token)
        assert notes.of(Conflict) == []

        request(manager, write, token)
        assert [(event.session_id, event.why) for event in notes.of(Conflict)] == [(token.id, "signed in")]
        with pytest.raises(ConflictError):
            request(manager, lambda session: session.transact(lambda data: data.clear()), token)
        assert len(notes.of(Conflict)) == 2

    def test_a_session_that_keeps_changing_is_told_of(
        self, manager: SessionManager, notes: Notes, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("session_middleware.repository.time.sleep", lambda seconds: None)
        token = begin(manager)
        monkeypatch.setattr(faulty.inner, "update", lambda key, record, *, version: False)
        with pytest.raises(ConflictError):
            request(manager, write, token)

        assert [(event.session_id, event.why) for event in notes.of(Conflict)] == [(token.id, "kept changing")]

    def test_what_only_notes_a_use_conflicts_with_nobody(
        self, manager: SessionManager, notes: Notes, clock: FakeClock
    ) -> None:
        """It has changed nothing that could be dropped."""
        token = begin(manager)
        clock.advance(100)

        def act(session: Session) -> None:
            user_of(session)
            manager.revoke(token.id)

        request(manager, act, token)
        assert notes.of(Conflict) == []


class TestTrouble:
    def test_a_damaged_record_is_told_of_at_each_look(
        self, manager: SessionManager, notes: Notes, faulty: FaultyStore
    ) -> None:
        """Why, and nothing of what is in it."""
        token = Token.new()
        faulty.create(token.id, a_record(b"secret"))
        request(manager, user_of, token)

        (event,) = notes.of(Damaged)
        assert event.session_id == token.id
        assert "secret" not in event.why

    def test_an_outage_is_told_of_at_its_beginning_and_its_end(
        self, manager: SessionManager, notes: Notes, clock: FakeClock
    ) -> None:
        token = begin(manager)
        manager.outage.failed(StoreUnavailable("away"))
        clock.advance(2)
        manager.outage.failed(StoreUnavailable("still away"))
        assert [event.error for event in notes.of(StoreFailed)] == ["away"]
        request(manager, user_of, token)
        assert notes.of(StoreRecovered) == []

        clock.advance(6)
        request(manager, user_of, token)
        assert [(event.requests, event.seconds) for event in notes.of(StoreRecovered)] == [(2, 2)]

    def test_what_is_lost_in_the_answer_is_told_by_nobody(
        self, manager: SessionManager, notes: Notes, faulty: FaultyStore
    ) -> None:
        """Whether it was done, nobody knows: so an end may be missing, and none is told twice."""
        token = begin(manager, USER)
        faulty.fail("delete", applied=True)
        with pytest.raises(StoreUnavailable):
            by_invalidate(manager, token)
        by_invalidate(manager, token)

        assert notes.ends == []
        assert faulty.load(token.id) is None


def test_an_event_is_of_its_kind_and_cannot_be_changed() -> None:
    event = Created(at=1.0, session_id="a")

    assert event.name == "Created"
    with pytest.raises(AttributeError):
        event.at = 2.0  # type: ignore[misc]


def test_what_is_carried_over_says_so(manager: SessionManager, notes: Notes) -> None:
    """A session of another library is new here, and the end of it leaves a tombstone, which is not told."""
    token = Token.new()
    envelope: Envelope = manager.new()._replace(carried=True, current=(manager._proof_of(token),))
    manager._sessions.create(token, envelope, {})
    assert [event.carried for event in notes.of(Created)] == [True]

    by_revoke(manager, token)
    assert notes.ends == [(token.id, None, "revoked")]
    assert not manager.revoke(token.id)
