"""A TCP proxy on loopback that fails on demand, as networks do. It knows no protocol; it lives in one thread of its own."""

import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from types import TracebackType
from typing import Literal, Self

Side = Literal["client", "server"]

_HOST = "127.0.0.1"
_BACKLOG = 512
_BLOCK = 65536
_MOST_HELD = 1024 * 1024
_ANSWERS_WITHIN = 10.0
_RESET = struct.pack("ii", 1, 0)


@dataclass
class _Fault:
    """What is wrong at present; nothing, as it comes. ``resets`` counts how many connections may still be reset."""

    silent: bool = False
    latency: float = 0.0
    pause: float | None = None
    slow_towards: frozenset[Side] = frozenset()
    reset_towards: Side | None = None
    reset_after: int = 0
    resets: float = 0

    def delays(self) -> bool:
        return self.latency > 0 or self.pause is not None


@dataclass
class _Pipe:
    """One direction of one connection. ``through`` is how many bytes have passed since the fault at present began."""

    towards: Side
    source: socket.socket
    sink: socket.socket
    held: deque[tuple[float, bytes]] = field(default_factory=deque)
    size: int = 0
    through: int = 0
    not_before: float = 0.0
    ended: bool = False
    shut: bool = False


class _Link:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.sockets = (client, server)
        self.pipes = (_Pipe("server", client, server), _Pipe("client", server, client))
        self.closed = False


class FaultProxy:
    """Forwards connections from ``port`` to *target_port*, well at first, and after :meth:`heal`.

    Each method that names a fault ends the one before it, holds for connections that are open and for later ones, and
    has its effect when it returns. Bytes are counted for each connection, from that moment on. What a black hole has
    swallowed arrives after :meth:`heal`, as it does where networks send again.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self._connections = 0
        self._bytes = {"server": 0, "client": 0}
        self._fault = _Fault()
        self._links: set[_Link] = set()
        self._selector = selectors.DefaultSelector()
        self._orders: deque[tuple[Callable[[], None], Event]] = deque()
        self._listening = False
        self._fillers: list[socket.socket] = []
        self._running = True

    def __enter__(self) -> Self:
        self._bell, self._ear = socket.socketpair()
        self._ear.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._listener = _listener()
        self.port: int = self._listener.getsockname()[1]
        self._listen()
        self._thread = Thread(target=self._run, name="fault proxy", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._order(self._end)
        self._thread.join(_ANSWERS_WITHIN)

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        self._order(lambda: None)
        return self._connections

    @property
    def open_connections(self) -> int:
        """How many connections are open now, as far as the proxy has noticed."""
        self._order(lambda: None)
        return len(self._links)

    @property
    def bytes_to_server(self) -> int:
        """How many bytes were sent on in this direction so far."""
        self._order(lambda: None)
        return self._bytes["server"]

    @property
    def bytes_to_client(self) -> int:
        """How many bytes were sent on in this direction so far."""
        self._order(lambda: None)
        return self._bytes["client"]

    # Faults

    def heal(self) -> None:
        """Forward everything, at once."""
        self._order(lambda: self._begin(_Fault()))

    def black_hole(self) -> None:
        """Accept and keep connections, and forward nothing."""
        self._order(lambda: self._begin(_Fault(silent=True)))

    def drop(self) -> None:
        """Forward nothing and leave new connections without an answer, as when a machine is gone from the network."""

        def change() -> None:
            self._begin(_Fault(silent=True))
            self._stop_listening()
            self._listener.listen(0)
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex((_HOST, self.port))
                self._fillers.append(filler)

        self._order(change)

    def refuse(self) -> None:
        """Reset the connections there are, and refuse new ones."""

        def change() -> None:
            self._begin(_Fault())
            self._stop_listening()
            self._reset_links()

        self._order(change)

    def latency(self, seconds: float, *, towards: Side | None = None) -> None:
        """Hold every byte back for so long, in both directions or in one."""
        self._order(lambda: self._begin(_Fault(latency=seconds, slow_towards=_sides(towards))))

    def trickle(self, pause: float, *, towards: Side | None = None) -> None:
        """Forward one byte at a time, with a pause (seconds) after each, in both directions or in one."""
        self._order(lambda: self._begin(_Fault(pause=pause, slow_towards=_sides(towards))))

    def reset(self, after: int, *, towards: Side, connections: int | None = None) -> None:
        """Reset each connection when so many bytes have passed in one direction; for 0, when the first is to pass.

        *connections*: only that many of them, those that come to it first.
        """
        resets = float("inf") if connections is None else connections
        self._order(lambda: self._begin(_Fault(reset_towards=towards, reset_after=after, resets=resets)))

    def half_close(self) -> None:
        """End, once, the direction towards the client on each connection that is open; the other stays open."""

        def change() -> None:
            self._begin(_Fault())
            for link in self._links:
                self._shut(link.pipes[1])

        self._order(change)

    def reset_links_now(self) -> None:
        """Reset the connections there are, and let everything through after that."""

        def change() -> None:
            self._begin(_Fault())
            self._reset_links()

        self._order(change)

    # In the thread

    def _reset_links(self) -> None:
        for link in list(self._links):
            self._reset(link)

    def _order(self, change: Callable[[], None]) -> None:
        """Let the thread make a change; return when it has, and has done what it was at before."""
        done = Event()
        self._orders.append((change, done))
        self._bell.send(b"!")
        assert done.wait(_ANSWERS_WITHIN), "the proxy's thread has ended"

    def _run(self) -> None:
        while self._running:
            events = self._selector.select(self._patience())
            touched = set()
            for key, mask in events:
                if key.fileobj is self._ear:
                    self._obey()
                elif key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.data, _Link):
                    touched.add(key.data)
                    self._read(key.data, key.fileobj, mask)
            for link in list(self._links) if self._fault.delays() else touched:
                self._forward(link)

    def _patience(self) -> float | None:
        if not self._fault.delays():
            return None
        due = [max(pipe.held[0][0], pipe.not_before) for link in self._links for pipe in link.pipes if pipe.held]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _obey(self) -> None:
        with suppress(BlockingIOError):
            self._ear.recv(_BLOCK)
        while self._orders:
            change, done = self._orders.popleft()
            change()
            done.set()

    def _begin(self, fault: _Fault) -> None:
        self._fault = fault
        self._listen()
        for link in list(self._links):
            for pipe in link.pipes:
                pipe.through, pipe.not_before = 0, 0.0
                if not fault.latency:
                    pipe.held = deque((0.0, data) for _, data in pipe.held)
            self._forward(link)

    def _listen(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        if not self._listening:
            self._listener.listen(_BACKLOG)
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._listening = True

    def _stop_listening(self) -> None:
        """Refuse connections, those not yet accepted too, but let nobody else have the port."""
        self._selector.unregister(self._listener)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listening = False

    def _accept(self) -> None:
        # There may be nobody any more, and since the selector saw somebody it may have been told to refuse.
        with suppress(BlockingIOError):
            while self._listening:
                client, _ = self._listener.accept()
                server = socket.socket()
                for end in (client, server):
                    end.setblocking(False)
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server.connect_ex((_HOST, self.target_port))
                link = _Link(client, server)
                self._connections += 1
                self._links.add(link)
                self._watch(link)

    def _read(self, link: _Link, source: object, mask: int) -> None:
        pipe = link.pipes[0] if source is link.pipes[0].source else link.pipes[1]
        if link.closed or not mask & selectors.EVENT_READ or not self._takes(pipe):
            return
        try:
            data = pipe.source.recv(_BLOCK)
        except BlockingIOError:
            return
        except OSError:
            self._reset(link)
            return
        if not data:
            pipe.ended = True
        elif not pipe.shut:
            latency = self._fault.latency if pipe.towards in self._fault.slow_towards else 0.0
            pipe.held.append((time.monotonic() + latency, data))
            pipe.size += len(data)

    def _takes(self, pipe: _Pipe) -> bool:
        return not self._fault.silent and not pipe.ended and pipe.size < _MOST_HELD

    def _forward(self, link: _Link) -> None:
        """Send what may be sent now, in both directions."""
        if link.closed:
            return
        try:
            for pipe in link.pipes:
                while not link.closed and pipe.held and not self._fault.silent and self._send(link, pipe):
                    pass
                if pipe.ended and not pipe.held and not self._fault.silent:
                    self._shut(pipe)
        except OSError:
            self._reset(link)
        if all(pipe.ended and pipe.shut for pipe in link.pipes):
            self._close(link)
        if not link.closed:
            self._watch(link)

    def _send(self, link: _Link, pipe: _Pipe) -> bool:
        """Send what is first in the pipe, or its first byte; return whether there may be more to send now."""
        fault, now = self._fault, time.monotonic()
        due, data = pipe.held[0]
        if now < max(due, pipe.not_before):
            return False
        some = data[:1] if fault.pause is not None and pipe.towards in fault.slow_towards else data
        resets = fault.reset_towards == pipe.towards and fault.resets > 0
        if resets:
            some = some[: max(0, fault.reset_after - pipe.through)]
        if some:
            try:
                sent = pipe.sink.send(some)
            except BlockingIOError:
                return False
            self._sent(pipe, data, sent, now)
        if resets and pipe.through >= fault.reset_after:
            fault.resets -= 1
            self._reset(link)
            return False
        return len(some) > 0 and fault.pause is None

    def _sent(self, pipe: _Pipe, data: bytes, sent: int, now: float) -> None:
        due, _ = pipe.held.popleft()
        if sent < len(data):
            pipe.held.appendleft((due, data[sent:]))
        pipe.size -= sent
        pipe.through += sent
        if self._fault.pause is not None and pipe.towards in self._fault.slow_towards:
            pipe.not_before = now + self._fault.pause
        self._bytes[pipe.towards] += sent

    def _watch(self, link: _Link) -> None:
        """Tell the selector what the connection waits for."""
        now = time.monotonic()
        for end in link.sockets:
            mask = 0
            for pipe in link.pipes:
                if pipe.source is end and self._takes(pipe):
                    mask |= selectors.EVENT_READ
                due = pipe.held and max(pipe.held[0][0], pipe.not_before) <= now
                if pipe.sink is end and due and not self._fault.silent:
                    mask |= selectors.EVENT_WRITE
            known = self._selector.get_map().get(end)
            if known is None and mask:
                self._selector.register(end, mask, link)
            elif known is not None and not mask:
                self._selector.unregister(end)
            elif known is not None and known.events != mask:
                self._selector.modify(end, mask, link)

    def _shut(self, pipe: _Pipe) -> None:
        if not pipe.shut:
            pipe.shut = True
            pipe.held.clear()
            pipe.size = 0
            with suppress(OSError):
                pipe.sink.shutdown(socket.SHUT_WR)

    def _reset(self, link: _Link) -> None:
        for end in link.sockets:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close(link)

    def _close(self, link: _Link) -> None:
        if link.closed:
            return
        link.closed = True
        self._links.discard(link)
        for end in link.sockets:
            if end in self._selector.get_map():
                self._selector.unregister(end)
            end.close()

    def _end(self) -> None:
        self._running = False
        self._reset_links()
        self._listen()
        self._selector.close()
        for end in (self._listener, self._bell, self._ear):
            end.close()


def _listener() -> socket.socket:
    """Return a socket on a free port that was asked for by its number: such a one keeps it when it does not listen."""
    while True:
        with socket.socket() as chooser:
            chooser.bind((_HOST, 0))
            port = chooser.getsockname()[1]
        listener = socket.socket()
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, port))
        except OSError:
            listener.close()
        else:
            return listener


def _sides(towards: Side | None) -> frozenset[Side]:
    return frozenset(("client", "server")) if towards is None else frozenset((towards,))
