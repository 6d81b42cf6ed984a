"""Stores what a request did to its session, and merges it with what others did meanwhile. It knows no HTTP."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from session_middleware import tokens
from session_middleware.codecs import Codec
from session_middleware.exceptions import ConflictError, StoreError
from session_middleware.lifetime import touch_interval
from session_middleware.merge import Changes, bring_up_to_date, changes, envelope_over
from session_middleware.record import Envelope, Moved
from session_middleware.repository import Repository, tries
from session_middleware.session import Origin, State, checked_keys

log = logging.getLogger("session_middleware")

T = TypeVar("T")
R = TypeVar("R")


class _Move(NamedTuple):
    """What is to be stored under a new token, and what it replaces; ``None`` if that is no more."""

    old: Origin | None
    envelope: Envelope
    data: dict[str, Any]


class Committer:
    """Creates, updates, moves and ends sessions as their states ask for, whatever other requests do at the same time."""

    def __init__(self, sessions: Repository, codec: Codec, key_of: Callable[[str], str], clock: Callable[[], float]) -> None:
        self._sessions = sessions
        self._codec = codec
        self._key_of = key_of
        self._now = clock

    def store(self, state: State, *, late: bool) -> str | None:
        """Store what changed; return the token that the browser must learn, ``None`` if there is none.

        *late*: the response has started, so the browser can learn of nothing.
        """
        if state.gone:
            if state.origin is None and state.data:
                log.info("a request came with a token that has just been replaced; what it changed is dropped")
            return None
        if state.origin is None:
            return None if late else self._create(state)
        if state.token is None or late:
            self._update(state, state.origin, late)
            return None
        return self._move(state, state.origin, state.token)

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

        def step(theirs: Origin, data: dict[str, Any]) -> tuple[Envelope, dict[str, Any], tuple[T, dict[str, Any]]]:
            if theirs.envelope.user_id != base.envelope.user_id:
                raise ConflictError(
                    f"session {base.key}: someone signed in meanwhile; what they have is not for this request"
                )
            payload = self._codec.encode(pending.over(data))
            before, view = self._codec.decode(payload), self._codec.decode(payload)
            result = change(view)
            checked_keys(view)
            stored = changes(self._codec.encode, before, view).over(data)
            return theirs.envelope.used(self._now()), stored, (result, view)

        done = self._compare_and_set(base.key, step)
        if done is None:
            self._lose(state, base)
            return change({})
        origin, stored, (result, view) = done
        if origin.key != base.key and not state.signed_in:
            state.token = None  # another request has moved the session, and its response carries the cookie
        state.envelope = envelope_over(base.envelope, state.envelope, origin.envelope)
        self._go_on_from(state, origin, stored, view)
        return result

    def _transact_unstored(self, state: State, change: Callable[[dict[str, Any]], T]) -> T:
        view = self._codec.decode(self._codec.encode(state.data))
        result = change(view)
        checked_keys(view)
        bring_up_to_date(self._codec.encode, state.data, view)
        state.suspect = True
        return result

    def _create(self, state: State) -> str | None:
        """Store a new session if it holds anything, or is wanted in any case; return its token."""
        if not state.data and state.envelope.user_id is None and not state.wanted:
            return None
        payload = self._codec.encode(state.data)
        token = state.token or tokens.new()
        while not self._sessions.create(self._key_of(token), state.envelope, payload):
            token = tokens.new()
        self._settle(state, Origin(self._key_of(token), None, state.envelope, payload))
        return token

    def _update(self, state: State, base: Origin, late: bool) -> None:
        """Store what changed in a loaded session; if nothing did, note now and then that it was used."""
        payload = self._codec.encode(state.data) if state.suspect else base.payload
        if payload != base.payload or state.envelope != base.envelope:
            self._write(state, base, payload)
        elif not late:
            self.touch(base)

    def touch(self, base: Origin) -> None:
        """Note that the session was used, if that is due. If it fails or loses a race, nothing happens."""
        now, seen = self._now(), base.envelope
        if now - seen.last_seen_at < touch_interval(seen.idle) or seen.expires_at <= now:
            return
        try:
            self._sessions.replace(base.key, base.version, seen.used(now), base.payload)
        except StoreError as error:
            log.warning("session %s: its use could not be noted: %s", base.key, error)

    def _write(self, state: State, base: Origin, payload: bytes) -> None:
        """Replace the record; if another request was faster, lay our changes over theirs."""
        now = self._now()
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
        now = self._now()
        mine = state.envelope.used(now)
        old: Origin | None = base if base.envelope.expires_at > now else base._replace(version=None)
        move: _Move | None = _Move(old, mine, state.data)
        for number in tries():
            if number > 0:
                move = self._move_again(state, base, mine, old)
            if move is None:
                return None
            old, key, payload = move.old, self._key_of(token), self._codec.encode(move.data)
            if not self._sessions.create(key, move.envelope, payload):
                token = tokens.new()
            elif old is None or self._moved(old, key):
                self._settle(state, Origin(key, None, move.envelope, payload), move.data)
                return token
            else:
                self._sessions.discard(key)
        raise ConflictError(f"session {base.key} keeps changing")

    def _moved(self, old: Origin, key: str) -> bool:
        """Leave the pointer. If the store fails over it, leave no session behind that nobody has the token of."""
        try:
            return self._sessions.move(old.key, old.version, key)
        except StoreError:
            with suppress(StoreError):
                if self._sessions.find(old.key) != Moved(key):
                    self._sessions.discard(key)
            raise

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
            self._write(state, base, self._codec.encode(state.data))
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

        def step(theirs: Origin, data: dict[str, Any]) -> tuple[Envelope, dict[str, Any], None]:
            if theirs.envelope.user_id == base.envelope.user_id:
                return envelope_over(base.envelope, mine, theirs.envelope), own.over(data), None
            # A request from before a sign-in overwrites nothing that came with it, such as a role or a lifetime.
            came_with_it = changes(self._codec.encode, self._codec.decode(base.payload), data)
            return theirs.envelope, own.but_for(came_with_it).over(data), None

        done = self._compare_and_set(key, step)
        return None if done is None else done[:2]

    def _compare_and_set(
        self, key: str, step: Callable[[Origin, dict[str, Any]], tuple[Envelope, dict[str, Any], R]]
    ) -> tuple[Origin, dict[str, Any], R] | None:
        """Load, let *step* say what to store, store it if nothing changed meanwhile; else again.

        Return what is stored then, its data, and what else *step* returned; ``None`` if the session is gone.
        """
        for _ in tries():
            found = self._sessions.pursue(key)
            if found is None:
                return None
            theirs = found[0]
            envelope, data, result = step(*found)
            key, payload = theirs.key, self._codec.encode(data)
            if payload == theirs.payload and envelope.used(0) == theirs.envelope.used(0):
                return theirs, data, result
            if self._sessions.replace(key, theirs.version, envelope, payload):
                return Origin(key, None, envelope, payload), data, result
        raise ConflictError(f"session {key} keeps changing")

    def _changes(self, state: State, base: Origin) -> Changes:
        return changes(self._codec.encode, self._codec.decode(base.payload), state.data)

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
        bring_up_to_date(self._codec.encode, state.data, view)
        # In the order of ours, so that comparing the two finds the changes and nothing else.
        aligned = {key: stored[key] for key in [*state.data, *stored] if key in stored}
        state.origin = origin._replace(payload=self._codec.encode(aligned))

    def _lose(self, state: State, base: Origin) -> None:
        log.info("session %s ended while a request was using it; what the request changed is dropped", base.key)
        state.gone = True
