"""A WebSocket on gunicorn: the application takes the socket, as Flask-Sock does, and there is no response."""

import socket
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from session_middleware import Session, SessionManager, SessionMiddleware, SQLiteStore, get_session
from tests.servers.gunicorn import Gunicorn

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

STORE = "sessions.sqlite3"

ACTS: dict[str, Callable[[Session], Any]] = {
    "/write": lambda session: session.update(name="new"),
    "/transact": lambda session: session.transact(lambda data: data.update(name="new")),
    "/end": Session.invalidate,
}


def _application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    connection = environ["gunicorn.socket"]
    session = get_session(environ)
    ACTS[environ["PATH_INFO"]](session)
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
    connection.recv(1)  # the socket stays open
    raise StopIteration


application = SessionMiddleware(_application, f"sqlite:///{STORE}")


def test_what_a_handler_of_a_socket_does(tmp_path: Path) -> None:
    """Promise 5: a session that it ends has ended while the socket is open; a change that is lost is in the log."""
    with closing(SQLiteStore(tmp_path / STORE)) as store:
        manager = SessionManager(store)
        with Gunicorn("tests.servers.test_sockets:application", cwd=tmp_path) as server:
            for path, left in (("/write", {"name": "old"}), ("/transact", {"name": "new"}), ("/end", {})):
                session = manager.open()
                session["name"] = "old"
                token = manager.commit(session).token.reveal()  # type: ignore[union-attr]
                with closing(socket.create_connection(("127.0.0.1", server.port), timeout=120)) as connection:
                    connection.sendall(
                        f"GET {path} HTTP/1.1\r\nHost: a\r\nCookie: session={token}\r\n"
                        "Upgrade: WebSocket\r\nConnection: upgrade\r\n\r\n".encode()
                    )
                    assert connection.recv(12) == b"HTTP/1.1 101"
                    assert dict(manager.open(token)) == left
                if path == "/write":
                    lost = f"<Session {session.id}>: the request has ended without a response"
                    deadline = time.monotonic() + 120
                    while lost not in server.log():
                        assert time.monotonic() < deadline, server.log()
                        time.sleep(0.05)
            log = server.log()
    assert log.count("without a response") == 1
    assert "Traceback" not in log
