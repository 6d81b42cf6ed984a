"""RedisStore while masters die and replicas take over: how soon it is back, and what is lost."""

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Self

import pytest

from session_middleware import Record, StoreUnavailable
from session_middleware.stores.redis import RedisStore
from session_middleware.stores.redis.connections import slot_of
from session_middleware.testing import a_key, a_record, created, listed, loaded
from tests.backends.redis import RedisCluster, RedisSentinels, RedisServer, role, until
from tests.backends.running import PATIENCE
from tests.stopwatch import Stopwatch

pytestmark = pytest.mark.timed

BACK_WITHIN = 2.0


class Load:
    """Threads that write and end sessions, and note what was acknowledged, and one that looks whether it is answered."""

    def __init__(self, store: RedisStore, threads: int = 4) -> None:
        self._store = store
        self._stop = Event()
        self._lock = Lock()
        self._values: dict[str, bytes] = {}
        self._ended: set[str] = set()
        self._threads = [Thread(target=self._work) for _ in range(threads)] + [Thread(target=self._look)]
        self._errors = list[BaseException]()
        self.answered_at = 0.0
        self.unanswered_at = 0.0
        self.why = ""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
        assert not self._errors, self._errors

    @property
    def acknowledged(self) -> int:
        return len(self._values) + len(self._ended)

    def lost(self) -> tuple[int, int]:
        """Return how many acknowledged writes, and how many acknowledged ends, are not what is in the store."""
        writes = sum(
            (stored := self._store.load(key)) is None or stored.value != value for key, value in self._values.items()
        )
        return writes, sum(self._store.load(key) is not None for key in self._ended)

    def _work(self) -> None:
        self._guarded(self._live)

    def _look(self) -> None:
        def look() -> None:
            try:
                self._store.load(a_key())
                self.answered_at = time.monotonic()
            except StoreUnavailable as error:
                self.unanswered_at = time.monotonic()
                self.why = str(error)

        self._guarded(look)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            while not self._stop.is_set():
                work()
                time.sleep(0.002)
        except BaseException as error:
            self._errors.append(error)

    def _live(self) -> None:
        """Write one session, change it, end every other one; what is not acknowledged is not known, and left alone."""
        key = a_key()
        value = key.encode()
        with suppress(StoreUnavailable):
            assert self._store.create(key, a_record(value))
            self._note(key, value)
            stored = self._store.load(key)
            if stored is None or stored.value != value:
                return  # lost meanwhile; it is counted at the end
            self._note(key, None)
            if not self._store.update(key, a_record(value + b"!"), version=stored.version):
                self._note(key, value + b"!")
                return
            self._note(key, value + b"!")
            if value[0] % 2:
                self._note(key, None)
                self._end(key)

    def _end(self, key: str) -> None:
        """End the session, and try again where that is not acknowledged, as users do; until it is, or is found to be so."""
        while not self._stop.is_set():
            with suppress(StoreUnavailable):
                stored = self._store.load(key)
                if stored is None or self._store.update(key, Record(b"", 0, None), version=stored.version):
                    with self._lock:
                        self._ended.add(key)
                    return
            time.sleep(0.02)

    def _note(self, key: str, value: bytes | None) -> None:
        """Note what is acknowledged to be under the key; ``None``: it is being changed."""
        with self._lock:
            if value is None:
                del self._values[key]
            else:
                self._values[key] = value


def fail_over(load: Load, victim: RedisServer, has_taken_over: Callable[[], bool]) -> float:
    """Kill the server; return for how long after the promotion requests went unanswered, the machine's part left out."""
    with Stopwatch() as watch:
        victim.kill()
        until(has_taken_over, "nobody has taken over")
        promoted = time.monotonic()
        until(lambda: load.answered_at > max(promoted, load.unanswered_at) + 1.0, "it does not come back")
        back = load.unanswered_at
        return max(0.0, back - promoted - watch.lost(promoted, back)) if back > promoted else 0.0


class Outcome:
    """What several failovers came to."""

    def __init__(self) -> None:
        self.backs: list[float] = []
        self.lost_writes = 0
        self.lost_ends = 0

    def add(self, back: float, load: Load) -> None:
        writes, ends = load.lost()
        self.backs.append(back)
        self.lost_writes += writes
        self.lost_ends += ends
        print(f"back after {back:.2f} s; of {load.acknowledged} acknowledged lost: {writes} writes, {ends} ends")  # noqa: T201

    def assert_good(self, wait_replicas: int) -> None:
        assert max(self.backs) <= BACK_WITHIN
        assert wait_replicas == 0 or (self.lost_writes, self.lost_ends) == (0, 0)


def fail_over_by_sentinels(store: RedisStore, sentinels: RedisSentinels, rounds: int) -> Outcome:
    outcome = Outcome()
    for _ in range(rounds):
        with Load(store) as load:
            until(lambda: load.acknowledged > 200, "there is no load")
            victim = sentinels.primary()
            (other,) = [server for server in sentinels.servers if server is not victim]
            back = fail_over(load, victim, lambda: role(other) == "master")  # noqa: B023
        sentinels.restore()
        outcome.add(back, load)
    return outcome


def fail_over_in_cluster(store: RedisStore, cluster: RedisCluster, rounds: int) -> Outcome:
    outcome = Outcome()
    for number in range(rounds):
        with Load(store) as load:
            until(lambda: load.acknowledged > 200, "there is no load")
            masters = cluster.masters()
            assert len(masters) == 3
            back = fail_over(load, masters[number % 3], lambda: len(cluster.masters()) == 3)
        cluster.restore()
        outcome.add(back, load)
    return outcome


def store_on(url: str, wait_replicas: int, **options: float) -> RedisStore:
    return RedisStore(url, prefix=f"{a_key()}:", wait_replicas=wait_replicas, **options)  # type: ignore[arg-type]


def test_a_slot_that_moves_takes_its_sessions_along(cluster: RedisCluster) -> None:
    """F-N6: while its slot is on the way, and when it has arrived, a session is written, read, ended and listed."""
    store = store_on(cluster.url, 0, timeout=PATIENCE)
    key, slot, source = in_an_empty_slot(store, cluster)
    stored = created(store, key, a_record(b"one", user_id="alice"))
    target = next(node for node in cluster.masters() if node is not source)
    with source.client() as one, target.client() as other:
        ids = [client.execute_command("CLUSTER", "MYID") for client in (one, other)]
        other.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        one.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        assert store.update(key, a_record(b"two", user_id="alice"), version=stored.version)
        one.execute_command("MIGRATE", "127.0.0.1", target.port, f"{store._prefix.decode()}{key}", 0, 60_000)

        stored = loaded(store, key)
        assert stored.value == b"two"
        assert store.update(key, a_record(b"three", user_id="alice"), version=stored.version)
        assert listed(store, "alice") == [key]
        for client in (other, one):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
    stored = loaded(store, key)
    assert stored.value == b"three"
    assert store.update(key, a_record(b"four", user_id="alice"), version=stored.version)
    assert listed(store, "alice") == list(store.keys()) == [key]
    assert store.delete(key)


def in_an_empty_slot(store: RedisStore, cluster: RedisCluster) -> tuple[str, int, RedisServer]:
    """Return a key for a slot in which nothing is, that slot, and the master that has it: only such a slot can be moved."""
    while True:
        key = a_key()
        slot = slot_of(store._prefix + key.encode())
        (master,) = [node for node in cluster.masters() if node_has(node, slot)]
        with master.client() as client:
            if client.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) == 0:
                return key, slot, master


def node_has(node: RedisServer, slot: int) -> bool:
    with node.client() as client:
        nodes = client.execute_command("CLUSTER", "NODES").decode()
    (mine,) = [line for line in nodes.splitlines() if "myself" in line]
    return any(first <= slot <= last for first, last in (_range(text) for text in mine.split(" ")[8:]))


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def test_a_node_that_is_away_is_no_obstacle_to_the_others(cluster: RedisCluster) -> None:
    """F-N3: sessions that another master has are served, also by a store that asks the silent node first of all."""
    silent = next(node for node in cluster.nodes[:3] if role(node) == "master")
    others = [f"127.0.0.1:{node.port}" for node in cluster.nodes if node is not silent]
    store = RedisStore(f"redis+cluster://127.0.0.1:{silent.port},{','.join(others)}", prefix=f"{a_key()}:")
    silent.pause()
    try:
        with Stopwatch() as watch:
            served = 0
            for number in range(300):
                with suppress(StoreUnavailable):
                    store.load(a_key())
                    served += 1
                if number >= 30 and served >= 5:
                    break
        assert served >= 5
        assert watch.least < 3
    finally:
        silent.resume()
        cluster.restore()


def test_a_sentinel_that_is_away_is_no_obstacle(sentinels: RedisSentinels) -> None:
    """F-N2, F-N3: silent or gone, the next one is asked, within the budget of one verb."""
    store = store_on(sentinels.url, 0)
    sentinels.sentinels[0].pause()
    sentinels.sentinels[1].kill()
    try:
        assert store.create(a_key(), a_record())
    finally:
        sentinels.sentinels[0].resume()
        sentinels.sentinels[1].start()
        sentinels.restore()


@pytest.mark.soak
def test_a_master_that_became_a_replica_is_left(sentinels: RedisSentinels) -> None:
    """F-N6: a planned failover kills nobody: who is a replica now answers no read with what was, and takes no write."""
    store = store_on(sentinels.url, 0)
    key = a_key()
    created(store, key)
    before = sentinels.primary()
    with sentinels.sentinels[0].client() as client:
        client.execute_command("SENTINEL", "FAILOVER", sentinels.service)
    (after,) = [server for server in sentinels.servers if server is not before]
    until(lambda: (role(before), role(after)) == ("slave", "master"), "nobody has taken over")

    def writes() -> bool:
        with suppress(StoreUnavailable):
            return store.update(key, a_record(b"new", user_id="alice"), version=loaded(store, key).version)
        return False

    with Stopwatch() as watch:
        until(writes, "it does not come back")
    assert watch.least < 10
    with after.client() as client:
        assert client.get(f"{store._prefix.decode()}{key}").endswith(b"new")
    assert listed(store, "alice") == [key]
    sentinels.restore()


def test_a_replica_takes_no_writes() -> None:
    """F-N6: whose URL names a replica is told so; when it is promoted all is well."""
    with RedisServer() as primary, RedisServer() as replica:
        replica.follow(primary)
        store = store_on(replica.url, 0, timeout=PATIENCE)
        with pytest.raises(StoreUnavailable, match="READONLY"):
            store.create(a_key(), a_record())
        with replica.client() as client:
            client.replicaof("NO", "ONE")

        assert store.create(key := a_key(), a_record(user_id="alice"))
        assert listed(store, "alice") == [key]


def test_no_sentinel_is_there_or_knows_the_service(sentinels: RedisSentinels) -> None:
    """F-N7: both are told apart, and no secret is told."""
    places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels.sentinels)
    for url, message in (
        (f"redis+sentinel://:s5word@{places}/nobody/0", "nobody, by the sentinels .*no sentinel says which"),
        ("redis+sentinel://:s5word@127.0.0.1:1,127.0.0.1:2/sessions", "[Rr]efused"),
        ("redis+cluster://:s5word@127.0.0.1:1,127.0.0.1:2", "no node says which serves what: .*[Rr]efused"),
    ):
        with pytest.raises(StoreUnavailable, match=message) as caught:
            RedisStore(url, timeout=PATIENCE).load(a_key())
        assert "s5word" not in str(caught.value)


@pytest.mark.soak
@pytest.mark.parametrize("wait_replicas", [0, 1])
def test_ten_failovers_by_sentinels(sentinels: RedisSentinels, wait_replicas: int) -> None:
    """F-N6: back within 2 s of the promotion; what is lost without waiting for replicas is counted, and printed."""
    fail_over_by_sentinels(store_on(sentinels.url, wait_replicas), sentinels, 10).assert_good(wait_replicas)


@pytest.mark.soak
@pytest.mark.parametrize("wait_replicas", [0, 1])
def test_ten_failovers_in_a_cluster(cluster: RedisCluster, wait_replicas: int) -> None:
    """F-N6: back within 2 s of the promotion; what is lost without waiting for replicas is counted, and printed."""
    fail_over_in_cluster(store_on(cluster.url, wait_replicas), cluster, 10).assert_good(wait_replicas)
