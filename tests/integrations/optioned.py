"""A site on each integration that has been given one option, and on which ``/act/login`` signs alice in."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.integrations import bottle_site, pyramid_site  # they configure Django

# isort: split

from bottle import Bottle
from flask import Flask

from session_middleware import MemoryStore, SessionMiddleware, get_session
from session_middleware.integrations.beaker import BeakerMiddleware
from session_middleware.integrations.bottle import SessionPlugin
from session_middleware.integrations.flask import Sessions, session


class Option(NamedTuple):
    """An option, and the text that names its value in an ini file."""

    name: str
    value: Any
    text: str


def plain(environ: Any, start_response: Any) -> list[bytes]:
    environ.get("beaker.session", get_session(environ)).login("alice")
    start_response("200 OK", [])
    return [b""]


def a_flask() -> Any:
    app = Flask(__name__)

    @app.get("/act/login")
    def login() -> str:
        session.login("alice")
        return ""

    return app


def in_wsgi(store: MemoryStore, option: Option) -> Any:
    return SessionMiddleware(plain, store, **{option.name: option.value})


def in_flask(store: MemoryStore, option: Option) -> Any:
    app = a_flask()
    Sessions(app, store, **{option.name: option.value})
    return app


def in_flask_later(store: MemoryStore, option: Option) -> Any:
    app = a_flask()
    Sessions().init_app(app, store, **{option.name: option.value})
    return app


def in_bottle(store: MemoryStore, option: Option) -> Any:
    app = Bottle()
    app.install(SessionPlugin(store, **{option.name: option.value}))
    bottle_site.add_routes(app)
    return app


def in_pyramid(store: MemoryStore, option: Option) -> Any:
    return pyramid_site.make(store, **{f"session_middleware.{option.name}": option.value})


def in_ini_of_pyramid(store: MemoryStore, option: Option) -> Any:
    return pyramid_site.make(store, **{f"session_middleware.{option.name}": option.text})


def in_beaker(store: MemoryStore, option: Option) -> Any:
    given: dict[str, Any] = {option.name: option.value}
    return BeakerMiddleware.from_config(plain, {"session.key": "session"}, store=store, carry_over=False, **given)


EVERYWHERE: list[Callable[[MemoryStore, Option], Any]] = [
    in_wsgi,
    in_flask,
    in_flask_later,
    in_bottle,
    in_pyramid,
    in_ini_of_pyramid,
    in_beaker,
]
