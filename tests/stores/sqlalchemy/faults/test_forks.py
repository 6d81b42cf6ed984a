"""A fork uses no connection of its parent's SQLAlchemy store."""

import os
from threading import Event, Thread

import pytest

from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.stores.sqlalchemy.database import fetch
from session_middleware.testing import a_key, a_record, created, loaded
from tests.backends.postgresql import PostgresServer
from tests.backends.running import PATIENCE
from tests.stores.forked import in_child, while_others_work
from tests.stores.sqlalchemy.databases import Database

pytestmark = [pytest.mark.timed, pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")]


def connection_of(database: Database, store: SQLAlchemyStore) -> int:
    """Return the number that the server has given to the connection that the store uses next."""
    ask = "SELECT pg_backend_pid()" if isinstance(database, PostgresServer) else "SELECT connection_id()"
    store._budget.start()
    ((number,),), _ = store._database.ask(fetch, ask, ())
    return int(number)


class TestForks:
    def test_a_fork_uses_no_connection_of_its_parent(self, database: Database, store: SQLAlchemyStore) -> None:
        """F-P3: neither uses the other's, and neither ends it."""
        created(store, key := a_key())
        connection = connection_of(database, store)

        def work() -> None:
            for _ in range(5):
                assert store.load(key)
                created(store, a_key())
            assert connection_of(database, store) != connection

        for _ in range(3):
            assert in_child(work) == 0
            assert loaded(store, key)
        assert connection_of(database, store) == connection

    def test_a_fork_that_no_hook_tells_of_is_noticed(
        self, database: Database, table: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """F-P3: uWSGI forks its workers in C; two that read from one connection would get each other's sessions."""
        monkeypatch.delattr(os, "register_at_fork")
        store = SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE)
        created(store, key := a_key())
        connection = connection_of(database, store)

        def work() -> None:
            assert store.load(key)
            assert connection_of(database, store) != connection

        assert in_child(work) == 0
        assert loaded(store, key)
        assert connection_of(database, store) == connection
        store.close()

    def test_a_child_that_only_closes_the_store_ends_nothing(
        self, database: Database, table: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """F-P3: of a fork that no hook tells of, either; at its exit, for one."""
        monkeypatch.delattr(os, "register_at_fork")
        store = SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE)
        created(store, a_key())
        connection = connection_of(database, store)

        assert in_child(store.close) == 0
        assert connection_of(database, store) == connection
        store.close()

    @while_others_work
    def test_a_fork_in_the_middle_of_a_verb_harms_nobody(self, database: Database, store: SQLAlchemyStore) -> None:
        """F-P4: other threads are at work in the parent while it forks."""
        stop, errors = Event(), list[BaseException]()
        store.create_schema()

        def work() -> None:
            try:
                while not stop.is_set():
                    value = a_key().encode()
                    assert created(store, a_key(), a_record(value)).value == value
            except BaseException as error:
                errors.append(error)

        threads = [Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()

        def child() -> None:
            value = a_key().encode()
            assert created(store, a_key(), a_record(value)).value == value
            store.close()

        results = [in_child(child) for _ in range(10)]
        stop.set()
        for thread in threads:
            thread.join(120)

        assert results == [0] * 10
        assert errors == []
