"""What Redis tells of itself, and what is found about it."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from session_middleware import Health, StoreUnavailable
from session_middleware.health import health_of
from session_middleware.stores.redis import RedisStore
from session_middleware.testing import a_record, created
from tests.backends.redis import RedisSentinels, RedisServer, SecretRedisServer
from tests.backends.running import PATIENCE

PASSWORD = "secret-of-both"
"""That of the servers of the fixture ``sentinels``."""


@pytest.fixture
def limited(raw: Any) -> Iterator[Any]:
    """A client of a server with a bound to its memory."""
    raw.config_set("maxmemory", str(10**9))
    yield raw
    raw.config_set("maxmemory-policy", "noeviction")
    raw.config_set("maxmemory", "0")


def test_room_is_what_maxmemory_leaves(limited: Any, redis_store: RedisStore) -> None:
    """Without it there is no bound that Redis knows of."""
    health = redis_store.health()
    assert health.space == 10**9
    assert health.free_space is not None
    assert 0 < health.free_space < 10**9

    limited.config_set("maxmemory", "0")
    assert (redis_store.health().space, redis_store.health().free_space) == (None, None)


def test_a_policy_that_drops_sessions_is_found(limited: Any, redis_store: RedisStore) -> None:
    """And what to set instead."""
    limited.config_set("maxmemory-policy", "allkeys-lru")
    (finding,) = health_of(redis_store).findings

    assert (finding.severity, finding.name) == ("warning", "evicts")
    assert "noeviction" in finding.to_do


def test_records_are_counted(redis_store: RedisStore) -> None:
    """All of the database."""
    before = redis_store.health().records
    created(redis_store, "A" * 12, a_record(user_id="alice"))

    assert before is not None
    assert redis_store.health().records == before + 2  # with the index


def test_a_user_who_may_not_ask_is_told_what_there_is(server: RedisServer, raw: Any) -> None:
    """That it answers."""
    raw.execute_command("ACL", "SETUSER", "asker", "reset", "on", ">s5word", "~session:*", "+get")
    with closing(RedisStore(f"redis://asker:s5word@127.0.0.1:{server.port}/0", timeout=PATIENCE)) as store:
        assert store.health() == Health("Redis")
        assert health_of(store).ok


def test_a_replica_is_found(sentinels: RedisSentinels) -> None:
    """Its address was written in place of the master's."""
    primary = sentinels.primary()
    replica = next(server for server in sentinels.servers if server is not primary)
    with closing(RedisStore(f"redis://:{PASSWORD}@127.0.0.1:{replica.port}", timeout=PATIENCE)) as store:
        health = health_of(store)

    assert health.role == "slave"
    assert [finding.name for finding in health.findings if finding.severity == "error"] == ["replica"]


def test_encryption_is_told(secret_server: SecretRedisServer, server: RedisServer) -> None:
    """Of what leaves this machine, or is encrypted all the same."""
    with closing(RedisStore(secret_server.url, timeout=PATIENCE)) as store:
        assert store.health().tls is True
    with closing(RedisStore(f"unix://{server.socket}", timeout=PATIENCE)) as store:
        assert store.health().tls is None
    elsewhere = RedisStore(redis.Redis(host="redis.example.com"))
    assert elsewhere._servers.tls is False
    behind = RedisStore("redis+sentinel://sentinel.example.com/mymaster")
    assert behind._servers.tls is False
    assert RedisStore("rediss+sentinel://sentinel.example.com/mymaster")._servers.tls is True


def test_a_server_that_is_away_is_asked_in_vain() -> None:
    """As with every verb."""
    with pytest.raises(StoreUnavailable):
        RedisStore("redis://127.0.0.1:1/0").health()
