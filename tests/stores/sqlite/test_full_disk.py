"""Where SQLiteStore cannot write, because the disk is full or read-only, it says so and goes on reading: F-S2, F-S3."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from session_middleware import SQLiteStore, StoreUnavailable
from session_middleware.testing import a_key, created
from tests.gates import full
from tests.stores.conftest import Script

pytestmark = pytest.mark.timed

FULL = """
import logging, os, resource, signal, sys
from session_middleware import SQLiteStore, Record, StoreUnavailable
from session_middleware.testing import a_key
logging.disable()
path, how = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ballast = path + ".ballast"

def limit():
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, -1))
    else:
        with open(ballast, "wb", buffering=0) as file:
            file.write(bytes(8 * 1024 * 1024 - 500_000))

def free():
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    else:
        os.unlink(ballast)

store, held, refused = SQLiteStore(path), {}, 0
limit()
while refused < 20:
    key = a_key()
    try:
        assert store.create(key, Record(key.encode() * 100, 2**40, "alice"))
        held[key] = key.encode() * 100
    except StoreUnavailable as error:
        assert path in str(error), error
        refused += 1
assert len(held) > 10
assert all(store.load(key).value == value for key, value in held.items())  # what was acknowledged can be read
ended = list(held)[:10]
for key in ended:
    try:
        assert store.delete(key)
        assert store.load(key) is None
        del held[key]
    except StoreUnavailable:
        assert store.load(key).value == held[key]
free()
for number in range(200):
    key = a_key()
    assert store.create(key, Record(b"later", 2**40, "bob"))
    held[key] = b"later"
for key in ended:
    store.delete(key)
    held.pop(key, None)
assert all(store.load(key).value == value for key, value in held.items())
assert set(store.keys()) == set(held)
assert store._connections.idle[0].execute("PRAGMA integrity_check").fetchone() == ("ok",)
print("passed")
"""


def test_a_full_disk_fails_writes_and_nothing_else(path: Path, script: Script) -> None:
    """F-S2: writes fail, what was acknowledged can be read, and when there is space again all works without a restart."""
    assert script(FULL, path, "limit") == "passed"


def test_a_full_file_system_fails_writes_and_nothing_else(tmp_path: Path, script: Script) -> None:
    """F-S2: the same on a real file system of 8 MiB, where the system lets the test mount one for itself alone."""
    mount = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"', os.fspath(tmp_path))
    try:
        allowed = subprocess.run([*mount, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("this system lets the test mount no file system")

    assert script(FULL, tmp_path / "sessions.sqlite3", "ballast", under=mount) == "passed"
    assert list(tmp_path.iterdir()) == []


NTH_WRITE = """
import logging, os, resource, signal, sys
from session_middleware import SQLiteStore, Record, StoreUnavailable
from session_middleware.testing import listed
logging.disable()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
old, new = Record(b"old" * 3000, 2**40, "alice"), Record(b"new" * 4000, 2**41, "bob")
verbs = {
    "create": lambda store, version: store.create("new", new),
    "update": lambda store, version: store.update("key", new, version=version),
    "remove": lambda store, version: store.update("key", Record(b"", 0, None), version=version),
    "delete": lambda store, version: store.delete("key"),
    "sweep": lambda store, version: len(store.sweep(10)) == 1,
}

def state(store):
    return {key: (store.load(key)[0], listed(store, "alice"), listed(store, "bob")) for key in sorted(store.keys())}

counts = []
for name, verb in verbs.items():
    states, done = [], False
    for room in range(0, 100_000, int(sys.argv[2])):
        path = os.path.join(sys.argv[1], f"{name}{room}")
        store = SQLiteStore(path)
        assert store.create("key", old)
        assert store.create("expired", Record(b"", 1, "alice"))
        version, before = store.load("key").version, state(store)
        rows = store._connections.idle[0].execute("SELECT count(*) FROM sessions").fetchone()
        resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(path + "-wal") + room, -1))
        try:
            done = verb(store, version)
        except StoreUnavailable as error:
            assert path in str(error), error
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        if done:
            if name == "sweep":
                assert store._connections.idle[0].execute("SELECT count(*) FROM sessions").fetchone() == (rows[0] - 1,)
            else:
                assert state(store) != before
            break
        assert state(store) == before
        assert store.create("more", old) and store.delete("more")
        assert store._connections.idle[0].execute("PRAGMA integrity_check").fetchone() == ("ok",)
        states.append(before)
    assert done
    counts.append(len(states))
assert min(counts) > 5 and sum(counts) >= int(sys.argv[3]), counts
print("passed")
"""


def test_a_write_that_fails_at_any_byte_did_nothing(quick_directory: Path, script: Script) -> None:
    """F-S10: when the N-th byte that a verb writes does not fit any more, for N in steps, nothing has changed."""
    step, points = full((700, 50), (35, 1_000))
    assert script(NTH_WRITE, quick_directory, step, points) == "passed"


READ_ONLY = """
import logging, os, sys
from session_middleware import SQLiteStore, Record, StoreUnavailable
from session_middleware.testing import a_key, a_record, loaded
logging.disable()
directory = sys.argv[1]
path = os.path.join(directory, "sessions.sqlite3")
if os.getuid() == 0:
    os.chown(directory, 65534, 65534)
    os.setgid(65534)
    os.setuid(65534)  # modes do not bind root

def refused(verb):
    try:
        verb()
    except StoreUnavailable as error:
        assert path in str(error), error
        return True
    return False

key, value = a_key(), b"value"
store = SQLiteStore(path)
os.chmod(directory, 0o500)
assert refused(lambda: store.create(key, a_record())) and refused(lambda: store.load(key))
os.chmod(directory, 0o700)
assert store.create(key, a_record(value))

store.close()
os.chmod(path, 0o400)
assert refused(lambda: store.create(a_key(), a_record()))
assert refused(lambda: store.update(key, a_record(), version=1)) and refused(lambda: store.delete(key))
assert refused(lambda: loaded(store, key)) or loaded(store, key).value == value
os.chmod(path, 0o600)
assert refused(lambda: store.load(key)) or loaded(store, key).value == value
store.close()
assert store.update(key, a_record(b"new"), version=store.load(key).version)

store.close()
os.chmod(path, 0o400)
os.chmod(directory, 0o500)
assert refused(lambda: store.create(a_key(), a_record()))
assert refused(lambda: loaded(store, key)) or loaded(store, key).value == b"new"
os.chmod(directory, 0o700)
os.chmod(path, 0o600)
assert store.delete(key)

store.close()
os.chmod(path, 0)
assert refused(lambda: store.create(a_key(), a_record())) and refused(lambda: store.load(key))
os.chmod(path, 0o600)
assert store.create(key, a_record())
print("passed")
"""


def test_what_may_not_be_written_is_unavailable(script: Script) -> None:
    """F-S3: a directory or a file that may not be written or read fails by name, and works as soon as it may."""
    with tempfile.TemporaryDirectory() as directory:
        assert script(READ_ONLY, directory) == "passed"


def test_a_file_that_may_only_be_read_is_not_opened(
    sqlite: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-S3: opening it would leave companions that nobody can write, also when the file can be written again."""
    key = a_key()
    created(sqlite, key)
    sqlite.close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreUnavailable, match=f"{path}: the file may not be read and written"):
        sqlite.load(key)
    assert [file.name for file in path.parent.iterdir()] == [path.name]

    monkeypatch.undo()
    assert sqlite.delete(key)
