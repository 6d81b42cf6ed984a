"""Counts the instructions of a request: ``make instructions``. Unlike times, they are the same on a busy machine.

Callgrind runs all cases in one process and writes its count down whenever that calls ``getppid()``, which nothing else in it
does. The counts that are kept in ``instructions.json`` are those of one build of Python each; for another there is nothing
to compare with, and they are only shown.
"""

import argparse
import gc
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import applications
from benchmarks.applications import Application, with_middleware
from benchmarks.requests import call
from session_middleware import MemoryStore, SQLiteStore

KEPT = Path(__file__).with_name("instructions.json")
GROWTH = 0.03
_CALLS = 400


def build() -> str:
    """Return what this Python is: counts of two builds cannot be compared."""
    optimized = "PGO" if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "") else "no PGO"
    shared = ", shared" if sysconfig.get_config_var("Py_ENABLE_SHARED") else ""
    return f"{platform.python_implementation()} {platform.python_version()} ({optimized}{shared}), {platform.machine()}"


def cases(folder: Path) -> dict[str, Callable[[], object]]:
    """Return every case by its name."""
    found: dict[str, Callable[[], object]] = {"bare": call(applications.bare, applications.NOBODY)}
    wrapped, token = with_middleware(applications.bare, MemoryStore())
    found["untouched"] = call(wrapped, token)
    verbs: dict[str, Application] = {
        "read": applications.reads,
        "write": applications.writes,
        "new": applications.creates(1),
    }
    for name, store in (("memory", MemoryStore()), ("SQLite", SQLiteStore(folder / "sessions.sqlite3"))):
        for verb, application in verbs.items():
            wrapped, token = with_middleware(application, store)
            found[f"{verb}, {name}"] = call(wrapped, None if verb == "new" else token)
    wrapped, token = with_middleware(applications.reads, MemoryStore(), 64)
    found["read, memory, 64 KB"] = call(wrapped, token)
    return found


def run_all() -> None:
    """Run every case, with a call of ``getppid()`` before and after: this is what Callgrind runs."""
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(Path(folder)).values():
            for _ in range(100):
                case()
            gc.collect()
            gc.disable()
            os.getppid()
            for _ in range(_CALLS):
                case()
            os.getppid()
            gc.enable()


def count() -> dict[str, int]:
    """Return the instructions of one request of each case, those of the bare one taken away."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        valgrind = ["valgrind", "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={folder / 'out'}"]
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        command = [*valgrind, sys.executable, "-W", "ignore", "-m", "benchmarks.instructions", "--inside"]
        subprocess.run(command, check=True, env=environment, capture_output=True, timeout=1200)
        totals = [_total(folder / f"out.{number}") for number in range(1, len(list(folder.glob("out.*"))) + 1)]
        names = list(cases(folder))
    # The first count is what came before the first case, the second that of the case, the third what lies between two.
    counts = dict(zip(names, totals[1::2], strict=False))
    base = counts.pop("bare")
    return {name: (total - base) // _CALLS for name, total in counts.items()}


def _total(dump: Path) -> int:
    found = re.search(r"^(?:summary|totals): (\d+)", dump.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description="Count instructions.")
    parser.add_argument("--inside", action="store_true", help="run the cases, as Callgrind does")
    parser.add_argument("--keep", action="store_true", help="keep the counts as those to compare with")
    options = parser.parse_args()
    if options.inside:
        run_all()
        return 0
    if shutil.which("valgrind") is None:
        print("Valgrind is not installed, so nothing is counted: apt-get install valgrind")
        return 0
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    before, counts, grown = kept.get(build(), {}), count(), False
    print(build() if before else f"{build()}: there are no kept counts of this Python")
    print(f"{'instructions of a request':32}{'counted':>10}{'kept':>10}")
    for name, counted in counts.items():
        was = before.get(name)
        more = was is not None and counted > was * (1 + GROWTH)
        grown = grown or more
        print(f"{name:32}{counted:10,}{'' if was is None else f'{was:10,}'}{'  GROWN' if more else ''}")
    if options.keep:
        KEPT.write_text(json.dumps(kept | {build(): counts}, indent=2) + "\n")
        return 0
    return int(grown)


if __name__ == "__main__":
    sys.exit(main())
