"""The keys of a site that seals its sessions: how they are read, and what is made of each, as the module ``seal`` says."""

import os
from binascii import Error, a2b_base64
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from session_middleware.notes import Damaged
from session_middleware.tokens import base64url

KEY: Final = 32
NONCE: Final = 12

_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


class SiteKey:
    """What is made of one server key, for one namespace."""

    __slots__ = ("_blind", "_device", "_wrap", "id", "only")

    def __init__(self, key: bytes, namespace: str) -> None:
        start = _hmac(bytes(KEY), key)

        def made(purpose: str) -> bytes:
            info = "\0".join(("session_middleware", "seal", purpose, namespace)).encode()
            return _hmac(start, info + b"\1")

        self.id, self._wrap, self._blind = made("id")[:4], _keyed(made("wrap")), _keyed(made("blind"))
        self._device = AESGCM(made("device"))
        self.only = self.id + b"\0" + self.id
        """What lies between e and the nonce of the first wrap, where all is of this key."""

    def wrapping(self, text: str) -> AESGCM:
        """Return what wraps by a secret. *text*: the id and the secret."""
        # A third of the time of hmac.digest(), for the key has been taken in already.
        made = self._wrap.copy()
        made.update(f"W{text}\1".encode())
        return AESGCM(made.finalize())

    def close_device(self, key: str, text: str) -> bytes:
        """Return the text of a device, sealed for the session with the id *key*."""
        nonce = os.urandom(NONCE)
        return nonce + self._device.encrypt(nonce, text.encode(), key.encode())

    def open_device(self, key: str, sealed: bytes) -> str:
        """Return the text of a device; raise :exc:`Damaged` for what does not authenticate."""
        try:
            return self._device.decrypt(sealed[:NONCE], sealed[NONCE:], key.encode()).decode()
        except (InvalidTag, ValueError):
            raise wrong() from None

    def blind(self, purpose: str, text: str) -> bytes:
        """Return what stands for a text: nobody without the key can try a guess."""
        made = self._blind.copy()
        made.update(f"{purpose}\0{text}".encode())
        return made.finalize()

    def name_of(self, user_id: str) -> str:
        """Return what stands in a store for a user."""
        return "~" + base64url(self.blind("user", user_id)[:18])


def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.HMAC(key, hashes.SHA256())


def _hmac(key: bytes, text: bytes) -> bytes:
    made = _keyed(key)
    made.update(text)
    return made.finalize()


def read_key(key: object) -> bytes | None:
    """Return a key as bytes; ``None`` for what is none."""
    if isinstance(key, bytes) and len(key) == KEY:
        return key
    if not isinstance(key, str):
        return None
    try:
        read = a2b_base64(key.strip().rstrip("=").encode().translate(_STANDARD) + b"=", strict_mode=True)
    except (Error, UnicodeEncodeError):
        return None
    return read if len(read) == KEY else None


def wrong() -> Damaged:
    """Return what is raised where something does not authenticate."""
    return Damaged("the seal does not match")
