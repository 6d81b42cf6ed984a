"""RedisStore keeps the contract of all stores, in every deployment."""

from collections.abc import Iterator

import pytest
import redis

from session_middleware.stores.redis import RedisStore
from session_middleware.testing import (
    BatchedContract,
    CheckableContract,
    CopyableContract,
    ScannableContract,
    StoreContract,
    UserIndexContract,
)
from tests.backends.redis import RedisCluster, RedisSentinels, RedisServer, SecretRedisServer
from tests.backends.running import PATIENCE


class TestRedisStore(
    StoreContract, UserIndexContract, ScannableContract, BatchedContract, CheckableContract, CopyableContract
):
    @pytest.fixture
    def store(self, redis_store: RedisStore) -> RedisStore:
        return redis_store


@pytest.mark.soak
class TestRedisStoreByUnixSocket(StoreContract):
    @pytest.fixture
    def store(self, server: RedisServer, prefix: str) -> RedisStore:
        return RedisStore(f"unix://{server.socket}?db=3", prefix=prefix, timeout=PATIENCE)


@pytest.mark.soak
class TestRedisStoreByTLS(StoreContract, UserIndexContract, ScannableContract, BatchedContract, CheckableContract):
    @pytest.fixture
    def store(self, secret_server: SecretRedisServer, prefix: str) -> Iterator[RedisStore]:
        store = RedisStore(secret_server.url, prefix=prefix, timeout=PATIENCE)
        yield store
        store.close()


class TestRedisStoreInCluster(
    StoreContract, UserIndexContract, ScannableContract, BatchedContract, CheckableContract, CopyableContract
):
    @pytest.fixture
    def store(self, cluster: RedisCluster, prefix: str) -> Iterator[RedisStore]:
        store = RedisStore(cluster.url, prefix=prefix, wait_replicas=1, timeout=PATIENCE)
        yield store
        store.close()


class TestRedisStoreBySentinels(StoreContract, UserIndexContract, ScannableContract, BatchedContract, CheckableContract):
    @pytest.fixture
    def store(self, sentinels: RedisSentinels, prefix: str) -> Iterator[RedisStore]:
        store = RedisStore(sentinels.url, prefix=prefix, wait_replicas=1, timeout=PATIENCE)
        yield store
        store.close()


@pytest.mark.soak
class TestRedisStoreOfAClient(StoreContract, UserIndexContract, ScannableContract, BatchedContract, CheckableContract):
    @pytest.fixture
    def store(self, server: RedisServer, prefix: str) -> Iterator[RedisStore]:
        store = RedisStore(
            redis.Redis(port=server.port, protocol=3, client_name="sessions"), prefix=prefix, timeout=PATIENCE
        )
        yield store
        store.close()
