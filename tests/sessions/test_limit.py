"""A user has as many sessions as may be: which end, who is refused, and what it costs."""

import logging
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from session_middleware import (
    ConfigurationError,
    ConflictError,
    Lifetime,
    MemoryStore,
    Session,
    SessionManager,
    Store,
    StoreUnavailable,
    TooManySessions,
    repository,
)
from session_middleware.events import Ended, Event, SignedIn
from session_middleware.limit import MOST_AT_ONCE, beyond
from session_middleware.record import Envelope
from session_middleware.state import Found
from session_middleware.stores.base import Record, Version
from session_middleware.testing import FakeClock, FaultyStore
from session_middleware.testing.orders import SteppedStore, every_order
from session_middleware.tokens import Token
from tests.gates import full
from tests.sites import Bare, sent

USER = "alice"


class Noted:
    """An observer that keeps what it is told of ends, and counts sign-ins."""

    def __init__(self) -> None:
        self.ended: list[tuple[str | None, str]] = []
        self.signed_in = 0

    def on(self, event: Event) -> None:
        if isinstance(event, Ended):
            self.ended.append((event.session_id, event.reason))
        self.signed_in += isinstance(event, SignedIn)


class Place:
    """A manager with a limit, and the clock that tells its sign-ins apart."""

    def __init__(self, store: Store, most: int | None, **options: Any) -> None:
        self.clock, self.store, self.noted = FakeClock(), FaultyStore(store), Noted()
        options = {"clock": self.clock, "observer": self.noted, "max_per_user": most, **options}
        self.manager = SessionManager(self.store, **options)

    def open(self, *tokens: Token) -> Session:
        return Session(self.manager, tuple, tokens)

    def sign_in(self, *tokens: Token, user: str = USER, **data: object) -> Token:
        """Sign in a second later than the last; return the token that the browser is told, which there must be."""
        self.clock.advance(1)
        session = self.open(*tokens)
        session.update(data)
        session.login(user)
        return sent(self.manager.commit(session))

    def users(self, *tokens: Token) -> list[str | None]:
        return [self.open(token).user_id for token in tokens]

    def count(self) -> int:
        return len(self.manager.sessions_of(USER))

    def calls(self, act: Callable[[], object]) -> list[str]:
        before = len(self.store.calls)
        act()
        return [verb for verb, _ in self.store.calls[before:]]


@pytest.fixture
def place(store: Store) -> Place:
    """Two sessions a user; the oldest ends."""
    return Place(store, 2)


@pytest.fixture
def strict(store: Store) -> Place:
    """Two sessions a user; a third sign-in is refused."""
    return Place(store, 2, at_limit="refuse")


class TestTheOldestEnds:
    def test_a_sign_in_beyond_the_limit_ends_the_oldest(self, place: Place) -> None:
        """Promise 23; promise 24: the end is told once, with its reason."""
        tokens = [place.sign_in() for _ in range(4)]

        assert place.users(*tokens) == [None, None, USER, USER]
        assert place.noted.ended == [(token.id, "limit") for token in tokens[:2]]

    def test_who_held_the_session_is_told_why_it_has_ended(self, store: Store) -> None:
        """Promise 24: where that is kept."""
        place = Place(store, 1, lifetime=Lifetime(keep_ended=3600))
        first = place.sign_in()
        place.sign_in()
        ended = place.open(first).ended

        assert ended is not None
        assert (ended.reason, ended.at) == ("limit", place.clock())

    def test_nobody_ends_while_there_are_no_more(self, place: Place) -> None:
        """Promise 23; those of other users, and anonymous ones, do not count."""
        anonymous = place.open()
        anonymous["cart"] = 1
        place.manager.commit(anonymous)
        tokens = [place.sign_in(user=user) for user in (USER, "bob", "carol", USER)]

        assert place.users(*tokens) == [USER, "bob", "carol", USER]
        assert place.noted.ended == []

    def test_who_signs_in_again_becomes_the_newest(self, place: Place) -> None:
        """Their session is the same; no other ends by it."""
        first, second = place.sign_in(), place.sign_in()
        again = place.sign_in(first)
        third = place.sign_in()

        assert again.id == first.id
        assert place.users(again, second, third) == [USER, None, USER]

    def test_what_the_sign_in_itself_replaces_does_not_count(self, place: Place) -> None:
        """The browser's other session of the user ends as replaced, and the oldest of another browser stays."""
        other = place.sign_in()
        mine = place.sign_in()
        bobs = place.sign_in(user="bob")
        new = place.sign_in(mine, bobs)  # two signed-in sessions in one request: neither is used

        assert place.users(other, new) == [USER, USER]
        assert sorted(place.noted.ended) == sorted([(mine.id, "replaced"), (bobs.id, "replaced")])

    def test_a_limit_that_is_new_ends_what_there_is_too_much(self, store: Store) -> None:
        """Promise 23: of a user who had more, at the next sign-in."""
        place = Place(store, None)
        tokens = [place.sign_in() for _ in range(5)]
        later = Place(store, 2)
        later.clock.advance(10)
        new = later.sign_in()

        assert later.users(*tokens, new) == [None] * 4 + [USER, USER]

    def test_what_has_expired_does_not_count(self, place: Place) -> None:
        """Nobody ends for a session whose time is over."""
        old = [place.sign_in() for _ in range(2)]
        place.clock.advance(3000)
        kept = place.sign_in()
        place.clock.advance(700)
        new = place.sign_in()

        assert place.users(*old, kept, new) == [None, None, USER, USER]

    def test_a_transaction_keeps_the_limit(self, place: Place) -> None:
        """A sign-in that is stored by transact() counts like any."""
        tokens = [place.sign_in() for _ in range(2)]
        place.clock.advance(1)
        session = place.open()
        session.login(USER)
        session.transact(lambda data: data.update(n=1))

        assert place.users(*tokens, sent(place.manager.commit(session))) == [None, USER, USER]


class TestRefused:
    def test_login_raises_and_has_changed_nothing(self, strict: Place) -> None:
        """Promise 23: the application answers; the visitor's own session, with what it holds, stays as it is."""
        tokens = [strict.sign_in() for _ in range(2)]
        session = strict.open()
        session["cart"] = 1
        cart = sent(strict.manager.commit(session))
        session = strict.open(cart)
        with pytest.raises(TooManySessions) as refused:
            session.login(USER)
        session["tried"] = 1

        assert refused.value.limit == 2
        assert strict.manager.commit(session) is None
        assert dict(strict.open(cart)) == {"cart": 1, "tried": 1}
        assert strict.users(cart, *tokens) == [None, USER, USER]
        assert strict.noted.ended == []

    def test_another_user_of_this_browser_stays_signed_in(self, strict: Place) -> None:
        """A refused sign-in ends nobody's session."""
        tokens = [strict.sign_in() for _ in range(2)]
        bobs = strict.sign_in(user="bob")
        with pytest.raises(TooManySessions):
            strict.sign_in(bobs)

        assert strict.users(bobs, *tokens) == ["bob", USER, USER]

    def test_after_a_sign_out_there_is_room(self, strict: Place) -> None:
        """Nothing is remembered but the sessions."""
        first, second = strict.sign_in(), strict.sign_in()
        session = strict.open(first)
        session.invalidate()
        strict.manager.commit(session)

        assert strict.users(second, strict.sign_in()) == [USER, USER]

    def test_who_signs_in_again_is_not_refused(self, store: Store) -> None:
        """Also if the limit is lower than when they came, and though nobody else would be let in."""
        before = Place(store, None)
        tokens = [before.sign_in() for _ in range(3)]
        strict = Place(store, 1, at_limit="refuse")
        strict.clock.advance(10)
        again = strict.sign_in(tokens[1])

        assert strict.users(tokens[0], again, tokens[2]) == [USER] * 3
        with pytest.raises(TooManySessions):
            strict.sign_in()

    def test_a_session_that_is_replaced_makes_room_for_the_new_one(self, strict: Place) -> None:
        """By the same request: what it has invalidated, and the browser's other sessions of the user."""
        first, second = strict.sign_in(), strict.sign_in()
        session = strict.open(first)
        session.invalidate()
        session.login(USER)
        third = sent(strict.manager.commit(session))
        bobs = strict.sign_in(user="bob")
        fourth = strict.sign_in(second, bobs)

        assert strict.users(first, second, bobs, third, fourth) == [None, None, None, USER, USER]

    @pytest.mark.parametrize("opened_before", [False, True])
    @pytest.mark.parametrize("signed_out_once", [False, True])
    def test_the_second_click_of_a_double_click_is_the_same_sign_in(
        self, store: Store, signed_out_once: bool, opened_before: bool
    ) -> None:
        """Promise 20: it is not refused because of the first; whenever it came, and whatever was long before."""
        strict = Place(store, 1, at_limit="refuse")
        if signed_out_once:
            strict.manager.revoke_all(USER)
        session = strict.open()
        session["cart"] = 1
        cart = sent(strict.manager.commit(session))
        click = strict.open(cart)
        assert not opened_before or click["cart"] == 1
        first = strict.sign_in(cart)
        click.login(USER)
        second = sent(strict.manager.commit(click))

        assert first.id == second.id
        assert strict.users(first, second) == [USER, USER]

    def test_of_sign_ins_that_race_past_the_look_the_newest_end(
        self, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 23: with the reason, without a cookie, and a line in the log; who was there before stays."""
        strict = Place(store, 2, at_limit="refuse")
        there = strict.sign_in()
        racing = [strict.open() for _ in range(3)]
        for session in racing:
            session.login(USER)
        verdicts = []
        with caplog.at_level(logging.INFO, "session_middleware"):
            for session in racing:
                strict.clock.advance(1)
                verdicts.append(strict.manager.commit(session))

        assert strict.users(there, sent(verdicts[0])) == [USER, USER]
        assert verdicts[1:] == [None, None]
        assert [reason for _, reason in strict.noted.ended] == ["limit", "limit"]
        assert "beyond the limit of its user's sessions" in caplog.text
        assert strict.count() == 2


class TestCost:
    def test_without_the_option_nothing_is_listed(self, store: Store) -> None:
        """A sign-in costs what it cost."""
        place = Place(store, None, observer=None)

        assert [verb for verb in place.calls(place.sign_in) if verb != "sweep"] == ["load", "create", "load"]

    def test_reads_writes_and_further_sign_ins_list_nothing(self, strict: Place) -> None:
        """Only who comes anew is looked at."""
        token = strict.sign_in()

        assert "keys_of" not in strict.calls(lambda: strict.users(token))
        assert "keys_of" not in strict.calls(lambda: strict.sign_in(token))

    def test_a_user_with_very_many_is_brought_to_the_limit_step_by_step(self) -> None:
        """One sign-in looks at two hundred more than the limit; the next go on."""
        many, store = 3 * MOST_AT_ONCE, MemoryStore()
        before = Place(store, None, observer=None)
        for _ in range(many):
            before.sign_in()
        place = Place(store, 5)
        place.clock.advance(2 * many)
        counts = [place.count()]
        while counts[-1] > 5:
            place.sign_in()
            counts.append(place.count())

        assert all(one - other <= MOST_AT_ONCE for one, other in pairwise(counts))
        assert len(counts) <= 5

    def test_to_be_refused_takes_no_longer_however_many_there_are(self) -> None:
        """The look ends when it has seen enough."""
        store = MemoryStore()
        many = Place(store, None, observer=None)
        for _ in range(500):
            many.sign_in()
        strict = Place(store, 2, at_limit="refuse", observer=None)
        before = len(strict.store.calls)
        with pytest.raises(TooManySessions):
            strict.sign_in()

        assert len(strict.store.calls) - before <= 5


class TestFailures:
    @pytest.mark.parametrize("policy", ["end_oldest", "refuse"])
    def test_a_failure_after_the_write_is_made_good_by_the_next_sign_in(self, store: Store, policy: str) -> None:
        """The sign-in is stored, and its request fails; the next one counts it like any."""
        place = Place(store, 2, at_limit=policy)
        place.sign_in()
        session = place.open()
        session.login(USER)
        place.clock.advance(1)
        place.store.fail("keys_of", times=1)
        with pytest.raises(StoreUnavailable):
            place.manager.commit(session)

        assert place.count() == 2
        if policy == "refuse":
            with pytest.raises(TooManySessions):
                place.sign_in()
        else:
            place.sign_in()
        assert place.count() == 2

    def test_a_failure_of_the_look_fails_the_call(self, strict: Place) -> None:
        """Promise 7: it is not taken for room."""
        session = strict.open()
        strict.store.fail("keys_of")
        with pytest.raises(StoreUnavailable):
            session.login(USER)
        assert strict.manager.commit(session) is None
        assert strict.count() == 0

    def test_sessions_that_keep_changing_are_a_conflict(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 4: what cannot be done is told."""
        monkeypatch.setattr(repository, "_LONGEST_PAUSE", 0.0)
        place = Place(_Stubborn(), 1, observer=None)
        place.sign_in()
        with pytest.raises(ConflictError, match="keep changing"):
            place.sign_in()

    @pytest.mark.parametrize("policy", ["end_oldest", "refuse"])
    def test_a_sign_in_that_was_ended_before_it_was_counted_gets_no_cookie(self, policy: str) -> None:
        """Promise 6: nor is it told as a sign-in; nobody else ends for it."""
        store = _Watched()
        place = Place(store, 1, at_limit=policy)
        session = place.open()
        session.login(USER)
        store.before_listing = lambda: place.manager.revoke(place.manager.sessions_of(USER)[0].id)

        assert place.manager.commit(session) is None
        assert [reason for _, reason in place.noted.ended] == ["revoked"]
        assert place.noted.signed_in == 0
        assert place.count() == 0


class _Stubborn(MemoryStore):
    """It lets nobody end anything by compare-and-set."""

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return record.expires_at > 0 and super().update(key, record, version=version)


class _Watched(MemoryStore):
    """Another request comes in between before the sessions of a user are listed."""

    before_listing: Callable[[], object] | None = None

    def keys_of(self, user_id: str) -> Iterator[str]:
        act, self.before_listing = self.before_listing, None
        if act is not None:
            act()
        return super().keys_of(user_id)


def found(name: str, at: float, era: int = 1) -> Found:
    envelope = Envelope(USER, at, at, at, None, 1e9, False, era, (), at, ())
    return Found(name, None, envelope, {})


class TestTheOrder:
    """What ends, by the order of (signed in, id)."""

    @pytest.mark.parametrize("own", "abcd")
    def test_the_oldest_are_the_same_for_all(self, own: str) -> None:
        """Of two at the same time, the id decides."""
        living = [found("c", 3), found("b", 2), found("a", 2), found("d", 1)]

        assert {one.id for one in beyond(living, own, 2, refuses=False)} == {"a", "d"}
        assert beyond(living, own, 4, refuses=False) == []

    @pytest.mark.parametrize(("own", "ended"), [("a", "cd"), ("b", "cd"), ("c", "cd"), ("d", "d")])
    def test_who_is_refused_ends_none_that_is_older(self, own: str, ended: str) -> None:
        """Beyond the first two, each ends itself, and those that are newer."""
        living = [found("d", 4), found("c", 3), found("a", 1), found("b", 2)]

        assert "".join(one.id for one in beyond(living, own, 2, refuses=True)) == ended

    def test_who_has_signed_in_again_is_established(self) -> None:
        """However late that was, and even if there are more than may be."""
        living = [found("a", 9, era=2), found("b", 8, era=3), found("c", 1)]

        assert [one.id for one in beyond(living, "c", 2, refuses=True)] == ["c"]
        assert [one.id for one in beyond(living, "a", 1, refuses=True)] == ["c"]


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("policy", ["end_oldest", "refuse"])
@pytest.mark.parametrize("orders", [150, pytest.param(full(1_000, None), marks=pytest.mark.soak)])
def test_two_sign_ins_leave_exactly_the_limit_in_every_order(policy: Any, most: int, orders: int | None) -> None:
    """Promise 23: whatever the order of their store calls; for the gates, in each there is."""
    done = 0

    def world() -> Any:
        store, clock = SteppedStore(MemoryStore()), FakeClock()
        manager = SessionManager(store, max_per_user=most, at_limit=policy, clock=clock)

        def act() -> object:
            session = manager.open()
            clock.advance(1)
            session.login(USER)
            return manager.commit(session)

        return store, [act, act], manager

    for manager, outcome in every_order(world):
        refused = [error for error in outcome.errors if error is not None]
        assert all(isinstance(error, TooManySessions) and policy == "refuse" for error in refused)
        assert len(manager.sessions_of(USER)) == most
        done += 1
        if done == orders:
            break
    assert done > 10


@pytest.mark.parametrize(
    ("store", "options", "message"),
    [
        (MemoryStore(), {"max_per_user": 0}, "max_per_user=0: write a whole number above 0, or None for no limit"),
        (MemoryStore(), {"max_per_user": True}, "max_per_user=True: write a whole number"),
        (MemoryStore(), {"max_per_user": 2.0}, "max_per_user=2.0: write a whole number"),
        (MemoryStore(), {"max_per_user": 2, "at_limit": "end"}, "at_limit='end': write 'end_oldest' or 'refuse'"),
        (MemoryStore(), {"at_limit": "refuse"}, "at_limit='refuse' refuses nobody: write max_per_user=5, too"),
        (Bare(), {"max_per_user": 2}, "keeps no index of users; use a store that does"),
    ],
)
def test_a_limit_that_cannot_be_kept_does_not_start(store: Any, options: dict[str, Any], message: str) -> None:
    """Promise 15: the error says what to write."""
    with pytest.raises(ConfigurationError) as refused:
        SessionManager(store, **options)
    assert message in str(refused.value)
