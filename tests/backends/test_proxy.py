"""The fault proxy fails as it is told to, and only so."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from threading import Thread

import pytest

from tests.backends.proxy import FaultProxy, Side
from tests.stopwatch import Stopwatch


class Echo:
    """A server that answers every line with itself, and notes what it has received."""

    def __init__(self) -> None:
        self.received = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            line = b""
            try:
                while data := connection.recv(65536):
                    self.received += data
                    line += data
                    if line.endswith(b"\n"):
                        connection.sendall(line)
                        line = b""
            except OSError:
                pass


@pytest.fixture
def echo() -> Iterator[Echo]:
    with closing(Echo()) as server:
        yield server


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy(echo.port) as proxy:
        yield proxy


def connect(proxy: FaultProxy, timeout: float = 60) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout)


def read(connection: socket.socket, size: int) -> bytes:
    """Return so many bytes, or what came before the end of the connection."""
    data = b""
    while len(data) < size and (block := connection.recv(size - len(data))):
        data += block
    return data


def until_reset(connection: socket.socket) -> bytes:
    """Return what came before the connection was reset."""
    data = b""
    while True:
        try:
            block = connection.recv(1)
        except ConnectionResetError:
            return data
        assert block, "the connection was closed, not reset"
        data += block


def test_it_passes_everything_through(proxy: FaultProxy) -> None:
    """Large and small, in order, and it counts what passes."""
    data = b"0123456789" * 100_000 + b"\n"
    with connect(proxy) as one, connect(proxy) as other:
        other.sendall(b"small\n")
        Thread(target=one.sendall, args=(data,), daemon=True).start()

        assert read(other, 6) == b"small\n"
        assert read(one, len(data)) == data
        assert (proxy.connections, proxy.open_connections) == (2, 2)
        assert proxy.bytes_to_server == proxy.bytes_to_client == len(data) + 6


def test_an_end_is_passed_on(proxy: FaultProxy) -> None:
    """A closed connection is closed on the other side, too."""
    with connect(proxy) as connection:
        connection.sendall(b"a\n")
        assert read(connection, 2) == b"a\n"
        connection.shutdown(socket.SHUT_WR)

        assert connection.recv(1) == b""


def test_a_server_that_is_away_resets(proxy: FaultProxy, echo: Echo) -> None:
    """Nobody listens behind the proxy: a connection through it breaks."""
    echo.close()
    with pytest.raises(ConnectionResetError), connect(proxy) as connection:
        connection.recv(1)


@pytest.mark.parametrize("existing", [True, False])
def test_a_black_hole_forwards_nothing(proxy: FaultProxy, existing: bool) -> None:
    """Old and new connections are silent; after healing everything arrives."""
    before = connect(proxy)
    before.sendall(b"a\n")
    assert read(before, 2) == b"a\n"
    proxy.black_hole()
    with before, connect(proxy) as new:
        connection = before if existing else new
        connection.sendall(b"b\n")
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        proxy.heal()
        connection.settimeout(60)

        assert read(connection, 2) == b"b\n"


def test_a_machine_that_is_gone_does_not_even_accept(proxy: FaultProxy) -> None:
    """A connection is neither made nor refused; after healing it is made."""
    proxy.drop()
    with pytest.raises(TimeoutError):
        connect(proxy, timeout=0.1)
    proxy.heal()
    with connect(proxy) as connection:
        connection.sendall(b"a\n")

        assert read(connection, 2) == b"a\n"


def test_refusing_resets_what_there_is_and_takes_nothing_new(proxy: FaultProxy) -> None:
    """As when the server's process has died; after healing the port is the same."""
    with connect(proxy) as connection:
        connection.sendall(b"a\n")
        assert read(connection, 2) == b"a\n"
        for _ in range(2):
            proxy.refuse()
        until_reset(connection)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.heal()
    with connect(proxy) as connection:
        connection.sendall(b"b\n")

        assert read(connection, 2) == b"b\n"


def test_latency_holds_every_byte_back(proxy: FaultProxy) -> None:
    """Each way."""
    with connect(proxy) as connection:
        proxy.latency(0.1)
        with Stopwatch() as watch:
            started = time.monotonic()
            connection.sendall(b"a\n")

            assert read(connection, 2) == b"a\n"
            answered = time.monotonic()
            proxy.heal()
            healed = time.monotonic()
            connection.sendall(b"a\n")
            assert read(connection, 2) == b"a\n"
            end = time.monotonic()
            assert 0.2 <= answered - started < 1 + watch.lost(started, answered)
            assert end - healed < 0.1 + watch.lost(healed, end)


def test_latency_may_be_of_one_direction(proxy: FaultProxy, echo: Echo) -> None:
    """A slow answer to a quick question."""
    with connect(proxy) as connection:
        proxy.latency(0.2, towards="client")
        started = time.monotonic()
        with Stopwatch() as watch:
            connection.sendall(b"a\n")
            while not echo.received:
                time.sleep(0.001)
            end = time.monotonic()
            assert end - started < 0.15 + watch.lost(started, end)

        assert read(connection, 2) == b"a\n"
        assert time.monotonic() - started >= 0.2


def test_a_trickle_is_one_byte_at_a_time(proxy: FaultProxy) -> None:
    """With a pause after each."""
    with connect(proxy) as connection:
        proxy.trickle(0.02, towards="client")
        started = time.monotonic()
        connection.sendall(b"123456789\n")
        data = b""
        while len(data) < 10:
            data += connection.recv(100)  # more than one, where we are late
            assert time.monotonic() - started >= (len(data) - 1) * 0.02

        assert data == b"123456789\n"


@pytest.mark.parametrize("after", range(5))
def test_a_reset_comes_after_the_bytes_of_an_answer(proxy: FaultProxy, echo: Echo, after: int) -> None:
    """The client has exactly so many, and the server has the whole question."""
    for _ in range(2):
        with connect(proxy) as connection:
            proxy.reset(after, towards="client")
            connection.sendall(b"1234\n")

            assert until_reset(connection) == b"1234\n"[:after]
    assert echo.received == b"1234\n" * 2


@pytest.mark.parametrize("after", range(1, 5))
def test_a_reset_comes_after_the_bytes_of_a_question(proxy: FaultProxy, after: int) -> None:
    """The server was sent exactly so many, and the client gets no answer."""
    with connect(proxy) as connection:
        proxy.reset(after, towards="server")
        connection.sendall(b"1234\n")

        assert until_reset(connection) == b""
        assert proxy.bytes_to_server == after


def test_bytes_are_counted_from_the_fault_on(proxy: FaultProxy) -> None:
    """What passed on a connection before does not count."""
    with connect(proxy) as connection:
        connection.sendall(b"12345678\n")
        assert read(connection, 9) == b"12345678\n"
        proxy.reset(2, towards="client")
        connection.sendall(b"abcdef\n")

        assert until_reset(connection) == b"ab"


@pytest.mark.parametrize("towards", ["client", "server"])
def test_resets_may_end(proxy: FaultProxy, towards: Side) -> None:
    """So many connections are reset, and the next one gets through."""
    proxy.reset(0, towards=towards, connections=1)
    with connect(proxy) as first:
        first.sendall(b"a\n")
        until_reset(first)
    with connect(proxy) as second:
        second.sendall(b"a\n")

        assert read(second, 2) == b"a\n"


def test_a_half_closed_connection_still_takes_bytes(proxy: FaultProxy, echo: Echo) -> None:
    """The client reads the end; what it writes arrives, and is not answered."""
    with connect(proxy) as connection:
        connection.sendall(b"a\n")
        assert read(connection, 2) == b"a\n"
        proxy.half_close()
        connection.sendall(b"b\n")

        assert connection.recv(10) == b""
        deadline = time.monotonic() + 60
        while echo.received != b"a\nb\n":
            assert time.monotonic() < deadline
            time.sleep(0.001)
