"""What reporters of errors show, which add the locals of every frame: Django's mail to the admins, and Sentry's event."""

import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NoReturn
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware
from sentry_sdk.transport import Transport

import tests.integrations.django_site  # noqa: F401  # it configures Django; the cookie's name is a setting
from session_middleware import (
    MemoryStore,
    PayloadError,
    Session,
    SessionError,
    SessionMiddleware,
    SessionTooLarge,
    SQLiteStore,
    StoreUnavailable,
    get_session,
)
from session_middleware.testing import FaultyStore
from tests.apps import Gateway, Headers, an_environ, list_app, visit
from tests.secrecy import Secrets, locals_of_ours

Act = Callable[[Session], object]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FaultyStore]:
    """A store of each kind that can be told to fail."""
    if request.param == "memory":
        yield FaultyStore(MemoryStore())
        return
    sqlite = SQLiteStore(tmp_path / "sessions.sqlite3")
    yield FaultyStore(sqlite)
    sqlite.close()


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


@pytest.fixture
def cookie(store: FaultyStore, secrets: Secrets) -> str:
    """The Cookie header of a session that is signed in."""

    def sign_in(environ: WSGIEnvironment) -> None:
        get_session(environ).update(cart=["tea"])
        get_session(environ).login("alice")

    response = visit(SessionMiddleware(list_app(sign_in), store))
    secrets.add(response.token)
    return response.cookie


def fails(session: Session) -> NoReturn:
    raise LookupError(f"{session!r} {session['cart']}")


def regenerates_and_fails(session: Session) -> NoReturn:
    session.regenerate()
    fails(session)


def signs_in_and_fails(session: Session) -> NoReturn:
    session.login("bob")
    session["a"] = 1
    fails(session)


def sign_in_and_transact(session: Session) -> None:
    session.login("alice")
    session.transact(lambda data: data.update(a=1))


def transacts_and_fails(session: Session) -> NoReturn:
    sign_in_and_transact(session)
    fails(session)


FAILING: list[Act] = [fails, regenerates_and_fails, signs_in_and_fails, transacts_and_fails]

USING: list[Act] = [
    lambda session: session["cart"].append("pen"),
    Session.regenerate,
    Session.invalidate,
    lambda session: session.login("alice"),
    lambda session: session.login("bob"),
    sign_in_and_transact,
    lambda session: session.set_lifetime(persistent=True),
]


def every_failure(store: FaultyStore) -> Iterator[Act]:
    """Yield what fails, with the store failing at every call in turn, in the frames of whoever called it."""
    yield from FAILING
    for act in USING:
        for at in range(1, 6):
            store.fail(at=at)
            yield act
            store.heal()


class TestDjango:
    @pytest.fixture(autouse=True)
    def _mail(self) -> Iterator[None]:
        from django import VERSION
        from django.core import mail
        from django.test import override_settings

        backend = "django.core.mail.backends.locmem.EmailBackend"
        told: dict[str, Any] = {"EMAIL_BACKEND": backend, "ADMINS": [("admin", "admin@example.com")]}
        if VERSION >= (6, 1):
            told = {"MAILERS": {"default": {"BACKEND": backend}}, "ADMINS": ["admin@example.com"]}
        with override_settings(DEBUG=False, **told):
            mail.outbox = []
            yield
            del mail.outbox

    def test_the_mail_to_the_admins_has_no_secret(self, store: FaultyStore, secrets: Secrets, cookie: str) -> None:
        """Promise 11: with the request, its cookies and META, and the locals of every frame; as text and as HTML."""
        from django.core import mail
        from django.core.handlers.wsgi import WSGIRequest
        from django.utils.log import AdminEmailHandler

        logger = logging.getLogger("tests.error_reports")
        handler = AdminEmailHandler(include_html=True)
        logger.addHandler(handler)

        def handle(request: Any, act: Act) -> None:
            """Do what Django does with an exception of a view or of a middleware."""
            try:
                act(get_session(request.environ))
            except Exception:
                extra = {"request": request, "status_code": 500}
                logger.error("Internal Server Error: %s", request.path, exc_info=True, extra=extra)

        sent = 0
        for act in every_failure(store):

            def app(environ: WSGIEnvironment, start_response: StartResponse, act: Act = act) -> Iterable[bytes]:
                handle(WSGIRequest(environ), act)
                start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
                return [b"sorry"]

            for name, value in visit(SessionMiddleware(app, store), cookie=cookie).headers:
                if name == "Set-Cookie" and "=;" not in value:
                    secrets.add(value.partition("=")[2].partition(";")[0])
                    cookie = value.partition(";")[0]
        logger.removeHandler(handler)
        for message in mail.outbox:
            sent += 1
            html = message.alternatives[0][0]
            assert secrets.found_in(message.subject) == []
            assert secrets.found_in(message.body) == []
            assert secrets.found_in(html) == []
            assert "session_middleware.session" in message.body
        assert sent > 10
        assert len(secrets.all) > 1


class Kept(Transport):
    """Keeps the events that would be sent."""

    events: ClassVar[list[Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        if event := envelope.get_event():
            self.events.append(event)


@pytest.fixture
def events() -> Iterator[list[Any]]:
    """Sentry's events, as its WSGI middleware makes them; nothing but the client is installed."""
    Kept.events = []
    scope = sentry_sdk.get_global_scope()
    client = sentry_sdk.Client(
        dsn="https://public@example.invalid/1",
        transport=Kept,
        default_integrations=False,
        include_local_variables=True,
        max_request_body_size="always",
    )
    scope.set_client(client)
    yield Kept.events
    scope.set_client(None)
    client.close()


def with_cookie(cookie: str) -> dict[str, Any]:
    """Return an environ whose first entry is the cookie: of a large dict only the first are shown."""
    return {"HTTP_COOKIE": cookie, **an_environ()}


def framed(act: Act, shape: str) -> WSGIApplication:
    """Return an application that acts on its session in a function that knows nothing of WSGI, as frameworks do."""

    def listed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        act(get_session(environ))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"block"]

    def streamed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        session = get_session(environ)
        del environ
        return blocks(session)

    def blocks(session: Session) -> Iterator[bytes]:
        act(session)
        yield b"block"

    return listed if shape == "list" else streamed


def shown_by_us(event: Any) -> str:
    """Return an event without what frames of others show of the environ, which has the cookie by its nature."""
    for exception in event.get("exception", {}).get("values", []):
        for frame in exception["stacktrace"]["frames"]:
            ours = (frame.get("module") or "").startswith("session_middleware.")
            if not ours or frame["function"] == "__call__":
                frame.get("vars", {}).pop("environ", None)
    return json.dumps(event, default=repr)


class TestSentry:
    @pytest.mark.parametrize("shape", ["list", "stream"])
    def test_an_event_of_a_failing_application_has_no_secret(
        self, store: FaultyStore, secrets: Secrets, cookie: str, events: list[Any], shape: str
    ) -> None:
        """Promise 11: whatever it did to its session before, and wherever the store failed under it."""
        for act in every_failure(store):

            def reporting(session: Session, act: Act = act) -> None:
                try:
                    act(session)
                except SessionError as error:
                    sentry_sdk.capture_exception(error)
                    raise

            application = SentryWsgiMiddleware(SessionMiddleware(framed(reporting, shape), store))
            gateway = Gateway()
            with suppress(LookupError):
                gateway.run(application, with_cookie(cookie))
            for set_cookie in gateway.set_cookies:
                if "=;" not in set_cookie:
                    secrets.add(set_cookie.partition("=")[2].partition(";")[0])
                    cookie = set_cookie.partition(";")[0]
        assert len(events) > 10
        assert any("frames" in json.dumps(event, default=repr) for event in events)
        for event in events:
            assert secrets.found_in(shown_by_us(event)) == []

    @pytest.mark.parametrize("shape", ["list", "stream"])
    @pytest.mark.parametrize(
        ("value", "error"), [(object(), PayloadError), ("x" * 300_000, SessionTooLarge)], ids=["unsupported", "large"]
    )
    def test_an_event_of_a_commit_that_fails_has_no_secret(
        self, store: FaultyStore, secrets: Secrets, cookie: str, events: list[Any], shape: str, value: object, error: Any
    ) -> None:
        """Promise 11: no frame in it is the application's, and the environ is not in any of ours."""

        def act(session: Session) -> None:
            session.regenerate()
            session["a"] = value

        application = SentryWsgiMiddleware(SessionMiddleware(framed(act, shape), store))
        with pytest.raises(error):
            Gateway().run(application, with_cookie(cookie))
        (event,) = events

        assert any("session_middleware" in (frame["module"] or "") for frame in frames(event))
        assert secrets.found_in(json.dumps(event, default=repr)) == []

    @pytest.mark.parametrize("shape", ["list", "stream"])
    def test_an_event_of_a_server_that_refuses_the_headers_has_no_secret(
        self, store: FaultyStore, secrets: Secrets, cookie: str, events: list[Any], shape: str
    ) -> None:
        """Promise 11: the new cookie is among these headers, and no local of ours has them."""

        def refuse(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            (set_cookie,) = [value for name, value in headers if name == "Set-Cookie"]
            secrets.add(set_cookie.partition("=")[2].partition(";")[0])
            del status, headers, set_cookie
            raise OSError("the client has gone")

        application = SentryWsgiMiddleware(SessionMiddleware(framed(Session.regenerate, shape), store))
        with pytest.raises(OSError, match="the client has gone"):
            list(application(with_cookie(cookie), refuse))
        (event,) = events

        assert len(secrets.all) == 2
        assert any(frame["function"] == "_pass_on" for frame in frames(event))
        assert secrets.found_in(json.dumps(event, default=repr)) == []


def frames(event: Any) -> list[Any]:
    return [frame for exception in event["exception"]["values"] for frame in exception["stacktrace"]["frames"]]


class TestTracebacks:
    @pytest.mark.parametrize("act", USING)
    def test_a_traceback_with_locals_has_no_secret(self, store: FaultyStore, secrets: Secrets, act: Act) -> None:
        """Promise 11: of a store that fails at every call, from inside the frames of this package."""
        application = SessionMiddleware(list_app(lambda environ: None), store)
        manager, shown = application.manager, list[str]()
        for at in range(1, 8):
            session = manager.open()
            session["cart"] = ["tea"]
            session.login("alice")
            verdict: Any = manager.commit(session)
            secrets.add(verdict.token.reveal())
            store.fail(at=at)
            session = manager.open(verdict.token)
            try:
                act(session)
                verdict = manager.commit(session)
            except StoreUnavailable as error:
                shown += locals_of_ours(error)
            else:
                if token := getattr(verdict, "token", None):
                    secrets.add(token.reveal()) if token.reveal() not in secrets.all else None
            store.heal()
        assert any("around: call" in line for line in shown)
        assert secrets.found_in("\n".join(shown)) == []

    def test_the_search_would_find_one(self, secrets: Secrets) -> None:
        """Without this the tests above would show nothing."""
        secrets.add("A" * 12 + "sEcReT-sEcReT-sEcReT-sEcReT_")
        header = f"session={secrets.all[0]}"
        try:
            raise LookupError
        except LookupError:
            shown = "".join(traceback.TracebackException(*sys.exc_info(), capture_locals=True).format())

        assert header in shown
        assert secrets.found_in(shown)
