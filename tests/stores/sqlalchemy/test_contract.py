"""The SQLAlchemy store keeps the contract of all stores, on PostgreSQL and MariaDB."""

from collections.abc import Iterator
from typing import ClassVar

import pytest
from sqlalchemy import create_engine

from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import (
    BatchedContract,
    CheckableContract,
    CopyableContract,
    ScannableContract,
    StoreContract,
    SweepableContract,
    UserIndexContract,
)
from tests.backends.postgresql import PostgresServer
from tests.backends.running import PATIENCE


class Contract(
    StoreContract,
    SweepableContract,
    UserIndexContract,
    ScannableContract,
    BatchedContract,
    CheckableContract,
    CopyableContract,
):
    """What every store of this kind passes; ``server`` is the fixture of what it is on."""

    server: ClassVar[str]

    @pytest.fixture
    def store(self, request: pytest.FixtureRequest, table: str) -> Iterator[SQLAlchemyStore]:
        store = SQLAlchemyStore(request.getfixturevalue(self.server).url(), table=table, timeout=PATIENCE)
        yield store
        store.close()


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
