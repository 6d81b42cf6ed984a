"""A memcached of the tests' own."""

import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from tests.backends.process import ANSWERS_WITHIN, Server, executable

MAX_ITEM_SIZE = 4 * 1024 * 1024


class Memcached(Server):
    """Listens on loopback alone, or on a Unix socket in its directory; takes items of up to ``MAX_ITEM_SIZE`` bytes."""

    name = "memcached"
    # It has nothing to save, and after SIGTERM it takes a second.
    orderly = signal.SIGKILL

    def __init__(self, *options: str, unix: bool = False) -> None:
        super().__init__()
        self._options = options
        self._unix = unix

    @property
    def path(self) -> Path:
        """The Unix socket."""
        return self.directory / "memcached.sock"

    @property
    def address(self) -> str:
        """What a client is told."""
        return str(self.path) if self._unix else f"127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        where = ["-s", str(self.path)] if self._unix else ["-l", "127.0.0.1", "-p", str(self.port), "-U", "0"]
        program = executable("memcached", "memcached")
        return [program, "-u", "root", *where, "-t", "2", "-I", str(MAX_ITEM_SIZE), "-m", "64", *self._options]

    def answers(self) -> bool:
        return self.ask(b"version").startswith(b"VERSION")

    def ask(self, command: bytes, *, end: bytes = b"\r\n") -> bytes:
        """Return what the server says to a command in one line, up to its *end*."""
        family, address = (socket.AF_UNIX, str(self.path)) if self._unix else (socket.AF_INET, ("127.0.0.1", self.port))
        with socket.socket(family) as connection:
            connection.settimeout(ANSWERS_WITHIN)
            connection.connect(address)
            connection.sendall(command + b"\r\n")
            said = b""
            while not said.endswith(end) and (more := connection.recv(65536)):
                said += more
            return said

    def names(self) -> list[str]:
        """Return the names of all that it holds."""
        lines = self.ask(b"lru_crawler metadump all", end=b"END\r\n").decode().splitlines()
        return [unquote(line.partition("key=")[2].partition(" ")[0]) for line in lines if "key=" in line]

    def statistic(self, name: str) -> str:
        """Return one line of ``stats``."""
        lines = self.ask(b"stats", end=b"END\r\n").decode().splitlines()
        return next(line.split()[2] for line in lines if line.startswith(f"STAT {name} "))
