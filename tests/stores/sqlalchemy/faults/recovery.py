"""How long the SQLAlchemy store takes to fail, and how it comes back."""

from collections.abc import Callable

from session_middleware import Record
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, a_record, created, listed
from tests.backends.postgresql import PostgresServer
from tests.stores import budgets
from tests.stores.budgets import served
from tests.stores.sqlalchemy.databases import Database

# How late a thread may come to run on a busy machine (seconds).
LATE = 0.2


def column(database: Database) -> str:
    return '"key"' if isinstance(database, PostgresServer) else "`key`"


def verbs(store: SQLAlchemyStore, key: str, version: object) -> dict[str, Callable[[], object]]:
    return {
        "create": lambda: store.create(a_key(), a_record()),
        "load": lambda: store.load(key),
        "update": lambda: store.update(key, a_record(b"new"), version=version),
        "remove": lambda: store.update(key, Record(b"", 0, None), version=version),
        "delete": lambda: store.delete(key),
        "sweep": lambda: store.sweep(10),
        "keys_of": lambda: listed(store, "alice"),
        "keys": lambda: list(store.keys()),
    }


def forget_failures(store: SQLAlchemyStore) -> None:
    """Let the next verb try, and not be refused at once for what happened to the last."""
    store._database._breaker.answered()


def refused_after(call: Callable[[], object], budget: float = 0.0) -> float:
    """Return the same as for any other store; the message names the database."""
    return budgets.refused_after(call, budget, match="tests")


def recover(store: SQLAlchemyStore) -> str:
    """Use the store until it works again; return the key of a session that it has then made."""

    def create() -> str:
        created(store, key := a_key())
        return key

    return served(create, within=10)
