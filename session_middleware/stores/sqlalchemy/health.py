"""What a database server tells of itself and of the table. It opens no connection."""

import time
from typing import Any, Final, NamedTuple

from session_middleware.stores.base import Health
from session_middleware.stores.several import is_local

# Of an index the first column is what it is of use for, whatever somebody has called it.
_POSTGRESQL: Final = (
    """SELECT split_part(current_setting('server_version'), ' ', 1), extract(epoch FROM clock_timestamp()),
        CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END,
        (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())""",
    """SELECT reltuples, ARRAY(SELECT attname::text FROM pg_index JOIN pg_attribute ON attrelid = indrelid
        AND attnum = indkey[0] WHERE indrelid = pg_class.oid) FROM pg_class WHERE oid = to_regclass(%s)""",
)
_MARIADB: Final = (
    """SELECT VERSION(), UNIX_TIMESTAMP(NOW(6)), CASE WHEN @@global.read_only THEN 'read_only' ELSE 'writable' END""",
    """SELECT table_rows, (SELECT GROUP_CONCAT(column_name) FROM information_schema.statistics
        WHERE table_schema = t.table_schema AND table_name = t.table_name AND seq_in_index = 1)
        FROM information_schema.tables AS t WHERE table_schema = COALESCE(%s, DATABASE()) AND table_name = %s""",
    "SHOW SESSION STATUS LIKE 'Ssl_cipher'",
)
_INDEXED: Final = ("sweep_at", "user_id")


class Place(NamedTuple):
    """Where the table is."""

    postgresql: bool
    host: str | None
    schema: str | None
    table: str


def told(cursor: Any, place: Place) -> Health:
    """Return what the server at the other end of *cursor* tells."""
    asked = time.time()
    cursor.execute((_POSTGRESQL if place.postgresql else _MARIADB)[0])
    version, clock, role, *rest = cursor.fetchone()
    half_way = (asked + time.time()) / 2
    version = _text(version)
    if place.postgresql:
        name = ".".join(f'"{part}"' for part in (place.schema, place.table) if part)
        cursor.execute(_POSTGRESQL[1], (name,))
        found, kind, encrypted = cursor.fetchone(), "PostgreSQL", bool(rest[0])
    else:
        cursor.execute(_MARIADB[1], (place.schema, place.table))
        found, kind = cursor.fetchone(), "MariaDB" if "mariadb" in version.lower() else "MySQL"
        cursor.execute(_MARIADB[2])
        encrypted = bool(cursor.fetchone()[1])
    return Health(
        kind,
        version=version.partition("-")[0],
        role=_text(role),
        tls=encrypted or (None if is_local(place.host) else False),
        schema=_schema(found and found[1]),
        clock_difference=float(clock) - half_way,
        # What the server has not counted yet is -1.
        records=None if found is None or found[0] is None or found[0] < 0 else int(found[0]),
    )


def _schema(columns: Any) -> str:
    if columns is None:
        return "there is no table"
    names = columns if isinstance(columns, list) else _text(columns).split(",")
    missing = [column for column in _INDEXED if column not in names]
    return f"no index of {' and of '.join(missing)}" if missing else "complete"


def _text(found: Any) -> str:
    # Some connections give bytes for all text.
    return found if isinstance(found, str) else bytes(found).decode()
