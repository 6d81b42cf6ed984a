"""A session after the response has started, and after the request is over."""

from collections.abc import Callable

import pytest

from session_middleware import HeadersAlreadySent, Session, StoreUnavailable
from tests.sites import DATA, Site, login, regenerate, setting

SIGN_IN = login("alice")


class TestAfterTheResponseHasStarted:
    @pytest.fixture
    def session(self, site: Site) -> Session:
        """A session whose response has started."""
        session = site.loaded(site.begin())
        assert site.manager.commit(session) is None
        session.announced = True
        return session

    @pytest.mark.parametrize(
        "change",
        [
            setting("a", 1),
            lambda s: s.update(a=1),
            lambda s: s.setdefault("a", 1),
            lambda s: s.transact(lambda data: None),
            Session.regenerate,
            lambda s: s.login("alice"),
            lambda s: s.set_lifetime(persistent=True),
        ],
    )
    def test_a_new_session_cannot_begin(self, site: Site, change: Callable[[Session], object]) -> None:
        """W-4: its token could not reach the browser; the call says so, and nothing is stored."""
        session = site.open()
        session.announced = True

        with pytest.raises(HeadersAlreadySent, match="the response has started"):
            change(session)
        assert site.manager.commit(session) is None
        assert site.records() == []

    @pytest.mark.parametrize(
        "change",
        [
            Session.regenerate,
            lambda s: s.login("alice"),
            lambda s: s.set_lifetime(persistent=True),
        ],
    )
    def test_no_new_token_can_be_given(self, site: Site, session: Session, change: Callable[[Session], object]) -> None:
        """W-4: the call says so, and nothing has changed."""
        with pytest.raises(HeadersAlreadySent, match="needs a new cookie"):
            change(session)
        assert not session.modified
        assert site.calls(lambda: site.manager.commit(session)) == []

    def test_changes_of_an_existing_session_are_stored(self, site: Site, session: Session) -> None:
        """Promise 8: a second commit, at the end of the response."""
        session["late"] = 1
        session["list"].append(2)
        session.set_lifetime(idle=600)
        key = session.id

        assert site.manager.commit(session) is None
        assert site.live() == [{**DATA, "list": [1, 2], "late": 1}]
        assert session.id == key
        assert session.expires_at == site.clock() + 600

    def test_changes_of_a_session_that_this_request_began_are_stored(self, site: Site) -> None:
        """Its cookie has gone out."""
        session = site.open()
        session["a"] = 1
        token = site.sent(session)
        session.announced = True
        session["late"] = 1

        assert site.manager.commit(session) is None
        assert site.data(token) == {"a": 1, "late": 1}

    def test_a_late_read_is_no_use_to_note(self, site: Site, session: Session) -> None:
        """The first commit has noted what there was to note."""
        site.clock.advance(600)

        assert session["a"] == 1
        assert site.calls(lambda: site.manager.commit(session)) == []

    def test_it_can_still_be_ended_at_once(self, site: Site, session: Session) -> None:
        """Promise 5: only the cookie stays; it opens nothing."""
        assert site.calls(session.invalidate) == ["update"]
        assert site.live() == []
        with pytest.raises(HeadersAlreadySent):
            session["a"] = 1

    def test_an_end_that_the_store_refused_is_tried_again(self, site: Site, session: Session) -> None:
        """Promise 16: ending a session always ends it: when the request ends, at the latest."""
        site.store.fail()
        with pytest.raises(StoreUnavailable):
            session.invalidate()
        site.manager.commit(session)

        assert site.live() == []

    def test_a_value_that_was_assigned_may_change_afterwards(self, site: Site) -> None:
        """Promise 8: the application holds what it has put there; a change inside it is stored like any other."""
        session = site.open()
        session["list"] = held = [1]
        session["text"] = "immutable"
        token = site.sent(session)
        session.announced = True
        held.append(2)

        assert site.manager.commit(session) is None
        assert site.data(token) == {"list": [1, 2], "text": "immutable"}

    def test_writes_with_a_token_that_was_just_replaced_are_dropped(self, site: Site) -> None:
        """Promise 20: the innocent request that came with the old cookie gets its own response."""
        token = site.begin()
        site.request(token, Session.regenerate)
        session = site.loaded(token)
        session.announced = True
        session["a"] = 2

        assert site.manager.commit(session) is None
        assert site.live() == [DATA]

    def test_late_changes_are_laid_over_those_of_others(self, site: Site, session: Session) -> None:
        """Promise 3: also where the session got a new secret in between."""
        state = session.state
        assert state is not None
        assert state.own is not None
        new = site.follow(state.own, regenerate)
        session["late"] = 1

        assert site.manager.commit(session) is None
        assert site.data(new) == {**DATA, "regenerated": True, "late": 1}


class TestWhenTheRequestIsOver:
    @pytest.fixture
    def session(self, site: Site) -> Session:
        """A session whose request is over."""
        session = site.loaded(site.begin())
        assert site.manager.commit(session) is None
        session.announced = session.is_over = True
        return session

    @pytest.mark.parametrize(
        "change",
        [
            setting("a", 2),
            lambda s: s.__delitem__("a"),
            lambda s: s.pop("a"),
            Session.popitem,
            Session.clear,
            lambda s: s.transact(lambda data: data.clear()),
            Session.use,
            lambda s: s.set_lifetime(idle=60),
            lambda s: s.set_lifetime(persistent=True),
            Session.regenerate,
            SIGN_IN,
        ],
    )
    def test_a_change_raises(self, site: Site, session: Session, change: Callable[[Session], object]) -> None:
        """Promise 8: nobody would store it, so it is not lost without a word."""
        with pytest.raises(HeadersAlreadySent) as caught:
            change(session)
        assert "the request is over" in str(caught.value)
        assert "session.transact(), which stores at once" in str(caught.value)
        assert not session.modified
        assert site.live() == [DATA]

    def test_it_can_still_be_read_and_ended(self, site: Site, session: Session) -> None:
        """Promise 5: ending works at any time."""
        assert session == DATA
        session.invalidate()

        assert site.live() == []
