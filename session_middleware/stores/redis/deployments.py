"""Which Redis server is asked for a key, and what is done if it is the wrong one, or does not answer. It knows no verb."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import redis

from session_middleware.exceptions import StoreUnavailable, StoreUnusable
from session_middleware.stores.redis.connections import (
    FAILURES,
    Answer,
    Broken,
    Command,
    Connection,
    Refusal,
    Server,
    Settings,
    TurnedAway,
    left,
    pack,
)
from session_middleware.stores.redis.failures import failed
from session_middleware.stores.redis.scripts import in_full

# A cluster that moves slots may send a request on more than once.
_MOST_TRIES: Final = 6

# What a server says that did nothing, because it is not the one to ask, or not now.
_ELSEWHERE: Final = ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN")

# Redis looks every tenth of a second whether a WAIT has waited long enough; this leaves its answer time to come (seconds).
_WAIT_IS_LATE: Final = 0.25

# How a server that was connected to says nothing in time.
_SILENT: Final = (TimeoutError,)
LATE: Final = (TimeoutError, redis.TimeoutError)
"""How any server says nothing in time."""


def _waiting(replicas: int, deadline: float) -> Command:
    """Return the command that waits for replicas for the time left, less some for its answer to come."""
    seconds = max(0.0, deadline - time.monotonic())
    return ("WAIT", replicas, 1 + int(1000 * (seconds - min(_WAIT_IS_LATE, seconds / 2))))


class Deployment:
    """Servers that have the keys among them; here, one that has them all."""

    has_all_keys_together = True

    def __init__(self, server: Server, tls: bool | None) -> None:
        self.name = server.name
        self.tls = tls
        """Whether what is sent is encrypted; ``None`` where it does not leave this machine."""
        self._server = server

    def ask(
        self, key: bytes, commands: Sequence[Command], deadline: float, *, replicas: int = 0, may_be_late: bool = False
    ) -> tuple[list[Answer], bool]:
        """Return what the server that has *key* answers to *commands*, and whether they may have been done once before.

        With *replicas* the last answer is how many of them have what the commands wrote; it comes when so many have it, or
        when there is no time left to wait. *may_be_late*: that there is no answer in time says nothing of the server, which
        was asked for much, or when little time was left. If the connection breaks, or that server is not the one to ask, all
        is sent once more, so it must stand to be done twice. Raise :exc:`StoreUnavailable` if there is no answer by the
        *deadline*, or an error that is none.
        """
        again, failures = False, 0
        redirected: Server | None = None
        for _ in range(_MOST_TRIES):
            server, redirected = redirected or self.server_of(key, deadline, may_be_late), None
            all_commands = (*commands, _waiting(replicas, deadline)) if replicas else commands
            try:
                answers = server.exchange(pack(all_commands), len(all_commands), deadline)
            except Broken as broken:
                again, failures = again or broken.sent, failures + 1
                last = failures > 1 or deadline <= time.monotonic()
                self._bear(server, broken, last, LATE if may_be_late else _SILENT if replicas else ())
                continue
            refusal = next((answer for answer in answers if isinstance(answer, Refusal)), None)
            if refusal is None:
                return answers, again
            again = again or not isinstance(answers[len(commands) - 1], Refusal)
            code = refusal.code
            if code == "NOSCRIPT":
                commands = [in_full(command) for command in commands]
            elif code == "MOVED":
                redirected = self.moved(key, refusal, server)
            elif code == "ASK":
                return self._ask_there(refusal, server, all_commands, deadline), again
            elif code in _ELSEWHERE and not failures:
                failures += 1
                self.failed(server)
            else:
                raise failed(server.name, refusal) from refusal
        raise StoreUnavailable(f"{self.name}: the servers keep sending requests to each other")

    def ask_each(self, questions: Mapping[bytes, Command], deadline: float) -> tuple[list[Answer], bool]:
        """Return the answers to the questions about each key, in their order, with one round trip for each server; and
        whether some of what they ask for may have been done once before.

        An answer may be that there is something else under the key: a :class:`Refusal` with the code ``WRONGTYPE``. They
        may be late.
        """
        together: dict[Server, list[bytes]] = {}
        for key in questions:
            # One that failed a moment ago lets a verb through, and is asked once whether it does.
            server = self.last_of(key)
            if server is None or server not in together:
                server = self.server_of(key, deadline, True)
            together.setdefault(server, []).append(key)
        found, again = dict[bytes, Answer](), False
        for server, keys in together.items():
            for _ in range(2):
                try:
                    answers = server.exchange(pack([questions[key] for key in keys]), len(keys), deadline)
                    found |= zip(keys, answers, strict=True)
                    break
                except Broken as broken:
                    again = again or broken.sent
                    self._bear(server, broken, False, LATE)
        for key, question in questions.items():
            if key not in found or (isinstance(found[key], Refusal) and found[key].code != "WRONGTYPE"):
                (found[key],), twice = self.ask(key, (question,), deadline, may_be_late=True)
                again = again or twice
        return [found[key] for key in questions], again

    def scan(self, server: Server, pattern: bytes, count: int, timeout: float) -> Iterator[list[bytes]]:
        """Yield all keys of *server* that are like *pattern*, about *count* at a time, some of them more than once.

        Where a scan has come to means nothing to another process. When a connection was made meanwhile, it may lead to one,
        and the scan begins anew.
        """
        cursor, made = b"", 0
        while cursor != b"0":
            if not cursor:
                made = server.made
            scan: Command = ("SCAN", cursor or b"0", "MATCH", pattern, "COUNT", count)
            ((cursor, names),) = self.ask_at(server, (scan,), time.monotonic() + timeout)
            if made != server.made:
                cursor = b""
            yield names

    def server_of(self, key: bytes, deadline: float, may_be_late: bool = False) -> Server:
        """Return the server to ask for *key*; raise :exc:`StoreUnavailable` if none is known, or it failed a moment ago."""
        # Who has a connection goes on: it was closed if anything was wrong with it.
        if self._server.breaker.is_open and not self._server.idle:
            self._server.breaker.check()
        return self._server

    def last_of(self, key: bytes) -> Server | None:
        """Return the server that had *key* when that was last known."""
        return self._server

    def servers(self, deadline: float) -> Iterable[Server]:
        """Return the servers that have all keys among them."""
        return (self._server,)

    def failed(self, server: Server) -> None:
        """Use no connection again of a server that does not answer, or not as the one to ask."""
        server.close()

    def moved(self, key: bytes, refusal: Refusal, source: Server) -> Server:
        """Return the server that *source* has named as the one to ask for *key*."""
        raise StoreUnusable(f"{self.name}: this is a node of a cluster; write redis+cluster:// and its nodes") from refusal

    def close(self) -> None:
        """Close the connections that are not in use now."""
        self._server.close()

    def ask_at(
        self, server: Server, questions: Sequence[Command], deadline: float, *, may_refuse: bool = False
    ) -> list[Answer]:
        """Return what this server answers to questions that change nothing. It may be late.

        *may_refuse*: an answer may be that the user may not ask: a :class:`Refusal`.
        """
        was_broken = False
        while True:
            try:
                answers = server.exchange(pack(questions), len(questions), deadline)
                break
            except Broken as broken:
                self._bear(server, broken, was_broken or deadline <= time.monotonic(), LATE)
                was_broken = True
        for answer in answers:
            if isinstance(answer, Refusal) and not (may_refuse and answer.code == "NOPERM"):
                raise failed(server.name, answer) from answer
        return answers

    def _bear(self, server: Server, broken: Broken, last: bool, innocent: tuple[type[Exception], ...]) -> None:
        """Go on, or raise if it was the *last* try. What is *innocent* is no sign of the server being away."""
        error = broken.__cause__
        if not isinstance(error, TurnedAway):
            self.failed(server)
            if not last:
                return
            if isinstance(error, FAILURES) and not isinstance(error, (Refusal, *innocent)):
                server.breaker.failed()
        raise failed(server.name, error) from error

    def _ask_there(self, refusal: Refusal, source: Server, commands: Sequence[Command], deadline: float) -> list[Answer]:
        """Return the answers of the server that has the key already while its slot is on the way there."""
        raise StoreUnavailable(f"{self.name}: {refusal}") from refusal


class Master:
    """Connects to whichever server the sentinels say is the master of a service."""

    def __init__(self, service: str, sentinels: Sequence[Settings], settings: Settings, timeout: float) -> None:
        self.name = f"{service}, by the sentinels {', '.join(sentinel.name.partition('/')[0] for sentinel in sentinels)}"
        self._service = service
        self._sentinels = list(sentinels)
        self._settings = settings
        # Where the sentinels are, the master is as a rule: nobody knows it before they are asked.
        self.tls = settings.tls or (None if sentinels[0].tls is None else False)
        self._timeout = timeout
        self._address: tuple[str, int] | None = None
        self._is_sure = False

    def connect(self, deadline: float) -> Connection:
        """Connect to the master that is known; after :meth:`forget`, to the first that a sentinel names and that is one."""
        if self._address is not None and self._is_sure:
            return self._connect(self._address, deadline)
        tried = set[tuple[str, int]]()
        error: BaseException = ConnectionRefusedError("no sentinel says which server is the master")
        sentinels = [*self._sentinels]
        for number, sentinel in enumerate([*sentinels, None]):
            share = time.monotonic() + left(deadline) / (len(sentinels) + 1 - number)
            try:
                address = self._address if sentinel is None else self._named_by(sentinel, share)
                if address is None or address in tried:
                    continue
                tried.add(address)
                connection = self._connect(address, deadline if sentinel is None else share)
            except Exception as failure:
                error = failure
                continue
            self._address, self._is_sure = address, True
            if sentinel is not None:
                self._sentinels = [sentinel, *(other for other in sentinels if other is not sentinel)]
            return connection
        raise error

    def forget(self) -> None:
        """Ask the sentinels before the next connection is made."""
        self._is_sure = False

    def _named_by(self, sentinel: Settings, deadline: float) -> tuple[str, int] | None:
        connection = Connection(sentinel, deadline, self._timeout)
        try:
            question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            (found,) = connection.exchange(pack([question]), 1, deadline)
        finally:
            connection.close()
        if isinstance(found, Refusal):
            raise found
        return (found[0].decode(), int(found[1])) if found else None

    def _connect(self, address: tuple[str, int], deadline: float) -> Connection:
        connection = Connection(self._settings.at(*address), deadline, self._timeout)
        try:
            # A sentinel may be behind the times, and a replica would answer with what was.
            (role,) = connection.exchange(pack([("ROLE",)]), 1, deadline)
            if isinstance(role, list) and role[0] != b"master":
                raise Refusal(f"READONLY {address[0]}:{address[1]} is no master, but a {role[0].decode()}")
        except BaseException:
            connection.close()
            raise
        return connection


class Replicated(Deployment):
    """The master of a service, of whom sentinels say who it is."""

    def __init__(self, master: Master, max_connections: int | None) -> None:
        super().__init__(Server(master.name, master.connect, max_connections), master.tls)
        self._master = master

    def failed(self, server: Server) -> None:
        self._master.forget()
        super().failed(server)
