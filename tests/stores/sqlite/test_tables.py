"""The tables of SQLiteStore: made once, left alone where they are of something else, and read by their indexes."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_middleware import Record, SQLiteStore, StoreUnavailable
from session_middleware.stores import sqlite as module
from session_middleware.testing import a_key, a_record, created, filled, listed, loaded
from tests.backends.running import PATIENCE
from tests.stores.conftest import Script
from tests.stores.sqlite.asking import plan, setting

SCHEMA_VERSION = 1


def test_a_dump_is_used(path: Path, tmp_path: Path) -> None:
    """It holds our tables, but not the numbers by which we know them; also what ANALYZE has noted, or one index less."""
    store, key = SQLiteStore(path), a_key()
    created(store, key, a_record(user_id="alice"))
    setting(store, "user_version")
    store._connections.idle[-1].execute("ANALYZE")
    store.close()
    with sqlite3.connect(path) as connection:
        lines = list(connection.iterdump())
    connection.close()
    for number, left_out in enumerate(("nothing", "CREATE INDEX sessions_by_user_id")):
        restored = tmp_path / f"{number}.sqlite3"
        restored.touch(0o600)
        with sqlite3.connect(restored, isolation_level=None) as connection:
            connection.executescript("".join(line for line in lines if not line.startswith(left_out)))
        connection.close()
        store = SQLiteStore(restored)

        assert loaded(store, key).value == b"value"
        assert listed(store, "alice") == [key]
        assert setting(store, "user_version") == SCHEMA_VERSION
        assert setting(store, "journal_mode") == "wal"
        assert "sessions_by_user_id" in plan(store, module._KEYS_OF)
        store.close()


def test_sixteen_processes_make_one_schema(quick_directory: Path, script: Script) -> None:
    """F-S8: however many processes meet a file that is not there, each one can use it, and it is made once."""
    code = """
import multiprocessing, sys, logging
from session_middleware import SQLiteStore
from session_middleware.testing import a_key, a_record
logging.disable()

def use(start, path):
    store = SQLiteStore(path, timeout=30)
    start.wait()
    key = a_key()
    assert store.create(key, a_record(key.encode(), user_id="racer"))
    assert store.load(key).value == key.encode()

if __name__ == "__main__":
    start = multiprocessing.get_context("fork").Barrier(16)
    processes = [multiprocessing.get_context("fork").Process(target=use, args=(start, sys.argv[1])) for _ in range(16)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print([process.exitcode for process in processes])
"""
    for number in range(2):
        file = quick_directory / f"{number}.sqlite3"
        assert script(code, file) == str([0] * 16)

        store = SQLiteStore(file)
        assert len(listed(store, "racer")) == 16
        assert setting(store, "schema_version") == 3  # one table and two indexes, each made once
        assert setting(store, "user_version") == SCHEMA_VERSION
        assert setting(store, "integrity_check") == "ok"
        store.close()


def test_a_schema_that_another_process_made_meanwhile_is_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F-S8: whether there are tables is asked again under the lock."""
    live, store, answers = SQLiteStore(path), SQLiteStore(path), [False]
    created(live, a_key())
    opening = store._connections
    is_ready = opening._is_ready
    monkeypatch.setattr(opening, "_is_ready", lambda connection: answers.pop() if answers else is_ready(connection))

    assert store.create(a_key(), a_record())
    assert setting(store, "schema_version") == 3


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["PRAGMA user_version = 0"], "its tables have version 0; this package knows version 1"),
        (["PRAGMA user_version = 2"], "its tables have version 2; this package knows version 1"),
        (["PRAGMA application_id = 7"], "this is a database of something else; give the sessions a file of their own"),
        (
            ["PRAGMA application_id = 0", "PRAGMA user_version = 0", "CREATE TABLE other (n)"],
            "this is a database of something else",
        ),
        (
            ["PRAGMA application_id = 0", "PRAGMA user_version = 0", "ALTER TABLE sessions ADD COLUMN other"],
            "this is a database of something else",
        ),
    ],
)
def test_tables_that_it_does_not_know_are_left_alone(path: Path, statements: list[str], message: str) -> None:
    """F-S8: an older, a newer or a foreign database is refused by every verb, and nothing of it is changed."""
    key, store = a_key(), SQLiteStore(path)
    created(store, key)
    store.close()
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    before = path.read_bytes()
    store = SQLiteStore(path)

    for verb in (
        lambda: store.create(a_key(), a_record()),
        lambda: store.load(key),
        lambda: store.update(key, a_record(), version=1),
        lambda: store.delete(key),
        lambda: store.sweep(1),
        lambda: listed(store, "alice"),
        lambda: list(store.keys()),
    ):
        with pytest.raises(StoreUnavailable, match=f"{path}: {message}"):
            verb()
    store.close()
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_left_alone(path: Path) -> None:
    """F-S8: whatever stands in the file by mistake stays as it is, to the byte."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sessions (key TEXT, value BLOB)")
        connection.execute("INSERT INTO sessions VALUES ('key', 'theirs')")
    connection.close()
    path.chmod(0o600)
    before = path.read_bytes()

    with pytest.raises(StoreUnavailable, match="a database of something else"):
        SQLiteStore(path).create(a_key(), a_record())
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_two_keys_of_one_row_do_not_mix(sqlite: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 11: a key finds its own record and no other; one whose row is in use is taken until that record has ended."""
    monkeypatch.setattr(module, "row_of", lambda key: 7)
    one, other = a_key(), a_key()
    version = created(sqlite, one).version

    assert not sqlite.create(other, a_record())
    assert sqlite.load(other) is None
    assert not sqlite.update(other, a_record(), version=version)
    assert not sqlite.delete(other)
    assert list(sqlite.keys()) == [one]
    assert sqlite.update(one, a_record(expires_in=-10), version=version)
    assert created(sqlite, other).value == b"value"
    assert sqlite.load(one) is None


@pytest.mark.parametrize(
    ("sql", "by"),
    [
        (module._LOAD, ["sessions USING INTEGER PRIMARY KEY (rowid=?)"]),
        (module._UPDATE, ["sessions USING INTEGER PRIMARY KEY (rowid=?)"]),
        (module._UPDATE_UNINDEXED, ["sessions USING INTEGER PRIMARY KEY (rowid=?)"]),
        (module._REMOVE, ["sessions USING INTEGER PRIMARY KEY (rowid=?)"]),
        (module._DELETE, ["sessions USING INTEGER PRIMARY KEY (rowid=?)"]),
        (module._SWEEP, ["sessions USING INTEGER PRIMARY KEY (rowid=?)", "INDEX sessions_by_sweep_at (sweep_at<?)"]),
        (module._KEYS_OF, ["INDEX sessions_by_user_id (user_id=? AND rowid>?)"]),
        (module._KEYS, ["sessions USING INTEGER PRIMARY KEY (rowid>?)"]),
    ],
)
def test_every_statement_goes_by_an_index(sqlite: SQLiteStore, sql: str, by: list[str]) -> None:
    """Promise 13: the cost of a verb does not grow with the number of sessions."""
    steps = plan(sqlite, sql)

    assert all(index in steps for index in by), steps
    assert "SCAN" not in steps
    assert "TEMP B-TREE" not in steps


def test_the_common_update_touches_no_index(sqlite: SQLiteStore) -> None:
    """Moving the end of a session by seconds leaves the time at which it is swept; moving it further does not."""

    def swept_at() -> int:
        ((at,),) = sqlite._connections.idle[-1].execute("SELECT sweep_at FROM sessions").fetchall()
        return int(at)

    key, now = a_key(), int(time.time())
    created(sqlite, key, Record(b"", now + 1000, "alice"))
    first = swept_at()
    assert first == now + 1300
    for end, user, after in (
        (now + 1300, "alice", first),
        (now + 900, "alice", first),
        (now + 1301, "alice", now + 1601),
        (now + 1000, "alice", now + 1300),
        (now + 1000, "bob", now + 1300),
        (now + 600, "bob", now + 900),
    ):
        assert sqlite.update(key, Record(b"", end, user), version=loaded(sqlite, key).version)
        assert swept_at() == after
        assert after >= end


def test_sweeping_takes_the_longest_expired_first(sqlite: SQLiteStore) -> None:
    """Promise 13: in batches, so that a sweep is a bounded share of a request's time."""
    ages = {a_key(): 1000 * number for number in range(1, 6)}
    for key, age in ages.items():
        sqlite.create(key, a_record(expires_in=-age))
    left = []
    for _ in ages:
        assert len(sqlite.sweep(1)) == 1
        left.append(sqlite._connections.idle[-1].execute("SELECT count(*), min(expires_at) FROM sessions").fetchone())

    assert [count for count, _ in left] == [4, 3, 2, 1, 0]
    assert [end for _, end in left[:-1]] == sorted(end for _, end in left[:-1])


@pytest.mark.parametrize(
    "listing", [lambda store: store.keys(), lambda store: store.keys_of("alice")], ids=["all", "a user's"]
)
def test_a_listing_holds_nothing_between_two_pages(
    sqlite: SQLiteStore, raw: sqlite3.Connection, listing: Callable[[SQLiteStore], Iterator[str]]
) -> None:
    """Promise 13: no transaction is open, so nobody is stopped, and a page more does not depend on the one before."""
    sqlite._connections.timeout = PATIENCE
    keys = filled(sqlite, 2500, user_id="alice")
    found = listing(sqlite)
    first = next(found)

    assert not any(cursor.connection.in_transaction for cursor in sqlite._connections.idle)
    sqlite.close()
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert sqlite.delete(max(keys))
    assert {*keys} - {max(keys)} <= {first, *found} <= {*keys}


def test_a_page_reads_no_more_rows_than_are_in_it(
    sqlite: SQLiteStore, raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 13: also where all that there is has expired, and has not been swept."""
    sqlite.load(a_key())
    expired = ((module.row_of(key := a_key()), key) for _ in range(5000))
    raw.execute("BEGIN")
    raw.executemany("INSERT INTO sessions VALUES (?, ?, 1, 1000, 1300, 'alice', x'')", expired)
    raw.execute("COMMIT")
    execute, pages = sqlite._execute, []

    def noting(*arguments: Any) -> Any:
        pages.append(len(found := execute(*arguments)))
        return found

    monkeypatch.setattr(sqlite, "_execute", noting)
    assert list(sqlite.keys_of("alice")) == list(sqlite.keys()) == []
    assert pages == [1000] * 5 + [0] + [1000] * 5 + [0]


VERBS: dict[str, Callable[[SQLiteStore, str, object], object]] = {
    "create": lambda store, key, version: store.create("n" * 12, Record(b"new" * 5000, 2**40, "bob")),
    "create over an expired record": lambda store, key, version: store.create("expired", Record(b"new", 2**40, "bob")),
    "update": lambda store, key, version: store.update(key, Record(b"new", 2**40, "alice"), version=version),
    "update of all": lambda store, key, version: store.update(key, Record(b"new", 2**41, "bob"), version=version),
    "update that removes": lambda store, key, version: store.update(key, Record(b"", 0, None), version=version),
    "delete": lambda store, key, version: store.delete(key),
    "sweep": lambda store, key, version: store.sweep(10),
}


def rows(connection: sqlite3.Connection) -> list[Any]:
    """Return everything but what chance decides."""
    return connection.execute("SELECT length(key), value, expires_at, user_id FROM sessions ORDER BY key").fetchall()


def tables(directory: Path) -> Iterator[tuple[SQLiteStore, str]]:
    """Yield stores that hold the same, each in a file of its own."""
    for number in range(1, 2000):
        store = SQLiteStore(directory / f"{number}.sqlite3")
        key = "k" * 12
        assert store.create(key, Record(b"old" * 3000, 2**40, "alice"))
        assert store.create("expired", Record(b"old", 1000, "alice"))
        yield store, key
        store.close()


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_fails_at_any_step_did_nothing_or_all(verb: str, quick_directory: Path) -> None:
    """F-S10: interrupted at the N-th step of SQLite's machine, for every N, a verb leaves what was or what was to be; when
    it reports success it is the latter."""
    states: list[tuple[bool, list[Any]]] = []
    for steps, (store, key) in enumerate(tables(quick_directory), 1):
        version, connection, left = loaded(store, key).version, store._connections.idle[-1].connection, steps

        def interrupt() -> bool:
            nonlocal left
            left -= 1
            return left == 0

        before = rows(connection)
        connection.set_progress_handler(interrupt, 1)
        try:
            done = bool(VERBS[verb](store, key, version))
            connection.set_progress_handler(None, 0)
        except StoreUnavailable:
            done = False
        store.load(key)
        states.append((done, rows(store._connections.idle[-1].connection)))
        assert setting(store, "integrity_check") == "ok"
        assert store.create(a_key(), a_record())
        if done:
            break

    after = states[-1][1]
    assert len(states) > 10
    assert before != after
    assert [done for done, _ in states] == [False] * (len(states) - 1) + [True]
    assert all(state in (before, after) for _, state in states)
    assert (False, before) in states
