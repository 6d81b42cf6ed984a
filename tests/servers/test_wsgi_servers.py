"""The same on every WSGI server: what a browser gets, what is stored, and what goes wrong without harm."""

import http.client
import json
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from tests.servers.everywhere import FILE, MOST_BLOCKS
from tests.servers.wsgi import SERVERS, WSGIServer

_PATIENCE = 60.0
_NUMBERS = count(1)

# Who has made the certificate is the subject of other tests.
_UNCHECKED = ssl.create_default_context()
_UNCHECKED.check_hostname, _UNCHECKED.verify_mode = False, ssl.CERT_NONE


class Answer(NamedTuple):
    """What came over one connection, from the first byte to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    rest: bytes
    """All that followed the headers, as it came."""

    @property
    def cookies(self) -> list[str]:
        return self.headers.get_all("Set-Cookie") or []

    @property
    def token(self) -> str:
        """The one token that it brings, by whatever name the cookie has."""
        (cookie,) = self.cookies
        return cookie.partition("=")[2].partition(";")[0]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _Received(BytesIO):
    """Bytes that have come, for the parser of responses."""

    def makefile(self, *_: object) -> BytesIO:
        return self


@pytest.fixture(scope="module", params=SERVERS, ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest) -> Iterator[WSGIServer]:
    """Each of the servers, one after the other."""
    with request.param() as server:
        yield server
        assert server.runs, server.log()


@contextmanager
def connected(
    port: int, target: str, token: str = "", *, method: str = "GET", tls: bool = False, **headers: str
) -> Iterator[socket.socket]:
    """Send a request over a connection of its own."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"Cookie: session={token}; __Host-session={token}"] if token else []
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE))
        if tls:
            connection = stack.enter_context(_UNCHECKED.wrap_socket(connection))
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        yield connection


def everything(connection: socket.socket, data: bytes = b"") -> bytes:
    """Return *data* and all that follows it."""
    while block := connection.recv(65536):
        data += block
    return data


def received(connection: socket.socket, method: str = "GET", data: bytes = b"") -> Answer:
    data = everything(connection, data)
    response = http.client.HTTPResponse(cast("socket.socket", _Received(data)), method=method)
    response.begin()
    return Answer(response.status, response.headers, response.read(), data.partition(b"\r\n\r\n")[2])


def get(server: WSGIServer, target: str, token: str = "", *, method: str = "GET") -> Answer:
    with connected(server.port, target, token, method=method) as connection:
        return received(connection, method)


def get_encrypted(server: WSGIServer, target: str, token: str = "") -> Answer:
    port, tls, headers = server.encrypted
    with connected(port, target, token, tls=tls, **headers) as connection:
        return received(connection)


def data_of(server: WSGIServer, token: str) -> dict[str, Any]:
    answer = get(server, "/get", token)
    assert answer.status == 200
    return dict(answer.json["data"])


def eventually(true: Callable[[], object]) -> bool:
    """Tell whether it has become true: what a server does after its last byte, it does a moment later."""
    deadline = time.monotonic() + _PATIENCE
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def a_name() -> str:
    return f"name-{next(_NUMBERS)}"


def test_a_new_session_gets_one_cookie(server: WSGIServer) -> None:
    """Design, section 6: HttpOnly, Lax, for this host and all of its paths; no cache keeps the page."""
    answer = get(server, "/set?key=value")

    (cookie,) = answer.cookies
    assert answer.status == 200
    assert cookie == f"session={answer.token}; Path=/; HttpOnly; SameSite=Lax"
    assert len(answer.token) == 40
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_value_is_there_in_the_next_request(server: WSGIServer) -> None:
    """Promise 2: reading sends no cookie, and says by what the answer varies."""
    token = get(server, "/set?key=value").token
    answer = get(server, "/get", token)

    assert answer.json["data"] == {"key": "value"}
    assert (answer.cookies, answer.headers["Vary"]) == ([], "Cookie")


def test_a_request_that_touches_no_session_is_left_alone(server: WSGIServer) -> None:
    """Promise 1: with a session and without one."""
    token = get(server, "/set?key=value").token

    for answer in (get(server, "/untouched"), get(server, "/untouched", token)):
        assert (answer.status, answer.body, answer.cookies) == (200, b"{}", [])
        assert (answer.headers["Vary"], answer.headers["Cache-Control"]) == (None, None)


def test_parallel_writes_all_arrive(server: WSGIServer) -> None:
    """Promise 3: twenty requests at once, each with a key of its own."""
    token = get(server, "/set?first=0").token
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: get(server, f"/set?key-{number}={number}", token), range(20)))

    assert [(answer.status, answer.cookies) for answer in answers] == [(200, [])] * 20
    assert data_of(server, token) == {"first": "0", **{f"key-{number}": str(number) for number in range(20)}}


def test_signing_out_is_final(server: WSGIServer) -> None:
    """Promise 5: the cookie is removed and opens nothing, and a request that was under way brings nothing back."""
    token, go = get(server, "/sign-in?user=alice").token, a_name()
    assert get(server, "/get", token).json["user"] == "alice"

    with connected(server.port, f"/set?late=yes&until={go}", token) as under_way:
        assert eventually((server.directory / f"{go}-awaited").exists)
        out = get(server, "/sign-out", token)
        (server.directory / go).touch()
        answer = received(under_way)

    assert (out.status, out.token) == (200, "")
    assert "Max-Age=0" in out.cookies[0]
    assert (answer.status, answer.body, answer.cookies) == (200, b"{}", [])
    assert get(server, "/get", token).json == {"user": None, "data": {}}


def test_an_answer_without_a_body_brings_the_cookie(server: WSGIServer) -> None:
    """W-18, W-19: HEAD and 304, and not a byte after the headers."""
    head = get(server, "/set?key=value", method="HEAD")
    not_modified = get(server, "/not-modified")

    assert (head.status, head.headers["Content-Type"], head.rest) == (200, "application/json", b"")
    assert (not_modified.status, not_modified.headers["ETag"], not_modified.rest) == (304, '"1"', b"")
    assert data_of(server, head.token) == {"key": "value"}
    assert data_of(server, not_modified.token) == {"asked": True}


def test_a_stream_stays_a_stream_and_its_late_change_is_stored(server: WSGIServer) -> None:
    """Promise 14, W-3: the first block comes before the second is made; what changes in between is kept."""
    go = a_name()
    with connected(server.port, f"/stream?until={go}") as connection:
        data = b""
        while b"first" not in data:
            block = connection.recv(65536)
            assert block, data
            data += block
        (server.directory / go).touch()
        answer = received(connection, data=data)

    assert (answer.status, answer.body) == (200, b"firstsecond")
    assert eventually(lambda: data_of(server, answer.token) == {"early": "yes", "late": "yes"})


def test_a_failed_request_changes_nothing(server: WSGIServer) -> None:
    """Promise 16: whether the application answers with a 500 or an exception escapes; then uWSGI says nothing at all."""
    token = get(server, "/set?key=value").token

    for cookie in ("", token):
        answer = get(server, "/error", cookie)
        assert (answer.status, answer.cookies) == (500, [])
        with connected(server.port, "/raise", cookie) as connection:
            data = everything(connection)
        assert data[9:12] == (b"" if server.name == "uwsgi" else b"500")
        assert b"Set-Cookie" not in data
    assert data_of(server, token) == {"key": "value"}


def test_a_file_arrives_whole_with_the_cookie(server: WSGIServer) -> None:
    """W-21: through the server's own ``wsgi.file_wrapper``, where it has one."""
    content = random.Random(1).randbytes(1_000_003)
    Path(server.directory, FILE).write_bytes(content)
    answer = get(server, "/file")

    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(content)))
    assert answer.body == content
    assert data_of(server, answer.token) == {"file": "sent"}


def test_a_stream_whose_client_has_gone_away_is_closed(server: WSGIServer) -> None:
    """W-13, W-14: once, before it is at its end; what it changed is stored, and the server goes on."""
    closed = server.directory / a_name()
    with connected(server.port, f"/endless?closed={closed}") as connection:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(1024)

    token = data.partition(b"session=")[2].partition(b";")[0].decode()
    assert eventually(lambda: closed.exists() and closed.read_text())
    assert int(closed.read_text()) < MOST_BLOCKS
    assert eventually(lambda: data_of(server, token) == {"early": "yes", "late": "yes"})


def test_over_https_the_cookie_is_secure_and_bound_to_the_host(server: WSGIServer) -> None:
    """Design, section 6: with a certificate of the server's own, or behind a proxy that has ended TLS."""
    answer = get_encrypted(server, "/set?key=value")

    (cookie,) = answer.cookies
    assert cookie.startswith(f"__Host-session={answer.token}; ")
    assert {part.lower() for part in cookie.split("; ")[1:]} == {"path=/", "httponly", "samesite=lax", "secure"}
    assert get_encrypted(server, "/get", answer.token).json["data"] == {"key": "value"}


def test_while_the_store_is_away_the_answer_is_503(server: WSGIServer) -> None:
    """Promises 6 and 7: nothing of the application's, no cookie; what needs no session goes on."""
    token = get(server, "/set?key=value").token

    for answer in (get(server, "/away/set?key=other"), get(server, "/away/get", token)):
        assert (answer.status, answer.cookies) == (503, [])
        assert b"{" not in answer.body
    assert get(server, "/away/untouched", token).body == b"{}"
    assert data_of(server, token) == {"key": "value"}
