"""Two stores as one, while sessions move from the one to the other. It decides where a record is; the stores keep it.

Where a record is, is decided by what stands in the two stores together, so that at no moment it is in both, or in neither:

==============================  ==============  ========================================================================
in the new store                in the old one  the record
==============================  ==============  ========================================================================
a record                        anything        is that in the new one
nothing, or a reservation       a record        is that in the old one
a reservation with a nonce      a marker with   is in the marker: it is on its way
                                the same nonce
anything else                   anything else   there is none
==============================  ==============  ========================================================================

So one is handed over in four writes, each a compare-and-set: its place in the new store is reserved; the marker takes the
place of the record in the old one, and from this moment on it has moved; it takes the place of the reservation; the marker
is removed. Whoever is stopped in between leaves it in one of these states, from which anybody goes on. A marker that stayed
behind counts for nothing, for a nonce is never used again.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple, TypeGuard, TypeVar, cast

from session_middleware.exceptions import ConfigurationError, StoreError
from session_middleware.notes import Damaged, pack_reservation, unpack_reservation
from session_middleware.record import unpack
from session_middleware.stores.base import (
    Batched,
    Checkable,
    Copyable,
    Health,
    Openable,
    Record,
    Scannable,
    Store,
    Stored,
    Sweepable,
    Swept,
    UserIndexed,
    Version,
)
from session_middleware.stores.several import worst_of
from session_middleware.tokens import new_id

F = TypeVar("F", Stored, Record)

# marker = _MARKER nonce(8) value
_MARKER: Final = b"\0session_middleware\0"
_NONCE: Final = 8
_START: Final = len(_MARKER) + _NONCE

# A reservation is nobody's, and no anonymous session's either: it is not for those that make room.
_NO_USER: Final = ""

_NOTHING: Final = Record(b"", 0, None)

# What looks whether both are one store stays for so long (seconds) at most.
_LASTS: Final = 60

# A record that keeps changing under us is removed, after so many tries, whatever it is.
_TRIES: Final = 10


class _At(NamedTuple):
    """The version of a record: in which store it is, and at which version there; and that of its marker, if it is on its
    way."""

    in_new: bool
    version: Version
    marker: Version | None = None


class MovingStore:
    """Finds sessions in the stores *new* and *old*, and hands each over to *new* when it is next written.

    Reading writes nothing. With ``hand_over=False`` it finds them in both, makes new ones in *old*, and changes each where
    it is. All processes have to do so before the first one hands over, because one that knows *old* alone does not find
    what has been handed over. Both stores have to answer; what raises in one of them is raised.

    It can do what both stores can, and sweeps whichever of them needs it.
    """

    def __init__(self, new: Store, old: Store, *, hand_over: bool = True) -> None:
        if new is old:
            raise ConfigurationError("MovingStore: new and old are one store; write two")
        if not isinstance(hand_over, bool):
            raise ConfigurationError(f"hand_over={hand_over!r}: write True or False")
        self.new, self.old, self.hand_over = new, old, hand_over
        self.single_process: bool = any(getattr(store, "single_process", False) for store in (new, old))
        self.max_value = _longest(new, old)
        # As attributes of the object, because that is where isinstance() looks from Python 3.12 on.
        if isinstance(new, Openable) or isinstance(old, Openable):
            self.open = self._open
        if isinstance(new, Sweepable) or isinstance(old, Sweepable):
            self.sweep = self._sweep
        if isinstance(new, UserIndexed) and isinstance(old, UserIndexed):
            self.keys_of: Callable[[str], Iterator[str]] = lambda user_id: _each_once(
                partial(old.keys_of, user_id), partial(new.keys_of, user_id)
            )
        if isinstance(new, Scannable) and isinstance(old, Scannable):
            self.keys: Callable[[], Iterator[str]] = lambda: _each_once(old.keys, new.keys)
        if isinstance(new, Checkable) and isinstance(old, Checkable):
            self.health = partial(self._health, new, old)
        if isinstance(new, Batched) and isinstance(old, Batched):
            self.load_many = partial(self._load_many, new, old)
            self.delete_many: Callable[[Sequence[str]], list[str]] = lambda keys: list(filter(self.delete, keys))

    def _health(self, new: Checkable, old: Checkable) -> Health:
        found = [new.health(), old.health()]
        kinds = f"{found[0].kind}, moving from {found[1].kind}"
        tls = None if any(one.tls is None for one in found) else all(one.tls for one in found)
        schema = next(
            (one.schema for one in found if one.schema not in (None, "complete")), found[0].schema or found[1].schema
        )
        return worst_of(found)._replace(kind=kinds, tls=tls, schema=schema)

    def __repr__(self) -> str:
        return f"MovingStore({self.new!r}, {self.old!r}{'' if self.hand_over else ', hand_over=False'})"

    def create(self, key: str, record: Record) -> bool:
        if record.expires_at <= time.time():
            return self.load(key) is None and (self.new if self.hand_over else self.old).create(key, record)
        return self._create_in_new(key, record) if self.hand_over else self._create_in_old(key, record)

    def load(self, key: str) -> Stored | None:
        found = self.new.load(key)
        if _is_record(found):
            return Stored(found.value, _At(True, found.version))
        there = self.old.load(key)
        if _is_record(there):
            return Stored(there.value, _At(False, there.version))
        found = self.new.load(key)  # it may have been handed over in between
        if _is_record(found):
            return Stored(found.value, _At(True, found.version))
        nonce = _marked(there)
        if found is not None and there is not None and nonce is not None and nonce == _reserved(found):
            return Stored(there.value[_START:], _At(True, found.version, there.version))
        return None

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        in_new, known, marker = cast(_At, version)
        is_end = record.expires_at <= time.time()
        if not in_new:
            if self.hand_over and not is_end:
                return self._hand_over(key, record, known)
            return self.old.update(key, record, version=known)
        if not self.new.update(key, record, version=known):
            return False
        with suppress(StoreError):  # it is done, and what is left of the move counts for nothing
            if marker is not None:
                self.old.update(key, _NOTHING, version=marker)
            elif is_end:
                self._remove_leftover(key)
        return True

    def delete(self, key: str) -> bool:
        for _ in range(_TRIES):
            stored = self.load(key)
            if stored is None:
                return False
            if self.update(key, _NOTHING, version=stored.version):
                return True
        # In this order: what is on its way from the one to the other is met.
        removed = [store.delete(key) for store in (self.old, self.new)]
        return any(removed)

    def close(self) -> None:
        """Close both stores, if they can be closed."""
        for store in (self.new, self.old):
            if close := getattr(store, "close", None):
                close()

    def hand_over_now(self, key: str) -> bool:
        """Hand over what the old store has under *key*, if it is in the new one by nothing newer; return whether it was.

        What is left there of a move that was broken off is brought to its end, or removed. The old store has to be
        :class:`Copyable`.
        """
        whole = cast(Copyable, self.old).load_whole(key)
        if whole is None:
            return False
        record, version = _as_whose(whole[0]), whole[1]
        nonce = _marked(record)
        if nonce is not None:
            return self._settle(key, record._replace(value=record.value[_START:]), nonce)
        if _is_record(record) and self._hand_over(key, record, version):
            return True
        if not _is_record(record) or _is_record(self.new.load(key)):
            self.old.update(key, _NOTHING, version=version)
        return False

    def _hand_over(self, key: str, record: Record, version: Version) -> bool:
        """Put *record* into the new store in place of what the old one has at *version*; ``False`` if it has not."""
        nonce = self._reserve(key, record.expires_at)
        if nonce is None or not self.old.update(key, _marker(nonce, record), version=version):
            return False
        with suppress(StoreError):  # from now on it has moved, whoever brings this to its end
            self._settle(key, record, nonce)
        return True

    def _create_in_new(self, key: str, record: Record) -> bool:
        while (nonce := self._reserve(key, record.expires_at)) is not None:
            marker = _marker(nonce, record)
            is_marked = self.old.create(key, marker)
            if not is_marked:
                there = self.old.load(key)
                if _is_record(there) or _marked(there) == nonce:
                    return False
                # What is there is left over, unless it belongs to another reservation than ours.
                is_ours = there is not None and _reserved(self.new.load(key)) == nonce
                is_marked = is_ours and there is not None and self.old.update(key, marker, version=there.version)
            if is_marked:
                return self._settle(key, record, nonce)
        return False

    def _create_in_old(self, key: str, record: Record) -> bool:
        if _is_record(self.new.load(key)):
            return False
        if not self.old.create(key, record):
            there = self.old.load(key)
            nonce = _marked(there)
            if there is None or _is_record(there) or (nonce is not None and _reserved(self.new.load(key)) == nonce):
                return False
            if not self.old.update(key, record, version=there.version):
                return False
        while _is_record(self.new.load(key)):
            # It is this one, handed over; or one that hands over was faster, and this one counts for nothing.
            there = self.old.load(key)
            if not _is_record(there):
                return True
            if self.old.update(key, _NOTHING, version=there.version):
                return False
        return True

    def _reserve(self, key: str, expires_at: int) -> bytes | None:
        """Keep a place for a record in the new store until then; return its nonce, or ``None`` if a record is there."""
        while True:
            found = self.new.load(key)
            if _is_record(found):
                return None
            reservation = None if found is None else unpack_reservation(found.value)
            nonce, until = reservation or (os.urandom(_NONCE), 0)
            if until >= expires_at:
                return nonce
            place = Record(pack_reservation(nonce, expires_at), expires_at, _NO_USER)
            if self.new.create(key, place) if found is None else self.new.update(key, place, version=found.version):
                return nonce

    def _settle(self, key: str, record: Record, nonce: bytes) -> bool:
        """Put a record into the place that is reserved for it, and remove the marker; return whether it has come there.

        ``False`` if something else is there by now: what somebody has made of it meanwhile, or of the place.
        """
        found = self.new.load(key)
        while _reserved(found) == nonce and found is not None and not self.new.update(key, record, version=found.version):
            found = self.new.load(key)
        with suppress(StoreError):  # without its place the marker counts for nothing
            there = self.old.load(key)
            if there is not None and _marked(there) == nonce:
                self.old.update(key, _NOTHING, version=there.version)
        return found is not None and (_reserved(found) == nonce or found.value == record.value)

    def _remove_leftover(self, key: str) -> None:
        """Remove a marker from the old store that belongs to no reservation."""
        there = self.old.load(key)
        nonce = _marked(there)
        if there is not None and nonce is not None and _reserved(self.new.load(key)) != nonce:
            self.old.update(key, _NOTHING, version=there.version)

    def _open(self) -> None:
        for store in (self.new, self.old):
            if isinstance(store, Openable):
                store.open()
        _refuse_one(self.new, self.old)

    def _sweep(self, limit: int) -> list[Swept]:
        removed: list[Swept] = []
        if isinstance(self.old, Sweepable):
            removed += self.old.sweep(limit)
        left = limit - len(removed)
        # Of a session that has moved, a marker may have stayed behind and ended there.
        removed = [gone for gone in removed if not _is_record(self.new.load(gone.key))]
        if left and isinstance(self.new, Sweepable):
            removed += self.new.sweep(left)
        return removed

    def _load_many(self, new: Batched, old: Batched, keys: Sequence[str]) -> dict[str, Stored]:
        records = {
            key: Stored(found.value, _At(True, found.version))
            for key, found in new.load_many(keys).items()
            if _is_record(found)
        }
        others = [key for key in keys if key not in records]
        left = old.load_many(others) if others else {}
        for key in others:
            there = left.get(key)
            stored = Stored(there.value, _At(False, there.version)) if _is_record(there) else self.load(key)
            if stored is not None:
                records[key] = stored
        return records


def copy(source: Store, target: Store, *, progress: Callable[[int], object] | None = None) -> int:
    """Hand over whatever *source* has to *target*; return how many records are left, which is 0 when all have moved.

    *progress* is called with how many have been handed over so far, after each. What *target* has is not written over. It
    may be broken off at any time, and run again, also by several at once, while all processes use
    ``MovingStore(target, source)``. Raise :exc:`ConfigurationError` if *source* cannot list its records, or not read them
    as a whole, or if both are one store, :exc:`StoreUnavailable` if one of the stores fails.
    """
    if not (isinstance(source, Scannable) and isinstance(source, Copyable)):
        raise ConfigurationError(f"{type(source).__name__} cannot list what it holds; use MovingStore until it has expired")
    _refuse_one(target, source)
    store, moved, before = MovingStore(target, source), 0, math.inf
    while True:
        left = 0
        for key in source.keys():  # noqa: SIM118 - a store is no mapping
            left += 1
            if store.hand_over_now(key):
                moved += 1
                if progress is not None:
                    progress(moved)
        if not 0 < left < before:
            return left
        before = left


def _refuse_one(new: Store, old: Store) -> None:
    """Raise :exc:`ConfigurationError` if the two are one, by whatever names: it would be emptied, and keep nothing."""
    key, nonce, until = new_id(), os.urandom(_NONCE), math.ceil(time.time()) + _LASTS
    old.create(key, Record(pack_reservation(nonce, until), until, _NO_USER))
    found = new.load(key)
    old.delete(key)
    if _reserved(found) == nonce:
        raise ConfigurationError("the new store and the old one are one; write two")


def _marker(nonce: bytes, record: Record) -> Record:
    return record._replace(value=_MARKER + nonce + record.value)


def _marked(found: Stored | Record | None) -> bytes | None:
    """Return the nonce of a marker; ``None`` for all else."""
    return found.value[len(_MARKER) : _START] if found is not None and found.value.startswith(_MARKER) else None


def _reserved(found: Stored | None) -> bytes | None:
    """Return the nonce of a reservation; ``None`` for all else."""
    reservation = None if found is None else unpack_reservation(found.value)
    return None if reservation is None else reservation[0]


def _is_record(found: F | None) -> TypeGuard[F]:
    """Tell whether a record of a session is there, and not what keeps its place."""
    return found is not None and _marked(found) is None and unpack_reservation(found.value) is None


def _as_whose(record: Record) -> Record:
    """Return the record with no user for what is no session, also where the store does not tell that from nobody's."""
    if record.user_id is None:
        with suppress(Damaged):
            if not isinstance(unpack(record.value), tuple):
                return record._replace(user_id=_NO_USER)
    return record


def _longest(new: Store, old: Store) -> int | None:
    """Return the length of the longest value that both stores keep, in the old one with what a marker adds to it."""
    most: int | None = getattr(new, "max_value", None)
    less: int | None = getattr(old, "max_value", None)
    if less is not None:
        less = max(0, less - _START)
    return min((size for size in (most, less) if size is not None), default=None)


def _each_once(old: Callable[[], Iterator[str]], new: Callable[[], Iterator[str]]) -> Iterator[str]:
    """Yield what *old* lists, and then what *new* does, each once: in this order whatever moves meanwhile is found."""
    seen = set[str]()
    for key in old():
        seen.add(key)
        yield key
    yield from (key for key in new() if key not in seen)
