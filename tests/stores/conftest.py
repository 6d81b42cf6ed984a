"""What the tests of the stores share."""

import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from session_middleware import SQLiteStore
from tests.backends.mariadb import MariaDBServer, SecretMariaDBServer
from tests.backends.postgresql import PostgresServer, SecretPostgresServer
from tests.backends.redis import RedisCluster, RedisSentinels
from tests.backends.running import PATIENCE

Script = Callable[..., str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.sqlite3"


@pytest.fixture
def sqlite(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path, timeout=PATIENCE)
    yield store
    store.close()


@pytest.fixture
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the same file that is not ours: a foreign writer, or an eye that looks into it."""
    path.touch(0o600)
    connection = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
    yield connection
    connection.close()


@pytest.fixture
def script() -> Script:
    """Run Python code in a process of its own and return what it printed; it must end well and say nothing on stderr."""

    def run(code: str, *arguments: object, under: tuple[str, ...] = ()) -> str:
        warnings = ("-W", "error", "-W", "ignore:'cgi' is deprecated:DeprecationWarning")
        command = [*under, sys.executable, *warnings, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stderr.splitlines() if "walresetbug" not in line]
        assert not lines, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBServer]:
    with MariaDBServer() as server:
        yield server


@pytest.fixture(scope="session")
def secret_postgresql() -> Iterator[SecretPostgresServer]:
    with SecretPostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def secret_mariadb() -> Iterator[SecretMariaDBServer]:
    with SecretMariaDBServer() as server:
        yield server


@pytest.fixture(scope="session")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def sentinels() -> Iterator[RedisSentinels]:
    with RedisSentinels(password="secret-of-both") as sentinels:
        yield sentinels


@pytest.fixture
def table() -> str:
    """A name that no other test gives to a table."""
    return f"t_{secrets.token_hex(8)}"
