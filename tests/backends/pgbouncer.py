"""A PgBouncer for tests, in front of a PostgreSQL server, which lends its connections for one transaction each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from tests.backends.postgresql import PostgresServer
from tests.backends.process import ANSWERS_WITHIN, Server, executable


class PgBouncer(Server):
    """``pgbouncer`` for the database ``tests`` of *behind*, to which each user has so many *connections* at most.

    It takes at their word the user ``tests`` and the other *users*, whose passwords it tells the server.
    """

    name = "pgbouncer"

    def __init__(self, behind: PostgresServer, *, connections: int = 4, users: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._program = executable("pgbouncer", "pgbouncer")
        self._behind = behind
        self._users = {"tests": "", **(users or {})}
        self._settings: dict[str, object] = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": "users",
            "pool_mode": "transaction",
            "default_pool_size": connections,
            "ignore_startup_parameters": "options",
            # After a restart of the server behind it the next one that asks is to find that out.
            "server_login_retry": 0.1,
        }

    @property
    def user(self) -> str | None:
        return self._behind.user

    def prepare(self) -> None:
        users = [f'"{name}" "{password}"\n' for name, password in self._users.items()]
        Path(self.directory, "users").write_text("".join(users))
        lines = [
            "[databases]",
            f"tests = host=127.0.0.1 port={self._behind.port}",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in self._settings.items()),
        ]
        Path(self.directory, "pgbouncer.ini").write_text("\n".join(lines) + "\n")

    def command(self) -> Sequence[str]:
        return [self._program, "pgbouncer.ini"]

    def answers(self) -> bool:
        try:
            with psycopg.connect(
                host="127.0.0.1",
                port=self.port,
                user="tests",
                dbname="tests",
                autocommit=True,
                connect_timeout=ANSWERS_WITHIN,
            ) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def url(self, *, user: str = "tests") -> str:
        """Return the URL of the database ``tests``, written as the README tells."""
        return f"{self._behind.url(user=user, port=self.port)}?prepare_threshold=none"
