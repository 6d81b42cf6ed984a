"""A PostgreSQL server for tests, on TCP and on a Unix socket in its directory."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests.backends.certificates import certify
from tests.backends.process import ANSWERS_WITHIN, Server, executable

_BESIDE = "usr/lib/postgresql/*/bin"

# Nothing here has to survive a power cut. A crash of the server alone loses nothing that was committed all the same.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "150",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "autovacuum_naptime": "5s",
    "deadlock_timeout": "50ms",
    "log_min_messages": "warning",
    "unix_socket_permissions": "0700",
}

_WHO_MAY_CONNECT = """
local all tests trust
host all tests 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""


class PostgresServer(Server):
    """``postgres`` with a superuser ``tests``, who alone needs no password, and a database of that name."""

    name = "postgresql"
    orderly = signal.SIGINT

    def __init__(self) -> None:
        super().__init__()
        self._postgres = executable("postgres", "postgresql", beside=_BESIDE)
        self._initdb = executable("initdb", "postgresql", beside=_BESIDE)

    @property
    def user(self) -> str | None:
        return "postgres" if os.getuid() == 0 else None

    def prepare(self) -> None:
        subprocess.run(
            [self._initdb, "-D", "data", "-U", "tests", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
            cwd=self.directory,
            user=self.user,
            check=True,
            capture_output=True,
        )
        Path(self.directory, "data", "pg_hba.conf").write_text(_WHO_MAY_CONNECT)

    def command(self) -> Sequence[str]:
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        return [self._postgres, "-D", "data", "-p", str(self.port), "-k", str(self.directory), *settings]

    def answers(self) -> bool:
        try:
            with self.connect("postgres") as connection:
                if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'tests'").fetchone() is None:
                    connection.execute("CREATE DATABASE tests")
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str = "tests", *, user: str = "tests") -> psycopg.Connection:
        """Return a connection of the test's own, in autocommit."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=user,
            dbname=database,
            autocommit=True,
            connect_timeout=ANSWERS_WITHIN,
        )

    def url(self, *, user: str = "tests", password: str = "", host: str = "127.0.0.1", port: int = 0) -> str:
        """Return the URL of the database ``tests``."""
        secret = f":{password}" if password else ""
        return f"postgresql+psycopg://{user}{secret}@{host}:{port or self.port}/tests"

    def socket_url(self) -> str:
        """Return the URL of the same by the Unix socket; the server must let others into its directory for it."""
        return f"postgresql+psycopg://tests@:{self.port}/tests?host={self.directory}"

    def pause(self) -> None:
        super().pause()
        for pid in self._backends():
            os.kill(pid, signal.SIGSTOP)
            while _status(pid)[0] not in "TZ":
                time.sleep(0.001)

    def resume(self) -> None:
        for pid in self._backends():
            os.kill(pid, signal.SIGCONT)
        super().resume()

    def _backends(self) -> list[int]:
        """Return the processes that serve one connection each, and those in the background."""
        processes = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [pid for pid in processes if _status(pid)[1:2] == [str(self.pid)]]

    def run(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run one statement, or several without parameters, on a connection of the test's own; return the rows."""
        with self.connect() as connection:
            cursor = connection.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def connections(self) -> int:
        """Return how many connections others have to the database ``tests``."""
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'tests' AND pid <> pg_backend_pid()"
        return int(self.run(sql)[0][0])

    def end_connections(self) -> None:
        """Let the server end every connection to the database ``tests``, and wait until they are gone."""
        self.run("""SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
            WHERE datname = 'tests' AND pid <> pg_backend_pid()""")


class SecretPostgresServer(PostgresServer):
    """One that takes TLS only on TCP, with a certificate that is its own authority: ``authority``, a file."""

    def prepare(self) -> None:
        super().prepare()
        certify(self.directory, owner=self.user)
        Path(self.directory, "data", "pg_hba.conf").write_text(_WHO_MAY_CONNECT.replace("host ", "hostssl "))

    def command(self) -> Sequence[str]:
        files = [f"--ssl_cert_file={self.authority}", f"--ssl_key_file={self.directory}/key.pem"]
        return [*super().command(), "--ssl=on", *files]

    @property
    def authority(self) -> Path:
        return Path(self.directory, "authority.pem")

    def url(self, *, user: str = "tests", password: str = "", host: str = "localhost", port: int = 0) -> str:
        """Return the URL of the database ``tests``, for those who want to know who it is that answers."""
        url = super().url(user=user, password=password, host=host, port=port)
        return f"{url}?sslmode=verify-full&sslrootcert={self.authority}"


def _status(pid: int) -> list[str]:
    """Return what the system knows of a process: its state, its parent, and so on; as of one that has ended if it has."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["Z"]
