"""Requests of the lab to itself, over HTTP and the very address that a visitor's request came in on."""

import http.client
import json
import re
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

from webob import Request
from webob.exc import HTTPServiceUnavailable

from session_middleware import CookiePolicy

T = TypeVar("T")

_TIMEOUT = 10
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


class Reply(NamedTuple):
    """What came back. ``token`` is that of a ``Set-Cookie``, empty if it removes the cookie, ``None`` without one."""

    status: int
    token: str | None
    text: str
    pauses: list[float]
    """When the head and each part of a streamed body arrived, in milliseconds."""

    @property
    def who(self) -> str | None:
        """Whom ``/probe/who`` took the request for."""
        user = json.loads(self.text)["user"]
        return None if user is None else str(user)

    @property
    def visits(self) -> int | None:
        """What ``/probe/who`` found counted."""
        visits = json.loads(self.text)["visits"]
        return None if visits is None else int(visits)

    @property
    def csrf(self) -> str:
        found = _CSRF.search(self.text)
        return found[1] if found else ""


class Loopback:
    """Sends requests for one experiment; ``run`` is its name in the notebook."""

    def __init__(self, request: Request, cookie: CookiePolicy, name: str, token: str) -> None:
        connection = request.environ.get("gunicorn.socket")
        address = connection.getsockname() if isinstance(connection, socket.socket) else None
        if not isinstance(address, tuple):
            raise HTTPServiceUnavailable("error.gunicorn")
        self._host, self._port = address[:2]
        self._tls = isinstance(connection, ssl.SSLSocket)
        self._scheme = request.scheme
        self._visitor: str = request.environ["lab.visitor"]
        self._agent = request.user_agent or ""
        self._cookie = cookie.for_scheme(request.scheme)
        self.token = token
        """That of the visitor's own session."""
        self.run = f"{name}.{secrets.token_hex(4)}"

    def get(self, path: str, *tokens: str) -> Reply:
        """Send a GET with one session cookie for each of *tokens*."""
        return self._send("GET", path, tokens, None)

    def post(self, path: str, *tokens: str, **fields: str) -> Reply:
        return self._send("POST", path, tokens, fields)

    def sign_in(self, user: str, password: str) -> str:
        """Sign in with a session of its own; return its token."""
        form = self.get("/sign-in")
        return self.post("/sign-in", form.token or "", csrf=form.csrf, user=user, password=password).token or ""

    def submit(self, path: str, token: str) -> Reply:
        """Send a form that has no fields but its secret."""
        return self.post(path, token, csrf=self.get("/sign-in", token).csrf)

    def _send(self, method: str, path: str, tokens: tuple[str, ...], fields: Mapping[str, str] | None) -> Reply:
        cookies = [f"{self._cookie.name}={token}" for token in tokens if token]
        prefix = "__Host-" if self._scheme == "https" else ""
        headers = {
            "Connection": "close",
            "Cookie": "; ".join([*cookies, f"{prefix}lab={self._visitor}"]),
            "User-Agent": self._agent,
            "X-Lab-Run": self.run,
        }
        if self._scheme == "https" and not self._tls:
            headers["X-Forwarded-Proto"] = "https"
        body = None
        if fields is not None:
            body, headers["Content-Type"] = urlencode(fields), "application/x-www-form-urlencoded"
        connection = self._connect()
        try:
            started = time.perf_counter()
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            arrivals, parts = [time.perf_counter()], []
            while part := response.read1(65536):
                parts.append(part)
                arrivals.append(time.perf_counter())
            pauses = [(arrival - started) * 1000 for arrival in arrivals]
            set_cookies = response.headers.get_all("Set-Cookie") or []
            return Reply(response.status, self._token_in(set_cookies), b"".join(parts).decode(), pauses)
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        context = ssl.create_default_context()
        # The certificate names the site, not this address; and nobody is in between.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(self._host, self._port, timeout=_TIMEOUT, context=context)

    def _token_in(self, set_cookies: list[str]) -> str | None:
        for header in set_cookies:
            if self._cookie.is_set_by(header):
                return header.partition(";")[0].partition("=")[2]
        return None


def at_once(count: int, call: Callable[[int], T]) -> Iterator[T]:
    """Call with 0, 1, ... in a thread each; yield what comes back, in that order."""
    with ThreadPoolExecutor(count) as pool:
        yield from pool.map(call, range(count))


def eventually(ready: Callable[[], bool], *, within: float = 5.0, pause: float = 0.005) -> bool:
    """Wait until *ready*, asking after each *pause*, but no longer than *within* seconds; return whether it came."""
    deadline = time.monotonic() + within
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
