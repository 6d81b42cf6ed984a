"""A store from a URL."""

import sys
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("valkey://:s5word@host:1/2", "host:1/2"),
        ("valkeys://host/2", "host:6379/2"),
        ("valkey+sentinel://one/name", "name, by the sentinels one:26379"),
        ("valkeys+cluster://one:1,two", "the cluster of one:1, two:6379"),
        ("redis://host?db=3", "host:6379/3"),
        ("redis://host/3?db=3", "host:6379/3"),
    ],
)
def test_the_urls_of_other_clients_mean_what_they_say(url: str, same: str) -> None:
    """Promise 15: Valkey's schemes, and the database as redis-py has it."""
    store: Any = open_store(url)

    assert store._servers.name == same


def test_several_hosts_of_a_database_are_all_known() -> None:
    """As libpq writes them; credentials and options stay what they were."""
    store: Any = open_store("postgresql://us%40er:p%2Cw@one:1,two/name?sslmode=disable&table=shop")
    url = store._database._engine.url

    assert (url.username, url.password, url.database) == ("us@er", "p,w", "name")
    assert (url.query["host"], url.query["sslmode"]) == (("one:1", "two"), "disable")


def test_several_hosts_need_no_user() -> None:
    """libpq takes that of the process."""
    store: Any = open_store("postgresql://one:1,two:2/name")

    assert store._database._engine.url.query["host"] == ("one:1", "two:2")


@pytest.mark.parametrize("url", ["postgresql://user@one:5432,two:x/name", "postgresql://one:p1,two:p2"])
def test_hosts_that_cannot_be_read_are_a_configuration_error(url: str) -> None:
    """Promise 15: before any request."""
    with pytest.raises(ConfigurationError, match="the URL of the database cannot be read"):
        open_store(url)


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
        ("oracle://host/db", r"'oracle' is not a kind of store; known are memory:, sqlite:, redis:, redis\+sentinel:"),
        ("sqllite:///a.db", r"'sqllite' is not a kind of store; did you mean sqlite:\?$"),
        ("redis+sentinal://host/name", r"did you mean redis\+sentinel:\?$"),
        ("memcache://host", r"did you mean memcached:\?$"),
        ("redis://host?prefx=x", r"redis: has no option 'prefx'; did you mean prefix\?$"),
        ("valkey://host/x", r"redis: the database 'x' is no number"),
        ("redis://host/1?db=2", r"the database is '1' in the path and '2' in db=; write it once"),
        ("redis+cluster://host?db=1", r"redis\+cluster: has no option 'db'"),
        ("mariadb://one,two/name", r"mariadb: takes one host; for several put a proxy in front of them"),
        ("postgresql://one,two:x/name", r"the URL of the database cannot be read"),
        (
            "sessions.sqlite3",
            r"'sessions.sqlite3' is not a kind of store; known are memory:, sqlite:, redis:, redis\+sentinel:",
        ),
        ("", r"'' is not a kind of store; known are memory:, sqlite:, redis:, redis\+sentinel:"),
        ("memcached+tls://host", r"'memcached\+tls' is not a kind of store; did you mean memcached:\?$"),
        ("redis://host?tmeout=2", r"redis: has no option 'tmeout'; did you mean timeout\?$"),
        ("redis://host?x=2", r"redis: has no option 'x'; it has prefix, timeout, wait_replicas, max_connections, db$"),
        ("re_dis://user:secret@host", r"^a URL without a scheme is not a kind of store; known are memory:, sqlite:"),
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


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 15: a store whose driver is not there names the line that installs it."""
    for name in [name for name in sys.modules if name.startswith("session_middleware.stores.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ConfigurationError, match=r"RedisStore needs redis: pip install 'session-middleware\[redis\]'"):
        open_store("redis://localhost/0")


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is installed and registers three schemes."""
    (tmp_path / "other_stores.py").write_text(
        "from session_middleware import MemoryStore\n"
        "class OtherStore(MemoryStore):\n"
        "    def __init__(self, url):\n"
        "        super().__init__()\n"
        "        self.url = url\n"
        "nothing = None\n"
    )
    info = tmp_path / "other_stores-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-stores\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[session_middleware.stores]\nother = other_stores:OtherStore\nodd = other_stores:nothing\n"
        "lost = other_stores:Gone\nsqlite = other_stores:OtherStore\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("other_package")
def test_another_package_may_add_a_scheme(tmp_path: Path) -> None:
    """The entry point gets the URL; the schemes of this package stay its own."""
    store: Any = open_store("other://host/1?x=2")

    assert (type(store).__name__, store.url) == ("OtherStore", "other://host/1?x=2")
    assert isinstance(open_store(f"sqlite:///{tmp_path}/a.db"), SQLiteStore)


@pytest.mark.usefixtures("other_package")
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("odd://", "odd: other_stores:nothing is not a function of the URL"),
        ("lost://", "lost: other_stores:Gone cannot be loaded: .*Gone"),
        ("oracle://", "'oracle' is not a kind of store; known are .*, mysql:, moving:, moving-later:, lost:, odd:, other:"),
    ],
)
def test_an_entry_point_that_cannot_work_does_not_start(url: str, message: str) -> None:
    """Promise 15: also for what other packages bring."""
    with pytest.raises(ConfigurationError, match=message):
        open_store(url)
