"""Sites without HTTP: a manager, a clock to set, a store that can fail, and requests that do what a test says."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from session_middleware import Lifetime, Record, Send, Session, SessionManager, Store
from session_middleware.manager import Verdict
from session_middleware.stores.base import Stored, Sweepable, UserIndexed, Version
from session_middleware.testing import FakeClock, FaultyStore

DATA = {"a": 1, "list": [1], "dict": {"x": {"y": []}}, "set": {1}}


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

    def sweep(self, limit: int) -> int:
        return self._store.sweep(limit) if isinstance(self._store, Sweepable) else 0

    def keys_of(self, user_id: str) -> list[str]:
        self._age()
        assert isinstance(self._store, UserIndexed)
        return self._store.keys_of(user_id)

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


class Site:
    """What a middleware would do with sessions, by hand."""

    def __init__(
        self,
        store: Store,
        clock: FakeClock,
        *,
        lifetime: Lifetime = Lifetime.AAL2,
        max_bytes: int = 1024 * 1024,
        namespace: str = "session",
    ) -> None:
        self.clock = clock
        self.store = store if isinstance(store, FaultyStore) else FaultyStore(store)
        self.manager = SessionManager(self.store, lifetime=lifetime, max_bytes=max_bytes, namespace=namespace, clock=clock)

    def open(self, *tokens: str) -> Session:
        """Return the session of a request that comes with *tokens*."""
        return Session(self.manager, tuple, tokens)

    def loaded(self, *tokens: str) -> Session:
        """Return a session that has been loaded: its request is in flight from now on."""
        session = self.open(*tokens)
        assert session.is_new in (True, False)
        return session

    def begin(self, data: dict[str, Any] | None = None, user_id: str | None = None) -> str:
        """Make a session; return its token."""
        session = self.open()
        session.update(DATA if data is None else data)
        if user_id is not None:
            session.login(user_id)
        return self.sent(session)

    def sent(self, session: Session) -> str:
        """Commit; return the token that the browser is told, which there must be."""
        verdict = self.manager.commit(session)
        assert isinstance(verdict, Send), verdict
        return verdict.token

    def request(self, token: str, act: Callable[[Session], object], *, failed: bool = False) -> Verdict | None:
        """Make one request that does *act*; return what the browser is told."""
        session = self.open(token)
        act(session)
        return self.manager.commit(session, failed=failed)

    def data(self, token: str) -> dict[str, Any]:
        """Return what the token opens now."""
        return dict(self.open(token))

    def is_alive(self, token: str) -> bool:
        """Tell whether the token opens a session."""
        return not self.open(token).is_new

    def live(self) -> list[dict[str, Any]]:
        """Return the data of every live session in the store, whoever knows its token."""
        found = [self.manager._sessions.find(key) for key in self.records()]
        return [session[1] for session in found if isinstance(session, tuple)]

    def records(self) -> Sequence[str]:
        """Return the keys of all records in the store, those of moved sessions too."""
        created = dict.fromkeys(key for verb, key in self.store.calls if verb == "create")
        return [key for key in created if self.store.inner.load(key) is not None]

    def calls(self, act: Callable[[], object]) -> list[str]:
        """Return the verbs that *act* calls on the store."""
        before = len(self.store.calls)
        act()
        return [verb for verb, _ in self.store.calls[before:]]


def setting(key: str, value: object) -> Callable[[Session], object]:
    """Return an act for :meth:`Site.request`: the application sets one key."""
    return partial(_set, key, value)


def _set(key: str, value: object, session: Session) -> None:
    session[key] = value
