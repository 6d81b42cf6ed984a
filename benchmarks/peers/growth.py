"""A read at 1,000 sessions and at very many, and what is left of them when they have ended.

The sessions are copies of one that the library has made, written by the store's own means, each under an id of its own.
Ours cannot be copied, as a record has the proof of its own secret: they are made one by one.
"""

import hashlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from benchmarks.peers.contenders import Contender
from benchmarks.peers.gang import Failed, Gang, Member
from benchmarks.peers.results import Row, Scope, of
from benchmarks.population import Records, population
from session_middleware.stores.sqlite import row_of

_FEW = 1000
_ASKED = 300
_LATER = 60.0
_AFTER = 2000


class Table(NamedTuple):
    """Where a library has its sessions in SQL, and the column of the id."""

    name: str
    column: str


TABLES = {
    "session_middleware": Table("sessions", "key"),
    "Beaker": Table("beaker_cache", "namespace"),
    "Flask-Session": Table("sessions", "session_id"),
    "Django": Table("django_session", "session_key"),
}


def growth(gang: Gang, scope: Scope) -> list[Row]:
    chosen = [
        (contender, store)
        for contender, store in scope.pairs("SQLite", "Redis", "PostgreSQL")
        if contender.name in (*TABLES, "pyramid_session_redis")
    ]
    return [_measure(gang, contender, store, scope) for contender, store in chosen]


def _measure(gang: Gang, contender: Contender, store: str, scope: Scope) -> Row:
    row = of(contender, store)
    if store == "Redis":
        with gang.redis.client(socket_timeout=120) as client:
            client.flushdb()  # of this run's own server
    member = gang.member(contender, store)
    try:
        with member:
            holder = _HOLDERS[store](gang, member)
            first = member.do("seed")
            for count, title in ((_FEW, "few"), (scope.many, "many")):
                cookies = _fill(holder, member, first, count)
                member.do("read_some", cookies=cookies)
                with_, without = member.do("read_some", cookies=cookies)
                row[title] = [round(with_, 1), round(without, 1)]
            row |= {"count": scope.many, "full": holder.used()}
            return row | _ended(holder, member, scope)
    except (Failed, AssertionError, sqlite3.Error) as failed:
        return row | {"failed": f"{type(failed).__name__}: {failed}"[:300]}


def _fill(holder: "Holder", member: Member, first: str, count: int) -> list[str]:
    """Add so many sessions; return the cookies of some of them, at random."""
    if member.contender.is_ours:
        tokens: list[str] = []
        holder.add(population(count, tokens))
        return [f"session={token}" for token in Random(count).sample(tokens, _ASKED)]
    keys = holder.copy(count)
    some = [keys(number) for number in Random(count).sample(range(count), _ASKED)]
    found: list[str] = member.do("cookies_of", keys=some, cookie=first)
    return found


def _ended(holder: "Holder", member: Member, scope: Scope) -> Row:
    """Let all end: what is left after so many new ones, and after the library's own means."""
    holder.end_all()
    after = min(_AFTER, scope.many // 10)
    began = member.do("later", days=_LATER, requests=after)
    row: Row = {"began after": began, "left": holder.left() - began, "used": holder.used()}
    seconds = member.do("clean", days=_LATER)
    if seconds is None:
        return row
    return row | {"clean seconds": round(seconds, 1), "left clean": holder.left() - began, "used clean": holder.used()}


class Holder:
    """The store behind a member, by its own means."""

    def __init__(self, gang: Gang, member: Member) -> None:
        self.member = member
        self.table = TABLES.get(member.contender.distribution, TABLES["Django"])

    def add(self, records: Records) -> None:
        """Add ours."""
        raise NotImplementedError

    def copy(self, count: int) -> Callable[[int], str]:
        """Copy the only session there is; return what the id of each copy is."""
        raise NotImplementedError

    def left(self) -> int:
        raise NotImplementedError

    def used(self) -> int:
        raise NotImplementedError

    def end_all(self) -> None:
        """Let time go by where the store has the clock."""


class _SQL(Holder):
    mark = "?"
    hexes = "hex_of"

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    def columns(self) -> list[str]:
        raise NotImplementedError

    def copy(self, count: int) -> Callable[[int], str]:
        name, column = self.table
        first = str(self.run(f"SELECT {column} FROM {name} ORDER BY {column} LIMIT 1")[0][0])
        others = [title for title in self.columns() if title not in (column, "id")]
        ids = f"substr({self.hexes} || '{'x' * 300}', 1, {len(_bare(first))})"
        self.run(f"""INSERT INTO {name} ({column}, {", ".join(others)})
            SELECT '{_prefix(first)}' || {ids}, {", ".join(others)} FROM {name}, {self.numbers(count)}
            WHERE {column} = '{first}'""")
        return lambda number: (_hex(count + number) + "x" * 300)[: len(_bare(first))]

    def numbers(self, count: int) -> str:
        raise NotImplementedError

    def left(self) -> int:
        return int(self.run(f"SELECT count(*) FROM {self.table.name}")[0][0])


def _prefix(key: str) -> str:
    return "session:" if key.startswith("session:") else ""


def _bare(key: str) -> str:
    return key.removeprefix("session:")


def _hex(number: int) -> str:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


class SQLiteHolder(_SQL):
    def run(self, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.member.place.sqlite_path, isolation_level=None, timeout=60)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        connection.create_function("hex_of", 1, lambda number: _hex(number), deterministic=True)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    hexes = "hex_of(number)"

    def columns(self) -> list[str]:
        return [str(row[1]) for row in self.run(f"PRAGMA table_info({self.table.name})")]

    def numbers(self, count: int) -> str:
        return f"""(WITH RECURSIVE c(number) AS
            (SELECT {count} UNION ALL SELECT number + 1 FROM c WHERE number + 1 < {2 * count})
            SELECT number FROM c)"""

    def add(self, records: Records) -> None:
        connection = sqlite3.connect(self.member.place.sqlite_path, isolation_level=None, timeout=60)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        connection.execute("BEGIN")
        sql = "INSERT INTO sessions (id, key, value, version, expires_at, sweep_at) VALUES (?, ?, ?, 1, ?, ?)"
        connection.executemany(sql, ((row_of(key), key, value, end, end + 300) for key, value, end in records))
        connection.execute("COMMIT")
        connection.close()

    def used(self) -> int:
        return sum(path.stat().st_size for path in Path(self.member.place.folder).glob("sessions.sqlite3*"))


class PostgresHolder(_SQL):
    def __init__(self, gang: Gang, member: Member) -> None:
        super().__init__(gang, member)
        self.server = gang.postgresql

    hexes = "md5(number::text)"

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        with self.server.connect(self.member.place.database) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def columns(self) -> list[str]:
        sql = f"SELECT column_name FROM information_schema.columns WHERE table_name = '{self.table.name}'"
        return [str(row[0]) for row in self.run(sql)]

    def numbers(self, count: int) -> str:
        return f"generate_series({count}, {2 * count - 1}) AS number"

    def add(self, records: Records) -> None:
        sql = "COPY sessions (key, value, version, expires_at, sweep_at) FROM STDIN"
        with (
            self.server.connect(self.member.place.database) as connection,
            connection.cursor() as cursor,
            cursor.copy(sql) as copy,
        ):
            for key, value, end in records:
                copy.write_row((key, value, 1, end, end + 300))

    def used(self) -> int:
        return int(self.run(f"SELECT pg_total_relation_size('{self.table.name}')")[0][0])


_COPY = """local value, ttl = redis.call('GET', KEYS[1]), tonumber(ARGV[5])
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local id = string.sub(redis.sha1hex(tostring(number)) .. string.rep('x', 300), 1, tonumber(ARGV[6]))
  local key = ARGV[3] .. id .. ARGV[4]
  if ttl > 0 then redis.call('SET', key, value, 'PX', ttl) else redis.call('SET', key, value) end
end"""
_PART = 20_000


class RedisHolder(Holder):
    def __init__(self, gang: Gang, member: Member) -> None:
        super().__init__(gang, member)
        self.client: Any = gang.redis.client(socket_timeout=120)
        self.first = ""

    def add(self, records: Records) -> None:
        with self.client.pipeline(transaction=False) as pipeline:
            for number, (key, value, end) in enumerate(records, 1):
                pipeline.set(f"session:{key}", b"\1" * 8 + end.to_bytes(5) + b"\0" + value, exat=end + 300)
                if number % 5000 == 0:
                    pipeline.execute()
            pipeline.execute()

    def copy(self, count: int) -> Callable[[int], str]:
        if not self.first:
            (self.first,) = [key.decode() for key in self.client.scan_iter()]
        key = self.first
        before, size = _around(key)
        after = key[len(before) + size :]
        ttl = self.client.pttl(key)
        for start in range(count, 2 * count, _PART):
            end = min(start + _PART, 2 * count) - 1
            self.client.eval(_COPY, 1, key, start, end, before, after, ttl, size)
        return lambda number: (_sha1(count + number) + "x" * 300)[:size]

    def left(self) -> int:
        return int(self.client.dbsize())

    def used(self) -> int:
        return int(self.client.info("memory")["used_memory"])

    def end_all(self) -> None:
        """Let everything end that Redis would ever end."""
        script = """local found = redis.call('SCAN', ARGV[1], 'COUNT', 10000)
            for _, key in ipairs(found[2]) do if redis.call('PTTL', key) > 0 then redis.call('PEXPIRE', key, 1) end end
            return found[1]"""
        cursor = "0"
        while (cursor := self.client.eval(script, 0, cursor).decode()) != "0":
            pass
        before = -1
        while (now := self.left()) != before and now:
            before = now
            time.sleep(1.5)


def _around(key: str) -> tuple[str, int]:
    """Return what is before the id in a key of Redis, and how long the id is."""
    if key.startswith("beaker_cache:"):
        return "beaker_cache:", len(key.split(":")[1])
    for prefix in ("session:", ":1:django.contrib.sessions.cache"):
        if key.startswith(prefix):
            return prefix, len(key) - len(prefix)
    return "", len(key)


def _sha1(number: int) -> str:
    return hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()


_HOLDERS: dict[str, type[Holder]] = {"SQLite": SQLiteHolder, "Redis": RedisHolder, "PostgreSQL": PostgresHolder}
