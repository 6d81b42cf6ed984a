"""Runs requests against one store in every order of their store calls. Nothing sleeps and nothing is left to chance.

Each request has a thread, which stops before every call of the store; one at a time goes on, to its next call. It knows no
application: a *world* is a stepped store, the requests that use it, and whatever its maker wants to see afterwards.
"""

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

from session_middleware.stores.base import Record, Store, Stored, UserIndexed, Version

T = TypeVar("T")

_PATIENCE = 20.0  # seconds for what takes a millisecond


class Call(NamedTuple):
    """A call of the store: the number of the request that has made it, ``None`` for who is none of them; the verb; the key,
    or the user for ``keys_of``; whether it did or found anything."""

    request: int | None
    verb: str
    key: str
    done: bool


class Turnstile:
    """Lets the calls of several threads through one at a time, in a given order."""

    def __init__(self, count: int) -> None:
        self._condition = threading.Condition()
        self._waiting: set[int] = set()
        self._finished: set[int] = set()
        self._admitted: int | None = None
        self._count = count
        self._local = threading.local()

    def enter(self, number: int) -> None:
        """The calling thread is that of the request *number*."""
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
        """The request *number* has ended."""
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
                raise AssertionError(
                    f"a request has neither ended nor called the store for {_PATIENCE:.0f} s: does it wait for the other?"
                )
            ready = sorted(self._waiting)
            if ready:
                self._admitted = choice(ready)
                self._waiting.discard(self._admitted)
                self._condition.notify_all()
            return ready


class SteppedStore:
    """A store whose every call waits for its turn. It also keeps the calls in their order.

    Beside the four verbs it lists: users' sessions as the store in it does, and what is there of the keys that it knows:
    *known*, and those that it has created.
    """

    def __init__(self, store: Store, known: Iterable[str] = ()) -> None:
        self._store = store
        self._known = dict.fromkeys(known)
        self.turnstile: Turnstile | None = None
        self.log: list[Call] = []

    def create(self, key: str, record: Record) -> bool:
        self._known[key] = None
        return self.step("create", key, partial(self._store.create, key, record))

    def load(self, key: str) -> Stored | None:
        return self.step("load", key, partial(self._store.load, key))

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return self.step("update", key, partial(self._store.update, key, record, version=version))

    def delete(self, key: str) -> bool:
        return self.step("delete", key, partial(self._store.delete, key))

    def keys_of(self, user_id: str) -> Iterator[str]:
        # In the order of creation, so that one schedule always does the same: the keys are random.
        assert isinstance(self._store, UserIndexed)
        store = self._store
        found = set(self.step("keys_of", user_id, lambda: list(store.keys_of(user_id))))
        yield from [key for key in self._known if key in found]

    def keys(self) -> Iterator[str]:
        yield from self.step("keys", "", self._keys)

    def empty(self) -> None:
        """Remove what it knows."""
        for key in self._known:
            self._store.delete(key)

    def step(self, verb: str, key: str, call: Callable[[], T]) -> T:
        """Make a call when it is the turn of the calling thread, and note it."""
        number = None
        if self.turnstile is not None:
            number = self.turnstile.step()
        result = call()
        self.log.append(Call(number, verb, key, bool(result)))
        return result

    def _keys(self) -> list[str]:
        return [key for key in self._known if self._store.load(key) is not None]


@dataclass
class Outcome:
    """What one order of the calls led to: what each request has returned or raised, and whose turn it was, step by step."""

    results: list[Any]
    errors: list[BaseException | None]
    schedule: list[int] = field(default_factory=list)


Choose = Callable[[int, list[int]], int]
World = Callable[[], tuple[SteppedStore, Sequence[Callable[[], Any]], T]]
"""Makes anew, each time: a store, the requests, and what is handed back with their outcome."""


def _run(store: SteppedStore, requests: Sequence[Callable[[], Any]], choose: Choose) -> tuple[Outcome, list[list[int]]]:
    turnstile = store.turnstile = Turnstile(len(requests))
    outcome = Outcome([None] * len(requests), [None] * len(requests))

    def work(number: int) -> None:
        turnstile.enter(number)
        try:
            turnstile.step()  # what comes before its first call is a step, too, so that never two requests run at once
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
    if at >= len(prefix):
        return ready[0]
    if prefix[at] not in ready:
        raise AssertionError("the requests do not do the same each time: something outside of the session is not put back")
    return prefix[at]


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
        outcome, _ = _run(store, requests, partial(_pick, random.Random(seed)))  # noqa: S311  # no secret
        yield context, outcome
