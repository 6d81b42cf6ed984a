"""What a store keeps of a session, to bytes and back. It knows the format and nothing of what the values mean.

::

    value     = format(1) check(4) session              see the module ``notes`` for what is no session, ``seal`` for sealed
    session   = 0x01 flags(1) created_at(8) signed_in_at(8) last_seen_at(8) issued_at(8) idle(8) absolute(8) era(4)
                c(1) p(1) u(1) s(4)  current(16 c)  previous(25 p)  user_id(u)  more?  snapshot(s)  values
    flags     = 1 persistent + 2 was carried over + 4 has more
    more      = a(1) d(1) k(2) mark(12, or 12 times "." for none) not_after(8, -1 for none) family(6, 0 for none)
                aliases(12 a) device(d) binding(k)
    binding   = secret(32) at(8) key(k - 40)
    c, p, u, a, d, k = at most 4, 3, 255, 8, 200 and 640; 0 for nobody, and for nothing     idle = 0 for none
    previous  = proof(16) kind(1) at(8, -1 for none)
    snapshot, values = a MessagePack map from key (str) to encoded value (bin); an empty snapshot has no bytes

Numbers are big-endian; times are IEEE doubles, epoch seconds or seconds. What nobody would write is no record, though its
check matches: whatever is read can be written again, to every store. The proofs bind the record to its id.
"""

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple, cast
from zlib import crc32

from msgpack import unpackb

from session_middleware.codecs.packers import Packers
from session_middleware.notes import (
    BODY,
    FORMAT,
    ID,
    LATEST,
    MOST_CURRENT,
    MOST_PREVIOUS,
    NO_ID,
    PROOF,
    SEALED,
    SESSION,
    Alias,
    Damaged,
    Mark,
    Tombstone,
    checked,
    ids_of,
    proofs_of,
    unpack_note,
)
from session_middleware.tokens import well_formed_id

MOST_ALIASES: Final = 8
LONGEST_DEVICE: Final = 200
LONGEST_KEY: Final = 600

_PERSISTENT, _CARRIED, _HAS_MORE = 1, 2, 4
_ALL_FLAGS = _PERSISTENT + _CARRIED + _HAS_MORE

_SESSION_HEAD = struct.Struct(">BBddddddIBBBI")
_WHOLE_HEAD = struct.Struct(">BIBBddddddIBBBI")
_PREVIOUS = struct.Struct(">16sBd")
_MORE = struct.Struct(">BBH12sd6s")
_BINDING = struct.Struct(">32sd")
_START = _WHOLE_HEAD.size
LEAST = _START + PROOF
"""The bytes that a session takes beside its values."""

MORE = 1408
"""So many more it takes at most, a snapshot not counted: for a user id and the like, and the proofs of other secrets."""

ERAS: Final = 2**32
"""So many eras there are; the one after the last is the first, for they are only ever compared."""

_More = tuple[str | None, tuple[str, ...], float | None, str | None, bytes | None, "Binding | None"]
_NO_MORE: Final[_More] = (None, (), None, None, None, None)
_NO_FAMILY: Final = bytes(6)
_NOTHING_MORE: Final = _NO_MORE[1:]

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


class Binding(NamedTuple):
    """What binds a session to a device: a secret that no browser is told, and the public key of the device (DER), empty
    until there is one. ``at`` (epoch seconds) is when that came."""

    secret: bytes
    at: float
    key: bytes = b""

    def __repr__(self) -> str:
        return "<Binding, bound>" if self.key else "<Binding, offered>"  # tracebacks may be shown with their locals


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
    not_after: float | None = None
    """The latest end (epoch seconds) that the last sign-in allows it, whatever its lifetimes."""
    device: str | None = None
    """What the user signed in with, in a few words."""
    family: bytes | None = None
    """The proof of what the secrets that were renewed have in common, since the last that was not."""
    binding: Binding | None = None
    """What the session is bound with to the device that signed in, or is to be."""

    @property
    def device_bound(self) -> bool:
        """Whether it is bound to a device."""
        return self.binding is not None and self.binding.key != b""

    @property
    def ends_at(self) -> float:
        """The moment (epoch seconds) at which the session ends, however it is used."""
        end = self.signed_in_at + self.absolute
        return end if self.not_after is None else min(end, self.not_after)

    @property
    def expires_at(self) -> float:
        """The moment (epoch seconds) from which the session has ended."""
        _, _, began, seen, idle, absolute, *_ = self
        end = began + absolute if self.not_after is None else self.ends_at
        return end if idle is None or end < seen + idle else seen + idle


class Closed(NamedTuple):
    """What stands behind the envelope of a sealed session: all of the value, and where that begins."""

    value: bytes
    at: int


def pack(
    envelope: Envelope, values: bytes, close: Callable[[bytes], bytes] | None = None, blind: str | None = None
) -> bytes:
    """Return the value of a session; of a sealed one, if *close* makes what comes behind the envelope, of what is clear of
    it. *blind*: what then stands for the user."""
    (
        user_id, created, signed_in, seen, idle, absolute, persistent, era, current, issued,
        previous, mark, snapshot, carried, aliases, not_after, device, family, binding,
    ) = envelope  # fmt: skip
    kind = SESSION
    if close is not None:
        kind, user_id, snapshot, device = SEALED, blind, b"", None
    user = b"" if user_id is None else user_id.encode()
    flags = (_PERSISTENT if persistent else 0) | (_CARRIED if carried else 0)
    more = b""
    if mark is not None or (aliases, not_after, device, family, binding) != _NOTHING_MORE:
        flags |= _HAS_MORE
        more = _packed_more((mark, aliases, not_after, device, family, binding))
    head = _SESSION_HEAD.pack(
        kind, flags, created, signed_in, seen, issued, idle or 0.0, absolute, era,
        len(current), len(previous), len(user), len(snapshot),
    )  # fmt: skip
    before = [_PREVIOUS.pack(proof, what, -1.0 if at is None else at) for proof, what, at in previous] if previous else ()
    if close is None:
        return checked(b"".join((head, *current, *before, user, more, snapshot, values)))
    clear = b"".join((head, *current, *before, user, more))
    return checked(clear + close(clear))


def _packed_more(more: _More) -> bytes:
    mark, aliases, not_after, device, family, binding = more
    text = b"" if device is None else device.encode()
    until = -1.0 if not_after is None else not_after
    bound = b"" if binding is None else _BINDING.pack(*binding[:2]) + binding.key
    head = _MORE.pack(len(aliases), len(text), len(bound), (mark or NO_ID).encode(), until, family or _NO_FAMILY)
    return b"".join((head, "".join(aliases).encode(), text, bound))


def unpack(value: bytes) -> tuple[Envelope, bytes | Closed] | Tombstone | Mark | Alias:
    """Return the envelope and the packed values, closed if sealed, or what else it is; raise :exc:`Damaged` for all else."""
    try:
        head = _WHOLE_HEAD.unpack_from(value)
    except struct.error:
        return unpack_note(value)
    form, check, kind, flags, created, signed_in, seen, issued, idle, absolute, era, c, p, u, s = head
    if (kind != SESSION and kind != SEALED) or form != FORMAT or check != crc32(value[BODY:]):
        return unpack_note(value)
    # A NaN compares false with everything, so it fails this, too.
    if not (0 <= created < LATEST and 0 <= signed_in < LATEST and 0 <= seen < LATEST and 0 <= issued < LATEST):
        raise Damaged("not a time")
    if not (0 <= idle < LATEST and 0 < absolute < LATEST):
        raise Damaged("not a duration")
    if flags > _ALL_FLAGS:
        raise Damaged("not known")
    at = _START + PROOF * c
    current = (value[_START:at],) if c == 1 else _unpack_current(value[_START:at])
    previous: tuple[Previous, ...] = ()
    if p:
        end = at + _PREVIOUS.size * p
        previous = _unpack_previous(value[at:end])
        at = end
    user_id = None
    if u:
        user_id = _text(value[at : at + u])
        at += u
    more: _More = _NO_MORE
    if flags & _HAS_MORE:
        more, at = _unpack_more(value, at)
    mark, aliases, not_after, device, family, binding = more
    snapshot = value[at : at + s] if s else b""
    at += s
    if at > len(value):
        raise Damaged("too short")
    fields = (
        user_id, created, signed_in, seen, idle or None, absolute, flags & _PERSISTENT != 0, era,
        current, issued, previous, mark, snapshot, flags & _CARRIED != 0, aliases, not_after, device, family, binding,
    )  # fmt: skip
    # Half the time of Envelope(*fields), on every load.
    rest = value[at:] if kind == SESSION else tuple.__new__(Closed, (value, at))
    return tuple.__new__(Envelope, fields), rest


def unpack_values(packed: bytes | Closed) -> Encoded:
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


def _unpack_more(value: bytes, at: int) -> tuple[_More, int]:
    """Return what stands behind the user id, and where it ends."""
    try:
        a, d, k, mark, not_after, family = _MORE.unpack_from(value, at)
    except struct.error:
        raise Damaged("too short") from None
    at += _MORE.size
    end = at + ID * a
    aliases, device = ids_of(value[at:end]), _text(value[end : end + d]) if d else None
    end += d
    binding = _unpack_binding(value[end : end + k]) if k else None
    named = None if mark == NO_ID.encode() else mark.decode("latin-1")
    if a > MOST_ALIASES or d > LONGEST_DEVICE or len({*aliases}) < len(aliases):
        raise Damaged("too much")
    if not all(map(well_formed_id, aliases)) or not (named is None or well_formed_id(named)):
        raise Damaged("not a mark, or not aliases")
    if not (not_after == -1 or 0 <= not_after < LATEST):
        raise Damaged("not a time")
    until = None if not_after == -1 else not_after
    return (named, aliases, until, device, None if family == _NO_FAMILY else family, binding), end + k


def _unpack_binding(packed: bytes) -> Binding:
    if not _BINDING.size <= len(packed) <= _BINDING.size + LONGEST_KEY:
        raise Damaged("not a binding")
    secret, at = _BINDING.unpack_from(packed)
    if not 0 <= at < LATEST:
        raise Damaged("not a time")
    return Binding(secret, at, packed[_BINDING.size :])


def _unpack_current(packed: bytes) -> tuple[bytes, ...]:
    if len(packed) > PROOF * MOST_CURRENT:
        raise Damaged("too many secrets")
    return proofs_of(packed)


def _unpack_previous(packed: bytes) -> tuple[Previous, ...]:
    if len(packed) > _PREVIOUS.size * MOST_PREVIOUS:
        raise Damaged("too many secrets")
    found = []
    try:
        for proof, kind, at in _PREVIOUS.iter_unpack(packed):
            if not (at == -1 or 0 <= at < LATEST):
                raise Damaged("not a time")
            found.append(Previous(proof, Kind(kind), None if at < 0 else at))
    except (struct.error, ValueError) as error:
        raise Damaged(str(error)) from None
    return tuple(found)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Damaged("a user id or a device is no text") from None
