"""Stores that move, for tests: with what there is in the old one, in the new one, or in both in turn."""

from collections.abc import Iterator, Sequence
from itertools import cycle

from session_middleware.moving import MovingStore
from session_middleware.stores.base import Record, Store, Stored, Swept, Version


class BegunBefore(MovingStore):
    """One that hands over, and whose records were all made before: in the old store."""

    def create(self, key: str, record: Record) -> bool:
        return MovingStore(self.new, self.old, hand_over=False).create(key, record)


class Mixed:
    """Two processes that are asked in turn: one hands over, the other does not yet."""

    def __init__(self, new: Store, old: Store) -> None:
        self._all = [MovingStore(new, old), MovingStore(new, old, hand_over=False)]
        self._turns = cycle(self._all)

    def create(self, key: str, record: Record) -> bool:
        return next(self._turns).create(key, record)

    def load(self, key: str) -> Stored | None:
        return next(self._turns).load(key)

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return next(self._turns).update(key, record, version=version)

    def delete(self, key: str) -> bool:
        return next(self._turns).delete(key)

    def sweep(self, limit: int) -> Sequence[Swept]:
        return next(self._turns).sweep(limit)

    def keys_of(self, user_id: str) -> Iterator[str]:
        return next(self._turns).keys_of(user_id)

    def keys(self) -> Iterator[str]:
        return next(self._turns).keys()

    def load_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        return next(self._turns).load_many(keys)

    def delete_many(self, keys: Sequence[str]) -> list[str]:
        return next(self._turns).delete_many(keys)
