"""Connections to memcached servers: which server a key is on, one time budget for a verb, one retry. It knows no record."""

import math
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from time import monotonic
from typing import Any, Final, NoReturn, TypeVar, cast

from pymemcache.client.base import Client, normalize_server_spec
from pymemcache.client.rendezvous import RendezvousHash
from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheError,
    MemcacheServerError,
    MemcacheUnknownCommandError,
    MemcacheUnknownError,
)

from session_middleware.exceptions import ConfigurationError, SessionError, StoreUnavailable
from session_middleware.stores.breaker import Breaker
from session_middleware.stores.room import Room, close_resting
from session_middleware.stores.several import is_local

T = TypeVar("T")

# A connection that was not used for so long may have been forgotten on the way, without a word (seconds).
_LONGEST_REST: Final = 60.0

# A socket rather waits a little longer than is left than that its timeout is set anew each time (a share of it).
_ENOUGH: Final = 0.95

_FIRST_BLOCK: Final = 4096
_BLOCK: Final = 65536
_END: Final = b"\r\nEND\r\n"

# A moment (epoch seconds) that has passed, in the smallest number that memcached takes for a date.
_LONG_AGO: Final = 30 * 86400 + 1

_ERRORS: Final = {
    b"ERROR": MemcacheUnknownCommandError,
    b"CLIENT_ERROR": MemcacheClientError,
    b"SERVER_ERROR": MemcacheServerError,
}
_DONE: Final = {
    **dict.fromkeys((b"STORED\r\n", b"DELETED\r\n", b"HD\r\n"), True),
    **dict.fromkeys((b"EXISTS\r\n", b"NOT_STORED\r\n", b"EX\r\n"), False),
    **dict.fromkeys((b"NOT_FOUND\r\n", b"NF\r\n"), None),
}


class _TurnedAway(MemcacheError):  # type: ignore[misc]  # pymemcache is not typed
    """No connection more is to be had. The server is there all the same, for those who have one."""


class _Socket(socket.socket):
    """Takes no longer, with all that it does in a verb, than the time that its connection has for it."""

    connection: "Connection"

    def connect(self, address: Any) -> None:
        self.settimeout(self.connection.left())
        super().connect(address)
        self.connection.made()

    # The timeout of the socket is that of a whole verb. To set it costs a little, so it is done only if it must be.

    def sendall(self, data: Any, flags: int = 0) -> None:
        connection = self.connection
        if connection.deadline - monotonic() < connection.enough:
            connection.shorten(self)
        super().sendall(data)

    def recv(self, size: int, flags: int = 0) -> bytes:
        connection = self.connection
        if connection.deadline - monotonic() < connection.enough:
            connection.shorten(self)
        data = super().recv(size)
        if not data:
            raise ConnectionResetError("the connection was closed")
        return data


class Connection:
    """A client on a connection of its own. To the client it is the socket module, so that there is one deadline."""

    AF_UNSPEC = socket.AF_UNSPEC
    AF_UNIX = getattr(socket, "AF_UNIX", None)
    SOCK_STREAM = socket.SOCK_STREAM
    IPPROTO_TCP = socket.IPPROTO_TCP
    TCP_NODELAY = socket.TCP_NODELAY

    def __init__(self, server: "_Server", timeout: float) -> None:
        self.server = server
        self.client = Client(
            server.address, connect_timeout=timeout, timeout=timeout, no_delay=True, socket_module=cast(Any, self)
        )
        self.pid = os.getpid()
        self.deadline = 0.0
        self.enough = timeout * _ENOUGH
        self.since = math.inf
        self._shortened: _Socket | None = None

    def begin(self, deadline: float) -> None:
        """A verb begins, and has time until *deadline*."""
        self.deadline = deadline
        if self._shortened is not None:
            self._shortened.settimeout(self.client.timeout)
            self._shortened = None

    def left(self) -> float:
        """Return how many seconds are left."""
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def shorten(self, sock: _Socket) -> None:
        sock.settimeout(self.left())
        self._shortened = sock

    # Written out here: a command of the client's costs more than all else in a verb, and its raw_command, which a
    # compare-and-delete needs, does not read answers that come in pieces.

    def add(self, name: bytes, item: bytes, ends: int) -> bool:
        """Store the item if there is none of that name; return whether it was stored."""
        return self._done(b"add %b 0 %d %d\r\n%b\r\n" % (name, ends, len(item), item)) is True

    def gets(self, name: bytes) -> tuple[bytes, bytes] | None:
        """Return the item and the number of its state; ``None`` if there is none of that name."""
        answer = self._ask(b"gets %b\r\n" % name)
        if answer == b"END\r\n":
            return None
        line, _, rest = answer.partition(b"\r\n")
        words = line.split(b" ")
        if len(words) != 5 or words[0] != b"VALUE" or words[1] != name:
            raise _error(line)
        size = int(words[3])
        if len(rest) < size + len(_END):
            blocks, missing = [rest], size + len(_END) - len(rest)
            while missing > 0:
                blocks.append(self.client.sock.recv(_BLOCK))
                missing -= len(blocks[-1])
            rest = b"".join(blocks)
        if rest[size:] != _END:
            raise MemcacheUnknownError(b"no end")
        return rest[:size], words[4]

    def cas(self, name: bytes, item: bytes, number: bytes, ends: int) -> bool | None:
        """Replace the item if it is in that state; return whether it was, ``None`` if there is none."""
        return self._done(b"cas %b 0 %d %d %b\r\n%b\r\n" % (name, ends, len(item), number, item))

    def remove(self, name: bytes, number: bytes) -> bool | None:
        """Remove the item if it is in that state; return as :meth:`cas`."""
        try:
            # By what is over already when it is stored: proxies know this, and close the connection at "md".
            return self._done(b"cas %b 0 %d 0 %b\r\n\r\n" % (name, _LONG_AGO, number))
        except MemcacheServerError:  # with -M it may have no memory, not even for that
            return self._done(b"md %b C%b\r\n" % (name, number))

    def delete(self, name: bytes) -> bool:
        """Remove the item; return whether there was one."""
        return self._done(b"delete %b\r\n" % name) is True

    def statistics(self) -> dict[str, Any]:
        """Return what the server counts, by name; nothing if it is none that tells, as a proxy."""
        try:
            found = self.client.stats()
        except (OSError, MemcacheError):
            self.client.close()
            return {}
        return {
            str(name, "ascii"): str(value, "ascii") if isinstance(value, bytes) else value for name, value in found.items()
        }

    def close(self) -> None:
        self.client.close()

    def _done(self, command: bytes) -> bool | None:
        answer = self._ask(command)
        try:
            return _DONE[answer]
        except KeyError:
            raise _error(answer) from None

    def _ask(self, command: bytes) -> bytes:
        """Return what has come of the answer when its first line is whole."""
        sock = self.client.sock
        if sock is None:
            self._connect()
            sock = self.client.sock
        sock.sendall(command)
        answer: bytes = sock.recv(_FIRST_BLOCK)
        while b"\r\n" not in answer:
            answer += sock.recv(_FIRST_BLOCK)
        return answer

    def _connect(self) -> None:
        try:
            self.client.version()  # which every server knows
        except MemcacheUnknownCommandError as error:
            raise _TurnedAway("it has too many connections; raise its -c, or set max_connections of the store") from error

    def made(self) -> None:
        self.since = self.server.newest = monotonic()

    def socket(self, *arguments: int) -> _Socket:
        made = _Socket(*arguments)
        made.connection = self
        return made

    def getaddrinfo(self, *arguments: Any) -> list[Any]:
        """Return the addresses, after a failure with another one first: the client tries the first only."""
        found = socket.getaddrinfo(*arguments)
        turn = self.server.failures % len(found)
        return found[turn:] + found[:turn]


class _Server:
    """One memcached, and the connections to it that are not in use."""

    def __init__(self, name: str, address: Any, timeout: float, max_connections: int | None) -> None:
        self.name = name
        self.timeout = timeout
        self.address = address
        self.tls = None if is_local(address if isinstance(address, str) else address[0]) else False
        self.breaker = Breaker(f"memcached at {name}")
        self.idle: list[Connection] = []
        self.newest = 0.0
        self.failures = 0
        self._room = None if max_connections is None else Room(max_connections)

    def enter(self, deadline: float) -> None:
        """Wait for a place among those who have a connection; see :meth:`leave`."""
        if self._room is not None and not self._room.enter(deadline):
            raise self.unavailable(f"all {self._room.size} connections of this process are in use; raise max_connections")

    def leave(self) -> None:
        if self._room is not None:
            self._room.leave()

    def take(self, deadline: float) -> Connection:
        """Return the connection that was used last, or a new one; never one of another process."""
        try:
            while True:
                connection = self.idle.pop()
                if connection.pid == os.getpid() and deadline - connection.deadline < _LONGEST_REST:
                    break
                connection.close()
        except IndexError:
            connection = Connection(self, self.timeout)
        connection.begin(deadline)
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next verb; close those that have not been needed for long."""
        self.idle.append(connection)
        close_resting(self.idle, connection.deadline - _LONGEST_REST)

    def close(self) -> None:
        """Close the connections that are not in use."""
        with suppress(IndexError):
            while True:
                self.idle.pop().close()

    def unavailable(self, reason: str) -> StoreUnavailable:
        return StoreUnavailable(f"memcached at {self.name}: {reason}")

    def unknown(self) -> NoReturn:
        raise self.unavailable("a connection broke, and it is not known whether the change was stored before another one")


class Servers:
    """The servers of a store, each key on one of them for good, be that server there or not."""

    def __init__(self, servers: Sequence[str], timeout: float, max_connections: int | None) -> None:
        if not isinstance(servers, Sequence):
            raise ConfigurationError(f"servers={servers!r}: write a list of host:port, or of paths of Unix sockets")
        self._by_name = dict(_named(server, timeout, max_connections) for server in servers)
        if not self._by_name or len(self._by_name) < len(servers):
            raise ConfigurationError(f"servers={servers!r}: name at least one, and each once")
        self.name = ", ".join(self._by_name)
        self._only = next(iter(self._by_name.values())) if len(self._by_name) == 1 else None
        self._choose = RendezvousHash(list(self._by_name), hash_function=_score).get_node
        self._timeout = timeout

    def close(self) -> None:
        """Close the connections that are not in use."""
        for server in self._by_name.values():
            server.close()

    def server_of(self, key: str) -> _Server:
        return self._only or self._by_name[self._choose(key)]

    def run(self, key: str, attempt: Callable[[Connection, bool], T]) -> T:
        """Return what *attempt* returns; if its connection breaks try once more, on another one.

        *attempt* is told whether the try before it may have reached the server.
        """
        return self._run_on(self._only or self.server_of(key), attempt)

    def run_on_each(self, attempt: Callable[[Connection, bool], T]) -> list[T]:
        """Return what *attempt* returns for each of the servers; see :meth:`run`."""
        return [self._run_on(server, attempt) for server in self._by_name.values()]

    def _run_on(self, server: _Server, attempt: Callable[[Connection, bool], T]) -> T:
        # Who has a connection goes on: it was closed if anything was wrong with it.
        if server.breaker.is_open and not server.idle:
            server.breaker.check()
        deadline = monotonic() + self._timeout
        server.enter(deadline)
        try:
            return self._run(server, deadline, attempt)
        finally:
            server.leave()

    def _run(self, server: _Server, deadline: float, attempt: Callable[[Connection, bool], T]) -> T:
        connection = server.take(deadline)
        try:
            try:
                result = attempt(connection, False)
            except OSError as error:
                server.close()
                server.failures += 1
                if isinstance(error, TimeoutError) or monotonic() >= deadline:
                    raise
                connection.close()
                sent, connection = connection.since < math.inf, server.take(deadline)
                result = attempt(connection, sent)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                server.breaker.failed()
            elif isinstance(error, MemcacheError | SessionError):
                server.breaker.answered()
            if isinstance(error, SessionError) or not isinstance(error, Exception):
                raise
            raise server.unavailable(_reason(error)) from error
        server.give_back(connection)
        if server.breaker.is_open:
            server.breaker.answered()
        return result


def _error(answer: bytes) -> MemcacheError:
    kind, _, reason = answer.rstrip(b"\r\n").partition(b" ")
    return _ERRORS.get(kind, MemcacheUnknownError)(reason)


def _named(server: object, timeout: float, max_connections: int | None) -> tuple[str, _Server]:
    """Return the server with its name, the same however the server is written."""
    if not isinstance(server, str) or not is_plain(server):
        raise ConfigurationError(f"{server!r} is not a server: write host:port, or the path of a Unix socket")
    try:
        address = normalize_server_spec(server)
    except ValueError:
        address = ("", 0)
    if isinstance(address, tuple) and not (address[0] and 0 < address[1] < 65536):
        raise ConfigurationError(f"{server!r} is not a server: write host:port, or the path of a Unix socket")
    name = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
    return name, _Server(name, address, timeout, max_connections)


def is_plain(text: str) -> bool:
    """Tell whether the text is printable ASCII without blanks, as all is that memcached takes for one word."""
    return text.isascii() and text.isprintable() and " " not in text


def _score(text: str, seed: int) -> int:
    """Spread as evenly as the hash that the library would use, ten times as fast."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def _reason(error: Exception) -> str:
    """Say what happened, without what the server sent: in a confused answer that could be part of a session."""
    if isinstance(error, OSError):
        return str(error) or type(error).__name__
    if isinstance(error, _TurnedAway):
        return str(error)
    if isinstance(error, MemcacheUnknownCommandError):
        return "it does not know the command; memcached 1.6 or later is needed"
    if isinstance(error, MemcacheServerError | MemcacheClientError):
        reason = str(error.args[0], "ascii", "replace")
        return f"{reason}; raise its -I, or lower max_item_size of the store" if "too large" in reason else reason
    return f"the answer is not understood ({type(error).__name__}); is that a memcached?"
