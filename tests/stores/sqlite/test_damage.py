"""A file that is damaged never makes SQLiteStore show wrong data: F-S5."""

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from session_middleware import SQLiteStore, StoreUnavailable
from session_middleware.stores.base import Stored
from session_middleware.stores.sqlite import _PAGE
from session_middleware.stores.sqlite.connections import Cursor
from session_middleware.testing import a_key, a_record, created, filled, loaded
from tests.stores.sqlite.files import KEYS, look_now, value_of

pytestmark = pytest.mark.timed


def is_damaged(value: bytes) -> bool:
    return sha256(value[32:]).digest() != value[:32]


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
