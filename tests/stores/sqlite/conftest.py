"""A file with sessions, for the tests that damage or replace it."""

from pathlib import Path

import pytest

from session_middleware import Record, SQLiteStore
from tests.stores.sqlite.files import KEYS, value_of

FAR = 2**40


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of some pages, all in one file."""
    path = tmp_path_factory.mktemp("good") / "good.sqlite3"
    store = SQLiteStore(path)
    for number, key in enumerate(KEYS):
        assert store.create(key, Record(value_of(key), FAR, f"user {number % 3}"))
    store.close()
    return path
