"""Sessions in a store: bytes on one side, envelope and data on the other. It decides nothing about requests."""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import count
from secrets import SystemRandom
from typing import Any, NoReturn, TypeAlias

from session_middleware.codecs import Codec
from session_middleware.exceptions import ConflictError, PayloadError, SessionTooLarge, StoreError, sizes
from session_middleware.record import Damaged, Envelope, Moved, pack, pack_moved, unpack
from session_middleware.session import Origin
from session_middleware.stores.base import Record, Store, Sweepable, Version

log = logging.getLogger("session_middleware")

LARGE = 64 * 1024

# How long a session that got a new token can be found by requests that were running then, and how long requests that
# still come with the old one leave the browser's cookie alone (seconds): as long as servers let a request run by default.
_MOVED_FOR = 30
_MOST_MOVES = 100

# A session that keeps changing under us is tried this often, for less than two seconds.
_TRIES = 42
_LONGEST_PAUSE = 0.09
_random = SystemRandom()

_SWEEP_EVERY = 50
_SWEEP_LIMIT = 100

_NOTHING = Record(b"", 0, None)


Found: TypeAlias = tuple[Origin, dict[str, Any]]


class Repository:
    """Finds, writes, moves and ends sessions by their keys."""

    def __init__(self, store: Store, codec: Codec, max_bytes: int, clock: Callable[[], float]) -> None:
        self._store = store
        self._codec = codec
        self._max_bytes = max_bytes
        self._now = clock
        self._creations = count()

    def find(self, key: str) -> Found | Moved | None:
        """Return the live session under the key, or where it has moved; ``None`` for absent, expired or damaged."""
        stored = self._store.load(key)
        if stored is None:
            return None
        value, version = stored
        try:
            found = unpack(key, value) if len(value) <= self._max_bytes else _too_large(value)
            if isinstance(found, Moved):
                return found
            envelope, payload = found
            if envelope.expires_at <= self._now():
                return None
            return tuple.__new__(Origin, (key, version, envelope, payload)), self._codec.decode(payload)
        except (Damaged, PayloadError) as error:
            log.error("session %s: the record is damaged and is left alone: %s", key, error)
            return None

    def pursue(self, key: str) -> Found | None:
        """Return the live session under the key or where it has moved. Only for who had it before it moved, or its owner."""
        for _ in range(_MOST_MOVES):
            found = self.find(key)
            if not isinstance(found, Moved):
                return found
            key = found.successor
        return None

    def create(self, key: str, envelope: Envelope, payload: bytes) -> bool:
        """Store a new session; return ``False`` if the key is taken. Now and then, remove some that have expired."""
        created = self._store.create(key, self._record(key, envelope, payload))
        if next(self._creations) % _SWEEP_EVERY == 0 and isinstance(self._store, Sweepable):
            try:
                self._store.sweep(_SWEEP_LIMIT)
            except StoreError as error:
                log.warning("could not remove expired sessions: %s", error)
        return created

    def replace(self, key: str, version: Version | None, envelope: Envelope, payload: bytes) -> bool:
        """Store a session over its record at *version*; return ``False`` if it is not there or not known any more."""
        return version is not None and self._store.update(key, self._record(key, envelope, payload), version=version)

    def move(self, key: str, version: Version | None, successor: str) -> bool:
        """Leave a pointer to the successor in place of the record at *version*; return ``False`` as :meth:`replace`."""
        moved = Record(pack_moved(key, Moved(successor)), math.ceil(self._now()) + _MOVED_FOR, None)
        return version is not None and self._store.update(key, moved, version=version)

    def mark(self, key: str, successor: str, expires_at: float) -> bool:
        """Leave a pointer to the successor under a key that has nothing; return ``False`` if the key is taken."""
        moved = Record(pack_moved(key, Moved(successor)), math.ceil(expires_at), None)
        return self._store.create(key, moved)

    def discard(self, key: str) -> None:
        """Remove a record that nobody was told of."""
        self._store.delete(key)

    def end(self, key: str, *, spare: Collection[str] = ()) -> bool:
        """End the session under the key, or where it has moved, unless that is in *spare*; return whether it was there.

        It is removed under compare-and-set: a plain delete would miss a session that is getting a new token just now.
        Raise :exc:`ConflictError` if it keeps changing for so long that it could not be ended.
        """
        for _ in tries():
            stored = self._store.load(key)
            if stored is None:
                return False
            if successor := _successor(key, stored.value):
                if successor in spare:
                    return False
                key = successor
            elif self._store.update(key, _NOTHING, version=stored.version):
                return True
        raise ConflictError(f"session {key} keeps changing and could not be ended")

    def _record(self, key: str, envelope: Envelope, payload: bytes) -> Record:
        value = pack(key, envelope, payload)
        if len(value) > self._max_bytes:
            raise SessionTooLarge(len(value), self._max_bytes, self._sizes(payload))
        if len(value) > LARGE:
            log.warning("session %s takes %s bytes: %s", key, f"{len(value):,}", sizes(self._sizes(payload)))
        return Record(value, math.ceil(envelope.expires_at), envelope.user_id)

    def _sizes(self, payload: bytes) -> Mapping[str, int]:
        return {key: len(self._codec.encode({key: value})) for key, value in self._codec.decode(payload).items()}


def tries() -> Iterator[int]:
    """Count the tries of a compare-and-set. The first two come at once, the others after a random pause, which grows.

    To be read: load, then compare and set, in each of them; the pause is never between the two.
    """
    for number in range(_TRIES):
        if number > 1:
            time.sleep(_random.uniform(0, min(_LONGEST_PAUSE, 0.001 * 2**number)))
        yield number


def _too_large(value: bytes) -> NoReturn:
    raise Damaged(f"{len(value):,} bytes are over the limit")


def _successor(key: str, value: bytes) -> str | None:
    try:
        found = unpack(key, value)
    except Damaged:
        return None
    return found.successor if isinstance(found, Moved) else None
