"""What a store keeps under an id, to bytes and back. It knows the format and nothing of what the values mean.

::

    value     = format(1) check(4) body
    format    = 0x01
    check     = CRC-32 of body, so that damage is seen; the proofs bind the record to its id
    body      = session | ended | mark | alias
    session   = 0x01 flags(1) created_at(8) signed_in_at(8) last_seen_at(8) issued_at(8) idle(8) absolute(8) era(4)
                c(1) p(1) u(1) s(4)  current(16 c)  previous(25 p)  user_id(u)  mark(12)?  aliases(12 a)
                snapshot(s)  values
    flags     = 1 persistent + 2 has a mark + 4 was carried over + 8 a
    c, p, u, a = at most 4, 3, 255 and 8; 0 for nobody             idle = 0 for none
    previous  = proof(16) kind(1) at(8, -1 for none)
    snapshot, values = a MessagePack map from key (str) to encoded value (bin); an empty snapshot has no bytes
    ended     = 0x02 reservation?               reservation = nonce(8) expires_at(8, whole)
    mark      = 0x03 expires_at(8) entry+                      entry = nonce(12) kept id (12, or 12 times "." for none)
    alias     = 0x04 expires_at(8) nonce (12, or 12 times "." for none) id(12)*     at most 50 ids, each once

Numbers are big-endian; times are IEEE doubles, epoch seconds or seconds. What nobody would write is no record, though its
check matches: whatever is read can be written again, to every store.
"""

import re
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple, cast
from zlib import crc32

from msgpack import unpackb

from session_middleware.codecs.packers import Packers
from session_middleware.frozen import Frozen
from session_middleware.tokens import well_formed_id

MOST_CURRENT: Final = 4
MOST_PREVIOUS: Final = 3
MOST_ENTRIES: Final = 4
MOST_ALIASES: Final = 8
MOST_NAMED: Final = 50

_FORMAT = 1
_SESSION, _ENDED, _MARK, _ALIAS = 1, 2, 3, 4
_PERSISTENT, _HAS_MARK, _CARRIED, _ONE_ALIAS = 1, 2, 4, 8

_PREFIX = struct.Struct(">BI")
_SESSION_HEAD = struct.Struct(">BBddddddIBBBI")
_WHOLE_HEAD = struct.Struct(">BIBBddddddIBBBI")
_PREVIOUS = struct.Struct(">16sBd")
_NOTE_HEAD = struct.Struct(">Bd")
_RESERVATION = struct.Struct(">B8sQ")
_BODY = _PREFIX.size
_START = _WHOLE_HEAD.size
_ALL_FLAGS = _PERSISTENT + _HAS_MARK + _CARRIED + _ONE_ALIAS * MOST_ALIASES
_PROOF, _ID = 16, 12
LEAST = _START + _PROOF
"""The bytes that a session takes beside its values."""

MORE = 512
"""So many more it takes at most, a snapshot not counted: for a user id, for aliases, and for the proofs of other secrets."""

# Of two such times the sum, which is when a session ends, has room in the five bytes that it gets in an index, with slack.
_LATEST = 5e11
ERAS: Final = 2**32
"""So many eras there are; the one after the last is the first, for they are only ever compared."""

_NO_ID = "." * _ID
_ENTRY = re.compile(rb"([A-Za-z0-9_-]{12})([A-Za-z0-9_-]{12}|\.{12})")
_NAMED = re.compile(rb"([A-Za-z0-9_-]{12}|\.{12})((?:[A-Za-z0-9_-]{12})*)").fullmatch

Encoded = dict[str, bytes]
"""A session's values by key, each as the codec has encoded it."""

_BYTES = {bytes}

pack_values: Callable[[Encoded], bytes] = Packers().pack
"""Return encoded values as one piece."""


class Kind(IntEnum):
    """What took a secret out of service."""

    RENEWED = 1
    SIGNED_IN = 2
    REPLACED = 3


class Previous(NamedTuple):
    """A secret that is not current any more. ``at`` (epoch seconds) is when it was taken out of service; of a renewed one,
    when a request came with a later one, ``None`` if none has."""

    proof: bytes
    kind: Kind
    at: float | None


class Envelope(NamedTuple):
    """What the record holds beside the application's values. Times are epoch seconds, durations seconds."""

    user_id: str | None
    created_at: float
    signed_in_at: float
    """When the latest sign-in was; of an anonymous session, when it was created."""
    last_seen_at: float
    idle: float | None
    absolute: float
    persistent: bool
    era: int
    current: tuple[bytes, ...]
    issued_at: float
    previous: tuple[Previous, ...] = ()
    mark: str | None = None
    """What the two sign-ins of a double click have in common: the nonce of the user's mark as it was when ``login()`` was
    called, or what is made of that and of the aliases' nonces."""
    snapshot: bytes = b""
    carried: bool = False
    """Whether the session comes from another library, so that its id is made of a secret that others may have."""
    aliases: tuple[str, ...] = ()
    """The ids of the records of the aliases that it has signed in with, the newest last."""

    @property
    def expires_at(self) -> float:
        """The moment (epoch seconds) from which the session has ended."""
        _, _, began, seen, idle, absolute, *_ = self
        end = began + absolute
        return end if idle is None or end < seen + idle else seen + idle


class Ended(Frozen):
    """What is left of a session that nobody may bring back: nothing."""


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


def pack(envelope: Envelope, values: bytes) -> bytes:
    """Return the value of a session."""
    user_id, created, signed_in, seen, idle, absolute, persistent, era, current, issued = envelope[:10]
    previous, mark, snapshot, carried, aliases = envelope[10:]
    user = b"" if user_id is None else user_id.encode()
    flags = (_PERSISTENT if persistent else 0) | (0 if mark is None else _HAS_MARK) | (_CARRIED if carried else 0)
    named = b"" if mark is None else mark.encode()
    if aliases:
        flags += _ONE_ALIAS * len(aliases)
        named += "".join(aliases).encode()
    head = _SESSION_HEAD.pack(
        _SESSION, flags, created, signed_in, seen, issued, idle or 0.0, absolute, era,
        len(current), len(previous), len(user), len(snapshot),
    )  # fmt: skip
    before = [_PREVIOUS.pack(proof, kind, -1.0 if at is None else at) for proof, kind, at in previous] if previous else ()
    return _sealed(b"".join((head, *current, *before, user, named, snapshot, values)))


def pack_ended() -> bytes:
    """Return the value that keeps an id from being used again."""
    return _sealed(bytes((_ENDED,)))


def pack_reservation(nonce: bytes, expires_at: int) -> bytes:
    """Return the value that keeps a place until then for a session that moves here; to who knows of no move it has ended."""
    return _sealed(_RESERVATION.pack(_ENDED, nonce, expires_at))


def unpack_reservation(value: bytes) -> tuple[bytes, int] | None:
    """Return the nonce and the end of a reservation; ``None`` for anything else."""
    if len(value) != _BODY + _RESERVATION.size or value != _sealed(value[_BODY:]):
        return None
    kind, nonce, expires_at = _RESERVATION.unpack_from(value, _BODY)
    return (nonce, expires_at) if kind == _ENDED else None


def pack_mark(mark: Mark) -> bytes:
    """Return the value of a user's mark."""
    entries = "".join([nonce + (keep or _NO_ID) for nonce, keep in mark.entries])
    return _sealed(_NOTE_HEAD.pack(_MARK, mark.expires_at) + entries.encode())


def pack_alias(alias: Alias) -> bytes:
    """Return the value of an alias."""
    named = "".join((alias.revoked or _NO_ID, *alias.ids))
    return _sealed(_NOTE_HEAD.pack(_ALIAS, alias.expires_at) + named.encode())


def unpack(value: bytes) -> tuple[Envelope, bytes] | Ended | Mark | Alias:
    """Return the envelope and the packed values, or what else it is; raise :exc:`Damaged` for anything else."""
    try:
        head = _WHOLE_HEAD.unpack_from(value)
    except struct.error:
        return _unpack_other(value)
    form, check, kind, flags, created, signed_in, seen, issued, idle, absolute, era, c, p, u, s = head
    if kind != _SESSION or form != _FORMAT or check != crc32(value[_BODY:]):
        return _unpack_other(value)
    # A NaN compares false with everything, so it fails this, too.
    if not (0 <= created < _LATEST and 0 <= signed_in < _LATEST and 0 <= seen < _LATEST and 0 <= issued < _LATEST):
        raise Damaged("not a time")
    if not (0 <= idle < _LATEST and 0 < absolute < _LATEST):
        raise Damaged("not a duration")
    if flags > _ALL_FLAGS:
        raise Damaged("not known")
    at = _START + _PROOF * c
    current = (value[_START:at],) if c == 1 else _unpack_current(value[_START:at])
    previous: tuple[Previous, ...] = ()
    if p:
        end = at + _PREVIOUS.size * p
        previous = _unpack_previous(value[at:end])
        at = end
    user_id = mark = None
    if u:
        user_id = _text(value[at : at + u])
        at += u
    aliases: tuple[str, ...] = ()
    if flags & _HAS_MARK or flags >= _ONE_ALIAS:
        mark, aliases, at = _unpack_ids(value, at, flags)
    snapshot = value[at : at + s] if s else b""
    at += s
    if at > len(value):
        raise Damaged("too short")
    fields = (
        user_id, created, signed_in, seen, idle or None, absolute, flags & _PERSISTENT != 0, era,
        current, issued, previous, mark, snapshot, flags & _CARRIED != 0, aliases,
    )  # fmt: skip
    # Half the time of Envelope(*fields), on every load.
    return tuple.__new__(Envelope, fields), value[at:]


def unpack_values(packed: bytes) -> Encoded:
    """Return the encoded values by key; raise :exc:`Damaged` for anything that is no such piece."""
    try:
        values = unpackb(packed, max_array_len=0)
        "".join(values)
        if values.__class__ is dict and {*map(type, values.values())} <= _BYTES:
            return cast("Encoded", values)
    # msgpack raises whatever its parts raise, and so does what comes of other keys than text.
    except Exception as error:
        raise Damaged(f"the values are no map ({type(error).__name__})") from None
    raise Damaged("the values are no map from text to bytes")


def _unpack_other(value: bytes) -> Ended | Mark | Alias:
    if len(value) <= _BODY:
        raise Damaged("too short")
    form, check = _PREFIX.unpack_from(value)
    if form != _FORMAT:
        raise Damaged(f"format {form} is not known")
    if check != crc32(value[_BODY:]):
        raise Damaged("the check does not match")
    body = value[_BODY:]
    if body == bytes((_ENDED,)) or unpack_reservation(value) is not None:
        return Ended()
    if body[0] not in (_MARK, _ALIAS) or len(body) < _NOTE_HEAD.size:
        raise Damaged("not a session")
    expires_at = _NOTE_HEAD.unpack_from(body)[1]
    if not 0 <= expires_at < _LATEST:
        raise Damaged("not a time")
    noted = body[_NOTE_HEAD.size :]
    return _unpack_mark(noted, expires_at) if body[0] == _MARK else _unpack_alias(noted, expires_at)


def _unpack_mark(noted: bytes, expires_at: float) -> Mark:
    found = [match.groups() for match in _ENTRY.finditer(noted)]
    if not (len(found) * 2 * _ID == len(noted) and 0 < len(found) <= MOST_ENTRIES):
        raise Damaged("not a mark")
    entries = [(nonce.decode(), None if keep.decode() == _NO_ID else keep.decode()) for nonce, keep in found]
    return Mark(tuple(entries), expires_at)


def _unpack_alias(noted: bytes, expires_at: float) -> Alias:
    parts = _NAMED(noted)
    ids = () if parts is None else _ids(parts[2])
    if parts is None or len(ids) > MOST_NAMED or len({*ids}) < len(ids):
        raise Damaged("not an alias")
    return Alias(ids, None if parts[1] == _NO_ID.encode() else parts[1].decode(), expires_at)


def _unpack_ids(value: bytes, at: int, flags: int) -> tuple[str | None, tuple[str, ...], int]:
    """Return the mark, the aliases, and where they end."""
    end = at + _ID * (flags // _ONE_ALIAS)
    end += _ID if flags & _HAS_MARK else 0
    ids = _ids(value[at:end])
    mark, aliases = (ids[0], ids[1:]) if flags & _HAS_MARK and ids else (None, ids)
    if not all(map(well_formed_id, ids)) or len({*aliases}) < len(aliases):
        raise Damaged("not a mark, or not aliases")
    return mark, aliases, end


def _ids(packed: bytes) -> tuple[str, ...]:
    text = packed.decode("latin-1")
    return tuple([text[at : at + _ID] for at in range(0, len(text), _ID)])


def _unpack_current(packed: bytes) -> tuple[bytes, ...]:
    if len(packed) > _PROOF * MOST_CURRENT:
        raise Damaged("too many secrets")
    return tuple([packed[at : at + _PROOF] for at in range(0, len(packed), _PROOF)])


def _unpack_previous(packed: bytes) -> tuple[Previous, ...]:
    if len(packed) > _PREVIOUS.size * MOST_PREVIOUS:
        raise Damaged("too many secrets")
    found = []
    try:
        for proof, kind, at in _PREVIOUS.iter_unpack(packed):
            if not (at == -1 or 0 <= at < _LATEST):
                raise Damaged("not a time")
            found.append(Previous(proof, Kind(kind), None if at < 0 else at))
    except (struct.error, ValueError) as error:
        raise Damaged(str(error)) from None
    return tuple(found)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Damaged("the user id is no text") from None


def _sealed(body: bytes) -> bytes:
    return _PREFIX.pack(_FORMAT, crc32(body)) + body
