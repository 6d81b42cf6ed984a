"""A Redis Cluster: which of its nodes has which keys. It knows no verb."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from session_middleware.exceptions import StoreUnavailable
from session_middleware.stores.breaker import Breaker
from session_middleware.stores.redis.connections import (
    Answer,
    Broken,
    Command,
    Connection,
    Refusal,
    Server,
    Settings,
    TurnedAway,
    pack,
    slot_of,
)
from session_middleware.stores.redis.deployments import LATE, Deployment
from session_middleware.stores.redis.failures import failed
from session_middleware.stores.redis.scripts import in_full

_SLOTS: Final = 16384

# For so long (seconds) the map of a cluster is not asked for again, though nodes send requests on.
_REMAP_EVERY: Final = 0.2


class Cluster(Deployment):
    """The masters of a cluster, each of which has the keys of some slots."""

    has_all_keys_together = False

    def __init__(self, nodes: Sequence[Settings], timeout: float, max_connections: int | None) -> None:
        self.name = f"the cluster of {', '.join(node.name.partition('/')[0] for node in nodes)}"
        self.tls = nodes[0].tls
        self._settings = nodes[0]
        self._timeout = timeout
        self._max_connections = max_connections
        self._nodes: dict[tuple[str, int], Server] = {}
        self._asked: dict[Server, float] = {}
        for node in nodes:
            self._node(node.arguments["host"], node.arguments["port"])
        self._slots: list[Server | None] = [None] * _SLOTS
        self._breaker = Breaker(self.name)
        self._doubtful = True
        self._mapped_at = 0.0

    def server_of(self, key: bytes, deadline: float, may_be_late: bool = False) -> Server:
        slot = slot_of(key)
        server = self._slots[slot]
        if server is not None and server.breaker.is_open and not server.idle:
            server.breaker.check()
            self._doubtful = True
        if self._doubtful or server is None:
            self._remap(deadline, may_be_late)
            server = self._slots[slot]
            if server is None:
                raise StoreUnavailable(f"{self.name}: no node serves slot {slot}")
        return server

    def last_of(self, key: bytes) -> Server | None:
        return self._slots[slot_of(key)]

    def servers(self, deadline: float) -> Iterable[Server]:
        self._doubtful = True
        self._remap(deadline, True)
        return {id(server): server for server in self._slots if server is not None}.values()

    def failed(self, server: Server) -> None:
        self._doubtful, self._mapped_at = True, 0.0
        super().failed(server)

    def moved(self, key: bytes, refusal: Refusal, source: Server) -> Server:
        server = self._named_by(refusal, source)
        self._slots[slot_of(key)] = server
        self._doubtful = True
        return server

    def close(self) -> None:
        for server in self._nodes.copy().values():
            server.close()

    def _ask_there(self, refusal: Refusal, source: Server, commands: Sequence[Command], deadline: float) -> list[Answer]:
        server = self._named_by(refusal, source)
        request = [part for command in commands for part in (("ASKING",), in_full(command))]
        try:
            answers = server.exchange(pack(request), len(request), deadline)[1::2]
        except Broken as broken:
            raise failed(server.name, broken.__cause__) from broken.__cause__
        for answer in answers:
            if isinstance(answer, Refusal):
                raise failed(server.name, answer) from answer
        return answers

    def _named_by(self, refusal: Refusal, source: Server) -> Server:
        """Return the server in ``MOVED slot host:port``."""
        host, _, port = refusal.args[0].split(" ")[2].rpartition(":")
        return self._node(_host(host.encode(), source), int(port))

    def _node(self, host: str, port: int) -> Server:
        node = self._nodes.get((host, port))
        if node is None:
            settings, timeout = self._settings.at(host, port), self._timeout
            made = Server(settings.name, lambda deadline: Connection(settings, deadline, timeout), self._max_connections)
            # Another thread may have just made one; and what goes through the nodes takes a copy, because of such threads.
            node = self._nodes.setdefault((host, port), made)
        return node

    def _remap(self, deadline: float, may_be_late: bool) -> None:
        """Ask one node after the other which serves what, each for its share of the time left."""
        if time.monotonic() < self._mapped_at + _REMAP_EVERY:
            return
        if self._breaker.is_open:
            self._breaker.check()
        # One that is away, or behind the times, is not to be the first again.
        nodes = sorted(self._nodes.copy().values(), key=lambda node: (node.breaker.is_open, self._asked.get(node, 0.0)))
        error: BaseException | None = None
        for number, node in enumerate(nodes):
            now = self._asked[node] = time.monotonic()
            share = now + (deadline - now) / (len(nodes) - number + 1)
            try:
                (found,) = node.exchange(pack([("CLUSTER", "SLOTS")]), 1, share)
            except Broken as broken:
                error = broken.__cause__
                if not isinstance(error, TurnedAway):
                    node.close()
                continue
            if isinstance(found, list) and found:
                self._take_over(found, node)
                self._doubtful, self._mapped_at = False, time.monotonic()
                self._breaker.answered()
                return
            error = found if isinstance(found, Refusal) else None
        if not isinstance(error, (TurnedAway, *LATE) if may_be_late else TurnedAway):
            self._breaker.failed()
        raise failed(self.name, error, "no node says which serves what: ") from error

    def _take_over(self, found: list[Any], source: Server) -> None:
        slots: list[Server | None] = [None] * _SLOTS
        for first, last, master, *_ in found:
            node = self._node(_host(master[0] or b"", source), master[1])
            slots[first : last + 1] = [node] * (last + 1 - first)
        self._slots = slots
        for node in {*self._nodes.copy().values()} - {*slots}:
            node.close()


def _host(name: bytes, source: Server) -> str:
    """Return the host that *source* has named; without a name it is its own."""
    return source.name.rpartition(":")[0] if name in (b"", b"?") else name.decode()
