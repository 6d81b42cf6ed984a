"""Every statement of the SQLAlchemy store goes by an index, and connections are few."""

import gc
import time
from statistics import median
from typing import Any

import pytest
from sqlalchemy import Engine

from session_middleware.stores import sqlalchemy as module
from session_middleware.stores.sqlalchemy import SQLAlchemyStore, sql
from session_middleware.stores.sqlalchemy.database import fetch
from session_middleware.testing import a_key, a_record, created, listed, loaded, race
from tests.backends.postgresql import PostgresServer
from tests.backends.running import PATIENCE
from tests.stores.sqlalchemy.databases import Database


class TestSpeed:
    """What keeps the cost of one session from growing with their number."""

    def test_every_statement_uses_an_index(self, database: Database, store: SQLAlchemyStore, table: str) -> None:
        """Promise 13: swept by an index; and design, 7: no verb reads the table from end to end."""
        store.create_schema()
        keys = [a_key() for _ in range(3000)]
        expiry = int(time.time()) + 3600
        for start in range(0, len(keys), 500):
            rows = ", ".join(
                f"('{key}', '', 1, {expiry + number}, {expiry + number}, '{key if number % 2 else 'alice'}')"
                for number, key in enumerate(keys[start : start + 500])
            )
            database.run(f"INSERT INTO {table} VALUES {rows}".replace("%", "%%"))
        database.run(f"ANALYZE {'' if isinstance(database, PostgresServer) else 'TABLE '}{table}")
        now, key = int(time.time()), sorted(keys)[-500]
        sql = store._sql
        questions: dict[str, tuple[object, ...]] = {
            sql.load: (key, now),
            sql.version: (key,),
            sql.update: (sql.bound(b"x"), 2, now, now, now, now, sql.bound(b"x"), key, 1, now),
            sql.remove: (key, 1, now),
            sql.delete: (key, now),
            sql.keys_of: (sql.bound(b"alice"), key),
            sql.keys: (key,),
            sql.sweep: (now, 100),
        }
        for statement, parameters in questions.items():
            plan, _ = store._database.ask(fetch, f"EXPLAIN {statement.partition('FOR */')[2] or statement}", parameters)
            listing = statement in (sql.keys_of, sql.keys)
            if isinstance(database, PostgresServer):
                assert not any("Seq Scan" in line or (listing and "Sort" in line) for (line,) in plan), plan
            else:
                # Of what is derived from the table there are the few rows of one batch.
                assert not any(line[2] == table and line[3] in ("ALL", "index") for line in plan), plan
                assert not any(listing and "filesort" in line[-1] for line in plan), plan
            if statement == sql.keys_of:
                # Whatever the planner thinks of it: the index of users, and in it from the last key on.
                assert f"{table}_by_user_id" in str(plan), plan

    def test_a_page_reads_no_more_rows_than_are_in_it(
        self, database: Database, table: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Promise 13: also where all that there is has expired, and has not been swept."""
        for place in (module, sql):
            monkeypatch.setattr(place, "PAGE", 10)
        store = SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE)
        for _ in range(30):
            store.create(a_key(), a_record(user_id="alice", expires_in=-100))
        ask, pages = store._ask, list[int]()

        def noting(*arguments: Any, **options: Any) -> Any:
            rows, again = ask(*arguments, **options)
            pages.append(len(rows))
            return rows, again

        monkeypatch.setattr(store, "_ask", noting)
        assert listed(store, "alice") == list(store.keys()) == []
        assert pages == [10, 10, 10, 0] * 2
        store.close()

    def test_an_update_touches_no_index(self, postgresql: PostgresServer, table: str) -> None:
        """PostgreSQL can leave the indexes alone (HOT) when no indexed column changes."""
        store = SQLAlchemyStore(postgresql.url(), table=table, timeout=PATIENCE)
        version = created(store, key := a_key(), a_record(user_id="alice")).version
        for number in range(20):
            assert store.update(key, a_record(b"x" * 100, expires_in=3600 + number, user_id="alice"), version=version)
            version = loaded(store, key).version
        store.close()

        sql = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = %s"
        deadline = time.monotonic() + 120
        while (found := postgresql.run(sql, table)) != [(20, 20)]:
            assert time.monotonic() < deadline, found
            time.sleep(0.02)

    @pytest.mark.timed
    @pytest.mark.soak
    def test_a_million_sessions_are_read_as_fast_as_a_thousand(self, postgresql: PostgresServer, table: str) -> None:
        """Design, 7: at most 1.3 times as long."""
        stores, keys = {}, {}
        for count in (1_000, 1_000_000):
            stores[count] = SQLAlchemyStore(postgresql.url(), table=f"{table}_{count}", timeout=PATIENCE)
            stores[count].create_schema()
            postgresql.run(f"""INSERT INTO {table}_{count}
                SELECT translate(left(encode(sha256(n::text::bytea), 'base64'), 12), '+/=', '-_'), sha256(n::text::bytea),
                    n, {int(time.time())} + 86400 + n, {int(time.time())} + 86400 + n, sha256((n % 500000)::text::bytea)
                FROM generate_series(1, {count}) AS n""")
            postgresql.run(f"VACUUM ANALYZE {table}_{count}")
            listed = stores[count].keys()
            keys[count] = [key for key, _ in zip(listed, range(5000), strict=False)]
        took: dict[int, list[float]] = {count: [] for count in stores}
        for number in range(5000):
            for count, store in stores.items():
                key = keys[count][number % len(keys[count])]
                started = time.perf_counter()
                assert store.load(key)
                took[count].append(time.perf_counter() - started)
        small, large = (median(took[count]) for count in stores)
        for store in stores.values():
            store.close()
        postgresql.run(f"DROP TABLE {table}_1000000")

        assert large <= 1.3 * small, (small, large)

    def test_idle_stores_have_few_connections(self, database: Database, table: str) -> None:
        """An application factory that is called 50 times works; a store that nobody has any more has no connection."""
        before = database.connections()
        stores = [SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE) for _ in range(50)]
        # Stores of other tests may be let go of meanwhile; none comes.
        assert database.connections() <= before
        for store in stores[:20]:
            created(store, a_key())
        assert database.connections() <= before + 20
        del store
        stores.clear()
        gc.collect()

        deadline = time.monotonic() + 120
        while database.connections() > before:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def test_fifty_stores_share_the_connections_of_an_engine(self, database: Database, engine: Engine, table: str) -> None:
        """An application that has an engine needs no other."""
        before = database.connections()
        stores = [SQLAlchemyStore(engine, table=table, timeout=PATIENCE) for _ in range(50)]
        for store in stores:
            created(store, a_key())

        assert len(list(stores[0].keys())) == 50
        assert database.connections() <= before + 1

    def test_there_are_no_more_connections_than_threads(self, database: Database, store: SQLAlchemyStore) -> None:
        """One that was lent for a statement is back when the statement is done."""
        store.create_schema()
        before = database.connections()
        race(*[lambda: [store.load(a_key()) for _ in range(30)]] * 6)

        assert database.connections() <= before + 5

    def test_a_connection_is_used_again_until_it_is_old(
        self, database: Database, store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Firewalls forget connections, and servers that were upgraded wait for the last of the old ones."""
        connections = store._database._connections
        for oldest, same in ((600, True), (0, False)):
            monkeypatch.setattr(module.connections, "_OLDEST", oldest)
            store.close()
            store.load(a_key())
            before = connections.take()
            connections.give_back(before)
            store.load(a_key())
            after = connections.take()
            connections.give_back(after)
            assert (after.driver is before.driver) is same

    def test_those_that_nobody_needs_any_more_are_closed(self, store: SQLAlchemyStore) -> None:
        """After a burst those at the bottom would stay for good, for the last one used is always taken first."""
        store.load(a_key())
        connections = store._database._connections
        taken = [connections.take() for _ in range(4)]
        for number, lent in enumerate(taken):
            lent.good_until -= 1000 if number < 2 else 0
            connections.give_back(lent)
        for left in (3, 2, 2):
            store.load(a_key())
            assert connections.idle() == left
        assert [connections.take() for _ in range(2)] == [taken[3], taken[2]]
        for lent in taken[2:]:
            connections.give_back(lent)

    def test_one_that_was_in_use_when_the_store_was_closed_is_not_kept(
        self, database: Database, store: SQLAlchemyStore
    ) -> None:
        """Promise 13: what others were closed for holds for it as well."""
        store.load(a_key())
        before = database.connections()
        connections = store._database._connections
        lent = connections.take()
        connections.cursor(lent).execute("SELECT 1")
        store.close()
        assert connections.idle() == 0
        connections.give_back(lent)
        assert connections.idle() == 0
        deadline = time.monotonic() + 120
        while database.connections() >= before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
