"""The processes that run libraries, and the servers they use."""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.peers.contenders import CONTENDERS, STORES, Contender, Place
from tests.backends.postgresql import PostgresServer
from tests.backends.proxy import FaultProxy, _Pipe
from tests.backends.redis import RedisServer

ROOT = Path(__file__).parents[2]
_IN_TIME = 600.0


class Failed(Exception):
    """What a worker could not do; the text says why."""


class Member:
    """One library on one store, in a process of its own that ends with the block."""

    def __init__(self, contender: Contender, store: str, place: Place, folder: Path) -> None:
        self.contender, self.store = contender, store
        folder.mkdir(parents=True, exist_ok=True)
        self.place = place._replace(folder=str(folder))
        self._log = folder / "log"
        self.proxy: CountingProxy | None = None
        self.tracing = False

    @property
    def title(self) -> tuple[str, str]:
        return self.contender.name, self.store

    def command(self) -> list[str]:
        return [self.contender.name, self.store, *map(str, self.place)]

    def __enter__(self) -> Self:
        environment = (
            os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"} | ({"PEER_TRACE": "1"} if self.tracing else {})
        )
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.peers.worker", *self.command()],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=self.place.folder, env=environment, text=True,
            )  # fmt: skip
        assert self._process.stdin
        assert self._process.stdout
        self._orders, self._answers = self._process.stdin, self._process.stdout
        if not self._answers.readline():
            raise Failed(f"{self.title}: {self._log.read_text()[-2000:]}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._orders.close()
        self._answers.close()

    def begin(self, order: str, **arguments: Any) -> None:
        """Send an order; :meth:`end` returns what comes of it. Others can be sent theirs meanwhile."""
        print(json.dumps({"do": order, "with": arguments}), file=self._orders, flush=True)

    def end(self) -> Any:
        ready, _, _ = select.select([self._answers], [], [], _IN_TIME)
        line = self._answers.readline() if ready else ""
        if not line:
            raise Failed(f"{self.title} has no answer: {self._log.read_text()[-500:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["found"]

    def do(self, order: str, **arguments: Any) -> Any:
        """Do an order of :class:`~benchmarks.peers.worker.Worker`; raise :exc:`Failed`."""
        self.begin(order, **arguments)
        return self.end()


class CountingProxy(FaultProxy):
    """One that counts round trips: how often a client spoke, and the server had spoken last."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self.round_trips, self._last = 0, ""

    def _sent(self, pipe: _Pipe, data: bytes, sent: int, now: float) -> None:
        if pipe.towards == "server" != self._last:
            self.round_trips += 1
        self._last = pipe.towards
        super()._sent(pipe, data, sent, now)


class Gang:
    """A Redis server and a PostgreSQL server, started when somebody needs them; members that work on them."""

    def __init__(self, stack: ExitStack, **redis_settings: object) -> None:
        self._stack, self._settings = stack, redis_settings
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True))
        self._folder, self._number = Path(folder), 0

    @cached_property
    def redis(self) -> RedisServer:
        return self._stack.enter_context(RedisServer(**self._settings))

    @cached_property
    def postgresql(self) -> PostgresServer:
        return self._stack.enter_context(PostgresServer())

    def member(self, contender: Contender, store: str, redis: int = 0, postgresql: int = 0) -> Member:
        """Return a member not started yet, with a database of its own; *redis* and *postgresql*: ports of proxies."""
        self._number += 1
        database = f"peer{self._number}"
        place = Place("", database=database)
        if store == "PostgreSQL":
            self.postgresql.run(f"CREATE DATABASE {database}")
            place = place._replace(postgresql=postgresql or self.postgresql.port)
        if store == "Redis":
            place = place._replace(redis=redis or self.redis.port)
        return Member(contender, store, place, self._folder / database)


@contextmanager
def gang(**redis_settings: object) -> Iterator[Gang]:
    with ExitStack() as stack:
        yield Gang(stack, **redis_settings)


def pairs(only: Sequence[str], stores: Sequence[str] = STORES) -> list[tuple[Contender, str]]:
    """Return every contender with each of its stores; *only* names of contenders, all if it is empty."""
    return [
        (contender, store)
        for contender in CONTENDERS
        if not only or contender.name in only
        for store in contender.stores
        if store in stores
    ]
