"""Carries a session of another library over, once, whatever other requests do at the same time. It knows no format.

Its token is made of the secret that it had there, so of parallel requests one creates the session and the others find it.
The first request that succeeds renews the secret, by the rules for every renewal: the old cookie goes on until the browser
has come with the new one. What ends such a session keeps its id, so that no straggler brings it back.

Where a session times out here and is still there, because its removal failed, its own timeout decides about it once more.
"""

import logging

from session_middleware.carry_over import Carried, OldSession
from session_middleware.codecs import Codec
from session_middleware.exceptions import PayloadError, SessionTooLarge
from session_middleware.notes import Tombstone
from session_middleware.record import Envelope
from session_middleware.repository import Repository
from session_middleware.state import Found
from session_middleware.tokens import Proof, Token
from session_middleware.values import encoded

log = logging.getLogger("session_middleware")

RENEW = 60.0
"""The secret made of the old one is renewed at once, and again so long (seconds) after a renewal that was not heard of."""

# Of so many sessions that could not be carried over it is remembered that the log has them.
_MOST_TOLD = 10_000


class Takeover:
    """Opens sessions of another library, and removes them there."""

    def __init__(self, sessions: Repository, codec: Codec, proof_of: Proof, namespace: str) -> None:
        self._sessions = sessions
        self._codec = codec
        self._proof_of = proof_of
        self._namespace = namespace
        self._told: set[str] = set()

    def token_of(self, old: OldSession) -> Token:
        """Return the token that *old* has here, whether it was carried over or not: always the same."""
        return Token.derived(self._namespace, "carried over", old.secret)

    def open(self, token: Token, old: OldSession, beginning: Envelope) -> Found | Tombstone | None:
        """Return what *old*, with its *token*, has become; ``None`` if that is nothing.

        *beginning* is the envelope of a session that begins now. What has been carried over, alive or ended, is not in the
        other library's store any more. Raise :exc:`StoreUnavailable` if one of the stores fails; then nothing is lost, and
        it can be tried again.
        """
        found = self._sessions.look(token.id)
        if found is None:
            self._carry(old, token, beginning)
            # If it was not there, another request may have carried it over between the two looks.
            found = self._sessions.look(token.id)
        if found is not None:
            old.remove()
        return found

    def _carry(self, old: OldSession, token: Token, beginning: Envelope) -> None:
        """Store what *old* holds, unless there is nothing, or another request is faster."""
        try:
            carried = old.read(beginning.created_at)
            if carried is not None:
                envelope = self._envelope(carried, token, beginning)
                self._sessions.create(token, envelope, encoded(carried.data, self._codec))
        except (PayloadError, SessionTooLarge) as error:
            self._tell(token.id, error)

    def _envelope(self, carried: Carried, token: Token, beginning: Envelope) -> Envelope:
        idle, absolute = beginning.idle, beginning.absolute
        if carried.idle is not None:
            idle, absolute = carried.idle, max(absolute, carried.idle)
        if carried.absolute is not None:
            idle, absolute = carried.idle, carried.absolute
        return beginning._replace(
            user_id=carried.user_id,
            persistent=carried.persistent or beginning.persistent,
            idle=idle,
            absolute=absolute,
            era=0 if carried.user_id is None else 1,
            current=(self._proof_of(token),),
            issued_at=0.0,
            carried=True,
        )

    def _tell(self, key: str, error: Exception) -> None:
        """Log that a session is not carried over, once: its cookie comes with every request."""
        if key not in self._told:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add(key)
            log.warning("session %s is not carried over, and is left where it is: %s", key, error)
