"""SQLiteStore keeps the contract of all stores, durable or not, and in several processes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_middleware import SQLiteStore
from session_middleware.testing import (
    CheckableContract,
    CopyableContract,
    ScannableContract,
    StoreContract,
    SweepableContract,
    UserIndexContract,
)
from tests.backends.running import PATIENCE


class TestSQLiteStore(
    StoreContract, SweepableContract, UserIndexContract, ScannableContract, CheckableContract, CopyableContract
):
    @pytest.fixture
    def store(self, path: Path) -> Iterator[SQLiteStore]:
        store = SQLiteStore(path, timeout=PATIENCE)
        yield store
        store.close()


class TestDurableSQLiteStore(StoreContract):
    """With ``durability="full"``."""

    @pytest.fixture
    def store(self, path: Path) -> SQLiteStore:
        return SQLiteStore(path, durability="full", timeout=PATIENCE)


class TestSQLiteStoreInAnotherProcess(StoreContract, UserIndexContract):
    """What one store writes, another one at the same path finds: every verb goes to the next of two stores."""

    @pytest.fixture
    def store(self, path: Path) -> "Alternating":
        return Alternating(SQLiteStore(path, timeout=PATIENCE), SQLiteStore(path, timeout=PATIENCE))


class Alternating:
    """Asks two stores in turn."""

    def __init__(self, *stores: SQLiteStore) -> None:
        self._stores = stores
        self._turn = 0

    def __getattr__(self, verb: str) -> Any:
        self._turn += 1
        return getattr(self._stores[self._turn % 2], verb)

    create: Callable[..., Any]
    load: Callable[..., Any]
    update: Callable[..., Any]
    delete: Callable[..., Any]
    keys_of: Callable[..., Any]
