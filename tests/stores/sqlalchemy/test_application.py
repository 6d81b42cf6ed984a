"""The SQLAlchemy store takes no part in the application's transactions on the same engine."""

import time
from threading import Event, Thread

import pytest
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

from session_middleware import StoreUnavailable
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, a_record, created, listed, loaded
from tests.backends.postgresql import PostgresServer
from tests.backends.running import PATIENCE
from tests.stores.sqlalchemy.databases import Database


class TestBesideTheApplication:
    """A store on the application's engine is no part of what the application does there."""

    def test_two_hundred_rollbacks_take_no_session_along(self, database: Database, engine: Engine, table: str) -> None:
        """Promise 6: what was acknowledged stays, whatever becomes of the application's transaction, and the other way."""
        store = SQLAlchemyStore(engine, table=table, timeout=PATIENCE)
        database.run(f"CREATE TABLE {table}_app (n INT PRIMARY KEY)")
        application = scoped_session(sessionmaker(engine))
        keys = []
        for number in range(200):
            application.execute(text(f"INSERT INTO {table}_app VALUES ({number})"))
            version = created(store, key := a_key(), a_record(b"created")).version
            keys.append(key)
            assert application.execute(text(f"SELECT count(*) FROM {table}_app")).scalar() == number // 10 + 1
            assert store.update(key, a_record(b"updated"), version=version)
            if number % 10 == 9:
                application.commit()
            else:
                application.rollback()
        application.remove()

        assert {loaded(store, key).value for key in keys} == {b"updated"}
        assert database.run(f"SELECT count(*) FROM {table}_app") == [(20,)]

    @pytest.mark.parametrize("options", [{}, {"poolclass": NullPool}, {"isolation_level": "SERIALIZABLE"}], ids=str)
    def test_nothing_is_ever_idle_in_transaction(
        self, postgresql: PostgresServer, table: str, options: dict[str, object]
    ) -> None:
        """F-N9: not for a moment does a connection sit in a transaction between two statements."""
        engine = create_engine(postgresql.url(), **options)
        engine.connect().close()  # SQLAlchemy's own first questions to a server are a transaction
        stores = [
            SQLAlchemyStore(engine, table=table, timeout=PATIENCE),
            SQLAlchemyStore(postgresql.url(), table=table, timeout=PATIENCE),
        ]
        stop, seen = Event(), []
        sql = "SELECT state, query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"

        def look() -> None:
            with postgresql.connect() as other:
                while not stop.is_set():
                    seen.append(other.execute(sql).fetchall())

        watcher = Thread(target=look)
        watcher.start()
        for store, looks in zip(stores, (3, 6), strict=True):
            rounds, until = 0, time.monotonic() + 120
            while rounds < 15 or (len(seen) < looks and time.monotonic() < until):
                rounds += 1
                version = created(store, key := a_key(), a_record(user_id="alice")).version
                assert store.update(key, a_record(b"new"), version=version)
                listed(store, "alice")
                store.sweep(10)
                store.delete(key)
        stop.set()
        watcher.join(120)
        stores[1].close()
        engine.dispose()

        assert len(seen) >= 6
        assert [found for found in seen if found] == []

    def test_the_connection_comes_back_as_it_was(self, database: Database, engine: Engine, table: str) -> None:
        """What the application does next on it is a transaction again."""
        store = SQLAlchemyStore(engine, table=table, timeout=PATIENCE)
        created(store, a_key())
        with engine.connect() as connection:
            connection.execute(text(f"DELETE FROM {table}"))
            connection.rollback()

        assert len(list(store.keys())) == 1

    def test_a_pool_with_nothing_left_is_named(self, database: Database, table: str) -> None:
        """The application may hold all there are: the store does not wait for ever."""
        engine = create_engine(database.url(), pool_size=1, max_overflow=0, pool_timeout=0.1)
        store = SQLAlchemyStore(engine, table=table, timeout=PATIENCE)
        with engine.connect(), pytest.raises(StoreUnavailable, match="all connections of the engine's pool are in use"):
            store.load(a_key())

        assert store.load(a_key()) is None
        engine.dispose()

    def test_closing_the_store_leaves_the_engine_alone(self, engine: Engine, table: str) -> None:
        """It belongs to the application."""
        store = SQLAlchemyStore(engine, table=table, timeout=PATIENCE)
        created(store, a_key())
        pool = engine.pool
        store.close()

        assert engine.pool is pool
