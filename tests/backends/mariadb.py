"""A MariaDB server for tests, on TCP and on a Unix socket in its directory."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymysql

from tests.backends.certificates import certify
from tests.backends.process import ANSWERS_WITHIN, Server, executable

# Nothing here has to survive a power cut. A crash of the server alone loses nothing that was committed all the same.
_SETTINGS = {
    "bind-address": "127.0.0.1",
    "socket": "socket",
    "pid-file": "pid",
    "innodb-flush-log-at-trx-commit": "2",
    "innodb-buffer-pool-size": "64M",
    "innodb-log-file-size": "32M",
    "innodb-flush-method": "nosync",
    "innodb-use-native-aio": "0",
    "max-connections": "150",
    "skip-name-resolve": "1",
    "performance-schema": "0",
    "max-allowed-packet": "16M",
}


class MariaDBServer(Server):
    """``mariadbd`` with a user ``tests``, who needs no password and may do everything, and a database of that name."""

    name = "mariadb"

    def __init__(self) -> None:
        super().__init__()
        self._mariadbd = executable("mariadbd", "mariadb-server")
        self._install = executable("mariadb-install-db", "mariadb-server")

    @property
    def user(self) -> str | None:
        return "mysql" if os.getuid() == 0 else None

    def prepare(self) -> None:
        subprocess.run(
            [
                self._install,
                "--no-defaults",
                f"--datadir={self.directory}/data",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-flush-method=nosync",
                "--innodb-use-native-aio=0",
            ],
            cwd=self.directory,
            # Each that starts removes the temporary tables that it finds, be they another one's.
            env={**os.environ, "TMPDIR": str(self.directory)},
            user=self.user,
            check=True,
            capture_output=True,
        )

    def command(self) -> Sequence[str]:
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        places = [f"--datadir={self.directory}/data", f"--tmpdir={self.directory}"]
        return [self._mariadbd, "--no-defaults", *places, f"--port={self.port}", *settings]

    def answers(self) -> bool:
        try:
            with self.connect("mysql", user="root") as connection, connection.cursor() as cursor:
                cursor.execute("CREATE DATABASE IF NOT EXISTS tests CHARACTER SET utf8mb4")
                cursor.execute("CREATE USER IF NOT EXISTS tests@'%'")
                cursor.execute("GRANT ALL ON *.* TO tests@'%' WITH GRANT OPTION")
        except pymysql.OperationalError:
            return False
        return True

    def connect(self, database: str = "tests", *, user: str = "tests", **options: Any) -> "pymysql.Connection[Any]":
        """Return a connection of the test's own, in autocommit."""
        options = {"autocommit": True, "connect_timeout": ANSWERS_WITHIN, **options}
        return pymysql.connect(host="127.0.0.1", port=self.port, user=user, database=database, **options)

    def url(self, *, user: str = "tests", password: str = "", host: str = "127.0.0.1", port: int = 0) -> str:
        """Return the URL of the database ``tests``."""
        secret = f":{password}" if password else ""
        return f"mariadb+pymysql://{user}{secret}@{host}:{port or self.port}/tests"

    def socket_url(self) -> str:
        """Return the URL of the same by the Unix socket; the server must let others into its directory for it."""
        return f"mariadb+pymysql://tests@/tests?unix_socket={Path(self.directory, 'data', 'socket')}"

    def run(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of the test's own; return the rows."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return list(cursor.fetchall())

    def connections(self) -> int:
        """Return how many connections others have to the database ``tests``."""
        return len(self._others())

    def end_connections(self) -> None:
        """Let the server end every connection to the database ``tests``."""
        for connection in self._others():
            with suppress(pymysql.OperationalError):
                self.run(f"KILL CONNECTION {connection}")

    def _others(self) -> list[int]:
        sql = "SELECT id FROM information_schema.processlist WHERE db = 'tests' AND id <> connection_id()"
        return [number for (number,) in self.run(sql)]


class SecretMariaDBServer(MariaDBServer):
    """One that takes TLS only on TCP, with a certificate that is its own authority: ``authority``, a file."""

    def prepare(self) -> None:
        super().prepare()
        certify(self.directory, owner=self.user)

    def command(self) -> Sequence[str]:
        files = [f"--ssl-cert={self.authority}", f"--ssl-key={self.directory}/key.pem"]
        return [*super().command(), *files, "--require-secure-transport=on"]

    def connect(self, database: str = "tests", *, user: str = "tests", **options: Any) -> "pymysql.Connection[Any]":
        return super().connect(database, user=user, ssl_ca=self.authority, **options)

    @property
    def authority(self) -> Path:
        return Path(self.directory, "authority.pem")

    def url(self, *, user: str = "tests", password: str = "", host: str = "localhost", port: int = 0) -> str:
        """Return the URL of the database ``tests``, for those who want to know who it is that answers."""
        return f"{super().url(user=user, password=password, host=host, port=port)}?ssl_ca={self.authority}"
