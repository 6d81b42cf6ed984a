"""What a database server tells of itself and of the table."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from session_middleware.health import health_of
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.stores.sqlalchemy.health import Place, told
from tests.backends.running import PATIENCE, TABLES


@pytest.fixture(params=TABLES)
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param).url()
    return found


@pytest.fixture
def database_store(url: str, table: str) -> Iterator[SQLAlchemyStore]:
    store = SQLAlchemyStore(url, table=table, timeout=PATIENCE)
    yield store
    store.close()


def run(store: SQLAlchemyStore, statement: str) -> None:
    engine = create_engine(store._database._engine.url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_a_table_that_is_not_there_is_told(database_store: SQLAlchemyStore) -> None:
    """And not made by asking; the store makes it when it is used."""
    assert database_store.health().schema == "there is no table"
    assert [finding.name for finding in health_of(database_store).findings] == ["schema"]

    database_store.open()
    assert database_store.health().schema == "complete"


def test_an_index_that_somebody_has_dropped_is_told(database_store: SQLAlchemyStore, table: str) -> None:
    """By what it is of, for it may have another name."""
    database_store.open()
    on = "" if "postgresql" in str(database_store._database._engine.url) else f" ON {table}"
    run(database_store, f"DROP INDEX {table}_by_user_id{on}")
    assert database_store.health().schema == "no index of user_id"

    run(database_store, f"CREATE INDEX another_name_{table[:20]} ON {table} (user_id)")
    assert database_store.health().schema == "complete"


@pytest.mark.parametrize("server", ["secret_postgresql", "secret_mariadb"])
def test_encryption_is_told(server: str, request: pytest.FixtureRequest, table: str) -> None:
    """As the server has it."""
    with closing(SQLAlchemyStore(request.getfixturevalue(server).url(), table=table, timeout=PATIENCE)) as store:
        assert store.health().tls is True


class Cursor:
    """Answers as a server would that no test can start."""

    def __init__(self, *rows: Any) -> None:
        self._rows = iter(rows)

    def execute(self, *statement: Any) -> None: ...

    def fetchone(self) -> Any:
        return next(self._rows)


def test_a_standby_and_mysql_are_known() -> None:
    """By what they say; some connections give bytes for all text, and a table may not have been counted yet."""
    elsewhere = Place(True, "db.example.com", None, "sessions")
    standby = told(Cursor(("17.2", 1.0, "standby", False), (-1, ["key", "sweep_at", "user_id"])), elsewhere)
    assert (standby.role, standby.tls, standby.records) == ("standby", False, None)

    mysql = told(
        Cursor((b"8.4.0", 1.0, b"read_only"), (7, b"key,sweep_at,user_id"), ("Ssl_cipher", "")),
        Place(False, None, "app", "sessions"),
    )
    assert (mysql.kind, mysql.version, mysql.role, mysql.schema) == ("MySQL", "8.4.0", "read_only", "complete")
    assert (mysql.tls, mysql.records) == (None, 7)
