"""The page about moving to another store: every step, and its command."""

import re
from collections.abc import Iterator
from contextlib import closing

import pytest

from session_middleware import SQLiteStore, open_store
from session_middleware.moving import MovingStore
from session_middleware.testing import a_key, a_record, created, loaded
from tests.backends.redis import RedisServer
from tests.book.pages import Block, Page
from tests.cli.running import here

PAGE = Page("how-to/moving-between-stores")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_the_steps_of_the_page_move_a_site() -> None:
    """There, and back: what the page asserts holds."""
    PAGE.run()


def test_the_urls_of_the_page_are_those_stores(claimed: list[Block]) -> None:
    """The new one first."""
    stores = [open_store(block.text.partition(" = ")[2].strip()) for block in claimed]

    assert all(isinstance(store, MovingStore) and isinstance(store.old, SQLiteStore) for store in stores)
    assert [isinstance(store, MovingStore) and store.hand_over for store in stores] == [False, True]


def test_the_command_of_the_page_copies(claimed: list[Block], server: RedisServer) -> None:
    """It prints what the page says, and the record is where it says."""
    command, printed = claimed[0].text.removeprefix("$ ").splitlines()
    _, _, source, target = re.sub("localhost:6379", f"127.0.0.1:{server.port}", command).split()
    key = a_key()
    with closing(SQLiteStore("sessions.sqlite3")) as old:
        created(old, key, a_record(b"moves"))
    done = here("copy", source, target)

    assert done.output == f"{printed}\n"
    assert loaded(open_store(target), key).value == b"moves"
