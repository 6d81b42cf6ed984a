"""Asks a database single statements, through faults, on connections of an engine. It knows no verb."""

import os
import time
from collections.abc import Callable
from secrets import SystemRandom
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from sqlalchemy import Engine

from session_middleware.exceptions import StoreUnavailable, StoreUnusable
from session_middleware.stores.breaker import Breaker
from session_middleware.stores.sqlalchemy.connections import Connections
from session_middleware.stores.sqlalchemy.drivers import Budget
from session_middleware.stores.sqlalchemy.errors import OddRows, Verdict, driver_error, reason, verdict

T = TypeVar("T")
Run: TypeAlias = Callable[[Any, str, tuple[object, ...]], T]
"""What to do with a cursor, a statement and its parameters."""

_LONGEST_PAUSE: Final = 0.02
_random: Final = SystemRandom()


def execute(cursor: Any, sql: str, parameters: tuple[object, ...]) -> int:
    """Return how many rows the statement changed."""
    cursor.execute(sql, parameters or None)
    count: int = cursor.rowcount
    return count


def fetch(cursor: Any, sql: str, parameters: tuple[object, ...]) -> Any:
    """Return the rows that the statement found."""
    cursor.execute(sql, parameters)
    return _rows(cursor)


def fetch_binary(cursor: Any, sql: str, parameters: tuple[object, ...]) -> Any:
    """Do as :func:`fetch`, with psycopg, which otherwise has values sent in hex: twice as long, and slow to read."""
    cursor.execute(sql, parameters, binary=True)
    return _rows(cursor)


def _rows(cursor: Any) -> Any:
    rows = cursor.fetchall()
    if rows and not isinstance(rows[0], tuple):
        raise OddRows
    return rows


class _Failure(NamedTuple):
    error: Exception
    verdict: Verdict


class Database:
    """The database that *connections* of *engine* lead to.

    *create_schema* makes the table; *table* and *server* are what messages call them.
    """

    def __init__(
        self, engine: Engine, connections: Connections, budget: Budget, *, server: str, table: str, create_schema: str
    ) -> None:
        self._engine = engine
        self._connections = connections
        self._budget = budget
        self._server, self._table = server, table
        fits = "client_encoding=utf8" if engine.dialect.name == "postgresql" else "charset=utf8mb4"
        tuples = "rows must be tuples, so leave out row_factory= and cursorclass="
        self._hints = {
            Verdict.UNFIT: f" while connecting; look at the options of the URL, or of the engine: {fits} fits everywhere,"
            f" and {tuples}",
            Verdict.NOT_LET_IN: "; look at the user, the password, the database and the options for TLS of the URL, and at"
            " who may connect to that server; at PgBouncer, also at ignore_startup_parameters = options",
            Verdict.NO_SCHEMA: f"; make the schema of {table} there, or choose another one with schema=",
            Verdict.ODD_ROWS: f": {tuples}",
            Verdict.NO_TABLE: "; make the table by the statements that SQLAlchemyStore.ddl() returns",
            Verdict.NOT_PERMITTED: f"; this user needs SELECT, INSERT, UPDATE and DELETE on {table}, which somebody who may"
            " has to make by the statements that SQLAlchemyStore.ddl() returns",
            Verdict.OTHER_TABLE: f"; {table} is a table of something else: choose another name with table=",
        }
        self._create_schema = create_schema
        self._breaker = Breaker(server)
        self._pid = os.getpid()

    def ask(
        self,
        run: Run[T],
        sql: str,
        parameters: tuple[object, ...],
        *,
        make_table: bool = True,
        may_be_late: bool = False,
    ) -> tuple[T, bool]:
        """Return what *run* does, on a connection and in a transaction of its own; try again where that is safe.

        And return whether it may have been done before, in a try whose answer was lost. What *run* does counts as 0 if
        there is a row already where it would put one. With *make_table*, a table that is missing is made. *may_be_late*:
        that there is no answer in time says nothing of the server, for there is more to answer than with other statements.
        """
        if self._pid != os.getpid():  # a fork that Python was not told of, as uWSGI's
            self.forget()
        breaker, unsure, tries = self._breaker, False, -1
        if breaker.is_open:
            breaker.check()
        while True:
            answer, failure = self._try(run, sql, parameters)
            if failure is None or failure.verdict is Verdict.TAKEN:
                if breaker.is_open:
                    breaker.answered()
                return answer, unsure
            found = failure.verdict
            if found is Verdict.LOST or found is Verdict.MOVED:
                unsure = unsure or found is Verdict.LOST
                # Those that are idle now may be as broken as this one was.
                tries = self._connections.idle() + 1 if tries < 0 else tries - 1
            elif found is Verdict.NO_TABLE and make_table:
                self._make_table()
            elif found is Verdict.UNDONE:
                time.sleep(_random.uniform(0, _LONGEST_PAUSE))
            else:
                tries = 0
            if tries == 0 or not self._budget.left():
                raise self._failed(failure, may_be_late) from failure.error

    def __str__(self) -> str:
        return f"{self._server}, table {self._table}"

    def close(self) -> None:
        """Close the connections that are idle now, if they are not the application's."""
        self._connections.close()

    def forget(self) -> None:
        """Let go of all connections without a word: after a fork they are the parent's."""
        self._connections.forget()
        self._pid = os.getpid()

    def unavailable(self, text: str) -> StoreUnavailable:
        return StoreUnavailable(f"{self._server}: {text}")

    def _try(self, run: Run[T], sql: str, parameters: tuple[object, ...]) -> tuple[T | Any, _Failure | None]:
        """Return what *run* does; or 0, and why not."""
        connections, lent = self._connections, None
        try:
            lent = connections.take()
            answer = run(connections.cursor(lent), sql, parameters)
        except BaseException as problem:
            error = driver_error(problem)
            found = None if error is None else verdict(error, self._engine, lent and lent.driver)
            if lent is not None:
                (connections.give_back if found is Verdict.TAKEN else connections.discard)(lent)
            if error is None or found is None:
                raise
            if lent is not None and found in (Verdict.LOST, Verdict.MOVED):
                connections.distrust(lent)
            return 0, _Failure(error, found)
        connections.give_back(lent)
        return answer, None

    def _make_table(self) -> None:
        _, failure = self._try(execute, self._create_schema, ())
        # Another one that makes it just now, or a restart: the next try tells.
        if failure is not None and failure.verdict not in (Verdict.TAKEN, Verdict.UNDONE, Verdict.LOST):
            raise self._failed(failure) from failure.error

    def _failed(self, failure: _Failure, may_be_late: bool = False) -> StoreUnavailable:
        if failure.verdict in (Verdict.LOST, Verdict.UNREACHABLE) and (self._budget.left() or not may_be_late):
            self._breaker.failed()
        text = f"{self._server}: {reason(failure.error, self._engine)}"
        hint = self._hints.get(failure.verdict)
        return StoreUnavailable(text) if hint is None else StoreUnusable(text + hint)
