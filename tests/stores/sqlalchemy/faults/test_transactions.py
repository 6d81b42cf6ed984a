"""Other transactions, locks and deadlocks cost the SQLAlchemy store its budget at most."""

import time
from threading import Thread

import pytest

from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, a_record, created, loaded
from tests.backends.postgresql import PostgresServer
from tests.backends.running import PATIENCE
from tests.stores.sqlalchemy.databases import Database
from tests.stores.sqlalchemy.faults.recovery import LATE, column, forget_failures, recover, refused_after

pytestmark = [pytest.mark.timed, pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")]


class TestOtherTransactions:
    def test_a_row_that_is_locked_costs_the_budget_and_harms_no_other(
        self, database: Database, store: SQLAlchemyStore, table: str
    ) -> None:
        """A foreign transaction may hold one session: the others do not notice, and its own is as it was."""
        version = created(store, key := a_key(), a_record(b"old")).version
        short, took = SQLAlchemyStore(database.url(), table=table, timeout=0.5), []
        recover(short)
        with database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT * FROM {table} WHERE {column(database)} = %s FOR UPDATE", (key,))

            for _ in range(10):
                forget_failures(short)
                took.append(refused_after(lambda: short.update(key, a_record(b"new"), version=version), 0.5))
                if not short._database._breaker.is_open:
                    break  # the server has said no, and its answer was not late
            else:
                pytest.fail("the server is taken for away")
            cursor.execute("ROLLBACK")
        short.close()
        assert max(took) <= 0.55 + LATE
        assert loaded(store, key).value == b"old"
        assert store.update(key, a_record(b"new"), version=version)

    def test_a_deadlock_is_tried_again(self, database: Database, store: SQLAlchemyStore, table: str) -> None:
        """F-N9: the store's statement meets another's lock crosswise, loses, and is done all the same."""
        version = created(store, key := a_key(), a_record(b"old")).version
        if isinstance(database, PostgresServer):
            database.run(f"""
                CREATE TABLE {table}_log (n INT);
                INSERT INTO {table}_log VALUES (0);
                CREATE FUNCTION {table}_note() RETURNS TRIGGER LANGUAGE plpgsql AS $$
                    BEGIN
                        PERFORM pg_advisory_xact_lock(1);
                        WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP
                            EXIT WHEN (SELECT max(n) FROM {table}_log) > 0;
                            PERFORM pg_sleep(0.01);
                        END LOOP;
                        UPDATE {table}_log SET n = n + 1;
                        RETURN NULL;
                    END $$;
                CREATE TRIGGER note AFTER UPDATE OF value ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_note()""")
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'"
            hold, release = "SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)"
        else:
            database.run(f"CREATE TABLE {table}_log (n INT) ENGINE=InnoDB")
            database.run(f"INSERT INTO {table}_log VALUES (0)")
            database.run(f"""CREATE TRIGGER {table}_note AFTER UPDATE ON {table} FOR EACH ROW
                BEGIN IF NEW.version <> OLD.version THEN
                    DO GET_LOCK('{table}', 10); DO RELEASE_LOCK('{table}'); UPDATE {table}_log SET n = n + 1;
                END IF; END""")
            waiting = "SELECT count(*) FROM information_schema.processlist WHERE state = 'User lock'"
            hold, release = f"SELECT GET_LOCK('{table}', 0)", f"SELECT RELEASE_LOCK('{table}')"
        done: list[bool] = []
        with database.connect() as other, other.cursor() as cursor:
            if isinstance(database, PostgresServer):
                cursor.execute("SET deadlock_timeout = '10min'")  # the other one of the two looks for it, and loses
            cursor.execute(hold)
            cursor.execute("BEGIN")
            cursor.execute(f"UPDATE {table}_log SET n = n + 10")
            cursor.execute(f"UPDATE {table}_log SET n = n + 10")
            ours = Thread(target=lambda: done.append(store.update(key, a_record(b"new"), version=version)))
            ours.start()
            deadline = time.monotonic() + 120
            while database.run(waiting) != [(1,)]:
                assert time.monotonic() < deadline
            cursor.execute(release)
            cursor.execute(f"UPDATE {table} SET sweep_at = sweep_at + 1")
            cursor.execute("COMMIT")
            ours.join(120)

        assert done == [True]
        assert loaded(store, key).value == b"new"
        assert database.run(f"SELECT n FROM {table}_log") == [(21,)]

    def test_a_serialization_failure_is_tried_again(self, postgresql: PostgresServer, table: str) -> None:
        """F-N9: where the database is set to strict isolation, another's commit undoes the store's statement."""
        store = SQLAlchemyStore(
            f"{postgresql.url()}?options=-c%20default_transaction_isolation=serializable", table=table, timeout=PATIENCE
        )
        version = created(store, key := a_key(), a_record(b"old")).version
        done: list[bool] = []
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        failed = "SELECT xact_rollback FROM pg_stat_database WHERE datname = 'tests'"
        with postgresql.connect() as other:
            other.execute("BEGIN")
            other.execute(f"UPDATE {table} SET sweep_at = sweep_at + 1")
            ours = Thread(target=lambda: done.append(store.update(key, a_record(b"new"), version=version)))
            ours.start()
            deadline = time.monotonic() + 120
            while postgresql.run(waiting) != [(1,)]:
                assert time.monotonic() < deadline
            other.execute("COMMIT")
            ours.join(120)

        assert done == [True]
        assert loaded(store, key).value == b"new"
        assert postgresql.run(failed)
        store.close()
