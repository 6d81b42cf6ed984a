"""What is told of a store, what is found about it, and what ``/healthz`` answers."""

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from webtest import TestApp
from webtest.lint import middleware as lint

from session_middleware import ConfigurationError, Health, MemoryStore, SessionManager, SQLiteStore, open_store
from session_middleware.exceptions import StoreUnusable
from session_middleware.health import CheckApp, check_app, health_of
from session_middleware.stores.several import is_local, worst_of
from session_middleware.testing import FakeClock, FaultyStore
from tests.backends.running import EVERY, Backends
from tests.sites import Bare


class Told(Bare):
    """A store that tells what a test says."""

    def __init__(self, **told: Any) -> None:
        super().__init__()
        self.told = Health("Redis", **told)

    def health(self) -> Health:
        return self.told


def names(health: Health) -> list[str]:
    return [f"{finding.severity} {finding.name}" for finding in health.findings]


@pytest.fixture
def faulty() -> FaultyStore:
    return FaultyStore(MemoryStore())


def test_the_manager_asks_once_and_writes_nothing(faulty: FaultyStore) -> None:
    """One round trip, timed."""
    health = SessionManager(faulty).check()

    assert faulty.calls == [("health", "")]
    assert health.kind == "memory"
    assert health.latency is not None
    assert health.latency >= 0
    assert health.ok


def test_a_store_that_fails_is_a_finding(faulty: FaultyStore) -> None:
    """It raises nothing, and there is no latency."""
    faulty.fail(times=None)
    health = SessionManager(faulty).check()

    assert (health.kind, health.latency, health.ok) == ("MemoryStore", None, False)
    assert names(health) == ["error unreachable"]


def test_a_store_that_cannot_work_is_another_finding() -> None:
    """What to change, its message says."""

    class Unusable(Bare):
        def load(self, key: str) -> None:
            raise StoreUnusable("the password is wrong")

    health = health_of(Unusable())

    assert names(health) == ["error unusable"]
    assert "the password is wrong" in health.findings[0].what


@pytest.mark.parametrize("verb", ["health", "load"])
def test_a_store_that_raises_something_else_is_one_more(verb: str) -> None:
    """It keeps not to what a store is; that, too, is no traceback for who only looks, and its message is not shown."""

    class Broken(Bare):
        def load(self, key: str) -> None:
            raise ValueError("a-password")

    class Told(Broken):
        def health(self) -> Health:
            raise KeyError("a-password")

    health = health_of(Told() if verb == "health" else Broken())

    assert (names(health), health.ok, health.latency) == (["error broken"], False, None)
    assert f"raises {'KeyError' if verb == 'health' else 'ValueError'} " in health.findings[0].what
    assert "a-password" not in str(health)
    app = TestApp(check_app(SessionManager(Broken())))
    assert app.get("/healthz", status=503).json["findings"] == [{"severity": "error", "name": "broken"}]


def test_a_store_that_tells_nothing_is_asked_all_the_same() -> None:
    """Whether it answers, and how soon."""
    health = health_of(Bare())

    assert health.kind == "Bare"
    assert health.latency is not None
    assert health.findings == ()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, []),
        ({"role": "master", "eviction": "noeviction", "space": 10**9, "free_space": 10**8 * 5, "tls": True}, []),
        ({"role": "slave"}, ["error replica"]),
        ({"role": "master, slave"}, ["error replica"]),
        ({"role": "standby"}, ["error replica"]),
        ({"role": "read_only"}, ["error replica"]),
        ({"schema": "complete"}, []),
        ({"schema": "there is no table"}, ["warning schema"]),
        ({"role": "master", "eviction": "allkeys-lru", "space": 10**9, "free_space": 10**9}, ["warning evicts"]),
        ({"eviction": "lru", "space": 10**9, "free_space": 10**9}, ["note evicts"]),
        ({"eviction": "allkeys-lru"}, []),
        ({"clock_difference": 5.0}, []),
        ({"clock_difference": 5.1}, ["warning clock"]),
        ({"clock_difference": -6.0}, ["warning clock"]),
        ({"tls": False}, ["warning unencrypted"]),
        ({"free_space": 10**8 - 1, "space": 10**9}, ["warning space"]),
        ({"free_space": 10**8, "space": 10**9}, []),
        ({"free_space": 2 * 10**9, "space": 10**12}, []),
        ({"free_space": 10**5, "space": 10**9}, ["error space"]),
        ({"free_space": 10**5, "space": 10**9, "eviction": "lru"}, ["note evicts", "warning space"]),
        ({"free_space": 10**5}, []),
    ],
    ids=str,
)
def test_what_is_told_is_judged(told: dict[str, Any], expected: list[str]) -> None:
    """What is wrong is an error, what may come to it a warning; and each says what to do."""
    health = health_of(Told(**told))

    assert names(health) == expected
    assert health.ok is not any(name.startswith("error") for name in expected)
    assert all(finding.what.endswith(".") and finding.to_do.endswith(".") for finding in health.findings)


def test_a_store_of_one_process_is_noted() -> None:
    """What it is good for, it still is."""
    assert "note single_process" in names(health_of(MemoryStore()))


def test_the_worst_of_several_servers_counts() -> None:
    """The fullest, the clock that is furthest away, and every role."""
    several = worst_of(
        [
            Health("Redis", "7.0", role="master", clock_difference=0.1, free_space=5, space=10, records=3),
            Health("Redis", "7.2", role="slave", clock_difference=-9.0, free_space=1, space=10, records=4),
            Health("Redis", None, role="master"),
        ]
    )

    assert several == Health(
        "Redis", "7.0, 7.2", role="master, slave", clock_difference=-9.0, free_space=1, space=10, records=7
    )
    assert worst_of([Health("Redis"), Health("Redis")]) == Health("Redis")


@pytest.mark.parametrize(
    ("host", "expected"),
    [(None, True), ("localhost", True), ("127.0.0.1", True), ("::1", True), ("/run/x.sock", True), ("db.internal", False)],
)
def test_what_stays_on_this_machine_is_known(host: str | None, expected: bool) -> None:
    """There is nothing to be encrypted on the way."""
    assert is_local(host) is expected


@pytest.mark.parametrize("kind", EVERY)
def test_every_store_tells_of_itself(kind: str, tmp_path: Path, backends: Backends) -> None:
    """Its name, its version, its clock, its room: what there is to tell."""
    urls = {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path}/sessions.sqlite3"}
    made: Any = open_store(urls.get(kind) or backends.url(kind))
    with closing(made) if kind != "memory" else closing(FaultyStore(made)) as store:
        store.open() if kind != "memory" else None
        health = health_of(store)

    expected = {"memory": "memory", "sqlite": "SQLite", "redis": "Redis", "postgresql": "PostgreSQL"}
    assert health.kind in (expected.get(kind, kind), "Valkey", "MariaDB")
    assert health.ok
    assert (health.version is None) is (kind == "memory")
    assert (health.clock_difference is None) is (kind in ("memory", "sqlite"))
    assert abs(health.clock_difference or 0) < 5
    assert (health.schema == "complete") is (kind in ("sqlite", "postgresql", "mariadb"))
    assert (health.role is not None) is (kind in ("redis", "postgresql", "mariadb"))
    assert not health.tls


def test_a_missing_index_is_told(tmp_path: Path) -> None:
    """Somebody has dropped it."""
    store = SQLiteStore(tmp_path / "sessions.sqlite3")
    store.open()
    store._execute("DROP INDEX sessions_by_user_id", (), 1e12)

    assert names(health_of(store))[0] == "warning schema"
    store.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def asked(faulty: FaultyStore) -> Callable[[], int]:
    return lambda: len(faulty.calls)


@pytest.fixture
def app(faulty: FaultyStore, clock: FakeClock) -> TestApp:
    return TestApp(lint(CheckApp(SessionManager(faulty), clock)), lint=False)


def test_a_store_that_answers_is_a_200(app: TestApp) -> None:
    """The body tells what it is, and no cache keeps it."""
    answer = app.get("/healthz", status=200)

    assert answer.content_type == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json.keys() == {"status", "store", "latency_ms", "findings"}
    assert (answer.json["status"], answer.json["store"]) == ("ok", "memory")
    assert answer.json["findings"] == [
        {"severity": "note", "name": "evicts"},
        {"severity": "note", "name": "single_process"},
    ]


def test_a_store_that_fails_is_a_503(app: TestApp, faulty: FaultyStore) -> None:
    """And nothing of what its error says, which may be an address."""
    faulty.fail(times=None)
    answer = app.get("/healthz", status=503)

    assert answer.json == {
        "status": "failing",
        "store": "MemoryStore",
        "latency_ms": None,
        "findings": [{"severity": "error", "name": "unreachable"}],
    }


def test_the_store_is_asked_once_a_second(app: TestApp, asked: Callable[[], int], clock: FakeClock) -> None:
    """However many ask; later it is asked again."""
    for _ in range(5):
        app.get("/healthz")
    assert asked() == 1

    clock.advance(0.9)
    app.get("/healthz")
    assert asked() == 1
    clock.advance(0.2)
    app.get("/healthz")
    assert asked() == 2


def test_who_comes_while_it_is_asked_does_not_wait() -> None:
    """A store that hangs holds up one thread of the server, not all of them."""
    started, go_on = Event(), Event()

    class Slow(Told):
        slow = False

        def health(self) -> Health:
            if self.slow:
                started.set()
                assert go_on.wait(60)
            return super().health()

    store, clock = Slow(), FakeClock()
    app = TestApp(CheckApp(SessionManager(store), clock), lint=False)
    app.get("/healthz")
    store.slow = True
    clock.advance(2)
    thread = Thread(target=app.get, args=("/healthz",))
    thread.start()
    assert started.wait(60)

    assert app.get("/healthz").json["status"] == "ok"
    go_on.set()
    thread.join()


def test_head_is_answered_without_a_body(app: TestApp) -> None:
    """As monitors ask."""
    answer = app.head("/healthz", status=200)

    assert answer.body == b""
    assert int(answer.headers["Content-Length"]) > 0


def test_other_methods_are_refused(app: TestApp, asked: Callable[[], int]) -> None:
    """Nothing is asked."""
    assert app.post("/healthz", status=405).headers["Allow"] == "GET, HEAD"
    assert asked() == 0


def test_a_fork_can_ask(faulty: FaultyStore) -> None:
    """Though a thread of the parent was asking when it forked."""
    app = CheckApp(SessionManager(faulty))
    with app._lock:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if app._health().ok else 1)
    assert os.waitpid(pid, 0)[1] == 0

    with app._lock:  # and what the child does, where it is measured
        app._after_fork()
    assert app._lock.acquire(blocking=False)


def test_it_is_made_of_a_manager() -> None:
    """What is none is refused."""
    assert json.loads(b"".join(check_app(SessionManager("memory:"))({"REQUEST_METHOD": "GET"}, lambda *_: print)))
    with pytest.raises(ConfigurationError, match=r"write SessionMiddleware\(\.\.\.\)\.manager"):
        check_app(MemoryStore())  # type: ignore[arg-type]
