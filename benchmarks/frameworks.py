"""Flask and Django with no session, with that of the environ, and with their own session objects on ours."""

import secrets
from collections.abc import Callable, Iterable
from typing import Any

import django
import flask
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test.utils import override_settings
from django.urls import path

from benchmarks.applications import Application, data
from session_middleware import MemoryStore, Send, SessionManager, SessionMiddleware, get_session
from session_middleware.integrations.django import manager as django_manager
from session_middleware.integrations.flask import Sessions

View = Callable[[dict[str, Any], Any], object]

PATHS = ("/none", "/environ/read", "/environ/write", "/own/read", "/own/write")


def nothing(environ: dict[str, Any], session: Any) -> None: ...


def reads(environ: dict[str, Any], session: Any) -> None:
    session["user"]


def writes(environ: dict[str, Any], session: Any) -> None:
    session["visits"] += 1


def _of_environ(act: View) -> View:
    return lambda environ, session: act(environ, get_session(environ))


_VIEWS: dict[str, View] = {
    "/none": nothing,
    "/environ/read": _of_environ(reads),
    "/environ/write": _of_environ(writes),
    "/own/read": reads,
    "/own/write": writes,
}


def _to_the_end(application: Any) -> Application:
    def whole(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        blocks = application(environ, start_response)
        body = b"".join(blocks)
        if hasattr(blocks, "close"):
            blocks.close()
        return [body]

    return whole


def _token(manager: SessionManager) -> str:
    session = manager.open()
    session.update(data(1))
    verdict = manager.commit(session)
    assert isinstance(verdict, Send)
    return verdict.token.reveal()


def frameworks() -> dict[str, tuple[Application, str, str]]:
    """Return applications by name, each with a path to ask for and the token of a session."""
    found: dict[str, tuple[Application, str, str]] = {}
    for framework, make in (("flask", _flask_apps), ("django", _django_apps)):
        bare, wrapped, own = make()
        for kind, (application, manager) in (("bare", bare), ("environ", wrapped), ("own", own)):
            token = "" if manager is None else _token(manager)
            for name in ("none", "read", "write"):
                where = "/none" if name == "none" else f"/{kind}/{name}"
                if where in PATHS:
                    found[f"{framework}-{kind} {name}"] = (_to_the_end(application), where, token)
    return found


def _flask_apps() -> Iterable[tuple[Any, SessionManager | None]]:
    def an_app() -> Any:
        app = flask.Flask(__name__)
        for where, act in _VIEWS.items():
            app.add_url_rule(where, where, _flask_view(act))
        return app

    wrapped, own = SessionMiddleware(an_app(), MemoryStore()), an_app()
    sessions = Sessions(own, MemoryStore())
    return (an_app(), None), (wrapped, wrapped.manager), (own, sessions.manager)


def _flask_view(act: View) -> Callable[[], str]:
    def view() -> str:
        act(flask.request.environ, flask.session)
        return "done"

    return view


def _django_apps() -> Iterable[tuple[Any, SessionManager | None]]:
    settings.configure(
        ALLOWED_HOSTS=["localhost"],
        ROOT_URLCONF=__name__,
        SECRET_KEY=secrets.token_urlsafe(),
        SESSION_COOKIE_NAME="session",
        SESSION_ENGINE="session_middleware.integrations.django",
        SESSION_MIDDLEWARE={"store": MemoryStore()},
    )
    django.setup()
    bare = WSGIHandler()
    wrapped = SessionMiddleware(WSGIHandler(), MemoryStore())
    with override_settings(MIDDLEWARE=["session_middleware.integrations.django.SessionMiddleware"]):
        own = WSGIHandler()
    return (bare, None), (wrapped, wrapped.manager), (own, django_manager())


def _django_view(act: View) -> Callable[[Any], HttpResponse]:
    def view(request: Any) -> HttpResponse:
        act(request.environ, getattr(request, "session", None))
        return HttpResponse("done")

    return view


urlpatterns = [path(where.removeprefix("/"), _django_view(act)) for where, act in _VIEWS.items()]
