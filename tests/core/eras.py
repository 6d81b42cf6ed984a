"""Records in short, by the letters of their secrets, and the moments of the rules."""

from typing import Any

from session_middleware.record import Envelope, Kind, Previous
from session_middleware.rules import Opens

RENEWED, SIGNED_IN, REPLACED = Kind.RENEWED, Kind.SIGNED_IN, Kind.REPLACED
SESSION, SNAPSHOT, NOTHING, REPLAY = Opens.SESSION, Opens.SNAPSHOT, Opens.NOTHING, Opens.REPLAY

NOW = 1_700_000_000.0
HOUR = 3600.0


def p(name: str) -> bytes:
    """Return the proof of a secret that goes by a letter."""
    return name.encode() * 16


def previous(text: str) -> tuple[Previous, ...]:
    """Return what ``"a:renewed b:signed in@-5"`` says: secrets that are not current, with their times as from now."""
    kinds = {"renewed": RENEWED, "signed-in": SIGNED_IN, "replaced": REPLACED}
    found = []
    for word in text.split():
        name, _, rest = word.partition(":")
        kind, at, seconds = rest.partition("@")
        found.append(Previous(p(name), kinds[kind], NOW + float(seconds) if at else None))
    return tuple(found)


def an_envelope(current: str = "c", before: str = "", **fields: Any) -> Envelope:
    """Return an anonymous session, an hour old, with a current secret for each letter."""
    began = NOW - HOUR
    start = Envelope(
        None, began, began, began, HOUR * 2, HOUR * 24, False, 0, tuple(map(p, current)), began, previous(before)
    )
    return start._replace(**fields)


def proof(name: int) -> bytes:
    return name.to_bytes(16, "big")
