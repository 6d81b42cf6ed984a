"""The bytes of other libraries' sessions to mappings: JSON, MessagePack, zlib, signatures. What is pickled is not loaded."""

import base64
import binascii
import hashlib
import hmac
import json
import zlib
from collections.abc import Sequence
from typing import Any, Final

from msgpack import unpackb

from session_middleware.exceptions import PayloadError
from session_middleware.integrations.moving import plain_pickle

MOST: Final = 4 * 1024 * 1024
"""The most bytes that a session may have, packed or unpacked."""

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Pickles:
    """What is to be done with pickled data: refused, saying how to convert it, or read as far as it is plain."""

    def __init__(self, *, plain: bool, conversion: str) -> None:
        self._plain = plain
        self._conversion = conversion

    def refused(self) -> PayloadError:
        """Return the error that says how to convert the data."""
        return PayloadError(
            "its data are pickled, and nothing pickled is loaded: "
            f"give plain_pickles=True if the sessions hold only plain values, or else {self._conversion}"
        )

    def mapping(self, data: bytes) -> dict[str, Any]:
        """Return the mapping in a pickle of plain values; raise :exc:`PayloadError` for any other, and if none is wanted."""
        if not self._plain:
            raise self.refused()
        try:
            return _mapping(plain_pickle.read(data))
        except plain_pickle.NotPlain as error:
            raise PayloadError(
                f"its data are pickled, and not only plain values ({error}); nothing else is loaded: {self._conversion}"
            ) from None


def is_pickled(data: bytes) -> bool:
    """Tell whether *data* begin as a pickle does, of protocol 2 or later."""
    return len(data) > 1 and data[0] == 0x80 and data[1] <= 9


def mapping(data: bytes, pickles: Pickles) -> dict[str, Any]:
    """Return the mapping that *data* hold, as JSON or MessagePack; raise :exc:`PayloadError` if they hold none."""
    if is_pickled(data):
        return pickles.mapping(data)
    return from_json(data) if data[:1] == b"{" else _from_msgpack(data)


def from_json(data: bytes) -> dict[str, Any]:
    """Return the object that a JSON text holds; raise :exc:`PayloadError` if it holds none."""
    try:
        return _mapping(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"it is no JSON ({type(error).__name__})") from None


def _from_msgpack(data: bytes) -> dict[str, Any]:
    try:
        # 3: a timestamp becomes an aware datetime, as it was.
        return _mapping(unpackb(data, timestamp=3, strict_map_key=False))
    except PayloadError:
        raise
    # The bytes say what is built of them, and some of it cannot be: a list as a key, a date out of range.
    except Exception as error:
        raise PayloadError(f"it is neither MessagePack nor JSON ({type(error).__name__})") from None


def inflated(data: bytes) -> bytes:
    """Return what zlib has packed; raise :exc:`PayloadError` if it is damaged or too large."""
    try:
        stream = zlib.decompressobj()
        unpacked = stream.decompress(data, MOST)
    except zlib.error:
        raise PayloadError("it is damaged (zlib)") from None
    if not stream.eof:
        raise PayloadError("it is cut off, or too large")
    return unpacked


def from_base64(text: str) -> bytes:
    """Return what is base64 in *text*, of either alphabet, padded or not; raise :exc:`PayloadError` if it is damaged."""
    try:
        standard = text.translate(str.maketrans("-_", "+/")).rstrip("=")
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise PayloadError("it is damaged (base64)") from None


def unsigned_by_beaker(secret: str | bytes, value: str) -> str | None:
    """Return the id in Beaker's cookie, ``hex(HMAC-SHA1(secret, id)) id``; ``None`` if the signature is another."""
    signature, old_id = value[:40], value[40:]
    expected = hmac.new(_bytes(secret), old_id.encode(), hashlib.sha1).hexdigest()
    return old_id if _same(signature, expected) else None


def unsigned_by_flask_session(secret: str | bytes, value: str) -> str | None:
    """Return the id in Flask-Session's cookie, ``id "." base64(HMAC-SHA1(HMAC-SHA1(secret, salt), id))`` (ItsDangerous)."""
    old_id, _, signature = value.rpartition(".")
    derived = hmac.new(_bytes(secret), b"flask-session", hashlib.sha1).digest()
    expected = _unpadded(hmac.new(derived, old_id.encode(), hashlib.sha1).digest())
    return old_id if _same(signature, expected) else None


def unsigned_by_django(keys: Sequence[str | bytes], salt: str, text: str) -> tuple[bytes, int]:
    """Return what Django has signed, unpacked, and when (epoch seconds): ``["."] base64 ":" time ":" signature``.

    Raise :exc:`PayloadError` if none of the keys has signed it.
    """
    value, _, signature = text.rpartition(":")
    if not any(_same(signature, _django_signature(key, salt, value)) for key in keys):
        raise PayloadError("it is not signed with secret_key or fallback_keys")
    packed, _, signed_at = value.rpartition(":")
    data = from_base64(packed.removeprefix("."))
    return inflated(data) if packed[:1] == "." else data, _base62(signed_at)


def _django_signature(key: str | bytes, salt: str, value: str) -> str:
    derived = hashlib.sha256(f"{salt}signer".encode() + _bytes(key)).digest()
    return _unpadded(hmac.new(derived, value.encode(), hashlib.sha256).digest())


def _base62(text: str) -> int:
    number = 0
    for character in text:
        number = number * 62 + _ALPHABET.index(character)
    return number


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(secret: str | bytes) -> bytes:
    return secret.encode() if isinstance(secret, str) else secret


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PayloadError(f"it holds a {type(value).__name__}, not a mapping")
    return value
