"""The servers of one test run, and the stores that the tests of all stores share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, Final

import pytest
from pymemcache.client.base import Client

from session_middleware import MemoryStore, open_store
from session_middleware.stores.base import Record, Version
from session_middleware.stores.memcached import MemcachedStore
from tests import gates
from tests.backends.memcached import MAX_ITEM_SIZE, Memcached

EMBEDDED: Final = ["memory", "sqlite"]
SERVED: Final = ["redis", "memcached", "postgresql", "mariadb"]
EVERY: Final = EMBEDDED + SERVED
LATER: Final = ["memory", "sqlite", "redis", *(pytest.param(kind, marks=pytest.mark.soak) for kind in SERVED[1:])]
"""For tests that take their time: every kind, most of them in the soak."""

SHARED: Final = LATER[1:]
"""Those of them that processes share."""
INDEXED: Final = [*SHARED[:2], *(pytest.param(kind, marks=pytest.mark.soak) for kind in SERVED[2:])]
"""Those of them that keep an index of users."""
TABLES: Final = ["postgresql", "mariadb"]
"""Those whose sessions stand in a table of a database server."""
SWEPT: Final = ["memory", "sqlite", "postgresql", "mariadb"]
"""Those that do not drop what has expired by themselves."""

# How long things take on a machine that runs tests is the subject of other tests.
PATIENT: Final = "timeout=10"
PATIENCE: Final = 10.0
"""The same for those who make a store themselves (seconds)."""

# What memcached counts as connections with nobody there but the one that asks.
_ITS_OWN: Final = 2


def sizes(name: str, normal: int, full: int, *, served: int | None = None) -> pytest.MarkDecorator:
    """Run a test on every kind of store, with *normal* of *name*; in the soak with *full* where there is no server to ask.

    Stores on servers do with *served* in the soak, or as many as otherwise. `make gates` does four times as much.
    """
    soak = pytest.mark.soak
    full = gates.full(max(full // 4, normal), full)
    served = served and gates.full(max(served // 4, normal), served)
    found = [pytest.param(kind, normal, id=f"{kind}-{normal:,}") for kind in (*EMBEDDED, "redis")]
    found += [pytest.param(kind, full, id=f"{kind}-{full:,}", marks=soak) for kind in EMBEDDED]
    if served is None:
        found += [pytest.param(kind, normal, id=f"{kind}-{normal:,}", marks=soak) for kind in SERVED if kind != "redis"]
    else:
        found += [pytest.param(kind, served, id=f"{kind}-{served:,}", marks=soak) for kind in SERVED]
    return pytest.mark.parametrize(("store", name), found, indirect=["store"])


class Backends:
    """Starts a server when it is first asked for, and ends it with the test run."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._servers: dict[str, Any] = {}
        self._spare: dict[str, list[Any]] = {kind: [] for kind in TABLES}
        self._numbers = count(1)

    def url(self, kind: str) -> str:
        """Return the URL of a store on a running server, in which nothing has been stored yet."""
        number = next(self._numbers)
        match kind:
            case "redis":
                from tests.backends.redis import RedisServer

                return f"redis://127.0.0.1:{self._server(kind, RedisServer).port}/0?prefix=test-{number}:&{PATIENT}"
            case "memcached":
                server = self._server(kind, Memcached)
                return f"memcached://{server.address}?prefix=test-{number}:&{PATIENT}&max_item_size={MAX_ITEM_SIZE}"
            case "postgresql":
                from tests.backends.postgresql import PostgresServer

                return f"{self._server(kind, PostgresServer).url()}?table=test_{number}&{PATIENT}"
            case "mariadb":
                from tests.backends.mariadb import MariaDBServer

                return f"{self._server(kind, MariaDBServer).url()}?table=test_{number}&{PATIENT}"
        raise ValueError(kind)

    @contextmanager
    def lent(self, kind: str) -> Iterator[Any]:
        """Lend an empty store of a kind in ``TABLES``; to make a table and to connect takes longer than most tests."""
        if self._spare[kind]:
            from session_middleware.stores.sqlalchemy.database import execute

            store = self._spare[kind].pop()
            store._budget.start()
            store._database.ask(execute, f"DELETE FROM {store._database._table}", ())
        else:
            made: Any = open_store(self.url(kind))
            store = self._stack.enter_context(closing(made))
        yield store
        self._spare[kind].append(store)

    def connections(self, kind: str) -> int:
        """Return how many connections others have to a server that runs."""
        server = self._server(kind, NotImplemented)
        if kind == "redis":
            with server.client() as client:
                return len(client.client_list()) - 1
        if kind == "memcached":
            return int(server.statistic("curr_connections")) - _ITS_OWN
        return int(server.connections())

    def dump(self, kind: str) -> bytes:
        """Return all that a server that runs would tell of what it keeps."""
        server = self._server(kind, NotImplemented)
        if kind == "redis":
            with server.client() as client:
                client.config_set("rdbcompression", "no")
                return b"\n".join(part for key in client.scan_iter(count=1000) for part in (key, client.dump(key) or b""))
        if kind == "memcached":
            with closing(Client(server.address)) as client:
                return b"\n".join(part for name in server.names() for part in (name.encode(), client.get(name) or b""))
        sql = "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'test\\_%%'"
        rows = [row for (table,) in server.run(sql.replace("%%", "%")) for row in server.run(f"SELECT * FROM {table}")]
        return b"\n".join(value if isinstance(value, bytes) else repr(value).encode() for row in rows for value in row)

    def on_disk(self, kind: str) -> bytes:
        """Return all files of a server that runs, with what it keeps in them now: its logs of changes, too."""
        server = self._server(kind, NotImplemented)
        if kind == "redis":
            with server.client() as client:
                client.config_set("rdbcompression", "no")
                client.save()
        elif kind == "postgresql":
            server.run("CHECKPOINT")
        else:
            server.run("FLUSH TABLES")
        # Files come and go while a server runs.
        return b"\n".join(path.read_bytes() for path in sorted(server.directory.rglob("*")) if path.is_file())

    def _server(self, kind: str, make: Callable[[], Any]) -> Any:
        if kind not in self._servers:
            self._servers[kind] = self._stack.enter_context(make())
        return self._servers[kind]


class Noting:
    """A store that keeps no index of users, with the notes that these tests take of them and of the keys."""

    def __init__(self, store: MemcachedStore) -> None:
        self._store = store
        self._users: dict[str, str | None] = {}
        self._lock = Lock()
        self.load, self.close = store.load, store.close

    # What is written and its note change together: a refused write would take back the note of the one that won.

    def create(self, key: str, record: Record) -> bool:
        with self._lock:
            created = self._store.create(key, record)
            if created:
                self._users[key] = record.user_id
            return created

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        with self._lock:
            updated = self._store.update(key, record, version=version)
            if updated and record.expires_at == 0:
                self._users.pop(key, None)
            elif updated:
                self._users[key] = record.user_id
            return updated

    def delete(self, key: str) -> bool:
        with self._lock:
            deleted = self._store.delete(key)
            self._users.pop(key, None)
            return deleted

    def keys_of(self, user_id: str) -> Iterator[str]:
        yield from (key for key, user in self._noted().items() if user == user_id)

    def keys(self) -> Iterator[str]:
        yield from (key for key in self._noted() if self._store.load(key) is not None)

    def _noted(self) -> dict[str, str | None]:
        with self._lock:
            return self._users.copy()


@contextmanager
def a_store(kind: str, directory: Path, backends: Backends) -> Iterator[Any]:
    """Make an empty store of a kind in ``EVERY``, to be closed at the end."""
    if kind == "memory":
        yield MemoryStore()
        return
    if kind in TABLES:
        with backends.lent(kind) as lent:
            yield _tried(lent)
        return
    url = f"sqlite:///{directory}/sessions.sqlite3?{PATIENT}" if kind == "sqlite" else backends.url(kind)
    made: Any = open_store(url)
    with closing(Noting(made) if kind == "memcached" else _tried(made)) as store:
        yield store


def _tried(store: Any) -> Any:
    """Return a store that no middleware tries anew, which would close its connections; that one does is tested elsewhere."""
    store.open = lambda: None
    return store
