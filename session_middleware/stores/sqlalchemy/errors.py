"""What the errors of a database driver mean for a statement that was asked. It asks nothing itself."""

import re
from enum import Enum, auto
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class Verdict(Enum):
    """What an error says of the statement that was asked."""

    LOST = auto()
    """The connection is of no use any more, and whether the statement was applied is not known."""
    MOVED = auto()
    """It was not applied, because this server takes no writes (any more); another one may."""
    UNDONE = auto()
    """It was not applied, because it met with another transaction."""
    TAKEN = auto()
    """It was not applied, because there is a row with this key."""
    UNREACHABLE = auto()
    """It was not sent, for want of a connection."""
    UNFIT = auto()
    """The driver cannot even connect, for a reason that is none of the server's."""
    NOT_LET_IN = auto()
    """It was not sent, because of who asks, or how, or for which database; it will be the same the next time."""
    NO_TABLE = auto()
    OTHER_TABLE = auto()
    """There is a table, and it has other columns."""
    NO_SCHEMA = auto()
    ODD_ROWS = auto()
    """Rows are no tuples."""
    NOT_PERMITTED = auto()
    REFUSED = auto()
    """The server answered with another error, or the pool did."""


class OddRows(Exception):
    """A connection gives rows that are no tuples."""


_VERDICTS: Final[dict[object, Verdict]] = {
    **dict.fromkeys(("57P01", "57P02", "57P03", "08000", "08003", "08006", 0, 1053, 1927, 2006, 2013), Verdict.LOST),
    **dict.fromkeys(("25006", 1290, 1836), Verdict.MOVED),
    **dict.fromkeys(("40001", "40P01", "55P03", 1020, 1205, 1213), Verdict.UNDONE),
    **dict.fromkeys(("23505", 1062), Verdict.TAKEN),
    **dict.fromkeys(("42P01", 1146), Verdict.NO_TABLE),
    **dict.fromkeys(("42703", "42804", "42883", 1054), Verdict.OTHER_TABLE),
    **dict.fromkeys(("42501", 1044, 1142), Verdict.NOT_PERMITTED),
    **dict.fromkeys(("3F000", 1049), Verdict.NO_SCHEMA),
}

# What MariaDB and MySQL answer to who connects, and PyMySQL where TLS is wanted and not to be had.
_NOT_LET_IN: Final = {1044, 1045, 1049, 1130, 1698, 2026, 3118, 3159, 4151}

# psycopg gives no code for an error while connecting, so what PostgreSQL, PgBouncer, libpq and OpenSSL say must do. In
# another language than English it is not known, and the site starts.
_SAID: Final = re.compile(
    r"authentication failed for user|no password supplied|is not permitted to log in|permission denied for database"
    r"|(?:role|user|database) \S+ does not exist|no such (?:user|database)|pg_hba\.conf|unsupported startup parameter"
    r"|does not support SSL|root certificate file|CERTIFICATE_VERIFY_FAILED|certificate verify failed"
    r"|does not match host name|invalid \w+ value"
)

# Where it tried several hosts, or several addresses of a host, psycopg says so of each.
_ATTEMPT: Final = re.compile(r"^- host: '(.*?)'", re.MULTILINE)

# From here on the numbers of PyMySQL's errors are those of the client.
_CLIENT_ERRORS: Final = 2000


def verdict(error: Any, engine: Engine, connection: Any) -> Verdict:
    """Return what the *error* of a statement means; *connection* is the driver's own, ``None`` if it could not be opened."""
    if isinstance(error, OddRows):
        return Verdict.ODD_ROWS
    if not _is_meant(error, engine):
        return Verdict.UNFIT if connection is None else Verdict.REFUSED
    code: object = error.args[0] if error.args else None
    if not isinstance(code, int):
        code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if connection is None:
        if code in _NOT_LET_IN or _is_for_good(str(error)):
            return Verdict.NOT_LET_IN
        if isinstance(error, FileNotFoundError | PermissionError):  # a certificate, which is not read when it is named
            return Verdict.UNFIT
        # "FATAL:  " is the server's, whatever that is in its language.
        answered = ":  " in str(error) or (isinstance(code, int) and code < _CLIENT_ERRORS)
        return Verdict.REFUSED if answered or isinstance(error, PoolTimeout) else Verdict.UNREACHABLE
    if (found := _VERDICTS.get(code)) is not None:
        return found
    driver: Any = engine.dialect.dbapi
    # What has no code comes from the driver itself: the connection broke off.
    broke_off = code is None and isinstance(error, (driver.OperationalError, driver.InterfaceError))
    if broke_off or isinstance(error, OSError) or engine.dialect.is_disconnect(error, connection, None):
        return Verdict.LOST
    return Verdict.REFUSED


def _is_for_good(text: str) -> bool:
    """Tell whether each host has turned us away for good; a host that has for one of its addresses."""
    before, *attempts = _ATTEMPT.split(text)
    if not attempts:
        return bool(_SAID.search(before))
    turned_away = {host for host, said in zip(attempts[::2], attempts[1::2], strict=True) if _SAID.search(said)}
    return turned_away >= set(attempts[::2])


def driver_error(error: BaseException) -> Exception | None:
    """Return *error* as the driver raised it, which may be anything; ``None`` if it comes from outside."""
    if isinstance(error, DBAPIError) and isinstance(error.orig, Exception):
        return error.orig
    return error if isinstance(error, Exception) else None


def reason(error: Exception, engine: Engine) -> str:
    """Return what *error* says in one line, without the values that it may quote."""
    if isinstance(error, PoolTimeout):
        return "all connections of the engine's pool are in use"
    if not _is_meant(error, engine):
        return type(error).__name__
    text = getattr(getattr(error, "diag", None), "message_primary", None)
    if text is None and len(error.args) > 1 and isinstance(error.args[0], int):
        text = error.args[1]
    lines = str(text or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _is_meant(error: object, engine: Engine) -> bool:
    """Tell whether *error* is one of those that a driver is to raise; what its own mistakes raise is not."""
    return isinstance(error, (engine.dialect.loaded_dbapi.Error, SQLAlchemyError, OSError))
