"""What the lab writes down of a request is what happened, and holds no secret."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest

from examples.lab.drawing import bands
from examples.lab.notebook import Notebook
from examples.lab.texts import TEXTS
from examples.lab.trace import Recorder, TimedStore, short_cookies, short_set_cookie
from session_middleware import CookiePolicy, MemoryStore, SessionMiddleware, SQLiteStore, get_session, tokens
from session_middleware.stores.base import Scannable, Sweepable, UserIndexed
from session_middleware.testing import StoreContract, SweepableContract, UserIndexContract
from tests.browser import Browser, in_process, over_http
from tests.servers.gunicorn import Gunicorn

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

TOKEN = "Xy3f" + "a" * 39


class TestTimedStore(StoreContract, SweepableContract, UserIndexContract):
    """The wrapper keeps every promise of the store inside."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> TimedStore:
        return TimedStore(SQLiteStore(tmp_path / "sessions.sqlite3"))


def test_the_wrapper_can_do_what_the_store_can() -> None:
    """No more, no less."""

    class Bare:
        create = load = update = delete = None

    whole, bare = TimedStore(MemoryStore()), TimedStore(Bare())  # type: ignore[arg-type]  # never called
    for protocol in (Sweepable, UserIndexed, Scannable):
        assert isinstance(whole, protocol)
        assert not isinstance(bare, protocol)
    assert whole.single_process
    assert not bare.single_process


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/read":
        get_session(environ).get("x")
    if path == "/write":
        get_session(environ)["x"] = TOKEN
    if path == "/end":
        get_session(environ).invalidate()
    if path == "/fail":
        raise RuntimeError("on purpose")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"x"]


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    return Notebook(tmp_path / "lab.sqlite3")


@pytest.fixture
def visitor() -> str:
    return "0123456789abcdef" * 2


@pytest.fixture
def app(notebook: Notebook, visitor: str) -> Browser:
    middleware = SessionMiddleware(application, TimedStore(MemoryStore()))
    app = Browser(in_process(validator(Recorder(validator(middleware), notebook, CookiePolicy()))))
    app.cookies["lab"] = visitor
    return app


def trace_of(notebook: Notebook, visitor: str) -> dict[str, Any]:
    return notebook.traces(visitor)[0]


def test_each_kind_of_request_is_told_apart(app: Browser, notebook: Notebook, visitor: str) -> None:
    """Promises 1 and 2, as a visitor sees them: untouched, read without a session, written, read with one."""
    seen = []
    for path in ("/", "/read", "/write", "/read", "/"):
        app.get(path)
        trace = trace_of(notebook, visitor)
        seen.append((trace["kind"], [call[0] for call in trace["calls"]], trace["set_cookie"] is not None))

    assert seen == [
        ("untouched", [], False),
        ("read", [], False),
        ("write", ["create", "sweep"], True),
        ("read", ["load"], False),
        ("untouched", [], False),
    ]


def test_a_step_of_the_lesson_is_seen_only_where_it_was_taken(app: Browser, notebook: Notebook, visitor: str) -> None:
    """A dead token finds no session; a cookie whose name only ends alike is no token; one that is removed is not sent."""

    def steps(path: str) -> set[int]:
        app.get(path)
        return set(bands(notebook.traces(visitor), TEXTS["en"], most=1)[0].steps)

    app.cookies["session"] = TOKEN
    assert steps("/read") == {5}
    del app.cookies["session"]
    app.cookies["my-session"] = TOKEN
    assert steps("/read") == {1}
    assert steps("/write") == {1, 3, 4}
    assert steps("/read") == {5, 6}
    assert steps("/end") == {5, 6}


def test_a_request_that_fails_has_a_trace(app: Browser, notebook: Notebook, visitor: str) -> None:
    """With what was known until then."""
    with pytest.raises(RuntimeError, match="on purpose"):
        app.get("/fail")

    assert trace_of(notebook, visitor)["path"] == "/fail"
    assert bands(notebook.traces(visitor), TEXTS["en"], most=5)[0].rows


def test_a_trace_holds_no_token(app: Browser, notebook: Notebook, visitor: str, tmp_path: Path) -> None:
    """Promise 11: neither what came nor what was sent, wherever in the request it stands."""
    app.get("/write")
    token = app.cookies.pop("session")
    app.cookies |= {"other": token, token: "1", "session": token}
    app.get("/read")
    del app.cookies[token]
    app.get(f"/{token}")
    trace = notebook.traces(visitor)[1]

    assert trace["cookie"] == f"other={token[:4]}…; {token[:16]}…=1; session={token[:4]}…"
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token.encode() not in files
    assert token[4:20].encode() not in files


@pytest.mark.parametrize(
    ("header", "short"),
    [
        (f"session={TOKEN}", "session=Xy3f…"),
        (f"lab={'0' * 32}; session={TOKEN}", "session=Xy3f…"),
        (f'session="{TOKEN}"', 'session="Xy3…'),
        ("a=1; b=2; c=3; d=4; e=5", "a=1; b=2; c=3; d=4; …"),
        ("", ""),
    ],
)
def test_cookies_are_shortened(header: str, short: str) -> None:
    """Four characters tell one token from another, and open nothing; the lab's own cookie is left out."""
    assert short_cookies(header) == short


def test_a_set_cookie_keeps_its_attributes() -> None:
    """They are what the drawing is to show."""
    assert short_set_cookie(f"session={TOKEN}; Path=/; HttpOnly") == "session=Xy3f…; Path=/; HttpOnly"


def test_only_a_well_formed_visitor_is_known(app: Browser, notebook: Notebook) -> None:
    """Nobody writes where they like in the notebook."""
    for made_up in ("x", "../../x", "0" * 33, tokens.new()):
        app.cookies["lab"] = made_up
        app.get("/")
        assert notebook.traces(made_up) == []


def test_the_notebook_forgets_after_an_hour(app: Browser, notebook: Notebook, visitor: str, tmp_path: Path) -> None:
    """It does not grow without bound."""
    app.get("/")
    with closing(sqlite3.connect(tmp_path / "lab.sqlite3", isolation_level=None)) as connection:
        connection.execute("UPDATE traces SET at = at - 3601")
    for _ in range(64):
        app.get("/read")

    assert {trace["path"] for trace in notebook.traces(visitor, most=100)} == {"/read"}


def test_files_asked_for_in_a_row_are_one_in_the_drawing(app: Browser, notebook: Notebook, visitor: str) -> None:
    """They touched nothing, so there is nothing to tell."""
    for path in ("/read", "/static/a.css", "/static/b.js", "/write"):
        app.get(path)
    drawn = bands(notebook.traces(visitor), TEXTS["en"], most=5)

    assert [band.title for band in drawn] == ["GET /write", "a.css, b.js", "GET /read"]
    assert (drawn[1].files, drawn[1].kind) == (2, "untouched")


def test_every_step_of_the_lesson_can_be_seen(lab: Gunicorn) -> None:
    """The six numbers of the lesson stand in the drawings of a first visit and a sign-in, whichever process answered."""
    browser = Browser(over_http(lab.url))
    answer = browser.submit("/sign-in", "/sign-in", user="alice", password="looking-glass")
    assert answer.status == 303
    drawn = browser.get("/").text

    assert {f'text-anchor="middle">{number}</text>' in drawn for number in range(1, 7)} == {True}


def test_no_secret_is_in_the_files_or_the_log_of_the_lab(lab: Gunicorn) -> None:
    """Promise 11: no token in ``./demo`` or in what the server says, whatever visitors tried."""
    browser = Browser(over_http(lab.url))
    browser.submit("/sign-in", "/sign-in", user="alice", password="looking-glass")
    token = browser.token
    assert token is not None
    browser.get(f"/{token}", X_Lab_Run=f"x.{token}")
    for action in ("/try/damaged", "/try/two-cookies"):
        assert browser.submit("/attacks", action).status == 303
    text = browser.get("/attacks").text
    directory = Path(f"/proc/{lab.pid}/cwd").resolve() / "demo"
    # Not those that come and go with each connection, nor what they hold of others' pages.
    files = b"".join((directory / name).read_bytes() for name in ("lab.sqlite3", "sessions.sqlite3", "users.sqlite3"))

    assert text.count('class="verdict held"') == 3
    assert token not in lab.log()
    assert token.encode() not in files
    assert browser.cookies["lab"].encode() in files
