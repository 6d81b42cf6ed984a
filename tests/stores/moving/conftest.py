"""What the tests of stores that move share: a server of Redis."""

from collections.abc import Iterator

import pytest

from session_middleware.testing import a_key
from tests.backends.redis import RedisServer


@pytest.fixture(scope="package")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """What keeps the keys of one test apart from those of the others."""
    return f"{a_key()}:"
