"""What a store keeps under an id that is no session: to bytes and back, and what it has in common with the sessions.

::

    value       = format(1) check(4) body
    format      = 0x01
    check       = CRC-32 of body, so that damage is seen
    body        = session | sealed | tombstone | mark | alias            session: see the module ``record``
    tombstone   = 0x02 (reason(1) at(8) proof(16)* | reservation)?
    reservation = nonce(8) expires_at(8, whole)
    mark        = 0x03 expires_at(8) entry+         entry = nonce(12) kept id (12, or 12 times "." for none)
    alias       = 0x04 expires_at(8) nonce (12, or 12 times "." for none) id(12)*       at most 50 ids, each once

A tombstone keeps an id from being used again; a reservation keeps a place for a session that moves to this store. Numbers
are big-endian; times are IEEE doubles, epoch seconds.
"""

import re
import struct
from typing import Final
from zlib import crc32

from session_middleware.frozen import Frozen

MOST_CURRENT: Final = 4
MOST_PREVIOUS: Final = 3
MOST_ENTRIES: Final = 4
MOST_NAMED: Final = 50

FORMAT: Final = 1
SESSION: Final = 1
SEALED: Final = 5
_TOMBSTONE, _MARK, _ALIAS = 2, 3, 4

PREFIX: Final = struct.Struct(">BI")
_REASON = struct.Struct(">BBd")
_NOTE_HEAD = struct.Struct(">Bd")
_RESERVATION = struct.Struct(">B8sQ")
BODY: Final = PREFIX.size
PROOF: Final = 16
ID: Final = 12

LATEST: Final = 5e11
"""The sum of two such times, which is when a session ends, has room in the five bytes that it gets in an index."""

REASONS: Final = (
    "",
    *("revoked", "signed_out_everywhere", "revoked_everybody", "limit", "replayed", "expired_idle", "expired_absolute"),
)
"""Why a session has ended, as its tombstone keeps it: by the number. The first stands for none."""
EXPIRIES: Final = frozenset(REASONS[-2:])

NO_ID: Final = "." * ID
_ENTRY = re.compile(rb"([A-Za-z0-9_-]{12})([A-Za-z0-9_-]{12}|\.{12})")
_NAMED = re.compile(rb"([A-Za-z0-9_-]{12}|\.{12})((?:[A-Za-z0-9_-]{12})*)").fullmatch


class Tombstone(Frozen):
    """What is left of a session that nobody may bring back: why it has ended (``""`` if that is not told), when, and the
    proofs of the secrets whose holders are told."""

    reason: str
    at: float
    proofs: tuple[bytes, ...]

    def __init__(self, reason: str = "", at: float = 0.0, proofs: tuple[bytes, ...] = ()) -> None:
        vars(self).update(reason=reason, at=at, proofs=proofs)


NOTHING_TOLD: Final = Tombstone()


class Mark(Frozen):
    """What signing a user out everywhere leaves for sign-ins in flight: the latest (nonce, id kept), newest last."""

    entries: tuple[tuple[str, str | None], ...]
    expires_at: float

    def __init__(self, entries: tuple[tuple[str, str | None], ...], expires_at: float) -> None:
        vars(self).update(entries=entries, expires_at=expires_at)


class Alias(Frozen):
    """Which sessions have signed in with an alias: their ids, the newest last. ``revoked`` is the nonce of the latest end of
    all of them, ``None`` if there was none."""

    ids: tuple[str, ...]
    revoked: str | None
    expires_at: float

    def __init__(self, ids: tuple[str, ...], revoked: str | None, expires_at: float) -> None:
        vars(self).update(ids=ids, revoked=revoked, expires_at=expires_at)


class Damaged(ValueError):
    """The bytes are not a value that was written in this format."""


def pack_tombstone(tombstone: Tombstone = NOTHING_TOLD) -> bytes:
    """Return the value that keeps an id from being used again, and tells who held the session why."""
    if not tombstone.reason:
        return checked(bytes((_TOMBSTONE,)))
    head = _REASON.pack(_TOMBSTONE, REASONS.index(tombstone.reason), tombstone.at)
    return checked(b"".join((head, *tombstone.proofs)))


def pack_reservation(nonce: bytes, expires_at: int) -> bytes:
    """Return the value that keeps a place until then for a session that moves here; to who knows of no move it has ended."""
    return checked(_RESERVATION.pack(_TOMBSTONE, nonce, expires_at))


def unpack_reservation(value: bytes) -> tuple[bytes, int] | None:
    """Return the nonce and the end of a reservation; ``None`` for anything else."""
    if len(value) != BODY + _RESERVATION.size or value != checked(value[BODY:]):
        return None
    kind, nonce, expires_at = _RESERVATION.unpack_from(value, BODY)
    return (nonce, expires_at) if kind == _TOMBSTONE else None


def pack_mark(mark: Mark) -> bytes:
    """Return the value of a user's mark."""
    entries = "".join([nonce + (keep or NO_ID) for nonce, keep in mark.entries])
    return checked(_NOTE_HEAD.pack(_MARK, mark.expires_at) + entries.encode())


def pack_alias(alias: Alias) -> bytes:
    """Return the value of an alias."""
    named = "".join((alias.revoked or NO_ID, *alias.ids))
    return checked(_NOTE_HEAD.pack(_ALIAS, alias.expires_at) + named.encode())


def unpack_note(value: bytes) -> Tombstone | Mark | Alias:
    """Return what a value is that is no session; raise :exc:`Damaged` if nobody has written it."""
    if len(value) <= BODY:
        raise Damaged("too short")
    form, check = PREFIX.unpack_from(value)
    if form != FORMAT:
        raise Damaged(f"format {form} is not known")
    if check != crc32(value[BODY:]):
        raise Damaged("the check does not match")
    body = value[BODY:]
    if body == bytes((_TOMBSTONE,)) or unpack_reservation(value) is not None:
        return NOTHING_TOLD
    if body[0] == _TOMBSTONE and len(body) >= _REASON.size:
        return _unpack_tombstone(body)
    if body[0] not in (_MARK, _ALIAS) or len(body) < _NOTE_HEAD.size:
        raise Damaged("not a session")
    expires_at = _NOTE_HEAD.unpack_from(body)[1]
    if not 0 <= expires_at < LATEST:
        raise Damaged("not a time")
    noted = body[_NOTE_HEAD.size :]
    return _unpack_mark(noted, expires_at) if body[0] == _MARK else _unpack_alias(noted, expires_at)


def _unpack_tombstone(body: bytes) -> Tombstone:
    _, reason, at = _REASON.unpack_from(body)
    proofs, rest = divmod(len(body) - _REASON.size, PROOF)
    if rest or proofs > MOST_CURRENT + MOST_PREVIOUS or not 0 < reason < len(REASONS) or not 0 <= at < LATEST:
        raise Damaged("not a tombstone")
    return Tombstone(REASONS[reason], at, proofs_of(body[_REASON.size :]))


def _unpack_mark(noted: bytes, expires_at: float) -> Mark:
    found = [match.groups() for match in _ENTRY.finditer(noted)]
    if not (len(found) * 2 * ID == len(noted) and 0 < len(found) <= MOST_ENTRIES):
        raise Damaged("not a mark")
    entries = [(nonce.decode(), None if keep.decode() == NO_ID else keep.decode()) for nonce, keep in found]
    return Mark(tuple(entries), expires_at)


def _unpack_alias(noted: bytes, expires_at: float) -> Alias:
    parts = _NAMED(noted)
    ids = () if parts is None else ids_of(parts[2])
    if parts is None or len(ids) > MOST_NAMED or len({*ids}) < len(ids):
        raise Damaged("not an alias")
    return Alias(ids, None if parts[1] == NO_ID.encode() else parts[1].decode(), expires_at)


def ids_of(packed: bytes) -> tuple[str, ...]:
    """Return the ids that stand there one after the other."""
    text = packed.decode("latin-1")
    return tuple([text[at : at + ID] for at in range(0, len(text), ID)])


def proofs_of(packed: bytes) -> tuple[bytes, ...]:
    """Return the proofs that stand there one after the other."""
    return tuple([packed[at : at + PROOF] for at in range(0, len(packed), PROOF)])


def checked(body: bytes) -> bytes:
    """Return a body as a value."""
    return PREFIX.pack(FORMAT, crc32(body)) + body
