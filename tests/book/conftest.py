"""Where the blocks of the book run."""

import gc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.book.pages import Block, every_block

STORES = "session_middleware.stores."


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty directory to work in; the stores that a block has opened are closed."""
    monkeypatch.chdir(tmp_path)
    before = {id(store) for store in _stores()}
    yield
    for store in _stores():
        if id(store) not in before:
            # A store in memory has nothing to close, and one whose options were refused is not whole.
            with suppress(AttributeError):
                store.close()
    gc.collect()


def _stores() -> list[Any]:
    """All that are open in this process."""
    return [
        thing
        for thing in gc.get_objects()
        if str(type(thing).__module__).startswith(STORES) and type(thing).__name__.endswith("Store")
    ]


@pytest.fixture
def claimed(request: pytest.FixtureRequest) -> list[Block]:
    """The blocks that name this test as the one that runs them, page by page."""
    name = request.node.originalname
    return [block for block in every_block() if name in block.tested_by]
