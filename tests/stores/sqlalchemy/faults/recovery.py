"""How long the SQLAlchemy store takes to fail, and how it comes back."""

import time
from collections.abc import Callable

import pytest

from session_middleware import Record, StoreUnavailable
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, a_record, created, listed
from tests.backends.postgresql import PostgresServer
from tests.stopwatch import Stopwatch
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


def refused_after(call: Callable[[], object]) -> float:
    """Return how long *call* took to say that the store is not available (seconds), but for what the machine was late."""
    with Stopwatch() as watch:
        started = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            call()
        took = time.monotonic() - started
        late = watch.lost(started, started + took)
    assert "tests" in str(caught.value), "the message names the server"
    return took - late


def recover(store: SQLAlchemyStore) -> str:
    """Use the store until it works again; return the key of a session that it has then made."""
    deadline = time.monotonic() + 120
    while True:
        try:
            created(store, key := a_key())
        except StoreUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return key
