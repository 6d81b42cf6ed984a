"""Sites without HTTP: a manager, a clock to set, a store that can fail, and requests that do what a test says."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from session_middleware import Lifetime, MemoryStore, MsgpackCodec, Record, Send, Session, SessionManager, Store
from session_middleware.events import Observer
from session_middleware.manager import MAX_BYTES, Verdict
from session_middleware.notes import Alias, Damaged, Mark
from session_middleware.record import unpack
from session_middleware.rules import Opens
from session_middleware.stores.base import Stored, Sweepable, Swept, UserIndexed, Version
from session_middleware.testing import FakeClock, FaultyStore
from session_middleware.tokens import Token

DATA = {"a": 1, "list": [1], "dict": {"x": {"y": []}}, "set": {1}}
USER = "alice"

Act = Callable[[Session], object]

MADE_UP, ANOTHER = Token("A" * 40), Token("B" * 40)
"""Tokens that nobody has issued."""


class AgedStore:
    """A store around another, whose records expire by a given clock: what that clock has left behind is removed."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._expiries: dict[str, int] = {}

    def create(self, key: str, record: Record) -> bool:
        self._age()
        return self._written(key, record, self._store.create(key, record))

    def load(self, key: str) -> Stored | None:
        self._age()
        return self._store.load(key)

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        self._age()
        return self._written(key, record, self._store.update(key, record, version=version))

    def delete(self, key: str) -> bool:
        self._age()
        return self._store.delete(key)

    def sweep(self, limit: int) -> Sequence[Swept]:
        return self._store.sweep(limit) if isinstance(self._store, Sweepable) else ()

    def keys_of(self, user_id: str) -> list[str]:
        self._age()
        assert isinstance(self._store, UserIndexed)
        return list(self._store.keys_of(user_id))

    def keys(self) -> list[str]:
        self._age()
        return [key for key in self._expiries if self._store.load(key) is not None]

    def _written(self, key: str, record: Record, done: bool) -> bool:
        if done:
            self._expiries[key] = record.expires_at
            self._age()
        return done

    def _age(self) -> None:
        now = self._clock()
        for key in [key for key, expires_at in self._expiries.items() if expires_at <= now]:
            del self._expiries[key]
            self._store.delete(key)


class Bare:
    """A store with the four verbs and nothing else."""

    def __init__(self) -> None:
        self._store = MemoryStore()

    def create(self, key: str, record: Record) -> bool:
        return self._store.create(key, record)

    def load(self, key: str) -> Stored | None:
        return self._store.load(key)

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return self._store.update(key, record, version=version)

    def delete(self, key: str) -> bool:
        return self._store.delete(key)


class CountingCodec(MsgpackCodec):
    """Counts the values that it encodes and decodes."""

    encoded = decoded = 0

    def encode(self, value: Any) -> bytes:
        self.encoded += 1
        return super().encode(value)

    def decode(self, encoded: bytes) -> Any:
        self.decoded += 1
        return super().decode(encoded)


class Site:
    """What a middleware would do with sessions, by hand."""

    def __init__(
        self,
        store: Store,
        clock: FakeClock,
        *,
        lifetime: Lifetime = Lifetime.AAL2,
        max_bytes: int = MAX_BYTES,
        namespace: str = "session",
        observer: Observer | None = None,
    ) -> None:
        self.clock = clock
        self.store = store if isinstance(store, FaultyStore) else FaultyStore(store)
        self.codec = CountingCodec()
        self.manager = SessionManager(
            self.store,
            lifetime=lifetime,
            codec=self.codec,
            max_bytes=max_bytes,
            namespace=namespace,
            clock=clock,
            observer=observer,
        )

    def open(self, *tokens: Token) -> Session:
        """Return the session of a request that comes with *tokens*."""
        return Session(self.manager, tuple, tokens)

    def loaded(self, *tokens: Token) -> Session:
        """Return a session that has been loaded: its request is in flight from now on."""
        session = self.open(*tokens)
        assert session.is_new in (True, False)
        return session

    def begin(self, data: dict[str, Any] | None = None, user_id: str | None = None) -> Token:
        """Make a session; return its token."""
        session = self.open()
        session.update(DATA if data is None else data)
        if user_id is not None:
            session.login(user_id)
        return self.sent(session)

    def sent(self, session: Session) -> Token:
        """Commit; return the token that the browser is told, which there must be."""
        return sent(self.manager.commit(session))

    def request(self, token: Token, act: Callable[[Session], object], *, failed: bool = False) -> Verdict | None:
        """Make one request that does *act*; return what the browser is told."""
        session = self.open(token)
        act(session)
        return self.manager.commit(session, failed=failed)

    def follow(self, token: Token, act: Callable[[Session], object]) -> Token:
        """Make one request that does *act*; return the token that the browser has afterwards, which was told one."""
        return sent(self.request(token, act))

    def data(self, *tokens: Token) -> dict[str, Any]:
        """Return what the tokens open now, be it a snapshot."""
        return dict(self.open(*tokens))

    def opens(self, *tokens: Token) -> Opens:
        """Return what the tokens open."""
        state = self.loaded(*tokens).state
        assert state is not None
        return state.opens

    def is_alive(self, *tokens: Token) -> bool:
        """Tell whether the tokens open a session, and more of it than a snapshot."""
        return self.opens(*tokens) is Opens.SESSION

    def user(self, *tokens: Token) -> str | None:
        """Return who is signed in where the tokens are sent."""
        return self.open(*tokens).user_id

    def live(self) -> list[dict[str, Any]]:
        """Return the data of every live session in the store, whoever knows its token."""
        found = [self.manager.find(key) for key in self.records()]
        return [dict(session.data) for session in found if session is not None]

    def records(self) -> Sequence[str]:
        """Return the keys of all sessions in the store, and of what is left of them."""
        created = dict.fromkeys(key for verb, key in self.store.calls if verb == "create")
        found = [(key, self.store.inner.load(key)) for key in created]
        return [key for key, stored in found if stored is not None and not is_mark(stored)]

    def decoded(self, act: Callable[[], object]) -> int:
        """Return how many values *act* decodes."""
        before = self.codec.decoded
        act()
        return self.codec.decoded - before

    def encoded(self, act: Callable[[], object]) -> int:
        """Return how many values *act* encodes."""
        before = self.codec.encoded
        act()
        return self.codec.encoded - before

    def calls(self, act: Callable[[], object]) -> list[str]:
        """Return the verbs that *act* calls on the store."""
        before = len(self.store.calls)
        act()
        return [verb for verb, _ in self.store.calls[before:]]


def is_mark(stored: Stored) -> bool:
    """Tell whether a record is the mark of a user, or an alias, and no session."""
    try:
        return isinstance(unpack(stored.value), Mark | Alias)
    except Damaged:
        return False


def sent(verdict: Verdict | None) -> Token:
    """Return the token that the browser is told, which there must be."""
    assert isinstance(verdict, Send), verdict
    return verdict.token


def login(user_id: str, **data: object) -> Act:
    """Return an act for :meth:`Site.request`: somebody signs in, and the application sets some keys."""

    def act(session: Session) -> None:
        session.login(user_id)
        session.update(data)

    return act


def regenerate(session: Session) -> None:
    """Give the session a new secret, and leave a note that it has one."""
    session["regenerated"] = True
    session.regenerate()


def setting(key: str, value: object) -> Act:
    """Return an act for :meth:`Site.request`: the application sets one key."""
    return partial(_set, key, value)


def _set(key: str, value: object, session: Session) -> None:
    session[key] = value
