"""Secrets are renewed as time passes: what the browser is told, what the old one opens, and when it is a replay."""

import logging
from datetime import timedelta

import pytest

from session_middleware import Lifetime, MemoryStore, Send, Session, SessionManager, Store
from session_middleware.events import Ended, Event, Renewed, Replayed
from session_middleware.rules import OVERLAP
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token
from tests.sealing import user_there
from tests.sites import Site, sent

RENEWAL = 900.0
RENEWING = Lifetime(renew=timedelta(minutes=15))


class Notes(list[Event]):
    """What happens, as an observer is told."""

    on = list.append

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self if isinstance(event, kind)]


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def site(store: Store, clock: FakeClock, notes: Notes) -> Site:
    return Site(store, clock, lifetime=RENEWING, observer=notes)


@pytest.fixture
def manager(clock: FakeClock) -> SessionManager:
    return SessionManager(MemoryStore(), clock=clock, lifetime=RENEWING)


@pytest.fixture
def token(manager: SessionManager) -> Token:
    session = manager.open()
    session["cart"] = 1
    return sent(manager.commit(session))


def read(session: Session) -> None:
    session.get("cart")


class TestASessionThatIsUsed:
    def test_it_gets_a_new_secret_when_the_last_one_is_older(self, site: Site, notes: Notes) -> None:
        """Promise 22: by reading, too, and not before."""
        token = site.begin({"cart": 1}, "alice")
        site.clock.advance(RENEWAL - 1)
        assert site.request(token, read) is None
        site.clock.advance(1)
        renewed = site.follow(token, read)

        assert renewed.id == token.id
        assert renewed != token
        assert [event.session_id for event in notes.of(Renewed)] == [token.id]
        assert site.request(renewed, read) is None, "the next one is due so long after this one"
        assert site.user(renewed) == "alice"

    def test_a_renewal_and_what_the_request_changes_are_one_write(self, site: Site) -> None:
        """Promise 22: there is nothing in between for another request to meet."""
        token = site.begin({"cart": 1})
        site.clock.advance(RENEWAL)

        assert site.calls(lambda: site.follow(token, lambda session: session.update(cart=2))) == ["load", "update"]
        assert site.calls(lambda: site.request(token, read)) == ["load"], "nobody has come with the new one"

    def test_the_old_one_works_until_the_new_one_has_come_and_half_a_minute_longer(self, site: Site) -> None:
        """Promise 22: parallel and slow requests, lost responses and tabs sign nobody out."""
        old = site.begin({"cart": 1}, "alice")
        site.clock.advance(RENEWAL)
        new = site.follow(old, read)
        site.clock.advance(RENEWAL / 2)
        assert site.user(old) == "alice", "the response may be lost"
        site.request(new, read)
        site.clock.advance(OVERLAP - 1)
        assert site.user(old) == "alice", "a slow request"
        site.clock.advance(1)
        assert site.user(old) is None
        assert site.user(new) == "alice"

    def test_who_never_takes_the_new_one_goes_on(self, site: Site, notes: Notes) -> None:
        """Promise 22: a script with a fixed cookie keeps its session, and is told a new secret each time it is due."""
        token = site.begin({"cart": 1}, "alice")
        for _ in range(20):
            site.clock.advance(RENEWAL)
            assert site.follow(token, read) != token

        assert site.user(token) == "alice"
        assert notes.of(Replayed) == []

    def test_a_request_that_fails_renews_nothing(self, site: Site) -> None:
        """Promise 16."""
        token = site.begin({"cart": 1})
        site.clock.advance(RENEWAL)

        assert site.request(token, read, failed=True) is None
        assert site.calls(lambda: site.request(token, read, failed=True)) == ["load"]

    def test_a_lost_race_is_no_harm(self, site: Site) -> None:
        """Promise 22: of two that renew at once one is told, and the other one goes on with what it has."""
        token = site.begin({"cart": 1}, "alice")
        site.clock.advance(RENEWAL)
        first, second = site.loaded(token), site.loaded(token)
        new = site.sent(first)
        assert site.manager.commit(second) is None

        assert site.user(token) == site.user(new) == "alice"

    def test_the_timeouts_are_as_they_were(self, site: Site) -> None:
        """Promise 12: a new secret is no sign-in."""
        token = site.begin({"cart": 1}, "alice")
        for _ in range(95):
            site.clock.advance(RENEWAL)
            token = site.follow(token, read)
        assert site.user(token) == "alice"
        site.clock.advance(RENEWAL)
        assert site.user(token) is None


class TestAReplay:
    """Somebody has a copy of the cookie, and its successor is in use."""

    def test_a_thief_who_comes_after_the_victim_is_refused_and_told_of(
        self, site: Site, notes: Notes, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 22: each time."""
        stolen = site.begin({"cart": 1}, "alice")
        site.clock.advance(RENEWAL)
        victims = site.follow(stolen, read)
        site.request(victims, read)
        site.clock.advance(OVERLAP)
        with caplog.at_level(logging.WARNING):
            assert [site.user(stolen) for _ in range(3)] == [None] * 3

        assert [(event.session_id, event.user_id) for event in notes.of(Replayed)] == [(stolen.id, user_there("alice"))] * 3
        assert caplog.text.count(f"session {stolen.id}: somebody came with an old secret") == 3
        assert stolen.reveal()[12:] not in caplog.text
        assert site.user(victims) == "alice"

    def test_one_from_before_a_sign_in_ends_nothing(self, store: Store, clock: FakeClock) -> None:
        """Promises 18 and 22: an attacker who has planted a cookie has older ones of it, which were never the user's."""
        site = Site(store, clock, lifetime=Lifetime(renew=RENEWAL, on_replay="end", keep_ended=86400))
        older = site.begin({"cart": 1})
        clock.advance(RENEWAL)
        planted = site.follow(older, read)
        site.request(planted, read)
        clock.advance(OVERLAP + 1)
        hers = site.follow(planted, lambda session: session.login("alice"))
        assert [site.user(token) for token in (older, planted, hers)] == [None, None, "alice"]
        clock.advance(OVERLAP)
        assert [site.user(token) for token in (older, planted, hers)] == [None, None, "alice"]

        site.manager.revoke(hers.id)
        assert [site.open(token).ended is not None for token in (older, planted, hers)] == [False, False, True]

    def test_one_from_long_ago_is_noticed(self, site: Site, notes: Notes) -> None:
        """Promise 22: whatever the record has forgotten meanwhile, up to a sign-in or ``regenerate()``."""
        issued = [site.begin({"cart": 1}, "alice")]
        for _ in range(20):
            site.clock.advance(RENEWAL)
            issued.append(site.follow(issued[-1], read))
        site.request(issued[-1], read)
        site.clock.advance(OVERLAP)
        assert [site.user(token) for token in issued] == [None] * 20 + ["alice"]
        assert len(notes.of(Replayed)) == 20

        site.follow(issued[-1], Session.regenerate)
        site.clock.advance(OVERLAP)
        assert [site.user(token) for token in issued] == [None] * 21
        assert len(notes.of(Replayed)) - 20 in (1, 2), "those that the record has not forgotten yet"

    def test_what_somebody_has_made_up_for_a_public_id_is_none(self, site: Site, notes: Notes) -> None:
        """Nobody is signed out by who knows no more than an id."""
        token = site.begin({"cart": 1}, "alice")
        for _ in range(5):
            site.clock.advance(RENEWAL)
            token = site.follow(token, read)
        assert site.user(Token.new(token.id)) is None

        assert notes.of(Replayed) == []

    def test_what_a_refused_one_writes_is_a_session_of_its_own(self, site: Site) -> None:
        """Promise 11: its token is not adopted."""
        old = site.begin({"cart": 1}, "alice")
        site.clock.advance(RENEWAL)
        site.request(site.follow(old, read), read)
        site.clock.advance(OVERLAP)

        assert site.follow(old, lambda session: session.update(cart=2)).id != old.id

    @pytest.mark.parametrize("first", ["thief", "victim"])
    def test_it_ends_the_session_if_the_site_wants_that(
        self, first: str, store: Store, clock: FakeClock, notes: Notes
    ) -> None:
        """Promises 22 and 24: whoever of the two comes late, both are out, and it is told once, with its reason."""
        site = Site(store, clock, lifetime=Lifetime(renew=RENEWAL, on_replay="end", keep_ended=3600), observer=notes)
        old = site.begin({"cart": 1}, "alice")
        clock.advance(RENEWAL)
        new = site.follow(old, read)  # of the thief, or of the victim
        site.request(new, read)
        clock.advance(OVERLAP)
        late = site.open(old)
        assert late.user_id is None
        assert late.ended == ("replayed", clock.now)

        assert site.user(new) is None
        assert [(event.session_id, event.reason) for event in notes.of(Ended) if isinstance(event, Ended)] == [
            (old.id, "replayed")
        ]
        assert site.open(new).ended == site.open(old).ended == ("replayed", clock.now)

    def test_it_does_not_end_a_sign_in_that_comes_meanwhile(self, store: Store, clock: FakeClock) -> None:
        """Promise 18: for that session, the old secret is one from before the boundary."""

        class Hers(list[Token]):
            def on(self, event: Event) -> None:
                if isinstance(event, Replayed):
                    self.append(shop.follow(self.pop(), lambda session: session.login("alice")))

        hers = Hers()
        shop = Site(store, clock, lifetime=Lifetime(renew=RENEWAL, on_replay="end", keep_ended=3600), observer=hers)
        old = shop.begin({"cart": 1})
        clock.advance(RENEWAL)
        hers.append(shop.follow(old, read))
        shop.request(hers[0], read)
        clock.advance(OVERLAP)

        assert shop.open(old).ended is None
        assert [shop.user(token) for token in hers] == ["alice"]

    def test_an_end_by_a_replay_tells_nothing_where_reasons_are_not_kept(self, store: Store, clock: FakeClock) -> None:
        """Off until it is named."""
        site = Site(store, clock, lifetime=Lifetime(renew=RENEWAL, on_replay="end"))
        old = site.begin({"cart": 1}, "alice")
        clock.advance(RENEWAL)
        site.request(site.follow(old, read), read)
        clock.advance(OVERLAP)

        assert site.open(old).ended is None
        assert site.records() == []


def test_a_secret_that_was_replaced_before_the_request_returns_is_not_sent(
    manager: SessionManager, clock: FakeClock, token: Token
) -> None:
    """Promise 20: its response may be the last to arrive, and the other one has the cookie that opens the session."""
    clock.advance(RENEWAL)
    first, second = manager.open(token), manager.open(token)
    first.transact(lambda data: data.update(first=1))
    second.regenerate()
    cookie = sent(manager.commit(second))

    first["late"] = 1
    assert manager.commit(first) is None
    assert dict(manager.open(cookie)) == {"cart": 1, "first": 1, "late": 1}


def test_a_changed_cookie_has_a_new_secret(manager: SessionManager, clock: FakeClock, token: Token) -> None:
    """Promise 22: the same one might arrive after its successor, and be dead soon."""
    session = manager.open(token)
    session.set_lifetime(persistent=True)
    verdict = manager.commit(session)
    cookie = sent(verdict)
    assert cookie != token
    assert verdict == Send(cookie, 86400)
    assert manager.open(cookie).persistent

    clock.advance(30)
    assert manager.open(token).persistent, "it works until the new one has been used"


def test_a_changed_cookie_does_not_overtake_a_renewed_one(manager: SessionManager, clock: FakeClock, token: Token) -> None:
    """Promise 22: the response that renews it is on its way."""
    clock.advance(RENEWAL)
    session, reader = manager.open(token), manager.open(token)
    assert "cart" in session
    assert "cart" in reader
    renewed = sent(manager.commit(reader))

    session.set_lifetime(persistent=True)
    assert manager.commit(session) is None
    assert manager.open(renewed).persistent
