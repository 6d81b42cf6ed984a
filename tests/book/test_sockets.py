"""What the page about WebSockets says, holds on gunicorn."""

import http.client
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest

from session_middleware import SessionManager, SQLiteStore
from tests.book.pages import Page
from tests.browser import FORM
from tests.servers.gunicorn import Gunicorn


def posted(port: int, path: str, cookie: str = "", **fields: str) -> str:
    """Send a form, and return the cookie that comes back."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.request("POST", path, urlencode(fields), {"Content-Type": FORM, "Cookie": cookie})
        response = connection.getresponse()
        assert response.status == 204
        return (response.getheader("Set-Cookie") or "").partition(";")[0]


def test_a_chat_knows_who_talks_until_they_sign_out(tmp_path: Path) -> None:
    """What it counts is stored at once; a page from elsewhere, and nobody, are not let in."""
    simple_websocket = pytest.importorskip("simple_websocket")
    (block,) = Page("how-to/websockets").in_language("python")
    Path("chat.py").write_text(block.text)
    with (
        Gunicorn("chat:app", "--threads", "4", "--worker-class", "gthread", cwd=tmp_path) as server,
        closing(SQLiteStore("sessions.sqlite3")) as store,
    ):
        # This client names no port in Host.
        url, origin = f"ws://127.0.0.1:{server.port}/chat", {"Origin": "http://127.0.0.1"}
        cookie = posted(server.port, "/sign-in", user="alice")
        for headers in ({"Cookie": cookie, "Origin": "http://www.127.0.0.1"}, origin):
            with pytest.raises(simple_websocket.ConnectionClosed):
                simple_websocket.Client(url, headers=headers).receive(timeout=120)

        socket = simple_websocket.Client(url, headers={"Cookie": cookie, **origin})
        for number in (1, 2):
            socket.send("hello")
            assert socket.receive(timeout=120) == f"alice {number}: hello"
        (info,) = SessionManager(store).sessions_of("alice")
        assert info.data["lines"] == 2

        posted(server.port, "/sign-out", cookie)
        socket.send("hello")
        with pytest.raises(simple_websocket.ConnectionClosed):
            socket.receive(timeout=120)
