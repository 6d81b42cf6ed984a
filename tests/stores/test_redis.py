"""RedisStore: the contract, and what is particular to it as long as nothing is wrong."""

import gc
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from redis.sentinel import Sentinel

from session_middleware import ConfigurationError, Record, StoreUnavailable
from session_middleware.stores import redis as module
from session_middleware.stores.redis import RedisStore
from session_middleware.stores.redis.deployments import Cluster
from session_middleware.stores.redis.settings import _tls
from session_middleware.testing import (
    BatchedContract,
    ScannableContract,
    StoreContract,
    UserIndexContract,
    a_key,
    a_record,
    created,
    filled,
    listed,
    loaded,
    race,
)
from tests.backends.redis import RedisCluster, RedisSentinels, RedisServer, SecretRedisServer, until
from tests.stores.forked import in_child

HOUR = 3600

# A machine that is busy with other tests, too, may not keep to a second.
PATIENT = 10


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def secret_server() -> Iterator[SecretRedisServer]:
    with SecretRedisServer() as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """What keeps the keys of one test apart from those of the others."""
    return f"{a_key()}:"


@pytest.fixture
def raw(server: RedisServer) -> Iterator[Any]:
    """A client that is not ours: an eye that looks into the server."""
    with server.client() as client:
        yield client


@pytest.fixture
def redis_store(server: RedisServer, prefix: str) -> Iterator[RedisStore]:
    store = RedisStore(server.url, prefix=prefix, timeout=PATIENT)
    yield store
    store.close()


def group(sentinels: RedisSentinels) -> Any:
    """Return redis-py's client of the sentinels."""
    places = [("127.0.0.1", sentinel.port) for sentinel in sentinels.sentinels]
    return Sentinel(places, password="secret-of-both")  # type: ignore[no-untyped-call]  # redis-py's is not typed


class TestRedisStore(StoreContract, UserIndexContract, ScannableContract, BatchedContract):
    @pytest.fixture
    def store(self, redis_store: RedisStore) -> RedisStore:
        return redis_store


@pytest.mark.soak
class TestRedisStoreByUnixSocket(StoreContract):
    @pytest.fixture
    def store(self, server: RedisServer, prefix: str) -> RedisStore:
        return RedisStore(f"unix://{server.socket}?db=3", prefix=prefix, timeout=PATIENT)


@pytest.mark.soak
class TestRedisStoreByTLS(StoreContract, UserIndexContract, ScannableContract, BatchedContract):
    @pytest.fixture
    def store(self, secret_server: SecretRedisServer, prefix: str) -> Iterator[RedisStore]:
        store = RedisStore(secret_server.url, prefix=prefix, timeout=PATIENT)
        yield store
        store.close()


class TestRedisStoreInCluster(StoreContract, UserIndexContract, ScannableContract, BatchedContract):
    @pytest.fixture
    def store(self, cluster: RedisCluster, prefix: str) -> Iterator[RedisStore]:
        store = RedisStore(cluster.url, prefix=prefix, wait_replicas=1, timeout=PATIENT)
        yield store
        store.close()


class TestRedisStoreBySentinels(StoreContract, UserIndexContract, ScannableContract, BatchedContract):
    @pytest.fixture
    def store(self, sentinels: RedisSentinels, prefix: str) -> Iterator[RedisStore]:
        store = RedisStore(sentinels.url, prefix=prefix, wait_replicas=1, timeout=PATIENT)
        yield store
        store.close()


@pytest.mark.soak
class TestRedisStoreOfAClient(StoreContract, UserIndexContract, ScannableContract, BatchedContract):
    @pytest.fixture
    def store(self, server: RedisServer, prefix: str) -> Iterator[RedisStore]:
        store = RedisStore(redis.Redis(port=server.port, protocol=3, client_name="sessions"), prefix=prefix, timeout=PATIENT)
        yield store
        store.close()


# What is in the server


def test_no_key_is_without_an_end(redis_store: RedisStore, raw: Any, prefix: str) -> None:
    """Promise 13: after any verb, in any order and from many threads, every key expires by itself."""

    def live() -> None:
        for number in range(20):
            key = a_key()
            stored = created(redis_store, key, a_record(user_id="alice"))
            redis_store.update(key, a_record(user_id="bob", expires_in=HOUR + number), version=stored.version)
            redis_store.update(key, a_record(user_id="carol"), version=stored.version)
            if number % 3:
                redis_store.delete(key)
            listed(redis_store, "alice")

    race(*[live] * 4)
    names = list(raw.scan_iter(f"{prefix}*"))

    assert len(names) > 20
    assert [name for name in names if raw.ttl(name) < 0] == []


def end_of(raw: Any, name: str) -> int:
    """Return when a key ends, in seconds since the epoch. Redis 6.2 has no EXPIRETIME."""
    left = int(raw.pttl(name))
    seconds, micros = map(int, raw.time())
    assert left > 0
    return round(seconds + micros / 1e6 + left / 1000)


def test_a_session_expires_with_its_record(redis_store: RedisStore, raw: Any, prefix: str) -> None:
    """Promise 13: the expiry is set in the same step as the value, with some slack, and every write moves it."""
    key, ends = a_key(), int(time.time()) + HOUR
    version = created(redis_store, key, Record(b"", ends, None)).version
    assert 0 <= end_of(raw, prefix + key) - ends - module._GRACE <= 2

    assert redis_store.update(key, Record(b"", ends + 100, "alice"), version=version)
    assert 0 <= end_of(raw, prefix + key) - ends - 100 - module._GRACE <= 2


def test_what_has_expired_is_absent_though_redis_has_it(
    redis_store: RedisStore, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 12: for every verb, and in every list."""
    keys, now = [a_key() for _ in range(4)], time.time()
    versions = [created(redis_store, key, a_record(user_id="alice")).version for key in keys]
    monkeypatch.setattr(time, "time", lambda: now + HOUR + 1)

    assert [redis_store.load(key) for key in keys] == [None] * 4
    assert redis_store.load_many(keys) == {}
    assert listed(redis_store, "alice") == list(redis_store.keys()) == []
    assert not redis_store.update(keys[0], a_record(), version=versions[0])
    assert redis_store.delete_many(keys[:1]) == 0
    assert not redis_store.delete(keys[1])
    assert raw.exists(*[prefix + key for key in keys]) == 2
    assert redis_store.create(keys[2], a_record(b"new"))
    assert not redis_store.create(keys[2], a_record(b"newer"))
    assert loaded(redis_store, keys[2]).value == b"new"
    monkeypatch.setattr(time, "time", lambda: now)
    assert loaded(redis_store, keys[3]).value == b"value"


@pytest.mark.parametrize("behind", [2 * HOUR, -2 * HOUR])
def test_the_clock_of_redis_may_be_another(
    redis_store: RedisStore, behind: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise 12: when a session ends, our clock says, by however much that of Redis is ahead of it, or behind."""
    now, key, other = time.time() - behind, a_key(), a_key()
    monkeypatch.setattr(time, "time", lambda: now)
    for name in (key, other):
        created(redis_store, name, a_record(user_id="alice"))
    assert redis_store.update(key, a_record(b"new", user_id="alice"), version=loaded(redis_store, key).version)
    monkeypatch.setattr(time, "time", lambda: now + HOUR - 2)
    assert listed(redis_store, "alice") == sorted([key, other])
    assert loaded(redis_store, key).value == b"new"
    monkeypatch.setattr(time, "time", lambda: now + HOUR + 1)
    assert listed(redis_store, "alice") == []


def test_an_end_beyond_all_ends_is_far_away(redis_store: RedisStore) -> None:
    """Promise 10: it comes from a damaged record, and is no exception."""
    key = a_key()
    for user in (None, "alice"):
        record = Record(b"value", 2**60, user)
        assert redis_store.update(key, record, version=created(redis_store, key).version)
        assert loaded(redis_store, key).value == b"value"
        assert redis_store.delete(key)


def test_a_session_that_is_gone_at_once_is_told_of_once(
    redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """F-C10: written by a host whose clock is behind ours by more than it lives; by how much, and which clocks."""
    now, keys = time.time(), [a_key() for _ in range(3)]
    monkeypatch.setattr(time, "time", lambda: now - 2 * HOUR)
    for key in keys:
        created(redis_store, key)
    monkeypatch.setattr(time, "time", lambda: now)

    assert [redis_store.load(key) for key in keys] == [None] * 3
    (line,) = [record.getMessage() for record in caplog.records if "clock" in record.message]
    assert re.search(rf"^session {keys[0]} has ended by the clock of this host \(20\d\d-.*\+00:00\)", line)
    assert re.search(r"host that wrote it has (3600|359\d) s to live: .* differ by (7200|719\d|720\d) s", line)


def test_a_session_that_ended_in_its_time_is_not_told_of(
    redis_store: RedisStore, raw: Any, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Clocks that agree to some seconds are none of anybody's business; nor is a user of Redis who may not ask."""
    key = a_key()
    redis_store.create(key, Record(b"", math.ceil(time.time() + 0.1), None))
    until(lambda: redis_store.load(key) is None, "it has not ended")
    raw.pexpire(prefix + key, 1000 * (module._GRACE + 3))
    assert redis_store.load(key) is None

    assert [record for record in caplog.records if "clock" in record.getMessage()] == []


def test_a_small_session_takes_few_bytes(server: RedisServer, raw: Any) -> None:
    """110 bytes, which is more than ``{"uid": 1}`` with its envelope, take at most 200, all that Redis adds included."""
    store, key = RedisStore(server.url), a_key()
    created(store, key, a_record(bytes(110)))

    assert raw.memory_usage(f"session:{key}") <= 200
    store.close()


def calls(raw: Any, work: Callable[[], object]) -> dict[str, int]:
    """Return how often the server ran each command while *work* was done; a command of a script counts, too."""
    raw.config_resetstat()
    work()
    found = raw.info("commandstats")
    ours = {name.removeprefix("cmdstat_").partition("|")[0]: int(counts["calls"]) for name, counts in found.items()}
    return {name: count for name, count in ours.items() if name not in ("config", "info", "client", "select", "ping")}


def test_a_verb_is_one_command(redis_store: RedisStore, raw: Any) -> None:
    """One atomic operation each, and no other command around it."""
    key = a_key()
    version = created(redis_store, key).version
    redis_store.update(key, a_record(), version=version)
    version = loaded(redis_store, key).version

    assert calls(raw, lambda: redis_store.create(a_key(), a_record())) == {"set": 1}
    assert calls(raw, lambda: redis_store.load(key)) == {"get": 1}
    assert calls(raw, lambda: redis_store.update(key, a_record(), version=version)) == {
        "evalsha": 1,
        "getrange": 1,
        "set": 1,
    }
    version = loaded(redis_store, key).version
    redis_store.update(key, Record(b"", 0, None), version=b"another ")
    assert calls(raw, lambda: redis_store.update(key, Record(b"", 0, None), version=version)) == {
        "evalsha": 1,
        "getrange": 1,
        "del": 1,
    }
    redis_store.delete(a_key())
    assert calls(raw, lambda: redis_store.delete(key)) == {"evalsha": 1, "getrange": 1, "del": 1}


def test_a_common_update_leaves_the_index_alone(
    redis_store: RedisStore, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written when someone signs in, and then once in minutes of use."""
    now, key = time.time(), a_key()
    stored = created(redis_store, key, a_record(user_id="alice"))
    index = f"{prefix}user:alice"
    for number in range(5):
        before = raw.zscore(index, key)
        assert redis_store.update(key, a_record(user_id="alice", expires_in=HOUR + 60 * number), version=stored.version)
        assert raw.zscore(index, key) == before
        stored = loaded(redis_store, key)
    assert raw.ttl(index) >= HOUR + 300

    monkeypatch.setattr(time, "time", lambda: now + 400)
    assert redis_store.update(key, a_record(user_id="alice"), version=stored.version)
    assert raw.zscore(index, key) > before + 300
    assert raw.ttl(index) >= HOUR + 300


def test_an_index_outlives_the_sessions_in_it(redis_store: RedisStore, raw: Any, prefix: str) -> None:
    """A short session that comes after a long one does not take the index away from it; both orders."""
    for user, lives in (("alice", (HOUR, 60)), ("bob", (60, HOUR))):
        for life in lives:
            redis_store.create(a_key(), a_record(user_id=user, expires_in=life))

        assert end_of(raw, f"{prefix}user:{user}") >= time.time() + HOUR
        assert len(listed(redis_store, user)) == 2


def test_a_shorter_life_does_not_shorten_the_entry(redis_store: RedisStore, raw: Any, prefix: str) -> None:
    """An update that is refused afterwards must not have taken the session from the index."""
    key = a_key()
    version = created(redis_store, key, a_record(user_id="alice")).version
    assert redis_store.update(key, a_record(user_id="alice"), version=version)
    score = raw.zscore(f"{prefix}user:alice", key)
    assert not redis_store.update(key, a_record(user_id="alice", expires_in=5), version=bytes(8))

    assert int(raw.zscore(f"{prefix}user:alice", key)) == int(score)


def test_what_is_gone_leaves_the_index_when_it_is_seen(
    redis_store: RedisStore, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 13: but not in the first minutes, when its record may be on its way; nor is what lives or came anew."""
    live, deleted, moved, on_its_way = (a_key() for _ in range(4))
    for key in (live, deleted, moved):
        created(redis_store, key, a_record(user_id="alice"))
    redis_store.delete(deleted)
    redis_store.update(moved, a_record(user_id="bob"), version=loaded(redis_store, moved).version)
    index, now = f"{prefix}user:alice", time.time()

    assert listed(redis_store, "alice") == [live]
    assert raw.zcard(index) == 3
    monkeypatch.setattr(time, "time", lambda: now + 310)
    redis_store.create(on_its_way, a_record(user_id="alice"))
    raw.delete(f"{prefix}{on_its_way}")
    assert listed(redis_store, "alice") == [live]
    assert {name.decode() for name in raw.zrange(index, 0, -1)} == {live, on_its_way}


def test_an_entry_that_came_anew_is_not_dropped(
    redis_store: RedisStore, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry is dropped as it was when its session was looked for, not as it has become since."""
    key, now = a_key(), time.time()
    created(redis_store, key, a_record(user_id="alice"))
    redis_store.delete(key)
    monkeypatch.setattr(time, "time", lambda: now + 310)
    ask_each = redis_store._servers.ask_each

    def meanwhile(*arguments: Any) -> Any:
        found = ask_each(*arguments)
        assert redis_store.create(key, a_record(user_id="alice"))
        return found

    monkeypatch.setattr(redis_store._servers, "ask_each", meanwhile)
    assert listed(redis_store, "alice") == []
    monkeypatch.undo()
    assert listed(redis_store, "alice") == [key]


def test_an_entry_never_goes_back(redis_store: RedisStore, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 19: a list goes through the index by score, and would pass over what came to stand where it has been."""
    key, index = a_key(), f"{prefix}user:alice"
    period = module._PERIOD * (int(time.time()) // module._PERIOD + 1)
    scores = list[float]()
    created(redis_store, key, Record(b"", period + HOUR, None))
    # By clocks that differ, and over the end of a period.
    for now in (period - 1.0, period - 1.5, period + 2.0, period - 0.5):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        for user in ("alice", "bob"):
            version = loaded(redis_store, key).version
            assert redis_store.update(key, Record(b"", period + HOUR, user), version=version)
        scores.append(raw.zscore(index, key))

    assert scores == sorted(scores)
    assert scores[-1] < period + HOUR + 310


def test_what_has_one_score_is_listed_in_full(
    redis_store: RedisStore, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 19: more than a page of sessions that began at the same moment, between others."""
    now, keys = time.time(), list[str]()
    for moment, many in ((now, 400), (now + 1, 1300), (now + 2, 400)):
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        keys += filled(redis_store, many, user_id="alice")

    assert len({score for _, score in raw.zrange(f"{prefix}user:alice", 0, -1, withscores=True)}) <= 6
    assert listed(redis_store, "alice") == sorted(keys)


def test_listing_finds_out_that_servers_are_back(cluster: RedisCluster, prefix: str) -> None:
    """F-N1: each that failed is asked once whether it is time to try again, however many of the records it has."""
    store = RedisStore(cluster.url, prefix=prefix, timeout=PATIENT)
    keys = {a_key() for _ in range(20)}
    for key in keys:
        created(store, key, a_record(user_id="alice"))
    servers = list(store._servers.servers(time.monotonic() + PATIENT))
    for server in servers:
        server.breaker.failed()
        server.breaker._next_try = 0.0

    assert {*store.keys_of("alice")} == keys
    assert [server.breaker.is_open for server in servers] == [False] * 3
    store.close()


def test_a_node_may_appear_while_the_others_are_asked() -> None:
    """F-N3: one thread learns of a node at the worst moment of another: a collection in the middle of that one's step."""
    cluster = RedisStore("redis+cluster://127.0.0.1:1,127.0.0.1:2")._servers
    assert isinstance(cluster, Cluster)
    ports, taken = count(3), []

    def learn(phase: str, _info: object) -> None:
        if phase == "start" and len(cluster._nodes) < 100:
            cluster._node("127.0.0.1", next(ports))

    before = gc.get_threshold()
    gc.callbacks.append(learn)
    try:
        # Python has pairs in reserve, and only a new one may lead to a collection.
        taken += [(number, number) for number in range(10_000)]
        gc.set_threshold(1, 100_000)
        with pytest.raises(StoreUnavailable, match="no node says which serves what"):
            cluster.server_of(b"key", time.monotonic() + PATIENT)
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(learn)
    assert next(ports) > 3


def test_what_has_expired_leaves_the_index(
    redis_store: RedisStore, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 13: a user who signs in again and again has an index of the sessions that may live, not of all there were."""
    now = time.time()
    for number in range(50):
        monkeypatch.setattr(time, "time", lambda number=number: now + 100 * number)
        redis_store.create(a_key(), a_record(user_id="alice", expires_in=100))

    assert raw.zcard(f"{prefix}user:alice") <= 10


def test_what_has_expired_leaves_the_index_some_at_a_time(redis_store: RedisStore, raw: Any, prefix: str) -> None:
    """Promise 13: nobody waits until all sessions of somebody with very many are gone; but they go sooner than they come."""
    index = f"{prefix}user:alice"
    raw.zadd(index, {a_key(): 1000 + number for number in range(120)})
    left = []
    for _ in range(4):
        redis_store.create(a_key(), a_record(user_id="alice"))
        left.append(raw.zcard(index))

    assert left == [71, 22, 3, 4]


def test_an_index_that_was_lost_comes_back_with_use(
    redis_store: RedisStore, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit, and its end: eviction or a failover may take an index; the sessions in it are entered again as they go on."""
    key, now = a_key(), time.time()
    version = created(redis_store, key, a_record(user_id="alice")).version
    raw.delete(f"{prefix}user:alice")
    assert listed(redis_store, "alice") == []

    monkeypatch.setattr(time, "time", lambda: now + 400)
    assert redis_store.update(key, a_record(user_id="alice"), version=version)
    assert listed(redis_store, "alice") == [key]


def test_what_others_wrote_is_no_session(redis_store: RedisStore, raw: Any, prefix: str) -> None:
    """Promise 10: damaged or foreign, it is the empty value, which is no record of anybody; never an error."""
    strange: list[Callable[[str], object]] = [
        lambda name: raw.set(name, b"short"),
        lambda name: raw.set(name, bytes(8) + b"\xff"),
        lambda name: raw.rpush(name, "a list"),
    ]
    for write in strange:
        key = a_key()
        write(prefix + key)
        assert loaded(redis_store, key).value == redis_store.load_many([key])[key].value == b""
        assert redis_store.delete(key)

    key = a_key()
    raw.set(prefix + key, b"short")
    version = loaded(redis_store, key).version
    assert redis_store.update(key, Record(b"", 0, None), version=version)
    assert redis_store.load(key) is None


def test_what_others_wrote_is_in_nobodys_list(redis_store: RedisStore, raw: Any, prefix: str) -> None:
    """Promise 10: also where a session was that is in an index."""
    key, other = a_key(), a_key()
    for name in (key, other):
        created(redis_store, name, a_record(user_id="alice"))
    raw.delete(prefix + key)
    raw.rpush(prefix + key, "a list")

    assert listed(redis_store, "alice") == [other]
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        redis_store.update(key, a_record(), version=loaded(redis_store, key).version)
    raw.set(f"{prefix}user:bob", "no index")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        redis_store.create(a_key(), a_record(user_id="bob"))


def test_only_sessions_are_listed(redis_store: RedisStore, raw: Any, prefix: str) -> None:
    """What else is in the server, under the same prefix too, is none of ours."""
    key = a_key()
    redis_store.create(key, a_record(user_id="alice" * 9))
    for name in (f"{prefix}short", f"{prefix}{a_key()}more", f"x{prefix}{a_key()}", f"{prefix}user:{a_key()[5:]}"):
        raw.set(name, "", ex=60)

    assert list(redis_store.keys()) == [key]


def test_a_prefix_is_no_pattern(server: RedisServer, raw: Any) -> None:
    """Wildcards in it stand for themselves."""
    one, other = (RedisStore(server.url, prefix=prefix) for prefix in ("a[b]*?\\c:", "ab--c:"))
    key = a_key()
    created(one, key)
    created(other, a_key())

    assert list(one.keys()) == [key]
    assert raw.exists(f"a[b]*?\\c:{key}")


def test_two_prefixes_are_two_stores(server: RedisServer, prefix: str) -> None:
    """One server may keep the sessions of several sites."""
    one, other = RedisStore(server.url, prefix=prefix), RedisStore(server.url, prefix=f"other-{prefix}")
    key = a_key()
    created(one, key, a_record(user_id="alice"))

    assert other.load(key) is None
    assert listed(other, "alice") == []


# Connections


def test_making_a_store_connects_to_nothing() -> None:
    """No server needs to be there, and no name is looked up."""
    for url in (
        "redis://nowhere.invalid",
        "rediss://nowhere.invalid",
        "unix:///nowhere",
        "redis+sentinel://nowhere.invalid/name",
        "redis+cluster://nowhere.invalid",
    ):
        RedisStore(url).close()


def connections(raw: Any, name: str) -> int:
    return sum(client["name"] == name for client in raw.client_list())


def test_there_are_no_more_connections_than_threads_at_work(server: RedisServer, raw: Any, prefix: str) -> None:
    """One each, used again; a store that is closed has none, and opens others when it is used again."""
    name = a_key()
    store = RedisStore(redis.Redis(port=server.port, client_name=name), prefix=prefix)

    def live() -> None:
        for _ in range(50):
            created(store, a_key())

    race(*[live] * 5)
    assert 1 <= connections(raw, name) <= 5
    store.close()
    until(lambda: connections(raw, name) == 0, "connections are left", within=5)
    live()
    assert connections(raw, name) == 1
    store.close()


def test_no_connection_is_shared_with_a_fork(server: RedisServer, raw: Any, prefix: str) -> None:
    """F-P3: parent and children go on with connections of their own, and the one that was inherited stays whole."""
    name = a_key()
    store = RedisStore(redis.Redis(port=server.port, client_name=name), prefix=prefix)
    key = a_key()
    before = created(store, key)
    connection = store._servers._server.idle[-1]

    def child() -> None:
        assert loaded(store, key) == before
        assert store._servers._server.idle == [other for other in store._servers._server.idle if other.pid == os.getpid()]
        for _ in range(50):
            mine = a_key()
            assert created(store, mine, a_record(mine.encode())).value == mine.encode()
        store.close()

    assert in_child(child) == 0
    assert loaded(store, key) == before
    assert store._servers._server.idle == [connection]
    assert connections(raw, name) == 1
    store.close()


def test_parent_and_children_work_at_the_same_time(redis_store: RedisStore) -> None:
    """F-P3: every one of them on the store that was used before the fork; no answer goes to another."""
    created(redis_store, a_key())
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for _ in range(200):
                    key = a_key()
                    assert created(redis_store, key, a_record(key.encode())).value == key.encode()
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    for _ in range(200):
        key = a_key()
        assert created(redis_store, key, a_record(key.encode())).value == key.encode()
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 4


# Settings


@pytest.mark.parametrize(
    ("policy", "maxmemory", "warned"), [("allkeys-lru", "1gb", 1), ("noeviction", "1gb", 0), ("volatile-ttl", "0", 0)]
)
def test_a_server_that_drops_sessions_is_warned_of_once(
    server: RedisServer, raw: Any, caplog: pytest.LogCaptureFixture, policy: str, maxmemory: str, warned: int
) -> None:
    """F-N8: eviction is silent, so whoever has set it is told, once."""
    before = raw.config_get("maxmemory*")
    raw.config_set("maxmemory-policy", policy)
    raw.config_set("maxmemory", maxmemory)
    try:
        store = RedisStore(server.url)
        race(*[lambda: store.load(a_key())] * 4)
        store.close()
        store.load(a_key())
    finally:
        raw.config_set("maxmemory-policy", before["maxmemory-policy"])
        raw.config_set("maxmemory", before["maxmemory"])

    found = [record for record in caplog.records if "maxmemory-policy is" in record.message]
    assert len(found) == warned
    assert all(record.levelno == logging.WARNING and f":{server.port}/0" in record.message for record in found)


def test_the_options_of_a_url(server: RedisServer, raw: Any) -> None:
    """A store can be made from a line of configuration: user, password, database, prefix, time budget."""
    raw.execute_command("ACL", "SETUSER", "ann", "on", ">p@:/?#s", "~site:*", "+@all")
    url = f"redis://ann:p%40%3A%2F%3F%23s@127.0.0.1:{server.port}/5?prefix=site:&timeout=0.5&wait_replicas=0"
    store = RedisStore.from_url(url)
    key = a_key()
    created(store, key)

    with server.client(db=5) as client:
        assert client.exists(f"site:{key}")
    assert store._timeout == 0.5


REFUSED = {
    "redis://localhost/x": "the database 'x' is no number",
    "redis://localhost/0/1": "the database '0/1' is no number",
    "redis://": "name each host",
    "redis://a,b": r"takes one host; write redis\+sentinel:// or redis\+cluster://",
    "redis://localhost:port/0": "its port as a number",
    "redis://localhost#0": "redis: write .*# in a password",
    "redis://localhost?prefix=a@b": "redis: write @",
    "redis://localhost?retries=3": "has no option 'retries'",
    "redis://localhost?ssl_ca_certs=x": "has no option 'ssl_ca_certs'",
    "redis://localhost?timeout=soon": "timeout='soon': write a number",
    "redis://localhost?timeout=0": "timeout=0.0: write seconds",
    "redis://localhost?wait_replicas=-1": "wait_replicas=-1: write how many",
    "redis://localhost?wait_replicas=1.5": "wait_replicas='1.5': write a whole number",
    "redis://localhost?prefix=a{b}": "without braces",
    "redis://localhost?prefix=": "write text, such as 'session:'",
    "rediss://localhost?ssl_cert_reqs=maybe": "write required, optional or none",
    "rediss://localhost?ssl_check_hostname=maybe": "write true or false",
    "rediss://localhost?ssl_cert_reqs=none&ssl_check_hostname=true": "leave it out, or ssl_check_hostname=true",
    "unix://": "takes the path of a socket after three slashes",
    "unix://host/path": "takes the path of a socket after three slashes",
    "unix:///path?db=x": "the database 'x' is no number",
    "redis+sentinel://localhost": "name the service",
    "redis+sentinel://localhost/name/x": "the database 'x' is no number",
    "redis+cluster://localhost/3": "a cluster has no databases",
    "redis+cluster://": "name each host",
    "http://localhost": "http: is no Redis",
    "localhost": "this: is no Redis",
}


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    """Promise 15: and the error says what to write instead."""
    with pytest.raises(ConfigurationError, match=REFUSED[url]):
        RedisStore.from_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:pa/s5word@localhost",
        "redis://:pa?s5word@localhost",
        "redis://:s5word#x@localhost",
        "redis://:s5word\u2100@localhost",
        "redis+sentinel://:s5word@local:host/x",
        "redis+cluster://:s5word@[/",
        "http://:s5word@localhost",
    ],
)
def test_no_error_of_a_url_tells_the_password(url: str) -> None:
    """Promise 11: however it was mistyped."""
    with pytest.raises(ConfigurationError) as caught:
        RedisStore.from_url(url)
    assert "s5word" not in str(caught.value)


def live(store: RedisStore) -> None:
    """Use every verb once."""
    key = a_key()
    stored = created(store, key, a_record(key.encode()))
    assert stored.value == key.encode()
    assert store.update(key, a_record(b"new", user_id="alice"), version=stored.version)
    assert listed(store, "alice") == list(store.keys()) == [key]
    assert store.delete(key)
    assert store.load(key) is None


def test_a_client_lends_its_settings(
    server: RedisServer,
    secret_server: SecretRedisServer,
    sentinels: RedisSentinels,
    cluster: RedisCluster,
    prefix: str,
) -> None:
    """Addresses, credentials and TLS, whatever protocol, retries and decoding of answers it has for itself."""
    host = "127.0.0.1"
    with redis.RedisCluster(host=host, port=cluster.nodes[0].port) as of_cluster:
        for client in (
            redis.Redis(port=server.port, db=2, protocol=3, client_name="sessions"),
            redis.Redis.from_url(f"unix://{server.socket}?db=2", retry_on_timeout=True),
            redis.Redis(port=secret_server.port, ssl=True, ssl_ca_certs=os.fspath(secret_server.authority)),
            group(sentinels).master_for(sentinels.service),
            of_cluster,
        ):
            store = RedisStore(client, prefix=prefix)
            live(store)
            store.close()
            client.close()


def test_without_a_look_at_the_certificate_there_is_none_at_the_name(secret_server: SecretRedisServer, prefix: str) -> None:
    """redis-py before 6.1 would ask Python for both, which is an error with every verb."""
    store = RedisStore(f"rediss://127.0.0.1:{secret_server.port}?ssl_cert_reqs=none", prefix=prefix)
    live(store)
    store.close()
    assert _tls({"ssl_cert_reqs": "none"})["ssl_check_hostname"] is False
    assert _tls({"ssl_cert_reqs": "optional"})["ssl_check_hostname"] is True


def test_a_node_of_a_cluster_is_no_server(cluster: RedisCluster, prefix: str) -> None:
    """The URL of a single server does not do for a cluster, and the error says what to write."""
    store = RedisStore(f"redis://127.0.0.1:{cluster.nodes[0].port}", prefix=prefix)
    with pytest.raises(StoreUnavailable, match=r"write redis\+cluster://"):
        until(lambda: store.load(a_key()), "all keys are there")


def test_a_client_that_cannot_work_is_refused(sentinels: RedisSentinels, cluster: RedisCluster) -> None:
    """Promise 15: text in place of bytes, a replica, an asyncio client, no server, or something else altogether."""
    served = group(sentinels)
    text: Any = {"decode_responses": True}
    with redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port, **text) as cluster_client:
        for client in (redis.Redis(**text), served.master_for("sessions", **text), cluster_client):
            with pytest.raises(ConfigurationError, match="leave decode_responses=True out"):
                RedisStore(client)
    with pytest.raises(ConfigurationError, match="pass the client that master_for"):
        RedisStore(served.slave_for("sessions"))
    for client in (fakeredis.FakeRedis(), fakeredis.FakeStrictRedis(version=6)):
        with pytest.raises(ConfigurationError, match=r"leads to no server: write MemoryStore\(\)"):
            RedisStore(client)
    for other in (redis.asyncio.Redis(), None, Path("socket")):
        with pytest.raises(ConfigurationError, match="is no server: write a URL, such as redis://"):
            RedisStore(other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": True}, "timeout=True: write seconds"),
        ({"timeout": 61}, "timeout=61: write seconds"),
        ({"timeout": "1"}, "timeout='1': write seconds"),
        ({"wait_replicas": True}, "wait_replicas=True: write how many"),
        ({"max_connections": True}, "max_connections=True: write how many, 1 or more"),
        ({"max_connections": 0}, "max_connections=0: write how many, 1 or more"),
        ({"prefix": b"x"}, "prefix=b'x': write text"),
        ({"prefix": "a\nb"}, "write text"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    """Promise 15: and the error says what to write instead."""
    with pytest.raises(ConfigurationError, match=message):
        RedisStore("redis://localhost", **options)


def test_the_lua_is_what_the_server_is_told() -> None:
    """What is sent by its digest can be sent in full."""
    for name in (module._WRITE, module._REMOVE, module._MARK, module._MARK_AGAIN, module._DROP, module._DELETE):
        assert len(name) == 40
