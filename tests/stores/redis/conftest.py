"""What the tests of RedisStore share: a server, and stores on it."""

from collections.abc import Iterator
from typing import Any

import pytest

from session_middleware.stores.redis import RedisStore
from session_middleware.testing import a_key
from tests.backends.proxy import FaultProxy
from tests.backends.redis import RedisServer, SecretRedisServer
from tests.backends.running import PATIENCE


@pytest.fixture(scope="package")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="package")
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
    store = RedisStore(server.url, prefix=prefix, timeout=PATIENCE)
    yield store
    store.close()


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def budget() -> float:
    """The time for a verb: enough on the busiest machine, for those who do not measure it."""
    return PATIENCE


@pytest.fixture
def store(proxy: FaultProxy, prefix: str, budget: float) -> Iterator[RedisStore]:
    """A store that the proxy stands in front of."""
    store = RedisStore(f"redis://127.0.0.1:{proxy.port}", prefix=prefix, timeout=budget)
    yield store
    store.close()


@pytest.fixture
def direct(server: RedisServer, prefix: str) -> Iterator[RedisStore]:
    """A store on the same sessions, past the proxy."""
    store = RedisStore(server.url, prefix=prefix, timeout=PATIENCE)
    yield store
    store.close()
