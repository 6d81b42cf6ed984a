"""The envelope around a payload, to bytes and back. It knows the format and nothing of what the payload means.

::

    value    = format(1) check(4) body
    format   = 0x01
    check    = CRC-32 of (key body), so that a damaged record, or one found under another key, is seen
    body     = session | moved
    session  = 0x01 flags(1) created_at(8) last_seen_at(8) idle(8) absolute(8) n(2) user_id(n) payload
    flags    = 1 persistent + 2 has an idle timeout + 4 has a user id
    moved    = 0x02 successor(43)

Numbers are big-endian; times are IEEE doubles, epoch seconds or seconds.
"""

import re
import struct
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from session_middleware.lifetime import deadline
from session_middleware.tokens import FORM

_FORMAT = 1
_SESSION = 1
_MOVED = 2
_PERSISTENT, _IDLE, _USER = 1, 2, 4

_PREFIX = struct.Struct(">BI")
_SESSION_HEAD = struct.Struct(">BBddddH")
_WHOLE_HEAD = struct.Struct(">BIBBddddH")
_BODY = _PREFIX.size
_SUCCESSOR = re.compile(FORM.encode()).fullmatch
_LATEST = 1e12


class Envelope(NamedTuple):
    """What the middleware itself knows of a session. Times are epoch seconds, durations seconds."""

    user_id: str | None
    created_at: float
    last_seen_at: float
    idle: float | None
    absolute: float
    persistent: bool

    @property
    def expires_at(self) -> float:
        """The moment (epoch seconds) from which the session has ended."""
        return deadline(self.created_at, self.last_seen_at, self.idle, self.absolute)

    def used(self, now: float) -> "Envelope":
        """Return the envelope of the same session, last seen *now*."""
        return Envelope(self.user_id, self.created_at, now, self.idle, self.absolute, self.persistent)


@dataclass(frozen=True, slots=True)
class Moved:
    """What is left under the key of a regenerated session: requests still running on it find its successor."""

    successor: str


class Damaged(ValueError):
    """The bytes are not a value that was written under this key in this format."""


def pack(key: str, envelope: Envelope, payload: bytes) -> bytes:
    """Return the value of a session."""
    user_id, created_at, last_seen_at, idle, absolute, persistent = envelope
    flags, user = (_PERSISTENT if persistent else 0), b""
    if idle is not None:
        flags |= _IDLE
    if user_id is not None:
        flags, user = flags | _USER, user_id.encode()
    head = _SESSION_HEAD.pack(_SESSION, flags, created_at, last_seen_at, idle or 0.0, absolute, len(user))
    return _sealed(key, head + user + payload)


def pack_moved(key: str, moved: Moved) -> bytes:
    """Return the value that stands under the old key after a regenerate."""
    return _sealed(key, bytes((_MOVED,)) + moved.successor.encode())


def unpack(key: str, value: bytes) -> tuple[Envelope, bytes] | Moved:
    """Return the envelope and the payload, or the successor; raise :exc:`Damaged` for anything else."""
    try:
        form, check, kind, flags, created_at, last_seen_at, idle, absolute, size = _WHOLE_HEAD.unpack_from(value)
    except struct.error:
        raise Damaged("too short") from None
    if form != _FORMAT:
        raise Damaged(f"format {form} is not known")
    if check != crc32(value[_BODY:], crc32(key.encode())):
        raise Damaged("the check does not match")
    if kind == _MOVED:
        return _unpack_moved(value[_BODY + 1 :])
    # A NaN compares false with everything, so it fails this too.
    if kind != _SESSION or not (created_at < _LATEST and last_seen_at < _LATEST and idle < _LATEST and absolute < _LATEST):
        raise Damaged("not a session")
    start = _WHOLE_HEAD.size
    user_id = None
    if flags & _USER:
        user_id = _text(value[start : start + size])
        start += size
    fields = (user_id, created_at, last_seen_at, idle if flags & _IDLE else None, absolute, flags & _PERSISTENT != 0)
    # Half the time of Envelope(*fields), on every load.
    return tuple.__new__(Envelope, fields), value[start:]


def _unpack_moved(body: bytes) -> Moved:
    if not _SUCCESSOR(body):
        raise Damaged("not a successor")
    return Moved(body.decode())


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Damaged("the user id is no text") from None


def _sealed(key: str, body: bytes) -> bytes:
    return _PREFIX.pack(_FORMAT, crc32(body, crc32(key.encode()))) + body
