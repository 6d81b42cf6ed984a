"""The turn of the request that runs in this thread: what it takes for time and for chance. Nothing is left to either."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import pytest

from session_middleware import repository, seal, site_keys, tokens
from session_middleware.tokens import Token, proof_function

AHEAD = 10 * 86400
START = int(time.time()) + AHEAD
"""When all scenarios begin (epoch seconds): so far ahead, also of the end of a run of all tests, that no store takes any of
their records for expired, but for what is written to be. What is over by the manager's clock is for the manager to see."""


class Turn(threading.local):
    """Time, names and notes of one request.

    What a request does between two verbs happens, unless it stalls, when the second of them is made: reading the clock is
    one step with it. But what a token opens is decided when the record was loaded.
    """

    def __init__(self) -> None:
        self.begin("")

    def begin(self, name: str, now: int = 0) -> None:
        """Another request begins."""
        self.name = name
        self.now = self.answered = now
        """The time of the next verb, and of the one before (seconds after the start)."""
        self.opening = False
        self.label = ""
        """What the request is about to begin, of what is watched."""
        self.listed: list[str] = []
        """The keys that the index has listed for it."""
        self.deleted: list[str] = []
        """The keys that it has deleted, whatever stood there."""
        self._count = self._drawn = 0

    def clock(self) -> float:
        """Return the time (epoch seconds)."""
        return float(START + (self.answered if self.opening else self.now))

    def token_urlsafe(self, size: int) -> str:
        """Return a text that tells who has asked for it, in place of a random one of so many bytes."""
        self._count += 1
        return _padded(f"{self.name}-{self._count}", size * 4 // 3)

    def urandom(self, size: int) -> bytes:
        """Return bytes that tell who has asked for them, in place of random ones."""
        self._drawn += 1
        return sha256(f"{self.name}-{self._drawn}".encode()).digest()[:size]


turn = Turn()

proof_of = proof_function("session")

_given: set[str] = set()


def an_id(name: str) -> str:
    """Return the id of that name."""
    return _padded(name, 12)


def a_token(name: str, secret: str) -> Token:
    """Return the token of the session with that name."""
    return Token(an_id(name) + _padded(secret, 28))


def secrets_of(key: str) -> dict[bytes, str]:
    """Return the name of every secret that the session with that id may have, by its proof; for telling what happened."""
    return {proof_of(Token(key + _padded(name, 28))): name for name in tuple(_given)}


@contextmanager
def without_chance() -> Iterator[None]:
    """Take names for what is random, and no time for pauses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "secrets", turn)
        patch.setattr(seal, "os", turn)
        patch.setattr(site_keys, "os", turn)
        patch.setattr(repository, "_LONGEST_PAUSE", 0.0)
        yield


def _padded(name: str, length: int) -> str:
    _given.add(name)
    text = name.ljust(length, "_")
    if len(text) > length:
        raise ValueError(f"{name!r} is too long a name")
    return text
