"""A store that notes its calls, and fails when a test says so. It keeps nothing itself: that does the store inside."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Lock
from typing import TypeVar

from session_middleware.exceptions import StoreUnavailable
from session_middleware.stores.around import StoreAround
from session_middleware.stores.base import Record, Store, Version

T = TypeVar("T")


class _Plan:
    """Which calls are to fail: of *verbs* (any, if empty), the *at*-th from now and those after it, *times* in all."""

    def __init__(self, verbs: tuple[str, ...], at: int, times: int | None, applied: bool) -> None:
        self.verbs, self.applied = verbs, applied
        self._skip, self._left = at - 1, times

    def strikes(self, verb: str) -> bool:
        if (self.verbs and verb not in self.verbs) or self._left == 0:
            return False
        if self._skip:
            self._skip -= 1
            return False
        if self._left is not None:
            self._left -= 1
        return True


class FaultyStore(StoreAround):
    """A store around another that notes every call, and fails when told to.

    ``calls`` holds ``(verb, key)`` in their order (for ``keys_of`` the user id in place of the key, for ``sweep``, ``keys``
    and what is asked about many keys the empty text; ``open``, which belongs to no request, is not noted). A listing is one
    call, made with its first step. It can do what the other can: ``isinstance(store, Sweepable)`` and the like say the same.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.calls: list[tuple[str, str]] = []
        self._plans: list[_Plan] = []
        self._refuses, self._delay = False, 0.0
        self._lock = Lock()

    def fail(self, *verbs: str, at: int = 1, times: int | None = 1, applied: bool = False) -> None:
        """Let calls of *verbs* (of any, if none is named) raise :exc:`StoreUnavailable`, from the *at*-th of them on.

        *times*: that many calls; ``None``: until :meth:`heal`. *applied*: the store does what was asked, and the answer
        is lost; a listing tells all that there is, and then fails in place of ending. Plans add up; each counts from the
        moment at which it was made.
        """
        with self._lock:
            self._plans.append(_Plan(verbs, at, times, applied))

    def refuse_writes(self) -> None:
        """Behave as a store that is full, until :meth:`heal`: what is there is found and can be removed, and nothing is
        written."""
        self._refuses = True

    def delay(self, seconds: float) -> None:
        """Let every call take so much longer, until :meth:`heal`."""
        self._delay = seconds

    def heal(self) -> None:
        """Fail no more, and be as fast as before."""
        with self._lock:
            self._plans.clear()
            self._refuses, self._delay = False, 0.0

    def create(self, key: str, record: Record) -> bool:
        return self.around("create", key, partial(self._write, "create", partial(self.inner.create, key, record)))

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        update = partial(self.inner.update, key, record, version=version)
        is_removal = record.expires_at <= time.time()
        return self.around("update", key, update if is_removal else partial(self._write, "update", update))

    def around(self, verb: str, key: str, call: Callable[[], T]) -> T:
        acknowledged = self._begin(verb, key)
        result = call()
        if not acknowledged:
            raise StoreUnavailable(f"{verb}: done, but not acknowledged, as the test asked")
        return result

    def around_list(self, verb: str, key: str, keys: Iterable[str]) -> Iterator[str]:
        whole = self._begin(verb, key)
        yield from keys
        if not whole:
            raise StoreUnavailable(f"{verb}: broken off, as the test asked")

    def _write(self, verb: str, write: Callable[[], bool]) -> bool:
        if self._refuses:
            raise StoreUnavailable(f"{verb}: refused, as the test asked")
        return write()

    def _begin(self, verb: str, key: str) -> bool:
        """Note the call, and raise if it is to fail; return whether it is to be acknowledged."""
        with self._lock:
            if verb != "open":
                self.calls.append((verb, key))
            struck = [plan for plan in self._plans if plan.strikes(verb)]
        if self._delay:
            time.sleep(self._delay)
        if any(not plan.applied for plan in struck):
            raise StoreUnavailable(f"{verb}: not done, as the test asked")
        return not struck
