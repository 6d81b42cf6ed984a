"""Where other libraries keep their sessions: bytes under a key, to be read and removed. They know no format.

Each is safe with threads and after a fork. Whatever goes wrong in a driver is :exc:`StoreUnavailable`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from session_middleware.exceptions import ConfigurationError, PayloadError, StoreUnavailable
from session_middleware.integrations.moving.formats import MOST

if TYPE_CHECKING:
    from sqlalchemy import Engine

_TIMEOUT: Final = 1.0

# What makes a driver give up in time: by its own name for it, in seconds; libpq waits for 2 at least.
_PATIENCE: Final = {
    "psycopg": {"connect_timeout": 2},
    "psycopg2": {"connect_timeout": 2},
    "pymysql": {"connect_timeout": 1, "read_timeout": 1, "write_timeout": 1},
}


class Place(Protocol):
    """What a reader asks of wherever the sessions are. Yours may be any object with these two."""

    def get(self, key: str, now: float) -> bytes | None:
        """Return what is under the key, ``None`` if nothing is, or if it has expired at *now* (epoch seconds).

        Raise :exc:`StoreUnavailable` if that cannot be told.
        """
        ...

    def remove(self, key: str) -> None:
        """Remove what is under the key, if anything is; raise :exc:`StoreUnavailable` if that is not certain."""
        ...


class RedisPlace:
    """Redis, by a URL or by a client of ``redis-py``; its own expiry holds."""

    def __init__(self, client: Any) -> None:
        if isinstance(client, str):
            client = redis_client(client)
        pool = getattr(client, "connection_pool", None)
        if getattr(pool, "connection_kwargs", {}).get("decode_responses"):
            raise ConfigurationError("a Redis client with decode_responses=True: leave that out, sessions are bytes")
        self._client = client

    def get(self, key: str, now: float) -> bytes | None:
        with _failing_as_unavailable("Redis"):
            found: bytes | None = self._client.get(key)
            return found

    def remove(self, key: str) -> None:
        with _failing_as_unavailable("Redis"):
            self._client.delete(key)


class FilePlace:
    """One file for each session in a directory; *path_of* returns the path in it for a key."""

    def __init__(self, directory: str | os.PathLike[str], path_of: Callable[[str], str]) -> None:
        self._directory = Path(directory)
        self._path_of = path_of
        if not self._directory.is_dir():
            raise ConfigurationError(f"{str(directory)!r}: there is no such directory; write where the old sessions are")

    def get(self, key: str, now: float) -> bytes | None:
        with _failing_as_unavailable("files"):
            try:
                with (self._directory / self._path_of(key)).open("rb") as file:
                    return file.read(MOST + 1)
            except FileNotFoundError:
                self._be_there()
                return None

    def remove(self, key: str) -> None:
        with _failing_as_unavailable("files"):
            try:
                (self._directory / self._path_of(key)).unlink()
            except FileNotFoundError:
                self._be_there()

    def _be_there(self) -> None:
        """A directory that is away, because it is not mounted just now, says nothing about what is in it."""
        self._directory.stat()


class TablePlace:
    """A table, by an SQLAlchemy engine or URL. *expires_column* holds UTC without a zone, or a time with one."""

    def __init__(
        self,
        engine: "Engine | str",
        table: str,
        *,
        key_column: str,
        value_column: str,
        expires_column: str | None = None,
        schema: str | None = None,
    ) -> None:
        try:
            import sqlalchemy
        except ImportError as error:
            raise ConfigurationError("a table needs SQLAlchemy: pip install 'session-middleware[sqlalchemy]'") from error
        if isinstance(engine, str):
            try:
                url = sqlalchemy.make_url(engine)
                patience = _PATIENCE.get(url.get_dialect().driver, {})
            except sqlalchemy.exc.ArgumentError as error:
                raise ConfigurationError(f"the URL of the old sessions cannot be read: {type(error).__name__}") from None
            # No connection is kept: it could fall silent, or be that of another process after a fork.
            engine = sqlalchemy.create_engine(
                url,
                poolclass=sqlalchemy.NullPool,
                connect_args={name: seconds for name, seconds in patience.items() if name not in url.query},
            )
        _refuse_absent_file(engine.url)
        self._engine = engine
        self._sql = sqlalchemy
        types = {key_column: sqlalchemy.String, value_column: sqlalchemy.LargeBinary}
        columns: list[Any] = [sqlalchemy.column(name, kind) for name, kind in types.items()]
        if expires_column is not None:
            columns.append(sqlalchemy.column(expires_column, sqlalchemy.DateTime))
        self._table = sqlalchemy.table(table, *columns, schema=schema)
        self._key = columns[0]
        self._columns = columns

    def get(self, key: str, now: float) -> bytes | None:
        with _failing_as_unavailable("the database"), self._engine.connect() as connection:
            row = connection.execute(self._sql.select(*self._columns).where(self._key == key)).first()
        if row is None or not _is_same(row[0], key) or (len(row) > 2 and _has_passed(row[2], now)):
            return None
        value = row[1]
        return value.encode() if isinstance(value, str) else None if value is None else bytes(value)

    def remove(self, key: str) -> None:
        with _failing_as_unavailable("the database"), self._engine.begin() as connection:
            connection.execute(self._sql.delete(self._table).where(self._key == key))


def _refuse_absent_file(url: Any) -> None:
    """Raise :exc:`ConfigurationError` for a file of SQLite that is not there, for the driver would make an empty one."""
    path = url.database if url.get_backend_name() == "sqlite" else None
    if path and path != ":memory:" and not path.startswith("file:") and not Path(path).is_file():
        raise ConfigurationError(f"{path!r}: there is no such file; write where the old sessions are")


def _is_same(stored: str | bytes, key: str) -> bool:
    """Tell whether it is the key to the letter.

    To many a database case makes no difference: then each spelling of one cookie would make a session of its own here.
    """
    text = stored.decode("utf-8", "replace") if isinstance(stored, bytes) else stored
    return text.rstrip(" ") == key


def _has_passed(moment: datetime | None, now: float) -> bool:
    if moment is None:
        return True
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() <= now


def redis_client(url: str, **options: Any) -> Any:
    """Return a client of ``redis-py``; *options*, such as ``db``, hold where *url* says nothing else."""
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise ConfigurationError("Redis needs redis-py: pip install 'session-middleware[redis]'") from error
    try:
        in_time = {"socket_timeout": _TIMEOUT, "socket_connect_timeout": _TIMEOUT, "retry": Retry(NoBackoff(), 0)}
        client = Redis.from_url(url, **(in_time | options))
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)  # which connects to nothing
    except ValueError as error:
        raise ConfigurationError(f"the URL of the old sessions cannot be read: {error}") from None
    except TypeError as error:
        raise ConfigurationError(
            f"the URL of the old sessions has an option that redis-py does not know ({error}); what the old library calls"
            " its prefix is an argument, key_prefix="
        ) from None
    return client


@contextmanager
def _failing_as_unavailable(what: str) -> Iterator[None]:
    try:
        yield
    # Drivers have their own trees of errors, and none of them may read as "no session".
    except Exception as error:
        message = f"the old sessions cannot be asked ({what}: {type(error).__name__})"
        raise StoreUnavailable(message) from _without_the_key(error)


def _without_the_key(error: Exception) -> Exception:
    """Return *error* without the session's name, which may open it: files have it, and SQLAlchemy shows its parameters."""
    if isinstance(error, OSError) and error.filename is not None:
        return OSError(error.errno, error.strerror)
    original = getattr(error, "orig", None)
    return original if isinstance(original, Exception) else error


def checked_size(data: bytes) -> bytes:
    """Return *data*; raise :exc:`PayloadError` if they are too many to be a session."""
    if len(data) > MOST:
        raise PayloadError(f"it is over the limit of {MOST:,} bytes")
    return data
