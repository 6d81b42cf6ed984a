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
from typing import NamedTuple
from zlib import crc32

from session_middleware.lifetime import deadline
from session_middleware.tokens import TOKEN

_FORMAT = 1
_SESSION = 1
_MOVED = 2
_PERSISTENT, _IDLE, _USER = 1, 2, 4

_PREFIX = struct.Struct(">BI")
_FIELDS = struct.Struct(">BIBBddddH")
_SUCCESSOR = re.compile(TOKEN.encode()).fullmatch
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


class Moved(NamedTuple):
    """What is left under the key of a regenerated session: requests still running on it find its successor."""

    successor: str


class Damaged(ValueError):
    """The bytes are not a value that was written under this key in this format."""


def pack(key: str, envelope: Envelope, payload: bytes) -> bytes:
    """Return the value of a session."""
    user_id = b"" if envelope.user_id is None else envelope.user_id.encode()
    flags = (
        (_PERSISTENT if envelope.persistent else 0)
        | (0 if envelope.idle is None else _IDLE)
        | (0 if envelope.user_id is None else _USER)
    )
    head = _FIELDS.pack(
        _FORMAT,
        0,
        _SESSION,
        flags,
        envelope.created_at,
        envelope.last_seen_at,
        envelope.idle or 0.0,
        envelope.absolute,
        len(user_id),
    )
    return _sealed(key, head[_PREFIX.size :] + user_id + payload)


def pack_moved(key: str, moved: Moved) -> bytes:
    """Return the value that stands under the old key after a regenerate."""
    return _sealed(key, bytes((_MOVED,)) + moved.successor.encode())


def unpack(key: str, value: bytes) -> tuple[Envelope, bytes] | Moved:
    """Return the envelope and the payload, or the successor; raise :exc:`Damaged` for anything else."""
    try:
        version, check = _PREFIX.unpack_from(value)
        if version != _FORMAT:
            raise Damaged(f"format {version} is not known")
        if check != _check(key, value[_PREFIX.size :]):
            raise Damaged("the check does not match")
        if value[_PREFIX.size] == _MOVED:
            return _unpack_moved(value[_PREFIX.size + 1 :])
        return _unpack_session(value)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise Damaged(str(error)) from None


def _unpack_session(value: bytes) -> tuple[Envelope, bytes]:
    _, _, kind, flags, created_at, last_seen_at, idle, absolute, size = _FIELDS.unpack_from(value)
    start = _FIELDS.size
    end = start + size
    if kind != _SESSION or flags > 7 or end > len(value):
        raise Damaged("not a session")
    # A NaN compares false with everything, so it fails this too.
    if not (abs(created_at) + abs(last_seen_at) + abs(idle) + abs(absolute) < _LATEST):
        raise Damaged("a time is out of range")
    envelope = Envelope(
        value[start:end].decode() if flags & _USER else None,
        created_at,
        last_seen_at,
        idle if flags & _IDLE else None,
        absolute,
        flags & _PERSISTENT != 0,
    )
    return envelope, value[end:]


def _unpack_moved(body: bytes) -> Moved:
    if not _SUCCESSOR(body):
        raise Damaged("not a successor")
    return Moved(body.decode())


def _sealed(key: str, body: bytes) -> bytes:
    return _PREFIX.pack(_FORMAT, _check(key, body)) + body


def _check(key: str, body: bytes) -> int:
    return crc32(body, crc32(key.encode()))
