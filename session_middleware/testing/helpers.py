"""What tests of stores are written with: keys, records, and many calls at once. What a store promises is not here."""

import math
import secrets
import time
from collections.abc import Callable
from functools import partial
from threading import Barrier, Thread
from typing import TypeVar

from session_middleware.stores.base import Record, Store, Stored, UserIndexed

T = TypeVar("T")

THREADS = 8
_SHORT = (0.3, 1, 3, 10, 30)
"""How long records live that are to expire soon (seconds): one after the other, on a machine that is late."""

HOUR = 3600
DAY = 86400


def a_key() -> str:
    """Return a key that nothing else uses."""
    return secrets.token_urlsafe(9)


def a_record(value: bytes = b"value", *, expires_in: float = HOUR, user_id: str | None = None) -> Record:
    """Return a record that expires in so many seconds from now; a negative number makes one that has expired."""
    return Record(value, int(time.time() + expires_in), user_id)


def short_lived(seconds: float = 0.3) -> Record:
    """Return a record that expires after so long, or within a second after that: expiries are whole seconds."""
    return Record(b"short", math.ceil(time.time() + seconds), None)


def created_short_lived(store: Store) -> tuple[str, Stored]:
    """Create a record that expires soon, and see it before that; return its key and what the store then has."""
    for seconds in _SHORT:
        key, record = a_key(), short_lived(seconds)
        assert store.create(key, record)
        if (stored := store.load(key)) is not None:
            return key, stored
        assert time.time() >= record.expires_at, "the record is absent before its end"
    raise AssertionError("the record expires before it can be seen")


def prolonged(store: Store, record: Record) -> str:
    """Create a record that expires soon, and put *record* in its place before that; return its key, after its first end."""
    for seconds in _SHORT:
        key, first = a_key(), short_lived(seconds)
        assert store.create(key, first)
        stored = store.load(key)
        if stored is not None and store.update(key, record, version=stored.version):
            while time.time() < first.expires_at:
                time.sleep(0.02)
            return key
        assert time.time() >= first.expires_at, "the record cannot be updated before its end"
    raise AssertionError("the record expires before it can be updated")


def created(store: Store, key: str, record: Record | None = None) -> Stored:
    """Create a record and return what the store then has."""
    assert store.create(key, a_record() if record is None else record)
    return loaded(store, key)


def loaded(store: Store, key: str) -> Stored:
    """Return what is under the key, which must be there."""
    stored = store.load(key)
    assert stored is not None
    return stored


def filled(store: Store, count: int, *, user_id: str | None = None) -> list[str]:
    """Create so many records, in several threads, and return their keys."""
    keys = [a_key() for _ in range(count)]

    def create(some: list[str]) -> None:
        for key in some:
            assert store.create(key, a_record(user_id=user_id))

    race(*(partial(create, keys[number::THREADS]) for number in range(THREADS)))
    return keys


def listed(store: UserIndexed, user_id: str) -> list[str]:
    """Return the keys that the store lists for a user, in alphabetical order."""
    return sorted(store.keys_of(user_id))


def wait_until_absent(store: Store, key: str, *, timeout: float = 60) -> None:
    """Ask until the record under the key has expired, for at most *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while store.load(key) is not None:
        assert time.monotonic() < deadline, "the record has not expired"
        time.sleep(0.02)


def race(*calls: Callable[[], T]) -> list[T]:
    """Run every call in a thread of its own, all at once; return what they return, in order; raise what one raises."""
    start = Barrier(len(calls))
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def run(number: int, call: Callable[[], T]) -> None:
        start.wait()
        try:
            results[number] = call()
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=run, args=item, daemon=True) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a call has not returned after 60 s"
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(calls))]
