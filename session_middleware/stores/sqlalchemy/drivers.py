"""Connections of psycopg and of PyMySQL that keep to a time budget. It imports neither, and knows no SQLAlchemy.

Both drivers have timeouts, but for connecting, or for each piece of an answer, or none that ends a wait for a server that
has fallen silent.
"""

import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from functools import cache
from math import ceil
from typing import Any, Final, TypeAlias

Connect: TypeAlias = Callable[..., Any]

# Waiting goes in steps at most this long (seconds), so that a signal is seen.
_STEP: Final = 0.05

# The server gives up before we do, when it waits for another's lock, and says why. And if we are gone, it goes on with
# nothing that nobody waits for.
_SHARE: Final = 0.8


class Budget(threading.local):
    """Until when the verb that this thread is at may take."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.until = 0.0
        self.hosts = 0
        """How many there are to try after the next one."""

    def start(self) -> None:
        self.until = time.monotonic() + self.seconds

    def left(self) -> float:
        """Return how many seconds are left; 0 if it is over."""
        return max(0.0, self.until - time.monotonic())

    def check(self) -> float:
        """Return how many seconds are left; raise ``TimeoutError`` if it is over."""
        left = self.left()
        if not left:
            raise TimeoutError(f"no answer within {self.seconds:g} s")
        return left


def psycopg_connect(driver: Any, budget: Budget) -> Connect:
    """Return what connects like ``psycopg.connect``; *driver* is that module."""

    def bounded(steps: Generator[Any, Any, Any], until: float) -> Generator[Any, Any, Any]:
        """Go the same steps, but none after *until*, or the end of the budget."""
        try:
            wanted = next(steps)
            while True:
                ready = yield wanted
                if time.monotonic() >= until:
                    budget.check()
                    raise driver.errors.ConnectionTimeout("connection timeout expired")
                wanted = steps.send(ready)
        except StopIteration as end:
            return end.value

    step = min(_STEP, budget.seconds / 20)

    class Connection(driver.Connection):  # type: ignore[misc]  # known at run time only
        def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
            return super().wait(bounded(gen, budget.until), step)

        @classmethod
        def _connect_gen(cls, *arguments: Any, **options: Any) -> Any:
            # Of several hosts each but the last may be silent, and the next one is to have time, too.
            until = time.monotonic() + budget.left() / 2 if budget.hosts > 0 else budget.until
            budget.hosts -= 1
            return bounded(super()._connect_gen(*arguments, **options), until)

    defaults = {
        # There is an index for each order that is asked for. But for each page of a list the planner might sort all rows of
        # a user, where they have become more than it knows of.
        "options": f"-c statement_timeout={ceil(_SHARE * budget.seconds * 1000)} -c enable_sort=off",
        # In a database of SQL_ASCII there is no other charset than what the client takes for one.
        "client_encoding": "utf8",
        "tcp_user_timeout": ceil(budget.seconds * 1000),
        "keepalives_idle": 60,
        "fallback_application_name": "session_middleware",
    }

    def connect(**parameters: Any) -> Any:
        budget.hosts = str(parameters.get("host", "")).count(",")
        return Connection.connect(**{**defaults, **parameters})

    return connect


class _Reader(io.RawIOBase):
    """Reads from a socket for as long as there is time."""

    def __init__(self, peer: socket.socket, budget: Budget) -> None:
        self._peer, self._budget = peer, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._peer.settimeout(self._budget.check())
        return self._peer.recv_into(buffer)


@cache
def _any_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _reached(host: str, port: int, source: tuple[str, int] | None, budget: Budget) -> socket.socket:
    """Connect to the first address of a host that answers; each has its share of the time that is left."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    error: OSError = ConnectionError("it has no address")
    for number, (*_, (address, its_port, *_)) in enumerate(found):
        try:
            peer = socket.create_connection((str(address), its_port), budget.check() / (len(found) - number), source)
        except OSError as failure:
            error = failure
            continue
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer.settimeout(None)
        return peer
    raise error


def pymysql_connect(driver: Any, budget: Budget) -> Connect:
    """Return what connects like ``pymysql.connect``; *driver* is that module."""

    class Connection(driver.connections.Connection):  # type: ignore[misc]  # known at run time only
        _rfile: Any
        _reader: Any = None

        def connect(self, sock: Any = None) -> None:
            # PyMySQL gives each address of the host all the time that there is for one.
            super().connect(None if self.unix_socket else self._reach())

        def _reach(self) -> socket.socket:
            source = None if self.bind_address is None else (self.bind_address, 0)
            try:
                return _reached(self.host, self.port, source, budget)
            except OSError as error:
                text = f"Can't connect to MySQL server on {self.host!r} ({error})"
                raise driver.err.OperationalError(2003, text) from error

        def _create_ssl_ctx(self, sslp: Any) -> Any:
            # Where nothing is to be checked it would read all certificates of the system for each connection (25 ms).
            return super()._create_ssl_ctx(sslp) if sslp else _any_tls()

        def _read_bytes(self, num_bytes: int) -> Any:
            if self._rfile is not self._reader:
                self._rfile = self._reader = io.BufferedReader(_Reader(self._sock, budget))
            return super()._read_bytes(num_bytes)

        def _write_bytes(self, data: bytes) -> None:
            # To say good-bye there is always time.
            self._write_timeout = budget.left() or _STEP
            super()._write_bytes(data)

    seconds = ceil(budget.seconds)
    defaults = {
        # What MySQL does not know it takes for a comment. A strict mode cuts no value short.
        "init_command": f"SET SESSION innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds},"
        " sql_mode = 'STRICT_ALL_TABLES', sql_safe_updates = 0, sql_select_limit = DEFAULT"
        f" /*M!100108 , max_statement_time = {_SHARE * budget.seconds} */",
    }
    return lambda **parameters: Connection(**{**defaults, **parameters, "connect_timeout": budget.check()})
