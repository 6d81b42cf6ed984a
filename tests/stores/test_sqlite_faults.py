"""SQLiteStore when something is wrong with its file: it says so, shows nothing false, and goes on when it is right again."""

import os
import random
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread, Timer

import pytest

from session_middleware import Record, SQLiteStore, StoreUnavailable
from session_middleware.clock import steady_clock
from session_middleware.stores.base import Stored
from session_middleware.stores.sqlite import _PAGE, _UPDATE_UNINDEXED
from session_middleware.stores.sqlite.connections import Connection, Cursor
from session_middleware.testing import a_key, a_record, created, filled, loaded, race
from tests.stopwatch import Stopwatch
from tests.stores.conftest import Script

pytestmark = pytest.mark.timed

FAR = 2**40


def look_now(store: SQLiteStore) -> None:
    """Let the store look at once whether its files are still there, as it does every second."""
    for cursor in store._connections.idle:
        cursor.connection.look_at = 0.0


def integrity(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


# Busy (F-S4)

WRITES: dict[str, Callable[[SQLiteStore, str], object]] = {
    "create": lambda store, key: store.create(a_key(), a_record()),
    "update": lambda store, key: store.update(key, a_record(user_id="alice"), version=loaded(store, key).version),
    "delete": lambda store, key: store.delete(key),
    "sweep": lambda store, key: store.sweep(10) == 0,
}


@pytest.mark.parametrize("verb", WRITES)
def test_a_foreign_writer_is_waited_for(verb: str, sqlite: SQLiteStore, raw: sqlite3.Connection) -> None:
    """F-S4: locked by another process for 0.1 s, a write takes that much longer and succeeds."""
    key = a_key()
    created(sqlite, key)
    raw.execute("BEGIN IMMEDIATE")
    timer = Timer(0.1, raw.execute, ["ROLLBACK"])
    timer.start()

    with Stopwatch() as watch:
        assert WRITES[verb](sqlite, key)
    assert watch.took > 0.05
    assert watch.own < 1.1
    timer.join()


@pytest.mark.parametrize("verb", WRITES)
def test_a_foreign_writer_is_not_waited_for_longer_than_the_timeout(verb: str, path: Path, raw: sqlite3.Connection) -> None:
    """F-S4: locked for longer, a write fails within the timeout and a tenth, and names the file; the next one succeeds."""
    store, key = SQLiteStore(path, timeout=0.5), a_key()
    created(store, key)
    raw.execute("BEGIN IMMEDIATE")

    with Stopwatch() as watch, pytest.raises(StoreUnavailable, match=f"{path}: database is locked"):
        WRITES[verb](store, key)
    assert watch.took > 0.45
    assert watch.own < 0.55

    raw.execute("ROLLBACK")
    assert WRITES[verb](store, key)


def test_the_timeout_covers_both_statements_of_an_update(
    sqlite: SQLiteStore, raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-S4: an update that waits twice waits no longer than one that waits once."""
    key = a_key()
    version = created(sqlite, key).version
    raw.execute("BEGIN IMMEDIATE")
    write = sqlite._write

    def slow_first(sql: str, parameters: tuple[object, ...], since: float) -> int:
        if sql == _UPDATE_UNINDEXED:
            Timer(0.6, raw.execute, ["ROLLBACK"]).start()
            changed = write(sql, parameters, since)
            raw.execute("BEGIN IMMEDIATE")
            return changed
        return write(sql, parameters, since)

    monkeypatch.setattr(sqlite, "_write", slow_first)
    with Stopwatch() as watch, pytest.raises(StoreUnavailable, match="database is locked"):
        sqlite.update(key, a_record(user_id="alice"), version=version)
    assert watch.took > 0.9
    assert watch.own < 1.1


def test_opening_waits_for_the_same_time(path: Path, raw: sqlite3.Connection) -> None:
    """F-S4: a file that another process holds all for itself cannot be opened; when it lets go, it can."""
    raw.execute("BEGIN EXCLUSIVE")
    store = SQLiteStore(path, timeout=0.3)
    with Stopwatch() as watch, pytest.raises(StoreUnavailable, match=f"{path}: database is locked"):
        store.load(a_key())
    assert watch.took > 0.25
    assert watch.own < 0.35

    timer = Timer(0.1, raw.execute, ["ROLLBACK"])
    timer.start()
    assert store.create(a_key(), a_record())
    timer.join()


@pytest.mark.parametrize("made_before", [False, True])
@pytest.mark.parametrize("verb", ["create", "update", "delete", "load"])
def test_the_timeout_covers_waiting_for_other_threads_and_opening(
    verb: str, made_before: bool, path: Path, raw: sqlite3.Connection
) -> None:
    """F-S4: eight threads that meet a file which another process holds all for itself fail together, not one by one."""
    timeout, key, store = 0.3, a_key(), SQLiteStore(path, timeout=0.3)
    if made_before:
        created(store, key)
        store.close()
    raw.execute("PRAGMA locking_mode = EXCLUSIVE")
    raw.execute("BEGIN EXCLUSIVE")
    verbs: dict[str, Callable[[], object]] = {
        "create": lambda: store.create(a_key(), a_record()),
        "update": lambda: store.update(key, a_record(), version=1),
        "delete": lambda: store.delete(key),
        "load": lambda: store.load(key),
    }

    def time_to_fail() -> float:
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match=f"{path}: (database is locked|other threads were writing)"):
            verbs[verb]()
        return time.monotonic() - started

    # One by one they would take eight times as long; a busy machine lets eight threads run late.
    assert max(race(*[time_to_fail] * 8)) < 3 * timeout
    raw.close()
    assert store.create(a_key(), a_record())


def test_a_thread_that_waited_for_others_in_vain_says_so(path: Path, raw: sqlite3.Connection) -> None:
    """F-S4: the turn of another thread is not waited for longer than the timeout, and is left to that thread."""
    store, holding, release = SQLiteStore(path, timeout=0.05), Event(), Event()

    def hold() -> None:
        with store._turn:
            holding.set()
            release.wait(10)

    thread = Thread(target=hold)
    thread.start()
    assert holding.wait(10)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=f"{path}: other threads were writing, or waiting to write"):
            store.create(a_key(), a_record())
    release.set()
    thread.join()
    assert store.create(a_key(), a_record())


# Disk full (F-S2)

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
    "sweep": lambda store, version: store.sweep(10) == 1,
}

def state(store):
    return {key: (store.load(key)[0], listed(store, "alice"), listed(store, "bob")) for key in sorted(store.keys())}

counts = []
for name, verb in verbs.items():
    states, done = [], False
    for room in range(0, 100_000, 700):
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
assert min(counts) > 5, counts
print("passed")
"""


def test_a_write_that_fails_at_any_byte_did_nothing(quick_directory: Path, script: Script) -> None:
    """F-S10: when the N-th byte that a verb writes does not fit any more, for N in steps, nothing has changed."""
    assert script(NTH_WRITE, quick_directory) == "passed"


# Read-only (F-S3)

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


# Corrupt (F-S5)

KEYS = [f"{number:02}".ljust(12, "k") for number in range(60)]


def value_of(key: str) -> bytes:
    """Return a value that shows what was done to it, as those of sessions do."""
    text = key.encode() * 50
    return sha256(text).digest() + text


def is_damaged(value: bytes) -> bool:
    return sha256(value[32:]).digest() != value[:32]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of some pages, all in one file."""
    path = tmp_path_factory.mktemp("good") / "good.sqlite3"
    store = SQLiteStore(path)
    for number, key in enumerate(KEYS):
        assert store.create(key, Record(value_of(key), FAR, f"user {number % 3}"))
    store.close()
    return path


def damages(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield ways in which a file goes bad."""
    size, chance = 4096, random.Random(1)
    pages = len(content) // size
    assert pages > 10
    for page in range(pages):
        start, end = page * size, (page + 1) * size
        for name, junk in (("noise", chance.randbytes(size)), ("zeros", bytes(size)), ("ones", b"\xff" * size)):
            yield f"page {page} {name}", content[:start] + junk + content[end:]
        yield f"cut in page {page}", content[: start + size // 2]
        yield f"cut before page {page + 1}", content[:end]
        other = (page + 1) % pages * size
        yield f"page {page} is another one", content[:start] + content[other : other + size] + content[end:]
    for byte in range(100):
        yield f"header byte {byte}", content[:byte] + bytes((content[byte] ^ 0xFF,)) + content[byte + 1 :]
    yield "text", b"This is not a database. " * 1000
    yield "two bytes", b"SQ"


def test_a_corrupt_file_never_shows_wrong_data(good: Path, quick_directory: Path) -> None:
    """F-S5: every page overwritten, the file cut, its header flipped, another file: each answer is right or
    StoreUnavailable, or does not fit its key; nothing is made anew over what is there; put right, it works."""
    content, unavailable = good.read_bytes(), 0
    for number, (name, bad) in enumerate(damages(content)):
        if bad == content:
            continue
        path = quick_directory / f"{number}.sqlite3"
        path.write_bytes(bad)
        path.chmod(0o600)
        store, wrong, absent = SQLiteStore(path, timeout=0.1), [], []
        for key in KEYS[::3]:
            try:
                stored = store.load(key)
            except StoreUnavailable:
                unavailable += 1
                continue
            if stored is None:
                absent.append(key)
            elif stored.value != value_of(key) and not is_damaged(stored.value):
                wrong.append(key)
        assert not wrong, name
        # An index page that stands in for another one is whole, and nothing in the file says otherwise.
        assert not absent or "another" in name, name
        for verb in (lambda: list(store.keys_of("user 1")), lambda: list(store.keys()), lambda: store.sweep(10)):  # noqa: B023
            with suppress(StoreUnavailable):
                verb()
        store.close()
        assert path.stat().st_size > 0

        for companion in ("-wal", "-shm"):
            Path(f"{path}{companion}").unlink(missing_ok=True)
        shutil.copy(good, path.with_suffix(".good"))
        path.with_suffix(".good").replace(path)
        assert all(loaded(store, key).value == value_of(key) for key in KEYS[::3]), name
        store.close()
        path.unlink()
    assert unavailable > 500


def test_what_is_no_database_is_left_alone(path: Path) -> None:
    """F-S5: a file that is something else altogether keeps every byte."""
    path.write_bytes(b"This is not a database. " * 1000)
    path.chmod(0o600)
    before = path.read_bytes()
    store = SQLiteStore(path)

    for verb in (lambda: store.create(a_key(), a_record()), lambda: store.load(a_key()), lambda: store.sweep(1)):
        with pytest.raises(StoreUnavailable, match=f"{path}: file is not a database"):
            verb()
    assert path.read_bytes() == before


@pytest.mark.parametrize("value", ["'text'", "CAST(x'ff' AS TEXT)", "7", "7.5"])
def test_a_value_that_is_no_value_is_a_damaged_record(value: str, sqlite: SQLiteStore, raw: sqlite3.Connection) -> None:
    """F-S5: what damage made of a column is the empty value, which is no record of anybody, and can be removed."""
    key = a_key()
    version = created(sqlite, key).version
    raw.execute(f"UPDATE sessions SET value = {value}")

    assert sqlite.load(key) == Stored(b"", version)
    assert sqlite.delete(key)


def test_text_that_is_no_text_is_unavailable(sqlite: SQLiteStore, raw: sqlite3.Connection) -> None:
    """F-S5: a key or a user id that damage has made undecodable."""
    sqlite.create(a_key(), a_record(user_id="alice"))
    raw.execute("UPDATE sessions SET key = CAST(x'ff' AS TEXT)")

    with pytest.raises(StoreUnavailable, match="Could not decode"):
        next(sqlite.keys_of("alice"))
    with pytest.raises(StoreUnavailable, match="Could not decode"):
        next(sqlite.keys())


def test_what_is_no_key_is_in_no_list(sqlite: SQLiteStore, raw: sqlite3.Connection) -> None:
    """F-S5: what damage made of it, or of the moment of its end."""
    keys = filled(sqlite, 4, user_id="alice")
    raw.execute("UPDATE sessions SET key = x'00' WHERE key = ?", (keys[0],))
    raw.execute("UPDATE sessions SET expires_at = x'00' WHERE key = ?", (keys[1],))
    raw.execute("UPDATE sessions SET expires_at = 'never' WHERE key = ?", (keys[2],))

    assert keys[3] in sqlite.keys_of("alice")
    assert {*sqlite.keys_of("alice")} == {*sqlite.keys()} <= {*keys[1:]}


def test_a_list_that_breaks_off_does_not_end(sqlite: SQLiteStore, path: Path) -> None:
    """Promise 7: if the file goes away between two pages, what is missing is not taken for nothing."""
    filled(sqlite, 1500, user_id="alice")
    for listing in (sqlite.keys_of("alice"), sqlite.keys()):
        next(listing)
        path.rename(path.with_suffix(".away"))
        look_now(sqlite)
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            list(listing)
        path.with_suffix(".away").replace(path)


def test_rows_in_disorder_are_no_list_without_an_end(sqlite: SQLiteStore) -> None:
    """F-S5: where damage lets a page lead back to one before it."""
    filled(sqlite, 3)
    page = [(7, a_key())] * _PAGE  # no file is known in which SQLite does so
    sqlite._execute = lambda *_: page  # type: ignore[method-assign]

    with pytest.raises(StoreUnavailable, match="the rows are in disorder"):
        list(sqlite.keys())


def test_an_emptied_file_is_not_taken_for_a_new_one(path: Path) -> None:
    """F-S5: with a -wal beside it, an empty file has lost its contents; it is not begun anew."""
    store, key = SQLiteStore(path), a_key()
    created(store, key)
    content, wal = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    store.close()
    path.write_bytes(b"")
    Path(f"{path}-wal").touch(0o600)
    Path(f"{path}-wal").write_bytes(wal)

    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="the file is empty, but its -wal file is not"):
            store.create(a_key(), a_record())
    assert Path(f"{path}-wal").read_bytes() == wal

    path.write_bytes(content)
    assert loaded(store, key).value == b"value"


def test_an_empty_file_is_a_new_one(path: Path) -> None:
    """An empty file without a -wal holds nothing that could be lost."""
    path.touch(0o600)

    assert SQLiteStore(path).create(a_key(), a_record())


def test_a_file_that_is_emptied_while_open_is_a_new_one_after_an_error(good: Path, path: Path) -> None:
    """F-S5: it says so once; what was in it nobody can bring back."""
    shutil.copyfile(good, path)
    path.chmod(0o600)
    store = SQLiteStore(path)
    loaded(store, KEYS[0])
    os.truncate(path, 0)

    with pytest.raises(StoreUnavailable, match=f"{path}: "):
        store.load(KEYS[0])
    assert store.create(KEYS[0], a_record())


@pytest.mark.parametrize("size", [0, 1])
def test_a_file_that_is_emptied_while_open_is_noticed(size: int, path: Path) -> None:
    """F-S5: within a second of use, for as long as it is empty, and what the -wal holds is not written into it."""
    store, key = SQLiteStore(path), a_key()
    created(store, key)
    os.truncate(path, size)

    for verb in (lambda: store.load(key), lambda: store.create(a_key(), a_record()), lambda: store.delete(key)):
        look_now(store)
        with pytest.raises(StoreUnavailable, match="the file was emptied while it was open: restore it, or remove it"):
            verb()
    assert path.stat().st_size == size
    path.unlink()
    look_now(store)
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        store.load(key)
    assert store.create(key, a_record())


@pytest.mark.parametrize("size", [4096, 5000])
def test_a_file_that_is_cut_while_open_shows_nothing_false(size: int, good: Path, path: Path) -> None:
    """F-S5: cut by another program while the store has it open, each answer is right or StoreUnavailable."""
    shutil.copyfile(good, path)
    path.chmod(0o600)
    store = SQLiteStore(path)
    loaded(store, KEYS[0])
    os.truncate(path, size)
    refused = 0
    for key in KEYS:
        try:
            assert loaded(store, key).value == value_of(key)
        except StoreUnavailable:
            refused += 1
    assert refused
    store.close()
    for companion in ("-wal", "-shm"):
        Path(f"{path}{companion}").unlink(missing_ok=True)

    shutil.copyfile(good, path)
    assert all(loaded(store, key).value == value_of(key) for key in KEYS)


# Deleted, moved, replaced (F-S6)


def disappear(path: Path, *names: str) -> None:
    for name in names:
        Path(f"{path}{name}").unlink()


def move_directory(directory: Path) -> None:
    directory.rename(directory.with_suffix(".old"))
    directory.mkdir()


DISASTERS: dict[str, Callable[[Path], object]] = {
    "the file is deleted": lambda path: disappear(path, ""),
    "all three are deleted": lambda path: disappear(path, "", "-wal", "-shm"),
    "the -wal is deleted": lambda path: disappear(path, "-wal"),
    "the -shm is deleted": lambda path: disappear(path, "-shm"),
    "the file is moved": lambda path: path.rename(path.with_suffix(".old")),
    "the directory is moved and made anew": lambda path: move_directory(path.parent),
}


@pytest.mark.parametrize("disaster", DISASTERS)
def test_files_that_vanish_while_open_are_noticed(disaster: str, tmp_path: Path) -> None:
    """F-S6: within a second the store says that it lost its file, once, and from then on works with what is there: no
    record is acknowledged into a file that nobody will find."""
    path = tmp_path / "directory" / "sessions.sqlite3"
    path.parent.mkdir()
    store = SQLiteStore(path)
    created(store, a_key())
    DISASTERS[disaster](path)
    look_now(store)

    with pytest.raises(StoreUnavailable, match=f"{path}: a file of the database was deleted or replaced"):
        store.create(a_key(), a_record())
    key = a_key()
    created(store, key)
    other = SQLiteStore(path)
    assert loaded(other, key).value == b"value"
    look_now(store)
    assert loaded(store, key).value == b"value"
    store.close()
    other.close()
    assert integrity(path) == "ok"


def test_a_path_that_leads_nowhere_is_an_error_until_it_leads_somewhere(tmp_path: Path) -> None:
    """F-S6: a file in the place of the directory; each verb says so by name, and the first one that finds it right works."""
    path = tmp_path / "directory" / "sessions.sqlite3"
    path.parent.mkdir()
    store, key = SQLiteStore(path), a_key()
    before = created(store, key)
    path.parent.rename(away := tmp_path / "away")
    path.parent.touch()
    look_now(store)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match=f"{path}"):
            store.load(key)

    path.parent.unlink()
    away.rename(path.parent)
    assert loaded(store, key) == before


def test_it_looks_every_second(sqlite: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F-S6: without being told; the clock is set forward by as much as the promise says."""
    created(sqlite, a_key())
    disappear(path, "", "-wal", "-shm")
    sqlite.load(a_key())  # not yet
    monkeypatch.setattr("session_middleware.stores.sqlite.steady_clock", lambda: steady_clock() + 1)

    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        sqlite.load(a_key())


def test_a_moved_file_holds_all_that_was_acknowledged(sqlite: SQLiteStore, path: Path) -> None:
    """F-S6: what was still in the -wal goes into the file that was moved, which then is whole by itself."""
    key = a_key()
    created(sqlite, key)
    path.rename(moved := path.with_suffix(".moved"))
    look_now(sqlite)
    with pytest.raises(StoreUnavailable):
        sqlite.load(key)

    assert sqlite.load(key) is None
    assert loaded(SQLiteStore(moved), key).value == b"value"


def test_a_file_that_takes_the_place_is_not_mixed_with_the_old_one(sqlite: SQLiteStore, path: Path, good: Path) -> None:
    """F-S6: the -wal of the old file is not read as that of the new one."""
    for key in KEYS:
        created(sqlite, key, a_record(b"old"))
    shutil.copy(good, path.with_suffix(".good"))
    path.with_suffix(".good").replace(path)
    look_now(sqlite)

    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        sqlite.load(KEYS[0])
    assert all(loaded(sqlite, key).value == value_of(key) for key in KEYS)
    sqlite.close()
    assert integrity(path) == "ok"


def test_a_process_that_holds_the_deleted_file_stops_nobody(sqlite: SQLiteStore, path: Path) -> None:
    """F-S6: one that is idle, and so has not noticed yet, is in the way of no other; when it wakes it finds the new file."""
    created(sqlite, a_key())
    path.unlink()
    other, key = SQLiteStore(path), a_key()

    created(other, key)
    for _ in range(20):
        created(other, a_key())
    look_now(sqlite)
    with pytest.raises(StoreUnavailable):
        sqlite.load(key)
    assert loaded(sqlite, key).value == b"value"
    other.close()
    sqlite.close()
    assert integrity(path) == "ok"


def test_a_file_that_is_replaced_while_it_is_opened_is_noticed(
    path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-S6: the file that was opened and the one at the path are one, or it is not used."""
    created(SQLiteStore(path), a_key())
    store, connect = SQLiteStore(path), sqlite3.connect

    def replace(*args: object, **kwargs: object) -> Connection:
        connection = connect(*args, **kwargs)  # type: ignore[call-overload]
        connection.execute("SELECT * FROM sqlite_master").fetchall()
        shutil.copy(good, path.with_suffix(".good"))
        path.with_suffix(".good").replace(path)
        return connection  # type: ignore[no-any-return]

    monkeypatch.setattr(sqlite3, "connect", replace)
    with pytest.raises(StoreUnavailable, match="deleted or replaced while it was being opened"):
        store.load(KEYS[0])
    monkeypatch.undo()
    assert not store._connections.known


def test_a_path_that_cannot_be_opened_is_named(path: Path) -> None:
    """A directory in the place of the file, made after the store was."""
    store = SQLiteStore(path)
    path.mkdir()
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match=f"{path}: unable to open database file"):
            store.load(a_key())
    assert not store._connections.known

    path.rmdir()
    assert store.create(a_key(), a_record())


@pytest.mark.parametrize("place", [(sqlite3, "connect"), (Cursor, "execute")])
def test_whatever_the_driver_raises_is_unavailable(
    sqlite: SQLiteStore, place: tuple[object, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 7: an exception that nobody has heard of, too; and what it says is not told, for it may quote values."""

    class OfItsOwn(Exception):
        pass

    def fail(*_: object, **__: object) -> None:
        raise OfItsOwn("a secret")

    created(sqlite, key := a_key())
    if place[1] == "connect":
        sqlite.close()
    with monkeypatch.context() as patched:
        patched.setattr(*place, fail)
        for ask in (lambda: sqlite.load(key), lambda: sqlite.delete(key), lambda: list(sqlite.keys())):
            with pytest.raises(StoreUnavailable, match=r"sessions\.sqlite3: OfItsOwn$") as caught:
                ask()
            assert isinstance(caught.value.__cause__, OfItsOwn)
    assert loaded(sqlite, key).value == b"value"
