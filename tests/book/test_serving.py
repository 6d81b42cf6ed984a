"""What the pages about the surroundings of a site say: proxies, failing stores and the log."""

import logging
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from session_middleware.tokens import Token
from tests.book.pages import Block, Page
from tests.browser import Browser, over_http
from tests.servers.gunicorn import ROOT, Gunicorn

A_COOKIE = {"Cookie": f"session={Token.new().reveal()}"}

HELLO = """
from session_middleware import SessionMiddleware, get_session


def app(environ, start_response):
    get_session(environ)["visited"] = True
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


application = SessionMiddleware(app)
"""


def test_gunicorn_trusts_the_proxy_that_is_named(claimed: list[Block], tmp_path: Path) -> None:
    """And one on its own machine, if none is named; the cookie is Secure then. If it trusts another, the log says so."""
    (block,) = claimed
    Path("shop.py").write_text(HELLO)
    _, *arguments, application = shlex.split(block.text)
    assert arguments[0] == "--forwarded-allow-ips"
    for named, start in (([], "__Host-session="), (arguments, "session="), ([arguments[0], "127.0.0.1"], "__Host-session=")):
        with Gunicorn(application, *named, cwd=tmp_path) as server:
            (cookie,) = Browser(over_http(server.url)).get("/", X_Forwarded_Proto="https").all("Set-Cookie")
            assert cookie.startswith(start)
            assert ("; secure" in cookie) == cookie.startswith("__Host-")
            assert ("a proxy says https, the server http" in server.log()) == (start == "session=")


def test_proxyfix_around_makes_the_cookie_secure() -> None:
    """As the page writes it."""
    browser = TestApp(Page("how-to/proxy").run()["application"])
    cookie = browser.get("/", headers={"X-Forwarded-Proto": "https"}).headers["Set-Cookie"]

    assert cookie.startswith("__Host-session=")


@pytest.fixture
def failing(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    return Page("how-to/store-failures").run()


def test_a_store_that_is_away_does_not_keep_the_site_from_starting(
    failing: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Pages without the session are served; those that need it are a 503 of the site's own, and no cookie is touched."""
    assert [record.message.partition(":")[0] for record in caplog.get_records("setup")] == [
        "the store cannot be used now, and the site starts without it"
    ]
    browser = TestApp(failing["application"])
    assert browser.get("/").text == "cart: []"
    response = browser.get("/", headers=A_COOKIE, status=503)

    assert [browser.get(path, headers=A_COOKIE).text for path in ("/about", "/news")] == ["about us", "news"]
    assert response.json == {"error": "try again soon", "kind": "StoreUnavailable"}
    assert response.headers["Retry-After"] == "10"
    assert "Set-Cookie" not in response.headers


def test_an_outage_is_one_line_at_its_start(failing: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """However many requests there are."""
    browser = TestApp(failing["application"])
    for _ in range(5):
        browser.get("/", headers=A_COOKIE, status=503)

    assert [(record.levelname, record.message.partition(":")[0]) for record in caplog.records] == [
        ("ERROR", "the session could not be loaded or stored")
    ]


@pytest.mark.parametrize("name", ["how-to/logging", "how-to/proxy"])
def test_the_lines_that_a_page_names_are_those_of_the_code(name: str) -> None:
    """Word for word, with the level that the page gives."""
    source = re.sub(r'"\n *f?"', "", "".join(path.read_text() for path in (ROOT / "session_middleware").rglob("*.py")))
    rows = re.findall(r"^\| `([^`]+)` \|(?: ([A-Z]+) \|)?", Page(name).text, re.MULTILINE)
    assert rows
    for line, level in rows:
        words = r"[^\n]*".join(re.escape(part) for part in re.split(r"\.\.\.|__Host-session", line))
        call = rf'log\.{level.lower() or "warning"}\(\s*"[^\n]*{words}'
        assert re.search(call, source), line


def test_every_line_is_of_one_logger() -> None:
    """Set to INFO, it says which store there is."""
    Page("how-to/logging").run()

    assert logging.getLogger("session_middleware").level == logging.INFO
    logging.getLogger("session_middleware").setLevel(logging.NOTSET)
