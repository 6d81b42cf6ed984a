"""The book beside the lab: the steps of the lesson lead into it, and nothing but its files is served."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from wsgiref.validate import validator

import pytest

from examples.lab.book import LESSONS, Book
from tests.browser import Browser, in_process, links_of
from tests.lab.conftest import APPLICATION, SETTINGS
from tests.lab.visitor import LANGUAGES, Arrive
from tests.servers.gunicorn import ROOT, Gunicorn

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

INLINE = "choose('light')"
PAGE = f"<!DOCTYPE html><script>{INLINE}</script><p>A page"
PICTURE = b"\x89PNG\r\n\x1a\n"

Open: TypeAlias = Callable[[Path], Browser]


@pytest.fixture
def open_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Return a function that opens the lab in process, with the book in a directory."""
    monkeypatch.chdir(tmp_path)
    serve = importlib.import_module("examples.lab.app").serve
    return lambda directory: Browser(in_process(validator(serve("memory:", directory))))


def lab_in_its_place(environ: "WSGIEnvironment", start_response: "StartResponse") -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the lab"]


@pytest.fixture
def reader(made: Path) -> Browser:
    """Someone who reads the book, without a lab."""
    return Browser(in_process(validator(Book(made).beside(lab_in_its_place))))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A directory with a book, beside others that are nobody's business."""
    directory = tmp_path / "build" / "docs"
    for name in ("index.html", *LESSONS.values(), "../other/index.html", "../secret.html"):
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PAGE)
    (directory / ".doctrees").mkdir()
    (directory / ".doctrees" / "index.doctree").write_text("no file of the book")
    (directory / "_static").mkdir()
    (directory / "_static" / "book.css").write_text("p { color: red }")
    (directory / "_static" / "picture.png").write_bytes(PICTURE)
    return directory


@pytest.mark.parametrize("path", ["/", "/untouched"])
def test_each_step_leads_to_its_place_in_the_lesson(open_lab: Open, made: Path, path: str) -> None:
    """In the language of the page; the page is there."""
    browser = open_lab(made)
    for language, lesson in LESSONS.items():
        links = [link for link in links_of(browser.get(path, Accept_Language=language).text) if link.startswith("/book/")]

        assert sorted(links) == [f"/book/{lesson}#step-{number}" for number in range(1, 7)]
        assert "A page" in browser.get(links[0].partition("#")[0]).text


@pytest.mark.parametrize("language", LESSONS)
def test_the_lesson_has_the_places(language: str) -> None:
    """One for each of the six steps, in this order."""
    text = (ROOT / "docs" / LESSONS[language]).with_suffix(".md").read_text()

    assert [f'\n{number}. <span id="step-{number}"></span>' in text for number in range(1, 7)] == [True] * 6


def test_without_a_book_nothing_leads_there(open_lab: Open, tmp_path: Path) -> None:
    """Nor is anything there."""
    browser = open_lab(tmp_path / "not made")
    answer = browser.get("/")

    assert answer.status == 200
    assert "/book/" not in answer.text
    assert browser.get("/book/").status == 404


def test_a_lesson_that_is_not_there_is_not_led_to(made: Path) -> None:
    """A book may have it in one language."""
    (made / LESSONS["ko"]).unlink()

    assert Book(made).step("ko", 1) == ""
    assert Book(made).step("en", 1) == f"/book/{LESSONS['en']}#step-1"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "text/html; charset=UTF-8"),
        ("index.html", "text/html; charset=UTF-8"),
        ("_static/book.css", "text/css; charset=UTF-8"),
        ("_static/picture.png", "image/png"),
    ],
)
def test_the_files_of_the_book_are_served(reader: Browser, made: Path, path: str, kind: str) -> None:
    """With their types, to be asked for again when they have changed; no session, no cookie."""
    answer = reader.get(f"/book/{path}")

    assert (answer.status, answer.header("Content-Type"), answer.header("Cache-Control")) == (200, kind, "no-cache")
    assert answer.body == (made / (path or "index.html")).read_bytes()
    assert answer.all("Set-Cookie") == answer.all("Vary") == []
    assert reader.get(f"/book/{path}", If_Modified_Since=answer.header("Last-Modified")).status == 304
    assert reader.send("HEAD", f"/book/{path}").header("Content-Length") == str(len(answer.body))


@pytest.mark.parametrize(
    "path",
    [
        *("../secret.html", "%2e%2e/secret.html", "..%2fsecret.html", "_static/../../secret.html", "/etc/passwd"),
        *(
            "../other/",
            "../other/index.html",
            ".doctrees/index.doctree",
            "_static",
            "_static/",
            "nowhere.html",
            "%00",
            "%ff",
        ),
    ],
)
def test_nothing_else_is_served(reader: Browser, path: str) -> None:
    """404, also for what lies beside the book, and for what Sphinx keeps there for itself."""
    assert reader.get(f"/book/{path}").status == 404


def test_what_has_gone_since_is_not_found(reader: Browser, made: Path) -> None:
    """A book that is thrown away under the running lab is no error."""
    (made / "index.html").unlink()

    assert reader.get("/book/").status == 404


def test_all_else_is_the_lab(reader: Browser) -> None:
    """Whatever begins like the book."""
    assert [reader.get(path).text for path in ("/", "/book", "/bookshop")] == ["the lab"] * 3


def test_the_book_is_read_and_nothing_else(reader: Browser) -> None:
    """RFC 9110, 15.5.6."""
    answer = reader.post("/book/index.html", x="1")

    assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD")


def test_reading_leaves_no_trace_in_the_lab(open_lab: Open, made: Path) -> None:
    """The drawing is about the lab."""
    browser = open_lab(made)
    browser.get("/")
    browser.get("/book/_static/book.css")

    assert "GET /book" not in browser.get("/").text
    assert "book.css" not in browser.get("/").text


def test_pages_of_the_book_may_run_their_own_script_and_no_other(reader: Browser) -> None:
    """What is inline is allowed by what it says."""
    policy = dict(part.strip().split(" ", 1) for part in reader.get("/book/").header("Content-Security-Policy").split(";"))

    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    # printf %s "choose('light')" | openssl dgst -sha256 -binary | base64
    assert policy["script-src"] == "'self' 'sha256-IYQfIfV8pxMBvilCQgOlxS83SUklJtdwIkiNCcBGsXo='"


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book as it is made, as far as the lesson."""
    directory = tmp_path_factory.mktemp("book")
    left_out = "exclude_patterns=architecture.md,how-to/*,reference/*,tutorial/*"
    places = (str(ROOT / "docs"), str(directory / "docs"), "-d", str(directory / "doctrees"))
    subprocess.run([sys.executable, "-W", "ignore", "-m", "sphinx", "-Q", "-D", left_out, *places], check=True, timeout=300)
    return directory / "docs"


@pytest.mark.parametrize("language", LANGUAGES)
def test_from_a_step_to_the_lesson_and_back(arrive: Arrive, lesson: Path, tmp_path: Path, language: str) -> None:
    """With a real browser, on a phone: the step is in sight, the page works under its policy and leads into the lab."""
    from playwright.sync_api import expect

    with Gunicorn(APPLICATION, *SETTINGS, cwd=tmp_path, env={"LAB_BOOK": str(lesson)}) as server:
        visitor = arrive(url=server.url, language=language, viewport={"width": 390, "height": 844})
        visitor.page.locator(".steps a").nth(3).click()
        visitor.page.wait_for_url(f"**/book/{LESSONS[language]}#step-4")
        step = visitor.page.locator("li:has(> p > #step-4)")

        expect(step).to_be_in_viewport(timeout=120_000)  # the page takes its time to scroll there
        assert "Set-Cookie" in step.inner_text()
        assert visitor.page.evaluate("document.body.dataset.theme") == "auto"
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert step.locator('a[href="http://127.0.0.1:8000/#pane-browser"]').count() == 1
