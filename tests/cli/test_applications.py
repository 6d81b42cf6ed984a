"""``--app``, ``flask sessions`` and ``manage.py sessions`` find the sessions of the application."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import bottle
import pytest
from pyramid.config import Configurator

from session_middleware import ConfigurationError, CookiePolicy, SessionManager, SessionMiddleware
from session_middleware.cli.applications import manager_named, the_manager_in
from session_middleware.integrations.bottle import SessionPlugin
from tests.cli.running import LONG, ROOT, Site, environ, here, result, run

FLASK = """
import flask
from session_middleware import JSONCodec
from session_middleware.integrations.flask import Sessions

def create_app():
    app = flask.Flask(__name__)
    Sessions(app, {url!r}, namespace="shop", codec=JSONCodec())
    return app
"""
DJANGO = """
import sys
from django.conf import settings

settings.configure(
    SESSION_ENGINE="session_middleware.integrations.django",
    SESSION_MIDDLEWARE={{"store": {url!r}, "namespace": "shop"}},
    MIDDLEWARE=["session_middleware.integrations.django.SessionMiddleware"],
    INSTALLED_APPS=["session_middleware.integrations.django"],
    SECRET_KEY="k" * 50,
    ROOT_URLCONF="manage",
    ALLOWED_HOSTS=["*"],
)
urlpatterns = []
if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
else:
    from django.core.wsgi import get_wsgi_application

    application = get_wsgi_application()
"""
WSGI = """
from session_middleware import SessionMiddleware

def app(environ, start_response):
    start_response("204 No Content", [])
    return []

application = SessionMiddleware(app, {url!r}, namespace="shop")
"""


def answer(environ: Any, start_response: Any) -> list[bytes]:
    start_response("204 No Content", [])
    return []


@pytest.fixture
def shop(tmp_path: Path) -> Site:
    """Sessions of the namespace "shop", in the directory in which the applications are."""
    return Site(f"sqlite:///{tmp_path}/sessions.sqlite3", namespace="shop")


def in_python(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environ(), capture_output=True, text=True, timeout=LONG, check=False)


def test_a_wsgi_application_is_named(shop: Site, tmp_path: Path) -> None:
    """By its module alone where it has a usual name."""
    (tmp_path / "site_of_wsgi.py").write_text(WSGI.format(url=shop.url))
    key = shop.begin("alice")

    assert [found["id"] for found in result(run("--app", "site_of_wsgi", "list", "--json", cwd=tmp_path))] == [key]


def test_the_command_line_of_flask_has_the_commands(shop: Site, tmp_path: Path) -> None:
    """By the entry point of the package; and --app makes the application itself."""
    (tmp_path / "site_of_flask.py").write_text(FLASK.format(url=shop.url))
    metadata = tmp_path / "entry_points-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: entry-points\nVersion: 1.0\n")
    project = (ROOT / "pyproject.toml").read_text()
    section = project.partition('[project.entry-points."flask.commands"]\n')[2].partition("\n[")[0]
    (metadata / "entry_points.txt").write_text("[flask.commands]\n" + section.replace('"', ""))
    key = shop.begin("alice")

    done = in_python(tmp_path, "-m", "flask", "--app", "site_of_flask:create_app", "sessions", "list", "--json")
    assert [found["id"] for found in result(done)] == [key]
    named = run("--app", "site_of_flask:create_app()", "list", "--json", cwd=tmp_path)
    assert [found["id"] for found in result(named)] == [key]


def test_manage_py_has_the_commands(shop: Site, tmp_path: Path) -> None:
    """With the help of both; and --app takes the WSGI application of the project."""
    (tmp_path / "manage.py").write_text(DJANGO.format(url=shop.url))
    key = shop.begin("alice")

    done = in_python(tmp_path, "manage.py", "sessions", "list", "--json")
    assert [found["id"] for found in result(done)] == [key]
    helped = in_python(tmp_path, "manage.py", "help", "sessions")
    assert helped.stdout.startswith("Usage: manage.py sessions [OPTIONS] COMMAND")
    named = run("--app", "manage:application", "list", "--json", cwd=tmp_path)
    assert [found["id"] for found in result(named)] == [key]


def test_call_command_runs_it(shop: Site, tmp_path: Path) -> None:
    """From a program; with options, and whatever an id begins with."""
    (tmp_path / "manage.py").write_text(DJANGO.format(url=shop.url))
    key = shop.begin("alice")
    program = "import manage; from django.core.management import call_command; call_command('sessions', *{!r})"

    assert f"id\t{key}" in in_python(tmp_path, "-c", program.format(["show", key])).stdout
    assert result(in_python(tmp_path, "-c", program.format(["show", key, "--json"])))["id"] == key
    of_nobody = in_python(tmp_path, "-c", program.format(["show", "-AAAAAAAAAAA"]))
    assert of_nobody.stderr.endswith("Error: there is no session '-AAAAAAAAAAA'\n")


def in_pyramid(middleware: Any) -> object:
    configurator = Configurator(settings={"session_middleware.store": "memory:", "session_middleware.namespace": "shop"})
    configurator.include("session_middleware.integrations.pyramid")
    return configurator.make_wsgi_app()


def in_bottle(middleware: Any) -> object:
    app = bottle.Bottle()
    app.install(SessionPlugin("memory:", namespace="shop"))
    return app


def in_a_closure(middleware: Any) -> object:
    def outer(environ: Any, start_response: Any) -> Any:
        return unfinished if environ is None else middleware(environ, start_response)

    if not middleware:
        unfinished = None
    return outer


class Around:
    def __init__(self, inner: Any) -> None:
        self.children = ({"first": inner}, [1, "two"])
        self.around = self

    def serve(self, environ: Any, start_response: Any) -> None: ...


@pytest.mark.parametrize(
    "wrap",
    [
        lambda middleware: middleware,
        lambda middleware: middleware.manager,
        Around,
        lambda middleware: Around(middleware).serve,
        lambda middleware: partial(in_a_closure, middleware),
        in_a_closure,
        in_pyramid,
        in_bottle,
    ],
    ids=["itself", "manager", "object", "method", "partial", "closure", "pyramid", "bottle"],
)
def test_a_middleware_is_found_anywhere_inside(wrap: Any) -> None:
    """Whatever is around it."""
    assert the_manager_in(wrap(SessionMiddleware(answer, "memory:", namespace="shop"))).namespace == "shop"


def test_of_two_the_outer_one_is_found() -> None:
    """Unless both are as far in; then the namespace says which."""
    inner = SessionMiddleware(answer, "memory:", cookie=CookiePolicy(name="a"), environ_key="one.a")
    outer = SessionMiddleware(inner, "memory:", cookie=CookiePolicy(name="b"), environ_key="one.b")
    assert the_manager_in(outer) is outer.manager

    beside = [SessionMiddleware(answer, "memory:", namespace=name) for name in ("a", "b")]
    assert the_manager_in(beside, "b") is beside[1].manager
    with pytest.raises(ConfigurationError, match="have the namespaces 'a', 'b': write one with --namespace"):
        the_manager_in(beside)
    with pytest.raises(ConfigurationError, match="--namespace"):
        the_manager_in(beside, "c")


def test_an_application_without_sessions_is_said_to_have_none() -> None:
    """What to write instead."""
    with pytest.raises(ConfigurationError, match="there is no SessionMiddleware in Around: write --store URL"):
        the_manager_in(Around(answer))


@pytest.mark.parametrize("name", ["no_such_module:app", "json:no_such_name", "json", "not a module:"])
def test_what_cannot_be_loaded_is_refused(name: str) -> None:
    """With an example."""
    with pytest.raises(ConfigurationError, match=r"write module:name, as of shop\.wsgi:application"):
        manager_named(name, None)


def test_the_observers_of_the_application_are_told() -> None:
    """An end by command is an end."""

    class Noting:
        def __init__(self) -> None:
            self.names: list[str] = []

        def on(self, event: Any) -> None:
            self.names.append(event.name)

    noting = Noting()
    manager = SessionManager("memory:", observer=noting)
    session = manager.open()
    session["a"] = 1
    manager.commit(session)
    assert here("revoke", session.id, "--yes", obj=lambda: manager).exit_code == 0

    assert "Ended" in noting.names
    assert manager.find(session.id) is None


def test_without_click_django_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an error of its own."""
    from django.core.management.base import CommandError

    from session_middleware.integrations.django.management.commands import sessions

    monkeypatch.setitem(sys.modules, "click", None)
    for name in [name for name in sys.modules if name.startswith("session_middleware.cli")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(CommandError, match=r"session-middleware\[cli\]"):
        sessions.Command().run_from_argv(["manage.py", "sessions", "list"])
    with pytest.raises(CommandError):
        sessions.Command().print_help("manage.py", "sessions")
    with pytest.raises(CommandError):
        sessions.Command().handle(arguments=["list"])


def test_store_and_app_are_not_both(tmp_path: Path) -> None:
    """One of the two; and without any it is said what to write."""
    both = here("--store", "memory:", "--app", "shop", "list")
    assert (both.exit_code, "write one of the two" in both.output) == (2, True)
    none = here("list", env={"SESSION_STORE": ""})
    assert (none.exit_code, "which sessions? Write --store URL" in none.output) == (2, True)


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """It is a slip."""
    done = here("--store", f"sqlite:///{tmp_path}/typo.sqlite3", "list")

    assert (done.exit_code, "there is no such file" in done.output) == (2, True)
    assert list(tmp_path.iterdir()) == []
