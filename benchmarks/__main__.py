"""Measures the cost of a session: ``make bench``.

All cases take turns in one run, so that a machine that slows down slows all of them. A case's session cost is its time
minus that of the bare application in the same round; a ratio is the median over the rounds.
"""

import argparse
import gc
import io
import json
import logging
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import applications
from benchmarks.applications import Application, with_middleware
from benchmarks.frameworks import frameworks
from benchmarks.population import Records, fill, population
from benchmarks.servers import Served, served
from session_middleware import MemoryStore, SQLiteStore
from session_middleware.stores.base import Store

Case = Callable[[], object]
Times = dict[str, list[float]]

# What is compared, and the most that the project allows itself.
BUDGETS = [
    ("read, SQLite", "ours-sqlite read", "raw-sqlite read", 1.5),
    ("write, SQLite", "ours-sqlite write", "raw-sqlite write", 1.3),
    ("read, Redis", "ours-redis read", "raw-redis read", 0.9),
    ("write, Redis", "ours-redis write", "raw-redis write", 0.9),
    ("read, PostgreSQL", "ours-postgresql read", "raw-postgresql read", 1.4),
    ("write, PostgreSQL", "ours-postgresql write", "raw-postgresql write", 1.4),
    ("read, memcached", "ours-memcached read", "raw-memcached read", 1.4),
    ("write, memcached", "ours-memcached write", "raw-memcached write", 1.4),
    ("read, memory", "ours-memory read", "raw-memory read", None),
    ("write, memory", "ours-memory write", "raw-memory write", None),
]
# What a framework's own session object costs above that of the environ.
ADAPTERS = [
    (f"{framework.title()}, {verb}", f"{framework}-own {verb}", f"{framework}-environ {verb}", budget)
    for framework, budget in (("flask", 15.0), ("django", 25.0))
    for verb in ("none", "read", "write")
]
UNTOUCHED_BUDGET = 1.5
GROWTH_BUDGET = 1.3


def call(application: Application, token: str, path: str = "/") -> Case:
    """Return a case that is one request with the cookie *token*."""
    environ = _environ(path) | {"HTTP_COOKIE": f"theme=dark; session={token}"}
    return lambda: application(dict(environ), _start_response)


def any_of(application: Application, tokens: Sequence[str], chance: Random) -> Case:
    """Return a case that is a request with one of the *tokens* each time."""
    environ, count = _environ("/"), len(tokens)

    def case() -> None:
        request = dict(environ)
        request["HTTP_COOKIE"] = f"theme=dark; session={tokens[int(chance.random() * count)]}"
        application(request, _start_response)

    return case


def _start_response(status: str, headers: object, exc_info: object = None) -> None: ...


def _environ(path: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "wsgi.input": io.BytesIO(),
        "wsgi.url_scheme": "http",
        "wsgi.multiprocess": False,
    }


def cases(folder: Path, servers: dict[str, Served]) -> dict[str, Case]:
    """Return every case by its name."""
    raw_memory, raw_sqlite = applications.raw_memory(), applications.raw_sqlite(folder / "raw.sqlite3")
    memory, sqlite = MemoryStore(), SQLiteStore(folder / "ours.sqlite3")
    ours = {
        "untouched": with_middleware(applications.bare, memory),
        "ours-memory read": with_middleware(applications.reads, memory),
        "ours-memory write": with_middleware(applications.writes, memory),
        "ours-sqlite read": with_middleware(applications.reads, sqlite),
        "ours-sqlite write": with_middleware(applications.writes, sqlite),
    }
    for name, server in servers.items():
        for verb, application in (("read", applications.reads), ("write", applications.writes)):
            ours[f"ours-{name} {verb}"] = with_middleware(application, server.store)
    by_hand = {
        f"raw-{name} {verb}": call(application, server.raw.token)
        for name, server in servers.items()
        for verb, application in (("read", server.raw.reads), ("write", server.raw.writes))
    }
    return {
        "bare": call(applications.bare, raw_memory.token),
        **{name: call(application, token, path) for name, (application, path, token) in frameworks().items()},
        "raw-memory read": call(raw_memory.reads, raw_memory.token),
        "raw-memory write": call(raw_memory.writes, raw_memory.token),
        "raw-sqlite read": call(raw_sqlite.reads, raw_sqlite.token),
        "raw-sqlite write": call(raw_sqlite.writes, raw_sqlite.token),
        **by_hand,
        **{name: call(*wrapped) for name, wrapped in ours.items()},
    }


def measure(named: dict[str, Case], rounds: int, calls: int) -> Times:
    """Run the cases in turn, *rounds* times; return the microseconds of a call in each round."""
    times: Times = {name: [] for name in named}
    names = list(named)
    order = Random(0)
    for number in range(rounds):
        order.shuffle(names)
        for name in names:
            case = named[name]
            gc.collect()
            start = time.perf_counter()
            for _ in range(calls):
                case()
            times[name].append((time.perf_counter() - start) / calls * 1e6)
        if sys.stderr.isatty():
            print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    return times


def ratio(over: Sequence[float], under: Sequence[float], base: Sequence[float]) -> float:
    """Return the median over the rounds of the session cost of the one by that of the other."""
    return statistics.median((a - c) / (b - c) for a, b, c in zip(over, under, base, strict=True))


def growth(folder: Path, many: int, rounds: int, calls: int) -> tuple[Times, list[dict[str, Any]]]:
    """Measure a read where a store holds 1,000 sessions and where it holds *many*; return times, and rows of ratios.

    One kind of store after the other: what a server does with a million records goes on for a while after they came.
    """
    all_times: Times = {}
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        kinds: dict[str, list[tuple[int, Store, Callable[[Records], None]]]] = {"sqlite": []}
        for size in (1000, many):
            path = folder / f"with-{size}.sqlite3"
            kinds["sqlite"].append((size, SQLiteStore(path), partial(fill, path)))
            for name, served_one in stack.enter_context(served("redis", "postgresql")).items():
                kinds.setdefault(name, []).append((size, served_one.store, served_one.fill))
        for name, stores in kinds.items():
            named: dict[str, Case] = {"bare": call(applications.bare, "A" * 43)}
            for size, store, add in stores:
                print(f"Storing {size:,} sessions, {name} ...", flush=True)
                wrapped, _ = with_middleware(applications.reads, store)
                tokens: list[str] = []
                add(population(size, tokens))
                named[f"{name} read at {size:,}"] = any_of(wrapped, tokens, Random(size))
            times = measure(named, rounds, calls)
            base = times.pop("bare")
            less, more = times.values()
            all_times |= times
            measured = ratio(more, less, base)
            rows.append({"path": f"{name}: read at {many:,}, × at 1,000", "measured": measured, "budget": GROWTH_BUDGET})
    return all_times, rows


def report(times: Times) -> list[dict[str, Any]]:
    """Print the table of costs and that of ratios; return the rows of the latter."""
    base = times["bare"]
    print(f"\n{'case':24}{'median µs':>12}{'session cost µs':>18}")
    for name, measured in times.items():
        cost = statistics.median(a - c for a, c in zip(measured, base, strict=True))
        print(f"{name:24}{statistics.median(measured):12.2f}{cost:18.2f}")
    untouched = statistics.median(a - c for a, c in zip(times["untouched"], base, strict=True))
    rows: list[dict[str, Any]] = [{"path": "untouched, µs above bare", "measured": untouched, "budget": UNTOUCHED_BUDGET}]
    for path, more, less, most in ADAPTERS:
        cost = statistics.median(a - b for a, b in zip(times[more], times[less], strict=True))
        rows.append({"path": f"{path}, µs above the middleware's", "measured": cost, "budget": most})
    for path, ours, raw, budget in BUDGETS:
        if raw not in times:
            continue
        rows.append({"path": f"{path}, × raw", "measured": ratio(times[ours], times[raw], base), "budget": budget})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=500, help="calls of a case in a round")
    parser.add_argument("--sessions", type=int, default=1_000_000, help="sessions in the large store; 0 to leave it out")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results.json"))
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name, served("redis", "postgresql", "memcached") as servers:
        folder = Path(name)
        times = measure(cases(folder, servers), options.rounds, options.calls)
        rows = report(times)
        if options.sessions:
            large, more = growth(folder, options.sessions, options.rounds, options.calls)
            times |= large
            rows += more
    print(f"\n{'path':48}{'measured':>10}{'budget':>10}")
    for row in rows:
        budget = "" if row["budget"] is None else f"{row['budget']:.2f}"
        print(f"{row['path']:48}{row['measured']:10.2f}{budget:>10}")
    result = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "ratios": rows,
        "microseconds": times,
    }
    options.output.write_text(json.dumps(result, indent=2))
    print(f"\nWritten to {options.output}")


if __name__ == "__main__":
    main()
