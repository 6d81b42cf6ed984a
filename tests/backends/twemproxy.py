"""A twemproxy for tests, in front of memcached servers, among which it spreads the keys."""

from collections.abc import Sequence
from pathlib import Path

from tests.backends.memcached import Memcached
from tests.backends.process import Server, executable, free_port


class Twemproxy(Server):
    """``nutcracker`` on loopback, in front of *behind*."""

    name = "twemproxy"

    def __init__(self, *behind: Memcached) -> None:
        super().__init__()
        self._program = executable("nutcracker", "nutcracker")
        self._behind = behind
        self._statistics = free_port()

    @property
    def address(self) -> str:
        """What a client is told."""
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        lines = [
            "tests:",
            f"  listen: {self.address}",
            "  hash: fnv1a_64",
            "  distribution: ketama",
            "  servers:",
            *(f"    - {server.address}:1" for server in self._behind),
        ]
        Path(self.directory, "nutcracker.yml").write_text("\n".join(lines) + "\n")

    def command(self) -> Sequence[str]:
        return [self._program, "-c", "nutcracker.yml", "-a", "127.0.0.1", "-s", str(self._statistics), "-m", "16384"]
