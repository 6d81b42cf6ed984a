"""What the tests of the SQLAlchemy store share where something is wrong."""

from collections.abc import Iterator

import pytest

from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from tests.backends.proxy import FaultProxy
from tests.backends.running import PATIENCE
from tests.stores.sqlalchemy.databases import Database


@pytest.fixture
def store(database: Database, table: str) -> Iterator[SQLAlchemyStore]:
    store = SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE)
    store.create_schema()
    yield store
    store.close()


@pytest.fixture
def proxy(database: Database) -> Iterator[FaultProxy]:
    with FaultProxy(database.port) as proxy:
        yield proxy


@pytest.fixture
def patient(database: Database, proxy: FaultProxy, table: str, store: SQLAlchemyStore) -> Iterator[SQLAlchemyStore]:
    """A store on the same table, at the other end of the proxy, that has time."""
    patient = SQLAlchemyStore(database.url(port=proxy.port), table=table, timeout=PATIENCE)
    yield patient
    proxy.heal()
    patient.close()
