"""The secret in the cookie and the name that the store knows it by. It does no I/O but asking the system for randomness."""

import re
import secrets
from binascii import b2a_base64
from collections.abc import Callable
from hashlib import sha256

FORM = "[A-Za-z0-9_-]{43}"
"""The form of a token and of a key, as a regular expression: 32 bytes in base64url without padding."""

_URL_SAFE = bytes.maketrans(b"+/", b"-_")

_well_formed = re.compile(FORM).fullmatch


def new() -> str:
    """Return a fresh token: 256 bits from the system's generator (OWASP ASVS 5.0, 7.2.3)."""
    return secrets.token_urlsafe(32)


def well_formed(text: str) -> bool:
    """Tell whether *text* has the form of a token; nothing else ever reaches a store."""
    return _well_formed(text) is not None


def key_function(namespace: str) -> Callable[[str], str]:
    """Return the function from a token to its key: ``base64url(SHA-256("session_middleware" 0 namespace 0 token))``.

    The namespace keeps the tokens of two installations apart that share one store. A plain digest is enough for a secret
    of 256 random bits (OWASP ASVS 5.0, 6.5.2).
    """
    prefix = b"\0".join((b"session_middleware", namespace.encode(), b""))

    def key_of(token: str) -> str:
        digest = sha256(prefix + token.encode()).digest()
        return b2a_base64(digest, newline=False)[:43].translate(_URL_SAFE).decode()

    return key_of
