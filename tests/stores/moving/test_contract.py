"""A store that moves keeps the contract of all stores, wherever the records are."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from session_middleware import MemoryStore, SQLiteStore, Store
from session_middleware.moving import MovingStore
from session_middleware.stores.redis import RedisStore
from session_middleware.testing import ScannableContract, StoreContract, SweepableContract, UserIndexContract
from tests.backends.redis import RedisServer
from tests.backends.running import PATIENCE
from tests.stores.moving.stores import BegunBefore, Mixed

Made = Callable[[Store, Store], Store]


def reading_both(new: Store, old: Store) -> Store:
    return MovingStore(new, old, hand_over=False)


@pytest.fixture(params=[MovingStore, reading_both, BegunBefore, Mixed], ids=lambda made: made.__name__)
def made(request: pytest.FixtureRequest) -> Made:
    found: Made = request.param
    return found


class TestInMemory(StoreContract, SweepableContract, UserIndexContract, ScannableContract):
    @pytest.fixture
    def store(self, made: Made) -> Store:
        return made(MemoryStore(), MemoryStore())


class TestFromSQLiteToRedis(StoreContract, UserIndexContract, ScannableContract):
    @pytest.fixture(params=[BegunBefore, Mixed], ids=lambda made: made.__name__)
    def made(self, request: pytest.FixtureRequest) -> Made:
        found: Made = request.param
        return found

    @pytest.fixture
    def store(self, made: Made, path: Path, server: RedisServer, prefix: str) -> Iterator[Store]:
        new, old = RedisStore(server.url, prefix=prefix, timeout=PATIENCE), SQLiteStore(path, timeout=PATIENCE)
        yield made(new, old)
        new.close()
        old.close()
