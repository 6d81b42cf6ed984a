"""An HTTP client over one kept connection, as fast as Python allows, that knows how far a lost request had come."""

import json
import socket
from types import TracebackType
from typing import Any, NamedTuple, Self


class Lost(Exception):
    """The connection ended before the whole response was there, so nothing is acknowledged."""

    def __init__(self, received: int) -> None:
        super().__init__(f"after {received} bytes of a response")
        self.received = received


class Response(NamedTuple):
    """What came back. ``token`` is that of a ``Set-Cookie``, ``None`` without one."""

    status: int
    head: bytes
    body: bytes

    @property
    def token(self) -> str | None:
        _, found, rest = self.head.partition(b"\r\nSet-Cookie: session=")
        return rest.partition(b";")[0].decode() if found else None

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One browser. It connects when it has to; *keep* says whether it keeps the connection for the next request."""

    def __init__(self, port: int, *, keep: bool = True) -> None:
        self._port = port
        self._keep = keep
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def get(self, target: str, token: str | None = None) -> Response:
        """Return the response, whatever its status; raise :exc:`Lost` if the connection ends before that."""
        cookie = f"Cookie: session={token}\r\n" if token else ""
        connection = "" if self._keep else "Connection: close\r\n"
        data = b""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=120)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{cookie}{connection}\r\n".encode())
            while b"\r\n\r\n" not in data:
                data += self._receive()
            head, _, body = data.partition(b"\r\n\r\n")
            length = int(_header(head, b"content-length"))
            while len(body) < length:
                block = self._receive()
                data, body = data + block, body + block
        except OSError as error:
            self.close()
            raise Lost(len(data)) from error
        if not self._keep or _header(head, b"connection").lower() == b"close":
            self.close()
        return Response(int(head[9:12]), head, body)

    def _receive(self) -> bytes:
        assert self._socket is not None
        block = self._socket.recv(65536)
        if not block:
            raise ConnectionResetError
        return block


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(name + b":"):
            return line.partition(b":")[2].strip()
    return b""
