"""What the lab writes down of a request is what happened, and holds no secret."""

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest

from examples.lab.drawing import bands
from examples.lab.notebook import Notebook
from examples.lab.shortened import Part, parts, short_cookies, short_path, short_set_cookie, short_token
from examples.lab.texts import TEXTS
from examples.lab.trace import CURRENT, Recorder, TimedStore, Trace, visitor_of
from session_middleware import CookiePolicy, MemoryStore, SessionMiddleware, SQLiteStore, StoreUnavailable, get_session
from session_middleware.stores.base import Scannable, Sweepable, UserIndexed
from session_middleware.testing import StoreContract, SweepableContract, UserIndexContract
from session_middleware.tokens import Token, id_of_mark
from tests.browser import Browser, in_process, over_http
from tests.servers.gunicorn import Gunicorn

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

ID = "IdIdIdIdIdId"
TOKEN = ID + "Xy3f" + "a" * 24


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


def test_a_list_is_one_call_whatever_is_asked_between_its_keys() -> None:
    """It takes as long as its pages do, and stands where it began; of a list that breaks off there is what was."""

    class InPages(MemoryStore):
        spent = 0.0

        def keys_of(self, user_id: str) -> Iterator[str]:
            for key in ("one", "two"):
                started = time.perf_counter()
                hashlib.sha256(bytes(1_000_000))
                self.spent += time.perf_counter() - started
                yield key
            if user_id == "bob":
                raise StoreUnavailable("on purpose")

    inner = InPages()
    store, bare = TimedStore(inner), TimedStore(MemoryStore())
    trace = Trace("GET", "/", None, has_token=False, at=0.0)
    before = CURRENT.set(trace)
    try:
        assert [store.load(key) for key in store.keys_of("alice")] == [None, None]
        with pytest.raises(StoreUnavailable):
            list(store.keys_of("bob"))
        assert list(bare.keys_of("nobody")) == []
    finally:
        CURRENT.reset(before)

    assert [call.verb for call in trace.calls] == ["keys_of", "load", "load", "keys_of", "keys_of"]
    lists = [call for call in trace.calls if call.verb == "keys_of"]
    assert [call.outcome for call in lists] == [True, True, False]
    assert sum(call.ms for call in lists) >= inner.spent * 1000


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    path, trace = environ["PATH_INFO"], environ["lab.trace"]
    session = get_session(environ)
    if path != "/":
        trace.came_in(session)
    if path == "/write":
        session["x"] = TOKEN
    if path == "/end":
        session.invalidate()
    if path == "/regenerate":
        session.regenerate()
    if path == "/login":
        trace.mark = id_of_mark("session", "alice")
        session.login("alice")
    if path == "/fail":
        raise RuntimeError("on purpose")
    trace.going_out(session)
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


def test_what_a_sign_in_does_to_the_record_is_told(app: Browser, notebook: Notebook, visitor: str) -> None:
    """The id stays; a new secret is a step of the lesson; the user's mark is no session; the old cookie opens a snapshot."""

    def said(path: str) -> list[tuple[str, str, int | None]]:
        app.get(path)
        (band,) = bands(notebook.traces(visitor), TEXTS["en"], most=1)
        return [(*row.lines[0][0].partition(" ·")[:1], row.lines[1][0], row.step) for row in band.rows if row.target == 3]

    def names() -> list[str | None]:
        return [trace["session_id"] for trace in notebook.traces(visitor, most=4)]

    app.get("/write")
    before = app.cookies["session"]
    assert said("/login") == [
        ("load", "found; the secret is current", 6),
        ("load", "no mark of the user", None),
        ("update", "same id, new secret, next era", 3),
        ("load", "no mark of the user", None),
    ]
    after = app.cookies["session"]
    assert said("/read") == [("load", "found; the secret is current", 6)]
    app.cookies["session"] = before
    assert said("/write") == [("load", "found; the secret was replaced", None)]
    assert names() == [before[:12]] * 4

    app.cookies["session"] = before
    assert said("/login")[2] == ("update", "same id and era, one more secret", 3)
    app.cookies["session"] = Token.new(after[:12]).reveal()
    assert said("/read") == [("load", "found; the secret opens nothing", None)]
    assert names()[0] is None
    app.cookies["session"] = after
    assert said("/regenerate") == [("load", "found; the secret is current", 6), ("update", "same id, new secret", 3)]

    regenerated = app.cookies.pop("session")
    app.get("/write")
    app.cookies["session"] += f"; session={regenerated}"
    assert said("/read") == [("load", "found", 6)] * 2


def test_there_are_words_for_whatever_a_call_comes_to() -> None:
    """No page fails because a store was asked what it is asked seldom."""
    calls = [
        [verb, 0.1, outcome, phase, about]
        for verb in ("load", "create", "update")
        for outcome in (True, False)
        for phase in ("application", "commit", "late")
        for about in ("own", "mark", "other")
    ]
    calls += [
        [verb, 0.1, outcome, "commit", "other"] for verb in ("delete", "sweep", "keys_of") for outcome in (True, False)
    ]
    entry = {
        "method": "GET",
        "path": "/",
        "cookie": None,
        "has_token": False,
        "check_ms": None,
        "status": "200 OK",
        "at": 0.0,
    }
    entry |= {"kind": "read", "set_cookie": None}
    for call in calls:
        for opens, act in (
            ("session", "login"),
            ("session", "joined"),
            ("snapshot", "regenerate"),
            ("nothing", ""),
            ("", ""),
        ):
            for ids in ((ID,), (ID, ID)):
                made = {**entry, "calls": [call], "opens": opens, "act": act, "ids": ids, "only_read": True}
                assert all(bands([made], TEXTS[language], most=1)[0].rows for language in ("en", "ko"))


def test_a_request_that_fails_has_a_trace(app: Browser, notebook: Notebook, visitor: str) -> None:
    """With what was known until then."""
    with pytest.raises(RuntimeError, match="on purpose"):
        app.get("/fail")

    assert trace_of(notebook, visitor)["path"] == "/fail"
    assert bands(notebook.traces(visitor), TEXTS["en"], most=5)[0].rows


def test_a_trace_holds_no_secret(app: Browser, notebook: Notebook, visitor: str, tmp_path: Path) -> None:
    """Promise 11: neither what came nor what was sent, wherever in the request it stands."""
    app.get("/write")
    token = app.cookies.pop("session")
    app.cookies |= {"other": token, token: "1", "session": token}
    app.get("/read")
    del app.cookies[token]
    app.get(f"/{token}")
    trace = notebook.traces(visitor)[1]

    assert trace["cookie"] == f"other={token[:4]}…; {token[:16]}…=1; session={token[:16]}…"
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token.encode() not in files
    assert token[12:20].encode() not in files
    assert token[16:24].encode() not in files


@pytest.mark.parametrize(
    ("header", "short"),
    [
        (f"session={TOKEN}", f"session={ID}Xy3f…"),
        (f"lab={'0' * 32}; session={TOKEN}", f"session={ID}Xy3f…"),
        (f'session="{TOKEN}"', 'session="IdI…'),
        (f"session={TOKEN[:-1]}", "session=IdId…"),
        (f"my-session={TOKEN}", "my-session=IdId…"),
        ("a=1; b=2; c=3; d=4; e=5", "a=1; b=2; c=3; d=4; …"),
        ("", ""),
    ],
)
def test_cookies_are_shortened(header: str, short: str) -> None:
    """The id is public; four characters tell one secret from another, and open nothing; the lab's own cookie is left out."""
    assert short_cookies(header, "session") == short


def test_a_set_cookie_keeps_its_attributes() -> None:
    """They are what the drawing is to show."""
    assert short_set_cookie(f"session={TOKEN}; Path=/; HttpOnly", "session") == f"session={ID}Xy3f…; Path=/; HttpOnly"


def test_id_and_secret_are_told_apart() -> None:
    """In a text with whatever around it; what only looks alike is left alone."""
    assert parts(f"Cookie: session={short_token(TOKEN)}") == [
        Part("Cookie: session=", ""),
        Part(ID, "id"),
        Part("Xy3f…", "secret"),
    ]
    assert parts(f"session=IdId…; {'a' * 20}…") == [Part(f"session=IdId…; {'a' * 20}…", "")]


def test_a_path_is_shortened() -> None:
    """Whatever is as long as a secret; an id is public."""
    assert short_path(f"/x/{TOKEN}/{TOKEN[12:]}/{ID}") == f"/x/IdId…/Xy3f…/{ID}"


def test_only_a_well_formed_visitor_is_known(app: Browser, notebook: Notebook) -> None:
    """Nobody writes where they like in the notebook."""
    for made_up in ("x", "../../x", "0" * 33, Token.new().reveal()):
        app.cookies["lab"] = made_up
        app.get("/")
        assert notebook.traces(made_up) == []


def test_over_https_only_the_cookie_of_this_host_names_a_visitor() -> None:
    """Another host of the domain can have set ``lab``, and would be shown a stranger's requests."""
    visitor, other = "a" * 32, "b" * 32
    found = {
        (scheme, header): visitor_of({"wsgi.url_scheme": scheme, "HTTP_COOKIE": header})
        for scheme in ("http", "https")
        for header in (f"lab={visitor}", f"__Host-lab={visitor}", f"lab={other}; __Host-lab={visitor}")
    }

    assert list(found.values()) == [visitor, None, other, None, visitor, visitor]


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
    steps = {f'text-anchor="middle">{number}</text>' for number in range(1, 7)}
    # What a response did is noted when it has been sent.
    pages = (browser.get("/").text for _ in range(3))

    assert any(all(step in page for step in steps) for page in pages)


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
