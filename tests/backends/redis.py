"""Redis servers for tests: one, a cluster of three masters with their replicas, a primary and its replica with sentinels."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.backends import process
from tests.backends.certificates import certify
from tests.backends.process import ANSWERS_WITHIN, Server, executable, free_port

until = partial(process.until, despite=(RedisError, OSError))
"""Ask until it is done, also where no Redis server can be asked just now."""


class RedisServer(Server):
    """``redis-server`` on TCP and on a Unix socket in its directory, which keeps nothing on disk.

    It is the first in PATH, which may be another version's, or Valkey under that name.
    *settings* are lines of its configuration, ``_`` for ``-`` (``maxmemory="100mb"``). ``password`` is what its tests'
    own client says.
    """

    name = "redis"
    password: str | None = None

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self._program = executable("redis-server", "redis-server")
        self.settings: dict[str, object] = {"bind": "127.0.0.1", "save": '""', "repl_diskless_sync_delay": 0, **settings}

    def prepare(self) -> None:
        settings = {"port": self.port, "unixsocket": self.socket, **self.settings}
        lines = [f"{name.replace('_', '-')} {value}\n" for name, value in settings.items()]
        Path(self.directory, "redis.conf").write_text("".join(lines))

    def command(self) -> Sequence[str]:
        return [self._program, "redis.conf"]

    @property
    def socket(self) -> str:
        """The path of the Unix socket."""
        return os.fspath(self.directory / "socket")

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        if not Path(self.socket).exists():
            return False  # redis-py 5.0 leaves a socket open whose connection has failed
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False

    def client(self, **options: Any) -> "redis.Redis":
        """Return a client of the test's own, by the Unix socket."""
        options = {"socket_timeout": ANSWERS_WITHIN, "retry": Retry(NoBackoff(), 0), "password": self.password, **options}
        return redis.Redis(unix_socket_path=self.socket, **options)

    def follow(self, primary: "RedisServer") -> None:
        """Make the server a replica; return when it has what the primary has."""
        with self.client() as client:
            client.replicaof("127.0.0.1", primary.port)
            until(lambda: client.info("replication")["master_link_status"] == "up", "the replica has no link")
        with primary.client() as client:
            # Nothing sent, nothing to wait for; and up to a second after a full copy nothing is sent yet.
            client.publish("tests", "something")
            until(lambda: client.wait(1, 1000), "the replica does not acknowledge")


class SecretRedisServer(RedisServer):
    """One that speaks TLS only, with a certificate that is its own authority: ``authority``, a file."""

    def prepare(self) -> None:
        certify(self.directory)
        files = {"tls_cert_file": self.authority, "tls_ca_cert_file": self.authority, "tls_key_file": "key.pem"}
        self.settings |= {"port": 0, "tls_port": self.port, "tls_auth_clients": "no", **files}
        super().prepare()

    @property
    def authority(self) -> Path:
        return Path(self.directory, "authority.pem")

    @property
    def url(self) -> str:
        return f"rediss://localhost:{self.port}/0?ssl_ca_certs={self.authority}"


class _Node(RedisServer):
    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        # The nodes talk to each other on a port of theirs, at this distance.
        self.port = free_port(beside=10_000)


class RedisCluster:
    """Three masters, and after them in ``nodes`` a replica of each: it takes over when its master is away for a second."""

    def __init__(self, node_timeout: float = 1.0) -> None:
        settings = {"cluster_enabled": "yes", "cluster_node_timeout": int(1000 * node_timeout), "appendonly": "no"}
        self.nodes = [_Node(**settings) for _ in range(6)]
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            self._join()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def masters(self) -> list[RedisServer]:
        """Return the nodes that run and are masters."""
        return [node for node in self.nodes if node.is_running and role(node) == "master"]

    def restore(self) -> None:
        """Start the nodes that were killed; return when there are three masters with a replica each that has all."""
        for node in self.nodes:
            if not node.is_running:
                node.start()
        until(lambda: all(_is_settled(node) for node in self.nodes), "the cluster does not settle")

    def _join(self) -> None:
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            with node.client() as client:
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                if number < 3:
                    start, end = (0, 5461, 10923, 16384)[number : number + 2]
                    client.execute_command("CLUSTER", "ADDSLOTS", *range(start, end))
                if node is not first:
                    client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port)
        until(lambda: all(_knows(node) == 6 for node in self.nodes), "the nodes do not know each other")
        for master, replica in zip(self.nodes[:3], self.nodes[3:], strict=True):
            with master.client() as one, replica.client() as other:
                other.execute_command("CLUSTER", "REPLICATE", one.execute_command("CLUSTER", "MYID"))
        until(lambda: all(_is_settled(node) for node in self.nodes), "the cluster does not settle")


class RedisSentinels:
    """A primary and a replica, ``servers``, and three ``sentinels``, who promote when the primary is away for a moment."""

    service = "sessions"

    def __init__(self, *, password: str | None = None, down_after: float = 0.5) -> None:
        secret = {"requirepass": password, "masterauth": password} if password else {}
        self.servers = [RedisServer(**secret) for _ in range(2)]
        for server in self.servers:
            server.password = password
        self.sentinels = [_Sentinel(self, password, down_after) for _ in range(3)]
        self._password = password
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        secret = f":{self._password}@" if self._password else ""
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{secret}{places}/{self.service}/0"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            self.servers[1].follow(self.servers[0])
            for sentinel in self.sentinels:
                stack.enter_context(sentinel)
            until(lambda: all(sentinel.knows_all() for sentinel in self.sentinels), "the sentinels do not know each other")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def primary(self) -> RedisServer:
        """Return the server that runs and is a primary; there must be one."""
        (found,) = [server for server in self.servers if server.is_running and role(server) == "master"]
        return found

    def restore(self) -> None:
        """Start the server that was killed; return when it follows the other, and the sentinels have seen it."""
        primary = self.primary()
        for server in self.servers:
            if not server.is_running:
                server.start()
            if server is not primary:
                server.follow(primary)
        until(lambda: all(sentinel.knows_all() for sentinel in self.sentinels), "the sentinels do not see the replica")


class _Sentinel(RedisServer):
    name = "redis-sentinel"

    def __init__(self, group: RedisSentinels, password: str | None, down_after: float) -> None:
        super().__init__()
        self._group = group
        self._secret = password
        self._down_after = down_after

    def prepare(self) -> None:
        service, first = self._group.service, self._group.servers[0]
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"unixsocket {self.socket}",
            f"sentinel monitor {service} 127.0.0.1 {first.port} 2",
            f"sentinel down-after-milliseconds {service} {int(1000 * self._down_after)}",
            f"sentinel failover-timeout {service} 3000",
            *([f"sentinel auth-pass {service} {self._secret}"] if self._secret else []),
        ]
        Path(self.directory, "redis.conf").write_text("\n".join(lines) + "\n")

    def command(self) -> Sequence[str]:
        return [self._program, "redis.conf", "--sentinel"]

    def knows_all(self) -> bool:
        """Tell whether it sees the primary, a replica that is well, and two other sentinels."""
        with self.client() as client:
            state = client.sentinel_master(self._group.service)
            replicas = client.sentinel_slaves(self._group.service)
        well = [replica for replica in replicas if replica["flags"] == "slave" and replica["master-link-status"] == "ok"]
        return bool(state["flags"] == "master" and state["num-other-sentinels"] == 2 and well)


def role(server: RedisServer) -> str:
    """Return ``master`` or ``slave``."""
    with server.client() as client:
        return str(client.info("replication")["role"])


def _knows(node: RedisServer) -> int:
    """Return how many nodes it has a link to, itself included."""
    with node.client() as client:
        return int(client.execute_command("CLUSTER", "NODES").count(b" connected"))


def _is_settled(node: RedisServer) -> bool:
    with node.client() as client:
        state, found = client.execute_command("CLUSTER", "INFO"), client.info("replication")
    if b"cluster_state:ok" not in state:
        return False
    return bool(found["connected_slaves"] >= 1 if found["role"] == "master" else found["master_link_status"] == "up")
