"""A shop that is served by two workers over TLS, people in it with a real browser, and thieves with a plain HTTP client."""

import base64
import hashlib
import http.client
import json
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.backends.certificates import certify
from tests.backends.process import free_port
from tests.binding.served import CLOCK, ELSEWHERE, SHOP
from tests.binding.sites import BOUND, REFRESH, REGISTRATION
from tests.servers.gunicorn import SecureGunicorn

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

# For a machine that is late.
_WITHIN = 300.0
_WORKERS = ("--worker-class", "gthread", "--workers", "2", "--threads", "8", "--timeout", "300")
# A browser keeps its connections for as long as it likes.
_STOPS_SOON = ("--graceful-timeout", "1")

_FEATURES = "DeviceBoundSessions:RefreshQuota/false,EnableBoundSessionCredentialsSoftwareKeysForManualTesting"

AGE = 606
"""After so many seconds no bound cookie counts any more."""


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def user(self) -> str | None:
        user: str | None = json.loads(self.body)["user"]
        return user


class Shop:
    """The server, its clock and its log."""

    def __init__(self, directory: Path, store: str, **settings: str) -> None:
        self._directory = directory
        self._certificate = certify(directory)
        self._environ = {"SESSION_STORE": store, **settings}
        self._port = free_port()
        self._ahead = 0
        self.advance(0)

    @contextmanager
    def open(self) -> "Iterator[Shop]":
        """Serve it, at the same address each time."""
        certificate, key = map(str, self._certificate)
        arguments = (*_WORKERS, *_STOPS_SOON, "--certfile", certificate, "--keyfile", key)
        site = "tests.binding.served:make()"
        with SecureGunicorn(site, *arguments, cwd=self._directory, env=self._environ, port=self._port) as self._server:
            self._server.all_workers(2)
            yield self
            assert "Traceback" not in self._server.log()

    def rename_cookie(self, name: str) -> None:
        """From the next opening on, the cookie has another name."""
        self._environ["COOKIE"] = name

    @property
    def url(self) -> str:
        return f"https://{SHOP}:{self._port}"

    @property
    def elsewhere(self) -> str:
        """A page of another site, with a link to the shop."""
        return f"https://{ELSEWHERE}:{self._port}/"

    @property
    def flags(self) -> list[str]:
        """What a browser has to be told."""
        certificate = x509.load_pem_x509_certificate(self._certificate[0].read_bytes())
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        trusted = base64.b64encode(hashlib.sha256(key).digest()).decode()
        return [
            f"--enable-features={_FEATURES}",
            f"--ignore-certificate-errors-spki-list={trusted}",
            "--host-resolver-rules=MAP *.test 127.0.0.1",
        ]

    def advance(self, seconds: int) -> None:
        """Move the clock of the shop; that of browsers stays."""
        self._ahead += seconds
        new = self._directory / f"{CLOCK}.new"
        new.write_text(str(self._ahead))
        new.replace(self._directory / CLOCK)

    def seen(self, method: str, path: str, status: int | str = r"\d+") -> list[str]:
        """Return the requests that have been answered so, each by what the device has signed, or ``-``."""
        return re.findall(rf"\[{SHOP} {method} {re.escape(path)} {status} (\S+)\]", self._server.log())

    def refreshed(self) -> int:
        """Return how often a browser has proved that it has its key."""
        return len(self.seen("POST", REFRESH, 200))

    def signed(self, path: str = REGISTRATION) -> str:
        """Return what a device has signed at last."""
        return self.seen("POST", path, 200)[-1]

    def ask(
        self,
        path: str = "/who",
        cookies: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request as anybody can, from anywhere."""
        context = ssl.create_default_context(cafile=str(self._certificate[0]))
        connection = http.client.HTTPSConnection("localhost", self._port, timeout=_WITHIN, context=context)
        cookie = "; ".join(f"{name}={value}" for name, value in (cookies or {}).items())
        try:
            connection.request(method, path, headers={"Host": f"{SHOP}:{self._port}", "Cookie": cookie, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


class Visitor:
    """Somebody in the shop with a browser."""

    def __init__(self, shop: Shop, context: "BrowserContext") -> None:
        context.set_default_timeout(1000 * _WITHIN)
        self.shop = shop
        self._context = context
        self.page = self.new_tab()

    def new_tab(self) -> "Page":
        """Return a tab that shows the shop."""
        page = self._context.new_page()
        page.goto(self.shop.url)
        return page

    @property
    def cookies(self) -> dict[str, str]:
        """What a thief would copy."""
        return {cookie.get("name", ""): cookie.get("value", "") for cookie in self._context.cookies(self.shop.url)}

    def reload(self) -> str:
        """Return the title of the page, which says who is signed in, and whether the session is bound."""
        self.page.goto(self.shop.url)
        return self.page.title()

    def wait_for(self, title: str) -> None:
        """Return when the page has that title."""
        self.page.wait_for_function("title => document.title === title", arg=title)

    def press(self, button: str) -> None:
        """Send a form by POST; the answer is a 303."""
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=button, exact=True).click()

    def post(self, path: str) -> dict[str, Any]:
        """Send a request from a script of the page."""
        found: dict[str, Any] = self.page.evaluate(
            "path => fetch(path, {method: 'POST'}).then(answer => answer.json())", path
        )
        return found

    def bind(self) -> "Visitor":
        """Sign in, and wait until the session is bound."""
        self.press("sign-in")
        until(lambda: BOUND in self.cookies)
        return self

    def lose_proof(self) -> None:
        """Let the bound cookie run out, in the browser and in the shop."""
        self.shop.advance(AGE)
        session = self._context.new_cdp_session(self.page)
        session.send("Network.deleteCookies", {"name": BOUND, "url": self.shop.url})
        session.detach()
        assert BOUND not in self.cookies


def until(done: Callable[[], object]) -> None:
    """Ask until it is done; fail if that takes far too long."""
    deadline = time.monotonic() + _WITHIN
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)
