"""Who is told, when, and what comes of an observer that fails."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from session_middleware import (
    ConfigurationError,
    MemoryStore,
    Session,
    SessionManager,
    SessionMiddleware,
    StoreUnavailable,
    get_session,
)
from session_middleware.events import Asked, Created, Ended, Event, StoreFailed, TooManyCookies
from session_middleware.testing import FakeClock, FaultyStore
from session_middleware.testing.applications import kept_in
from session_middleware.tokens import Token
from tests.apps import Gateway, an_environ, visit
from tests.observers.notes import USER, Notes, begin, request


def write(session: Session) -> None:
    session["b"] = 2


def site(store: Any, observer: Any, **options: Any) -> SessionMiddleware:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        session = get_session(environ)
        if environ["PATH_INFO"] == "/out":
            session.invalidate()
        elif environ["PATH_INFO"] != "/read":
            session["path"] = environ["PATH_INFO"]
        else:
            session.get("path")
        start_response("200 OK", [])
        return [b"mine"]

    return SessionMiddleware(app, store, observer=observer, **options)


class Broken:
    """An observer that fails at each event."""

    def on(self, event: Event) -> None:
        raise RuntimeError("no")


def test_without_an_observer_nothing_of_this_is_imported() -> None:
    """Nor is the store wrapped, so that no call is made that was not made before."""
    program = """
import sys
from session_middleware import MemoryStore, SessionMiddleware, get_session
def app(environ, start_response):
    get_session(environ)["a"] = 1
    start_response("200 OK", [])
    return []
store = MemoryStore()
middleware = SessionMiddleware(app, store)
environ = {"REQUEST_METHOD": "GET", "wsgi.url_scheme": "http", "HTTP_COOKIE": "; ".join(
    f"session={number:040}" for number in range(20))}
assert list(middleware(environ, lambda *arguments: None)) == []
names = ("events", "telling", "stores.around", "observers")
print([name for name in sys.modules if name.removeprefix("session_middleware.") in names])
print(middleware.manager._asked is store and middleware.manager._sessions._store is store)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout == "[]\nTrue\n"


def test_the_store_is_asked_no_more_often_with_an_observer(clock: FakeClock) -> None:
    """What is told has been asked for anyway; but for a session whose time is over, which is removed."""
    calls = []
    for observer in (None, Notes()):
        store = FaultyStore(MemoryStore())
        manager = SessionManager(store, observer=observer)
        token = begin(manager, USER)
        request(manager, write, token)
        request(manager, lambda session: session.regenerate(), token)
        manager.revoke_all(USER)
        calls.append([verb for verb, _ in store.calls])

    assert calls[0] == calls[1]


def test_several_are_told_in_their_order() -> None:
    """One that fails keeps nothing from the others."""
    first, last = Notes(), Notes()
    begin(SessionManager(MemoryStore(), observer=(first, Broken(), last)))

    assert first.events == last.events
    assert "Created" in first.names


def test_an_iterator_of_observers_is_taken_once() -> None:
    notes = [Notes(), Notes()]
    begin(SessionManager(MemoryStore(), observer=iter(notes)))

    assert all("Created" in one.names for one in notes)


def test_an_observer_that_is_a_list_of_its_events_is_one_observer() -> None:
    """Such as a list with a method, or a mock, which can be iterated over."""

    class Kept(list[Event]):
        def on(self, event: Event) -> None:
            self.append(event)

    kept = Kept()
    begin(SessionManager(MemoryStore(), observer=kept))

    assert [event.name for event in kept if not isinstance(event, Asked)] == ["Created", "SweepDone"]


@pytest.mark.parametrize("observer", [Notes, "Notes", 5, [Notes(), None], print, [Notes]])
def test_what_is_no_observer_is_refused_at_the_start(observer: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^observer=.*: write an object with a method on\(event\), or several$"):
        SessionManager(MemoryStore(), observer=observer)
    with pytest.raises(ConfigurationError, match="observer"):
        site(MemoryStore(), observer)


def test_an_observer_that_fails_changes_no_response(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is logged, with the traceback, once a minute."""
    now = 1000.0
    monkeypatch.setattr("session_middleware.telling.steady_clock", lambda: now)
    application = site(MemoryStore(), Broken())
    first = visit(application, "/a")
    again = visit(application, "/b", cookie=first.cookie)

    assert (first.status, first.body, again.status) == ("200 OK", b"mine", "200 OK")
    lines = [record for record in caplog.records if "observer" in record.getMessage()]
    assert [record.levelno for record in lines] == [logging.ERROR]
    assert lines[0].getMessage() == "an observer failed at Asked, and nobody else notices: RuntimeError"
    assert lines[0].exc_info is not None

    now += 60
    visit(application, "/c", cookie=first.cookie)
    assert len([record for record in caplog.records if "observer" in record.getMessage()]) == 2


def test_an_event_comes_after_the_answer_of_the_store_and_before_the_response(clock: FakeClock) -> None:
    """Whoever reads the store at an event finds what it tells of; the response waits for the observer."""
    order: list[str] = []
    store = FaultyStore(MemoryStore())

    class Looks:
        def on(self, event: Event) -> None:
            if isinstance(event, Created):
                assert event.session_id is not None
                order.append("Created, there" if store.inner.load(event.session_id) else "Created, not there")
            if isinstance(event, Ended):
                assert event.session_id is not None
                order.append("Ended, there" if store.inner.load(event.session_id) else "Ended, not there")

    application = site(store, Looks())
    gateway = Gateway(on_start=lambda: order.append("response")).run(application, an_environ("/a"))
    Gateway(on_start=lambda: order.append("response")).run(application, an_environ("/out", cookie=gateway.cookie))

    assert order == ["Created, there", "response", "Ended, not there", "response"]


def test_too_many_cookies_are_told_of_each_time() -> None:
    """The log has a line a minute; an observer counts them all. Eight are looked at, and are none too many."""
    notes = Notes()
    application = site(MemoryStore(), notes, check_store=False)
    for count in (8, 9, 20):
        visit(application, "/read", cookie="; ".join(f"session={number:040}" for number in range(count)))

    assert [event.count for event in notes.of(TooManyCookies)] == [9, 20]


def test_a_failing_store_is_told_of_before_the_503() -> None:
    """With what it said, which holds nothing secret."""
    notes, store = Notes(), FaultyStore(MemoryStore())
    application = site(store, notes)
    store.fail("load")
    order: list[str] = []
    gateway = Gateway(on_start=lambda: order.extend(event.error for event in notes.of(StoreFailed)))
    gateway.run(application, an_environ("/a", cookie=f"session={'a' * 40}"))

    assert gateway.status.startswith("503")
    assert len(order) == 1


class TestAsked:
    """Each call of the store is told of, with its time and what came of it."""

    def test_a_call_is_told_of(self, manager: SessionManager, notes: Notes, faulty: FaultyStore) -> None:
        token = begin(manager, USER)
        request(manager, write, token)

        assert [(event.verb, event.session_id or "") for event in notes.of(Asked)] == [
            (verb, key) for verb, key in faulty.calls
        ]
        assert all(event.seconds >= 0 for event in notes.of(Asked))

    def test_what_came_of_it_is_told(self, manager: SessionManager, notes: Notes, faulty: FaultyStore) -> None:
        """Done; absent, where there was nothing; failed."""
        token = begin(manager)
        notes.clear()
        request(manager, lambda session: session.get("a"), token)
        request(manager, lambda session: session.get("a"), Token.new())
        faulty.fail("load")
        with pytest.raises(StoreUnavailable):
            request(manager, lambda session: session.get("a"), token)
        manager.sweep()

        assert [(event.verb, event.outcome) for event in notes.of(Asked)] == [
            ("load", "done"),
            ("load", "absent"),
            ("load", "failed"),
            ("sweep", "done"),
        ]

    def test_a_store_that_is_tried_at_the_start_is_told_of(self, tmp_path: Any) -> None:
        notes = Notes()
        SessionManager(f"sqlite:///{tmp_path}/s.sqlite3", observer=notes).check_store()

        assert [(event.verb, event.outcome) for event in notes.of(Asked)] == [("open", "done")]

    def test_a_listing_is_told_of_at_its_end_as_one_call(
        self, manager: SessionManager, notes: Notes, faulty: FaultyStore
    ) -> None:
        """Of a user, with the name of that; what was not read to its end was done; one that fails has failed."""
        for _ in range(3):
            begin(manager, USER)
        notes.clear()
        assert len(manager.sessions_of(USER)) == 3
        assert manager.sessions_of("nobody") == []
        asked = manager._index()
        started: Iterator[str] = asked.keys_of(USER)
        next(started)
        started.close()  # type: ignore[attr-defined]
        faulty.fail("keys_of")
        with pytest.raises(StoreUnavailable):
            manager.sessions_of(USER)
        manager.revoke_everybody()

        assert [
            (event.verb, event.user_id, event.outcome) for event in notes.of(Asked) if event.verb.startswith("keys")
        ] == [
            ("keys_of", USER, "done"),
            ("keys_of", "nobody", "absent"),
            ("keys_of", USER, "done"),
            ("keys_of", USER, "failed"),
            ("keys", None, "done"),
        ]

    def test_a_store_can_do_what_it_could_before(self, manager: SessionManager) -> None:
        """And says what it is."""
        assert repr(manager._asked) == f"AskedStore({manager.store!r})"

    def test_a_store_that_is_put_under_a_site_for_a_test_is_told_of(self, manager: SessionManager, notes: Notes) -> None:
        with kept_in(manager, MemoryStore()):
            begin(manager)

        assert [event.verb for event in notes.of(Asked)] == ["create", "sweep"]
