"""The SQLAlchemy store on PostgreSQL and MariaDB: what is particular to it, while all is well."""

import gc
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any, ClassVar, TypeAlias

import pytest
from sqlalchemy import Engine, MetaData, NullPool, Table, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.pool import AssertionPool, SingletonThreadPool, StaticPool

from session_middleware import StoreUnavailable
from session_middleware.exceptions import ConfigurationError
from session_middleware.stores import sqlalchemy as module
from session_middleware.stores.sqlalchemy import SQLAlchemyStore, sql
from session_middleware.stores.sqlalchemy.database import fetch
from session_middleware.testing import (
    BatchedContract,
    ScannableContract,
    StoreContract,
    SweepableContract,
    UserIndexContract,
    a_key,
    a_record,
    created,
    listed,
    loaded,
    race,
)
from tests.backends.certificates import certify
from tests.backends.mariadb import MariaDBServer, SecretMariaDBServer
from tests.backends.pgbouncer import PgBouncer
from tests.backends.postgresql import PostgresServer, SecretPostgresServer
from tests.backends.process import free_port

Database: TypeAlias = PostgresServer | MariaDBServer
SecretDatabase: TypeAlias = SecretPostgresServer | SecretMariaDBServer

# Where time is not what is tested, a busy machine is waited for (seconds).
PATIENCE = 10.0


class Contract(StoreContract, SweepableContract, UserIndexContract, ScannableContract, BatchedContract):
    """What every store of this kind passes; ``server`` is the fixture of what it is on."""

    server: ClassVar[str]

    @pytest.fixture
    def store(self, request: pytest.FixtureRequest, table: str) -> Iterator[SQLAlchemyStore]:
        store = SQLAlchemyStore(request.getfixturevalue(self.server).url(), table=table, timeout=PATIENCE)
        yield store
        store.close()


@pytest.fixture(scope="module")
def pgbouncer(postgresql: PostgresServer) -> Iterator[PgBouncer]:
    with PgBouncer(postgresql) as pgbouncer:
        yield pgbouncer


class TestOnPostgreSQL(Contract):
    server = "postgresql"


class TestOnMariaDB(Contract):
    server = "mariadb"


@pytest.mark.soak
class TestOnAnEngineOfTheApplication(Contract):
    @pytest.fixture
    def store(self, postgresql: PostgresServer, table: str) -> Iterator[SQLAlchemyStore]:
        engine = create_engine(postgresql.url(), pool_size=8)
        yield SQLAlchemyStore(engine, table=table, timeout=PATIENCE)
        engine.dispose()


@pytest.mark.soak
class TestOnPostgreSQLByTLS(Contract):
    server = "secret_postgresql"


@pytest.mark.soak
class TestOnMariaDBByTLS(Contract):
    server = "secret_mariadb"


@pytest.mark.soak
class TestOnPostgreSQLByPgBouncer(Contract):
    server = "pgbouncer"


@pytest.fixture(params=["postgresql", "mariadb"])
def database(request: pytest.FixtureRequest) -> Database:
    server: Database = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def store(database: Database, table: str) -> Iterator[SQLAlchemyStore]:
    store = SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE)
    yield store
    store.close()


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    engine = create_engine(database.url())
    yield engine
    engine.dispose()


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


class TestConfiguration:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"table": "a-b"}, "table='a-b': write up to 50 letters, digits and underscores"),
            ({"table": ""}, "table='': write"),
            ({"table": "x" * 51}, "write up to 50"),
            ({"table": 'x"; DROP TABLE users; --'}, "write up to 50"),
            ({"schema": "a.b"}, "schema='a.b': write"),
            ({"timeout": 0}, "timeout=0: write seconds, above 0 and up to 60"),
            ({"timeout": True}, "timeout=True: write"),
            ({"timeout": "1"}, "timeout='1': write"),
            ({"create": "yes"}, "create='yes': write True or False"),
        ],
    )
    def test_an_option_that_cannot_work_is_refused(self, options: dict[str, object], message: str) -> None:
        """Promise 15: and the error says what to write instead."""
        with pytest.raises(ConfigurationError, match=re.escape(message)):
            SQLAlchemyStore("postgresql://localhost/x", **options)  # type: ignore[arg-type]  # that is the point

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("sqlite:///x.db", "sqlite: is not known; known are postgresql:"),
            ("postgresql+psycopg2://u:secret@h/x", "postgresql+psycopg2: is not known"),
            ("postgresql+asyncpg://u:secret@h/x", "postgresql+asyncpg: is not known"),
            ("secret", "cannot be read: write postgresql://user@host/database"),
            ("postgresql://u:secret@h:port/x", "cannot be read"),
            ("postgresql://u:secret@h/x?tmeout=2", 'invalid connection option "tmeout"'),
            ("mariadb://u:secret@h/x?tmeout=2", "invalid connection option 'tmeout'"),
            ("mariadb://h/x?ssl_ca=a.pem&ssl_verify_identity=true", "would not do what it says; write ssl_ca=/path/of/"),
            ("mysql://h/x?ssl_ca=a.pem&ssl_verify_cert=true", "'ssl_verify_cert' would not do what it says"),
            ("mysql://h/x?ssl=true", "'ssl' would not do what it says"),
            ("mysql://h/x?ssl_disabled=false", "write ssl_disabled=true, or leave it out"),
            ("mariadb://h/x?prepare_threshold=none", "invalid connection option 'prepare_threshold'"),
            ("postgresql://h/x?prepare_threshold=never", "prepare_threshold='never': write a whole number"),
            ("postgresql://h/x?timeout=1&timeout=2", "'timeout' is there more than once; write it once"),
            ("postgresql://h/x?timeout=soon", "timeout='soon': write a number"),
            ("postgresql://h/x?create=1", "create='1': write true or false"),
        ],
    )
    def test_a_url_that_cannot_work_is_refused(self, url: str, message: str) -> None:
        """Promise 15: a typo does not become a default; and promise 11: no error shows a password."""
        with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
            SQLAlchemyStore.from_url(url)

        assert "secret" not in str(caught.value).replace("'secret'", "")

    @pytest.mark.parametrize("pool", [StaticPool, SingletonThreadPool, AssertionPool])
    def test_an_engine_whose_pool_would_share_a_transaction_is_refused(self, pool: type) -> None:
        """Promise 15: a statement of the store cannot be kept out of the application's transaction there."""
        with pytest.raises(ConfigurationError, match=f"{pool.__name__}.* pass an engine with a QueuePool or a NullPool"):
            SQLAlchemyStore(create_engine("postgresql+psycopg://localhost/x", poolclass=pool))

    def test_what_is_no_engine_for_sessions_is_refused(self) -> None:
        """Promise 15: at construction, not at the first request."""
        with pytest.raises(ConfigurationError, match="sqlite: sessions are not kept there"):
            SQLAlchemyStore(create_engine("sqlite://"))
        with pytest.raises(ConfigurationError, match="write the URL of a database, or pass an Engine"):
            SQLAlchemyStore(create_async_engine("postgresql+psycopg://localhost/x"))  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="does not fit; use psycopg, or PyMySQL"):
            SQLAlchemyStore(create_async_engine("postgresql+psycopg://localhost/x").sync_engine)

    def test_constructing_connects_to_nothing(self) -> None:
        """A site starts while its database is away."""
        for scheme in ("postgresql", "mariadb", "mysql"):
            store = SQLAlchemyStore(f"{scheme}://nobody@127.0.0.1:{free_port()}/x")

            assert "CREATE TABLE" in store.ddl()
            with pytest.raises(StoreUnavailable):
                store.load(a_key())

    def test_options_stand_in_the_url(self, database: Database, table: str) -> None:
        """The options of the constructor by their names; those of the driver beside them."""
        driver = "application_name=site" if isinstance(database, PostgresServer) else "charset=utf8mb4"
        store = SQLAlchemyStore.from_url(f"{database.url()}?table={table}&timeout=9.5&{driver}&create=true")

        assert store.create(a_key(), a_record())
        assert database.run(f"SELECT count(*) FROM {table}") == [(1,)]
        store.close()

    @pytest.mark.parametrize(("option", "prepared"), [("", True), ("&prepare_threshold=none", False)])
    def test_nothing_is_prepared_where_that_is_not_wanted(
        self, postgresql: PostgresServer, table: str, option: str, prepared: bool
    ) -> None:
        """PgBouncer lends a server for one transaction: under the name of one's statement there may be another's."""
        store = SQLAlchemyStore.from_url(f"{postgresql.url()}?table={table}{option}")
        for _ in range(20):
            store.load(a_key())

        ((count,),), _ = store._database.ask(fetch, "SELECT count(*) FROM pg_prepared_statements WHERE %s", (True,))
        assert (count > 0) is prepared
        store.close()

    def test_a_store_is_reached_by_a_unix_socket(self, database: Database, table: str) -> None:
        """The fastest way to a database on the same machine."""
        store = SQLAlchemyStore(database.socket_url(), table=table, timeout=PATIENCE)

        assert created(store, a_key())
        store.close()


class TestByTLS:
    @pytest.fixture(params=["secret_postgresql", "secret_mariadb"])
    def secret(self, request: pytest.FixtureRequest) -> SecretDatabase:
        server: SecretDatabase = request.getfixturevalue(request.param)
        return server

    def test_what_is_said_is_encrypted(self, secret: SecretDatabase, table: str) -> None:
        """As the server says of the store's own connection, which has looked at the certificate."""
        store = SQLAlchemyStore(secret.url(), table=table, timeout=PATIENCE)
        assert created(store, a_key())
        if isinstance(secret, SecretPostgresServer):
            question = "SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl = %s"
        else:
            question = (
                "SELECT variable_value FROM information_schema.session_status WHERE (variable_name = 'Ssl_cipher') = %s"
            )

        ((cipher,),), _ = store._database.ask(fetch, question, (True,))
        assert cipher.startswith("TLS_")
        store.close()

    def test_a_certificate_of_another_authority_is_refused(self, secret: SecretDatabase, table: str, tmp_path: Path) -> None:
        """At once, and the error says why."""
        stranger, _ = certify(tmp_path)
        url = secret.url().replace(str(secret.authority), str(stranger))
        store = SQLAlchemyStore(url, table=table, timeout=PATIENCE)
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"localhost:\d+/tests: .*certificate verify failed"):
            store.load(a_key())

        assert time.monotonic() - started < PATIENCE / 5
        store.close()

    def test_a_certificate_for_another_host_is_refused(self, secret: SecretDatabase, table: str) -> None:
        """Who has one from the same authority may not answer for all that have."""
        if isinstance(secret, SecretPostgresServer):
            url = f"{secret.url(host='elsewhere.test')}&hostaddr=127.0.0.1"
        else:
            url = secret.url(host="127.1")  # which is 127.0.0.1 by another name
        store = SQLAlchemyStore(url, table=table, timeout=PATIENCE)

        with pytest.raises(StoreUnavailable, match=r"does not match host name|Hostname mismatch"):
            store.load(a_key())
        store.close()

    def test_the_server_takes_nothing_else(self, secret: SecretDatabase, table: str) -> None:
        """Without this the tests above would show nothing."""
        plain = "sslmode=disable" if isinstance(secret, SecretPostgresServer) else "ssl_disabled=true"
        store = SQLAlchemyStore(f"{secret.url().partition('?')[0]}?{plain}", table=table, timeout=PATIENCE)

        with pytest.raises(StoreUnavailable, match=r"no encryption|Access denied"):
            store.load(a_key())
        store.close()


class TestByPgBouncer:
    def test_eight_threads_share_two_connections(self, postgresql: PostgresServer, table: str) -> None:
        """Nothing is lost or mixed up, and no connection is kept from the others between two statements."""
        before = postgresql.connections()
        stop, seen = Event(), []
        sql = "SELECT state, query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"

        def look() -> None:
            with postgresql.connect() as other:
                while not stop.is_set():
                    seen.append(other.execute(sql).fetchall())

        def work(store: SQLAlchemyStore) -> list[str]:
            user = a_key()
            kept: list[str] = []
            for _ in range(15):
                version = created(store, key := a_key(), a_record(user_id=user)).version
                assert store.update(key, a_record(key.encode(), user_id=user), version=version)
                assert not store.update(key, a_record(), version=version)
                assert listed(store, user) == sorted([*kept, key])
                store.sweep(10)
                kept.append(key)
                if len(kept) > 5:
                    assert store.delete(kept.pop(0))
            return kept

        with PgBouncer(postgresql, connections=2) as pgbouncer:
            store = SQLAlchemyStore(pgbouncer.url(), table=table, timeout=PATIENCE)
            watcher = Thread(target=look)
            watcher.start()
            try:
                kept = race(*[lambda: work(store)] * 8)
                assert postgresql.connections() <= before + 3  # with the one that looks
            finally:
                stop.set()
                watcher.join(10)

            keys = [key for some in kept for key in some]
            assert sorted(store.keys()) == sorted(keys)
            assert {key: loaded(store, key).value for key in keys} == {key: key.encode() for key in keys}
            store.close()
        assert len(seen) > 5
        assert [found for found in seen if found] == []

    def test_connections_that_were_ended_behind_it_are_replaced(
        self, postgresql: PostgresServer, pgbouncer: PgBouncer, table: str
    ) -> None:
        """F-N9: no verb fails because a connection did not survive its rest."""
        store = SQLAlchemyStore(pgbouncer.url(), table=table, timeout=PATIENCE)
        for _ in range(3):
            race(*[lambda: created(store, a_key())] * 4)
            postgresql.end_connections()

            assert created(store, a_key())
        store.close()


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
        assert store.sweep(10) == 1

        quote = '"' if isinstance(database, PostgresServer) else "`"
        assert database.run(f"SELECT count(*) FROM {table}.{quote}order{quote}") == [(1,)]
        database.run(f"DROP SCHEMA {table} {'CASCADE' if isinstance(database, PostgresServer) else ''}")
        store.close()

    def test_a_schema_that_is_missing_is_named(self, database: Database) -> None:
        """The store makes a table, no schema."""
        store = SQLAlchemyStore(database.url(), schema="nowhere")

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
        deadline = time.monotonic() + 10
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
        assert database.connections() == before
        for store in stores[:20]:
            created(store, a_key())
        assert database.connections() <= before + 20
        del store
        stores.clear()
        gc.collect()

        deadline = time.monotonic() + 5
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
        deadline = time.monotonic() + 5
        while database.connections() >= before:
            assert time.monotonic() < deadline
            time.sleep(0.01)


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
            started = time.monotonic()

            assert store.sweep(100) == 4
            assert time.monotonic() - started < PATIENCE / 2
            cursor.execute("ROLLBACK")
        assert store.sweep(100) == 1

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
            sweeper = Thread(target=lambda: done.append(store.sweep(100)))
            sweeper.start()
            sweeper.join(0.1)
            assert done == []
            cursor.execute(unlock)
            sweeper.join(10)

        assert done == [5]


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
        for store in stores:
            for _ in range(15):
                version = created(store, key := a_key(), a_record(user_id="alice")).version
                assert store.update(key, a_record(b"new"), version=version)
                listed(store, "alice")
                store.sweep(10)
                store.delete(key)
        stop.set()
        watcher.join(10)
        stores[1].close()
        engine.dispose()

        assert len(seen) > 5
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
