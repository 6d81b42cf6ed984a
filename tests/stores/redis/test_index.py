"""RedisStore's index of the sessions of a user is right whenever it is read, and costs the common update nothing."""

import gc
import time
from itertools import count
from typing import Any

import pytest

from session_middleware import Record, StoreUnavailable
from session_middleware.stores import redis as module
from session_middleware.stores.redis import RedisStore
from session_middleware.stores.redis.cluster import Cluster
from session_middleware.testing import a_key, a_record, created, filled, listed, loaded
from tests.backends.redis import RedisCluster
from tests.backends.running import PATIENCE
from tests.stores.redis.ends import HOUR, end_of


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
    store = RedisStore(cluster.url, prefix=prefix, timeout=PATIENCE)
    keys = {a_key() for _ in range(20)}
    for key in keys:
        created(store, key, a_record(user_id="alice"))
    servers = list(store._servers.servers(time.monotonic() + PATIENCE))
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
            cluster.server_of(b"key", time.monotonic() + PATIENCE)
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
