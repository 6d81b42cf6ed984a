"""This project: under plain WSGI, Flask, Django and Pyramid, with its defaults."""

import time
from typing import Any

from benchmarks.peers.adapters import frameworks
from benchmarks.peers.application import Ways
from benchmarks.peers.contenders import Made, Place
from session_middleware import SessionManager, SessionMiddleware, get_session


def url(store: str, place: Place) -> str:
    return {
        "memory": "memory:",
        "SQLite": f"sqlite:///{place.sqlite_path}",
        "Redis": place.redis_url,
        "PostgreSQL": place.postgresql_url,
    }[store]


def _sign_in(session: Any) -> None:
    session.login("alice")
    session["user"] = "alice"


def _count(session: Any, wait: float) -> None:
    def change(values: Any) -> None:
        number = values.get("n", 0)
        time.sleep(wait)
        values["n"] = number + 1

    session.transact(change)


WAYS = Ways(_sign_in, lambda session: session.invalidate(), increment=_count)


def make(store: str, place: Place, options: dict[str, Any]) -> Made:
    made, without, manager = _MAKE[options["framework"]](url(store, place))

    def clean() -> None:
        while manager.sweep(1000):
            pass

    return Made(made, without, clean if store in ("SQLite", "PostgreSQL") else None)


def _wsgi(where: str) -> tuple[Any, Any, SessionManager]:
    wrapped = SessionMiddleware(frameworks.plain(get_session, WAYS), where)
    return wrapped, frameworks.plain(lambda environ: {}), wrapped.manager


def _flask(where: str) -> tuple[Any, Any, SessionManager]:
    from session_middleware.integrations.flask import Sessions

    app = frameworks.on_flask(WAYS)
    return app, frameworks.without_flask(), Sessions(app, where).manager


def _django(where: str) -> tuple[Any, Any, SessionManager]:
    from session_middleware.integrations.django import manager

    settings = {"SESSION_ENGINE": "session_middleware.integrations.django", "SESSION_MIDDLEWARE": {"store": where}}
    middleware = "session_middleware.integrations.django.SessionMiddleware"
    return *frameworks.on_django(WAYS, middleware, **settings), manager()


def _pyramid(where: str) -> tuple[Any, Any, SessionManager]:
    from pyramid.config import Configurator

    from session_middleware.integrations.pyramid import manager_of

    config = Configurator(settings={"session_middleware.store": where})
    config.include("session_middleware.integrations.pyramid")
    app = frameworks.on_pyramid(config, WAYS)
    return app, frameworks.without_pyramid(), manager_of(config)


_MAKE = {"WSGI": _wsgi, "Flask": _flask, "Django": _django, "Pyramid": _pyramid}
