"""The page of Django: a project is made as the page says, checked, tested, served and used."""

import re
import shlex
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

from session_middleware.integrations.django import settings as django_settings
from tests.backends.process import executable
from tests.book.pages import Block
from tests.book.test_frameworks import named, table
from tests.servers.gunicorn import ROOT, Gunicorn


class Visitor:
    """A browser that fills in forms."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> str:
        with self._opener.open(self._url + path) as answer:
            return str(answer.read().decode())

    def post(self, path: str, page: str, **fields: str) -> str:
        """Send the form that stands on *page*."""
        found = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', self.get(page))
        assert found is not None
        data = urlencode({"csrfmiddlewaretoken": found[1], **fields}).encode()
        with self._opener.open(self._url + path, data) as answer:
            return str(answer.read().decode())


def test_the_project_of_the_django_page_is_served(claimed: list[Block], tmp_path: Path) -> None:
    """Whoever types its commands and saves its files can sign in, out, and out everywhere."""
    executable("curl", "curl")
    environ = {"PYTHONPATH": str(ROOT)}
    (serve,) = [block for block in claimed if block.text.startswith("gunicorn")]
    for block in claimed:
        if block.caption:
            block.write()
        elif block.language == "python":
            with Path("shop/settings.py").open("a") as settings:
                settings.write(block.text)
        elif block.language == "sh" and block is not serve:
            block.shell(**environ)

    program, *arguments, application = shlex.split(serve.text)
    assert program == "gunicorn"
    with Gunicorn(application, *arguments, cwd=tmp_path) as server:
        assert sum(block.type(server.url) for block in claimed if block.language == "console") == 2
        first, second = Visitor(server.url), Visitor(server.url)
        for visitor in (first, second):
            shown = visitor.post("/sign-in/", "/sign-in/", username="alice", password="wonderland")
            assert shown == "visit number 1 of alice\n"
        assert "Site administration" in first.get("/admin/")
        assert first.post("/sign-out-everywhere/", "/admin/") == "2 sessions ended\n"
        assert [visitor.get("/") for visitor in (first, second)] == ["visit number 1 of nobody\n"] * 2
    assert Path("sessions.sqlite3").exists()


def test_the_options_of_django_are_all_there() -> None:
    """Each that ``SESSION_MIDDLEWARE`` may have."""
    rows = table("django", "## Options")

    assert sorted(name for row in rows for name in named(row[0])) == sorted(django_settings._OPTIONS)


def test_the_checks_of_django_are_all_there() -> None:
    """Each id that ``manage.py check`` may give."""
    rows = table("django", "## What `manage.py check` says")
    source = Path(django_settings.__file__).with_name("checks.py").read_text()

    assert [named(row[0])[0] for row in rows] == sorted(
        set(re.findall(r"session_middleware\.([EW]\d+)", source)), key=lambda n: n[1:]
    )
