"""Sessions in a table of PostgreSQL, MariaDB or MySQL, beside the application's own: the verbs. It opens no connection."""

import os
import re
import time
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final, Self, TypeVar

from sqlalchemy import URL, Engine

from session_middleware.exceptions import ConfigurationError
from session_middleware.stores.base import Health, Record, Stored, Swept, Version
from session_middleware.stores.forks import around_forks
from session_middleware.stores.sqlalchemy.connections import Connections, LentConnections, OwnConnections
from session_middleware.stores.sqlalchemy.database import Database, Run, execute, fetch, fetch_binary
from session_middleware.stores.sqlalchemy.drivers import Budget
from session_middleware.stores.sqlalchemy.engines import fit_engine, own_engine, server_of, url_of, without_options
from session_middleware.stores.sqlalchemy.health import Place, told
from session_middleware.stores.sqlalchemy.sql import BEFORE_ALL, PAGE, SLACK, statements
from session_middleware.stores.trial import try_verbs
from session_middleware.stores.urls import number

T = TypeVar("T")

# With "_by_sweep_at" at its end it is still a name for PostgreSQL (63 characters) and MariaDB (64).
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}")

# "This version doesn't yet support": there are no locks by name in a Galera cluster.
_NO_NAMED_LOCKS: Final = 1235


class SQLAlchemyStore:
    """Keeps sessions in one table, which is made at the first use unless it is there.

    Given a URL (``postgresql://``, ``mariadb://``, ``mysql://``) it has connections of its own, no more than threads are
    at work, and a verb takes at most *timeout* seconds. Given an engine it borrows connections from the engine's pool,
    each for one statement that is no part of any transaction of the application; then the timeouts of that engine hold.
    With ``create=False`` it never makes the table: see :meth:`ddl`. Sessions end by the clocks of the hosts that serve the
    site, which therefore must agree; the database is never asked for the time.
    """

    def __init__(
        self,
        engine_or_url: Engine | URL | str,
        *,
        table: str = "sessions",
        schema: str | None = None,
        timeout: float = 1.0,
        create: bool = True,
    ) -> None:
        for name, text in (("table", table), ("schema", "public" if schema is None else schema)):
            if not isinstance(text, str) or not _NAME.fullmatch(text):
                raise ConfigurationError(f"{name}={text!r}: write up to 50 letters, digits and underscores")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 60:
            raise ConfigurationError(f"timeout={timeout!r}: write seconds, above 0 and up to 60")
        if not isinstance(create, bool):
            raise ConfigurationError(f"create={create!r}: write True or False")
        self._budget = Budget(timeout)
        if isinstance(engine_or_url, str | URL):
            engine = own_engine(url_of(engine_or_url), self._budget)
            connections: Connections = OwnConnections(engine)
            weakref.finalize(self, connections.close)
        else:
            engine = fit_engine(engine_or_url)
            connections = LentConnections(engine)
        self._sql = statements(postgresql=engine.dialect.name == "postgresql", table=table, schema=schema)
        self._database = Database(
            engine,
            connections,
            self._budget,
            server=server_of(engine.url),
            table=f"{schema}.{table}" if schema else table,
            create_schema=self._sql.create_schema,
        )
        self._place = Place(engine.dialect.name == "postgresql", engine.url.host, schema, table)
        self._ask = partial(self._database.ask, make_table=create)
        self._fetch_values = fetch_binary if engine.dialect.driver == "psycopg" else fetch
        around_forks(self._database, in_child=Database.forget)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the store that the URL names; ``table``, ``schema``, ``timeout`` and ``create`` may stand in its query.

        What else stands there goes to the driver.
        """
        rest, options = without_options(url_of(url), ("table", "schema", "timeout", "create"))
        create = options.get("create", "true")
        if create not in ("true", "false"):
            raise ConfigurationError(f"create={create!r}: write true or false")
        return cls(
            rest,
            table=options.get("table", "sessions"),
            schema=options.get("schema"),
            timeout=number(float, "timeout", options.get("timeout", "1")),
            create=create == "true",
        )

    def ddl(self) -> str:
        """Return the statements that make the table, for those whose database user may not. It connects to nothing."""
        return self._sql.ddl

    def create_schema(self) -> None:
        """Make the table unless it is there; any number of processes may do so at once."""
        self._budget.start()
        self._database.ask(fetch, self._sql.load, ("", 0), make_table=True)

    def open(self) -> None:
        """Make the table unless it is there; write a record, read, replace and remove it; keep no connection of its own."""
        try_verbs(self)
        self.close()

    def __repr__(self) -> str:
        return f"SQLAlchemyStore({self._database})"

    def create(self, key: str, record: Record) -> bool:
        self._budget.start()
        now, version, bound = int(time.time()), _nonce(), self._sql.bound
        value, expires_at, user_id = record
        row: tuple[object, ...] = (key, bound(value), version, expires_at, expires_at + SLACK, bound(_bytes(user_id)))
        if not self._sql.clear:
            count, unsure = self._ask(execute, self._sql.create, (*row, now))
        else:
            count, unsure = self._ask(execute, self._sql.create, row)
            if not count:
                self._ask(execute, self._sql.clear, (key, now))
                count, again = self._ask(execute, self._sql.create, row)
                unsure = unsure or again
        return count == 1 or (unsure and self._has(key, version))

    def load(self, key: str) -> Stored | None:
        self._budget.start()
        rows, _ = self._ask(self._fetch_values, self._sql.load, (key, int(time.time())))
        return Stored(bytes(rows[0][0]), rows[0][1]) if rows else None

    def load_whole(self, key: str) -> tuple[Record, Version] | None:
        self._budget.start()
        rows, _ = self._ask(fetch, self._sql.load_whole, (key, int(time.time())))
        if not rows:
            return None
        value, version, expires_at, user_id = rows[0]
        return Record(bytes(value), expires_at, None if user_id is None else _text(user_id)), version

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        self._budget.start()
        now, new, bound = int(time.time()), _nonce(), self._sql.bound
        value, expires_at, user_id = record
        if expires_at <= now:
            count, unsure = self._ask(execute, self._sql.remove, (key, version, now))
            return count == 1 or (unsure and self._has(key, None))
        sweep_at = (expires_at, expires_at + 2 * SLACK, expires_at + SLACK)
        row = (bound(value), new, expires_at, *sweep_at, bound(_bytes(user_id)))
        count, unsure = self._ask(execute, self._sql.update, (*row, key, version, now))
        return count == 1 or (unsure and self._has(key, new))

    def delete(self, key: str) -> bool:
        self._budget.start()
        count, unsure = self._ask(execute, self._sql.delete, (key, int(time.time())))
        return count == 1 or unsure

    def load_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        rows, _ = self._ask_about(keys, self._fetch_values, self._sql.load_many)
        return {key: Stored(bytes(value), version) for key, value, version in rows}

    def delete_many(self, keys: Sequence[str]) -> list[str]:
        rows, unsure = self._ask_about(keys, self._remove, self._sql.delete_many)
        return list(keys) if unsure else [_text(key) for (key,) in rows]

    def sweep(self, limit: int) -> list[Swept]:
        self._budget.start()
        run = self._remove_in_turn if self._sql.turn else self._remove
        rows, _ = self._ask(run, self._sql.sweep, (int(time.time()), limit))
        return [Swept(_text(key), None if user_id is None else _text(user_id)) for key, user_id in rows]

    def health(self) -> Health:
        self._budget.start()
        health, _ = self._database.ask(lambda cursor, *_: told(cursor, self._place), "", (), may_be_late=True)
        return health

    def keys_of(self, user_id: str) -> Iterator[str]:
        return self._list(self._sql.keys_of, self._sql.bound(_bytes(user_id)))

    def keys(self) -> Iterator[str]:
        return self._list(self._sql.keys)

    def close(self) -> None:
        """Close the connections that are not in use now, if they are the store's own. It opens others when used again."""
        self._database.close()

    def _ask_about(self, keys: Sequence[str], run: Run[T], sql: str) -> tuple[T, bool]:
        self._budget.start()
        sql = sql.format(keys=", ".join(["%s"] * len(keys)))
        return self._ask(run, sql, (*keys, int(time.time())), may_be_late=True)

    def _list(self, sql: str, *parameters: object) -> Iterator[str]:
        """Yield the unexpired keys that a statement finds, which is asked for page after page."""
        last, count = BEFORE_ALL, PAGE
        while count == PAGE:
            self._budget.start()
            rows, _ = self._ask(fetch, sql, (*parameters, last), may_be_late=True)
            now, count = time.time(), len(rows)
            keys = [_text(key) for key, _ in rows]
            yield from (key for key, (_, expires_at) in zip(keys, rows, strict=True) if expires_at > now)
            last = keys[-1] if keys else last

    def _has(self, key: str, version: int | None) -> bool:
        """Return ``True`` if *version* is what is under the key (``None``: nothing): a write that got no answer was done.

        If something else is, nobody can tell, because others may have come after it.
        """
        rows, _ = self._ask(fetch, self._sql.version, (key,))
        if (rows[0][0] if rows else None) == version:
            return True
        raise self._database.unavailable("the connection was lost, and it is not known whether the write was done")

    def _remove(self, cursor: Any, sql: str, parameters: tuple[object, ...]) -> Any:
        """Return the rows that the statement has removed."""
        if not self._sql.remove_found:
            return fetch(cursor, sql, parameters)
        cursor.execute("START TRANSACTION")
        rows = fetch(cursor, sql, parameters)
        if rows:
            found = ", ".join(["%s"] * len(rows))
            cursor.execute(self._sql.remove_found.format(keys=found), tuple([row[0] for row in rows]))
        cursor.execute("COMMIT")
        return rows

    def _remove_in_turn(self, cursor: Any, sql: str, parameters: tuple[object, ...]) -> Any:
        """Return the rows that the statement has removed, which one connection at a time may run."""
        try:
            cursor.execute("SELECT GET_LOCK(%s, %s)", (self._sql.turn, self._budget.left() / 2))
            if cursor.fetchone()[0] != 1:
                return ()
        except Exception as error:
            if error.args[:1] != (_NO_NAMED_LOCKS,):
                raise
            return self._remove(cursor, sql, parameters)
        rows = self._remove(cursor, sql, parameters)
        cursor.execute("DO RELEASE_LOCK(%s)", (self._sql.turn,))
        return rows


def _text(found: Any) -> str:
    # Some connections give bytes for all text.
    return found if isinstance(found, str) else bytes(found).decode()


def _nonce() -> int:
    return int.from_bytes(os.urandom(8)) >> 1


def _bytes(user_id: str | None) -> bytes | None:
    return None if user_id is None else user_id.encode()
