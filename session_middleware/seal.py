"""Seals what a store keeps of a session, under keys that the store does not have. It asks no store.

::

    server key = 32 random bytes, of the site             K = 32 random bytes, of the session, from its first write on
    made(p)    = HKDF-SHA256(server key, no salt, "session_middleware" 0 "seal" 0 p 0 namespace), 32 bytes
    W(secret)  = HKDF-Expand-SHA256(made("wrap"), "W" id secret), 32 bytes
    sealed     = 0x05 and the rest of a session as the module ``record`` has it, as far as its aliases, with c, p and
                 user_id = blind or nothing, d = s = 0; then  w(1) e(1) wrap(65 w) device(e) nonce(12)
                 AES-256-GCM(K, nonce, kept, id clear)
    clear      = all of sealed before its nonce
    device     = nothing, or key_id(4) nonce(12) AES-256-GCM(made("device"), nonce, the text of the device, id)
    kept       = u(1) s(4) user_id(u) snapshot(s) values
    wrap       = n(1) key_id(4) nonce(12) AES-256-GCM(W(secret), nonce, K, proof)
    n          = the place of the proof among current and previous, from 0; + 128 for W("")
    key_id     = made("id")[:4]
    blind      = "~" base64url(HMAC-SHA256(made("blind"), "user" 0 user id)[:18])
    id of a mark, or of an alias's record = base64url(HMAC-SHA256(made("blind"), "mark" or "alias" 0 user id or alias)[:9])

The extract step of HKDF is done once, when a site starts. What does not authenticate opens nothing. A wrap lies there for
each secret that opens the session. W("") is for one whose session had no seal when another secret came: it goes when the
secret comes, or is dead. Until then who has the server key needs no cookie for this session.
"""

import hmac
import logging
import os
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Callable
from typing import Final, NoReturn, cast

from session_middleware import rules, tokens
from session_middleware.clock import steady_clock
from session_middleware.exceptions import ConfigurationError
from session_middleware.notes import Damaged
from session_middleware.record import Closed, Encoded, Envelope, unpack_values
from session_middleware.state import Found
from session_middleware.tokens import Names, Proof, Token

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError as error:
    missing = "cryptography is not installed: pip install 'session-middleware[seal]'"
    raise ImportError(missing, name="cryptography") from error

log = logging.getLogger("session_middleware")

MORE: Final = 640
"""So many bytes more a sealed record takes at most."""

_KEY: Final = 32
_NONCE: Final = 12
_WRAP: Final = 65
_CIPHER: Final = 17
_TAG: Final = 16
_WITHOUT: Final = 128
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_EVERY: Final = 60.0

# A clock that is behind still takes a secret for one that opens something (seconds).
_SLACK: Final = 60.0
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
        keys = [_read(one) for one in (key, *older_keys)]
        del key, older_keys  # a traceback may be shown with its locals
        wrong = _wrong(keys, require)
        self._keys = [one for one in keys if one is not None]
        del keys
        self.require = require
        if wrong is not None:
            raise ConfigurationError(wrong)

    @staticmethod
    def new_key() -> str:
        """Return a new key, as base64 text."""
        return _text(os.urandom(_KEY))

    def of(self, namespace: str, proof_of: Proof) -> "Sealer":
        """Return what seals the sessions of a namespace."""
        return Sealer([_Made(key, namespace) for key in self._keys], self.require, proof_of, namespace)

    def __repr__(self) -> str:
        return f"<Seal of {len(self._keys)} {'key' if len(self._keys) == 1 else 'keys'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Seal holds keys and is not pickled; make it anew where it is needed")


class Opened:
    """The key of a session, for a request that has opened it, or for one that seals it for the first time."""

    __slots__ = ("cipher", "key", "proof", "token", "was_plain", "wraps")

    def __init__(
        self,
        key: bytes,
        token: Token | None,
        proof: bytes,
        wraps: dict[bytes, bytes],
        was_plain: bool,
        cipher: AESGCM | None = None,
    ) -> None:
        self.key = key
        self.cipher = AESGCM(key) if cipher is None else cipher
        self.token = token
        self.proof = proof
        self.wraps = wraps
        self.was_plain = was_plain

    def with_wraps(self, wraps: dict[bytes, bytes]) -> "Opened":
        """Return the key as it is once it is stored with these wraps."""
        return Opened(self.key, self.token, self.proof, wraps, False, self.cipher)

    def __repr__(self) -> str:
        return "<Opened>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("the key of a session is not pickled")


class Sealer(Names):
    """Seals and opens the records of one namespace. The newest key seals."""

    more = MORE

    def __init__(self, keys: "list[_Made]", require: bool, proof_of: Proof, namespace: str) -> None:
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
        return tuple([_text(key.blind("mark", user_id)[:9]) for key in self._all()])

    def aliases(self, alias: str) -> tuple[str, ...]:
        return tuple([_text(key.blind("alias", alias)[:9]) for key in self._all()])

    def old_aliases(self, alias: str) -> tuple[str, ...]:
        return () if self._require else (tokens.id_of_alias(self._namespace, alias),)

    def _blinds(self, user_id: str) -> tuple[str, ...]:
        return tuple([_blind(key, user_id) for key in self._all()])

    def _all(self) -> "list[_Made]":
        return list(reversed(self._keys.values()))

    # Opening

    def open(self, found: Found, token: Token, proof: bytes) -> Found | None:
        """Return a session as its token opens it; ``None`` if its key is gone, or if it has no seal and needs one.

        Raise :exc:`Damaged` for what does not authenticate.
        """
        if found.seal is None:
            if self._require:
                if self._is_time("plain"):
                    log.warning("sessions without a seal are not opened: %s is one", found.id)
                return None
            return found._replace(seal=Opened(os.urandom(_KEY), token, proof, {}, True))
        closed = cast(Closed, found.seal)
        wraps = _wraps(found.envelope, closed)
        wrap = wraps.get(proof)
        if wrap is None:
            raise Damaged("the seal has no key for this secret")
        made = self._keys.get(wrap[1:5])
        if made is None:
            if self._is_time("unknown"):
                log.warning("session %s is sealed with a key that is not known here, and opens nothing", found.id)
            return None
        cipher = made.wrapping(token.id, b"" if wrap[0] & _WITHOUT else _secret(token))
        key = _decrypted(cipher, wrap[5:_CIPHER], wrap[_CIPHER:], proof)
        return _opened(found, closed, Opened(key, token, proof, wraps, False))

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
        return _opened(found, closed, before.with_wraps(_wraps(found.envelope, closed)))

    # Sealing

    def begin(self, token: Token, proof: bytes) -> Opened:
        """Return the key of a new session."""
        return Opened(os.urandom(_KEY), token, proof, {}, False)

    def device(self, key: str, closed: Closed) -> str | None:
        """Return what a session was signed in with, which the keys of the site open; ``None`` if nothing is, or none of
        them does."""
        start, end = _places(closed)
        made = self._keys.get(closed[start : start + 4])
        return None if start == end or made is None else made.open_device(key, closed[start + 4 : end])

    def close(
        self, envelope: Envelope, packed: bytes, opened: Opened, key: str, token: Token | None, now: float
    ) -> tuple[Envelope, Callable[[bytes], bytes], Opened]:
        """Return what of the envelope is clear, what makes the rest of the value, and the key for the next write.

        *key*: the session's id. *token*: that of a secret that may be new.
        """
        wraps = self._wrapped(envelope, opened, key, token, now)
        user_id, snapshot = envelope.user_id, envelope.snapshot
        user = b"" if user_id is None else user_id.encode()
        blind = None if user_id is None else _blind(self._newest, user_id)
        clear = envelope
        if blind is not None or snapshot or envelope.device is not None:
            clear = envelope._replace(user_id=blind, snapshot=b"", device=None)
        kept = b"".join((bytes((len(user),)), len(snapshot).to_bytes(4, "big"), user, snapshot, packed))
        device = b"" if envelope.device is None else self._newest.close_device(key, envelope.device)
        head = b"".join((bytes((len(wraps), len(device))), *wraps.values(), device))

        def rest(before: bytes) -> bytes:
            nonce = os.urandom(_NONCE)
            return b"".join((head, nonce, opened.cipher.encrypt(nonce, kept, key.encode() + before + head)))

        return clear, rest, opened.with_wraps(wraps)

    def _wrapped(self, envelope: Envelope, opened: Opened, key: str, token: Token | None, now: float) -> dict[bytes, bytes]:
        """Return a wrap for each secret that opens something."""
        wraps, newest = {}, self._newest
        for place, proof in enumerate(_proofs(envelope)):
            if place >= len(envelope.current) and rules.opens(envelope, proof, now - _SLACK) not in _OPENING:
                continue
            wrap = opened.wraps.get(proof)
            if proof == opened.proof and opened.token is not None:
                if wrap is None or wrap[0] & _WITHOUT or wrap[1:5] != newest.id:
                    wrap = self._wrap(opened.key, key, _secret(opened.token), proof)
            elif wrap is None and token is not None and proof == self._proof_of(token):
                wrap = self._wrap(opened.key, key, _secret(token), proof)
            elif wrap is None:
                if not opened.was_plain:
                    continue  # it was dead by another clock
                wrap = self._wrap(opened.key, key, b"", proof)
                place |= _WITHOUT
            place |= wrap[0] & _WITHOUT
            wraps[proof] = wrap if place == wrap[0] else bytes((place,)) + wrap[1:]
        return wraps

    def _wrap(self, key: bytes, session_id: str, secret: bytes, proof: bytes) -> bytes:
        nonce, newest = os.urandom(_NONCE), self._newest
        return b"".join((b"\0", newest.id, nonce, newest.wrapping(session_id, secret).encrypt(nonce, key, proof)))

    def _is_time(self, what: str) -> bool:
        """Tell whether there was no such line for a minute."""
        now = steady_clock()
        if now < self._next_line.get(what, 0.0):
            return False
        self._next_line[what] = now + _EVERY
        return True


class _Made:
    """What is made of one server key, for one namespace."""

    __slots__ = ("_blind", "_device", "_wrap", "id")

    def __init__(self, key: bytes, namespace: str) -> None:
        start = hmac.digest(bytes(_KEY), key, "sha256")

        def made(purpose: str) -> bytes:
            info = "\0".join(("session_middleware", "seal", purpose, namespace)).encode()
            return hmac.digest(start, info + b"\1", "sha256")

        self.id, self._wrap, self._blind = made("id")[:4], made("wrap"), made("blind")
        self._device = AESGCM(made("device"))

    def wrapping(self, session_id: str, secret: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._wrap, b"W" + session_id.encode() + secret + b"\1", "sha256"))

    def close_device(self, key: str, text: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return self.id + nonce + self._device.encrypt(nonce, text.encode(), key.encode())

    def open_device(self, key: str, sealed: bytes) -> str:
        return _decrypted(self._device, sealed[:_NONCE], sealed[_NONCE:], key.encode()).decode()

    def blind(self, purpose: str, text: str) -> bytes:
        return hmac.digest(self._blind, f"{purpose}\0{text}".encode(), "sha256")


def _proofs(envelope: Envelope) -> tuple[bytes, ...]:
    if not envelope.previous:
        return envelope.current
    return (*envelope.current, *[previous.proof for previous in envelope.previous])


def _wraps(envelope: Envelope, tail: Closed) -> dict[bytes, bytes]:
    """Return the wraps by the proofs of their secrets."""
    count = (_places(tail)[0] - 2) // _WRAP
    proofs = _proofs(envelope)
    wraps = {}
    for at in range(2, 2 + _WRAP * count, _WRAP):
        place = tail[at] & ~_WITHOUT
        if place >= len(proofs):
            raise Damaged("the seal is for other secrets")
        wraps[proofs[place]] = tail[at : at + _WRAP]
    return wraps


def _places(closed: Closed) -> tuple[int, int]:
    """Return where the wraps end, and where the device does."""
    if len(closed) < 2:
        raise Damaged("the seal is too short")
    wraps = 2 + _WRAP * closed[0]
    end = wraps + closed[1]
    if len(closed) < end + _NONCE + _TAG:
        raise Damaged("the seal is too short")
    return wraps, end


def _opened(found: Found, closed: Closed, opened: Opened) -> Found:
    """Return a session with its values."""
    start = _places(closed)[1]
    end = start + _NONCE
    kept = _decrypted(opened.cipher, closed[start:end], closed[end:], found.id.encode() + closed.clear + closed[:start])
    u, s = kept[0], int.from_bytes(kept[1:5], "big")
    envelope, at = found.envelope, 5 + u
    if u or s:
        user_id = kept[5:at].decode() if u else None
        envelope = envelope._replace(user_id=user_id, snapshot=kept[at : at + s])
    values: Encoded = unpack_values(kept[at + s :])
    return tuple.__new__(Found, (found.id, found.version, envelope, values, opened))


def _decrypted(cipher: AESGCM, nonce: bytes, sealed: bytes, bound: bytes) -> bytes:
    try:
        return cipher.decrypt(nonce, sealed, bound)
    except InvalidTag:
        raise Damaged("the seal does not match") from None


def _secret(token: Token) -> bytes:
    return token.reveal()[len(token.id) :].encode()


def _blind(made: _Made, user_id: str) -> str:
    return "~" + _text(made.blind("user", user_id)[:18])


def _text(data: bytes) -> str:
    return b2a_base64(data, newline=False).translate(_URL_SAFE).decode()


def _read(key: object) -> bytes | None:
    """Return a key as bytes; ``None`` for what is none."""
    if isinstance(key, bytes) and len(key) == _KEY:
        return key
    if not isinstance(key, str):
        return None
    try:
        read = a2b_base64(key.strip().rstrip("=").encode().translate(_STANDARD) + b"=", strict_mode=True)
    except (Error, UnicodeEncodeError):
        return None
    return read if len(read) == _KEY else None


def _wrong(keys: "list[bytes | None]", require: object) -> str | None:
    if not isinstance(require, bool):
        return f"require={require!r}: write True or False"
    if None in keys:
        number = keys.index(None) + 1
        return f"seal: key {number} is not {_KEY} bytes, nor those as base64 text: write what Seal.new_key() makes"
    return "seal: a key is given twice" if len({*keys}) < len(keys) else None
