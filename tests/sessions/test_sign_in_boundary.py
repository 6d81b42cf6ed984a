"""A sign-in is a boundary: what of before it opens, and what it can change."""

import logging

import pytest

from session_middleware import ConflictError, Forget, Session
from session_middleware.rules import WINDOW, Opens
from tests.sites import DATA, USER, Act, Site, login, regenerate, setting


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
