"""Processes that fork with the store in use, as servers that preload the application do."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.gunicorn import ROOT

soak = pytest.mark.soak

# The parent has used the store, forks, and lets go of its own connections. A third process comes and goes. What the child
# is told is stored must be there for everyone.
_PARENT_LETS_GO = """
import os, subprocess, sys, time
from session_middleware import SQLiteStore
from session_middleware.stores.base import Record

def create(name):
    assert store.create(name * 12, Record(b"value", int(time.time()) + 1000, None))

def others():
    script = "import sqlite3; print(len(sqlite3.connect('s').execute('SELECT key FROM sessions').fetchall()))"
    return int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)

store = SQLiteStore("s", timeout=30)
create("a")
to_child, to_parent = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    create("b")
    os.write(to_parent[1], b"1")
    os.read(to_child[0], 1)
    create("c")
    os.write(to_parent[1], b"2")
    os.read(to_child[0], 1)
    os._exit(0)
os.read(to_parent[0], 1)
store.close()
assert others() == 2
os.write(to_child[1], b"1")
os.read(to_parent[0], 1)
print(others())
os.write(to_child[1], b"2")
os.waitpid(child, 0)
"""

# Four threads use the store while the process forks. Each child must be able to use it too.
_FORK_UNDER_LOAD = """
import os, secrets, signal, sys, threading, time
from session_middleware import MemoryStore, SQLiteStore
from session_middleware.stores.base import Record

def create():
    assert store.create(secrets.token_urlsafe(9), Record(b"value", int(time.time()) + 1000, None))

def use():
    while not done.is_set():
        create()

store = MemoryStore() if sys.argv[1] == "memory" else SQLiteStore("s", timeout=30)
done = threading.Event()
threads = [threading.Thread(target=use) for _ in range(4)]
for thread in threads:
    thread.start()
failed = 0
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        signal.alarm(100)  # it hangs
        for _ in range(5):
            create()
        os._exit(0)
    failed += os.waitpid(child, 0)[1] != 0
done.set()
for thread in threads:
    thread.join()
print(failed)
"""


def run(script: str, *arguments: str, directory: Path) -> str:
    """Run the script in a fresh interpreter, with *directory* as its working directory; return what it prints."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *arguments]
    result = subprocess.run(
        command, cwd=directory, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_a_child_holds_locks_of_its_own(tmp_path: Path) -> None:
    """F-P3, promise 6: a forked worker's acknowledged writes stay when its parent has let go of the file."""
    assert run(_PARENT_LETS_GO, directory=tmp_path) == "3"


@pytest.mark.parametrize("forks", [pytest.param(10, id="10"), pytest.param(100, id="100", marks=soak)])
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_fork_while_threads_use_the_store_leaves_a_child_that_works(tmp_path: Path, store: str, forks: int) -> None:
    """F-P4: no child hangs or finds the store locked because a thread of its parent was using it."""
    assert run(_FORK_UNDER_LOAD, store, str(forks), directory=tmp_path) == "0"
