"""What the errors of a database driver mean for a statement that was asked. It asks nothing itself."""

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
    NO_TABLE = auto()
    OTHER_TABLE = auto()
    """There is a table, and it has other columns."""
    NOT_PERMITTED = auto()
    REFUSED = auto()
    """The server answered with another error, or the pool did."""


_VERDICTS: Final[dict[object, Verdict]] = {
    **dict.fromkeys(("57P01", "57P02", "57P03", "08000", "08003", "08006", 0, 1053, 1927, 2006, 2013), Verdict.LOST),
    **dict.fromkeys(("25006", 1290, 1836), Verdict.MOVED),
    **dict.fromkeys(("40001", "40P01", "55P03", 1020, 1205, 1213), Verdict.UNDONE),
    **dict.fromkeys(("23505", 1062), Verdict.TAKEN),
    **dict.fromkeys(("42P01", 1146), Verdict.NO_TABLE),
    **dict.fromkeys(("42703", "42804", "42883", 1054), Verdict.OTHER_TABLE),
    **dict.fromkeys(("42501", 1044, 1142), Verdict.NOT_PERMITTED),
}

# From here on the numbers of PyMySQL's errors are those of the client.
_CLIENT_ERRORS: Final = 2000


def verdict(error: Any, engine: Engine, connection: Any) -> Verdict:
    """Return what the *error* of a statement means; *connection* is the driver's own, ``None`` if it could not be opened."""
    if not _is_meant(error, engine):
        return Verdict.UNFIT if connection is None else Verdict.REFUSED
    code: object = error.args[0] if error.args else None
    if not isinstance(code, int):
        code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if connection is None:
        # psycopg gives no code for an error while connecting. "FATAL:  " is the server's, whatever that is in its language.
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
