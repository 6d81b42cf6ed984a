"""The table of the SQLAlchemy store: made once, left alone where it is of something else, and swept."""

import os
import re
from collections.abc import Callable
from threading import Thread

import pytest
from sqlalchemy import Engine, MetaData, Table

from session_middleware import StoreUnavailable
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, a_record, created, listed, loaded
from tests.backends.postgresql import PostgresServer
from tests.backends.running import PATIENCE
from tests.stopwatch import Stopwatch
from tests.stores.sqlalchemy.databases import Database


def in_children(count: int, work: Callable[[], object]) -> list[int]:
    """Run *work* in so many forks of this process, all at once; return their exit statuses."""
    reading, writing = os.pipe()
    children = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(writing)
                os.read(reading, 1)
                work()
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    os.close(reading)
    os.close(writing)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


class TestTable:
    def test_it_is_made_at_the_first_use(self, database: Database, table: str) -> None:
        """Nothing to prepare where the database user may create tables; whichever verb comes first."""
        verbs: tuple[Callable[[SQLAlchemyStore], object], ...] = (
            lambda store: store.load(a_key()),
            lambda store: store.delete(a_key()),
            lambda store: listed(store, "alice"),
        )
        for number, verb in enumerate(verbs):
            store = SQLAlchemyStore(database.url(), table=f"{table}_{number}", timeout=PATIENCE)

            assert not verb(store)
            store.close()

    def test_ddl_by_hand_is_enough(self, database: Database, table: str) -> None:
        """For those whose database user may not create tables."""
        store = SQLAlchemyStore(database.url(), table=table, create=False, timeout=PATIENCE)
        with pytest.raises(StoreUnavailable, match=r"make the table by the statements that SQLAlchemyStore.ddl\(\) returns"):
            store.load(a_key())
        database.run(store.ddl())

        assert created(store, a_key())
        assert listed(store, "alice") == []
        store.close()

    def test_create_schema_may_be_called_again(self, store: SQLAlchemyStore) -> None:
        """Deployments run it each time."""
        store.create_schema()
        before = created(store, key := a_key())
        store.create_schema()

        assert loaded(store, key) == before

    def test_create_schema_creates_for_a_store_that_does_not(self, database: Database, table: str) -> None:
        """``create=False`` speaks of the first use."""
        store = SQLAlchemyStore(database.url(), table=table, create=False, timeout=PATIENCE)
        store.create_schema()

        assert created(store, a_key())
        store.close()

    def test_sixteen_processes_make_it_at_once(self, database: Database, table: str) -> None:
        """F-S8: a first start of many workers makes one table, and no error."""
        store = SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE)

        def start() -> None:
            assert store.create(a_key(), a_record())
            store.create_schema()
            store.close()

        assert in_children(16, start) == [0] * 16
        assert len(list(store.keys())) == 16
        store.close()

    def test_a_table_that_was_dropped_is_made_again(self, database: Database, store: SQLAlchemyStore, table: str) -> None:
        """F-N8: the sessions are gone, the site is not."""
        created(store, key := a_key())
        database.run(f"DROP TABLE {table}")

        assert store.load(key) is None
        assert created(store, a_key())

    def test_a_table_of_something_else_is_left_alone(self, database: Database, store: SQLAlchemyStore, table: str) -> None:
        """F-S8: other packages call theirs "sessions", too."""
        column = '"key"' if isinstance(database, PostgresServer) else "`key`"
        database.run(f"CREATE TABLE {table} ({column} VARCHAR(12), data VARCHAR(10))")

        for verb in (store.load, store.delete, lambda key: store.create(key, a_record())):
            with pytest.raises(StoreUnavailable, match=f"{table} is a table of something else: choose another name"):
                verb(a_key())
        with pytest.raises(StoreUnavailable, match="something else"):
            store.create_schema()
        assert database.run(f"SELECT * FROM {table}") == []

    def test_it_may_be_in_a_schema_of_its_own(self, database: Database, table: str) -> None:
        """The table's name is looked for there only."""
        database.run(f"CREATE SCHEMA {table}")
        store = SQLAlchemyStore(database.url(), table="order", schema=table, timeout=PATIENCE)
        created(store, a_key())
        store.create(a_key(), a_record(expires_in=-1000))
        assert len(store.sweep(10)) == 1

        quote = '"' if isinstance(database, PostgresServer) else "`"
        assert database.run(f"SELECT count(*) FROM {table}.{quote}order{quote}") == [(1,)]
        database.run(f"DROP SCHEMA {table} {'CASCADE' if isinstance(database, PostgresServer) else ''}")
        store.close()

    def test_a_schema_that_is_missing_is_named(self, database: Database) -> None:
        """The store makes a table, no schema."""
        store = SQLAlchemyStore(database.url(), schema="nowhere", timeout=PATIENCE)

        with pytest.raises(StoreUnavailable, match="nowhere"):
            store.load(a_key())
        store.close()

    def test_the_application_may_reflect_it(self, database: Database, engine: Engine, table: str) -> None:
        """The table is an ordinary one, and in nobody's MetaData unless asked for."""
        store = SQLAlchemyStore(engine, table=table, timeout=PATIENCE)
        store.create_schema()

        found = Table(table, MetaData(), autoload_with=engine)
        assert {column.name for column in found.columns} == {
            *("key", "value", "version", "expires_at", "sweep_at", "user_id")
        }
        assert {index.name for index in found.indexes} == {f"{table}_by_sweep_at", f"{table}_by_user_id"}


class TestSweeping:
    @pytest.fixture
    def expired(self, store: SQLAlchemyStore) -> list[str]:
        keys = [a_key() for _ in range(5)]
        for key in keys:
            store.create(key, a_record(expires_in=-1000))
        return keys

    def test_a_row_that_is_locked_is_passed_over(
        self, database: Database, store: SQLAlchemyStore, table: str, expired: list[str]
    ) -> None:
        """Promise 13: sweeping waits for nobody."""
        column = '"key"' if isinstance(database, PostgresServer) else "`key`"
        with database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT * FROM {table} WHERE {column} = %s FOR UPDATE", (expired[0],))
            with Stopwatch() as watch:
                assert len(store.sweep(100)) == 4
            assert watch.own < PATIENCE / 2
            cursor.execute("ROLLBACK")
        assert len(store.sweep(100)) == 1

    def test_one_at_a_time_sweeps(self, database: Database, table: str, store: SQLAlchemyStore, expired: list[str]) -> None:
        """Promise 13: the workers of a site do not all sweep at once."""
        if isinstance(database, PostgresServer):
            number = re.search(r"pg_advisory_xact_lock\((-?\d+)\)", store._sql.sweep)
            assert number
            lock, unlock = f"SELECT pg_advisory_lock({number[1]})", f"SELECT pg_advisory_unlock({number[1]})"
        else:
            lock, unlock = f"SELECT GET_LOCK('{store._sql.turn}', 1)", f"SELECT RELEASE_LOCK('{store._sql.turn}')"
        done: list[int] = []
        with database.connect() as other, other.cursor() as cursor:
            cursor.execute(lock)
            sweeper = Thread(target=lambda: done.append(len(store.sweep(100))))
            sweeper.start()
            sweeper.join(0.1)
            assert done == []
            cursor.execute(unlock)
            sweeper.join(120)

        assert done == [5]
