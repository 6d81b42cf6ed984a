"""Opens sessions, stores what a request did to them, lists and revokes them. It knows stores and no HTTP."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from session_middleware import tokens
from session_middleware.carrying import OldSession
from session_middleware.codecs import Codec, MsgpackCodec
from session_middleware.commits import Committer
from session_middleware.exceptions import ConfigurationError, ConflictError, PayloadError
from session_middleware.lifetime import Lifetime
from session_middleware.record import Envelope, Moved
from session_middleware.repository import Found, Repository
from session_middleware.session import Candidates, Origin, Session, State, checked_user_id
from session_middleware.stores import open_store
from session_middleware.stores.base import Store, UserIndexed
from session_middleware.takeover import Takeover

log = logging.getLogger("session_middleware")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    """The browser must learn this token; ``max_age`` is in seconds, ``None`` for a cookie that ends with the browser."""

    token: str = field(repr=False)
    max_age: int | None


@dataclass(frozen=True, slots=True)
class Forget:
    """The browser must drop its cookie."""


Verdict: TypeAlias = Send | Forget


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One session in a listing. Times are epoch seconds; ``data`` is a copy of what the application keeps in it."""

    id: str
    user_id: str | None
    created_at: float
    last_seen_at: float
    expires_at: float
    persistent: bool
    data: Mapping[str, Any] = field(repr=False)


class SessionManager:
    """Everything about sessions but HTTP: for the middleware, for other integrations, for scripts and consoles.

    ``store`` is a store, or a URL for :func:`open_store`; ``lifetime`` that of new sessions. ``namespace`` keeps apart the
    tokens of installations that share one store. ``max_bytes`` bounds a record. ``clock`` returns epoch seconds.
    """

    def __init__(
        self,
        store: Store | str,
        *,
        lifetime: Lifetime = Lifetime.AAL2,
        codec: Codec | None = None,
        namespace: str = "session",
        max_bytes: int = 1024 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(store, str):
            store = open_store(store)
        if isinstance(store, type) or not all(hasattr(store, verb) for verb in ("create", "load", "update", "delete")):
            raise ConfigurationError(f"store={store!r}: write a URL, or a store such as SQLiteStore(path)")
        if not callable(clock):
            raise ConfigurationError(f"clock={clock!r}: write a function that returns epoch seconds, such as time.time")
        if not isinstance(namespace, str):
            raise ConfigurationError(f"namespace={namespace!r}: write a text")
        if not isinstance(lifetime, Lifetime):
            raise ConfigurationError(f"lifetime={lifetime!r}: write Lifetime(idle=..., absolute=...)")
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1024:
            raise ConfigurationError(f"max_bytes={max_bytes!r}: write a number of bytes, at least 1024")
        if codec is not None and (isinstance(codec, type) or not (hasattr(codec, "encode") and hasattr(codec, "decode"))):
            raise ConfigurationError(f"codec={codec!r}: write MsgpackCodec(), JSONCodec() or a codec of your own")
        self.store = store
        self.lifetime = lifetime
        self.codec: Codec = MsgpackCodec() if codec is None else codec
        self.now = clock
        self._key_of = tokens.key_function(namespace)
        self._sessions = Repository(store, self.codec, max_bytes, clock)
        self._committer = Committer(self._sessions, self.codec, self._key_of, clock)
        self._takeover = Takeover(self._sessions, self.codec, self._key_of, clock)
        self._moving: WeakValueDictionary[str, Session] = WeakValueDictionary()

    # Opening

    def open(self, token: str | None = None) -> Session:
        """Return the session of *token*, loaded at its first use; a new one if there is none alive, or no token."""
        return Session(self, _candidates, token)

    def load(self, candidates: Candidates) -> State:
        """Return the state that a request starts from. Of several well-formed tokens, exactly one must be alive.
        If none of them opened anything, a session of another library is carried over.

        A token that was replaced a moment ago opens nothing, but neither may this request start another session: its
        cookie would overwrite the one that the browser is being told.
        """
        found: dict[str, Found | Moved | None] = {}
        alive: list[Found] = []
        old: OldSession | None = None
        for token in candidates:
            if not isinstance(token, str):
                old = token
                continue
            key = self._key_of(token)
            session = found[key] = self._sessions.find(key)
            if isinstance(session, tuple):
                alive.append(session)
        if len(alive) == 1:
            origin, data = alive[0]
            return State(data, origin.envelope, origin, True)
        if alive:
            log.warning("%d live sessions in one request: none of them is used", len(alive))
        rivals = [key for key, session in found.items() if session is not None]
        if old is not None and not rivals:
            return self._carried_over(old)
        return State({}, self.new(), None, bool(candidates), rivals=rivals, gone=bool(rivals) and not alive)

    def _carried_over(self, old: OldSession) -> State:
        found = self._takeover.open(old, self.new())
        if isinstance(found, tuple):
            origin, data = found
            return State(data, origin.envelope, origin, True, token=tokens.new())
        moved = found is not None
        return State({}, self.new(), None, True, rivals=[self._takeover.mark_of(old)] if moved else (), gone=moved)

    def new(self) -> Envelope:
        """Return the envelope of a session that begins now."""
        now = self.now()
        return Envelope(None, now, now, self.lifetime.idle, self.lifetime.absolute, False)

    def id_of(self, session: Session, token: str) -> str:
        """Return the id that *session* will have under *token*; :meth:`revoke_all` knows it from now on."""
        key = self._key_of(token)
        self._moving[key] = session
        return key

    def differs(self, state: State) -> bool:
        """Tell whether a commit would store or end anything."""
        if state.ending or (state.token is not None and state.origin is not None):
            return True
        if state.origin is None:
            return bool(state.data) or state.envelope.user_id is not None or state.wanted
        if state.envelope != state.origin.envelope:
            return True
        try:
            return state.suspect and self.codec.encode(state.data) != state.origin.payload
        except PayloadError:
            return True

    # Storing

    def commit(self, session: Session, *, failed: bool = False) -> Verdict | None:
        """Store what the request did, and return what the browser must be told; ``None`` for nothing.

        *failed*: the request changes nothing, but what it ended stays ended. Raise :exc:`StoreUnavailable`,
        :exc:`ConflictError`, :exc:`PayloadError` or :exc:`SessionTooLarge` when a change could not be stored.
        """
        state = session.progress
        if state is None:
            return None
        if state.origin is not None and state.only_read:
            if not (failed or session.announced):
                self._committer.touch(state.origin)
            return None
        if state.ending:
            self._committer.end(state)
        token = None if failed else self._committer.store(state, late=session.announced)
        if token is not None:
            return Send(token, self._max_age(state.envelope))
        return Forget() if state.forget else None

    def end(self, state: State) -> None:
        """End what a request has ended, at once."""
        self._committer.end(state)

    def transact(self, state: State, change: Callable[[dict[str, Any]], T]) -> T:
        """See :meth:`Session.transact`."""
        return self._committer.transact(state, change)

    def _max_age(self, envelope: Envelope) -> int | None:
        if not envelope.persistent:
            return None
        return max(0, math.ceil(envelope.created_at + envelope.absolute - self.now()))

    # Listing and revoking

    def sessions_of(self, user_id: str) -> list[SessionInfo]:
        """Return the live sessions of a user, the one last used first; empty if there are none.

        Raise :exc:`ConfigurationError` if the store keeps no index of users, :exc:`StoreUnavailable` if it fails.
        """
        found = [self._sessions.pursue(key) for key in self._index().keys_of(checked_user_id(user_id))]
        # By their ids: one that has just moved may be there under both its keys.
        sessions = {session[0].key: _info(*session) for session in found if session is not None}
        own = [info for info in sessions.values() if info.user_id == user_id]
        return sorted(own, key=lambda info: info.last_seen_at, reverse=True)

    def find(self, session_id: str) -> SessionInfo | None:
        """Return what is known of a session by its id (``session.id``); ``None`` if it does not live."""
        if not isinstance(session_id, str) or not tokens.well_formed(session_id):
            return None
        found = self._sessions.find(session_id)
        return _info(*found) if isinstance(found, tuple) else None

    def revoke(self, session_id: str) -> bool:
        """End a session by its id (``session.id``), at once; return whether there was one."""
        return isinstance(session_id, str) and tokens.well_formed(session_id) and self._sessions.end(session_id)

    def revoke_all(self, user_id: str, *, keep: str | None = None) -> int:
        """End all sessions of a user, at once, but the one with the id *keep*; return how many were ended.

        Raise :exc:`ConflictError` if one keeps changing for so long that it could not be ended; the others are.
        *keep* may be the id of a session that :meth:`Session.regenerate` or :meth:`Session.login` is giving a new token
        in the request that asks.
        """
        spare = set() if keep is None else {keep}
        moving = self._moving.get(keep) if keep is not None else None
        if moving is not None and (state := moving.progress) is not None and state.origin is not None:
            spare.add(state.origin.key)
        ended, conflict = 0, None
        for key in self._index().keys_of(checked_user_id(user_id)):
            if key not in spare:
                try:
                    ended += self._sessions.end(key, spare=spare)
                except ConflictError as error:
                    conflict = error  # one that keeps changing does not protect the others
        if conflict is not None:
            raise conflict
        return ended

    def _index(self) -> UserIndexed:
        if not isinstance(self.store, UserIndexed):
            raise ConfigurationError(f"{type(self.store).__name__} keeps no index of users; use a store that does")
        return self.store


def _info(origin: Origin, data: dict[str, Any]) -> SessionInfo:
    key, (user_id, created_at, last_seen_at, _, _, persistent) = origin.key, origin.envelope
    return SessionInfo(key, user_id, created_at, last_seen_at, origin.envelope.expires_at, persistent, data)


def _candidates(token: str | None) -> Sequence[str]:
    return (token,) if isinstance(token, str) and tokens.well_formed(token) else ()
