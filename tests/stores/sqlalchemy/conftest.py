"""What the tests of the SQLAlchemy store share."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine

from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from tests.backends.pgbouncer import PgBouncer
from tests.backends.postgresql import PostgresServer
from tests.backends.running import PATIENCE
from tests.stores.sqlalchemy.databases import Database


@pytest.fixture(scope="package")
def pgbouncer(postgresql: PostgresServer) -> Iterator[PgBouncer]:
    with PgBouncer(postgresql) as pgbouncer:
        yield pgbouncer


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
