"""Sealed sessions: what a store keeps of them, and what opens it."""

import copy
import logging
import os
import pickle
import traceback
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from session_middleware import ConfigurationError, MemoryStore, Record, Send, SessionManager, SQLiteStore
from session_middleware.lifetime import Lifetime
from session_middleware.notes import BODY, checked
from session_middleware.record import Closed, unpack
from session_middleware.seal import Seal
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token, proof_function

OLD, NEW, OTHER = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
LATER = 2**40


def sent(manager: SessionManager, token: Token | None = None, act: Callable[..., object] = lambda session: None) -> Token:
    """Return the token that a request with an act was told, or came with."""
    session = manager.open(token)
    act(session)
    verdict = manager.commit(session)
    if isinstance(verdict, Send):
        return verdict.token
    assert token is not None
    return token


def begun(manager: SessionManager, **values: object) -> Token:
    return sent(manager, None, lambda session: session.update(values))


def value_of(store: MemoryStore, token: Token) -> bytes:
    stored = store.load(token.id)
    assert stored is not None
    return stored.value


def closed(value: bytes) -> Closed:
    """Return the sealed part of a value."""
    found = unpack(value)
    assert isinstance(found, tuple)
    assert isinstance(found[1], Closed)
    return found[1]


def put(store: MemoryStore, key: str, value: bytes) -> None:
    store.delete(key)
    assert store.create(key, Record(value, LATER, None))


# Keys


@pytest.mark.parametrize("key", [OLD, b64encode(OLD).decode(), b64encode(OLD).decode().rstrip("=")])
def test_a_key_is_bytes_or_text(key: bytes | str) -> None:
    store = MemoryStore()
    token = begun(SessionManager(store, seal=Seal(OLD)), a=1)
    assert dict(SessionManager(store, seal=Seal(key)).open(token)) == {"a": 1}


@pytest.mark.parametrize(
    "keys", [(OLD[:31],), (OLD, OLD), ("",), ("ä" * 43,), ("*" * 43,), (None,), (OLD, b64encode(OLD).decode())]
)
def test_what_is_no_key_does_not_start(keys: tuple[bytes, ...]) -> None:
    """Promise 15: and the error shows no key, nor do its locals."""
    with pytest.raises(ConfigurationError, match="seal") as caught:
        Seal(*keys)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    ours = [frame for frame in frames if "seal.py" in frame.filename and "test_" not in frame.filename]
    assert ours
    assert not any(repr(key) in str(frame.locals) for frame in ours for key in keys if key)


def test_require_is_true_or_false() -> None:
    with pytest.raises(ConfigurationError, match="require"):
        Seal(OLD, require=1)  # type: ignore[arg-type]


def test_a_manager_takes_a_seal_and_nothing_else() -> None:
    with pytest.raises(ConfigurationError, match="seal"):
        SessionManager(MemoryStore(), seal=OLD)  # type: ignore[arg-type]


def test_a_new_key_is_a_key() -> None:
    key = Seal.new_key()
    assert repr(Seal(key, Seal.new_key())) == "<Seal of 2 keys>"
    assert len({key, Seal.new_key()}) == 2


def test_nothing_shows_a_key() -> None:
    seal = Seal(OLD)
    manager = SessionManager(MemoryStore(), seal=seal)
    token = begun(manager, a=1)
    session = manager.open(token)
    assert session["a"] == 1
    assert session.state is not None
    assert session.state.found is not None
    opened = session.state.found.seal
    assert [str(seal), f"{seal}", repr(opened)] == ["<Seal of 1 key>", "<Seal of 1 key>", "<Opened>"]
    for secret in (seal, opened):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(secret)
        with pytest.raises(TypeError, match="pickled"):
            copy.deepcopy(secret)


# What is sealed


def everything(manager: SessionManager) -> Token:
    token = begun(manager, name="a telling value")
    return sent(manager, token, lambda session: session.login("alice@example.com", alias="the sid of alice"))


def test_a_dump_tells_nothing(tmp_path: Path) -> None:
    """25."""
    store = SQLiteStore(tmp_path / "sessions.sqlite3")
    manager = SessionManager(store, seal=Seal(OLD))
    tokens = [everything(manager) for _ in range(20)]
    assert manager.revoke_all("alice@example.com", keep=tokens[0].id) > 0
    dump = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    plain = SessionManager(MemoryStore())
    told = [b"telling", b"name", b"alice", b"the sid", plain._mark_id("alice@example.com").encode()]
    told += [plain._names.aliases("the sid of alice")[0].encode()]
    assert [word for word in told if word in dump] == []
    assert tokens[0].id.encode() in dump


def test_it_takes_the_cookie(caplog: pytest.LogCaptureFixture) -> None:
    """Promise 25: who has the store and the key of the site, but not the secret, reads nothing: whatever is in the record
    is tried in place of it."""
    store = MemoryStore()
    manager = SessionManager(store, seal=Seal(OLD))
    token = everything(manager)
    value = value_of(store, token)
    proof = proof_function("session")(token)
    tried = 0
    for at in range(len(value) - 28):
        text = token.id + b64encode(value[at : at + 21], b"-_").decode()
        found = manager._sessions.find(token.id)
        assert found is not None
        assert found.values == {}
        assert manager._sessions.open(found, Token(text), proof) is None
        tried += 1
    assert tried > 100
    assert manager.open(token).user_id == "alice@example.com"


def test_vectors() -> None:
    """The format, by numbers that do not come from here."""
    sealer = Seal(OLD).of("session", proof_function("session"))
    assert sealer.users("alice")[0] == VECTORS["blind"]
    assert sealer.marks("alice") == (VECTORS["mark"],)
    assert sealer.aliases("sid 5") == (VECTORS["alias"],)
    store = MemoryStore()
    token = Token("AAAAAAAAAAAA" + "BBBBBBBBBBBBBBBBBBBBBBBBBBBB")
    put(store, token.id, bytes.fromhex(VECTORS["record"]))
    session = SessionManager(store, seal=Seal(OLD), clock=lambda: 1000.0).open(token)
    assert (dict(session), session.user_id) == ({"a": 1}, "alice")
    assert session.state is not None
    assert session.state.envelope.device == "Firefox on Linux"


VECTORS = {
    "blind": "~QaNyxsF7HEvUAQjJzx01XJhu",
    "mark": "W4YZX7mFrcQu",
    "alias": "-hB305mUj-X0",
    "record": (
        "0114961b010500408c200000000000408db00000000000408ef00000000000408db0000000000040ac20000000000040f518"
        "000000000000000001010019000000008cd02212b0f232e709a079c44348b4a27e51614e79787346374845765541516a4a7a"
        "783031584a6875012c4d288558004d28855801010101010101010101010164fb185872058b23e989688433b5ce5bb0a29942"
        "0c35c1edfa854a80f2b4e7119e71063bd450cf36e44c9108437d9d130303030303030303030303031298f86b70000afb445e"
        "28dd5df158e2b9f73ab2bab810b91a089a5678c68df9020202020202020202020202b9ddc1db1cdbc485cefc2c92931f24dd"
        "ee560d0f53ddddeff4f235d943ad4961"
    ),
}


# What opens nothing


def test_what_is_changed_opens_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Promise 10: each bit of the record, each length, whether the check-sum is made to match or not."""
    store = MemoryStore()
    manager = SessionManager(store, seal=Seal(OLD))
    token = everything(manager)
    value = value_of(store, token)
    bodies = [value[BODY:end] for end in range(BODY + 1, len(value))]
    for at in range(BODY, len(value)):
        changed = bytearray(value)
        changed[at] ^= 1 << (at % 8)
        bodies.append(bytes(changed[BODY:]))
    for body in bodies:
        put(store, token.id, checked(body))
        session = manager.open(token)
        assert (dict(session), session.user_id) == ({}, None)
        assert manager.commit(session) is None or value_of(store, token) == checked(body)
    put(store, token.id, value)
    assert manager.open(token)["name"] == "a telling value"


def test_records_are_not_swapped(caplog: pytest.LogCaptureFixture) -> None:
    """Neither under another id, nor the values of an earlier state under the envelope of a later one."""
    store = MemoryStore()
    manager = SessionManager(store, seal=Seal(OLD))
    mine, theirs = begun(manager, a=1), begun(manager, a=2)
    put(store, mine.id, value_of(store, theirs))
    assert dict(manager.open(mine)) == {}
    before = value_of(store, theirs)
    sent(manager, theirs, lambda session: session.update(a=3))
    after = value_of(store, theirs)
    for at in range(BODY, len(after)):
        put(store, theirs.id, checked(before[BODY:at] + after[at:]))
        assert manager.open(theirs).get("a") in (None, 2, 3)
    clear = closed(before).at
    put(store, theirs.id, checked(after[BODY:clear] + before[clear:]))
    assert dict(manager.open(theirs)) == {}


def test_without_the_key_nobody_forges(caplog: pytest.LogCaptureFixture) -> None:
    """A session that is sealed with another key opens nothing, nor does one without a seal where one is required."""
    store = MemoryStore()
    manager = SessionManager(store, seal=Seal(OLD, require=True))
    for forger in (SessionManager(store, seal=Seal(OTHER)), SessionManager(store)):
        token = sent(forger, None, lambda session: session.login("admin"))
        assert manager.open(token).user_id is None
        assert forger.open(token).user_id == "admin"


def test_who_seals_nothing_opens_nothing_that_is_sealed(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    token = begun(SessionManager(store, seal=Seal(OLD)), a=1)
    manager = SessionManager(store)
    assert dict(manager.open(token)) == {}
    assert "is sealed" in caplog.text
    info = manager.find(token.id)
    assert info is not None
    assert info.data is None


# Keys come and go


def test_the_newest_key_seals(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    old = SessionManager(store, seal=Seal(OLD))
    written, read = [sent(old, None, lambda session: session.login("alice", alias="sid")) for _ in range(2)]
    both = SessionManager(store, seal=Seal(NEW, OLD))
    assert len(both.sessions_of("alice")) == len(both.sessions_with("sid")) == 2
    sent(both, written, lambda session: session.update(a=1))
    assert both.open(read).user_id == "alice"
    new = SessionManager(store, seal=Seal(NEW))
    with caplog.at_level(logging.WARNING):
        assert new.open(read).user_id is None
        assert new.open(read).user_id is None
    assert caplog.text.count("not known here") == 1
    assert new.open(written).user_id == "alice"
    assert [info.id for info in new.sessions_of("alice")] == [written.id]
    assert both.revoke_all("alice") == 2


def test_a_use_renews_the_seal() -> None:
    store, clock = MemoryStore(), FakeClock()
    token = begun(SessionManager(store, seal=Seal(OLD), clock=clock), a=1)
    clock.advance(600)
    assert sent(SessionManager(store, seal=Seal(NEW, OLD), clock=clock), token, lambda session: session.get("a")) == token
    assert dict(SessionManager(store, seal=Seal(NEW), clock=clock).open(token)) == {"a": 1}


@pytest.mark.parametrize("act", ["update", "login", "regenerate"])
def test_what_had_no_seal_is_sealed(act: str) -> None:
    """Whoever came before, comes again: both of a double click, too, whose second secret is then without a cookie."""
    store = MemoryStore()
    plain = SessionManager(store)
    token = begun(plain, name="a telling value")
    clicks = [plain.open(token), plain.open(token)]
    for click in clicks:
        click.login("alice", alias="sid")
    first, second = [verdict.token for click in clicks if isinstance(verdict := plain.commit(click), Send)]
    manager = SessionManager(store, seal=Seal(OLD))
    assert [info.user_id for info in manager.sessions_of("alice") + manager.sessions_with("sid")] == ["alice"] * 2
    acts: dict[str, Callable[..., object]] = {
        "update": lambda session: session.update(b=1),
        "login": lambda session: session.login("alice"),
        "regenerate": lambda session: session.regenerate(),
    }
    first = sent(manager, first, acts[act])
    strict = SessionManager(store, seal=Seal(OLD, require=True))
    assert strict.open(first)["name"] == "a telling value"
    assert b"telling" not in value_of(store, first)
    assert b"alice" not in value_of(store, first)
    if act == "update":
        assert strict.open(second)["name"] == "a telling value"
        sent(strict, second, lambda session: session.update(c=1))
        assert strict.open(first)["c"] == strict.open(second)["c"] == 1
    assert manager.revoke_alias("sid") == 1


def test_parallel_requests_seal_one_session_for_the_first_time() -> None:
    """3."""
    store = MemoryStore()
    token = begun(SessionManager(store), a=1)
    manager = SessionManager(store, seal=Seal(OLD))
    sessions = [manager.open(token), manager.open(token), manager.open(token)]
    for number, session in enumerate(sessions):
        session[str(number)] = number
    for session in sessions:
        manager.commit(session)
    assert dict(manager.open(token)) == {"a": 1, "0": 0, "1": 1, "2": 2}


def test_what_had_a_seal_has_to_have_one(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody lays over what somebody without the key has put in the place of a sealed session."""
    store = MemoryStore()
    manager = SessionManager(store, seal=Seal(OLD))
    token = begun(manager, a=1)
    session = manager.open(token)
    session["b"] = 2
    other = MemoryStore()
    forged = SessionManager(other)
    session_there = forged.open(token)
    put(other, token.id, value_of(store, token))
    plain = MemoryStore()
    made = begun(SessionManager(plain), a=6)
    put(store, token.id, value_of(plain, made))
    assert session_there is not None
    manager.commit(session)
    assert value_of(store, token) == value_of(plain, made)
    assert "had a seal" in caplog.text


def test_what_is_still_plain_when_it_changes_is_sealed_later() -> None:
    """Promise 3: another process, without a seal, was faster."""
    store = MemoryStore()
    plain, manager = SessionManager(store), SessionManager(store, seal=Seal(OLD))
    token = begun(plain, a=1)
    session = manager.open(token)
    session["b"] = 2
    sent(plain, token, lambda other: other.update(c=3))
    manager.commit(session)
    assert dict(SessionManager(store, seal=Seal(OLD, require=True)).open(token)) == {"a": 1, "b": 2, "c": 3}


def test_a_secret_that_opens_nothing_any_more_has_no_key() -> None:
    """Nor does it get one back from a clock that is behind."""
    store, clock = MemoryStore(), FakeClock()
    manager = SessionManager(store, seal=Seal(OLD), clock=clock)
    token = sent(manager, begun(manager, a=1), lambda session: session.login("alice"))

    def keys() -> int:
        value, at = closed(value_of(store, token))
        return value[at]

    assert keys() == 2
    for seconds in (120, -120):
        clock.advance(seconds)
        sent(manager, token, lambda session, seconds=seconds: session.update(a=seconds))
        assert keys() == 1


def test_many_acts_in_one_request() -> None:
    manager = SessionManager(MemoryStore(), seal=Seal(OLD), lifetime=Lifetime())
    session = manager.open()
    session["a"] = 1
    verdict = manager.commit(session)
    assert isinstance(verdict, Send)
    session["b"] = 2
    manager.commit(session)
    session.transact(lambda data: data.update(c=3))
    session.regenerate()
    verdict = manager.commit(session)
    assert isinstance(verdict, Send)
    assert dict(manager.open(verdict.token)) == {"a": 1, "b": 2, "c": 3}


def test_random_bytes_open_nothing(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    manager = SessionManager(store, seal=Seal(OLD))
    token = everything(manager)
    value, at = closed(value_of(store, token))
    for size in range(120):
        put(store, token.id, checked(value[BODY:at] + os.urandom(size)))
        assert manager.open(token).user_id is None
        assert manager.find(token.id) is None or manager.find(token.id).data is None  # type: ignore[union-attr]
