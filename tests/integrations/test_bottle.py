"""The Bottle plugin, in process and under gunicorn."""

import functools
import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module, reload
from typing import Any, ClassVar
from unittest.mock import Mock

import bottle
import pytest
from bottle import Bottle, HTTPError, abort, request

from session_middleware import (
    ConfigurationError,
    CookiePolicy,
    JSONCodec,
    Lifetime,
    MemoryStore,
    Session,
    SessionManager,
    SessionMiddleware,
    get_session,
)
from session_middleware.integrations.bottle import SessionPlugin
from session_middleware.integrations.moving import FromFlaskSession
from session_middleware.testing import FakeClock
from tests.apps import Gateway, visit
from tests.integrations import bottle_site
from tests.integrations.contract import IntegrationContract


class TestSite(IntegrationContract):
    site: ClassVar = bottle_site


@pytest.fixture
def plugin() -> SessionPlugin:
    return SessionPlugin(MemoryStore())


@pytest.fixture
def app(plugin: SessionPlugin) -> Any:
    app = Bottle()
    app.install(plugin)
    return app


class OfAnotherLibrary:
    """A plugin that gives callbacks something of the same name."""

    name, api, keyword = "another", 2, "session"

    def apply(self, callback: Callable[..., Any], route: Any) -> Callable[..., Any]:
        return callback


def visits() -> dict[str, Any]:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return {"visits": request.session["visits"]}


def count(app: Any, path: str, first: Gateway | None = None) -> Any:
    page = visit(app, path, cookie=first.cookie if first else None)
    assert page.status == "200 OK", page.body
    return json.loads(page.body)["visits"]


class TestSession:
    def test_the_attribute_and_the_argument_are_the_session_of_the_environ(self, app: Any) -> None:
        """The very object: nothing stands between it and the application."""

        def home(session: Session) -> str:
            assert session is request.session is get_session(request.environ)
            return "yes"

        app.get("/")(home)
        assert visit(app).body == b"yes"

    def test_it_is_there_before_and_after_the_callback_and_on_error_pages(self, app: Any) -> None:
        """In hooks and error handlers of a page that is not there; what they change is stored."""

        def note(key: str) -> None:
            request.session.setdefault("hooks", []).append(key)

        app.add_hook("before_request", lambda: note("before"))
        app.add_hook("after_request", lambda: note("after"))

        def missing(error: HTTPError) -> str:
            note("error")
            return json.dumps(request.session["hooks"])

        app.error(404)(missing)
        page = visit(app, "/nowhere")

        assert (page.status, json.loads(page.body)) == ("404 Not Found", ["before", "after", "error"])
        assert json.loads(visit(app, "/nowhere", cookie=page.cookie).body)[:3] == ["before", "after", "error"]

    def test_an_error_page_of_the_500_kind_changes_nothing(self, app: Any) -> None:
        """Promise 16: whether it is asked for or Bottle makes it of an exception, and with an error handler, too."""
        app.get("/")(visits)

        def give_up(session: Session) -> None:
            session["half"] = "done"
            abort(500)

        app.get("/abort")(give_up)

        def sorry(error: HTTPError) -> str:
            request.session["more"] = "done"
            return "sorry"

        app.error(500)(sorry)
        first = visit(app)
        assert visit(app, "/abort", cookie=first.cookie).body == b"sorry"
        app.get("/show")(lambda session: dict(session))

        assert json.loads(visit(app, "/show", cookie=first.cookie).body) == {"visits": 1}

    def test_without_catchall_the_exception_escapes_and_nothing_changes(self, app: Any, plugin: SessionPlugin) -> None:
        """Promise 16: as debuggers want it."""
        app.catchall = False

        def fail(session: Session) -> None:
            session.login("alice")
            raise LookupError("for a debugger")

        app.get("/")(fail)
        with pytest.raises(LookupError, match="for a debugger"):
            visit(app)
        assert plugin.manager.sessions_of("alice") == []

    def test_a_generator_changes_the_session_while_it_streams(self, app: Any) -> None:
        """With the argument and with the attribute."""
        app.get("/")(visits)

        def stream(session: Session) -> Iterator[str]:
            session["one"] = 1
            yield "one"
            session["two"] = 2
            yield "two"

        app.get("/stream")(stream)
        first = visit(app)
        assert visit(app, "/stream", cookie=first.cookie).blocks == [b"one", b"two"]
        app.get("/show")(lambda session: dict(session))

        assert json.loads(visit(app, "/show", cookie=first.cookie).body) == {"visits": 1, "one": 1, "two": 2}

    def test_the_manager_lists_and_revokes(self, app: Any, plugin: SessionPlugin) -> None:
        """Promise 5: a session that is revoked elsewhere is gone at the next request."""

        def who(session: Session) -> str:
            return str(session.user_id)

        app.get("/")(who)

        def login(session: Session) -> None:
            session.login("alice")

        app.get("/login")(login)
        first = visit(app, "/login")
        assert visit(app, cookie=first.cookie).body == b"alice"
        assert plugin.manager.revoke_all("alice") == 1
        assert visit(app, cookie=first.cookie).body == b"None"


class TestArgument:
    def test_who_does_not_name_it_is_not_given_it(self, app: Any) -> None:
        """Nor does such a request touch the session."""
        app.get("/<name>")(lambda name, **others: {"name": name, "others": sorted(others)})

        assert json.loads(visit(app, "/x").body) == {"name": "x", "others": []}

    def test_a_part_of_the_url_with_that_name_comes_first(self, app: Any) -> None:
        """As it was before the plugin."""
        app.get("/<session>")(lambda session: session)

        assert visit(app, "/text").body == b"text"

    def test_it_is_found_behind_a_decorator_in_a_method_and_among_keyword_only_arguments(self, app: Any) -> None:
        """Whatever ``inspect.signature`` finds."""

        def kind(session: Session) -> str:
            return "a session" if session is get_session(request.environ) else repr(session)

        def decorated(callback: Callable[..., str]) -> Callable[..., str]:
            @functools.wraps(callback)
            def wrapper(*args: Any, **kwargs: Any) -> str:
                return callback(*args, **kwargs).upper()

            return wrapper

        class Site:
            def method(self, session: Session) -> str:
                return kind(session)

        app.get("/decorated")(decorated(kind))
        app.get("/method")(Site().method)
        app.get("/partial")(functools.partial(Site.method, Site()))
        app.get("/keyword")(lambda *, session: kind(session))

        assert visit(app, "/decorated").body == b"A SESSION"
        assert visit(app, "/method").body == visit(app, "/keyword").body == visit(app, "/partial").body == b"a session"

    def test_a_callback_that_has_no_signature_is_left_alone(self, app: Any) -> None:
        """Such as a builtin type."""
        app.get("/", callback=dict)

        assert json.loads(visit(app).body) == {}

    def test_a_route_may_skip_the_plugin(self, app: Any) -> None:
        """Then there is no argument; the attribute is there all the same."""
        app.get("/", callback=lambda session="none": session, skip=[SessionPlugin])
        app.get("/name", callback=lambda session="none": session, skip="session_middleware")
        app.get("/attribute", callback=visits, skip=True, apply=lambda callback: lambda: json.dumps(callback()))

        assert visit(app).body == visit(app, "/name").body == b"none"
        assert visit(app, "/attribute").token

    def test_another_keyword_is_the_name_of_both(self) -> None:
        """For an application that has a ``session`` of another kind, such as a database's."""
        app = Bottle()
        app.install(SessionPlugin(MemoryStore(), keyword="web_session"))
        app.get("/")(lambda web_session, session="theirs": f"{web_session is request.web_session} {session}")

        assert visit(app).body == b"True theirs"

    @pytest.mark.parametrize("keyword", ["headers", "a b", "", 7])
    def test_a_keyword_that_cannot_work_does_not_start(self, keyword: Any) -> None:
        """Promise 15: no name, or one that Bottle itself uses."""
        with pytest.raises(ConfigurationError, match=f"keyword={keyword!r}"):
            SessionPlugin(MemoryStore(), keyword=keyword)


class TestPluginInterface:
    """Bottle's documented plugin interface, member by member."""

    def test_it_has_what_bottle_documents(self) -> None:
        """Name, version, and the three methods."""
        assert (SessionPlugin.name, SessionPlugin.api) == ("session_middleware", 2)
        assert all(callable(getattr(SessionPlugin, method)) for method in ("setup", "apply", "close"))

    def test_installing_returns_it(self) -> None:
        """As any plugin, so that its manager is at hand."""
        app = Bottle()

        assert isinstance(app.install(SessionPlugin(MemoryStore())).manager, SessionManager)

    def test_it_cannot_be_installed_twice(self, app: Any) -> None:
        """Promise 15: which options would count?"""
        with pytest.raises(ConfigurationError, match="installed already"):
            app.install(SessionPlugin(MemoryStore()))

    @pytest.mark.parametrize("by", ["instance", "type", "name", "all"])
    def test_uninstalled_it_leaves_nothing_behind(self, app: Any, plugin: SessionPlugin, by: str) -> None:
        """The application serves as before, and can have another one."""
        app.uninstall({"instance": plugin, "type": SessionPlugin, "name": "session_middleware", "all": True}[by])
        app.get("/")(lambda: str(hasattr(request, "session")))

        assert visit(app).body == b"False"
        app.install(SessionPlugin(MemoryStore()))
        assert visit(app).body == b"True"

    def test_closing_the_application_ends_no_session(self, app: Any) -> None:
        """``app.close()`` closes plugins that stay installed."""
        app.get("/")(visits)
        first = visit(app)
        app.close()

        assert count(app, "/", first) == 2

    def test_one_plugin_serves_several_applications(self, plugin: SessionPlugin) -> None:
        """They share the sessions, and leaving one does not leave the other."""
        one, other = Bottle(), Bottle()
        for app in (one, other):
            app.install(plugin)
            app.get("/")(visits)

        first = visit(one)
        assert count(other, "/", first) == 2
        one.uninstall(plugin)
        assert count(other, "/", first) == 3

    def test_the_default_application_takes_it(self) -> None:
        """``bottle.install()`` and ``bottle.route()``, as in Bottle's first example."""
        with Bottle() as app:
            bottle.install(SessionPlugin(MemoryStore()))
            bottle.route("/")(visits)

            assert count(app, "/", visit(app)) == 2

    def test_the_options_are_those_of_the_middleware(self) -> None:
        """None is missing, none is made up, and the defaults are the same."""
        theirs = dict(inspect.signature(SessionMiddleware).parameters)
        ours = dict(inspect.signature(SessionPlugin).parameters)
        del theirs["app"], ours["keyword"]
        assert ours == theirs

    def test_every_option_of_the_middleware_reaches_it(self) -> None:
        """Promise 15: none is swallowed."""
        clock, codec = FakeClock(1000.0), JSONCodec()
        plugin = SessionPlugin(
            MemoryStore(),
            lifetime=Lifetime.AAL3,
            cookie=CookiePolicy(name="sid"),
            codec=codec,
            max_bytes=4096,
            namespace="shop",
            environ_key="shop.session",
            clock=clock,
        )
        app = Bottle()
        app.install(plugin)

        def home(session: Session) -> str:
            session["a"] = 1
            return f"{session is request.environ['shop.session']} {session.expires_at}"

        app.get("/")(home)
        page = visit(app)
        assert (plugin.manager.codec, plugin.manager.now, plugin.manager.namespace) == (codec, clock, "shop")
        assert page.cookie.startswith("sid=")
        assert page.body == b"True 1900.0"
        with pytest.raises(ConfigurationError, match="max_bytes=10"):
            SessionPlugin(MemoryStore(), max_bytes=10)
        with pytest.raises(ConfigurationError, match="CookiePolicy"):
            SessionPlugin(MemoryStore(), cookie="sid")  # type: ignore[arg-type]  # that is what is shown here

    def test_sessions_of_another_library_are_carried_over(self) -> None:
        """Bottle's own documentation names Beaker for sessions."""
        place = Mock(get=Mock(return_value=b'{"count": 7}'))
        app = Bottle()
        app.install(SessionPlugin(MemoryStore(), carry_over=FromFlaskSession(place, cookie_name="old")))
        app.get("/")(lambda session: str(session["count"]))
        page = visit(app, cookie=f"old={'a' * 43}")

        assert page.body == b"7"
        assert sorted(header.partition("=")[0] for header in page.set_cookies) == ["old", "session"]
        place.remove.assert_called_once_with(f"session:{'a' * 43}")


class TestMounting:
    def test_a_mounted_application_has_the_session_of_the_one_around_it(self, app: Any) -> None:
        """With a plugin of its own for the argument, and without one for the attribute."""
        plain, own = Bottle(), Bottle()
        plain.get("/")(visits)
        own.install(SessionPlugin(MemoryStore()))
        own.get("/")(lambda session: visits())
        app.get("/")(visits)
        app.mount("/plain/", plain)
        app.mount("/own/", own)

        first = visit(app)
        assert [count(app, path, first) for path in ("/plain/", "/own/", "/")] == [2, 3, 4]

    def test_a_callback_that_nobody_gives_its_session_to_is_told_of(
        self, app: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Bottle would only say that an argument is missing; once, and of no callback that gets it in another way."""
        without, deeper, with_own, of_another = Bottle(), Bottle(), Bottle(), Bottle()
        for mounted in (without, deeper, with_own, of_another):
            mounted.route("/named", callback=lambda session: "")
        without.route("/<session>", callback=lambda session: session)
        with pytest.warns(DeprecationWarning, match="Falling back to WSGI mount"):
            app.mount("/deeper", deeper)
        with_own.install(SessionPlugin(MemoryStore()))
        of_another.install(OfAnotherLibrary())
        app.mount("/without/", without)
        app.mount("/own/", with_own)
        app.mount("/another/", of_another)
        app.route("/", callback=lambda session: "")

        for _ in range(2):
            visit(app)
        told = [record.args[0] for record in caplog.records if isinstance(record.args, tuple)]
        assert sorted(map(str, told)) == ["/named", "/without/named"]
        assert "install one there, too, or write request.session" in caplog.text

    def test_so_has_one_that_is_mounted_as_mere_wsgi(self, app: Any) -> None:
        """One session and one cookie, however it is mounted."""
        own = Bottle()
        own.install(SessionPlugin(MemoryStore()))
        own.get("/")(visits)
        app.mount("/own/", lambda environ, start_response: own(environ, start_response))

        first = visit(app, "/own/")
        assert len(first.set_cookies) == 1
        assert count(app, "/own/", first) == 2

    def test_in_an_application_without_one_it_says_what_to_do(self) -> None:
        """Promise 15: the argument cannot be given, and the log says why."""
        outer, inner = Bottle(), Bottle()
        inner.install(SessionPlugin(MemoryStore()))
        inner.get("/")(lambda session: visits())
        outer.mount("/inner/", inner)
        outer.catchall = False

        with pytest.raises(ConfigurationError, match="install SessionPlugin in the application that is served"):
            visit(outer, "/inner/")

    def test_under_the_middleware_it_uses_the_session_of_that(self, app: Any, plugin: SessionPlugin) -> None:
        """One session, one cookie, one store."""
        app.get("/")(visits)
        application = SessionMiddleware(app, MemoryStore())
        first = visit(application)

        assert len(first.set_cookies) == 1
        assert count(application, "/", first) == 2
        assert count(app, "/", first) == 1


def test_without_bottle_the_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the extra; an import that fails inside of Bottle is not mistaken for that."""
    module = import_module("session_middleware.integrations.bottle")
    monkeypatch.setitem(sys.modules, "bottle", None)

    with pytest.raises(ImportError, match=r"pip install 'session-middleware\[bottle\]'"):
        reload(module)


@pytest.mark.parametrize(
    ("module", "others"), [("bottle", "pyramid, flask, django"), ("webob", "bottle, pyramid, flask, django")]
)
def test_an_integration_imports_its_own_framework_alone(module: str, others: str) -> None:
    """The others need not be installed."""
    program = f"""
import sys
import session_middleware
before = {{"bottle", "pyramid", "flask", "django"}} & sys.modules.keys()
import session_middleware.integrations.{module}
print(before, {{*"{others}".split(", ")}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set() set()\n"
