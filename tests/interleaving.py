"""Runs requests against one store in every order of their store calls. Nothing sleeps and nothing is left to chance."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from session_middleware.stores.base import Record, Store, Stored, UserIndexed, Version

T = TypeVar("T")

_PATIENCE = 20.0


class Turnstile:
    """Lets the calls of several threads through one at a time, in an order given by the test."""

    def __init__(self, count: int) -> None:
        self._condition = threading.Condition()
        self._waiting: set[int] = set()
        self._finished: set[int] = set()
        self._admitted: int | None = None
        self._count = count
        self._local = threading.local()

    def enter(self, number: int) -> None:
        self._local.number = number

    def step(self) -> int | None:
        """Wait for the turn of the calling thread; return its number, ``None`` if it is none of the schedule's."""
        number: int | None = getattr(self._local, "number", None)
        if number is None:
            return None
        with self._condition:
            self._waiting.add(number)
            self._condition.notify_all()
            if not self._condition.wait_for(lambda: self._admitted == number, _PATIENCE):
                raise AssertionError("the schedule is stuck")
            self._admitted = None
            self._waiting.discard(number)
            self._condition.notify_all()
        return number

    def finish(self, number: int) -> None:
        with self._condition:
            self._finished.add(number)
            self._condition.notify_all()

    def admit(self, choice: Callable[[list[int]], int]) -> list[int]:
        """When every thread waits or has finished, let one through; return those that could have been, none at the end."""
        with self._condition:
            settled = self._condition.wait_for(
                lambda: self._admitted is None and len(self._waiting | self._finished) == self._count, _PATIENCE
            )
            if not settled:
                raise AssertionError("a request neither ends nor calls the store")
            ready = sorted(self._waiting)
            if ready:
                self._admitted = choice(ready)
                self._waiting.discard(self._admitted)
                self._condition.notify_all()
            return ready


class SteppedStore:
    """A store whose every call waits for its turn. It also keeps the calls in their order."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.turnstile: Turnstile | None = None
        self.log: list[tuple[int | None, str, str, bool]] = []
        """Who has called, the verb, the key, and whether it did or found anything."""
        self._created: list[str] = []

    def create(self, key: str, record: Record) -> bool:
        self._created.append(key)
        return self._step("create", key, partial(self._store.create, key, record))

    def load(self, key: str) -> Stored | None:
        return self._step("load", key, partial(self._store.load, key))

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return self._step("update", key, partial(self._store.update, key, record, version=version))

    def delete(self, key: str) -> bool:
        return self._step("delete", key, partial(self._store.delete, key))

    def keys_of(self, user_id: str) -> list[str]:
        # In the order of creation, so that one schedule always does the same: the keys are random.
        assert isinstance(self._store, UserIndexed)
        store = self._store
        found = set(self._step("keys_of", user_id, lambda: list(store.keys_of(user_id))))
        return [key for key in self._created if key in found]

    def keys(self) -> list[str]:
        """Return the keys of the records that were created through this store and are there."""
        return [key for key in dict.fromkeys(self._created) if self._store.load(key) is not None]

    def empty(self) -> None:
        """Remove them."""
        for key in self._created:
            self._store.delete(key)

    def _step(self, verb: str, key: str, call: Callable[[], T]) -> T:
        number = None
        if self.turnstile is not None:
            number = self.turnstile.step()
        result = call()
        self.log.append((number, verb, key, bool(result)))
        return result


@dataclass
class Outcome:
    """What one order of the calls led to."""

    results: list[Any]
    errors: list[BaseException | None]
    schedule: list[int] = field(default_factory=list)


Choose = Callable[[int, list[int]], int]
World = Callable[[], tuple[SteppedStore, Sequence[Callable[[], Any]], T]]


def _run(store: SteppedStore, requests: Sequence[Callable[[], Any]], choose: Choose) -> tuple[Outcome, list[list[int]]]:
    turnstile = store.turnstile = Turnstile(len(requests))
    outcome = Outcome([None] * len(requests), [None] * len(requests))

    def work(number: int) -> None:
        turnstile.enter(number)
        try:
            turnstile.step()
            outcome.results[number] = requests[number]()
        except BaseException as error:
            outcome.errors[number] = error
        finally:
            turnstile.finish(number)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    branches: list[list[int]] = []

    def choice(ready: list[int]) -> int:
        outcome.schedule.append(choose(len(outcome.schedule), ready))
        return outcome.schedule[-1]

    while ready := turnstile.admit(choice):
        branches.append(ready)
    for thread in threads:
        thread.join(_PATIENCE)
    store.turnstile = None
    return outcome, branches


def _follow(prefix: list[int], at: int, ready: list[int]) -> int:
    return prefix[at] if at < len(prefix) else ready[0]


def _pick(chance: random.Random, at: int, ready: list[int]) -> int:
    return chance.choice(ready)


def every_order(world: World[T]) -> Iterator[tuple[T, Outcome]]:
    """Yield, for every order in which the requests of a fresh *world* can call its store, that world and the outcome."""
    pending: list[list[int]] = [[]]
    while pending:
        prefix = pending.pop()
        store, requests, context = world()
        outcome, branches = _run(store, requests, partial(_follow, prefix))
        yield context, outcome
        for at in range(len(prefix), len(branches)):
            pending += [[*outcome.schedule[:at], other] for other in branches[at] if other != outcome.schedule[at]]


def some_orders(world: World[T], count: int) -> Iterator[tuple[T, Outcome]]:
    """Yield *count* of the orders, picked by chance but the same ones each time."""
    for seed in range(count):
        store, requests, context = world()
        outcome, _ = _run(store, requests, partial(_pick, random.Random(seed)))
        yield context, outcome
