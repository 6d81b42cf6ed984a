"""The table of :class:`SQLAlchemyStore` and its statements, in two kinds of SQL. It talks to no server."""

from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple

# sweep_at is expires_at + SLACK when the row is written, and stays as long as it is no more than SLACK away from that:
# so the common update, which moves the end of a session by seconds, touches no index.
SLACK: Final = 300

# How many rows are listed in one go. Those that have expired are among them: to pass over such rows would take as long as
# there are of them.
PAGE: Final = 1000

# A user id may hold a NUL, which PostgreSQL has in no text; and bytes are compared as they are.
_POSTGRESQL_TABLE: Final = """\
CREATE TABLE IF NOT EXISTS {table} (
    {key} VARCHAR(12) COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL,
    version BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    sweep_at BIGINT NOT NULL,
    user_id BYTEA
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS {by_sweep_at} ON {table} (sweep_at);
CREATE INDEX IF NOT EXISTS {by_user_id} ON {table} (user_id, {key}) WHERE user_id IS NOT NULL;
"""
_MARIADB_TABLE: Final = """\
CREATE TABLE IF NOT EXISTS {table} (
    {key} VARCHAR(12) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    value LONGBLOB NOT NULL,
    version BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    sweep_at BIGINT NOT NULL,
    user_id VARBINARY(255),
    KEY {by_sweep_at} (sweep_at),
    KEY {by_user_id} (user_id, {key})
) ENGINE=InnoDB;
"""

_INSERT: Final = """INSERT INTO {table} ({key}, value, version, expires_at, sweep_at, user_id)
    VALUES (%s, {bytes}, %s, %s, %s, {bytes})"""
_OVER_AN_EXPIRED_ONE: Final = """ ON CONFLICT ({key}) DO UPDATE SET value = excluded.value, version = excluded.version,
        expires_at = excluded.expires_at, sweep_at = excluded.sweep_at, user_id = excluded.user_id
    WHERE {table}.expires_at <= %s"""
_LOAD: Final = "SELECT value, version FROM {table} WHERE {key} = %s AND expires_at > %s"
_LOAD_WHOLE: Final = "SELECT value, version, expires_at, user_id FROM {table} WHERE {key} = %s AND expires_at > %s"
_VERSION: Final = "SELECT version FROM {table} WHERE {key} = %s"
_UPDATE: Final = """UPDATE {table} SET value = {bytes}, version = %s, expires_at = %s,
        sweep_at = CASE WHEN sweep_at BETWEEN %s AND %s THEN sweep_at ELSE %s END, user_id = {bytes}
    WHERE {key} = %s AND version = %s AND expires_at > %s"""
_REMOVE: Final = "DELETE FROM {table} WHERE {key} = %s AND version = %s AND expires_at > %s"
_DELETE: Final = "DELETE FROM {table} WHERE {key} = %s AND expires_at > %s"
_CLEAR: Final = "DELETE FROM {table} WHERE {key} = %s AND expires_at <= %s"
# The array is made once; a plain subquery, with its lock and its limit, might be run once for each row.
_POSTGRESQL_SWEEP: Final = """DELETE FROM {table} WHERE {key} = ANY (ARRAY(
    SELECT {key} FROM {table} WHERE (SELECT pg_advisory_xact_lock({number})) IS NOT NULL AND sweep_at <= %s
    ORDER BY sweep_at LIMIT %s FOR UPDATE SKIP LOCKED))
    RETURNING {key}, user_id"""
# Not all of them can tell what they delete: it is found, and locked, before. Told how to go about it, or the planner would
# read, and lock, all rows of a small table.
_MARIADB_SWEEP: Final = """SELECT {key}, user_id FROM {table} FORCE INDEX ({by_sweep_at}) WHERE sweep_at <= %s
    ORDER BY sweep_at LIMIT %s FOR UPDATE SKIP LOCKED"""
_MARIADB_DELETE_MANY: Final = """SELECT {key} FROM {table} FORCE INDEX (PRIMARY)
    WHERE {key} IN ({{keys}}) AND expires_at > %s LIMIT {page} FOR UPDATE"""
# And told, each server in its own way, that sql_safe_updates does not mean this: it might refuse it.
_REMOVE_FOUND: Final = """/*M!100101 SET STATEMENT sql_safe_updates = 0 FOR */ DELETE /*+ SET_VAR(sql_safe_updates = 0) */
    swept FROM (SELECT {key} FROM {table} FORCE INDEX (PRIMARY) WHERE {key} IN ({{keys}}) FOR UPDATE SKIP LOCKED) AS found
    STRAIGHT_JOIN {table} AS swept FORCE INDEX (PRIMARY) ON swept.{key} = found.{key}"""
_KEYS_OF: Final = "SELECT {key}, expires_at FROM {table} WHERE user_id = {bytes} AND {key} > %s ORDER BY {key} LIMIT {page}"
# With a limit, or that of the connection would hold (sql_select_limit).
_LOAD_MANY: Final = """SELECT {key}, value, version FROM {table}
    WHERE {key} IN ({{keys}}) AND expires_at > %s LIMIT {page}"""
_POSTGRESQL_DELETE_MANY: Final = "DELETE FROM {table} WHERE {key} IN ({{keys}}) AND expires_at > %s RETURNING {key}"
_KEYS: Final = "SELECT {key}, expires_at FROM {table} WHERE {key} > %s ORDER BY {key} LIMIT {page}"


BEFORE_ALL: Final = " "
"""What stands before every key; an empty text may be NULL (``EMPTY_STRING_IS_NULL`` of MariaDB)."""


class Statements(NamedTuple):
    """What a store asks; parameters are ``%s``, in the order of the text.

    ``bound`` makes of bytes what stands for them among the parameters; of ``None``, ``None``.
    ``clear``, if it is not empty, is to be run when ``create`` finds the key taken, which is then an ``IntegrityError``.
    ``turn``, if it is not empty, is the name of a lock to be held around ``sweep``; otherwise ``sweep`` sees to it.
    ``sweep`` and ``delete_many`` return what they remove; or, where ``remove_found`` is not empty, what that is to remove in
    the same transaction. In the place of ``{keys}`` stands a parameter for each key.
    """

    bound: Callable[[bytes | None], bytes | str | None]
    ddl: str
    create_schema: str
    create: str
    clear: str
    load: str
    version: str
    update: str
    remove: str
    delete: str
    sweep: str
    turn: str
    load_many: str
    load_whole: str
    delete_many: str
    remove_found: str
    keys_of: str
    keys: str


def statements(*, postgresql: bool, table: str, schema: str | None) -> Statements:
    """Return the statements for PostgreSQL, or for MariaDB and MySQL; the names are letters, digits and underscores."""
    quote = '"' if postgresql else "`"
    name = ".".join(f"{quote}{part}{quote}" for part in (schema, table) if part)
    digest = sha256(name.encode()).digest()
    names = {
        "table": name,
        "key": f"{quote}key{quote}",
        "by_sweep_at": f"{quote}{table}_by_sweep_at{quote}",
        "by_user_id": f"{quote}{table}_by_user_id{quote}",
        "number": str(int.from_bytes(digest[:8], signed=True)),
        "page": str(PAGE),
        "bytes": "%s" if postgresql else "UNHEX(%s)",
    }
    ddl = (_POSTGRESQL_TABLE if postgresql else _MARIADB_TABLE).format_map(names)
    # CREATE ... IF NOT EXISTS fails when it is raced. PostgreSQL runs the lines of one query as one transaction.
    turn = "SELECT pg_advisory_xact_lock({number});\n" if postgresql else ""
    texts = {
        "create": _INSERT + (_OVER_AN_EXPIRED_ONE if postgresql else ""),
        "clear": "" if postgresql else _CLEAR,
        "load": _LOAD,
        "version": _VERSION,
        "update": _UPDATE,
        "remove": _REMOVE,
        "delete": _DELETE,
        "sweep": _POSTGRESQL_SWEEP if postgresql else _MARIADB_SWEEP,
        "turn": "" if postgresql else f"session_middleware.{digest.hex()[:32]}",
        "load_many": _LOAD_MANY,
        "load_whole": _LOAD_WHOLE,
        "delete_many": _POSTGRESQL_DELETE_MANY if postgresql else _MARIADB_DELETE_MANY,
        "remove_found": "" if postgresql else _REMOVE_FOUND,
        "keys_of": _KEYS_OF,
        "keys": _KEYS,
    }
    filled = {verb: text.format_map(names) for verb, text in texts.items()}
    return Statements(_as_they_are if postgresql else _in_hex, ddl=ddl, create_schema=turn.format_map(names) + ddl, **filled)


def _as_they_are(data: bytes | None) -> bytes | None:
    return data


def _in_hex(data: bytes | None) -> str | None:
    # The drivers of MariaDB and MySQL write parameters into the text of the statement. In charsets such as gbk, with a
    # driver that escapes by backslashes, a quote in the data could end the literal: so nothing leaves here but digits.
    return None if data is None else data.hex()
