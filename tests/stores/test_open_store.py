"""A store from a URL."""

from pathlib import Path

import pytest

from session_middleware import ConfigurationError, MemoryStore, SQLiteStore, open_store
from session_middleware.testing import a_key, a_record


@pytest.mark.parametrize("url", ["memory:", "memory://", "memory:///"])
def test_memory_is_a_memory_store(url: str) -> None:
    """With nothing or only slashes after the colon."""
    assert isinstance(open_store(url), MemoryStore)


def test_the_bounds_of_memory_are_options() -> None:
    """The options of the constructor, as a query."""
    store = open_store("memory:?max_entries=2&max_bytes=100000")
    keys = [a_key() for _ in range(3)]
    for key in keys:
        store.create(key, a_record())

    assert [store.load(key) is not None for key in keys] == [False, True, True]


def test_three_slashes_are_a_file_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path stays where it was when the store was made, whatever the working directory is later."""
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///sessions.sqlite3")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert isinstance(store, SQLiteStore)
    assert store.path == tmp_path / "sessions.sqlite3"
    assert not store.path.exists()  # nothing is made before the first use
    assert store.create(a_key(), a_record())
    assert store.path.exists()


def test_four_slashes_are_an_absolute_path(tmp_path: Path) -> None:
    """As in the URLs of SQLAlchemy."""
    store = open_store(f"sqlite:///{tmp_path}/sessions.sqlite3")

    assert isinstance(store, SQLiteStore)
    assert store.path == tmp_path / "sessions.sqlite3"


def test_a_path_may_be_percent_encoded(tmp_path: Path) -> None:
    """A question mark, a blank or a number sign in a file name is written as in any URL."""
    store = open_store(f"sqlite:///{tmp_path}/a%20b%3F%23c.db")

    assert isinstance(store, SQLiteStore)
    assert store.path == tmp_path / "a b?#c.db"


def test_the_options_of_sqlite_are_a_query(path: Path) -> None:
    """The options of the constructor, as a query."""
    store = open_store(f"sqlite:///{path}?durability=full&timeout=0.5")
    store.create(a_key(), a_record())

    assert isinstance(store, SQLiteStore)
    assert store._connections.idle[0].execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._connections.timeout == 0.5


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("oracle://host/db", r"'oracle' is not a kind of store; known are memory:, sqlite:"),
        ("sessions.sqlite3", r"'sessions.sqlite3' is not a kind of store; known are memory:, sqlite:"),
        ("", r"'' is not a kind of store; known are memory:, sqlite:"),
        ("sqlite://sessions.sqlite3", r"sqlite: takes no host and no fragment; write sqlite:///sessions.sqlite3"),
        ("sqlite:///a.db#b", r"sqlite: takes no host and no fragment; write sqlite:///sessions.sqlite3"),
        ("memory://localhost", r"memory: takes no host and no fragment; write memory:"),
        ("memory:sessions", r"memory: takes no path; write memory:"),
        ("memory:?max_size=3", r"memory: has no option 'max_size'; it has max_entries, max_bytes"),
        ("memory:?max_entries=many", r"max_entries='many': write a whole number"),
        ("memory:?max_entries=", r"max_entries='': write a whole number"),
        ("memory:?max_entries=2.5", r"max_entries='2.5': write a whole number"),
        ("memory:?max_entries=inf", r"max_entries='inf': write a whole number"),
        ("memory:?max_bytes=0", r"max_bytes=0: write a whole number above 0"),
        ("sqlite:///a.db?mode=ro", r"sqlite: has no option 'mode'; it has durability, timeout"),
        ("sqlite:///a.db?durability=extra", r"durability='extra': write 'normal' or 'full'"),
        ("sqlite:///a.db?timeout=soon", r"timeout='soon': write a number"),
        ("sqlite:///a.db?timeout=0", r"timeout=0.0: write seconds, above 0 and up to 60"),
        ("sqlite:///a.db?timeout=nan", r"timeout=nan: write seconds, above 0 and up to 60"),
        ("sqlite:", r"'' is not a file: write its path, or use MemoryStore\(\)"),
        ("sqlite:///", r"'' is not a file: write its path, or use MemoryStore\(\)"),
        ("sqlite:///:memory:", r"':memory:' is not a file: write its path, or use MemoryStore\(\)"),
        ("sqlite:////no/such/directory/a.db", r"/no/such/directory/a.db: there is no such directory; create it"),
        ("sqlite:////", r"/ is a directory: write the path of a file in it"),
        ("sqlite:/var/lib/x.db", r"a path stands after three slashes; write sqlite:////var/lib/x.db"),
        ("sqlite:x.db", r"a path stands after three slashes; write sqlite:///x.db"),
        ("sqlite:/", r"'' is not a file: write its path, or use MemoryStore\(\)"),
        ("sqlite://", r"'' is not a file: write its path, or use MemoryStore\(\)"),
        ("sqlite:///a%00b.db", r"is not the path of a file: write a str or a pathlib.Path, without NUL"),
        ("sqlite:///a.db?timeout=1&timeout=2", r"sqlite: the option 'timeout' is there more than once; write it once"),
        ("memory:?max_bytes=1&max_bytes=", r"memory: the option 'max_bytes' is there more than once; write it once"),
        ("sqlite://[", r"the URL of the store cannot be read: "),
    ],
)
def test_what_cannot_work_does_not_start(url: str, message: str) -> None:
    """Promise 15: and the error says what to write instead."""
    with pytest.raises(ConfigurationError, match=message):
        open_store(url)
