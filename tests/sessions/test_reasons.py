"""Why a session has ended: kept for a while for who held it, and for nobody else."""

from collections.abc import Callable

import pytest

from session_middleware import Lifetime, Session, Store
from session_middleware.events import Ended, Event
from session_middleware.stores.base import UserIndexed
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token
from tests.sealing import user_there
from tests.sites import AgedStore, Site

KEPT = 86400.0

BY_OTHERS: dict[str, Callable[[Site, Token], object]] = {
    "revoked": lambda site, token: site.manager.revoke(token.id),
    "signed_out_everywhere": lambda site, token: site.manager.revoke_all("alice"),
    "revoked_everybody": lambda site, token: site.manager.revoke_everybody(),
}


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def site(store: Store, clock: FakeClock) -> Site:
    return Site(AgedStore(store, clock), clock, lifetime=Lifetime(keep_ended=KEPT))


def value_of(site: Site, token: Token) -> bytes:
    """Return what the store holds under the id."""
    stored = site.store.inner.load(token.id)
    assert stored is not None
    return stored.value


class TestASessionThatSomebodyElseHasEnded:
    @pytest.mark.parametrize("reason", BY_OTHERS)
    def test_its_holder_is_told_why_and_when(self, site: Site, reason: str) -> None:
        """Promise 24: as often as they ask, for the time that the site has named."""
        token = site.begin(user_id="alice")
        BY_OTHERS[reason](site, token)
        at = site.clock.now
        site.clock.advance(KEPT - 2)

        assert [site.open(token).ended for _ in range(2)] == [(reason, at)] * 2
        session = site.open(token)
        assert session.ended is not None
        assert (session.ended.reason, session.ended.at) == (reason, at)
        site.clock.advance(3)
        assert site.open(token).ended is None

    def test_of_an_anonymous_one_nothing_is_kept(self, site: Site) -> None:
        """Promise 13: who never signs in fills no store with reasons."""
        revoked, expired = site.begin(), site.begin()
        assert site.manager.revoke(revoked.id)
        assert site.open(revoked).ended is None
        site.clock.advance(3601)
        assert site.open(expired).ended is None
        assert site.records() == []

    def test_an_alias_ends_it_for_the_same_reason(self, site: Site) -> None:
        """Promise 24."""
        session = site.open()
        session.login("alice", alias="sid-1")
        token = site.sent(session)
        assert site.manager.revoke_alias("sid-1") == 1

        assert site.open(token).ended == ("revoked", site.clock.now)

    def test_who_guesses_or_has_an_older_secret_is_told_nothing(self, site: Site) -> None:
        """Promise 11: an id is no secret, and what opened the session before the sign-in is not its own."""
        anonymous = site.begin()
        token = site.follow(anonymous, lambda session: session.login("alice"))
        site.manager.revoke(token.id)

        assert site.open(Token.new(token.id)).ended is None
        assert site.open(anonymous).ended is None
        assert site.open(token).ended is not None

    def test_who_has_a_secret_that_was_renewed_is_told_too(self, store: Store, clock: FakeClock) -> None:
        """Promise 22: it is of the same sign-in, and the response with the next one may be lost."""
        site = Site(store, clock, lifetime=Lifetime(keep_ended=KEPT, renew=900))
        tokens = [site.begin(user_id="alice")]
        for _ in range(5):
            site.clock.advance(900)
            tokens.append(site.follow(tokens[-1], lambda session: session.get("a")))
        site.manager.revoke(tokens[0].id)

        assert [site.open(token).ended is not None for token in tokens] == [False] * 2 + [True] * 4

    def test_it_opens_nothing_and_is_nowhere(self, site: Site) -> None:
        """Promises 5, 11 and 19: in no listing, for no act, and its token is not adopted."""
        token = site.begin(user_id="alice")
        site.manager.revoke(token.id)

        assert site.user(token) is None
        assert site.manager.find(token.id) is None
        assert site.manager.sessions_of("alice") == []
        assert not site.manager.revoke(token.id)
        assert site.manager.revoke_all("alice") == 0
        assert site.follow(token, lambda session: session.update(a=1)).id != token.id
        assert site.open(token).ended is not None, "also after all that"

    def test_a_request_in_flight_brings_nothing_back(self, site: Site) -> None:
        """Promise 5."""
        token = site.begin(user_id="alice")
        flying = site.loaded(token)
        flying["late"] = 1
        site.manager.revoke(token.id)

        assert site.manager.commit(flying) is None
        assert site.user(token) is None
        assert site.open(token).ended == ("revoked", site.clock.now)

    def test_whoever_signs_in_has_read_it_before(self, site: Site) -> None:
        """It is what the request came with that has ended."""
        token = site.begin(user_id="alice")
        site.manager.revoke(token.id)
        session = site.open(token)
        session.login("alice")
        new = site.sent(session)

        assert session.ended is not None
        assert site.open(new).ended is None

    def test_of_several_cookies_one_that_lives_is_used_and_one_that_has_ended_is_told_of(self, site: Site) -> None:
        """Promise 24."""
        ended, alive = site.begin(user_id="alice"), site.begin(user_id="alice")
        site.manager.revoke(ended.id)

        assert site.open(ended, alive).user_id == "alice"
        assert site.open(ended, alive).ended is None
        assert site.open(Token.new(), ended, Token.new()).ended == ("revoked", site.clock.now)

    def test_it_ends_when_the_store_refuses_writes(self, site: Site) -> None:
        """Promise 5: without a reason then."""
        token = site.begin(user_id="alice")
        site.store.refuse_writes()
        assert site.manager.revoke(token.id)
        site.store.heal()

        assert site.user(token) is None
        assert site.open(token).ended is None


def test_who_signs_out_leaves_nothing(site: Site) -> None:
    """They know; and so does who signs in in another session of the same browser."""
    token = site.begin(user_id="alice")
    site.request(token, Session.invalidate)
    other = site.begin(user_id="bob")
    site.follow(other, lambda session: session.login("alice"))

    assert site.open(token).ended is None
    assert site.open(other).ended is None
    assert len(site.records()) == 1


class TestASessionWhoseTimeIsOver:
    @pytest.mark.parametrize(("idle", "reason"), [(3600, "expired_idle"), (None, "expired_absolute")])
    def test_its_holder_is_told_which_timeout_it_was(
        self, site: Site, idle: float | None, reason: str, told: list[Event]
    ) -> None:
        """Promises 12 and 24: by the moment at which it ended, not by that of the question."""
        token = site.begin(user_id="alice")
        site.request(token, lambda session: session.set_lifetime(idle=idle))
        ends_at = site.open(token).expires_at
        site.clock.advance(ends_at - site.clock.now + 1800)

        assert site.open(token).ended == (reason, ends_at)
        assert site.open(token).ended == (reason, ends_at)
        site.clock.advance(ends_at + KEPT - site.clock.now + 1)
        assert site.open(token).ended is None
        assert site.records() == []

    def test_its_values_are_there_until_somebody_meets_it(self, site: Site) -> None:
        """As long as its reason would be; what is left then has no values and no user."""
        token = site.begin({"a": "x" * 60}, "alice")
        site.clock.advance(3601)
        assert len(value_of(site, token)) > 100
        assert site.user(token) is None

        assert len(value_of(site, token)) < 60

    def test_it_leaves_the_index_when_somebody_meets_it(self, site: Site) -> None:
        """Promise 13: nothing is listed that does not live."""
        site.begin(user_id="alice")
        site.clock.advance(3601)
        assert site.manager.sessions_of("alice") == []

        assert isinstance(site.store, UserIndexed)
        assert list(site.store.keys_of("alice")) == []

    def test_it_is_told_once(self, store: Store, clock: FakeClock, told: list[Event]) -> None:
        """Promise 24: however many come with its token, and however often it is listed."""

        class Observer:
            on = staticmethod(told.append)

        site = Site(AgedStore(store, clock), clock, lifetime=Lifetime(keep_ended=KEPT), observer=Observer())
        token = site.begin(user_id="alice")
        clock.advance(3601)
        for _ in range(3):
            assert site.user(token) is None
            assert site.manager.sessions_of("alice") == []

        ends = [event for event in told if isinstance(event, Ended)]
        assert [(end.session_id, end.user_id, end.reason) for end in ends] == [
            (token.id, user_there("alice"), "expired_idle")
        ]

    def test_one_that_ends_by_its_own_lifetime_is_told_of(self, site: Site) -> None:
        """Promise 12: the request that makes it so short is its last."""
        token = site.begin(user_id="alice")
        site.clock.advance(60)
        site.request(token, lambda session: session.set_lifetime(idle=None, absolute=30))

        assert site.open(token).ended == ("expired_absolute", site.clock.now - 30)

    def test_that_it_cannot_be_noted_changes_nothing(self, site: Site) -> None:
        """Promise 7: the holder is told all the same."""
        token = site.begin(user_id="alice")
        site.clock.advance(3601)
        site.store.refuse_writes()
        assert site.open(token).ended == ("expired_idle", site.clock.now - 1)

    def test_the_store_drops_it_after_that_time(self, site: Site) -> None:
        """Promise 13."""
        site.begin(user_id="alice")
        site.clock.advance(3600 + KEPT + 2)

        assert site.records() == []


def test_off_is_off(store: Store, clock: FakeClock) -> None:
    """Nothing is kept, and nothing is told, until the site asks for it."""
    site = Site(store, clock)
    token = site.begin(user_id="alice")
    site.manager.revoke(token.id)

    assert site.open(token).ended is None
    assert site.records() == []
