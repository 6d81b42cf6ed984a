"""Opens sessions, stores what a request did to them, lists and revokes them. It knows stores and no HTTP."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from session_middleware import tokens
from session_middleware.codecs import Codec, MsgpackCodec
from session_middleware.exceptions import ConfigurationError, ConflictError, PayloadError, StoreError
from session_middleware.lifetime import Lifetime, touch_interval
from session_middleware.merge import Changes, bring_up_to_date, changes, envelope_over
from session_middleware.record import Envelope, Moved
from session_middleware.repository import Found, Repository, tries
from session_middleware.session import Origin, Session, State, checked_keys
from session_middleware.stores.base import Store, UserIndexed

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


class _Move(NamedTuple):
    """What is to be stored under a new token, and what it replaces; ``None`` if that is no more."""

    old: Origin | None
    envelope: Envelope
    data: dict[str, Any]


class SessionManager:
    """Everything about sessions but HTTP: for the middleware, for other integrations, for scripts and consoles.

    ``lifetime`` is that of new sessions. ``namespace`` keeps apart the tokens of installations that share one store.
    ``max_bytes`` bounds a record. ``clock`` returns epoch seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        lifetime: Lifetime = Lifetime.AAL2,
        codec: Codec | None = None,
        namespace: str = "session",
        max_bytes: int = 1024 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
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
        self._moving: WeakValueDictionary[str, Session] = WeakValueDictionary()

    # Opening

    def open(self, token: str | None = None) -> Session:
        """Return the session of *token*, loaded at its first use; a new one if there is none alive, or no token."""
        return Session(self, _candidates, token)

    def load(self, candidates: Sequence[str]) -> State:
        """Return the state that a request starts from. Of several well-formed tokens, exactly one must be alive.

        A token that was replaced a moment ago opens nothing, but neither may this request start another session: its
        cookie would overwrite the one that the browser is being told.
        """
        found: dict[str, Found | Moved | None] = {}
        alive: list[Found] = []
        for token in candidates:
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
        return State({}, self.new(), None, bool(candidates), rivals=rivals, gone=bool(rivals) and not alive)

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
            return bool(state.data) or state.envelope.user_id is not None
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
        state, late = session.progress, session.announced
        if state is None:
            return None
        if state.ending:
            self.end(state)
        token = None
        if not (failed or state.gone):
            if state.origin is None:
                token = None if late else self._create(state)
            elif state.token is None:
                self._update(state, state.origin, late)
            else:
                token = self._move(state, state.origin, state.token)
        if token is not None:
            return Send(token, self._max_age(state.envelope))
        return Forget() if state.forget else None

    def end(self, state: State) -> None:
        """End the sessions that a request has ended; in their order."""
        while state.ending:
            self._sessions.end(state.ending[0])
            state.ending = state.ending[1:]

    def transact(self, state: State, change: Callable[[dict[str, Any]], T]) -> T:
        """Apply *change* to the stored data under compare-and-set; see :meth:`Session.transact`."""
        if state.gone:
            return change({})
        base = state.origin
        if base is None:
            return self._transact_unstored(state, change)
        pending = self._changes(state, base)
        result: T
        view: dict[str, Any] = {}
        stored: dict[str, Any] = {}

        def step(theirs: Origin, data: dict[str, Any]) -> tuple[Envelope, dict[str, Any]]:
            nonlocal result, view, stored
            if theirs.envelope.user_id != base.envelope.user_id:
                raise ConflictError(
                    f"session {base.key}: someone signed in meanwhile; what they have is not for this request"
                )
            payload = self.codec.encode(pending.over(data))
            before, view = self.codec.decode(payload), self.codec.decode(payload)
            result = change(view)
            checked_keys(view)
            stored = changes(self.codec.encode, before, view).over(data)
            return theirs.envelope.used(self.now()), stored

        origin = self._compare_and_set(base.key, step)
        if origin is None:
            self._lose(state, base)
            return change({})
        if origin.key != base.key and not state.signed_in:
            state.token = None  # another request has moved the session, and its response carries the cookie
        state.envelope = envelope_over(base.envelope, state.envelope, origin.envelope)
        self._go_on_from(state, origin, stored, view)
        return result

    def _transact_unstored(self, state: State, change: Callable[[dict[str, Any]], T]) -> T:
        view = self.codec.decode(self.codec.encode(state.data))
        result = change(view)
        checked_keys(view)
        bring_up_to_date(self.codec.encode, state.data, view)
        state.suspect = True
        return result

    def _create(self, state: State) -> str | None:
        """Store a new session if it holds anything; return its token."""
        if not state.data and state.envelope.user_id is None:
            return None
        payload = self.codec.encode(state.data)
        token = state.token or tokens.new()
        while not self._sessions.create(self._key_of(token), state.envelope, payload):
            token = tokens.new()
        self._settle(state, Origin(self._key_of(token), None, state.envelope, payload))
        return token

    def _update(self, state: State, base: Origin, late: bool) -> None:
        """Store what changed in a loaded session; if nothing did, note now and then that it was used."""
        payload = self.codec.encode(state.data) if state.suspect else base.payload
        if payload != base.payload or state.envelope != base.envelope:
            self._write(state, base, payload)
        elif not late:
            self._touch(base)

    def _touch(self, base: Origin) -> None:
        """Note that the session was used, if that is due. If it fails or loses a race, nothing happens."""
        now, seen = self.now(), base.envelope
        if now - seen.last_seen_at < touch_interval(seen.idle) or seen.expires_at <= now:
            return
        try:
            self._sessions.replace(base.key, base.version, seen.used(now), base.payload)
        except StoreError as error:
            log.warning("session %s: its use could not be noted: %s", base.key, error)

    def _write(self, state: State, base: Origin, payload: bytes) -> None:
        """Replace the record; if another request was faster, lay our changes over theirs."""
        now = self.now()
        envelope = state.envelope.used(now)
        in_time = base.envelope.expires_at > now
        if in_time and self._sessions.replace(base.key, base.version, envelope, payload):
            return self._settle(state, Origin(base.key, None, envelope, payload))
        found = self._lay_over(base.key, base, envelope, self._changes(state, base))
        if found is None:
            return self._lose(state, base)
        return self._settle(state, *found)

    def _move(self, state: State, base: Origin, token: str) -> str | None:
        """Store the session under its new token and leave a pointer under the old one; return the token.

        The new record is there before the old one goes, so a failure in between loses nothing. ``None``: nothing was
        moved, and no cookie is to be sent.
        """
        now = self.now()
        mine = state.envelope.used(now)
        old: Origin | None = base if base.envelope.expires_at > now else base._replace(version=None)
        move: _Move | None = _Move(old, mine, state.data)
        for number in tries():
            if number > 0:
                move = self._move_again(state, base, mine, old)
            if move is None:
                return None
            old, key, payload = move.old, self._key_of(token), self.codec.encode(move.data)
            if not self._sessions.create(key, move.envelope, payload):
                token = tokens.new()
            elif old is None or self._sessions.move(old.key, old.version, key):
                self._settle(state, Origin(key, None, move.envelope, payload), move.data)
                return token
            else:
                self._sessions.discard(key)
        raise ConflictError(f"session {base.key} keeps changing")

    def _move_again(self, state: State, base: Origin, mine: Envelope, old: Origin | None) -> "_Move | None":
        """Say what to move now that the session is not as it was; ``None`` if there is nothing left to do.

        If it has ended, a regenerate has nothing to keep; a sign-in starts anew. If another request has moved it, a
        regenerate adds its changes there and leaves the cookie to the other response; a sign-in ends the session that it
        came from, but not that of another sign-in: it shares what both did if the user is the same.
        """
        old = old or base
        found = self._sessions.pursue(old.key)
        moved = found is not None and found[0].key != old.key
        if found is None and not state.signed_in:
            self._lose(state, base)
            return None
        if moved and not state.signed_in:
            state.token = None
            self._write(state, base, self.codec.encode(state.data))
            return None
        own = self._changes(state, base)
        if found is None:
            return _Move(None, mine, own.values)
        theirs, data = found
        if not moved or theirs.envelope.user_id is None:
            return _Move(theirs, envelope_over(base.envelope, mine, theirs.envelope), own.over(data))
        if theirs.envelope.user_id != mine.user_id:
            return _Move(None, mine, state.data)
        self._lay_over(theirs.key, base, theirs.envelope, own)
        return _Move(None, mine, own.over(data))

    def _lay_over(self, key: str, base: Origin, mine: Envelope, own: Changes) -> tuple[Origin, dict[str, Any]] | None:
        """Store our own changes on top of what is under the key now; return what is there then, ``None`` if it is gone."""
        merged: dict[str, Any] = {}

        def step(theirs: Origin, data: dict[str, Any]) -> tuple[Envelope, dict[str, Any]]:
            nonlocal merged
            if theirs.envelope.user_id == base.envelope.user_id:
                merged = own.over(data)
                return envelope_over(base.envelope, mine, theirs.envelope), merged
            # A request from before a sign-in overwrites nothing that came with it, such as a role or a lifetime.
            merged = own.but_for(changes(self.codec.encode, self.codec.decode(base.payload), data)).over(data)
            return theirs.envelope, merged

        origin = self._compare_and_set(key, step)
        return None if origin is None else (origin, merged)

    def _compare_and_set(
        self, key: str, step: Callable[[Origin, dict[str, Any]], tuple[Envelope, dict[str, Any]]]
    ) -> Origin | None:
        """Load, let *step* say what to store, store it if nothing changed meanwhile; else again.

        Return what is stored then; ``None`` if the session is gone.
        """
        for _ in tries():
            found = self._sessions.pursue(key)
            if found is None:
                return None
            theirs = found[0]
            envelope, data = step(*found)
            key, payload = theirs.key, self.codec.encode(data)
            if payload == theirs.payload and envelope.used(0) == theirs.envelope.used(0):
                return theirs
            if self._sessions.replace(key, theirs.version, envelope, payload):
                return Origin(key, None, envelope, payload)
        raise ConflictError(f"session {key} keeps changing")

    def _changes(self, state: State, base: Origin) -> Changes:
        return changes(self.codec.encode, self.codec.decode(base.payload), state.data)

    def _settle(self, state: State, origin: Origin, stored: dict[str, Any] | None = None) -> None:
        """All that the request did is in the store, as *origin*; *stored* is its data, if that is not ``state.data``."""
        state.token, state.signed_in = None, False
        if origin.envelope.user_id != state.envelope.user_id:
            state.gone = True  # someone signed in meanwhile: what they have is not for this request to see
            return
        state.envelope = origin.envelope
        if stored is None or stored is state.data:
            state.origin = origin
        else:
            self._go_on_from(state, origin, stored, stored)

    def _go_on_from(self, state: State, origin: Origin, stored: dict[str, Any], view: dict[str, Any]) -> None:
        """Let the request see *view*, and measure its later changes by what is *stored*."""
        bring_up_to_date(self.codec.encode, state.data, view)
        # In the order of ours, so that comparing the two finds the changes and nothing else.
        aligned = {key: stored[key] for key in [*state.data, *stored] if key in stored}
        state.origin = origin._replace(payload=self.codec.encode(aligned))

    def _lose(self, state: State, base: Origin) -> None:
        if not state.gone:
            log.info("session %s ended while a request was using it; what the request changed is dropped", base.key)
        state.gone = True

    def _max_age(self, envelope: Envelope) -> int | None:
        if not envelope.persistent:
            return None
        return max(0, math.ceil(envelope.created_at + envelope.absolute - self.now()))

    # Listing and revoking

    def sessions_of(self, user_id: str) -> list[SessionInfo]:
        """Return the live sessions of a user, the one last used first; empty if there are none.

        Raise :exc:`ConfigurationError` if the store keeps no index of users, :exc:`StoreUnavailable` if it fails.
        """
        found = [self._sessions.find(key) for key in self._index().keys_of(user_id)]
        sessions = [
            SessionInfo(
                origin.key,
                origin.envelope.user_id,
                origin.envelope.created_at,
                origin.envelope.last_seen_at,
                origin.envelope.expires_at,
                origin.envelope.persistent,
                data,
            )
            for origin, data in (session for session in found if isinstance(session, tuple))
            if origin.envelope.user_id == user_id
        ]
        return sorted(sessions, key=lambda info: info.last_seen_at, reverse=True)

    def revoke(self, session_id: str) -> bool:
        """End a session by its id (``session.id``), at once; return whether there was one."""
        return tokens.well_formed(session_id) and self._sessions.end(session_id)

    def revoke_all(self, user_id: str, *, keep: str | None = None) -> int:
        """End all sessions of a user, at once, but the one with the id *keep*; return how many were ended.

        *keep* may be the id of a session that :meth:`Session.regenerate` or :meth:`Session.login` is giving a new token
        in the request that asks.
        """
        spare = set() if keep is None else {keep}
        moving = self._moving.get(keep) if keep is not None else None
        if moving is not None and (state := moving.progress) is not None and state.origin is not None:
            spare.add(state.origin.key)
        ended = [self._sessions.end(key, spare=spare) for key in self._index().keys_of(user_id) if key not in spare]
        return sum(ended)

    def _index(self) -> UserIndexed:
        if not isinstance(self.store, UserIndexed):
            raise ConfigurationError(f"{type(self.store).__name__} keeps no index of users; use a store that does")
        return self.store


def _candidates(token: str | None) -> Sequence[str]:
    return (token,) if token is not None and tokens.well_formed(token) else ()
