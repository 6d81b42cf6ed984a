"""How sessions are set up for a Flask application, and what cannot work is refused or told of."""

import inspect
import sys
import warnings
from importlib import reload
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import flask
import flask_session
import pytest
from cachelib import SimpleCache
from flask import Flask
from flask.sessions import SessionInterface
from webtest import TestApp
from werkzeug.middleware.proxy_fix import ProxyFix

import session_middleware.integrations.flask
from session_middleware import (
    ConfigurationError,
    CookiePolicy,
    JSONCodec,
    Lifetime,
    MemoryStore,
    SessionMiddleware,
    get_session,
)
from session_middleware.integrations.flask import FlaskSessions, Sessions, session
from session_middleware.testing import FakeClock, FaultyStore
from tests.apps import visit
from tests.integrations.flask.serving import manager_of, serve, verbs


class TestSetup:
    def test_it_is_one_line_either_way(self, kept: FaultyStore) -> None:
        """``Sessions(app, store)`` and ``Sessions(store=...).init_app(app)`` and ``Sessions().init_app(app, store)``."""
        apps = [Flask(__name__) for _ in range(3)]
        Sessions(apps[0], kept)
        Sessions(store=kept).init_app(apps[1])
        Sessions().init_app(apps[2], kept)
        for app in apps:
            assert manager_of(app).store is kept
            assert isinstance(app.wsgi_app, SessionMiddleware)
            assert isinstance(app.session_interface, FlaskSessions)

    def test_without_a_store_it_is_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """``./sessions.sqlite3``; ``None`` is no store, for it comes of a setting that is missing."""
        monkeypatch.chdir(tmp_path)
        app = Flask(__name__)
        with pytest.raises(ConfigurationError, match="store=None: write a URL"):
            Sessions(Flask(__name__), None)  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []
        Sessions(app)
        with app.test_client().session_transaction() as stored:
            stored["a"] = 1
        assert (tmp_path / "sessions.sqlite3").exists()
        manager_of(app).store.close()  # type: ignore[attr-defined]

    def test_the_options_are_those_of_the_middleware(self) -> None:
        """None is missing, none but ``former``, which goes with Flask's settings, is added; the defaults are the same."""
        theirs = dict(inspect.signature(SessionMiddleware).parameters)
        for method, ours in [
            ("Sessions", inspect.signature(Sessions).parameters),
            ("init_app", inspect.signature(Sessions().init_app).parameters),
        ]:
            assert [name for name in ours if name != "former"] == list(theirs)
            for name in set(theirs) - {"app", "store", "cookie"}:
                assert ours[name].default == (theirs[name].default if method == "Sessions" else None)

    def test_each_application_may_have_options_of_its_own(self, kept: FaultyStore, clock: FakeClock) -> None:
        """What ``init_app`` is not given is as it was given to the constructor."""
        usual, special = Lifetime(idle=60), Lifetime(idle=5)
        sessions = Sessions(store=kept, lifetime=usual, clock=clock, cookie=CookiePolicy(name="sid"))
        one, other = Flask("one"), Flask("other")
        sessions.init_app(one)
        options: dict[str, Any] = {"max_bytes": 2048, "codec": JSONCodec(), "namespace": "shop"}
        sessions.init_app(other, lifetime=special, cookie=CookiePolicy(name="other"), **options)
        with one.app_context():
            assert sessions.manager is manager_of(one)
            assert (sessions.manager.lifetime, sessions.manager.now) == (usual, clock)
            assert sessions.manager.namespace == "sid"
        with other.app_context():
            assert sessions.manager is manager_of(other)
            assert (sessions.manager.lifetime, sessions.manager.store) == (special, kept)
            assert isinstance(sessions.manager.codec, JSONCodec)
            assert sessions.manager.namespace == "shop"
        with one.test_client().session_transaction() as stored:
            stored["a"] = 1

    def test_the_manager_of_the_one_application_needs_no_context(self, kept: FaultyStore) -> None:
        """For a script that revokes sessions; with init_app the current application is meant."""
        app = Flask("one")
        sessions = Sessions(app, kept)

        assert sessions.manager is manager_of(app)
        with pytest.raises(RuntimeError, match="application context"):
            _ = Sessions(store=kept).manager

    def test_a_second_time_is_refused(self, app: Flask) -> None:
        """Promise 15: which of the two would count?"""
        with pytest.raises(ConfigurationError, match="once"):
            Sessions(app)

    def test_what_is_no_application_is_refused(self, app: Flask) -> None:
        """Promise 15: such as its ``wsgi_app``."""
        with pytest.raises(ConfigurationError, match="write Flask"):
            Sessions(app.wsgi_app)  # type: ignore[arg-type]

    def test_a_misspelt_option_is_refused(self, app: Flask) -> None:
        """Promise 15: at construction."""
        with pytest.raises(TypeError, match="livetime"):
            Sessions(livetime=1)  # type: ignore[call-arg]

    def test_fifty_factories_make_fifty_applications(self, kept: FaultyStore) -> None:
        """None knows of another, and each asks for the session once."""
        apps = []
        for number in range(50):
            app = Flask(f"app{number}")
            Sessions(app, kept)
            serve(app, lambda: {"n": session.setdefault("n", len(kept.calls))})
            apps.append(app)
        clients = [app.test_client() for app in apps]
        first = [client.get("/").json for client in clients]
        kept.calls.clear()
        assert [client.get("/").json for client in clients] == first
        assert verbs(kept) == ["load"] * 50

    def test_flasks_own_settings_of_the_cookie_count(self, kept: FaultyStore) -> None:
        """An application keeps its configuration; a ``cookie`` of the options has precedence."""
        settings: dict[str, Any] = {
            "SESSION_COOKIE_NAME": "sid",
            "SESSION_COOKIE_SECURE": True,
            "SESSION_COOKIE_SAMESITE": "Strict",
            "SESSION_COOKIE_PATH": "/shop",
            "SESSION_COOKIE_DOMAIN": "example.com",
            "SESSION_COOKIE_PARTITIONED": True,
        }
        app, explicit = Flask("app"), Flask("explicit")
        app.config.update(settings)
        explicit.config.update(settings)
        Sessions(app, kept)
        Sessions(explicit, kept, cookie=CookiePolicy())
        for each in (app, explicit):
            serve(each, lambda: session.update(a=1))

        assert visit(app, scheme="https").set_cookies[0].startswith("__Secure-sid=")
        (cookie,) = visit(app, scheme="https").set_cookies
        attributes = {part.lower() for part in cookie.split("; ")[1:]}
        expected = {"domain=example.com", "httponly", "partitioned", "path=/shop", "samesite=strict", "secure"}
        assert attributes == expected
        assert visit(explicit).set_cookies[0].startswith("session=")

    def test_settings_that_come_too_late_are_logged_once(self, kept: FaultyStore, caplog: pytest.LogCaptureFixture) -> None:
        """Not heeded is not unnoticed; what comes in time, or stays as it is, or was given as an option, needs no word."""
        late, explicit, intime = Flask("late"), Flask("explicit"), Flask("intime")
        intime.config["SESSION_COOKIE_NAME"] = "sid"
        for each in (late, intime):
            Sessions(each, kept)
        Sessions(explicit, kept, cookie=CookiePolicy())
        for each in (late, explicit, intime):
            each.config["SESSION_COOKIE_NAME"] = "sid"
            serve(each, lambda: session.update(a=1))
            assert visit(each).set_cookies[0].startswith("sid=" if each is intime else "session=")
            visit(each)
        (record,) = caplog.records
        assert "SESSION_COOKIE_" in record.getMessage()

    def test_a_late_setting_that_cannot_work_harms_no_request(
        self, kept: FaultyStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is as late as any other."""
        app = Flask("late")
        Sessions(app, kept)
        app.config["SESSION_COOKIE_SAMESITE"] = "nonsense"
        serve(app, lambda: session.update(a=1))
        assert [visit(app).status for _ in range(2)] == ["200 OK"] * 2
        assert len(caplog.records) == 1

    def test_a_cookie_for_scripts_is_refused(self) -> None:
        """Promise 15: no option turns HttpOnly off."""
        app = Flask(__name__)
        app.config["SESSION_COOKIE_HTTPONLY"] = False
        with pytest.raises(ConfigurationError, match="SESSION_COOKIE_HTTPONLY"):
            Sessions(app, MemoryStore())

    def test_the_interface_tells_of_the_cookie(self, app: Flask) -> None:
        """Flask documents ``get_cookie_...``: they say what is sent, by the scheme of the request."""
        interface = app.session_interface
        told = {name for name in dir(SessionInterface) if name.startswith("get_cookie_")}
        assert told <= {f"get_cookie_{name}" for name in COOKIE_FACTS}  # Flask 3.0 asks for less
        assert {name: getattr(interface, f"get_cookie_{name}")(app) for name in COOKIE_FACTS} == COOKIE_FACTS
        with app.test_request_context(base_url="https://localhost"):
            assert (interface.get_cookie_name(app), interface.get_cookie_secure(app)) == ("__Host-session", True)
            session["a"] = 1
            assert not interface.is_null_session(session)
            assert interface.should_set_cookie(app, session)
            assert interface.get_expiration_time(app, session) is None
        assert interface.pickle_based is False

    def test_a_secure_cookie_is_told_of_without_a_request(self, kept: FaultyStore) -> None:
        """``secure=True`` does not ask for the scheme."""
        app = Flask(__name__)
        Sessions(app, kept, cookie=CookiePolicy(secure=True))
        assert app.session_interface.get_cookie_name(app) == "__Host-session"

    def test_behind_proxy_fix_the_scheme_is_the_corrected_one(self, kept: FaultyStore) -> None:
        """The cookie is Secure, whichever of the two lines comes first."""
        for fixed_first in (True, False):
            app = Flask(__name__)
            if fixed_first:
                app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
            Sessions(app, kept)
            if not fixed_first:
                app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
            serve(app, lambda: session.update(a=1))

            (cookie,) = visit(app, HTTP_X_FORWARDED_PROTO="https").set_cookies
            assert cookie.startswith("__Host-session=")

    def test_another_extension_in_its_place_is_told_of_once(
        self, kept: FaultyStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """``flask.session`` would be kept elsewhere without a word."""
        app = Flask(__name__)
        Sessions(app, kept)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Flask-Session, for its own cachelib
            app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=SimpleCache())
            flask_session.Session(app)
        serve(app, lambda: session.update(a=1))
        for _ in range(2):
            visit(app)

        assert [record.getMessage() for record in caplog.records if record.name == "session_middleware"] == [
            "flask.session is not ours, but of CacheLibSessionInterface, set up after Sessions(app): take that away"
        ]

    @pytest.mark.parametrize("name", ["app", "application", "wsgi_app"])
    def test_proxy_fix_is_found_behind_other_middlewares(self, kept: FaultyStore, name: str) -> None:
        """Under the names that they have for what they wrap."""

        class Layer:
            def __init__(self, app: Any) -> None:
                setattr(self, name, app)

            def __call__(self, environ: Any, start_response: Any) -> Any:
                return getattr(self, name)(environ, start_response)

        app = Flask(__name__)
        app.wsgi_app = Layer(Layer(ProxyFix(Layer(ProxyFix(app.wsgi_app)))))  # type: ignore[method-assign]
        Sessions(app, kept)
        serve(app, lambda: session.update(a=1))

        (cookie,) = visit(app, HTTP_X_FORWARDED_PROTO="https").set_cookies
        assert cookie.startswith("__Host-session=")

    def test_proxy_fix_of_another_application_is_none_of_ours(self, kept: FaultyStore) -> None:
        """What is mounted, or goes round in a circle, is not looked into."""

        class Layer:
            def __init__(self, app: Any) -> None:
                self.app, self.wsgi_app = app or self, app

            def __call__(self, environ: Any, start_response: Any) -> Any:
                return self.wsgi_app(environ, start_response)

        mounted = Flask("mounted")
        mounted.wsgi_app = ProxyFix(mounted.wsgi_app)  # type: ignore[method-assign]
        for layer in (Layer(mounted), Layer(None)):
            app = Flask(__name__)
            layer.wsgi_app = app.wsgi_app
            app.wsgi_app = layer  # type: ignore[method-assign]
            Sessions(app, kept)
            serve(app, lambda: session.update(a=1))

            (cookie,) = visit(app, HTTP_X_FORWARDED_PROTO="https").set_cookies
            assert cookie.startswith("session=")

    def test_proxy_fix_that_cannot_be_seen_is_warned_of(self, kept: FaultyStore, caplog: pytest.LogCaptureFixture) -> None:
        """In a function, say; the log says in which order to wrap."""
        app = Flask(__name__)
        fix = ProxyFix(app.wsgi_app)
        app.wsgi_app = lambda environ, start_response: fix(environ, start_response)  # type: ignore[method-assign]
        Sessions(app, kept)
        serve(app, lambda: session.update(a=1))
        visit(app, HTTP_X_FORWARDED_PROTO="https")

        assert "ProxyFix(SessionMiddleware(app))" in caplog.text

    def test_the_session_of_a_middleware_around_it_is_used(self, app: Flask, kept: FaultyStore) -> None:
        """One session: nothing is opened, stored or sent twice."""
        outer = SessionMiddleware(app, MemoryStore())
        serve(app, lambda: session.update(a=get_session(flask.request.environ).is_new))
        response = visit(outer)

        assert len(response.set_cookies) == 1
        assert response.values("Vary") == ["Cookie"]
        assert kept.calls == []
        opened = outer.manager.open(response.token)
        assert dict(opened) == {"a": True}

    def test_a_middleware_around_it_under_another_name_is_another_one(self, app: Flask, kept: FaultyStore) -> None:
        """Two sessions, two cookies."""
        outer = SessionMiddleware(app, MemoryStore(), environ_key="outer.session", cookie=CookiePolicy(name="outer"))
        serve(app, lambda: session.update(a=get_session(flask.request.environ, "outer.session").setdefault("b", 1)))
        names = sorted(cookie.partition("=")[0] for cookie in visit(outer).set_cookies)
        assert names == ["outer", "session"]

    def test_an_application_may_answer_by_itself(self, app: Flask, kept: FaultyStore) -> None:
        """A view that calls the application again, with the environ that it has, shares its session."""
        serve(app, lambda: session.update(inner=1), "/inner")

        def outer() -> str:
            environ = dict(flask.request.environ, PATH_INFO="/inner")
            return b"".join(app(environ, lambda *_: lambda _: None)).decode() or str(session["inner"])

        serve(app, outer)
        assert visit(app).body == b"1"
        assert verbs(kept) == ["create"]

    def test_between_validators(self, app: Flask) -> None:
        """Promise 14: PEP 3333 on both sides."""
        serve(app, lambda: session.update(a=1) or "page")
        middleware = app.extensions["session_middleware"]
        middleware.app = validator(middleware.app)
        assert TestApp(validator(app)).get("/").text == "page"

    def test_a_missing_flask_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The extra is named."""
        monkeypatch.setitem(sys.modules, "flask", None)
        with pytest.raises(ImportError, match=r"pip install 'session-middleware\[flask\]'"):
            reload(session_middleware.integrations.flask)

    def test_a_broken_flask_is_not_called_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What it fails to import itself is named instead."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "flask"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "werkzeug", None)
        with pytest.raises(ImportError, match="werkzeug"):
            reload(session_middleware.integrations.flask)


COOKIE_FACTS = {
    "name": "session",
    "domain": None,
    "path": "/",
    "httponly": True,
    "secure": False,
    "samesite": "Lax",
    "partitioned": False,
}
