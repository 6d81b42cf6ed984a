"""The lab under the real gunicorn, and visitors of it, with a real browser and without."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from examples.lab.book import LESSONS
from tests.backends.certificates import certify
from tests.browser import Browser, Transport, over_http
from tests.lab.visitor import LANGUAGES, Arrive, Visitor
from tests.servers.gunicorn import ROOT, Gunicorn

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium


APPLICATION = "examples.lab.app:application"
SETTINGS = ("--config", str(ROOT / "examples" / "gunicorn.conf.py"), "--preload", "--threads", "16")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The lab as ``make demo`` serves it, beside a book that has the lesson, and in it nothing."""
    directory = tmp_path_factory.mktemp("lab")
    for lesson in LESSONS.values():
        page = directory / "book" / lesson
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("<!DOCTYPE html>")
    with Gunicorn(APPLICATION, *SETTINGS, cwd=directory, env={"LAB_BOOK": "book"}) as server:
        yield server
        assert "Traceback" not in server.log()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for this machine, and its key."""
    return certify(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def idle() -> dict[str, list[Visitor]]:
    """Visitors that have left, by what their browsers are like: to begin one anew takes long."""
    return defaultdict(list)


@pytest.fixture
def arrive(chromium: "Chromium", lab: Gunicorn, idle: dict[str, list[Visitor]]) -> Iterator[Arrive]:
    """Return a function that lets someone visit the lab with a browser of their own, without a cookie.

    What their pages complained of in the console is a failure of the test.
    """
    here: list[tuple[str, Visitor]] = []

    def arriving(path: str = "/", *, url: str = "", language: str = "en", **options: Any) -> Visitor:
        options = {"locale": LANGUAGES[language], "ignore_https_errors": True, **options}
        kind = repr(sorted(options.items()))
        visitor = idle[kind].pop() if idle[kind] else Visitor(chromium.new_context(**options))
        here.append((kind, visitor))
        visitor.begin(url or lab.url, path)
        return visitor

    yield arriving
    for kind, visitor in here:
        visitor.leave()
        idle[kind].append(visitor)
    assert [complaint for _, visitor in here for complaint in visitor.complaints] == []


@pytest.fixture
def transport(lab: Gunicorn) -> Transport:
    return over_http(lab.url)


@pytest.fixture
def browser(transport: Transport) -> Browser:
    return Browser(transport)
