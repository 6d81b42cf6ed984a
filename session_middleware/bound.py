"""Keeps the binding of a session to a device: one compare-and-set on its record. That is no use of the session."""

from typing import cast

from session_middleware import rules
from session_middleware.exceptions import ConflictError
from session_middleware.record import Binding
from session_middleware.repository import TRIES, Repository
from session_middleware.state import Found


def bind(sessions: Repository, base: Found, key: bytes, now: float) -> Binding | None:
    """Bind a session, which was found with an offered binding, to the device with that public key (DER).

    Return the binding as it is then; ``None`` if the session has ended, was signed in to meanwhile, or is bound to another
    device. Raise :exc:`ConflictError` if others keep changing the session.
    """
    offered = cast("Binding", base.envelope.binding)
    for number in TRIES:
        found = base if number == 0 else sessions.find_again(base, number)
        envelope = None if found is None else rules.bound(found.envelope, offered, key, now)
        if found is None or envelope is None:
            return None
        if envelope is found.envelope:
            return envelope.binding
        if sessions.replace(found, envelope, found.values) is not None:
            if sessions.teller is not None:
                sessions.teller.bound(base.id, envelope)
            return envelope.binding
    raise ConflictError(f"session {base.id} keeps changing")
