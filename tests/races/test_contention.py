"""Many requests that write to one session at once: no change is lost, no count is wrong, nobody waits for long."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from session_middleware import Send, Session, SessionManager, Store, open_store
from session_middleware.stores.base import Record, Sweepable, Version
from session_middleware.tokens import new_id
from tests.backends.running import LATER, SWEPT, Backends, a_store, sizes
from tests.gates import full
from tests.servers.direct import Act, Handler, Racers, Site, racers, regenerate, saw, transact, write

# Thousands of requests: measuring what they cover would take most of the time, and other tests cover as much.
pytestmark = pytest.mark.unmeasured


USER = "alice"


soak = pytest.mark.soak


@pytest.fixture(params=LATER)
def store(request: pytest.FixtureRequest, tmp_path: Path, backends: Backends) -> Iterator[Any]:
    """A store of each kind, most of them in the soak."""
    with a_store(request.param, tmp_path, backends) as store:
        yield store


def counts(normal: int, full: int) -> list[Any]:
    """Return the parameters of a test that runs *normal* rounds, and *full* in the soak."""
    return [pytest.param(normal, id=str(normal)), pytest.param(full, id=f"{full:,}", marks=soak)]


class CountingStore:
    """Counts how often each thread had to try an update; the rest is the store's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._local = threading.local()
        self.create, self.load, self.delete = store.create, store.load, store.delete

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        self._local.tries = self.tries() + 1
        return self._store.update(key, record, version=version)

    def tries(self) -> int:
        tries: int = getattr(self._local, "tries", 0)
        return tries


@sizes("rounds", 20, 200)
def test_sixteen_threads_that_keep_writing_lose_nothing(store: Store, rounds: int) -> None:
    """Promise 3: 16 threads on one session, each with keys of its own, without a pause: no change lost, no 503."""
    site = Site(store)
    token = site.sign_in(USER)

    def writing(place: int) -> Callable[[], set[str]]:
        def act() -> set[str]:
            statuses = set()
            for number in range(rounds):

                def handler(session: Session, key: str = f"{place}", number: int = number) -> Iterable[bytes]:
                    session[key] = [*session.get(key, ()), number]
                    return [b""]

                statuses.add(site.visit(handler, token).status)
            return statuses

        return act

    with racers(16) as crew:
        statuses = crew.run(*map(writing, range(16)))
    assert set().union(*statuses) == {"200 OK"}
    opened = site.opened(token)
    assert all(opened[f"{place}"] == list(range(rounds)) for place in range(16))


@pytest.mark.timed
@sizes("rounds", 3, 100, served=full(None, 100))
def test_a_hundred_requests_at_once_each_keep_their_key(store: Store, rounds: int) -> None:
    """F-C2, G-7: 100 requests that all hold one session at once: 100 keys; p99 of the tries at most 20, all in 5 s."""
    counting = CountingStore(store)
    site = Site(counting)
    tries: list[int] = []
    all_have_it = threading.Barrier(100)

    def visiting(place: int, token: str) -> Callable[[], str]:
        def handler(session: Session) -> Iterable[bytes]:
            session[f"key {place}"] = place
            all_have_it.wait(120)
            return [b""]

        def act() -> str:
            before = counting.tries()
            status = site.visit(handler, token).status
            tries.append(counting.tries() - before)
            return status

        return act

    with racers(100) as crew:
        for _ in range(rounds):
            token = site.sign_in(first=1)
            started = time.monotonic()
            statuses = crew.run(*(visiting(place, token) for place in range(100)))
            assert time.monotonic() - started < 5
            assert set(statuses) == {"200 OK"}
            assert site.opened(token).keys() == {"first", *(f"key {place}" for place in range(100))}
    assert sorted(tries)[len(tries) * 99 // 100] <= 20


def increment(data: MutableMapping[str, Any]) -> None:
    data["count"] = data.get("count", 0) + 1


def test_a_thousand_increments_in_sixteen_threads_give_a_thousand(store: Store) -> None:
    """Promise 4, F-C3, G-8: 16 threads, 1,000 transactions on one session."""
    site = Site(store)
    token = site.sign_in(USER)

    def incrementing(times: int) -> Callable[[], None]:
        def act() -> None:
            for _ in range(times):
                assert site.visit(lambda session: [str(session.transact(increment)).encode()], token).status == "200 OK"

        return act

    with racers(16) as crew:
        crew.run(*(incrementing(63 if place < 8 else 62) for place in range(16)))
    assert site.opened(token)["count"] == 1000


def _increment_in_a_process(url: str, token: str, times: int, barrier: Any) -> None:
    manager = SessionManager(url)
    barrier.wait(600)
    for _ in range(times):
        manager.open(token).transact(increment)


def test_a_thousand_increments_in_four_processes_give_a_thousand(url: str) -> None:
    """Promise 4, F-C3, G-8: 4 processes, 250 transactions each, one store."""
    store: Any = open_store(url)
    manager = SessionManager(store)
    session = manager.open()
    session["count"] = 0
    sent = manager.commit(session)
    assert isinstance(sent, Send)
    token = sent.token.reveal()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    processes = [
        context.Process(target=_increment_in_a_process, args=(url, token, 250, barrier), daemon=True) for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0] * 4
    assert manager.open(token)["count"] == 1000
    store.close()


@pytest.mark.parametrize("store", SWEPT, indirect=True)
@pytest.mark.parametrize("rounds", counts(200, 2_000))
def test_a_store_swept_and_revoked_all_the_while_loses_no_live_session(store: Store, three: Racers, rounds: int) -> None:
    """Promise 13, F-C10: removing what has expired, while sessions come and are written, removes nothing else."""
    assert isinstance(store, Sweepable)
    site = Site(store)
    for _ in range(rounds):
        for _ in range(3):
            store.create(new_id(), Record(b"old", int(time.time()) - 400, None))
        token = site.sign_in(USER, secret=1)
        three.run(
            partial(store.sweep, 100),
            partial(site.visit, write, token),
            partial(site.visit, write, token),
        )
        assert len(site.opened(token)) == 4


def sign_in_again(session: Session) -> Iterable[bytes]:
    seen = saw(session)
    session.login(USER)
    return seen


@pytest.mark.parametrize("handler", [write, transact, regenerate, sign_in_again])
def test_a_pause_between_two_tries_does_not_make_the_next_one_late(
    store: Store, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 3, F-C2: a request that writes in every pause keeps no other from its end: a pause comes before a load."""
    hurried = HurriedStore(store)
    site = Site(hurried)
    token = site.sign_in(USER, secret=1)
    pauses: list[float] = []

    def another_request(seconds: float) -> None:
        pauses.append(seconds)
        Site(store).visit(write, token)

    monkeypatch.setattr("session_middleware.repository.time.sleep", another_request)
    hurried.before_updates = [partial(another_request, 0.0)] * 3
    answer = site.visit(handler, token)
    assert (answer.status, answer.body) == ("200 OK", b"saw it")
    assert 3 < len(pauses) < 7
    assert len(site.opened(answer.token or token)) >= 2 + len(pauses)


class HurriedStore:
    """Does something before each of the first updates."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.before_updates: list[Act] = []
        self.create, self.load, self.delete = store.create, store.load, store.delete

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        if self.before_updates:
            self.before_updates.pop()()
        return self._store.update(key, record, version=version)
