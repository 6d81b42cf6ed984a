"""The pages of the frameworks: each application is built from its page, served by gunicorn, and used as the page says."""

import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from paste.deploy import loadapp
from pyramid.config import Configurator

from session_middleware import SessionMiddleware, config
from session_middleware.integrations.bottle import SessionPlugin
from session_middleware.integrations.flask import Sessions
from session_middleware.integrations.pyramid import _OBJECTS, manager_of
from tests.backends.process import executable
from tests.book.pages import Block, Page
from tests.servers.gunicorn import Gunicorn

SERVED = ["flask", "pyramid", "bottle", "webob", "plain-wsgi", "several-applications"]


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def serve(block: Block, servers: ExitStack, cwd: Path) -> Gunicorn:
    """Run the command of gunicorn in *block*, on another port."""
    program, *arguments, application = shlex.split(block.text)
    assert program == "gunicorn"
    servers.close()
    return servers.enter_context(Gunicorn(application, *arguments, cwd=cwd))


@pytest.mark.parametrize("name", SERVED)
def test_the_application_of_a_page_is_served(name: str, claimed: list[Block], tmp_path: Path, servers: ExitStack) -> None:
    """Whoever saves its files, serves them and types its commands sees what it says."""
    executable("curl", "curl")
    server: Gunicorn | None = None
    commands = 0
    for block in Page(f"how-to/{name}").blocks:
        if block.caption:
            block.write()
        elif block in claimed and block.language == "sh":
            server = serve(block, servers, tmp_path)
        elif block in claimed:
            assert server is not None
            commands += block.type(server.url)
    assert server is not None
    assert "Traceback" not in server.log()

    assert commands >= 5


@pytest.mark.parametrize("name", ["flask", "pyramid", "bottle"])
def test_the_tests_of_a_page_pass(name: str, claimed: list[Block], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They import the application from its file."""
    monkeypatch.syspath_prepend(tmp_path)
    blocks = Page(f"how-to/{name}").blocks
    files = [block.write() for block in blocks if block.caption]
    (block,) = [block for block in blocks if block in claimed and "test_the_tests_of_a_page_pass" in block.tested_by]
    block.execute({})
    for file in files:
        sys.modules.pop(file.stem, None)


def table(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading of a page, as rows without the head."""
    text = Page(f"how-to/{page}").text.split(f"\n{heading}\n")[1]
    found = re.search(r"^\|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found is not None
    return [re.split(r" *(?<!\\)\| *", line)[1:-1] for line in found[1].splitlines()]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_flask_login_signs_in_and_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second application of the page."""
    (block,) = [block for block in Page("how-to/flask").blocks if block.caption == "members.py"]
    names: dict[str, Any] = {"__name__": "members"}
    block.execute(names)
    client = names["app"].test_client()
    names["app"].secret_key = "for the cookie that remembers"

    assert client.get("/members").status_code == 401
    assert client.post("/sign-in", data={"name": "alice", "password": "no"}).status_code == 403
    assert client.post("/sign-in", data={"name": "alice", "password": "wonderland"}).text == "signed in: alice\n"
    assert client.get("/members").text == "hello alice\n"
    assert client.post("/sign-out").text == "signed in: None\n"
    assert client.get("/members").status_code == 401


def test_the_options_of_flask_are_all_there() -> None:
    """With their defaults, where these are written."""
    rows = table("flask", "## Options")
    parameters = {name: one.default for name, one in inspect.signature(Sessions).parameters.items() if name != "app"}

    assert sorted(name for row in rows for name in named(row[0])) == sorted(parameters)
    defaults = {named(row[0])[0]: named(row[1])[0] for row in rows if row[1]}
    assert {name: repr(parameters[name]).replace("'", '"') for name in defaults if name != "lifetime"} == {
        name: text for name, text in defaults.items() if name != "lifetime"
    }


def test_the_options_of_bottle_are_all_there() -> None:
    """Each that the plugin takes."""
    rows = table("bottle", "## Options")

    assert sorted(name for row in rows for name in named(row[0])) == sorted(inspect.signature(SessionPlugin).parameters)


def test_the_keys_of_an_ini_file_are_all_there() -> None:
    """Each that is read from a text."""
    rows = table("plain-wsgi", "## From an ini file")

    assert sorted(name for row in rows for name in named(row[0])) == sorted(config._OPTIONS)


def test_the_filter_of_pastedeploy_is_read(claimed: list[Block]) -> None:
    """As PasteDeploy reads it."""
    (block,) = claimed
    Path("site.ini").write_text(
        block.text
        + "\n[pipeline:main]\npipeline = session app\n[app:app]\npaste.app_factory = tests.test_config:app_factory\n"
    )
    site = loadapp(f"config:{Path('site.ini').resolve()}")

    assert isinstance(site, SessionMiddleware)
    assert (str(site.manager.store), site.http.name) == (
        f"SQLiteStore({str(Path('sessions.sqlite3').resolve())!r})",
        "session",
    )


def test_the_settings_of_pyramid_are_read(claimed: list[Block], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As an ini file gives them."""
    (block,) = claimed
    monkeypatch.syspath_prepend(tmp_path)
    Path("shop").mkdir()
    Path("shop/__init__.py").touch()
    Path("shop/pages.py").write_text("def unavailable(environ, start_response): ...\n")
    parser = ConfigParser({"here": str(tmp_path)})
    parser.read_string(block.text)
    settings = {key: value for key, value in parser["app:main"].items() if key.startswith("session_middleware.")}
    with Configurator(settings=settings) as configurator:
        configurator.include("session_middleware.integrations.pyramid")
    found = manager_of(configurator)

    assert (found.lifetime.idle, found.lifetime.absolute) == (1800, 43200)
    assert str(tmp_path) in str(found.store)
    for name in ("shop", "shop.pages"):
        sys.modules.pop(name)


def test_the_settings_of_pyramid_are_all_there() -> None:
    """Each that is read from a text, and each that may be an object."""
    rows = table("pyramid", "## Options")
    known = {name for row in rows for cell in (row[0], row[2]) for name in named(cell)} - {"Lifetime", "CookiePolicy"}
    assert known == {name for name in config._OPTIONS if ".former." not in name} | {"cookie.former.name", *_OBJECTS}
