"""The URLs, engines and options of the SQLAlchemy store, with TLS and with PgBouncer: what cannot work is refused."""

import re
from pathlib import Path
from threading import Event, Thread
from typing import TypeAlias

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AssertionPool, SingletonThreadPool, StaticPool

from session_middleware import StoreUnavailable
from session_middleware.exceptions import ConfigurationError
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.stores.sqlalchemy.database import fetch
from session_middleware.testing import a_key, a_record, created, listed, loaded, race
from tests.backends.certificates import certify
from tests.backends.mariadb import SecretMariaDBServer
from tests.backends.pgbouncer import PgBouncer
from tests.backends.postgresql import PostgresServer, SecretPostgresServer
from tests.backends.process import free_port
from tests.backends.running import PATIENCE, PATIENT
from tests.stopwatch import Stopwatch
from tests.stores.sqlalchemy.databases import Database

SecretDatabase: TypeAlias = SecretPostgresServer | SecretMariaDBServer


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
        store = SQLAlchemyStore.from_url(f"{postgresql.url()}?table={table}&{PATIENT}{option}")
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
        with (
            Stopwatch() as watch,
            pytest.raises(StoreUnavailable, match=r"localhost:\d+/tests: .*certificate verify failed"),
        ):
            store.load(a_key())

        assert watch.own < PATIENCE / 5
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
                watcher.join(120)

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
