"""The stores and the shapes of applications that these tests go through."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from session_middleware import MemoryStore, SQLiteStore
from session_middleware.testing import FaultyStore
from tests.apps import SHAPES, Shape


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FaultyStore]:
    """A store of each kind, which notes its calls and fails when told to."""
    if request.param == "memory":
        yield FaultyStore(MemoryStore())
    else:
        sqlite = SQLiteStore(tmp_path / "sessions.sqlite3")
        yield FaultyStore(sqlite)
        sqlite.close()


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> Shape:
    return SHAPES[request.param]
