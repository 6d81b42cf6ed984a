"""Sessions in a store: bytes on one side, envelope and encoded values on the other. It decides nothing about requests."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from secrets import SystemRandom
from typing import TYPE_CHECKING, NoReturn, TypeAlias, TypeVar, cast

from session_middleware import rules
from session_middleware.clock import steady_clock
from session_middleware.exceptions import ConfigurationError, ConflictError, SessionTooLarge, StoreError, sizes
from session_middleware.notes import (
    EXPIRIES,
    NOTHING_TOLD,
    REASONS,
    Alias,
    Damaged,
    Mark,
    Tombstone,
    pack_alias,
    pack_mark,
    pack_tombstone,
)
from session_middleware.record import LEAST, MORE, Closed, Encoded, Envelope, pack, pack_values, unpack, unpack_values
from session_middleware.state import Found
from session_middleware.stores.base import Batched, Record, Store, Stored, Sweepable, Version
from session_middleware.tokens import Token, new_id

if TYPE_CHECKING:
    from session_middleware.events import Reason
    from session_middleware.seal import Opened, Sealer

    _Seal: TypeAlias = Closed | Opened | None
    from session_middleware.telling import Teller

log = logging.getLogger("session_middleware")

LARGE = 64 * 1024

MARKED_FOR = 86400
"""A mark stays for so long (seconds): a sign-in that takes longer is not told that the user was signed out meanwhile."""

# A session that keeps changing under us is tried this often, for less than two seconds.
TRIES = range(42)
_LONGEST_PAUSE = 0.09
_random = SystemRandom()

_SWEEP_EVERY = 50
SWEEP_LIMIT = 100

# So many records are asked for at once: the largest of them together are sent in a few hundredths of a second.
_BATCH = 100

# What is no session of anybody is no anonymous session either: it is not for those that make room.
_NO_USER = ""

_NOTHING = Record(b"", 0, None)

N = TypeVar("N", Mark, Alias)


class Repository:
    """Finds, writes and ends sessions by their ids, of at most *max_bytes* each. *seal*: what seals them, if anything.

    *keep_ended*: so long (seconds) it is kept why the session of a user has ended.
    Raise :exc:`ConfigurationError` if *store* says that it keeps none that is so long.
    """

    def __init__(
        self,
        store: Store,
        max_bytes: int,
        clock: Callable[[], float],
        teller: "Teller | None" = None,
        keep_ended: float | None = None,
        seal: "Sealer | None" = None,
    ) -> None:
        more = MORE if seal is None else MORE + seal.more
        longest: int | None = getattr(store, "max_value", None)
        if longest is not None and max_bytes + more > longest:
            raise ConfigurationError(
                f"max_bytes={max_bytes}: {store} keeps none that is so long; write max_bytes={max(0, longest - more)} or"
                " less, or let the store keep more"
            )
        self._store = store
        self._max_bytes = max_bytes
        self._longest = max_bytes + more
        self._seal = seal
        self._now = clock
        self._keep_ended = keep_ended
        self._creations = count()
        self.teller = teller

    def find(self, key: str) -> Found | None:
        """Return the live session with that key; ``None`` for absent, ended, expired or damaged."""
        found = self.look(key)
        return None if isinstance(found, Tombstone) else found

    def look(self, key: str) -> Found | Tombstone | None:
        """Return the live session with that key, or what keeps the key from being used again; ``None`` for all else."""
        return self._read(key, self._store.load(key))

    def find_all(self, keys: Iterable[str]) -> Iterator[Found]:
        """Yield the live sessions among those with the *keys*."""
        for some in _batches(keys):
            for key, stored in self._load_all(some):
                found = self._read(key, stored)
                if isinstance(found, Found):
                    yield found

    def _read(self, key: str, stored: Stored | None) -> Found | Tombstone | None:
        if stored is None:
            return None
        value, version = stored
        try:
            unpacked = unpack(value) if len(value) <= self._longest else _too_large(value)
            if not isinstance(unpacked, tuple):
                return unpacked if isinstance(unpacked, Tombstone) else None
            envelope, packed = unpacked
            if envelope.expires_at <= self._now():
                return self._expire(key, envelope, version)
            if isinstance(packed, Closed):
                if self._seal is not None and (device := self._seal.device(key, packed)) is not None:
                    envelope = envelope._replace(device=device)
                return tuple.__new__(Found, (key, version, envelope, {}, packed))
            # Half the time of Found(...), on every load.
            return tuple.__new__(Found, (key, version, envelope, unpack_values(packed), None))
        except Damaged as error:
            self._tell_of_damage(key, error)
            return None

    def _tell_of_damage(self, key: str, error: Damaged) -> None:
        log.error("session %s: the record is damaged and is left alone: %s", key, error)
        if self.teller is not None:
            self.teller.damaged(key, error)

    def open(self, found: Found, token: Token, proof: bytes) -> Found | None:
        """Return the session with what its seal hides; ``None`` if the token does not open that."""
        if self._seal is None:
            log.warning("session %s is sealed, and opens nothing without seal=Seal(...)", found.id)
            return None
        try:
            return self._seal.open(found, token, proof)
        except Damaged as error:
            self._tell_of_damage(found.id, error)
            return None

    def _expire(self, key: str, envelope: Envelope, version: Version) -> Tombstone | None:
        """Remove a session whose time is over, so that whoever does it tells of its end."""
        reason = self._expiry(envelope)
        if self.teller is not None or self._keep_ended is not None:
            try:
                if self._put_end(key, envelope, version, reason) and self.teller is not None:
                    self.teller.ended(key, envelope.user_id, reason)
            except StoreError as error:
                log.warning("session %s: it could not be removed at its end: %s", key, error)
        is_untold = self._keep_ended is None or envelope.user_id is None
        return None if is_untold else rules.tombstone(envelope, reason, envelope.expires_at)

    def _expiry(self, envelope: Envelope) -> "Reason":
        return "expired_absolute" if envelope.ends_at <= self._now() else "expired_idle"

    def find_again(self, base: Found, number: int, *, opens: bool = True) -> Found | None:
        """Return the session that was found before, as it is now, for a compare-and-set that was refused *number* times; the
        next comes at once. *opens*: with what its seal hides, which who ends it need not see."""
        pause(number)
        found = self.find(base.id)
        if found is None or not opens or (found.seal is None and base.seal is None):
            return found
        try:
            return None if self._seal is None else self._seal.again(found, base)
        except Damaged as error:
            self._tell_of_damage(base.id, error)
            return None

    def create(self, token: Token, envelope: Envelope, values: Encoded) -> Found | None:
        """Store a new session and return it; ``None`` if its key is taken. Now and then, remove some that have expired."""
        key, seal = token.id, None if self._seal is None else self._seal.begin(token, envelope.current[0])
        record, seal = self._record(key, envelope, values, seal)
        created = self._store.create(key, record)
        if created and self.teller is not None:
            self.teller.created(key, envelope)
        if next(self._creations) % _SWEEP_EVERY == 0 and isinstance(self._store, Sweepable):
            try:
                self.sweep(self._store)
            except StoreError as error:
                log.warning("could not remove expired sessions: %s", error)
        return tuple.__new__(Found, (key, None, envelope, values, seal)) if created else None

    def sweep(self, store: Sweepable, limit: int = SWEEP_LIMIT) -> int:
        """Remove at most *limit* records that have expired; return how many."""
        started = steady_clock()
        removed = store.sweep(limit)
        if self.teller is not None:
            self.teller.swept(removed, steady_clock() - started)
        return len(removed)

    def replace(self, found: Found, envelope: Envelope, values: Encoded, token: Token | None = None) -> Found | None:
        """Store a session over what was found and return it; ``None`` if that is not there or not known any more.

        *token*: of the secret that is new in it, if one is.
        """
        key, version, _, _, seal = found
        record, seal = self._record(key, envelope, values, seal, token)
        if version is None:
            return None
        if (self.teller is None and self._keep_ended is None) or envelope.expires_at > self._now():
            is_there = self._store.update(key, record, version=version)
        else:
            # Its time is over, as after set_lifetime(): to store it is to remove it.
            reason = self._expiry(envelope)
            is_there = self._put_end(key, envelope, version, reason)
            if is_there and self.teller is not None:
                self.teller.ended(key, envelope.user_id, reason)
        return tuple.__new__(Found, (key, None, envelope, values, seal)) if is_there else None

    def remove(self, found: Found, reason: "Reason") -> bool:
        """End the session if it is as it was found; return ``False`` if not."""
        if found.version is None or not self._put_end(found.id, found.envelope, found.version, reason):
            return False
        if self.teller is not None:
            self.teller.ended(found.id, found.envelope.user_id, reason)
        return True

    def delete(self, key: str, envelope: Envelope, reason: "Reason") -> None:
        """End the session, which was found with that *envelope*, whatever others make of it meanwhile."""
        if envelope.carried:
            self.end(key, reason)
        elif self._store.delete(key) and self.teller is not None:
            self.teller.ended(key, envelope.user_id, reason)

    def end_all(self, keys: Iterable[str], reason: "Reason", progress: Callable[[int], object] | None = None) -> int:
        """End the sessions, whatever others make of them meanwhile; return how many were there.

        *progress* is called with how many have ended so far: after each, or after each batch.
        """
        store, ended, told = self._store, 0, progress or _nobody
        if not isinstance(store, Batched) or self._keep_ended is not None:
            for key in keys:
                if self.end(key, reason):
                    ended += 1
                    told(ended)
            return ended
        for some in _batches(keys):
            ordinary, others = dict[str, str | None](), list[str]()
            for key, stored in store.load_many(some).items():
                if (envelope := self._ordinary(stored)) is None:
                    others.append(key)
                else:
                    ordinary[key] = envelope.user_id
            removed = store.delete_many(list(ordinary)) if ordinary else ()
            if self.teller is not None:
                for key in removed:
                    self.teller.ended(key, ordinary[key], reason)
            ended += len(removed) + sum(self.end(key, reason) for key in others)
            told(ended)
        return ended

    def end(self, key: str, reason: "Reason", *, only: Callable[[Envelope], bool] | None = None) -> bool:
        """End the session, if it is such a one, whatever else others make of it meanwhile; return whether it was there."""
        ended, user_id = self._end(key, reason, only)
        if ended and self.teller is not None:
            self.teller.ended(key, user_id, reason)
        return ended

    def mark(self, key: str) -> Mark | None:
        """Return a user's mark; ``None`` if there is none."""
        return self.noted(key, Mark)[0]

    def leave_mark(self, key: str, keep: str | None) -> None:
        """Note that the user is being signed out everywhere, but for the session *keep*."""
        for number in TRIES:
            pause(number)
            mark, version = self.noted(key, Mark)
            expires_at = math.ceil(self._now()) + MARKED_FOR
            if self.note(key, rules.marked(mark, new_id(), keep, expires_at), version):
                return
        raise ConflictError("the user is being signed out everywhere by too many requests at once")

    def noted(self, key: str, kind: type[N]) -> tuple[N | None, Version | None]:
        """Return what was noted of a user or an alias, ``None`` if nothing is, and the version of what is there."""
        stored = self._store.load(key)
        if stored is None:
            return None, None
        found = None
        try:
            found = self._unpacked(stored)
        except Damaged as error:
            log.error("%s is damaged and is left alone: %s", "an alias" if kind is Alias else "the mark of a user", error)
        return (found if isinstance(found, kind) and found.expires_at > self._now() else None), stored.version

    def note(self, key: str, what: Mark | Alias, version: Version | None) -> bool:
        """Note something of a user or an alias in place of what was :meth:`noted`; return ``False`` if that has changed."""
        value = pack_mark(what) if isinstance(what, Mark) else pack_alias(what)
        record = Record(value, math.ceil(what.expires_at), _NO_USER)
        return self._store.create(key, record) if version is None else self._store.update(key, record, version=version)

    def _end(self, key: str, reason: "Reason", only: Callable[[Envelope], bool] | None) -> tuple[bool, str | None]:
        """End a session; return whether it was there, and whose it was, if that is known."""
        user_id = None
        for number in TRIES:
            pause(number)
            stored = self._store.load(key)
            if stored is None:
                return False, None
            try:
                found = self._unpacked(stored)
            except Damaged:
                if only is not None:
                    return False, None
                break
            if not isinstance(found, tuple) or not (only is None or only(found[0])):
                return False, None
            user_id = found[0].user_id
            if self._put_end(key, found[0], stored.version, reason):
                return True, user_id
        return self._store.delete(key), user_id

    def _load_all(self, keys: list[str]) -> Iterable[tuple[str, Stored | None]]:
        if isinstance(self._store, Batched):
            return self._store.load_many(keys).items()
        return ((key, self._store.load(key)) for key in keys)

    def _ordinary(self, stored: Stored) -> Envelope | None:
        """Return the envelope of a session whose end is that there is nothing any more; ``None`` for all else."""
        try:
            found = self._unpacked(stored)
        except Damaged:
            return None
        return found[0] if isinstance(found, tuple) and not found[0].carried else None

    def _put_end(self, key: str, envelope: Envelope, version: Version, reason: "Reason") -> bool:
        """Replace a session that ends if it is at *version*: by nothing, or by its tombstone.

        That tells who held it why somebody else has ended it. And a session of another library has an id that a straggler
        with the old cookie would make again.
        """
        tombstone, until = NOTHING_TOLD, envelope.ends_at if envelope.carried else 0.0
        if self._keep_ended is not None and reason in REASONS and envelope.user_id is not None:
            at = envelope.expires_at if reason in EXPIRIES else self._now()
            tombstone, until = rules.tombstone(envelope, reason, at), max(until, at + self._keep_ended)
        if until > self._now():
            try:
                return self._store.update(
                    key, Record(pack_tombstone(tombstone), math.ceil(until), _NO_USER), version=version
                )
            except StoreError as error:
                # To end a session is possible when the store is full, and so refuses whatever it would have to keep.
                log.warning("session %s: only its removal is stored, not its end: %s", key, error)
        return self._store.update(key, _NOTHING, version=version)

    def _unpacked(self, stored: Stored) -> tuple[Envelope, bytes | Closed] | Tombstone | Mark | Alias:
        value = stored.value
        return unpack(value) if len(value) <= self._longest else _too_large(value)

    def _record(
        self, key: str, envelope: Envelope, values: Encoded, seal: "_Seal" = None, token: Token | None = None
    ) -> "tuple[Record, Opened | None]":
        packed = pack_values(values)
        # What a sign-in or a new secret adds does not count: nobody is to be kept from signing in or out by that.
        size = LEAST + len(packed)
        if size > LARGE or size > self._max_bytes:
            by_key = {name: len(encoded) for name, encoded in values.items()}
            if size > self._max_bytes:
                raise SessionTooLarge(size, self._max_bytes, by_key)
            log.warning("session %s takes %s of max_bytes=%s: %s", key, f"{size:,}", self._max_bytes, sizes(by_key))
        close, user, opened = None, envelope.user_id, None
        if self._seal is not None:
            close, user, opened = self._seal.close(envelope, packed, cast("Opened", seal), key, token, self._now())
        value = pack(envelope, packed, close, user)
        if envelope.snapshot and len(value) > self._max_bytes:
            return self._record(key, envelope._replace(snapshot=b""), values, seal, token)
        # Where it is kept why a user's session has ended, it is there so long after its time is over.
        until = envelope.expires_at + (0.0 if self._keep_ended is None or user is None else self._keep_ended)
        return tuple.__new__(Record, (value, math.ceil(until), user)), opened


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while some := list(islice(rest, _BATCH)):
        yield some


def pause(number: int) -> None:
    """Wait before the try of that number: from the third on, for a random time, which grows."""
    if number > 1:
        time.sleep(_random.uniform(0, min(_LONGEST_PAUSE, 0.001 * 2**number)))


def _nobody(ended: int) -> None:
    """Nobody wants to know how far it is."""


def _too_large(value: bytes) -> NoReturn:
    raise Damaged(f"{len(value):,} bytes are over the limit")
