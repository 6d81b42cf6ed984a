"""Connections to Redis servers: opened when needed, used again, never carried over a fork. It knows no verb."""

import itertools
import logging
import os
import re
import select
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias, cast

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from session_middleware.stores.breaker import Breaker
from session_middleware.stores.room import Room, close_resting
from session_middleware.stores.several import is_local

log = logging.getLogger("session_middleware")

Command: TypeAlias = tuple[bytes | str | int, ...]
Answer: TypeAlias = Any
"""``bytes``, ``int``, ``None``, a list of these, or a :class:`Refusal`."""

_pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]  # it says tuples of one

_BLOCK: Final = 65536
_MORE: Final = object()

# A connection that was not used for so long (seconds) is looked at first: the server may have closed it meanwhile.
_TRUSTED_FOR: Final = 1.0

# One that was not used for so long may have been forgotten on the way, without a word (seconds).
_LONGEST_REST: Final = 60.0

# What a server says, and closes the connection, whatever it was asked.
_TURNS_AWAY: Final = re.compile("max number of clients|^DENIED ")

_POLICY: Final = re.compile(rb"^maxmemory_policy:(\S+)", re.MULTILINE)
_MAXMEMORY: Final = re.compile(rb"^maxmemory:0\b", re.MULTILINE)

# What a script's own call was refused for stands inside the error of Redis 6.2.
_CODE: Final = re.compile(r"(?:\A|: -)([A-Z]{2,})\b")


class Refusal(redis.ResponseError):
    """An error that the server answered. ``code`` is its first word, such as ``OOM``."""

    def __init__(self, text: str) -> None:
        # An unknown command is quoted with its arguments, and these are a session.
        super().__init__(text.partition(", with args beginning")[0])
        codes = _CODE.findall(text)
        self.code: str = codes[-1] if codes else "ERR"


class TurnedAway(Refusal):
    """No connection more is to be had. The server is there all the same, for those who have one."""


class Broken(Exception):
    """No answer could be had; the cause is the driver's error. ``sent``: the server may have done what it was asked."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__()
        self.sent = sent


FAILURES: Final = (OSError, redis.RedisError, hiredis.HiredisError, UnicodeError)
"""What is known to be raised; the text of what else may come is not to be shown, for it could be anything."""


def said(error: BaseException | None) -> str:
    """Return what the driver's *error* says; its kind alone if it is none that the driver is known to raise."""
    return str(error) if isinstance(error, FAILURES) else f"the driver failed ({type(error).__name__})"


def pack(commands: Sequence[Command]) -> bytes:
    """Return what is sent for *commands*."""
    return _pack(commands[0]) if len(commands) == 1 else b"".join(map(_pack, commands))


def slot_of(key: bytes) -> int:
    """Return the hash slot of *key* in a cluster."""
    return key_slot(key)


def left(deadline: float) -> float:
    """Return how many seconds there are left; raise ``TimeoutError`` if there are none."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


class Settings(NamedTuple):
    """How to connect to a server: redis-py's class for it and the arguments of that."""

    kind: Any
    arguments: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The server, for messages: ``host:port/db`` or ``path/db``."""
        found = self.arguments
        place = found.get("path") or f"{found.get('host', 'localhost')}:{found.get('port', 6379)}"
        return f"{place}/{found.get('db') or 0}"

    @property
    def tls(self) -> bool | None:
        """Whether what is sent is encrypted; ``None`` where it does not leave this machine."""
        if issubclass(self.kind, redis.SSLConnection):
            return True
        return None if "path" in self.arguments or is_local(self.arguments.get("host")) else False

    def at(self, host: str, port: int) -> "Settings":
        """Return the same for another server."""
        return self._replace(arguments={**self.arguments, "host": host, "port": port})


class _Timed:
    """Lets redis-py connect, and shake hands, by a deadline: whenever it asks how long it may wait, it is what is left."""

    deadline: float

    @property
    def socket_timeout(self) -> float:
        return left(self.deadline)

    @socket_timeout.setter
    def socket_timeout(self, value: object) -> None: ...

    @property
    def socket_connect_timeout(self) -> float:
        return left(self.deadline)

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: object) -> None: ...


@cache
def _timed(kind: Any) -> Any:
    return type("Timed", (_Timed, cast(type[Any], kind)), {})


class _Parser:
    """Reads answers for redis-py while it connects, by a deadline, and lends its parts to whoever reads the others."""

    def __init__(self, deadline: float) -> None:
        self.reader = hiredis.Reader(replyError=Refusal, notEnoughData=_MORE)
        self.socket: Any = None
        self.has_read = False
        self.turned_away: TurnedAway | None = None
        self._deadline = deadline

    def on_connect(self, connection: Any) -> None:
        # redis-py has no public name for it, and its own sending and reading costs as much as the round trip.
        self.socket = connection._sock  # noqa: SLF001  # there is no other way to it

    def on_disconnect(self) -> None:
        # What could not be sent may have met with a connection that was closed, and that for a reason.
        if self.socket is not None and not self.has_read:
            with suppress(OSError, hiredis.HiredisError):
                self.socket.settimeout(0)
                self.reader.feed(self.socket.recv(_BLOCK))
                self._note(self.reader.gets())

    def can_read(self, timeout: float = 0) -> bool:
        return False

    def read_response(self, *args: object, **options: object) -> Answer:
        while (answer := self.reader.gets()) is _MORE:
            self.socket.settimeout(left(self._deadline))
            self.reader.feed(_received(self.socket))
        self.has_read = True
        self._note(answer)
        return answer

    def _note(self, answer: Answer) -> None:
        # redis-py passes over errors at the beginning.
        if isinstance(answer, Refusal) and _TURNS_AWAY.search(str(answer)):
            self.turned_away = TurnedAway(str(answer))


def _received(socket: Any) -> bytes:
    data: bytes = socket.recv(_BLOCK)
    if not data:
        raise ConnectionResetError("the server closed the connection")
    return data


class Connection:
    """One connection. Whoever has it asks, or closes it after an error."""

    def __init__(self, settings: Settings, deadline: float, timeout: float) -> None:
        self.pid = os.getpid()
        self.deadline = deadline
        parser = _Parser(deadline)
        self._driver = _timed(settings.kind)(
            **settings.arguments, protocol=2, parser_class=lambda **_: parser, retry=Retry(NoBackoff(), 0)
        )
        self._driver.deadline = deadline
        try:
            self._driver.connect()
        except Exception:
            if parser.turned_away is None:
                raise
        if parser.turned_away is not None:
            raise parser.turned_away
        self._socket, self._reader = parser.socket, parser.reader
        parser.socket = None
        self.has_answered = parser.has_read
        # What a plain socket can take, it takes at once, without asking the system first whether it would.
        self._file = self._socket.fileno() if os.name == "posix" and not hasattr(self._socket, "pending") else None
        self._usual = 0.98 * timeout
        self._is_usual = False

    def exchange(self, request: bytes, count: int, deadline: float) -> list[Answer]:
        """Send *request* and return its *count* answers; raise one of ``FAILURES`` if they are not there in time."""
        self.deadline = deadline
        file, reader, sent = self._file, self._reader, 0
        if not self._is_usual or deadline - time.monotonic() < self._usual:
            self._hurry(deadline)
        try:
            if file is not None:
                sent = os.write(file, request)
        except BlockingIOError:
            pass
        if sent < len(request):
            self._socket.sendall(memoryview(request)[sent:])
            self._hurry(deadline)
        reader.feed(self._socket.recv(_BLOCK))
        answer = reader.gets()
        if count > 1 or answer is _MORE or reader.has_data():
            return self._rest(answer, count, deadline)
        return [answer]

    def _rest(self, answer: Answer, count: int, deadline: float) -> list[Answer]:
        """Return all answers, of which *answer* is the first, if it is there already."""
        answers = []
        while True:
            while answer is _MORE:
                self._hurry(deadline)
                self._reader.feed(_received(self._socket))
                answer = self._reader.gets()
            answers.append(answer)
            if len(answers) == count:
                break
            answer = self._reader.gets()
        if self._reader.has_data():
            raise hiredis.ProtocolError("the server sent more than was asked for")
        return answers

    def _hurry(self, deadline: float) -> None:
        """Let the next wait be no longer than the time left."""
        seconds = left(deadline)
        self._is_usual = seconds >= self._usual
        self._socket.settimeout(seconds)

    def is_quiet(self) -> bool:
        """Tell whether the server has neither closed the connection nor sent anything unasked."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        self._file = -1
        self._driver.disconnect()


Open: TypeAlias = Callable[[float], Connection]


class Server:
    """One server: its connections, each lent to one thread at a time, and whether it answers.

    ``made`` is another number whenever a connection was made.
    """

    def __init__(self, name: str, connect: Open, max_connections: int | None = None) -> None:
        self.name = name
        self.breaker = Breaker(name)
        self.idle: list[Connection] = []
        self.made = 0
        self._numbers = itertools.count(1)
        self._connect = connect
        self._looked_at = False
        self._room = None if max_connections is None else Room(max_connections)

    def exchange(self, request: bytes, count: int, deadline: float) -> list[Answer]:
        """Send *request* and return its *count* answers; raise :exc:`Broken` if they are not there in time."""
        room = self._room
        if room is None:
            return self._exchange(request, count, deadline)
        if not room.enter(deadline):
            busy = f"all {room.size} connections of this process are in use; raise max_connections, or lower the threads"
            raise Broken(sent=False) from TurnedAway(busy)
        try:
            return self._exchange(request, count, deadline)
        finally:
            room.leave()

    def _exchange(self, request: bytes, count: int, deadline: float) -> list[Answer]:
        idle = self.idle
        try:
            try:
                connection = idle.pop()
            except IndexError:
                connection = self._open(deadline)
            if connection.pid != os.getpid() or deadline - connection.deadline > _TRUSTED_FOR:
                connection = self._trusted(connection, deadline)
        except Exception as error:
            raise Broken(sent=False) from error
        try:
            answers = connection.exchange(request, count, deadline)
        except BaseException as error:
            connection.close()
            if isinstance(error, Exception):
                raise Broken(sent=True) from error
            raise
        idle.append(connection)
        if self.breaker.is_open:
            self.breaker.answered()
        close_resting(idle, deadline - _LONGEST_REST)
        return answers

    def close(self) -> None:
        """Close the connections that are not in use now."""
        try:
            while True:
                connection = self.idle.pop()
                if connection.pid == os.getpid():
                    connection.close()
        except IndexError:
            pass

    def _trusted(self, connection: Connection, deadline: float) -> Connection:
        """Return *connection* if it is this process's own, and good as far as can be seen, else another one."""
        while connection.pid != os.getpid():
            # One that was inherited by a fork is let go: then redis-py closes its descriptor, and sends nothing.
            try:
                connection = self.idle.pop()
            except IndexError:
                return self._open(deadline)
        rest = deadline - connection.deadline
        if rest > _LONGEST_REST or (rest > _TRUSTED_FOR and not connection.is_quiet()):
            connection.close()
            self.close()
            return self._open(deadline)
        return connection

    def _open(self, deadline: float) -> Connection:
        self.made = next(self._numbers)
        connection = self._connect(deadline)
        if connection.has_answered and self.breaker.is_open:
            # What is asked next may have to wait for replicas, and nobody else need wait for that.
            self.breaker.answered()
        if not self._looked_at:
            self._looked_at = True
            try:
                self._look_at(connection, deadline)
            except BaseException:
                connection.close()
                raise
        return connection

    def _look_at(self, connection: Connection, deadline: float) -> None:
        """Warn if the server drops sessions when its memory is full. If it may not be asked, so be it."""
        (found,) = connection.exchange(pack([("INFO", "memory")]), 1, deadline)
        policy = _POLICY.search(found) if isinstance(found, bytes) else None
        if policy and policy[1] != b"noeviction" and not _MAXMEMORY.search(found):
            log.warning(
                "%s: when its memory is full it drops sessions without a word (maxmemory-policy is %s);"
                " set it to noeviction, or give sessions a server of their own",
                self.name,
                policy[1].decode(errors="replace"),
            )
