"""Seals what a store keeps of a session, under keys that the store does not have. It asks no store.

::

    server key = 32 random bytes, of the site             K = 32 random bytes, of the session, from its first write on
    made(p)    = HKDF-SHA256(server key, no salt, "session_middleware" 0 "seal" 0 p 0 namespace), 32 bytes
    W(secret)  = HKDF-Expand-SHA256(made("wrap"), "W" id secret), 32 bytes
    sealed     = 0x05 and the rest of a session as the module ``record`` has it, as far as its binding, with c, p and
                 user_id = blind or nothing, d = s = 0; then
                 w(1) e(1) key_id(4) wrap(65 w) device(e) nonce(12) AES-256-GCM(K, nonce, kept, id clear)
    clear      = all of sealed before its nonce
    device     = nothing, or nonce(12) AES-256-GCM(made("device"), nonce, the text of the device, id)
    kept       = u(1) s(4) user_id(u) snapshot(s) values
    wrap       = n(1) key_id(4) nonce(12) AES-256-GCM(W(secret), nonce, K, proof)
    n          = the place of the proof among current and previous, from 0; + 128 for W("")
    key_id     = made("id")[:4], of the key that the wrap is made with; the first one, of that which blind and device are
    blind      = "~" base64url(HMAC-SHA256(made("blind"), "user" 0 user id)[:18])
    id of a mark, or of an alias's record = base64url(HMAC-SHA256(made("blind"), "mark" or "alias" 0 user id or alias)[:9])

The extract step of HKDF is done once, when a site starts. What does not authenticate opens nothing. A wrap lies there for
each secret that opens the session. W("") is for one whose session had no seal when another secret came: it goes when the
secret comes, or is dead. Until then who has the server key needs no cookie for this session.
"""

import logging
import os
import struct
from collections.abc import Callable
from typing import Any, Final, NoReturn, cast

from session_middleware import rules, tokens
from session_middleware.clock import steady_clock
from session_middleware.exceptions import ConfigurationError
from session_middleware.notes import BODY, Damaged
from session_middleware.record import Closed, Envelope, unpack_values
from session_middleware.state import Found
from session_middleware.tokens import Names, Proof, Token, base64url

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError as error:
    missing = "cryptography is not installed: pip install 'session-middleware[seal]'"
    raise ImportError(missing, name="cryptography") from error

from session_middleware.site_keys import KEY, NONCE, SiteKey, read_key, wrong

log = logging.getLogger("session_middleware")

MORE: Final = 640
"""So many bytes more a sealed record takes at most."""

_TAG: Final = 16
_HEAD: Final = 6
_WRAP = struct.Struct(">B4s12s48s")
_KEPT = struct.Struct(">BI")
_WITHOUT: Final = 128
_EVERY: Final = 60.0

# A clock that is behind still takes a secret for one that opens something (seconds).
_SLACK: Final = 60.0
_NOBODY: Final = bytes(_KEPT.size)
_NO_DEVICE: Final = (b"\0", b"")
_OPENING: Final = (rules.Opens.SESSION, rules.Opens.SNAPSHOT)


class Seal:
    """The keys that sessions are sealed with: the newest one, and older ones that are still read.

    A key is 32 random bytes, or these as base64 text; :meth:`new_key` makes one. *require*: a session that was written
    without a seal opens nothing. Without it, who can write to the store can make a session of anybody, as without a seal.
    Raise :exc:`ConfigurationError` for what is no such key and for the same key twice. Nothing shows a key: no
    representation, no pickle.
    """

    __slots__ = ("_keys", "require")

    more = MORE
    """So many bytes more a record takes at most."""

    def __init__(self, key: bytes | str, *older_keys: bytes | str, require: bool = False) -> None:
        keys = [read_key(one) for one in (key, *older_keys)]
        del key, older_keys  # a traceback may be shown with its locals
        refusal = _refusal(keys, require)
        self._keys = [one for one in keys if one is not None]
        del keys
        self.require = require
        if refusal is not None:
            raise ConfigurationError(refusal)

    @staticmethod
    def new_key() -> str:
        """Return a new key, as base64 text."""
        return base64url(os.urandom(KEY))

    def of(self, namespace: str, proof_of: Proof) -> "Sealer":
        """Return what seals the sessions of a namespace."""
        return Sealer([SiteKey(key, namespace) for key in self._keys], self.require, proof_of, namespace)

    def __repr__(self) -> str:
        return f"<Seal of {len(self._keys)} {'key' if len(self._keys) == 1 else 'keys'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Seal holds keys and is not pickled; make it anew where it is needed")


class Opened:
    """The key of a session, for a request that has opened it, or for one that seals it for the first time.

    *found*: the session as it lay there, if there was one.
    """

    __slots__ = ("cipher", "found", "key", "proof", "token")

    def __init__(self, key: bytes, cipher: AESGCM, token: Token | None, proof: bytes, found: Found | None) -> None:
        self.key = key
        self.cipher = cipher
        self.token = token
        self.proof = proof
        self.found = found

    @property
    def was_plain(self) -> bool:
        """Whether there was a session, and no seal."""
        return self.found is not None and self.found.seal is None

    def __repr__(self) -> str:
        return "<Opened>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("the key of a session is not pickled")


class Sealer(Names):
    """Seals and opens the records of one namespace. The newest key seals."""

    more = MORE

    def __init__(self, keys: list[SiteKey], require: bool, proof_of: Proof, namespace: str) -> None:
        self._newest = keys[0]
        self._keys = {key.id: key for key in reversed(keys)}
        self._proof_of = proof_of
        super().__init__(namespace)
        self._require = require
        self._next_line: dict[str, float] = {}

    # Names

    def users(self, user_id: str) -> tuple[str, ...]:
        return (*self._blinds(user_id), *(() if self._require else (user_id,)))

    def marks(self, user_id: str) -> tuple[str, ...]:
        return tuple([base64url(key.blind("mark", user_id)[:9]) for key in self._all()])

    def aliases(self, alias: str) -> tuple[str, ...]:
        return tuple([base64url(key.blind("alias", alias)[:9]) for key in self._all()])

    def old_aliases(self, alias: str) -> tuple[str, ...]:
        return () if self._require else (tokens.id_of_alias(self._namespace, alias),)

    def _blinds(self, user_id: str) -> tuple[str, ...]:
        return tuple([key.name_of(user_id) for key in self._all()])

    def _all(self) -> list[SiteKey]:
        return list(reversed(self._keys.values()))

    # Opening

    def open(self, found: Found, token: Token, proof: bytes) -> Found | None:
        """Return a session as its token opens it; ``None`` if its key is gone, or if it has no seal and needs one.

        Raise :exc:`Damaged` for what does not authenticate.
        """
        closed: Any = found.seal
        if closed is None:
            return self._opened_plain(found, token, proof)
        value, at = closed
        try:
            number, key_id, nonce, wrapped = _WRAP.unpack_from(value, at + _HEAD)
            if number or found.envelope.current[0] != proof:
                number, key_id, nonce, wrapped = _wrap_of(found.envelope, value, at, proof)
        except (struct.error, IndexError):
            raise Damaged("the seal is too short, or for other secrets") from None
        made = self._keys.get(key_id)
        if made is None:
            if self._is_time("unknown"):
                log.warning("session %s is sealed with a key that is not known here, and opens nothing", found.id)
            return None
        text = token.id if number & _WITHOUT else token.reveal()
        try:
            key = made.wrapping(text).decrypt(nonce, wrapped, proof)
        except InvalidTag:
            raise wrong() from None
        return _opened(found, value, at, Opened(key, AESGCM(key), token, proof, found))

    def _opened_plain(self, found: Found, token: Token, proof: bytes) -> Found | None:
        if not self._require:
            return found._replace(seal=_first(token, proof, found))
        if self._is_time("plain"):
            log.warning("sessions without a seal are not opened: %s is one", found.id)
        return None

    def again(self, found: Found, base: Found) -> Found | None:
        """Return a session that was opened as *base* as it is now; ``None`` if its key is gone.

        Raise :exc:`Damaged` for what does not authenticate, and for one that had a seal and has none.
        """
        before, closed = cast(Opened, base.seal), found.seal
        if not isinstance(closed, Closed):
            if before.was_plain:
                return found._replace(seal=before)
            raise Damaged("it had a seal and has none")
        if before.was_plain and before.token is not None:
            return self.open(found, before.token, before.proof)
        return _opened(found, *closed, Opened(before.key, before.cipher, before.token, before.proof, found))

    # Sealing

    def begin(self, token: Token, proof: bytes) -> Opened:
        """Return the key of a new session."""
        return _first(token, proof, None)

    def device(self, key: str, closed: Closed) -> str | None:
        """Return what a session was signed in with, which the keys of the site open; ``None`` if nothing is, or none of
        them does."""
        value, at = closed
        if value[at + 1 : at + 2] in _NO_DEVICE:
            return None
        made = self._keys.get(value[at + 2 : at + _HEAD])
        end = at + _HEAD + _WRAP.size * value[at] + value[at + 1]
        return None if made is None else made.open_device(key, value[end - value[at + 1] : end])

    def close(
        self, envelope: Envelope, packed: bytes, opened: Opened, key: str, token: Token | None, now: float
    ) -> tuple[Callable[[bytes], bytes], str | None, Opened]:
        """Return what makes the rest of a value, of what is clear; what stands for the user; and the key for the next write.

        *key*: the session's id. *token*: that of a secret that may be new.
        """
        user_id, cipher, found = envelope.user_id, opened.cipher, opened.found
        kept, blind = _NOBODY + packed, None
        head = None if found is None or found.seal is None else self._as_found(envelope, opened, found)
        if user_id is not None:
            # Who has a user keeps that, or gets another secret; a snapshot is there only of what was before a user.
            blind = (head and found and found.envelope.user_id) or self._newest.name_of(user_id)
            user, snapshot = user_id.encode(), envelope.snapshot
            kept = b"".join((_KEPT.pack(len(user), len(snapshot)), user, snapshot, packed))
        if head is None:
            head = self._head(envelope, opened, key, token, now)

        def rest(clear: bytes) -> bytes:
            nonce = os.urandom(NONCE)
            return head + nonce + cipher.encrypt(nonce, kept, key.encode() + clear + head)

        if found is not None and found.seal is None:
            opened = Opened(opened.key, cipher, opened.token, opened.proof, None)
        return rest, blind, opened

    def _as_found(self, envelope: Envelope, opened: Opened, found: Found) -> bytes | None:
        """Return what lay before the nonce, if that can stay.

        ``None`` if it may have to change: by other secrets, by the time of one that is not current any more, by a newer key,
        or by another device.
        """
        before, (value, at) = found.envelope, cast(Closed, found.seal)
        if (
            value[at] != 1
            or value[at + 2 : at + _HEAD + 5] != self._newest.only
            or envelope.current != before.current
            or before.current[0] != opened.proof
            or envelope.device != before.device
        ):
            return None
        return value[at : at + _HEAD + _WRAP.size + value[at + 1]]

    def _head(self, envelope: Envelope, opened: Opened, key: str, token: Token | None, now: float) -> bytes:
        """Return what lies before the nonce: a wrap for each secret that opens something, and the device."""
        wraps = self._wrapped(envelope, opened, key, token, now)
        device = b"" if envelope.device is None else self._newest.close_device(key, envelope.device)
        return b"".join((bytes((len(wraps), len(device))), self._newest.id, *wraps, device))

    def _wrapped(self, envelope: Envelope, opened: Opened, key: str, token: Token | None, now: float) -> list[bytes]:
        wraps, newest, was_plain = list[bytes](), self._newest, opened.was_plain
        known = {} if opened.found is None or was_plain else _wraps(opened.found)
        for place, proof in enumerate(_proofs(envelope)):
            if place >= len(envelope.current) and rules.opens(envelope, proof, now - _SLACK) not in _OPENING:
                continue
            wrap = known.get(proof)
            if proof == opened.proof and opened.token is not None:
                if wrap is None or wrap[0] & _WITHOUT or wrap[1:5] != newest.id:
                    wrap = self._wrap(opened.key, opened.token.reveal(), proof)
            elif wrap is None and token is not None and proof == self._proof_of(token):
                wrap = self._wrap(opened.key, token.reveal(), proof)
            elif wrap is None:
                if not was_plain:
                    continue  # it was dead by another clock
                wrap = self._wrap(opened.key, key, proof)
                place |= _WITHOUT
            wraps.append(bytes((place | wrap[0] & _WITHOUT,)) + wrap[1:])
        return wraps

    def _wrap(self, key: bytes, text: str, proof: bytes) -> bytes:
        nonce, newest = os.urandom(NONCE), self._newest
        return _WRAP.pack(0, newest.id, nonce, newest.wrapping(text).encrypt(nonce, key, proof))

    def _is_time(self, what: str) -> bool:
        """Tell whether there was no such line for a minute."""
        now = steady_clock()
        if now < self._next_line.get(what, 0.0):
            return False
        self._next_line[what] = now + _EVERY
        return True


def _first(token: Token, proof: bytes, found: Found | None) -> Opened:
    key = os.urandom(KEY)
    return Opened(key, AESGCM(key), token, proof, found)


def _proofs(envelope: Envelope) -> tuple[bytes, ...]:
    if not envelope.previous:
        return envelope.current
    return (*envelope.current, *[previous.proof for previous in envelope.previous])


def _wrap_of(envelope: Envelope, value: bytes, at: int, proof: bytes) -> tuple[int, bytes, bytes, bytes]:
    """Return the parts of the wrap for a secret. Raise :exc:`IndexError` or :exc:`struct.error` for what nobody writes."""
    proofs, first = _proofs(envelope), at + _HEAD
    for start in range(first, first + _WRAP.size * value[at], _WRAP.size):
        wrap = _WRAP.unpack_from(value, start)
        if proofs[wrap[0] & ~_WITHOUT] == proof:
            return wrap
    raise Damaged("the seal has no key for this secret")


def _wraps(found: Found) -> dict[bytes, bytes]:
    """Return the wraps by the proofs of their secrets, of what has authenticated."""
    (value, at), proofs = cast(Closed, found.seal), _proofs(found.envelope)
    first = at + _HEAD
    starts = range(first, first + _WRAP.size * value[at], _WRAP.size)
    return {proofs[value[start] & ~_WITHOUT]: value[start : start + _WRAP.size] for start in starts}


def _opened(found: Found, value: bytes, at: int, opened: Opened) -> Found:
    """Return a session with its values."""
    key, version, envelope, _, _ = found
    try:
        end = at + _HEAD + _WRAP.size * value[at] + value[at + 1]
        start = end + NONCE
        kept = opened.cipher.decrypt(value[end:start], value[start:], key.encode() + value[BODY:end])
    except (InvalidTag, IndexError, ValueError):  # by its bytes, or too short for them
        raise wrong() from None
    u, s = _KEPT.unpack_from(kept)
    at = _KEPT.size
    if u:
        user_id, at = kept[at : at + u].decode(), at + u
        # A third of the time of _replace().
        envelope = tuple.__new__(Envelope, (user_id, *envelope[1:12], kept[at : at + s], *envelope[13:]))
    return tuple.__new__(Found, (key, version, envelope, unpack_values(kept[at + s :]), opened))


def _refusal(keys: "list[bytes | None]", require: object) -> str | None:
    if not isinstance(require, bool):
        return f"require={require!r}: write True or False"
    if None in keys:
        number = keys.index(None) + 1
        return f"seal: key {number} is not {KEY} bytes, nor those as base64 text: write what Seal.new_key() makes"
    return "seal: a key is given twice" if len({*keys}) < len(keys) else None
