"""MemcachedStore keeps the contract of all stores, on one server and on several."""

from collections.abc import Iterator

import pytest

from session_middleware.stores.memcached import MemcachedStore
from session_middleware.testing import CheckableContract, StoreContract
from tests.backends.memcached import MAX_ITEM_SIZE, Memcached
from tests.backends.running import PATIENCE
from tests.backends.twemproxy import Twemproxy
from tests.stores.memcached.opening import open_at


@pytest.fixture(scope="module")
def unix_server() -> Iterator[Memcached]:
    with Memcached(unix=True) as server:
        yield server


@pytest.fixture(scope="module")
def twemproxy(server: Memcached, other_server: Memcached) -> Iterator[Twemproxy]:
    with Twemproxy(server, other_server) as proxy:
        yield proxy


class TestMemcachedStore(StoreContract, CheckableContract):
    @pytest.fixture
    def store(self, memcached: MemcachedStore) -> MemcachedStore:
        return memcached


class TestMemcachedStoreOnTwoServers(StoreContract, CheckableContract):
    @pytest.fixture
    def store(self, server: Memcached, other_server: Memcached) -> Iterator[MemcachedStore]:
        store = open_at(server, other_server)
        yield store
        store.close()


class TestMemcachedStoreOnAUnixSocket(StoreContract, CheckableContract):
    @pytest.fixture
    def store(self, unix_server: Memcached) -> Iterator[MemcachedStore]:
        store = open_at(unix_server)
        yield store
        store.close()


class TestMemcachedStoreByTwemproxy(StoreContract, CheckableContract):
    """A proxy that speaks the old text protocol alone, and closes the connection at anything else."""

    @pytest.fixture
    def store(self, twemproxy: Twemproxy) -> Iterator[MemcachedStore]:
        store = MemcachedStore(twemproxy.address, max_item_size=MAX_ITEM_SIZE, timeout=PATIENCE)
        yield store
        store.close()
