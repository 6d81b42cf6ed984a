"""What starts, and what does not: the store is tried when the middleware is made."""

import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from session_middleware import ConfigurationError, MemoryStore, SessionMiddleware, SQLiteStore, StoreUnavailable, open_store
from session_middleware.stores.base import Store
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import FaultyStore, a_key, a_record, created
from tests.apps import a_site
from tests.backends.process import free_port, until
from tests.backends.running import EVERY, SERVED, Backends
from tests.stores.conftest import Script


@pytest.fixture(autouse=True)
def _seen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "session_middleware")


def of_something_else(path: Path) -> None:
    path.touch(0o600)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE django_session (session_key PRIMARY KEY, session_data, expire_date)")
    connection.close()


def no_database(path: Path) -> None:
    path.touch(0o600)
    path.write_bytes(b"This is not a database. " * 1000)


def open_to_others(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        created(store, a_key())
    path.chmod(0o644)


def cut(path: Path) -> None:
    path.touch(0o600)
    path.write_bytes(bytes(5000))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (of_something_else, "this is a database of something else; give the sessions a file of their own"),
        (no_database, "file is not a database"),
        (open_to_others, r"is open to other users \(mode 644\): chmod 600"),
        (cut, "file is not a database, or was cut"),
    ],
)
def test_a_file_that_will_never_do_does_not_start(path: Path, spoil: Any, message: str) -> None:
    """Promise 15; without the look at it, each request that touches a session would be answered with a 503, for ever."""
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=f"{path}.*{message}"):
        SessionMiddleware(a_site, f"sqlite:///{path}")
    assert path.read_bytes() == before

    application = SessionMiddleware(a_site, f"sqlite:///{path}", check_store=False)
    assert TestApp(application).get("/visit", status=503)


UNWRITABLE = """
import logging, os, sys
import webob  # with what is imported when it is used, while it may be read
from session_middleware import ConfigurationError, SessionMiddleware, SQLiteStore
logging.disable()
directory = sys.argv[1]
if os.getuid() == 0:
    os.chown(directory, 65534, 65534)
    os.setgid(65534)
    os.setuid(65534)  # modes do not bind root
os.chdir(directory)
os.chmod(directory, 0o500)
try:
    SessionMiddleware(lambda environ, start_response: [])
except ConfigurationError as error:
    print(error)
os.chmod(directory, 0o700)
SessionMiddleware(lambda environ, start_response: [])
"""


def test_a_directory_that_may_not_be_written_does_not_start(script: Script) -> None:
    """Promise 15: as the system says it, with the path."""
    with tempfile.TemporaryDirectory() as directory:
        said = script(UNWRITABLE, directory)
    assert said.startswith(f"{os.path.realpath(directory)}/sessions.sqlite3: ")
    assert "Permission denied" in said


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_table_that_will_never_do_does_not_start(kind: str, backends: Backends) -> None:
    """Promise 15: one of something else; and none, where none is to be made."""
    url = backends.url(kind)
    with pytest.raises(ConfigurationError, match=r"make the table by the statements that SQLAlchemyStore.ddl\(\) returns"):
        SessionMiddleware(a_site, f"{url}&create=false")
    SessionMiddleware(a_site, f"{url}&create=false", check_store=False)

    SessionMiddleware(a_site, url)
    SessionMiddleware(a_site, f"{url}&create=false")


@pytest.mark.parametrize("kind", SERVED)
def test_a_server_that_is_away_is_one_line_and_the_site_starts(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Promise 15 is about what cannot work: this one may come back."""
    url = {"postgresql": "postgresql://tests@127.0.0.1:{}/tests", "mariadb": "mariadb://tests@127.0.0.1:{}/tests"}.get(
        kind, f"{kind}://127.0.0.1:{{}}"
    )
    application = SessionMiddleware(a_site, url.format(port := free_port()))

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"127.0.0.1:{port}" in record.getMessage()
    assert "the store cannot be used now, and the site starts without it" in record.getMessage()
    assert TestApp(application).get("/visit", status=503)


def test_a_store_that_works_is_named_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """And nothing is stored, and no password told."""
    SessionMiddleware(a_site, store)

    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == f"sessions are kept by {store}"
    assert " object at 0x" not in record.getMessage() or type(store).__module__.startswith("tests.")


def test_the_default_store_is_named_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has not meant to keep sessions in whatever directory the process was started in sees it."""
    monkeypatch.chdir(tmp_path)
    SessionMiddleware(a_site)

    assert caplog.messages[-1] == f"sessions are kept by SQLiteStore('{os.path.realpath(tmp_path)}/sessions.sqlite3')"
    assert [file.name for file in tmp_path.iterdir()] == ["sessions.sqlite3"]


def test_nothing_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 15: a variable that is not set does not become a file in the working directory."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="store=None: write a URL, or a store such as"):
        SessionMiddleware(a_site, None)  # type: ignore[arg-type]  # that is the point

    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_opened_before_is_not(caplog: pytest.LogCaptureFixture) -> None:
    """A store of the site's own, or one in memory, has nothing that could be missing."""
    store = FaultyStore(MemoryStore())
    SessionMiddleware(a_site, store)

    assert not hasattr(store, "open")
    assert store.calls == []
    assert caplog.records[0].levelno == logging.INFO


@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind != "memory"])
class TestOpening:
    @pytest.fixture
    def opened(self, kind: str, tmp_path: Path, backends: Backends) -> Iterator[Any]:
        store: Any = open_store(f"sqlite:///{tmp_path}/sessions.sqlite3" if kind == "sqlite" else backends.url(kind))
        yield store
        store.close()

    def test_it_stores_nothing_and_may_be_repeated(self, opened: Any) -> None:
        """Deployments start more than one process."""
        opened.open()
        before = created(opened, key := a_key())
        opened.open()

        assert opened.load(key) == before

    def test_no_connection_stays_open(self, kind: str, opened: Any, tmp_path: Path, backends: Backends) -> None:
        """What forks afterwards, as ``gunicorn --preload`` does, has none to share."""
        if kind == "sqlite":
            opened.open()
            assert [file.name for file in tmp_path.iterdir()] == ["sessions.sqlite3"]  # SQLite has removed the -wal
            assert not opened._connections.known
            return
        opened.load(a_key())
        opened.close()
        before = max(0, backends.connections(kind))
        opened.open()
        until(lambda: backends.connections(kind) <= before, "a connection stayed open")

    def test_a_store_that_fails_is_told(self, opened: Any, kind: str, caplog: pytest.LogCaptureFixture) -> None:
        """A wrapper for tests fails as it is told, and the site starts."""
        store = FaultyStore(opened)
        store.fail("open")
        SessionMiddleware(a_site, store)

        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        SessionMiddleware(a_site, store)
        assert store.create(a_key(), a_record())


def test_the_sqlalchemy_store_names_its_table() -> None:
    """And no password."""
    store = SQLAlchemyStore("postgresql://alice:secret@example.test/shop", table="visits", schema="web")

    assert repr(store) == "SQLAlchemyStore(example.test/shop, table web.visits)"


def test_what_never_works_is_an_answer_to_a_request_all_the_same(path: Path) -> None:
    """Promise 7: a file that is replaced by another while the site runs is a failed store, and no error of the site's."""
    store = SQLiteStore(path)
    of_something_else(path)
    with pytest.raises(StoreUnavailable, match="something else"):
        store.load(a_key())
