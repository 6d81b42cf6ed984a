"""The token in the cookie, and the proof of its secret that a record keeps. It does no I/O but asking for randomness.

::

    token  = id(12) secret(28)          9 and 21 random bytes in base64url without padding
    secret = family(8) rest(20)         a renewal keeps the family: it tells what was issued once from what is made up
    proof  = SHA-256("session_middleware" 0 namespace 0 id 0 secret)[:16]
    proof of a family = SHA-256("session_middleware" 0 namespace 0 id 0 "family" 0 family)[:6]
"""

import re
import secrets
import sys
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Final, NoReturn

LENGTH: Final = 40
FORM: Final = "[A-Za-z0-9_-]{40}"
"""The form of a token, as a regular expression; nothing else is ever looked up."""

_ID: Final = 12
_FAMILY: Final = 20
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")

_well_formed = re.compile(FORM).fullmatch
_well_formed_id = re.compile("[A-Za-z0-9_-]{12}").fullmatch

Proof = Callable[["Token"], bytes]


class Token:
    """What the browser holds. Only :meth:`reveal` shows the secret: no log, traceback or pickle does."""

    __slots__ = ("_text", "id")

    id: str
    """The public name of the session, which is also the store's key."""

    def __init__(self, text: str) -> None:
        """*text*: a well-formed token, as it came in a cookie."""
        self.id = text[:_ID]
        self._text = text

    @classmethod
    def new(cls, key: str | None = None) -> "Token":
        """Return a token with a fresh secret of 168 bits (OWASP ASVS 5.0, 7.2.3); of a new session if no *key* is given."""
        return cls(secrets.token_urlsafe(30) if key is None else key + secrets.token_urlsafe(21))

    def successor(self) -> "Token":
        """Return the token that takes the place of this one as time passes: 120 fresh bits, and its family."""
        return Token(self._text[:_FAMILY] + secrets.token_urlsafe(15))

    @classmethod
    def read(cls, text: object) -> "Token | None":
        """Return the token that *text* is; ``None`` if it has not the form of one."""
        return cls(text) if isinstance(text, str) and well_formed(text) else None

    @classmethod
    def derived(cls, *parts: str) -> "Token":
        """Return the token that is made of *parts*, of which at least one is a secret: always the same."""
        return cls(base64url(sha256("\0".join(("session_middleware", *parts)).encode()).digest()[:30]))

    def reveal(self) -> str:
        """Return the text of the cookie, which is a secret."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"<Token of {self.id}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Token is a secret and is not pickled; pass its reveal() on if you must")


class FormerToken(Token):
    """A token that came in a cookie as it used to be set: it opens what it opened, and the browser is to get another."""

    __slots__ = ()


def new_id() -> str:
    """Return the id of a new session."""
    return secrets.token_urlsafe(9)


def well_formed(text: str, start: int = 0, end: int = sys.maxsize) -> bool:
    """Tell whether *text*, or the part of it between two places, has the form of a token."""
    return _well_formed(text, start, end) is not None


def well_formed_id(text: object) -> bool:
    """Tell whether *text* has the form of an id."""
    return isinstance(text, str) and _well_formed_id(text) is not None


def id_of_mark(namespace: str, user_id: str) -> str:
    """Return the id of a user's mark: always the same, and of no token."""
    return derived_id(namespace, "mark", user_id)


def id_of_alias(namespace: str, alias: str) -> str:
    """Return the id of the record of an alias: always the same, and of no token."""
    return derived_id(namespace, "alias", alias)


class Names:
    """What stands in a store for users and aliases, where nothing is sealed. The newest name comes first."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def users(self, user_id: str) -> tuple[str, ...]:
        """Return what an index of users has for that user."""
        return (user_id,)

    def listed(self, user_id: str, keys_of: Callable[[str], Iterable[str]]) -> Iterator[str]:
        """Yield what an index of users has for that user, each key once. *keys_of* asks the index.

        The newest name comes last: a session that is written meanwhile goes from an older one to that, and is not missed.
        """
        found = set[str]()
        for name in reversed(self.users(user_id)):
            for key in keys_of(name):
                if key not in found:
                    found.add(key)
                    yield key

    def marks(self, user_id: str) -> tuple[str, ...]:
        """Return the ids of the user's mark."""
        return (id_of_mark(self._namespace, user_id),)

    def aliases(self, alias: str) -> tuple[str, ...]:
        """Return the ids of the records of an alias."""
        return (id_of_alias(self._namespace, alias),)

    def old_aliases(self, alias: str) -> tuple[str, ...]:
        """Return further ids, of records that are there, if at all, from the time before a seal."""
        return ()


def derived_id(*parts: str) -> str:
    """Return what is made of *parts* and has the form of an id: always the same."""
    return base64url(sha256("\0".join(("session_middleware", *parts)).encode()).digest()[:9])


def proof_function(namespace: str) -> Proof:
    """Return the function from a token to the proof of its secret.

    The namespace keeps the tokens of two installations apart that share one store. A plain digest is enough for a secret
    of 168 random bits (OWASP ASVS 5.0, 6.5.2); the id in it binds the proof to its record.
    """
    prefix = f"session_middleware\0{namespace}\0"

    def proof_of(token: Token) -> bytes:
        return sha256(f"{prefix}{token.id}\0{token.reveal()[_ID:]}".encode()).digest()[:16]

    return proof_of


def family_function(namespace: str) -> Proof:
    """Return the function from a token to the proof of its family: all secrets that were renewed one after the other."""
    prefix = f"session_middleware\0{namespace}\0"

    def family_of(token: Token) -> bytes:
        return sha256(f"{prefix}{token.id}\0family\0{token.reveal()[_ID:_FAMILY]}".encode()).digest()[:6]

    return family_of


def base64url(data: bytes) -> str:
    """Return bytes as base64url (RFC 4648, 5): without padding, if their number can be divided by three."""
    return b2a_base64(data, newline=False).translate(_URL_SAFE).decode()
