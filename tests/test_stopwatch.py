"""The stopwatch of the tests leaves out what the machine is late, and nothing that the measured code does."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tests
from tests.stopwatch import NAP, Stopwatch, lateness
from tests.stores.forked import in_child

ROOT = Path(tests.__file__).parents[1]

HOLDING: dict[str, Callable[[], object]] = {
    "sum": lambda: sum(range(15_000_000)),
    "match": lambda: re.match(r"(a+)+b", "a" * 23),
}

# Times what it does between two lines that it is told; says when it has begun and, at last, the times.
TIMING = """
import time
from tests.stopwatch import Stopwatch
with Stopwatch() as watch:
    print("begun", flush=True)
    input()
print(watch.took, watch.own, watch.least)
"""


@contextmanager
def running(*command: str, stderr: int | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Run Python with that, in a process group of its own, until the block ends."""
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def times(process: "subprocess.Popen[str]") -> list[float]:
    """Return how long it took in all, of its own, and at least."""
    out, _ = process.communicate("go on\n", timeout=120)
    return [float(number) for number in out.splitlines()[-1].split()]


@pytest.mark.parametrize("work", HOLDING)
def test_what_holds_the_interpreter_is_not_the_machine(work: str) -> None:
    """No other thread of the process runs meanwhile; the process that sleeps does."""
    began = time.thread_time()
    with Stopwatch() as watch:
        HOLDING[work]()
    worked = time.thread_time() - began

    assert worked > 5 * NAP
    assert watch.least > worked / 2


def test_a_machine_that_stands_still_is_the_machine() -> None:
    """All of the test's processes are stopped for half a second."""
    with running("-c", TIMING) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        os.killpg(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGCONT)
        took, own, least = times(process)

    assert took >= 0.5
    assert 0.4 < took - own <= took - least


def test_a_machine_that_is_busy_is_the_machine() -> None:
    """On one processor with two that never rest and go first, fifty waits come late, and naps do; mostly they do alike."""
    steps, wait = 50, NAP
    code = f"""
import os, time
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
{TIMING.replace("input()", f"[time.sleep({wait}) for _ in range({steps})]")}
"""
    busy = "import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\nprint(flush=True)\nwhile True: pass"
    with running("-c", busy) as one, running("-c", busy) as other:
        assert one.stdout
        assert other.stdout
        assert [one.stdout.readline(), other.stdout.readline()] == ["\n"] * 2
        with running("-c", code) as process:
            took, _, least = times(process)

    assert took - least > (took - steps * wait) / 5


def test_only_what_is_in_the_time_that_was_asked_for_counts() -> None:
    """A nap that should have ended before it, and one that ends after it, count for their parts that lie in it."""
    woke = [10.0, 20.0, 30.0]

    assert lateness(woke, 10, 40) == pytest.approx([10 - NAP] * 3)
    assert lateness(woke, 15, 40) == pytest.approx([5, 10 - NAP, 10 - NAP])
    assert lateness(woke, 15, 18) == [3]
    assert lateness(woke, 10, 10 + NAP) == []
    assert lateness([30, 30 + NAP], 30, 30 + 1.5 * NAP) == []


def test_a_fork_reads_the_same() -> None:
    """As long as its parent lives."""

    def child() -> None:
        with Stopwatch() as forked:
            time.sleep(5 * NAP)
        assert forked._notes == watch._notes
        assert len(forked._woke()) > 1

    with Stopwatch() as watch:
        assert in_child(child) == 0


def test_it_leaves_nothing_open_and_warns_of_nothing() -> None:
    """Whatever is an error in the process that it is for, and however little that may have open."""
    code = """
import os
before = os.listdir("/proc/self/fd")
from tests.stopwatch import Stopwatch
with Stopwatch() as watch: pass
assert os.listdir("/proc/self/fd") == before
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_ends_with_the_process_that_it_is_for() -> None:
    """However that ends."""
    code = "from tests.stopwatch import Stopwatch\nwith Stopwatch() as watch: print(watch._notes, flush=True)\ninput()"
    with running("-c", code) as process:
        assert process.stdout
        notes = Path(process.stdout.readline().rstrip())
        assert notes.exists()
    deadline = time.monotonic() + 120
    while notes.exists():
        assert time.monotonic() < deadline
        time.sleep(NAP)


def test_one_that_was_ended_excuses_nothing() -> None:
    """Nobody would wake from the last nap."""
    code = """
import os, signal
from tests.stopwatch import Stopwatch
with Stopwatch() as watch:
    os.kill(napper := int(watch._notes.parts[2]), signal.SIGKILL)
    os.waitpid(napper, 0)
"""
    with running("-c", code, stderr=subprocess.PIPE) as process:
        _, told = process.communicate(timeout=120)

    assert process.returncode == 1
    assert "FileNotFoundError" in told
