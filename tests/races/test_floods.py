"""What many requests cost and leave behind: readers, guessers, hot sessions, expired records, aborted responses."""

import gc
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from session_middleware import MemoryStore, Session, SessionManager, SQLiteStore, Store
from session_middleware.lifetime import touch_interval
from session_middleware.stores.base import Record, Scannable, Version
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token, new_id
from tests.backends.running import EMBEDDED, EVERY, SERVED, Backends, a_store, sizes
from tests.gates import full
from tests.servers.direct import Site, racers

# Thousands of requests: measuring what they cover would take most of the time, and other tests cover as much.
pytestmark = pytest.mark.unmeasured

soak = pytest.mark.soak

MOST = full(250, 1_000)

DESCRIPTORS = Path("/proc/self/fd")


class WatchedStore:
    """Counts the calls of each verb, and the writes that were not refused."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()
        self.writes = 0

    def create(self, key: str, record: Record) -> bool:
        return self._written("create", self._store.create(key, record))

    def load(self, key: str) -> Any:
        self.calls["load"] += 1
        return self._store.load(key)

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return self._written("update", self._store.update(key, record, version=version))

    def delete(self, key: str) -> bool:
        return self._written("delete", self._store.delete(key))

    def _written(self, verb: str, done: bool) -> bool:
        self.calls[verb] += 1
        self.writes += done
        return done


@pytest.fixture(params=[*EMBEDDED, *(pytest.param(kind, marks=soak) for kind in SERVED)])
def store(request: pytest.FixtureRequest, tmp_path: Path, backends: Backends) -> Iterator[Any]:
    """A store of each kind; those on servers in the soak."""
    with a_store(request.param, tmp_path, backends) as store:
        yield store


def keys_in(store: Store) -> list[str]:
    assert isinstance(store, Scannable)
    return list(store.keys())


def read(session: Session) -> Iterable[bytes]:
    return [f"{session.get('visits', 0)} {len(session)} {session.user_id}".encode()]


def write(session: Session) -> Iterable[bytes]:
    session["n"] = (session.get("n", 0) + 1) % 7
    return [b"written"]


def invalidate(session: Session) -> Iterable[bytes]:
    session.invalidate()
    return [b"bye"]


@sizes("requests", 5_000, 100_000, served=full(None, 100_000))
def test_readers_without_a_cookie_leave_nothing(store: Store, requests: int) -> None:
    """Promise 2, F-L3, G-22: any number of visitors who only read: no store call, no record, no cookie."""
    watched = WatchedStore(store)
    site = Site(watched)
    for _ in range(requests):
        assert site.visit(read).token is None
    assert not watched.calls
    assert keys_in(store) == []


@sizes("requests", 5_000, 100_000, served=full(None, 100_000))
@pytest.mark.parametrize("handler", [read, invalidate])
def test_guessed_tokens_leave_nothing(store: Store, handler: Callable[[Session], Iterable[bytes]], requests: int) -> None:
    """Promise 2, F-L4, G-22: well-formed random tokens: one load each, no record, and no new cookie."""
    watched = WatchedStore(store)
    site = Site(watched)
    for _ in range(requests):
        assert not site.visit(handler, Token.new().reveal()).token
    assert watched.calls["load"] == requests
    assert watched.writes == watched.calls["create"] == 0
    assert keys_in(store) == []


@pytest.mark.parametrize(
    ("store", "requests", "rate"),
    [
        *(pytest.param(kind, 10_000, 50, id=f"{kind}-50") for kind in EMBEDDED),
        *(pytest.param(kind, 10_000, 50, id=f"{kind}-50", marks=soak) for kind in SERVED),
        *(pytest.param(kind, 150 * MOST, MOST, id=f"{kind}-{MOST:,}", marks=soak) for kind in EVERY),
    ],
    indirect=["store"],
)
def test_a_hot_session_is_written_once_an_interval(store: Store, requests: int, rate: int) -> None:
    """Promise 2, F-L7: up to 1,000 reads a second on one session: at most one write in each touch interval."""
    clock = FakeClock()
    watched = WatchedStore(store)
    site = Site(watched, clock=clock)
    token = site.sign_in("alice")
    before, loads = watched.writes, watched.calls["load"]
    for _ in range(requests):
        clock.advance(1 / rate)
        site.visit(read, token)
    assert 2 <= watched.writes - before <= requests / rate / touch_interval(site.manager.lifetime.idle)
    assert watched.calls["load"] - loads == requests


def test_readers_at_the_same_moment_note_it_once(store: Store) -> None:
    """F-L7: when a touch is due and sixteen requests come at once, one writes, and none of the others is bothered."""
    clock = FakeClock()
    watched = WatchedStore(store)
    site = Site(watched, clock=clock)
    token = site.sign_in("alice")
    with racers(16) as crew:
        for _ in range(20):
            clock.advance(61)
            before = watched.writes
            answers = crew.run(*(lambda: site.visit(read, token) for _ in range(16)))
            assert {answer.body for answer in answers} == {b"0 0 alice"}
            assert watched.writes - before == 1


@pytest.mark.parametrize("store", EMBEDDED, indirect=True)
def test_expired_sessions_go_as_new_ones_come(store: Store) -> None:
    """Promise 13: 20,000 expired sessions are gone after light traffic, in small steps, and only they."""
    past = int(time.time()) - 1000
    for _ in range(20_000):
        store.create(new_id(), Record(bytes(100), past, None))
    held = _held(store)
    assert held == 20_000
    site = Site(store)
    tokens: list[str] = []
    while (now := _held(store) if len(tokens) % 1000 == 0 else held) > len(tokens):
        held = now
        tokens.append(site.sign_in(number=len(tokens)))
        assert len(tokens) <= 12_000
    assert _held(store) == len(tokens) == len(keys_in(store))
    assert all(site.opened(token) == {"number": number} for number, token in islice(enumerate(tokens), 0, None, 97))


def _held(store: Store) -> int:
    """Return how many records the store holds, the expired ones too."""
    if isinstance(store, SQLiteStore):
        return int(store._execute("SELECT count(*) FROM sessions", (), time.monotonic())[0][0])
    assert isinstance(store, MemoryStore)
    return len(store._entries)


def stream(session: Session) -> Iterable[bytes]:
    session["streamed"] = True
    yield b"first"
    session["late"] = True
    yield b"second"


def abort(site: Site, token: str) -> None:
    """Start a streaming response and let go of it after its first block, as a server does when the client has gone."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "wsgi.url_scheme": "http",
        "HTTP_COOKIE": f"session={token}",
        "site.handler": stream,
    }
    blocks: Any = site.middleware(environ, lambda status, headers, exc_info=None: bytes)
    assert next(iter(blocks)) == b"first"
    blocks.close()


def fail(session: Session) -> Iterable[bytes]:
    session["failed"] = True
    raise RuntimeError("on purpose")


@sizes("requests", 4_000, full(20_000, 1_000_000), served=full(None, 1_000_000))
def test_requests_leave_no_growth(store: Store, requests: int) -> None:
    """Promise 13, G-23: 20,000 requests and 1,000 aborted responses leave no objects, no memory and no descriptors."""
    site = Site(store)
    tokens = [site.sign_in(number=number) for number in range(10)]

    def work(requests: int, aborted: int) -> None:
        for number in range(requests):
            token = tokens[number % 10]
            if number % 20 == 0:
                with suppress(RuntimeError):
                    site.visit(fail, token)
            elif number % 3 == 0:
                site.visit(write, token)
            else:
                site.visit(read, token)
        for number in range(aborted):
            abort(site, tokens[number % 10])

    work(2000, 100)
    gc.collect()
    tracemalloc.start()
    try:
        work(200, 20)
        gc.collect()
        objects, memory, descriptors = len(gc.get_objects()), tracemalloc.get_traced_memory()[0], _descriptors()
        work(requests, requests // 20)
        gc.collect()
        assert len(gc.get_objects()) - objects < 100
        assert tracemalloc.get_traced_memory()[0] - memory < 200_000
    finally:
        tracemalloc.stop()
    assert _descriptors() <= descriptors


def test_a_store_holds_no_more_connections_than_threads_at_work(tmp_path: Path) -> None:
    """Promise 13, G-23: as many connections as threads that used the store at one moment, none after it is closed."""
    base = _descriptors()
    store = SQLiteStore(tmp_path / "sessions.sqlite3")
    manager = SessionManager(store)

    def work() -> None:
        for _ in range(50):
            session = manager.open()
            session["a"] = 1
            manager.commit(session)

    for _ in range(5):
        with racers(16) as crew:
            crew.run(*[work] * 16)
    files = [link.readlink() for link in DESCRIPTORS.iterdir() if link.is_symlink()]
    assert 1 <= files.count(store.path) <= 16
    store.close()
    assert _descriptors() <= base


def _descriptors() -> int:
    return len(list(DESCRIPTORS.iterdir()))
