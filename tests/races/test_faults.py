"""What goes wrong around a session: stores, headers, frameworks, arguments."""

import logging
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import bottle
import flask
import pytest
from webtest import TestApp

from session_middleware import (
    ConfigurationError,
    MemoryStore,
    MsgpackCodec,
    SessionManager,
    SessionMiddleware,
    get_session,
)
from session_middleware.record import Envelope, Kind, Previous, pack, pack_values
from session_middleware.stores.base import Record, Store
from session_middleware.testing import FaultyStore
from tests.backends.running import sizes
from tests.sites import sent


def flask_site() -> Any:
    site = flask.Flask(__name__)

    @site.get("/read")
    def read() -> str:
        return repr(get_session(flask.request.environ).get("a"))

    @site.get("/transact")
    def transact() -> str:
        return repr(get_session(flask.request.environ).transact(lambda data: data.pop("a", None)))

    @site.get("/write")
    def write() -> str:
        get_session(flask.request.environ)["a"] = 1
        return "written"

    return site


def bottle_site() -> Any:
    def read() -> str:
        return repr(get_session(bottle.request.environ).get("a"))

    def transact() -> str:
        return repr(get_session(bottle.request.environ).transact(lambda data: data.pop("a", None)))

    def write() -> str:
        get_session(bottle.request.environ)["a"] = 1
        return "written"

    site = bottle.Bottle()
    for path, callback in (("/read", read), ("/transact", transact), ("/write", write)):
        site.route(path, callback=callback)
    return site


@pytest.mark.parametrize("framework", [flask_site, bottle_site])
@pytest.mark.parametrize(("path", "verb"), [("/read", "load"), ("/transact", "update"), ("/write", "load")])
def test_a_framework_that_makes_its_own_error_page_of_it_answers_503(
    framework: Callable[[], Any], path: str, verb: str, store: Store
) -> None:
    """Promises 6 and 7: the client gets a 503 with Retry-After, and keeps its cookie."""
    faulty = FaultyStore(store)
    browser = TestApp(SessionMiddleware(framework(), faulty))
    browser.get("/write")
    faulty.fail(verb, times=None)
    response = browser.get(path, status=503, expect_errors=True)

    assert response.headers["Retry-After"]
    assert response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers
    faulty.heal()
    assert browser.get("/read").text == "1"


@pytest.mark.parametrize("user_id", [5, None, b"alice", ["alice"]])
def test_a_user_id_is_text_wherever_it_is_asked_for(store: Store, user_id: Any) -> None:
    """The same on every store: sign-in, list and revocation refuse what could not be found again."""
    manager = SessionManager(store)
    for call in (manager.open().login, manager.sessions_of, manager.revoke_all):
        with pytest.raises(TypeError, match=r"write str\(\.\.\.\)"):
            call(user_id)


def test_what_is_no_id_and_no_token_names_no_session(store: Store) -> None:
    """Absence, not an error: ids come from links and forms."""
    manager = SessionManager(store)
    value: Any
    for value in (None, 5, b"x", "", "x" * 40 + "\n"):
        assert manager.revoke(value) is False
        assert manager.open(value).is_new


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"store": "memory"}, "known are"),
        ({"store": None}, "SQLiteStore"),
        ({"store": MemoryStore}, "SQLiteStore"),
        ({"clock": 5}, "time.time"),
        ({"clock": None}, "time.time"),
        ({"namespace": 5}, "a text"),
    ],
)
def test_a_manager_that_could_not_work_is_not_made(arguments: dict[str, Any], hint: str) -> None:
    """Promise 15: the error says what to write instead."""
    with pytest.raises(ConfigurationError, match=hint):
        SessionManager(**{"store": MemoryStore(), **arguments})


@pytest.mark.parametrize("environ_key", ["wsgi.input", ".", "session", "a.", ".a", "", 5])
def test_an_environ_key_that_is_none_of_ours_is_refused(environ_key: Any) -> None:
    """Promises 14 and 15: PEP 3333 wants a dot, and what begins with wsgi. belongs to the server."""
    with pytest.raises(ConfigurationError, match="environ_key"):
        SessionMiddleware(flask_site(), MemoryStore(), environ_key=environ_key)


@pytest.mark.parametrize(
    ("status", "header"),
    [
        ("200 OK", ("X-A", "b\r\nc")),
        ("200 OK", ("X-A\n", "b")),
        ("200 OK", ("Vary", None)),
        ("302 Found", ("Location", "/\u540d")),
        ("200 OK", ("Connection", "close")),
        ("200", ("X-A", "b")),
    ],
)
def test_a_header_that_no_server_would_send_changes_nothing(status: str, header: Any, store: Store) -> None:
    """Promises 6 and 16: the response cannot leave, so neither may the old token die, nor a sign-in be stored."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        session = get_session(environ)
        session["a"] = 1
        headers = [("Content-Type", "text/plain")]
        if environ["PATH_INFO"] == "/bad":
            session.login("alice")
            headers.append(header)
        start_response(status if environ["PATH_INFO"] == "/bad" else "200 OK", headers)
        return [b"done"]

    browser = TestApp(SessionMiddleware(app, store), lint=False)
    browser.get("/")
    token = browser.cookies["session"]
    with pytest.raises(ValueError, match="cannot be sent"):
        browser.get("/bad")

    session = browser.app.manager.open(token)
    assert (session["a"], session.user_id) == (1, None)


def test_a_cookie_cannot_last_longer_than_browsers_keep_one(caplog: pytest.LogCaptureFixture) -> None:
    """K-6: the clamp is said in the log."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        get_session(environ)["a"] = 1
        get_session(environ).set_lifetime(absolute=500 * 86400, persistent=True)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]

    response = TestApp(SessionMiddleware(app, MemoryStore())).get("/")

    assert "Max-Age=34560000" in response.headers["Set-Cookie"]
    assert "400 days" in caplog.text


def test_an_object_that_answers_everything_is_no_text() -> None:
    """Promise 9: a lazy string folds to text; what only pretends to have the method is refused."""

    class Everything:
        def __getattr__(self, name: str) -> Any:
            return lambda *arguments: self

    manager = SessionManager(MemoryStore())
    session = manager.open()
    session["x"] = Everything()
    with pytest.raises(Exception, match=r"session\['x'\]: .*Everything"):
        manager.commit(session)


def damaged(values: Iterable[bytes], store: Store) -> None:
    """Plant each value under a session's key; it must read as no session, and stay as it is."""
    manager = SessionManager(store)
    for value in values:
        session = manager.open()
        session["a"] = 1
        token = sent(manager.commit(session))
        stored = store.load(session.id)
        assert stored is not None
        assert store.update(session.id, Record(value, 2**40, None), version=stored.version)
        opened = manager.open(token)
        assert dict(opened) == {}
        opened["b"] = 2
        fresh = manager.commit(opened)
        assert fresh is not None
        kept = store.load(session.id)
        assert kept is not None
        assert kept.value == value
        store.delete(session.id)


def variants(count: int) -> Iterator[bytes]:
    """Yield values cut short, with a bit flipped, and random ones."""
    chance = random.Random(count)
    previous = (Previous(b"q" * 16, Kind.SIGNED_IN, 1.5), Previous(b"r" * 16, Kind.RENEWED, None))
    values = pack_values({"a": MsgpackCodec().encode([1, {"b": 2}])})
    times = (1.0, 2.0, 3.0, 3600.0, 86400.0)
    envelope = Envelope("alice", *times, True, 1, (b"p" * 16,), 2.0, previous, "m" * 12, values)
    whole = pack(envelope, values)
    for number in range(count):
        match number % 3:
            case 0:
                yield whole[: chance.randrange(len(whole))]
            case 1:
                flipped = bytearray(whole)
                flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
                yield bytes(flipped)
            case _:
                yield chance.randbytes(chance.randrange(200))


@sizes("count", 1_500, 100_000, served=25_000)
def test_a_damaged_record_is_a_fresh_session_on_every_store(
    store: Store, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 10: no exception, no overwriting in place."""
    monkeypatch.setattr(logging.getLogger("session_middleware"), "disabled", True)
    damaged(variants(count), store)
