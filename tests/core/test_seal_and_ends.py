"""What is left of sealed sessions that have ended, what a look without their secrets sees, what a write leaves alone."""

from collections.abc import Callable, Iterator

import pytest

from session_middleware import MemoryStore, SessionManager
from session_middleware.lifetime import Lifetime
from session_middleware.notes import BODY, Tombstone, checked
from session_middleware.record import Closed
from session_middleware.seal import Seal
from session_middleware.state import Found
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token
from tests.core.test_seal import NEW, OLD, begun, closed, everything, put, sent, value_of

USER, DAY = "alice@example.com", 86400
ALL = Lifetime(renew=900, keep_ended=DAY, on_replay="end")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def revoked(manager: SessionManager, token: Token, clock: FakeClock) -> None:
    assert manager.revoke(token.id)


def signed_out_everywhere(manager: SessionManager, token: Token, clock: FakeClock) -> None:
    assert manager.revoke_all(USER) == 1


def expired(manager: SessionManager, token: Token, clock: FakeClock) -> None:
    clock.advance(3601)


def replayed(manager: SessionManager, token: Token, clock: FakeClock) -> None:
    clock.advance(901)
    newer = sent(manager, token, lambda session: session.get("name"))
    sent(manager, newer, lambda session: session.get("name"))
    clock.advance(31)
    assert manager.open(token).user_id is None


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (revoked, "revoked"),
        (signed_out_everywhere, "signed_out_everywhere"),
        (expired, "expired_idle"),
        (replayed, "replayed"),
    ],
)
def test_who_holds_the_secret_is_told_why_a_sealed_session_has_ended(
    end: Callable[[SessionManager, Token, FakeClock], None], reason: str, clock: FakeClock
) -> None:
    """Promise 25: and nobody else; what is left tells nothing of whose it was, and opens nothing."""
    store = MemoryStore()
    manager = SessionManager(store, seal=Seal(OLD, require=True), lifetime=ALL, clock=clock)
    token = everything(manager)
    before = manager._names.users(USER)[0].encode()
    assert before in value_of(store, token)
    end(manager, token, clock)

    session = manager.open(token)
    assert session.ended is not None
    assert (session.ended.reason, session.user_id, dict(session)) == (reason, None, {})
    assert manager.open(Token(token.id + "A" * 28)).ended is None
    assert isinstance(manager._sessions.look(token.id), Tombstone)
    assert manager.find(token.id) is None
    assert manager.sessions_of(USER) == []
    left = value_of(store, token)
    assert not any(word in left for word in (b"alice", before, b"telling"))


def test_the_end_is_told_without_the_key_that_sealed(clock: FakeClock) -> None:
    """A tombstone is not sealed: it has proofs and a reason."""
    store = MemoryStore()
    token = everything(SessionManager(store, seal=Seal(OLD), clock=clock))
    manager = SessionManager(store, seal=Seal(NEW), lifetime=ALL, clock=clock)
    assert manager.revoke(token.id)

    assert manager.open(token).ended == ("revoked", clock.now)


def test_a_look_sees_no_values_and_whose_it_is_by_the_name_there_alone() -> None:
    """Promise 25: and the device by the site's key; without that, nothing of it."""
    store = MemoryStore()
    manager = SessionManager(store, seal=Seal(OLD))
    token = sent(manager, everything(manager), lambda session: session.amend(device="Firefox on Linux"))
    for keys, device in (
        (Seal(OLD), "Firefox on Linux"),
        (Seal(NEW, OLD), "Firefox on Linux"),
        (Seal(NEW), None),
        (None, None),
    ):
        found = SessionManager(store, seal=keys)._sessions.look(token.id)
        assert isinstance(found, Found)
        assert isinstance(found.seal, Closed)
        assert (found.values, found.envelope.snapshot, found.envelope.device) == ({}, b"", device)
        assert found.envelope.user_id == manager._names.users(USER)[0]
    assert manager._sessions.look("nobody-there") is None
    (info,) = manager.sessions_of(USER)
    assert (info.user_id, info.device, info.data) == (USER, "Firefox on Linux", None)


def test_a_session_that_is_sealed_while_it_is_looked_for_is_not_missed() -> None:
    """Promise 19: it goes from the name of its user to what the seal makes of that, while the index is read."""

    class Index(MemoryStore):
        act: Callable[[], object] | None = None

        def keys_of(self, user_id: str) -> Iterator[str]:
            found = list(super().keys_of(user_id))
            act, self.act = self.act, None
            if act is not None:
                act()
            return iter(found)

    store = Index()
    plain, manager = SessionManager(store), SessionManager(store, seal=Seal(NEW, OLD))
    for seals in (plain, SessionManager(store, seal=Seal(OLD))):
        for ends in (manager.revoke_all, lambda user: len(manager.sessions_of(user))):
            token = sent(seals, None, lambda session: session.login(USER))
            store.act = lambda token=token: sent(manager, token, lambda session: session.update(a=1))
            assert ends(USER) == 1
            manager.revoke(token.id)


def head(store: MemoryStore, token: Token) -> bytes:
    """Return what lies before the nonce."""
    value, at = closed(value_of(store, token))
    return value[at : at + 6 + 65 * value[at] + value[at + 1]]


def test_a_write_leaves_what_it_does_not_change(clock: FakeClock) -> None:
    """The wrap, the device and the user's name are made anew for another key, another secret, another device alone."""
    store = MemoryStore()
    manager = SessionManager(store, seal=Seal(OLD), clock=clock)
    token = everything(manager)
    clock.advance(120)  # the secret of before the sign-in is dead
    sent(manager, token, lambda session: session.amend(device="Firefox"))
    before = head(store, token)
    assert (before[0], before[1]) == (1, 12 + 16 + len("Firefox"))
    sent(manager, token, lambda session: session.update(a=1))
    assert head(store, token) == before

    clock.advance(-120)  # the clock of another machine does not bring the dead one back
    sent(manager, token, lambda session: session.amend(device="Chrome"))
    after = head(store, token)
    assert after[2 : 6 + 65] == before[2 : 6 + 65]
    assert manager.sessions_of(USER)[0].device == "Chrome"
    both = SessionManager(store, seal=Seal(NEW, OLD), clock=clock)
    sent(both, token, lambda session: session.update(a=2))
    assert head(store, token)[2:11] != after[2:11]
    renewed = sent(both, token, lambda session: session.regenerate())
    new = SessionManager(store, seal=Seal(NEW), clock=clock)
    assert [(info.id, info.device) for info in new.sessions_of(USER)] == [(token.id, "Chrome")]
    assert (dict(new.open(renewed))["a"], dict(new.open(token))) == (2, {})


def test_a_wrap_of_a_newer_key_does_not_keep_the_name_of_an_older_one(clock: FakeClock) -> None:
    """Processes whose newest keys differ write in turns: whoever has the newest finds the user by it."""
    store = MemoryStore()
    old, both = (SessionManager(store, seal=Seal(*keys), clock=clock) for keys in ((OLD, NEW), (NEW, OLD)))
    token = begun(both, a=1)
    clicks = [both.open(token), both.open(token)]
    tokens = []
    for click in clicks:
        click.login(USER)
        verdict = both.commit(click)
        tokens.append(verdict.token)  # type: ignore[union-attr]
    clock.advance(120)
    sent(old, tokens[1], lambda session: session.update(b=2))
    sent(both, tokens[0], lambda session: session.update(c=3))

    assert [info.id for info in SessionManager(store, seal=Seal(NEW), clock=clock).sessions_of(USER)] == [token.id]
    assert all(dict(both.open(one)) == {"a": 1, "b": 2, "c": 3} for one in tokens)


def test_one_that_is_too_short_to_be_opened_again_is_damaged(caplog: pytest.LogCaptureFixture) -> None:
    """Promise 10: what another has put there while a request was under way."""
    store = MemoryStore()
    manager = SessionManager(store, seal=Seal(OLD))
    token = begun(manager, a=1)
    value = value_of(store, token)
    at = closed(value).at
    for end in (at, at + 1, at + 6, at + 80, at + 6 + 65 + 4):
        put(store, token.id, value)
        session = manager.open(token)
        session["b"] = 2
        put(store, token.id, checked(value[BODY:end]))
        manager.commit(session)
        assert value_of(store, token) == checked(value[BODY:end])
