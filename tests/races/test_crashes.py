"""A store call fails, or the process dies between two of them: what the browser holds works as before or as after.

Whatever is left, nobody is locked out, and signing the user out everywhere ends it.
"""

from collections.abc import Callable
from typing import TypeVar

import pytest

from session_middleware import PayloadError, Session, Store, StoreUnavailable, repository
from session_middleware.rules import Opens
from session_middleware.testing import FakeClock, FaultyStore
from session_middleware.tokens import Token
from tests.backends.running import LATER
from tests.sealing import mark_there
from tests.sites import DATA, Site, login, regenerate, setting

T = TypeVar("T")

HOUR = 3600
DAY = 86400
USER = "alice"

Act = Callable[[Session], object]


@pytest.fixture
def site(store: Store) -> Site:
    return Site(store, FakeClock())


class Crash(BaseException):
    """The process dies: nothing after it runs, and nobody handles it."""


def transact(session: Session) -> None:
    session.transact(lambda data: data.update(n=1))


def sign_in_and_transact(session: Session) -> None:
    session.login(USER)
    transact(session)


ACTS: dict[str, Act] = {
    "write": setting("a", 2),
    "regenerate": regenerate,
    "sign in": login(USER),
    "sign in as another": login("bob"),
    "transact": transact,
    "sign in and transact": sign_in_and_transact,
    "end": Session.invalidate,
    "lifetime": lambda s: s.set_lifetime(persistent=True),
}


class TestFailure:
    def test_a_failed_create_issues_no_token(self, site: Site) -> None:
        """Promise 7."""
        session = site.open()
        session["a"] = 1
        site.store.fail("create")

        with pytest.raises(StoreUnavailable):
            site.manager.commit(session)
        assert site.records() == []

    @pytest.mark.parametrize("act", [setting("a", 2), regenerate, login(USER), transact])
    @pytest.mark.parametrize("user_id", [None, USER])
    def test_a_failed_update_leaves_the_session_as_it_was(self, site: Site, act: Act, user_id: str | None) -> None:
        """Promise 7: the browser still holds its token, and that opens what was there."""
        token = site.begin(user_id=user_id)
        site.store.fail("update")

        with pytest.raises(StoreUnavailable):
            site.request(token, act)
        assert site.data(token) == DATA
        assert site.user(token) == user_id

    def test_a_commit_that_fails_may_have_ended_what_it_was_to_end(self, site: Site) -> None:
        """Promise 16: the former user's session is over, though the next one's could not begin."""
        token = site.begin(user_id=USER)
        session = site.open(token)
        login("bob")(session)
        site.store.fail("create")

        with pytest.raises(StoreUnavailable):
            site.manager.commit(session)
        assert not site.is_alive(token)

    @pytest.mark.parametrize("act", [setting("a", object()), lambda session: session["list"].append(object())])
    def test_a_value_that_cannot_be_encoded_changes_nothing(self, site: Site, act: Act) -> None:
        """Promise 9: the error names the path, and the stored session is as it was."""
        token = site.begin()

        with pytest.raises(PayloadError, match=r"session\['(a|list)'\](\[1\])?: object"):
            site.request(token, act)
        assert site.data(token) == DATA

    def test_a_sign_in_whose_mark_cannot_be_read_signs_nobody_in(self, site: Site) -> None:
        """Promise 19: at the call, before anything has changed; and the request may go on without."""
        token = site.begin()
        session = site.loaded(token)
        site.store.fail("load")

        with pytest.raises(StoreUnavailable):
            session.login(USER)
        session["a"] = 2
        assert site.manager.commit(session) is None
        assert site.data(token) == {**DATA, "a": 2}
        assert site.user(token) is None

    def test_a_sign_in_whose_mark_cannot_be_read_again_tells_nobody(self, site: Site) -> None:
        """Promise 19: the record is written, and nobody has its token; who tries again is signed in, on the same session."""
        token = site.begin()
        session = site.loaded(token)
        session.login(USER)
        site.store.fail("load")

        with pytest.raises(StoreUnavailable):
            site.manager.commit(session)
        assert not site.is_alive(token)
        assert [info.id for info in site.manager.sessions_of(USER)] == [token.id]
        new = site.follow(token, login(USER))
        assert (site.user(new), site.data(new)) == (USER, DATA)
        assert len(site.live()) == 1

    def test_a_commit_may_be_tried_again(self, site: Site) -> None:
        """The state is as it was, so an application that handles the error may; nothing is stored twice."""
        token = site.begin()
        session = site.loaded(token)
        session["list"].append(2)
        session.login(USER)
        site.store.fail("update", applied=True)
        with pytest.raises(StoreUnavailable):
            site.manager.commit(session)
        new = site.sent(session)

        assert site.data(new) == {**DATA, "list": [1, 2]}
        assert len(site.live()) == 1


@pytest.mark.parametrize("store", LATER, indirect=True)
@pytest.mark.parametrize("applied", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("user_id", [None, USER])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_wherever_it_fails_the_browser_is_before_or_after_it_and_can_sign_in(
    site: Site, act: Act, user_id: str | None, applied: bool
) -> None:
    """F-S10, promises 7 and 20: every store call of the request in turn, done or not."""
    for at in range(1, 30):
        token = site.begin(user_id=user_id)
        session = site.loaded(token)
        site.request(token, setting("theirs", 1))
        before = {**DATA, "theirs": 1}
        site.store.fail(at=at, applied=applied)
        calls = len(site.store.calls)
        try:
            act(session)
            site.manager.commit(session)
        except StoreUnavailable:
            failed = True
        else:
            failed = False
        made = len(site.store.calls) - calls
        site.store.heal()
        if site.is_alive(token):
            data = site.data(token)
            assert data == before or data in ({**before, "a": 2}, {**before, "n": 1}), (at, data)
            assert site.user(token) == user_id
        assert_recovers(site, token)
        if not failed and made < at:
            assert at > 1
            return
    pytest.fail("the request never ends")


def assert_recovers(site: Site, *tokens: Token) -> None:
    """With whatever the browser has kept one can sign in at once, and whatever was left ends with the user's sessions."""
    session = site.open(*tokens)
    login(USER)(session)
    new = site.sent(session)
    assert site.user(new) == USER
    assert site.user(*tokens, new) == USER
    site.manager.revoke_all(USER)
    site.manager.revoke_all("bob")
    assert site.manager.sessions_of(USER) == site.manager.sessions_of("bob") == []
    assert not site.is_alive(new)
    for key in site.records():
        found = site.manager.find(key)
        assert found is None or (found.user_id is None and found.expires_at <= site.clock() + DAY)
        site.manager.revoke(key)


class Mortal(FaultyStore):
    """A store whose process dies before a call: it is not made, and none after it."""

    left: int | None = None
    """So many calls before that."""

    def around(self, verb: str, key: str, call: Callable[[], T]) -> T:
        if self.left is not None:
            if self.left == 0:
                raise Crash
            self.left -= 1
        return super().around(verb, key, call)


@pytest.fixture
def mortal(store: Store) -> Site:
    return Site(Mortal(store), FakeClock())


def crashes(site: Site, before: int, act: Callable[[], object]) -> bool:
    """Let the process die when *act* has made so many store calls; return whether it did."""
    store = site.store
    assert isinstance(store, Mortal)
    store.left = before
    try:
        act()
    except Crash:
        return True
    finally:
        store.left = None
    return False


@pytest.mark.parametrize("store", LATER, indirect=True)
@pytest.mark.parametrize("user_id", [None, USER, "bob"])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_wherever_the_process_dies_nobody_is_locked_out_and_nothing_is_left(
    mortal: Site, act: Act, user_id: str | None
) -> None:
    """Promises 19 and 20: between any two store calls of a request, with another cookie beside its own."""
    for at in range(20):
        token, other = mortal.begin(user_id=user_id), mortal.begin({"other": 1})
        tokens = (token, other) if user_id else (token,)
        session = mortal.loaded(*tokens)

        def request(session: Session = session) -> None:
            act(session)
            mortal.manager.commit(session)

        died = crashes(mortal, at, request)
        mortal.clock.advance(at)
        assert_recovers(mortal, *tokens)
        if not died:
            assert at > 0
            return
    pytest.fail("the request never ends")


def test_wherever_the_process_dies_while_a_user_is_signed_out_everywhere_it_can_be_done_again(
    mortal: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 19: half of it is no end, so whoever asked asks again; sign-ins meanwhile are as before or as after it."""
    monkeypatch.setattr(repository, "_BATCH", 1)
    for at in range(20):
        tokens = [mortal.begin(user_id=USER) for _ in range(3)]
        anonymous = mortal.begin()
        signing_in = mortal.loaded(anonymous)
        signing_in.login(USER)
        died = crashes(mortal, at, lambda: mortal.manager.revoke_all(USER))
        verdict = mortal.manager.commit(signing_in)
        marked = mortal.manager.mark_of(USER) is not None
        assert (verdict is None) == marked or at < 2
        mortal.manager.revoke_all(USER)

        assert not any(map(mortal.is_alive, tokens))
        assert mortal.manager.sessions_of(USER) == []
        assert mortal.user(mortal.follow(anonymous, login(USER))) == USER
        mortal.manager.revoke_all(USER)
        mortal.store.delete(mark_there(USER))
        if not died:
            assert at > 4
            return
    pytest.fail("it never ends")


@pytest.mark.parametrize("at", range(4))
def test_wherever_the_process_dies_while_a_session_is_revoked_it_can_be_done_again(mortal: Site, at: int) -> None:
    """Promise 19: before it the session is as it was, after it gone."""
    token = mortal.begin(user_id=USER)
    if crashes(mortal, at, lambda: mortal.manager.revoke(token.id)):
        assert mortal.is_alive(token)
        assert mortal.manager.revoke(token.id)

    assert not mortal.is_alive(token)
    assert mortal.records() == []


def test_what_a_crash_has_left_ends_by_itself(mortal: Site) -> None:
    """Promises 12 and 13: a sign-in that nobody was told of lasts no longer than any other session."""
    token = mortal.begin()
    assert crashes(mortal, 3, lambda: mortal.request(token, login(USER)))
    assert [info.id for info in mortal.manager.sessions_of(USER)] == [token.id]
    assert mortal.opens(token) is Opens.SNAPSHOT
    mortal.clock.advance(HOUR)

    assert mortal.manager.sessions_of(USER) == []
    assert mortal.live() == []
