"""A fork uses no connection of its parent's SQLAlchemy store."""

import os
from threading import Event, Thread

import pytest

from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, a_record, created, loaded
from tests.stores.forked import in_child, while_others_work
from tests.stores.sqlalchemy.databases import PATIENCE, Database

pytestmark = [pytest.mark.timed, pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")]


class TestForks:
    def test_a_fork_uses_no_connection_of_its_parent(self, database: Database, store: SQLAlchemyStore) -> None:
        """F-P3: neither uses the other's, and neither ends it."""
        created(store, key := a_key())
        connections = database.connections()

        def work() -> None:
            for _ in range(5):
                assert store.load(key)
                created(store, a_key())
            assert database.connections() >= connections + 1

        for _ in range(3):
            assert in_child(work) == 0
            assert loaded(store, key)
        assert database.connections() <= connections + 3

    def test_a_fork_that_no_hook_tells_of_is_noticed(
        self, database: Database, table: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """F-P3: uWSGI forks its workers in C; two that read from one connection would get each other's sessions."""
        monkeypatch.delattr(os, "register_at_fork")
        store = SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE)
        created(store, key := a_key())
        connections = database.connections()

        def work() -> None:
            assert store.load(key)
            assert database.connections() == connections + 1

        assert in_child(work) == 0
        assert loaded(store, key)
        store.close()

    def test_a_child_that_only_closes_the_store_ends_nothing(
        self, database: Database, table: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """F-P3: of a fork that no hook tells of, either; at its exit, for one."""
        monkeypatch.delattr(os, "register_at_fork")
        store = SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE)
        created(store, a_key())
        connections = database.connections()

        assert in_child(store.close) == 0
        assert database.connections() == connections
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
