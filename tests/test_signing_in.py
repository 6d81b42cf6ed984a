"""A sign-in is a boundary, and locks nobody out: what of before it opens, double clicks, and when a new session begins."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from session_middleware import ConflictError, Forget, MemoryStore, Record, Session, Store
from session_middleware.record import MOST_CURRENT
from session_middleware.rules import WINDOW, Opens
from session_middleware.stores.base import Version
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token
from tests.sites import DATA, Site, login, regenerate, setting

HOUR = 3600
USER = "alice"

Act = Callable[[Session], object]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def site(store: Store, clock: FakeClock) -> Site:
    return Site(store, clock)


def transact(session: Session) -> None:
    session.transact(lambda data: data.update(transacted=1))


WRITES: dict[str, Act] = {
    "set": setting("mine", 1),
    "set again": setting("role", "admin"),
    "delete": lambda s: s.pop("cart", None),
    "nested": lambda s: s.setdefault("cart", []).append("mine"),
    "clear": Session.clear,
    "regenerate": regenerate,
    "lifetime": lambda s: s.set_lifetime(idle=60, persistent=True),
    "use": Session.use,
}


class TestBoundary:
    """Promise 18: what runs with something from before a sign-in reads and writes nothing of what comes after it."""

    @pytest.mark.parametrize("user_id", [None, USER])
    @pytest.mark.parametrize("act", WRITES.values(), ids=WRITES)
    def test_a_request_from_before_it_changes_nothing(
        self, site: Site, act: Act, user_id: str | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A sign-in or a re-authentication: the request keeps its response, no cookie is sent, and the log has one line."""
        caplog.set_level(logging.INFO, "session_middleware")
        token = site.begin({"cart": ["tea"]}, user_id=user_id)
        session = site.loaded(token)
        new = site.follow(token, login(USER, role="customer"))
        expires_at = site.open(new).expires_at
        act(session)
        assert site.manager.commit(session) is None
        session.announced = True
        act_late = setting("late", 1)
        act_late(session)
        assert site.manager.commit(session) is None

        assert site.data(new) == {"cart": ["tea"], "role": "customer"}
        assert (site.user(new), site.open(new).expires_at) == (USER, expires_at)
        assert session.user_id == user_id
        assert session.get("role") in (None, "admin")
        assert session.is_gone
        assert caplog.text.count(f"session {token.id} was signed in to while a request was using it") == 1
        assert len(site.live()) == 1

    @pytest.mark.parametrize("act", WRITES.values(), ids=WRITES)
    def test_a_request_with_the_old_token_changes_nothing(
        self, site: Site, act: Act, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It reads what was there before, for ten seconds, and that is all; one line in the log says so."""
        caplog.set_level(logging.INFO, "session_middleware")
        token = site.begin({"cart": ["tea"]})
        new = site.follow(token, login(USER, role="customer"))
        session = site.open(token)
        assert session == {"cart": ["tea"]}
        act(session)
        assert not session.tells
        assert site.manager.commit(session) is None
        session.announced = True
        session["late"] = 1
        assert site.manager.commit(session) is None

        assert site.data(new) == {"cart": ["tea"], "role": "customer"}
        assert caplog.text.count("a request came with a secret that has just been replaced") == 1
        assert len(site.live()) == 1

    @pytest.mark.parametrize("user_id", [None, USER])
    def test_the_end_that_a_request_from_before_it_asks_for(self, site: Site, user_id: str | None) -> None:
        """Who was signed in may end the session in any case; who was not, only as long as nobody else is."""
        token = site.begin(user_id=user_id)
        session = site.loaded(token)
        new = site.follow(token, login(USER))
        session.invalidate()

        assert site.manager.commit(session) == Forget()
        assert site.is_alive(new) is (user_id is None)

    @pytest.mark.parametrize("failed", [False, True])
    def test_the_old_token_ends_nothing(self, site: Site, failed: bool) -> None:
        """Nor does it cost the browser the cookie that it has just been sent."""
        token = site.begin(user_id=USER)
        new = site.follow(token, login(USER))
        session = site.open(token)
        session.invalidate()
        session["a"] = 1

        assert site.manager.commit(session, failed=failed) is None
        assert site.data(new) == DATA
        assert len(site.live()) == 1

    def test_the_owner_ends_it_whatever_they_hold(self, site: Site) -> None:
        """Promise 5: with the new token, at once; and with that the old ones open nothing."""
        token = site.begin()
        new = site.follow(token, login(USER))
        site.request(new, Session.invalidate)

        assert site.opens(token) is Opens.NOTHING
        assert site.live() == []


class TestSnapshot:
    """For ten seconds a secret that was replaced is told from an unknown one."""

    def test_it_is_what_was_there_before_the_sign_in(self, site: Site) -> None:
        """Promise 20: a page that was loading when somebody signed in still shows the cart."""
        token = site.begin({"cart": [1]})
        new = site.follow(token, login(USER, private=1))
        site.request(new, setting("more", 1))
        session = site.open(token)

        assert session == {"cart": [1]}
        assert (session.user_id, session.signed_in_at, session.is_gone) == (None, None, True)

    @pytest.mark.parametrize(
        ("user_id", "act"), [(None, Session.regenerate), (USER, Session.regenerate), (USER, login(USER))]
    )
    def test_after_a_regenerate_or_a_reauthentication_it_is_empty(self, site: Site, user_id: str | None, act: Act) -> None:
        """Promise 18: nothing of the session is for who may have stolen its secret."""
        token = site.begin(user_id=user_id)
        site.follow(token, act)

        assert site.opens(token) is Opens.SNAPSHOT
        assert site.data(token) == {}
        assert site.user(token) is None

    def test_a_regenerate_takes_the_snapshot_of_the_sign_in_away(self, site: Site) -> None:
        """All other secrets are dead at once, in what they show, too."""
        token = site.begin({"cart": [1]})
        site.follow(site.follow(token, login(USER)), Session.regenerate)

        assert site.data(token) == {}

    def test_after_ten_seconds_the_old_token_is_an_unknown_one(self, site: Site) -> None:
        """Promise 12: to the second; it is never adopted, and a write starts a new session."""
        token = site.begin({"cart": [1]})
        new = site.follow(token, login(USER))
        site.clock.advance(WINDOW - 0.01)
        assert site.data(token) == {"cart": [1]}
        assert site.request(token, setting("a", 2)) is None
        site.clock.advance(0.01)
        assert site.opens(token) is Opens.NOTHING
        assert site.data(token) == {}
        fresh = site.follow(token, setting("a", 2))

        assert fresh.id != token.id
        assert site.data(new) == {"cart": [1]}

    def test_nothing_is_transacted_there(self, site: Site) -> None:
        """Promise 4: it would be lost without a word, and what may be taken once could be taken again."""
        token = site.begin({"cart": [1]})
        new = site.follow(token, login(USER))
        session = site.open(token)

        with pytest.raises(ConflictError, match="someone signed in meanwhile"):
            transact(session)
        assert site.manager.commit(session) is None
        assert site.data(new) == {"cart": [1]}


class TestDoubleClick:
    """Promise 20: of any number of clicks on "sign in" each response carries a cookie that opens the one session."""

    @pytest.mark.parametrize("in_flight", [True, False])
    @pytest.mark.parametrize("user_id", [None, USER])
    def test_the_second_click_joins_the_first(self, site: Site, in_flight: bool, user_id: str | None) -> None:
        """Whether it came before the first was stored or a moment later; also when somebody signs in again."""
        token = site.begin({"cart": 1}, user_id=user_id)
        session = site.open(token)
        if in_flight:
            assert len(session) == 1
        first = site.follow(token, login(USER, theirs=1))
        login(USER, mine=1)(session)
        second = site.sent(session)

        assert first != second
        assert site.data(first) == site.data(second) == {"cart": 1, "theirs": 1, "mine": 1}
        assert site.user(first) == site.user(second) == USER
        assert [info.id for info in site.manager.sessions_of(USER)] == [token.id]
        assert not site.is_alive(token)

    def test_the_latest_four_clicks_have_tokens_that_open_it(self, site: Site) -> None:
        """The others were answered long ago, in the same browser."""
        token = site.begin({"cart": 1})
        clicks = [site.loaded(token) for _ in range(6)]
        tokens = []
        for click in clicks:
            login(USER)(click)
            tokens.append(site.sent(click))

        assert [site.is_alive(one) for one in tokens] == [False] * 2 + [True] * MOST_CURRENT

    def test_each_of_their_tokens_is_dead_once_the_secret_is_replaced(self, site: Site) -> None:
        """Promise 11: regenerate() and a re-authentication replace them all."""
        for act in (Session.regenerate, login(USER)):
            token = site.begin()
            session = site.loaded(token)
            first = site.follow(token, login(USER))
            login(USER)(session)
            second = site.sent(session)
            site.follow(first, act)

            assert not site.is_alive(first)
            assert not site.is_alive(second)

    def test_the_second_click_of_another_user_is_a_session_of_its_own(self, site: Site) -> None:
        """Promise 18: neither sees what the other's sign-in wrote, nor what the other had read."""
        token = site.begin({"cart": 1})
        session = site.loaded(token)
        first = site.follow(token, login("bob", theirs=1))
        login(USER, mine=1)(session)
        second = site.sent(session)

        assert site.data(first) == {"cart": 1, "theirs": 1}
        assert site.data(second) == {"mine": 1}
        assert first.id != second.id

    def test_the_second_click_after_the_user_was_signed_out_everywhere_is_a_session_of_its_own(self, site: Site) -> None:
        """Promise 19: the first ended, the second began after that."""
        token = site.begin({"cart": 1})
        first = site.follow(token, login(USER))
        site.manager.revoke_all(USER, keep=first.id)
        second = site.follow(token, login(USER))

        assert second.id != first.id
        assert site.is_alive(first)
        assert site.is_alive(second)

    def test_a_sign_in_with_a_secret_that_regenerate_has_replaced_is_a_session_of_its_own(self, site: Site) -> None:
        """Promise 18: who was left alone with an old secret gets nothing of the session, and who signs in is signed in."""
        token = site.begin({"cart": 1}, user_id=USER)
        new = site.follow(token, Session.regenerate)
        second = site.follow(token, login(USER, mine=1))

        assert second.id != new.id
        assert site.data(second) == {"mine": 1}
        assert site.data(new) == {"cart": 1}

    def test_a_sign_in_that_was_under_way_when_the_secret_was_replaced_goes_on(self, site: Site) -> None:
        """Promise 3: the anonymous session is the same, with what was written to it meanwhile."""
        token = site.begin({"cart": 1})
        session = site.loaded(token)
        other = site.follow(token, regenerate)
        login(USER, mine=1)(session)
        new = site.sent(session)

        assert site.data(new) == {"cart": 1, "regenerated": True, "mine": 1}
        assert not site.is_alive(other)
        assert len(site.live()) == 1

    def test_the_second_click_deletes_and_changes_what_it_itself_has(self, site: Site) -> None:
        """Promise 3: laid over the first, like any change."""
        token = site.begin({"cart": [1], "step": 1, "old": 1})
        session = site.loaded(token)
        first = site.follow(token, login(USER, step=2))
        session["cart"].append(2)
        del session["old"]
        login(USER)(session)
        site.sent(session)

        assert site.data(first) == {"cart": [1, 2], "step": 2}


class TestKeep:
    def test_of_an_anonymous_session_only_those_keys_go_on(self, site: Site) -> None:
        """A4-3.7.1: what was half done before is not taken for done by who is signed in."""
        token = site.begin({"cart": [1], "step": 2, "flag": True})
        session = site.open(token)
        session["before"] = 1
        session.login(USER, keep=("cart", "missing"))
        session["after"] = 1
        assert session == {"cart": [1], "after": 1}
        new = site.sent(session)

        assert site.data(new) == session == {"cart": [1], "after": 1}
        assert site.data(token) == {"cart": [1], "step": 2, "flag": True}

    @pytest.mark.parametrize("keep", [(), [], frozenset(), iter(())])
    def test_it_may_be_nothing(self, site: Site, keep: Any) -> None:
        """An empty session, signed in."""
        new = site.follow(site.begin(), lambda s: s.login(USER, keep=keep))

        assert site.data(new) == {}

    def test_what_others_have_written_meanwhile_stays_behind_too(self, site: Site) -> None:
        """Promise 18: it was written before the sign-in, by whoever."""
        token = site.begin({"cart": [1]})
        session = site.loaded(token)
        site.request(token, lambda s: s.update(cart=[1, 2], planted=1))
        session.login(USER, keep=("cart",))

        assert site.data(site.sent(session)) == {"cart": [1, 2]}

    def test_the_second_click_deletes_nothing_that_came_after_the_first(self, site: Site) -> None:
        """Promise 3: what is left behind is left behind once."""
        token = site.begin({"cart": [1], "visits": 7})
        second = site.loaded(token)
        first = site.follow(token, lambda s: s.login(USER, keep=("cart",)))
        site.request(first, setting("visits", 1))
        second.login(USER, keep=("cart",))
        site.sent(second)

        assert site.data(first) == second == {"cart": [1], "visits": 1}

    def test_who_signs_in_again_keeps_everything(self, site: Site) -> None:
        """It is the same user's session."""
        new = site.follow(site.begin(user_id=USER), lambda s: s.login(USER, keep=()))

        assert site.data(new) == DATA

    def test_one_key_is_written_as_a_tuple(self, site: Site) -> None:
        """Promise 15: a text is as many keys as it has letters; the error says what to write."""
        with pytest.raises(TypeError, match=r"write the keys as a tuple, such as \('cart',\)"):
            site.open().login(USER, keep="cart")


class TestNewSession:
    """Where there is no session to sign in on, a new one begins, with what this request has set and nothing that it read."""

    def test_on_a_session_that_has_ended(self, site: Site) -> None:
        """Promise 5."""
        token = site.begin({"old": 1, "list": [1]})
        session = site.loaded(token)
        site.request(token, Session.invalidate)
        session["list"].append(2)
        session["kept"] = 1
        login(USER, mine=1)(session)
        new = site.sent(session)

        assert site.data(new) == session == {"kept": 1, "mine": 1}
        assert site.user(new) == USER
        assert new.id != token.id

    @pytest.mark.parametrize("find_out", [lambda s: s.transact(dict), lambda s: s.update(a=2)])
    def test_on_one_that_was_found_gone(self, site: Site, find_out: Act) -> None:
        """Also where the request has noticed already, by a transaction or by a commit."""
        token = site.begin()
        session = site.loaded(token)
        site.request(token, Session.invalidate)
        find_out(session)
        site.manager.commit(session)
        seen = [session.is_gone]
        login(USER, mine=1)(session)

        assert [*seen, session.is_gone] == [True, False]
        assert site.data(site.sent(session)).items() >= {"mine": 1}.items()
        assert len(site.live()) == 1

    def test_on_one_that_somebody_else_has_signed_in_to(self, site: Site) -> None:
        """Promise 18: theirs stays theirs."""
        token = site.begin({"cart": 1})
        session = site.loaded(token)
        first = site.follow(token, login("bob"))
        login(USER)(session)
        second = site.sent(session)

        assert (site.user(first), site.user(second)) == ("bob", USER)
        assert site.data(second) == {}

    def test_on_one_whose_id_is_known_already(self, site: Site) -> None:
        """Promise 17: a new session keeps the id that the request has been told."""
        session = site.open()
        before = session.id
        session.login(USER)
        assert session.id == before

        assert site.sent(session).id == before

    def test_the_token_of_before_is_nobodys(self, site: Site) -> None:
        """Promise 11: an unknown token is not adopted by a sign-in either."""
        made_up = Token("A" * 40)
        new = site.follow(made_up, login(USER))

        assert new.id != made_up.id
        assert site.user(made_up) is None

    def test_a_lifetime_that_was_asked_for_is_that_of_the_new_one(self, site: Site) -> None:
        """ "Remember me" works whether there was a cart or not, or it has just ended."""
        for token in (site.begin(), site.begin(user_id="bob"), Token("A" * 40)):
            session = site.loaded(token)
            if session.user_id is None:
                site.manager.revoke(token.id)
            session.login(USER)
            session.set_lifetime(persistent=True, absolute=30 * HOUR)
            new = site.sent(session)

            assert site.open(new).persistent
            assert site.open(new).expires_at == site.clock() + HOUR


class Contended(MemoryStore):
    """A store in which one update comes after something else."""

    before_update: Callable[[], object] | None = None

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        act, self.before_update = self.before_update, None
        if act is not None:
            act()
        return super().update(key, record, version=version)


class TestMeanwhile:
    """What happens between two store calls of one commit."""

    @pytest.fixture
    def store(self) -> Contended:
        return Contended()

    def test_a_sign_in_whose_session_ends_under_it_starts_anew(self, site: Site, store: Contended) -> None:
        """Promise 5: only what this request wrote is kept."""
        token = site.begin({"old": 1})
        session = site.loaded(token)
        store.before_update = lambda: site.manager.revoke(token.id)
        login(USER, mine=1)(session)

        assert site.data(site.sent(session)) == {"mine": 1}
        assert site.live() == [{"mine": 1}]

    def test_a_regenerate_whose_session_ends_under_it_leaves_nothing(self, site: Site, store: Contended) -> None:
        """Promise 5."""
        token = site.begin()
        session = site.loaded(token)
        store.before_update = lambda: site.manager.revoke(token.id)
        session.regenerate()

        assert site.manager.commit(session) is None
        assert site.live() == []

    def test_a_sign_in_meets_a_sign_in_that_is_faster(self, site: Site, store: Contended) -> None:
        """Promise 20: refused because of a sign-in of the same user, it joins that."""
        token = site.begin({"cart": 1})
        session = site.loaded(token)
        first: list[Token] = []
        store.before_update = lambda: first.append(site.follow(token, login(USER, theirs=1)))
        login(USER, mine=1)(session)
        second = site.sent(session)

        assert site.data(first[0]) == site.data(second) == {"cart": 1, "theirs": 1, "mine": 1}

    def test_an_anonymous_end_meets_a_sign_in_that_is_faster(self, site: Site, store: Contended) -> None:
        """Promise 18: who has signed in meanwhile keeps the session."""
        token = site.begin({"cart": 1})
        session = site.loaded(token)
        first: list[Token] = []
        store.before_update = lambda: first.append(site.follow(token, login(USER)))
        session.invalidate()

        assert site.manager.commit(session) == Forget()
        assert site.user(*first) == USER

    def test_an_anonymous_end_meets_a_write_that_is_faster(self, site: Site, store: Contended) -> None:
        """Promise 5: refused because of a change, it is tried again."""
        token = site.begin({"cart": 1})
        session = site.loaded(token)
        store.before_update = lambda: site.request(token, setting("cart", 2))
        session.invalidate()
        site.manager.commit(session)

        assert site.live() == []

    def test_a_reauthentication_meets_another_users_sign_in(self, site: Site, store: Contended) -> None:
        """Promise 18: that ends the session, so this one is a new one."""
        token = site.begin({"cart": 1}, user_id=USER)
        session = site.loaded(token)
        store.before_update = lambda: site.request(token, login("bob"))
        login(USER, mine=1)(session)
        new = site.sent(session)

        assert (site.data(new), site.user(new)) == ({"mine": 1}, USER)
        assert new.id != token.id
