"""Very long lists, on every store that has an index of users: they are told in full, and nobody waits for them."""

import time
from collections.abc import Callable
from statistics import median
from threading import Event, Thread
from types import TracebackType
from typing import Any, Final, Self

import pytest

from session_middleware import SessionManager, Store
from session_middleware.testing import a_key, a_record, filled, listed, loaded, race

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timed,
    pytest.mark.unmeasured,
    pytest.mark.parametrize("store", ["memory", "sqlite", "redis", "postgresql", "mariadb"], indirect=True),
]

MANY: Final = 50_000

# What is measured, and printed, is far less; a machine that is busy with other tests, too, adds to it (seconds).
LONG: Final = 1.0


class Others:
    """A thread that uses sessions of its own until the ``with`` block ends; ``waited`` is for how long each time (s)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._over = Event()
        self._thread = Thread(target=self._work)
        self.waited: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.is_set():
            key = a_key()
            self._timed(lambda: self._store.create(key, a_record(user_id="alice")))  # noqa: B023 - called at once
            stored = self._timed(lambda: loaded(self._store, key))  # noqa: B023
            self._timed(lambda: self._store.update(key, a_record(b"new"), version=stored.version))  # noqa: B023
            self._timed(lambda: self._store.delete(key))  # noqa: B023

    def _timed(self, verb: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = verb()
        self.waited.append(time.perf_counter() - started)
        assert result
        return result


def waited_beside(store: Store, *works: Callable[[], object]) -> float:
    """Do all *works* while others use the store; return the median of the five times that these waited longest (seconds)."""
    with Others(store) as others:
        for work in works:
            work()
    assert len(others.waited) > 10
    found = median(sorted(others.waited)[-5:])
    print(f"{type(store).__name__}: the others waited for up to {1000 * found:.1f} ms")  # noqa: T201 - to be read with -rP
    return found


def test_a_list_of_fifty_thousand_keeps_nobody_waiting(store: Any) -> None:
    """Promise 13: the cost of no step is chosen by whoever has so many sessions; and all of them are told."""
    keys = sorted(filled(store, MANY, user_id="mallory"))

    def of_user() -> None:
        assert listed(store, "mallory") == keys

    def of_all() -> None:
        assert {*keys} <= {*store.keys()}

    assert waited_beside(store, *[of_user] * 5) < LONG
    assert waited_beside(store, *[of_all] * 5) < LONG


def test_ending_fifty_thousand_as_they_are_listed_keeps_nobody_waiting(store: Any) -> None:
    """Promise 19: afterwards there is none."""
    filled(store, MANY, user_id="mallory")

    def end() -> None:
        for key in store.keys_of("mallory"):
            assert store.delete(key)

    assert waited_beside(store, end) < LONG
    assert listed(store, "mallory") == []


def test_signing_out_fifty_thousand_keeps_nobody_waiting(store: Any) -> None:
    """Promise 19: all are listed and all end, within seconds."""
    manager = SessionManager(store)
    session = manager.open()
    session.login("mallory")
    manager.commit(session)
    value, keys = loaded(store, session.id).value, [a_key() for _ in range(MANY - 1)]
    race(
        *[
            lambda some=keys[turn::4]: [store.create(key, a_record(value, user_id="mallory")) for key in some]
            for turn in range(4)
        ]
    )

    def end() -> None:
        started = time.perf_counter()
        assert len(manager.sessions_of("mallory")) == MANY
        found = time.perf_counter()
        assert manager.revoke_all("mallory") == MANY
        print(f"listed in {found - started:.1f} s, ended in {time.perf_counter() - found:.1f} s")  # noqa: T201

    assert waited_beside(store, end) < LONG
    assert manager.sessions_of("mallory") == []


def test_entries_of_fifty_thousand_that_are_gone_keep_nobody_waiting(store: Any) -> None:
    """Promise 13: nor does what is left of them, when the next session of that user begins, is listed and ends."""
    for key in filled(store, MANY, user_id="mallory"):
        store.delete(key)

    def go_on() -> None:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            store.create(key := a_key(), a_record(user_id="mallory"))
            assert listed(store, "mallory") == [key]
            assert store.delete(key)

    assert waited_beside(store, go_on) < LONG
