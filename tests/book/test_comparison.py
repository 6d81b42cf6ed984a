"""What the comparison says of Beaker, Flask-Session and Django is what they do, when one request comes within another."""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import flask
import pytest
from beaker.middleware import SessionMiddleware as Beaker
from flask_session.base import ServerSideSession
from webtest import TestApp

from session_middleware import MemoryStore, SessionMiddleware
from tests.book.pages import Page

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PAGE = Page("explanation/comparison").text

Act = Callable[[Any], object]


class Site:
    """An application that does to the session whatever a test wants; *key* is where the session is."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.act: Act = len

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        self.act(environ[self.key])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]


class Subject:
    """One library: a site with its sessions, asked as one browser would."""

    def __init__(self, served: "WSGIApplication", site: Any, end: Act) -> None:
        self.served = served
        self.site = site
        self.end = end
        self.cookies = ""

    def request(self, act: Act) -> None:
        outer, self.site.act = self.site.act, act
        try:
            answer = TestApp(self.served).get("/", headers={"Cookie": self.cookies} if self.cookies else {})
        finally:
            self.site.act = outer
        for name, value in answer.headers.items():
            if name.lower() == "set-cookie" and not self.cookies:
                self.cookies = value.partition(";")[0]
                self.first = value

    def seen(self) -> dict[str, Any]:
        """Return what the browser's cookie opens now, but for what the library keeps in it."""
        found: dict[str, Any] = {}

        def look(session: Any) -> None:
            found.update({key: session[key] for key in list(session.keys()) if not key.startswith("_")})

        self.request(look)
        return found


def beaker() -> Subject:
    site = Site("beaker.session")
    return Subject(Beaker(site, {"session.type": "memory"}), site, lambda session: session.delete())


def flask_session() -> Subject:
    import flask_session as library
    from cachelib import SimpleCache

    app = flask.Flask(__name__)
    app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=SimpleCache())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.Session(app)
    site = Site("")

    @app.get("/")
    def home() -> str:
        site.act(flask.session)
        return ""

    return Subject(app, site, lambda session: session.clear())


def ours() -> Subject:
    site = Site("session_middleware.session")
    return Subject(SessionMiddleware(site, MemoryStore()), site, lambda session: session.invalidate())


def put(**values: Any) -> Act:
    def act(session: Any) -> None:
        session.update(values)
        if hasattr(session, "save"):
            session.save()  # Beaker's is to be called

    return act


SUBJECTS = {"Beaker": beaker, "Flask-Session": flask_session, "here": ours}


def row(title: str) -> dict[str, str]:
    """Return what the page says in a row, by library."""
    names, found = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines()
        if line.startswith(("| | Beaker", f"| {title} |"))
    )
    return dict(zip(names[1:], found[1:], strict=True))


@pytest.fixture(params=sorted(SUBJECTS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def subject(name: str) -> Subject:
    """A library, and a session in it."""
    found = SUBJECTS[name]()
    found.request(put(user="alice"))
    assert found.seen() == {"user": "alice"}
    return found


def during(subject: Subject, then: Act, inner: Act) -> None:
    """Let a request load the session, another one come and go, and the first one go on."""

    def act(session: Any) -> None:
        session.get("user")
        subject.request(inner)
        then(session)

    subject.request(act)


def test_two_requests_set_different_keys(name: str, subject: Subject) -> None:
    """Each after both have loaded the session."""
    during(subject, put(first="1"), put(second="2"))
    kept = len(subject.seen()) == 3

    assert row("two requests at once set different keys")[name] == ("both are kept" if kept else "one is lost")


def test_a_request_that_only_reads(name: str, subject: Subject) -> None:
    """Beside one that writes."""
    during(subject, lambda session: session.get("user"), put(second="2"))
    kept = "second" in subject.seen()

    assert row("a request that only reads, beside one that writes")[name] == ("the write is " + ("kept" if kept else "lost"))


def test_a_request_writes_after_a_logout(name: str, subject: Subject) -> None:
    """It had loaded the session before."""
    during(subject, put(first="1"), subject.end)
    is_back = subject.seen().get("user") == "alice"

    said = row("a request that is running writes after a logout")[name].partition(";")[0]
    assert said == ("the session is back" if is_back else "it stays ended")


def test_an_id_that_the_visitor_made_up(name: str, subject: Subject) -> None:
    """Whether a second visitor with the same made-up cookie is in the session of the first."""
    cookie, _, value = subject.cookies.partition("=")
    subject.cookies = f"{cookie}={'b' * len(value)}"
    subject.request(put(user="mallory"))
    adopted = subject.seen() == {"user": "mallory"}

    assert (row("an id that the visitor made up")[name] == "becomes a session") is adopted


def test_a_change_inside_of_a_list(name: str, subject: Subject) -> None:
    """Of which nobody has told the library."""
    subject.request(put(cart=["tea"]))
    subject.request(lambda session: session["cart"].append("milk"))
    is_kept = subject.seen()["cart"] == ["tea", "milk"]

    assert row("a change inside of a list or a dictionary")[name].startswith("is stored") is is_kept


def test_the_cookie_by_default(name: str, subject: Subject) -> None:
    """Whether scripts can read it."""
    has_it = "httponly" in subject.first.lower()

    assert row("the cookie by default")[name].startswith("`HttpOnly`") is has_it


def test_the_session_of_flask_session_is_meant() -> None:
    """Not Flask's own."""
    assert issubclass(flask_session().served.session_interface.session_class, ServerSideSession)  # type: ignore[attr-defined]


DJANGO = """
import sys, tempfile
from django.conf import settings
settings.configure(SESSION_FILE_PATH=tempfile.mkdtemp(dir="."), SECRET_KEY="k")
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.file import SessionStore

def made(**values):
    session = SessionStore()
    session.update(values)
    session.save()
    return session.session_key

key = made(user="alice")
first, second = SessionStore(key), SessionStore(key)
first["user"], second["user"]
first["first"] = second["second"] = "1"
second.save(); first.save()
assert set(SessionStore(key).keys()) == {"user", "first"}, "different keys"

key = made(user="alice")
running, logout = SessionStore(key), SessionStore(key)
running["user"], logout["user"]
logout.flush()
running["first"] = "1"
try:
    running.save()
except UpdateError:
    pass
else:
    sys.exit("the session is back")
assert not SessionStore(key).exists(key)

unknown = SessionStore("b" * 32)
unknown["user"] = "mallory"
unknown.save()
assert unknown.session_key != "b" * 32, "an id that was made up"

key = made(cart=["tea"])
nested = SessionStore(key)
nested["cart"].append("milk")
assert not nested.modified, "a nested change"
assert settings.SESSION_COOKIE_HTTPONLY and settings.SESSION_COOKIE_SAMESITE == "Lax"
"""


def test_django() -> None:
    """Lost updates, a logout that stays one, an id that was made up, and a change inside of a list."""
    done = subprocess.run([sys.executable, "-c", DJANGO], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert row("two requests at once set different keys")["Django"] == "one is lost"
    assert row("a request that is running writes after a logout")["Django"] == "it stays ended; the request is a 400"
    assert row("an id that the visitor made up")["Django"] == "gets another id"
    assert row("a change inside of a list or a dictionary")["Django"] == "is lost without `modified = True`"
