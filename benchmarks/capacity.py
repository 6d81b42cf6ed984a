"""Measures what ``session_middleware.capacity`` reckons with: ``make capacity``.

Each store is filled with 1,000,000 sessions, then read and written. It needs the servers that the tests need, 6 GB of
memory and 10 GB of disk. What it finds goes to ``session_middleware/capacity/measured.json``.
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from pymemcache.client.base import Client

from benchmarks.bulk import Filling, Known, fill_mariadb, fill_memcached, fill_postgresql, fill_redis, fill_sqlite, records
from session_middleware import MemoryStore, SQLiteStore, open_store
from session_middleware.stores.base import Record, Store, Stored
from tests.backends.mariadb import MariaDBServer
from tests.backends.memcached import Memcached
from tests.backends.postgresql import PostgresServer
from tests.backends.proxy import FaultProxy
from tests.backends.redis import RedisServer

OUTPUT = Path(__file__).parents[1] / "session_middleware" / "capacity" / "measured.json"

SIZE = 1200
"""The value of a record (bytes) with which verbs are measured, and 1,000,000 sessions are stored."""

LARGE = 8192
"""The same, to see how verbs grow with it."""

SIZES = tuple(round(100 * 1.07**number) for number in range(97))
"""The sizes for which a session is measured where it is kept in pages: a staircase, of which no step is missed."""

FILLED = {"sqlite": 12_000_000, "postgresql": 12_000_000, "mariadb": 24_000_000}
"""As much is stored of each size (bytes of values), and no more than 50,000: MariaDB's files grow by four megabytes."""

_REST = 5.0
"""After so many records a server is busy with itself for a while (seconds)."""

_TICKS = os.sysconf("SC_CLK_TCK")


class Verbs(NamedTuple):
    """What one call of a store takes: time of a processor on its server (seconds), bytes to it and back, bytes to disk."""

    cpu: float
    sent: float
    received: float
    disk: float


class Bench(NamedTuple):
    """A store to be measured. ``used`` returns bytes, ``cpu`` seconds, ``written`` bytes, each so far."""

    store: Store
    fill: Callable[[Filling], list[Known]]
    empty: Callable[[], object]
    used: Callable[[], int]
    cpu: Callable[[], float]
    written: Callable[[], int]
    proxy: FaultProxy | None


# The stores


@contextmanager
def sqlite_bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sessions.sqlite3")
        store = SQLiteStore(path)

        def empty() -> None:
            store.close()
            for file in path.parent.iterdir():
                file.unlink()
            store.open()

        yield Bench(
            store, lambda filling: fill_sqlite(path, filling), empty, lambda: path.stat().st_size, time.process_time,
            _written_by_us, None,
        )  # fmt: skip


@contextmanager
def redis_bench(appendonly: str = "yes") -> Iterator[Bench]:
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(appendonly=appendonly, auto_aof_rewrite_percentage=0))
        proxy = stack.enter_context(FaultProxy(server.port))
        client = stack.enter_context(server.client(socket_timeout=60))

        def settled() -> int:
            while client.info("persistence")["aof_rewrite_in_progress"]:
                time.sleep(0.1)
            found = client.info("memory")
            return int(found["used_memory"]) - int(found["mem_clients_normal"]) - int(found["mem_aof_buffer"])

        yield Bench(
            open_store(f"redis://127.0.0.1:{proxy.port}/0"), lambda filling: fill_redis(server.socket, filling),
            lambda: _flush(client), settled, lambda: _cpu(server.pid),
            lambda: int(client.info("persistence")["aof_current_size"]), proxy,
        )  # fmt: skip


def _flush(client: Any) -> None:
    """Empty the server, which is this module's own and has nothing but its records."""
    client.flushdb()
    client.execute_command("MEMORY", "PURGE")


def _forget(client: Client) -> None:
    """Let memcached forget all; what comes in the same second it would forget, too."""
    client.flush_all(noreply=False)
    time.sleep(1.1)


class _Postgres(PostgresServer):
    """As a site would have it, but for what a power cut needs."""

    def command(self) -> Sequence[str]:
        lasting = ("--full_page_writes=on", "--shared_buffers=1GB", "--max_wal_size=4GB", "--checkpoint_timeout=10min")
        return [*super().command(), *lasting]


@contextmanager
def postgresql_bench() -> Iterator[Bench]:
    with _Postgres() as server, FaultProxy(server.port) as proxy, server.connect() as connection:
        store = open_store(server.url(port=proxy.port))
        store.load("A" * 12)  # makes the table

        def ask(sql: str) -> int:
            return int(server.run(sql)[0][0])

        def empty() -> None:
            connection.execute("TRUNCATE sessions")
            connection.execute("CHECKPOINT")

        def fill(filling: Filling) -> list[Known]:
            known = fill_postgresql(connection, filling)
            connection.execute("CHECKPOINT")  # a page that is changed for the first time since then is logged as a whole
            return known

        yield Bench(
            store, fill,
            empty,
            lambda: ask("SELECT pg_total_relation_size('sessions')"),
            lambda: sum(map(_cpu, [server.pid, *server._backends()])),
            lambda: ask("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"), proxy,
        )  # fmt: skip


class _MariaDB(MariaDBServer):
    """As a site would have it, but for what a power cut needs."""

    def command(self) -> Sequence[str]:
        return [*super().command(), "--innodb-buffer-pool-size=2G", "--innodb-log-file-size=1G"]


@contextmanager
def mariadb_bench() -> Iterator[Bench]:
    with _MariaDB() as server, FaultProxy(server.port) as proxy, server.connect() as connection:
        store = open_store(server.url(port=proxy.port))
        store.load("A" * 12)  # makes the table

        def run(sql: str) -> Any:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall()

        def used() -> int:
            return sum(path.stat().st_size for path in Path(server.directory, "data", "tests").glob("sessions*.ibd"))

        yield Bench(
            store, lambda filling: fill_mariadb(connection, filling), lambda: run("TRUNCATE sessions"), used,
            lambda: _cpu(server.pid), lambda: int(run("SHOW GLOBAL STATUS LIKE 'Innodb_os_log_written'")[0][1]), proxy,
        )  # fmt: skip


@contextmanager
def memcached_bench() -> Iterator[Bench]:
    with ExitStack() as stack:
        server = stack.enter_context(Memcached("-m", "8192", "-I", "1m"))
        proxy = stack.enter_context(FaultProxy(server.port))
        client = stack.enter_context(closing(Client(server.address, timeout=60, connect_timeout=5)))

        def used() -> int:
            return int(client.stats()[b"bytes"])

        yield Bench(
            open_store(f"memcached://127.0.0.1:{proxy.port}"), lambda filling: fill_memcached(client, filling),
            lambda: _forget(client), used, lambda: _cpu(server.pid), lambda: 0, proxy,
        )  # fmt: skip


def _cpu(pid: int) -> float:
    """Return the processor time (seconds) of a process so far."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _written_by_us() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


# What is measured


def verbs(bench: Bench, known: Sequence[Known], size: int, count: int) -> dict[str, dict[str, float]]:
    """Load and update records, at random; return what one call took."""
    chance, store = Random(count), bench.store
    ends, noise = int(time.time()) + 86400, os.urandom(size + 4096)

    def load() -> tuple[str, str | None, Stored]:
        key, user = known[int(chance.random() * len(known))]
        found = store.load(key)
        assert found is not None
        assert len(found.value) == size
        return key, user, found

    def update() -> None:
        key, user, found = load()
        start = int(chance.random() * 4096)
        assert store.update(key, Record(noise[start : start + size], ends, user), version=found.version)

    loads, both = _taken(bench, load, count), _taken(bench, update, count)
    updates = Verbs(*(max(0.0, more - less) for more, less in zip(both, loads, strict=True)))
    return {"load": _rounded(loads), "update": _rounded(updates)}


def _rounded(taken: Verbs) -> dict[str, float]:
    return {
        "cpu": round(taken.cpu, 7),
        **{name: round(number, 1) for name, number in taken._asdict().items() if name != "cpu"},
    }


def _taken(bench: Bench, call: Callable[[], object], count: int) -> Verbs:
    for _ in range(200):
        call()

    def state() -> tuple[float, float, float, float]:
        proxy = bench.proxy
        ways = (proxy.bytes_to_server, proxy.bytes_to_client) if proxy else (0, 0)
        return (bench.cpu(), *ways, bench.written())

    before = state()
    for _ in range(count):
        call()
    return Verbs(*((after - first) / count for after, first in zip(state(), before, strict=True)))


def sizes(bench: Bench, name: str) -> list[list[float]]:
    """Return what a session of nobody takes, by the size of its value: pairs (bytes)."""
    found: list[list[float]] = []
    for size in SIZES[:: 8 if name == "mariadb" else 1]:
        bench.empty()
        before, several = bench.used(), min(50_000, FILLED[name] // size)
        bench.fill(Filling(several, size, users=False))
        found.append([size, round((bench.used() - before) / several)])
    return found


def measured(name: str, count: int, calls: int) -> dict[str, Any]:
    """Return all that is known of a store."""
    with BENCHES[name]() as bench:
        found: dict[str, Any] = {"sessions": count}
        if name in FILLED:
            found["by_size"] = sizes(bench, name)
        bench.empty()
        before = bench.used()
        bench.fill(Filling(count, SIZE, users=False))
        found["bytes"] = round((bench.used() - before) / count, 1)
        users = name != "memcached"
        if users:
            bench.empty()
            before = bench.used()
        known = bench.fill(Filling(count, SIZE, users=users))
        if users:
            found["user_bytes"] = round((bench.used() - before) / count - found["bytes"], 1)
        time.sleep(_REST)
        found |= {"verbs": {str(SIZE): verbs(bench, known, SIZE, calls)}}
        bench.empty()
        known = bench.fill(Filling(count // 50, LARGE, users=users))
        found["verbs"][str(LARGE)] = verbs(bench, known, LARGE, calls // 4)
        return found


def memory(count: int) -> dict[str, Any]:
    """Return what a session in a MemoryStore takes; in a process of its own, whose memory tells."""
    code = f"from benchmarks.capacity import grown; print(*grown({count}))"
    texts = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    nobody, somebody = map(float, texts)
    return {"sessions": count // 2, "bytes": round(nobody, 1), "user_bytes": round(somebody - nobody, 1)}


def grown(count: int) -> tuple[float, float]:
    """Fill two memory stores, with sessions of nobody and of users; return by how much the process grew for each."""
    found, stores = [], []
    for users in (False, True):
        store = MemoryStore(max_entries=count, max_bytes=2**40)
        before = _resident()
        for key, record in records(Filling(count // 2, SIZE, users), []):
            store.create(key, record)
        found.append((_resident() - before) / (count // 2))
        stores.append(store)
    return found[0], found[1]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


BENCHES = {
    "sqlite": sqlite_bench,
    "redis": redis_bench,
    "postgresql": postgresql_bench,
    "mariadb": mariadb_bench,
    "memcached": memcached_bench,
}


def written(found: dict[str, Any]) -> str:
    """Return it as JSON, a store a line, so that what has changed can be seen."""
    stores = ",\n".join(f"    {json.dumps(name)}: {json.dumps(one)}" for name, one in _in_order(found["stores"]))
    head = "".join(f"  {json.dumps(name)}: {json.dumps(one)},\n" for name, one in found.items() if name != "stores")
    return f'{{\n{head}  "stores": {{\n{stores}\n  }}\n}}\n'


def _in_order(stores: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, stores[name]) for name in ("memory", *BENCHES) if name in stores]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=20_000, help="calls of each verb")
    parser.add_argument("--only", choices=("memory", *BENCHES), action="append", help="measure these alone")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    found = json.loads(options.output.read_text()) if options.only and options.output.exists() else {"stores": {}}
    found |= {
        "size": SIZE,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    for name in options.only or ("memory", *BENCHES):
        print(f"{name} ...", flush=True)
        one = memory(options.sessions) if name == "memory" else measured(name, options.sessions, options.calls)
        found["stores"][name] = one
        print(json.dumps(one), flush=True)
        options.output.parent.mkdir(exist_ok=True)
        options.output.write_text(written(found))


if __name__ == "__main__":
    main()
