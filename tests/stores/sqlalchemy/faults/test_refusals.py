"""What a database refuses is told by the SQLAlchemy store, and shows no secret."""

from collections.abc import Iterator, Sequence

import pytest

from session_middleware import StoreUnavailable
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, a_record, created
from tests.backends.mariadb import MariaDBServer
from tests.backends.postgresql import PostgresServer
from tests.backends.running import PATIENCE
from tests.stores.sqlalchemy.databases import Database
from tests.stores.sqlalchemy.faults.recovery import recover

pytestmark = [pytest.mark.timed, pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")]


class KoreanPostgresServer(PostgresServer):
    """One that tells its errors in Korean, if the environment says so too, and its texts are installed."""

    def command(self) -> Sequence[str]:
        return [*super().command(), "--lc_messages=C.utf8"]


class TestRefusals:
    """F-N7: the server answers, and says no."""

    @pytest.fixture
    def limited(self, database: Database, table: str) -> Iterator[str]:
        """A database user with a password who may do nothing."""
        name = f"secret_{table}"
        if isinstance(database, PostgresServer):
            database.run(f"CREATE ROLE {name} LOGIN PASSWORD 'pass-word'")
            database.run("REVOKE CREATE ON SCHEMA public FROM public")
        else:
            database.run(f"CREATE USER {name} IDENTIFIED BY 'pass-word'")
        yield name
        if isinstance(database, PostgresServer):
            database.run(f"DROP OWNED BY {name}")
            database.run(f"DROP ROLE {name}")
        else:
            database.run(f"DROP USER {name}")

    def test_a_wrong_password_is_named_and_not_shown(self, database: Database, limited: str, table: str) -> None:
        """Promise 11: not in the message, not in its cause."""
        store = SQLAlchemyStore(database.url(user=limited, password="wr0ng-secret"), table=table, timeout=PATIENCE)
        for _ in range(2):
            with pytest.raises(
                StoreUnavailable, match=r"127\.0\.0\.1:\d+/tests: .*(password authentication failed|Access denied for user)"
            ) as caught:
                store.load(a_key())
            assert "wr0ng" not in f"{caught.value} {caught.value.__cause__!r} {store!r}"
        store.close()

    def test_who_may_not_create_tables_is_told_what_to_do(self, database: Database, limited: str, table: str) -> None:
        """Promise 15: the statements are printed for somebody who may."""
        if isinstance(database, MariaDBServer):
            database.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON tests.* TO {limited}")
        store = SQLAlchemyStore(database.url(user=limited, password="pass-word"), table=table, timeout=PATIENCE)
        with pytest.raises(StoreUnavailable, match=r"SQLAlchemyStore\.ddl\(\)"):
            store.load(a_key())
        database.run(store.ddl())
        database.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {limited}")

        assert created(store, a_key())
        store.create_schema()
        store.close()

    def test_too_many_connections_do_not_stop_those_there_are(self, database: Database, limited: str, table: str) -> None:
        """F-N9: who gets no connection is refused; who has one goes on."""
        if isinstance(database, PostgresServer):
            database.run(f"ALTER ROLE {limited} CONNECTION LIMIT 1")
            database.run(f"GRANT CREATE ON SCHEMA public TO {limited}")
        else:
            database.run(f"GRANT ALL ON tests.* TO {limited} WITH MAX_USER_CONNECTIONS 1")
        url = database.url(user=limited, password="pass-word")
        store, crowd = (
            SQLAlchemyStore(url, table=table, timeout=PATIENCE),
            SQLAlchemyStore(url, table=table, timeout=PATIENCE),
        )
        recover(store)  # a connection that found no table is gone, and the server may not have noticed yet
        created(store, key := a_key())
        with pytest.raises(StoreUnavailable, match=r"too many connections|max_user_connections"):
            crowd.load(key)

        assert not crowd._database._breaker.is_open
        assert store.load(key)
        store.close()
        recover(crowd)
        assert crowd.load(key)
        crowd.close()

    def test_a_refusal_is_one_in_any_language(self, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 7: a server that speaks Korean has no word for FATAL, and is not away for all that."""
        monkeypatch.setenv("LANGUAGE", "ko")
        with KoreanPostgresServer() as server:
            server.run("CREATE ROLE few LOGIN PASSWORD 'pass-word' CONNECTION LIMIT 1")
            server.run("GRANT CREATE ON SCHEMA public TO few")
            url = server.url(user="few", password="pass-word")
            store, crowd = (SQLAlchemyStore(url, table=table, timeout=PATIENCE) for _ in range(2))
            recover(store)
            created(store, key := a_key())
            with pytest.raises(StoreUnavailable, match=r'"few"'):
                crowd.load(key)
            assert not crowd._database._breaker.is_open
            assert store.load(key)
            store.close()
            crowd.close()

    def test_a_server_that_takes_no_writes_still_reads(self, database: Database, limited: str, table: str) -> None:
        """After a failover to a standby, say; and it works again by itself."""
        SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE).create_schema()
        database.run(f"GRANT ALL ON {table} TO {limited}")
        store = SQLAlchemyStore(database.url(user=limited, password="pass-word"), table=table, timeout=PATIENCE)
        version = created(store, key := a_key()).version
        if isinstance(database, PostgresServer):
            closed = f"ALTER ROLE {limited} SET default_transaction_read_only = on"
            opened = f"ALTER ROLE {limited} RESET default_transaction_read_only"
        else:
            closed, opened = "SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"
        database.run(closed)
        store.close()
        try:
            with pytest.raises(StoreUnavailable, match="read-only"):
                store.update(key, a_record(), version=version)
            assert store.load(key)
        finally:
            database.run(opened)
        if isinstance(database, PostgresServer):
            database.end_connections()

        assert store.update(key, a_record(), version=version)
        store.close()

    def test_a_record_that_is_too_large_is_refused_without_its_value(self, mariadb: MariaDBServer, table: str) -> None:
        """MariaDB takes what max_allowed_packet allows; a refusal does not quote what it refuses."""
        store = SQLAlchemyStore(mariadb.url(), table=table, timeout=PATIENCE)
        store.create_schema()
        with pytest.raises(StoreUnavailable) as caught:
            store.create(a_key(), a_record(b"secret" * 3_000_000))
        assert "secret" not in f"{caught.value} {caught.value.__cause__}"

        recover(store)
        store.close()
