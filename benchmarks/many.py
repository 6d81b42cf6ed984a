"""Makes 10,000,000 sessions in SQLite or in Redis, and keeps what they take, to be put beside what the plan says.

Redis needs 9 GB of memory for it, SQLite 4 GB of disk.
"""

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

from benchmarks.bulk import Filling, Known
from benchmarks.capacity import redis_bench, sqlite_bench
from session_middleware.stores.base import Store

SIZE = 200
"""The value of a record (bytes); a size for which nothing was measured before."""

LOADS = 20_000


def milliseconds(store: Store, known: Sequence[Known]) -> list[float]:
    """Load records at random; return how long the median and the slowest of a hundred took."""
    chance, times = Random(0), []
    for _ in range(LOADS):
        key, _user = known[int(chance.random() * len(known))]
        start = time.perf_counter()
        found = store.load(key)
        times.append((time.perf_counter() - start) * 1000)
        assert found is not None
        assert len(found.value) == SIZE
    times.sort()
    return [round(times[len(times) // 2], 4), round(times[len(times) * 99 // 100], 4)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", choices=("sqlite", "redis"))
    parser.add_argument("--sessions", type=int, default=10_000_000)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("many.json"))
    options = parser.parse_args()
    with ExitStack() as stack:
        bench = stack.enter_context(sqlite_bench() if options.store == "sqlite" else redis_bench(appendonly="no"))
        bench.empty()
        before, started = bench.used(), time.monotonic()
        known = bench.fill(Filling(options.sessions, SIZE, users=True))
        made, size = time.monotonic() - started, bench.used() - before
        found = {
            "store": options.store,
            "sessions": options.sessions,
            "size": SIZE,
            "seconds": round(made),
            "bytes": size,
            "milliseconds": milliseconds(bench.store, known),
        }
        print(json.dumps(found), flush=True)
    others = json.loads(options.output.read_text()) if options.output.exists() else []
    kept = [one for one in others if one["store"] != options.store]
    lines = ",\n".join(json.dumps(one) for one in sorted([*kept, found], key=lambda one: str(one["store"])))
    options.output.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
