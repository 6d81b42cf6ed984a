"""The pages about sessions in memory and in a SQLite file."""

import inspect
import logging
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from session_middleware import ConfigurationError, MemoryStore, SessionManager, SessionMiddleware, SQLiteStore
from session_middleware.stores import memory, sqlite
from session_middleware.stores.sqlite import connections
from session_middleware.testing import a_key, a_record, created, filled
from tests.book.pages import Block, Page

MEMORY, SQLITE = Page("how-to/memory"), Page("how-to/sqlite")


@pytest.mark.parametrize("page", [MEMORY, SQLITE], ids=["memory", "sqlite"])
def test_the_site_of_the_page_counts_visits(page: Page) -> None:
    """As it stands."""
    browser = TestApp(page.run()["application"])

    assert [browser.get("/").text for _ in range(2)] == ["visit number 1\n", "visit number 2\n"]


@pytest.mark.parametrize(("page", "store"), [(MEMORY, MemoryStore), (SQLITE, SQLiteStore)], ids=["memory", "sqlite"])
def test_every_option_is_in_the_table_with_its_default(page: Page, store: type) -> None:
    """No option is missing, and none is made up."""
    written = {100_000: "100,000", 256 * 1024 * 1024: "256 MiB", 1.0: "1 s"}
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", page.text, re.MULTILINE)
    options = [option for option in inspect.signature(store).parameters.values() if option.kind is option.KEYWORD_ONLY]

    assert {name: default.strip('`"') for name, default in rows} == {
        option.name: written.get(option.default, str(option.default)) if option.default is not False else "False"
        for option in options
    }


def test_the_url_of_each_page_is_the_same_store() -> None:
    """Options in a query."""
    (memory_url,) = re.findall(r"`(memory:\?\S+)`", MEMORY.text)
    (sqlite_url,) = re.findall(r"`(sqlite:///shop\S+)`", SQLITE.text)
    store: Any = SessionManager(memory_url).store
    assert store._max_entries == 10_000
    file: Any = SessionManager(sqlite_url).store

    assert file.path == Path("shop.sqlite3").absolute()
    assert file._connections._synchronous == "full"


def test_the_numbers_are_those_of_the_code() -> None:
    """How much a session takes in memory, how long the log is kept, and when connections are closed."""
    assert (memory._OVERHEAD, memory._LOG_INTERVAL) == (500, 60)
    assert connections._WAL_KEPT == 4 * 1024 * 1024
    assert (connections._REST, connections._LOOK_EVERY) == (60, 1)
    assert sqlite._WAL_RESET_FIXED == (3, 51, 3)


def test_memory_warns_of_several_processes_once(caplog: pytest.LogCaptureFixture) -> None:
    """If the server says that there are any."""
    browser = TestApp(MEMORY.run()["application"], extra_environ={"wsgi.multiprocess": "1"})
    browser.get("/")
    browser.get("/")

    assert [record.levelname for record in caplog.records if "process" in record.getMessage()] == ["WARNING"]


def test_memory_drops_anonymous_sessions_first(caplog: pytest.LogCaptureFixture) -> None:
    """Those that were used longest ago, and says so."""
    store = MemoryStore(max_entries=3)
    store.create(signed_in := a_key(), a_record(user_id="alice"))
    store.create(first := a_key(), a_record())
    store.create(second := a_key(), a_record())
    store.load(first)
    store.create(third := a_key(), a_record())

    assert [store.load(key) is not None for key in (signed_in, first, second, third)] == [True, True, False, True]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_session_that_never_fits_into_memory_does_not_start() -> None:
    """The middleware's limit is over that of the store."""
    with pytest.raises(ConfigurationError, match="keeps none that is so long"):
        SessionMiddleware(MEMORY.run()["app"], MemoryStore(max_bytes=100_000))


def test_the_version_of_sqlite_is_told(claimed: list[Block]) -> None:
    """That of this Python."""
    (block,) = claimed

    assert block.shell() == f"{sqlite3.sqlite_version}\n"


@pytest.fixture
def site() -> SQLiteStore:
    return SQLiteStore("sessions.sqlite3")


def test_sessions_are_counted_while_the_site_runs(claimed: list[Block], site: SQLiteStore) -> None:
    """All, and those of users."""
    (block,) = claimed
    filled(site, 3)
    created(site, a_key(), a_record(user_id="alice"))

    assert block.shell() == "4 1\n"


def test_a_backup_holds_what_the_site_had_stored(claimed: list[Block], site: SQLiteStore) -> None:
    """As the lines stand: while the site runs; what has come since is gone. The file is closed to others."""
    backup, restore = claimed
    before = created(site, key := a_key())
    for other in filled(site, 300):
        site.delete(other)
    backup.shell()
    assert (
        Path("backup.sqlite3").stat().st_size
        < Path("sessions.sqlite3").stat().st_size + Path("sessions.sqlite3-wal").stat().st_size
    )
    assert Path("backup.sqlite3").stat().st_mode & 0o777 == 0o600
    created(site, later := a_key())
    site.close()
    restore.shell()
    restored = SQLiteStore("sessions.sqlite3")

    assert restored.load(key) == before
    assert restored.load(later) is None
    assert not Path("backup.sqlite3").exists()


def test_after_a_restore_all_sessions_can_be_ended(
    claimed: list[Block], site: SQLiteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anonymous ones, too."""
    (block,) = claimed
    manager = SessionManager(site)
    for user in (None, "alice"):
        session = manager.open()
        session["cart"] = []
        if user:
            session.login(user)
        manager.commit(session)
    block.execute({})

    assert capsys.readouterr().out == "2 sessions ended\n"
    assert list(site.keys()) == []


def test_a_dump_is_taken(claimed: list[Block], site: SQLiteStore) -> None:
    """With all that was in the file."""
    (block,) = claimed
    before = created(site, key := a_key())
    block.shell()

    assert SQLiteStore("fresh.sqlite3").load(key) == before


def test_room_is_used_again(site: SQLiteStore) -> None:
    """The file does not grow by sessions that take the place of others."""
    sizes = []
    for _ in range(3):
        for key in filled(site, 200):
            site.delete(key)
        site.close()
        sizes.append(Path("sessions.sqlite3").stat().st_size)

    assert sizes[1] == sizes[2]


def test_a_url_and_a_store_are_the_same_file() -> None:
    """A visitor of one is known to the other."""
    page = Page("how-to/choosing-a-store").run()
    browser = TestApp(page["application"])
    assert browser.get("/").text == "visit number 1\n"
    browser.app = page["the_same"]

    assert browser.get("/").text == "visit number 2\n"
