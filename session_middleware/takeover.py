"""Carries a session of another library over, once, whatever other requests do at the same time. It knows no format.

It is stored under a key that nobody has a token of, and a mark under a key made of the name that it had there leads to it.
The mark is created atomically, so that of parallel requests one carries it over; the others find the mark. It lasts as long
as the session could, so that no straggler brings back what has been ended since. From then on it is a session like any
other that is about to get a new token: the first request that succeeds moves it, and the browser learns the token.
"""

import logging
from collections.abc import Callable
from contextlib import suppress

from session_middleware import tokens
from session_middleware.carrying import Carried, OldSession
from session_middleware.codecs import Codec
from session_middleware.exceptions import PayloadError, SessionTooLarge, StoreError
from session_middleware.record import Envelope, Moved
from session_middleware.repository import Found, Repository
from session_middleware.session import checked_keys

log = logging.getLogger("session_middleware")

# Of so many sessions that could not be carried over it is remembered that the log has them.
_MOST_TOLD = 10_000


class Takeover:
    """Opens sessions of another library, and removes them there."""

    def __init__(self, sessions: Repository, codec: Codec, key_of: Callable[[str], str], clock: Callable[[], float]) -> None:
        self._sessions = sessions
        self._codec = codec
        self._key_of = key_of
        self._now = clock
        self._told: set[str] = set()

    def mark_of(self, old: OldSession) -> str:
        """Return the key under which it is noted that *old* has been carried over. No token has that key."""
        return self._key_of(f"carried over\0{old.secret}")

    def open(self, old: OldSession, beginning: Envelope) -> Found | Moved | None:
        """Return the session that *old* has become, or where that has moved; ``None`` if there is none.

        *beginning* is the envelope of a session that begins now. What is returned is not in the other library's store any
        more. Raise :exc:`StoreUnavailable` if one of the stores fails; then nothing is lost, and it can be tried again.
        """
        mark = self.mark_of(old)
        found = self._sessions.find(mark)
        if found is None:
            self._carry(old, mark, beginning)
            # If it was not there, another request may have carried it over between the two looks.
            found = self._sessions.find(mark)
        if not isinstance(found, Moved):
            return None
        session = self._sessions.find(found.successor)
        if isinstance(session, tuple):
            old.remove()
        return session

    def _carry(self, old: OldSession, mark: str, beginning: Envelope) -> None:
        """Store what *old* holds, and the mark, unless there is nothing, or another request is faster."""
        try:
            carried = old.read(self._now())
            if carried is not None:
                checked_keys(carried.data)
                self._store(carried, mark, beginning)
        except (PayloadError, SessionTooLarge) as error:
            self._tell(mark, error)

    def _tell(self, mark: str, error: Exception) -> None:
        """Log that a session is not carried over, once: its cookie comes with every request."""
        if mark not in self._told:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add(mark)
            log.warning("session %s is not carried over, and is left where it is: %s", mark, error)

    def _store(self, carried: Carried, mark: str, beginning: Envelope) -> None:
        envelope = beginning._replace(user_id=carried.user_id, persistent=carried.persistent)
        if carried.idle is not None:
            envelope = envelope._replace(idle=carried.idle, absolute=max(envelope.absolute, carried.idle))
        if carried.absolute is not None:
            envelope = envelope._replace(idle=carried.idle, absolute=carried.absolute)
        payload = self._codec.encode(carried.data)
        key = self._key_of(tokens.new())
        while not self._sessions.create(key, envelope, payload):
            key = self._key_of(tokens.new())
        try:
            marked = self._sessions.mark(mark, key, envelope.created_at + envelope.absolute)
        except StoreError:
            with suppress(StoreError):
                if self._sessions.find(mark) != Moved(key):
                    self._sessions.discard(key)
            raise
        if not marked:
            self._sessions.discard(key)
