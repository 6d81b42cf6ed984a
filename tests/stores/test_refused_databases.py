"""What a database refuses for good does not start, and says what to write instead; what passes does start."""

import logging
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pymysql
import pytest
from psycopg.rows import dict_row, namedtuple_row
from sqlalchemy import create_engine, event

from session_middleware import ConfigurationError, SessionMiddleware, StoreUnusable
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.stores.sqlalchemy.errors import Verdict, verdict
from session_middleware.testing import a_key, created
from tests.apps import a_site
from tests.backends.mariadb import MariaDBServer, SecretMariaDBServer
from tests.backends.pgbouncer import PgBouncer
from tests.backends.postgresql import PostgresServer, SecretPostgresServer
from tests.backends.process import free_port
from tests.backends.running import PATIENCE

LOOK = "look at the user, the password, the database and the options for TLS"


@pytest.fixture(scope="module")
def shop(postgresql: PostgresServer) -> Iterator[PostgresServer]:
    """A server with a user ``shop``, who may connect and no more, and a user who may not even do that."""
    postgresql.run("CREATE ROLE shop LOGIN PASSWORD 's5word'; CREATE ROLE nobody NOLOGIN PASSWORD 's5word'")
    yield postgresql
    postgresql.run("DROP OWNED BY shop, nobody; DROP ROLE shop, nobody")


@pytest.fixture(scope="module")
def mart(mariadb: MariaDBServer) -> Iterator[MariaDBServer]:
    """The same of MariaDB."""
    mariadb.run("CREATE USER shop@'127.0.0.1' IDENTIFIED BY 's5word'")
    yield mariadb
    mariadb.run("DROP USER shop@'127.0.0.1'")


def refused(url: str, message: str, **options: Any) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        SessionMiddleware(a_site, SQLAlchemyStore(url, timeout=PATIENCE, **options))
    assert "s5word" not in str(caught.value)


class TestPostgreSQL:
    def test_who_is_not_let_in_is_not_started_with(self, shop: PostgresServer) -> None:
        """Promise 15: a wrong password, none, a role or a database that is not there."""
        refused(shop.url(user="shop", password="wrong"), f'password authentication failed for user "shop"; {LOOK}')
        refused(shop.url(user="shop"), f"no password supplied; {LOOK}")
        refused(shop.url(user="nobody", password="s5word"), f"is not permitted to log in; {LOOK}")
        refused(shop.url().removesuffix("tests") + "none", f'database "none" does not exist; {LOOK}')
        shop.run("REVOKE CONNECT ON DATABASE tests FROM public")
        try:
            refused(shop.url(user="shop", password="s5word"), f'permission denied for database "tests"; {LOOK}')
        finally:
            shop.run("GRANT CONNECT ON DATABASE tests TO public")

    def test_tls_that_is_not_to_be_had_is_not_started_with(
        self, shop: PostgresServer, secret_postgresql: SecretPostgresServer
    ) -> None:
        """Promise 15: on either side, and where the authority is not known."""
        refused(f"{shop.url()}?sslmode=require", f"server does not support SSL, but SSL was required; {LOOK}")
        plain = secret_postgresql.url().partition("?")[0]
        refused(f"{plain}?sslmode=disable", f"no pg_hba.conf entry .*; {LOOK}")
        refused(f"{plain}?sslmode=verify-full&sslrootcert=/nowhere.pem", f'"/nowhere.pem" does not exist; {LOOK}')
        refused(f"{plain}?sslmode=perhaps", f'invalid sslmode value: "perhaps"; {LOOK}')

    def test_a_schema_that_may_not_be_used_is_not_started_with(self, shop: PostgresServer) -> None:
        """Promise 15: or that is not there."""
        shop.run("CREATE SCHEMA locked")
        url = shop.url(user="shop", password="s5word")
        refused(url, "schema locked; this user needs SELECT, INSERT, UPDATE and DELETE on locked.sessions", schema="locked")
        refused(url, 'schema "none" does not exist; make the schema of none.sessions there, or choose', schema="none")

    def test_a_user_who_may_only_read_is_not_started_with(self, shop: PostgresServer, table: str) -> None:
        """Promise 15: each right that a sign-in needs; with all of them it starts, and nothing is left."""
        SQLAlchemyStore(shop.url(), table=table, timeout=PATIENCE).create_schema()
        url = shop.url(user="shop", password="s5word")
        for missing in ("INSERT", "SELECT", "UPDATE", "DELETE"):
            rights = ", ".join({"INSERT", "SELECT", "UPDATE", "DELETE"} - {missing})
            shop.run(f"REVOKE ALL ON {table} FROM shop; GRANT {rights} ON {table} TO shop")
            refused(url, f"permission denied for table {table}; this user needs SELECT, INSERT, UPDATE", table=table)
        shop.run(f"GRANT INSERT, SELECT, UPDATE, DELETE ON {table} TO shop")
        SessionMiddleware(a_site, SQLAlchemyStore(url, table=table, timeout=PATIENCE, create=False))
        assert shop.run(f"SELECT * FROM {table}") == []

    def test_what_passes_is_one_line(self, shop: PostgresServer, table: str, caplog: pytest.LogCaptureFixture) -> None:
        """A role that is full for now, and a server that takes no writes before it is promoted, are no reason."""
        url = shop.url(user="shop", password="s5word")
        shop.run("ALTER ROLE shop CONNECTION LIMIT 0")
        SessionMiddleware(a_site, SQLAlchemyStore(url, table=table, timeout=PATIENCE))
        shop.run("ALTER ROLE shop CONNECTION LIMIT -1; ALTER ROLE shop SET default_transaction_read_only = on")
        SQLAlchemyStore(shop.url(), table=table, timeout=PATIENCE).create_schema()
        shop.run(f"GRANT ALL ON {table} TO shop")
        SessionMiddleware(a_site, SQLAlchemyStore(url, table=table, timeout=PATIENCE))
        shop.run("ALTER ROLE shop RESET default_transaction_read_only")

        first, second = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert 'too many connections for role "shop"' in first
        assert "cannot execute INSERT in a read-only transaction" in second

    def test_of_several_hosts_one_that_is_away_may_be_the_right_one(
        self, shop: PostgresServer, table: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A standby that lets nobody in is not the reason not to start while the first server is away."""
        user = "postgresql://shop:wrong@"
        there, away = f"127.0.0.1:{shop.port}", f"127.0.0.2:{free_port()}"
        refused(f"{user}{there},localhost:{shop.port}/tests", LOOK)
        SessionMiddleware(a_site, SQLAlchemyStore(f"{user}{there},{away}/tests", table=table, timeout=PATIENCE))

        assert [record.levelno for record in caplog.records] == [logging.ERROR]

    def test_a_pooler_that_takes_no_options_is_not_started_with(self, shop: PostgresServer) -> None:
        """Promise 15: PgBouncer without ``ignore_startup_parameters = options``."""
        with PgBouncer(shop) as pooler:
            configuration = pooler.directory / "pgbouncer.ini"
            text = configuration.read_text()
            configuration.write_text(re.sub("(?m)^ignore_startup_parameters.*\n", "", text))
            pooler.restart()
            refused(pooler.url(), "unsupported startup parameter: options; .*ignore_startup_parameters = options")


class TestMariaDB:
    def test_who_is_not_let_in_is_not_started_with(self, mart: MariaDBServer) -> None:
        """Promise 15: a wrong password, none, a database that is not there or not for this user, a lock."""
        url = mart.url(user="shop", password="s5word")
        refused(mart.url(user="shop", password="wrong"), f"Access denied for user 'shop'.*; {LOOK}")
        refused(mart.url(user="shop"), rf"Access denied for user 'shop'.*\(using password: NO\); {LOOK}")
        refused(url, f"Access denied for user 'shop'@'127.0.0.1' to database 'tests'; {LOOK}")
        refused(mart.url().removesuffix("tests") + "none", f"Unknown database 'none'; {LOOK}")
        mart.run("ALTER USER shop@'127.0.0.1' ACCOUNT LOCK")
        try:
            refused(url, f"this account is locked; {LOOK}")
        finally:
            mart.run("ALTER USER shop@'127.0.0.1' ACCOUNT UNLOCK")

    def test_tls_that_is_not_to_be_had_is_not_started_with(
        self, mart: MariaDBServer, secret_mariadb: SecretMariaDBServer, secret_postgresql: SecretPostgresServer
    ) -> None:
        """Promise 15: on either side, and where the authority is not known."""
        other = secret_postgresql.authority
        refused(f"{mart.url()}?ssl_ca={other}", f"SSL is required but the server doesn't support it; {LOOK}")
        plain = secret_mariadb.url().partition("?")[0]
        refused(f"{plain}?ssl_disabled=true", f"Access denied .*; {LOOK}")
        refused(f"{plain}?ssl_ca={other}", f"CERTIFICATE_VERIFY_FAILED.*; {LOOK}")
        refused(f"{plain}?ssl_ca=/nowhere.pem", "No such file or directory while connecting; look at the options of the URL")

    def test_a_schema_that_is_not_there_is_not_started_with(self, mart: MariaDBServer) -> None:
        """Promise 15: to MariaDB it is a database."""
        refused(mart.url(), "Unknown database 'none'; make the schema of none.sessions there, or choose", schema="none")

    def test_a_user_who_may_only_read_is_not_started_with(self, mart: MariaDBServer, table: str) -> None:
        """Promise 15: each right that a sign-in needs; with all of them it starts, and nothing is left."""
        SQLAlchemyStore(mart.url(), table=table, timeout=PATIENCE).create_schema()
        url, rights = mart.url(user="shop", password="s5word"), ["INSERT", "SELECT", "UPDATE", "DELETE"]
        for right in rights:
            others = ", ".join(other for other in rights if other != right)
            mart.run(f"GRANT {others} ON tests.{table} TO shop@'127.0.0.1'")
            refused(
                url, f"denied to user 'shop'.*; this user needs SELECT, INSERT, UPDATE and DELETE on {table}", table=table
            )
            mart.run(f"REVOKE {others} ON tests.{table} FROM shop@'127.0.0.1'")
        mart.run(f"GRANT {', '.join(rights)} ON tests.{table} TO shop@'127.0.0.1'")
        SessionMiddleware(a_site, SQLAlchemyStore(url, table=table, timeout=PATIENCE, create=False))
        assert mart.run(f"SELECT * FROM {table}") == []


class TestRows:
    """An engine that is lent gives rows as its application wants them."""

    def test_an_engine_whose_rows_are_no_tuples_is_refused(
        self, postgresql: PostgresServer, mariadb: MariaDBServer, table: str
    ) -> None:
        """Promise 15: the error says which option makes them so."""
        for url, option in (
            (postgresql.url(), {"row_factory": dict_row}),
            (mariadb.url(), {"cursorclass": pymysql.cursors.DictCursor}),
        ):
            engine = create_engine(url, connect_args=option)
            with pytest.raises(StoreUnusable, match="rows must be tuples, so leave out row_factory= and cursorclass="):
                SQLAlchemyStore(engine, table=table, timeout=PATIENCE).open()
            engine.dispose()

    def test_rows_that_are_made_so_later_are_refused_too(self, postgresql: PostgresServer, table: str) -> None:
        """Promise 15: by a listener, when SQLAlchemy has done its own asking."""
        engine = create_engine(postgresql.url())
        with engine.connect():
            event.listen(engine, "checkout", _with_dicts)
        with pytest.raises(StoreUnusable, match=": rows must be tuples, so leave out row_factory="):
            SQLAlchemyStore(engine, table=table, timeout=PATIENCE).open()
        engine.dispose()

    def test_named_tuples_are_tuples(self, postgresql: PostgresServer, table: str) -> None:
        """They are what most who set it want."""
        engine = create_engine(postgresql.url(), connect_args={"row_factory": namedtuple_row})
        store = SQLAlchemyStore(engine, table=table, timeout=PATIENCE)
        created(store, key := a_key())
        assert list(store.keys()) == [key]
        engine.dispose()


def _with_dicts(connection: Any, record: object, proxy: object) -> None:
    connection.row_factory = dict_row


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("connection failed: FATAL:  the database system is starting up", Verdict.REFUSED),
        ("connection failed: FATAL:  sorry, too many clients already", Verdict.REFUSED),
        ('connection failed: FATAL:  Passwort-Authentifizierung für Benutzer "shop" fehlgeschlagen', Verdict.REFUSED),
        ("connection failed: Connection refused", Verdict.UNREACHABLE),
        ('connection failed: FATAL:  role "shop" does not exist', Verdict.NOT_LET_IN),
    ],
)
def test_what_postgresql_says_to_who_connects(said: str, found: Verdict) -> None:
    """What is not known to be for good is taken for what passes."""
    engine = create_engine("postgresql+psycopg://localhost/x")
    assert verdict(psycopg.OperationalError(said), engine, None) is found
