"""What the tests of SQLiteStore ask a connection of it."""

from session_middleware import SQLiteStore
from session_middleware.testing import a_key


def setting(store: SQLiteStore, name: str) -> object:
    """Return a setting of the connection that the store uses next."""
    store.load(a_key())
    return store._connections.idle[-1].execute(f"PRAGMA {name}").fetchone()[0]


def plan(store: SQLiteStore, sql: str) -> str:
    """Return how SQLite runs a statement."""
    store.load(a_key())
    numbered = [number for number in range(1, 10) if f"?{number}" in sql]
    parameters = (None,) * max(numbered or [sql.count("?")])
    return "; ".join(row[3] for row in store._connections.idle[-1].execute(f"EXPLAIN QUERY PLAN {sql}", parameters))
