"""Compares this project with other session libraries: ``make compare``.

Each group of results is written to ``results.json`` as soon as it is there, and the page is made of all there are.
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.instructions import build
from benchmarks.peers import cost, growth, load
from benchmarks.peers.behaviour import behaviour
from benchmarks.peers.contenders import CONTENDERS, STORES
from benchmarks.peers.faults import faults
from benchmarks.peers.gang import Gang, gang
from benchmarks.peers.results import QUICK, Row, Scope

OUTPUT = Path(__file__).with_name("results") / "compared.json"

GROUPS: dict[str, Callable[[Gang, Scope], list[Row]]] = {
    "behaviour": behaviour,
    "faults": lambda gang, scope: faults(scope),
    "calls": cost.calls,
    "cost": cost.times,
    "load": load.load,
    "growth": growth.growth,
    "memory": load.memory,
    "instructions": cost.instructions,
}

_LIBRARIES = (
    *("Beaker", "Django", "Flask", "Flask-Session", "gunicorn", "hiredis"),
    *("psycopg", "pyramid", "pyramid_session_redis", "redis", "SQLAlchemy"),
)


def machine() -> dict[str, Any]:
    """Return what the machine is; its name and its paths are nobody's business."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "processors": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
    }


def versions() -> dict[str, str]:
    found = {name: version(name) for name in _LIBRARIES}
    servers = {"Redis": ["redis-server", "--version"], "PostgreSQL": ["psql", "--version"]}
    for name, command in servers.items():
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        except (OSError, subprocess.CalledProcessError):
            continue
        found[name] = next(word.removeprefix("v=") for word in said if word.removeprefix("v=")[0].isdigit())
    return {"Python": build(), "SQLite": sqlite3.sqlite_version, **found}


def measure(scope: Scope, groups: list[str], output: Path) -> dict[str, Any]:
    """Measure the groups; keep those that *output* has already."""
    found: dict[str, Any] = json.loads(output.read_text()) if output.exists() else {}
    output.parent.mkdir(parents=True, exist_ok=True)
    found |= {"date": datetime.now(UTC).date().isoformat(), "machine": machine(), "versions": versions()}
    for name in groups:
        print(f"{name} ...", end=" ", flush=True)
        start, before = time.monotonic(), os.getloadavg()[0]
        with gang() as servers:
            rows = GROUPS[name](servers, scope)
        seconds = round(time.monotonic() - start)
        found[name] = {"rows": rows, "load average": [round(before, 1), round(os.getloadavg()[0], 1)], "seconds": seconds}
        found[name]["scope"] = scope._asdict()
        output.write_text(json.dumps(found, indent=1) + "\n")
        failed = [f"{row['name']} on {row['store']}: {row['failed']}" for row in rows if "failed" in row]
        print(f"{seconds} s, {len(rows)} rows", *failed, sep="\n  ", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Compare session libraries.")
    parser.add_argument("--quick", action="store_true", help="a pass of 3 minutes, with small counts")
    parser.add_argument("--groups", default=",".join(GROUPS), help="what to measure, with commas between")
    parser.add_argument("--only", default="", help="names of contenders, with ; between; all if it is left out")
    parser.add_argument("--stores", default=",".join(STORES), help="stores, with commas between")
    parser.add_argument("--rounds", type=int, help="of the measurement of cost")
    parser.add_argument("--many", type=int, help="sessions in the large store")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    only = tuple(filter(None, options.only.split(";")))
    stores = tuple(options.stores.split(","))
    scope = (QUICK if options.quick else Scope())._replace(only=only, stores=stores)
    if options.quick and not only:
        scope = scope._replace(
            only=tuple(contender.name for contender in CONTENDERS if contender.is_default), stores=STORES[::2]
        )
    scope = scope._replace(rounds=options.rounds or scope.rounds, many=options.many or scope.many)
    measure(scope, options.groups.split(","), options.output)
    print(f"Written to {options.output.name}.")


if __name__ == "__main__":
    main()
