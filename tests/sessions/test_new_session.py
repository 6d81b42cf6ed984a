"""When a sign-in begins a new session, and what happens if the old one ends or changes meanwhile."""

from collections.abc import Callable

import pytest

from session_middleware import Forget, MemoryStore, Record, Session
from session_middleware.stores.base import Version
from session_middleware.tokens import Token
from tests.sites import USER, Act, Site, login, setting

HOUR = 3600


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
