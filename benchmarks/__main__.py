"""Measures the cost of a session: ``make bench``.

All cases take turns in one run, so that a machine that slows down slows all of them. A case's session cost is its time
minus that of the bare application in the same round; a ratio is the median over the rounds. The budgets are for a Python
that was built with PGO.
"""

import argparse
import gc
import json
import logging
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
from typing import Any, NamedTuple

from benchmarks import applications
from benchmarks.applications import Raw, with_middleware
from benchmarks.frameworks import frameworks
from benchmarks.instructions import build
from benchmarks.population import Records, fill, population
from benchmarks.requests import Case, any_of, call
from benchmarks.servers import Served, served
from session_middleware import MemoryStore, SQLiteStore
from session_middleware.stores.base import Store

Times = dict[str, list[float]]


class Budget(NamedTuple):
    """The most that the project allows itself, and what it aims at."""

    most: float
    aim: float


# What is compared: ours, the same store by hand, and the most that the project allows itself (pure Python, PGO).
RATIOS = {
    "read, memory": Budget(3.3, 2.8),
    "write, memory": Budget(4.7, 4.0),
    "new, memory": Budget(5.0, 4.4),
    "read, SQLite": Budget(2.5, 2.0),
    "write, SQLite": Budget(2.4, 2.0),
    "new, SQLite": Budget(2.8, 2.3),
    "read, SQLite, 10 KB": Budget(1.2, 0.9),
    "write, SQLite, 10 KB": Budget(1.7, 1.4),
    "read, SQLite, 64 KB": Budget(0.45, 0.3),
    "write, SQLite, 64 KB": Budget(0.65, 0.45),
    "read, Redis": Budget(0.65, 0.5),
    "write, Redis": Budget(0.8, 0.65),
    "new, Redis": Budget(0.85, 0.7),
    "read, PostgreSQL": Budget(1.2, 1.0),
    "write, PostgreSQL": Budget(1.3, 1.0),
    "read, memcached": Budget(1.2, 1.0),
    "write, memcached": Budget(1.3, 1.0),
}
# What a framework's own session object costs above that of the environ.
ADAPTERS = [
    (f"{framework.title()}, {verb}", f"{framework}-own {verb}", f"{framework}-environ {verb}", budget)
    for framework, budget in (("flask", 15.0), ("django", 25.0))
    for verb in ("none", "read", "write")
]
UNTOUCHED = Budget(1.0, 0.75)
GROWTH_BUDGET = 1.3


def cases(folder: Path, servers: dict[str, Served]) -> dict[str, Case]:
    """Return every case by its name."""
    stores: list[tuple[str, int, Store, Raw]] = [
        ("memory", 1, MemoryStore(max_entries=20_000), applications.raw_memory()),
        *(
            (
                f"SQLite{of_size}",
                size,
                SQLiteStore(folder / f"{size}.sqlite3"),
                applications.raw_sqlite(folder / f"raw{size}", size),
            )
            for size, of_size in ((1, ""), (10, ", 10 KB"), (64, ", 64 KB"))
        ),
        *((name, 1, server.store, server.raw) for name, server in servers.items()),
    ]
    found = {
        "bare": call(applications.bare, applications.NOBODY),
        "untouched": call(*with_middleware(applications.bare, MemoryStore())),
        **{name: call(application, token, path) for name, (application, path, token) in frameworks().items()},
    }
    for name, size, store, raw in stores:
        ours = {"read": applications.reads, "write": applications.writes, "new": applications.creates(size)}
        by_hand = {"read": raw.reads, "write": raw.writes, "new": raw.creates}
        for verb, application in ours.items():
            if f"{verb}, {name}" in RATIOS:
                wrapped, token = with_middleware(application, store, size)
                found[f"{verb}, {name}"] = call(wrapped, None if verb == "new" else token)
                found[f"{verb}, {name}, by hand"] = call(by_hand[verb], raw.token)
    return found


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
        kinds: dict[str, list[tuple[int, Store, Callable[[Records], None]]]] = {"SQLite": []}
        for size in (1000, many):
            path = folder / f"with-{size}.sqlite3"
            kinds["SQLite"].append((size, SQLiteStore(path), partial(fill, path)))
            for name, served_one in stack.enter_context(served("Redis", "PostgreSQL")).items():
                kinds.setdefault(name, []).append((size, served_one.store, served_one.fill))
        for name, stores in kinds.items():
            named: dict[str, Case] = {"bare": call(applications.bare, applications.NOBODY)}
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
            rows.append(row(f"{name}: read at {many:,}, × at 1,000", measured, Budget(GROWTH_BUDGET, 1.0)))
    return all_times, rows


def report(times: Times) -> list[dict[str, Any]]:
    """Print the table of costs; return the rows of that of ratios."""
    base = times["bare"]
    print(f"\n{'case':32}{'median µs':>12}{'session cost µs':>18}")
    for name, measured in times.items():
        cost = statistics.median(a - c for a, c in zip(measured, base, strict=True))
        print(f"{name:32}{statistics.median(measured):12.2f}{cost:18.2f}")
    untouched = statistics.median(a - c for a, c in zip(times["untouched"], base, strict=True))
    rows = [row("untouched, µs above bare", untouched, UNTOUCHED)]
    for path, budget in RATIOS.items():
        if path in times:
            rows.append(row(f"{path}, × by hand", ratio(times[path], times[f"{path}, by hand"], base), budget))
    for path, more, less, most in ADAPTERS:
        cost = statistics.median(a - b for a, b in zip(times[more], times[less], strict=True))
        rows.append(row(f"{path}, µs above the middleware's", cost, Budget(most, most)))
    return rows


def row(path: str, measured: float, budget: Budget) -> dict[str, Any]:
    return {"path": path, "measured": measured, "budget": budget.most, "aim": budget.aim}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=500, help="calls of a case in a round")
    parser.add_argument("--sessions", type=int, default=1_000_000, help="sessions in the large store; 0 to leave it out")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results.json"))
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name, served("Redis", "PostgreSQL", "memcached") as servers:
        folder = Path(name)
        times = measure(cases(folder, servers), options.rounds, options.calls)
        rows = report(times)
        if options.sessions:
            large, more = growth(folder, options.sessions, options.rounds, options.calls)
            times |= large
            rows += more
    print(f"\n{build()}\n{'path':48}{'measured':>10}{'budget':>10}{'aim':>10}")
    for one in rows:
        over = "  over" if one["measured"] > one["budget"] else ""
        print(f"{one['path']:48}{one['measured']:10.2f}{one['budget']:10.2f}{one['aim']:10.2f}{over}")
    result = {
        "python": build(),
        "sqlite": sqlite3.sqlite_version,
        "ratios": rows,
        "microseconds": times,
    }
    options.output.write_text(json.dumps(result, indent=2))
    print(f"\nWritten to {options.output}")


if __name__ == "__main__":
    main()
