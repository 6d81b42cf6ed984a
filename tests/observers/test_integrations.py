"""Every integration hands its observers on."""

import sys
from types import ModuleType
from typing import Any

import pytest
from bottle import Bottle
from flask import Flask

from session_middleware import ConfigurationError, MemoryStore, SessionMiddleware, get_session
from session_middleware.integrations.beaker import BeakerMiddleware
from session_middleware.integrations.bottle import SessionPlugin
from session_middleware.integrations.flask import Sessions, session
from tests.apps import visit
from tests.integrations import bottle_site, pyramid_site
from tests.observers.notes import Notes

MANY = "; ".join(f"session={number:040}" for number in range(20))


def plain(environ: Any, start_response: Any) -> list[bytes]:
    get_session(environ)["a"] = 1
    start_response("200 OK", [])
    return [b""]


def in_wsgi(notes: Notes) -> Any:
    return SessionMiddleware(plain, MemoryStore(), observer=notes)


def in_flask(notes: Notes) -> Any:
    app = Flask(__name__)
    Sessions(app, MemoryStore(), observer=notes)
    return _with_flask_routes(app)


def in_flask_later(notes: Notes) -> Any:
    app = Flask(__name__)
    Sessions().init_app(app, MemoryStore(), observer=[notes])
    return _with_flask_routes(app)


def _with_flask_routes(app: Flask) -> Flask:
    app.add_url_rule("/act/put", view_func=lambda: session.update(a=1) or "")
    return app


def in_bottle(notes: Notes) -> Any:
    app = Bottle()
    app.install(SessionPlugin(MemoryStore(), observer=notes))
    bottle_site.add_routes(app)
    return app


def in_pyramid(notes: Notes) -> Any:
    return pyramid_site.make(MemoryStore(), **{"session_middleware.observer": notes})


def in_beaker(notes: Notes) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        environ["beaker.session"]["a"] = 1
        start_response("200 OK", [])
        return [b""]

    return BeakerMiddleware.from_config(
        app, {"session.key": "session"}, store=MemoryStore(), observer=notes, carry_over=False
    )


def in_ini(notes: Notes) -> Any:
    module = ModuleType("a_shop")
    module.observer = notes  # type: ignore[attr-defined]
    sys.modules["a_shop"] = module
    try:
        return SessionMiddleware.from_config(plain, {"session.store": "memory:", "session.observer": "a_shop:observer"})
    finally:
        del sys.modules["a_shop"]


def in_ini_of_pyramid(notes: Notes) -> Any:
    module = ModuleType("a_shop")
    module.observer = notes  # type: ignore[attr-defined]
    sys.modules["a_shop"] = module
    try:
        return pyramid_site.make("memory:", **{"session_middleware.observer": "a_shop:observer"})
    finally:
        del sys.modules["a_shop"]


@pytest.mark.parametrize(
    "make",
    [in_wsgi, in_flask, in_flask_later, in_bottle, in_pyramid, in_beaker, in_ini, in_ini_of_pyramid],
)
def test_an_observer_is_told_through_each_integration(make: Any) -> None:
    """Of the session that the request has made, and of the cookies that it has brought."""
    notes = Notes()
    visit(make(notes), "/act/put", cookie=MANY, QUERY_STRING="key=a&value=1")

    assert [name for name in notes.names if name != "SweepDone"] == ["TooManyCookies", "Created"]


def test_an_observer_in_an_ini_file_must_be_one() -> None:
    """What the name stands for, or that there is nothing of that name."""
    for name, said in (("session_middleware:SessionMiddleware", "on\\(event\\)"), ("nowhere:observer", "the name of an")):
        with pytest.raises(ConfigurationError, match=said):
            SessionMiddleware.from_config(plain, {"session.store": "memory:", "session.observer": name})
