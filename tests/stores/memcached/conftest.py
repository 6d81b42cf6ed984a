"""What the tests of MemcachedStore share: servers, and stores on them."""

from collections.abc import Iterator

import pytest

from session_middleware.stores.memcached import MemcachedStore
from session_middleware.testing import a_key
from tests.backends.memcached import Memcached
from tests.backends.proxy import FaultProxy
from tests.stores.memcached.opening import open_at
from tests.stores.memcached.verbs import through


@pytest.fixture(scope="package")
def server() -> Iterator[Memcached]:
    with Memcached() as server:
        yield server


@pytest.fixture(scope="package")
def other_server() -> Iterator[Memcached]:
    with Memcached() as server:
        yield server


@pytest.fixture
def memcached(server: Memcached) -> Iterator[MemcachedStore]:
    store = open_at(server)
    yield store
    store.close()


@pytest.fixture
def own_server() -> Iterator[Memcached]:
    """A server that the test may stop."""
    with Memcached() as server:
        yield server


@pytest.fixture
def proxy(server: Memcached) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def direct(server: Memcached) -> Iterator[MemcachedStore]:
    """A store that no fault is in the way of."""
    store = open_at(server)
    yield store
    store.close()


@pytest.fixture
def store(proxy: FaultProxy) -> Iterator[MemcachedStore]:
    """A store behind the proxy, with a connection, that lets every verb try."""
    store = through(proxy)
    store.load(a_key())
    yield store
    store.close()
