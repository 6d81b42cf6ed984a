"""What the README says is executed."""

import gc
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flask
import pytest
from pyramid.response import Response
from webtest import TestApp

from session_middleware import (
    CookiePolicy,
    Lifetime,
    MemoryStore,
    SessionManager,
    SessionMiddleware,
    SQLiteStore,
    get_session,
)
from session_middleware.config import options
from session_middleware.integrations.moving import FromBeaker, FromDjango, FromFlaskSession
from session_middleware.integrations.pyramid import manager_of
from session_middleware.manager import MAX_BYTES, Send
from session_middleware.rules import OVERLAP, WINDOW
from session_middleware.stores.memcached import MemcachedStore
from session_middleware.stores.redis import RedisStore
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, created

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the Python blocks define, run one after the other in an empty directory."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    applications = []
    for block in blocks("python")[:3]:
        exec(block, names)
        applications.append(names["application"])
    names["applications"] = applications
    yield names
    for application in applications:
        application.manager.store.close()


def test_the_first_ten_lines_count_visits(namespace: dict[str, Any], tmp_path: Path) -> None:
    """As they stand they keep a session in ./sessions.sqlite3, mode 0600."""
    browser = TestApp(namespace["applications"][0])

    assert [browser.get("/").text for _ in range(2)] == ["visit number 1\n", "visit number 2\n"]
    assert (tmp_path / "sessions.sqlite3").stat().st_mode & 0o777 == 0o600


def test_the_first_example_has_ten_lines() -> None:
    """The heading says so."""
    assert len([line for line in blocks("python")[0].splitlines() if line]) <= 10


def test_what_a_session_can_do_does_what_it_says(namespace: dict[str, Any]) -> None:
    """The longer example signs in and keeps the cookie for thirty days; the transaction has stored the sign-in."""
    response = TestApp(namespace["applications"][1]).get("/")

    assert response.text == "sessions of alice: 1\n"
    assert "Max-Age=2592000" in response.headers["Set-Cookie"]
    (session,) = namespace["applications"][1].manager.sessions_of("alice")
    assert session.data == {"cart": {"items": ["tea"]}, "orders": 1}


def test_the_options_example_sets_the_options(namespace: dict[str, Any]) -> None:
    """The cookie has the given name, and the store the given file."""
    response = TestApp(namespace["applications"][2]).get("/")

    assert response.headers["Set-Cookie"].startswith("sid=")
    assert "SameSite=Strict" in response.headers["Set-Cookie"]
    assert Path("shop.sqlite3").exists()


def under(heading: str, **names: Any) -> dict[str, Any]:
    """Run the Python block under a heading, with *names*; return what it then defines."""
    section = README[README.index(f"# {heading}\n") :]
    found = re.search(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found
    names["__name__"] = __name__
    exec(found[1], names)
    return names


def counts_visits(application: Any) -> bool:
    browser = TestApp(application)
    return [browser.get("/").text for _ in range(2)] == ["visit number 1\n", "visit number 2\n"]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty directory to work in, and nothing left open afterwards."""
    monkeypatch.chdir(tmp_path)
    yield
    gc.collect()


@pytest.mark.usefixtures("elsewhere")
def test_two_lines_are_enough_for_flask() -> None:
    """flask.session is the session."""
    app = under("Flask")["app"]

    def home() -> str:
        flask.session["visits"] = flask.session.get("visits", 0) + 1
        return f"visit number {flask.session['visits']}\n"

    app.add_url_rule("/", view_func=home)
    assert counts_visits(app)
    app.extensions["session_middleware"].manager.store.close()


@pytest.mark.usefixtures("elsewhere")
def test_two_lines_are_enough_for_pyramid() -> None:
    """request.session is the session."""
    config = under("Pyramid")["config"]

    def home(request: Any) -> Response:
        request.session["visits"] = request.session.get("visits", 0) + 1
        return Response(f"visit number {request.session['visits']}\n")

    config.add_route("home", "/")
    config.add_view(home, route_name="home")
    assert counts_visits(config.make_wsgi_app())
    store: Any = manager_of(config).store
    store.close()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(("heading", "name"), [("Bottle", "app"), ("WebOb", "application")])
def test_the_lines_for_bottle_and_webob_count_visits(heading: str, name: str) -> None:
    """As they stand."""
    found = under(heading)
    assert counts_visits(found[name])
    manager = found["application"].manager if name == "application" else found["app"].plugins[-1].manager
    manager.store.close()


def test_the_names_in_the_settings_for_django_are_there() -> None:
    """The engine and the middleware are found under their names; tests/integrations uses them."""
    settings = under("Django")
    package = importlib.import_module(settings["SESSION_ENGINE"])

    assert settings["MIDDLEWARE"] == [f"{package.__name__}.SessionMiddleware"]
    assert callable(package.SessionMiddleware)
    assert callable(package.SessionStore)
    assert callable(package.UnavailableMiddleware)
    assert callable(package.manager)
    assert callable(package.session_of)
    assert importlib.import_module(f"{package.__name__}.apps").SessionMiddlewareConfig.name == package.__name__


@pytest.mark.usefixtures("elsewhere")
def test_moving_in_needs_nothing_from_those_who_have_moved() -> None:
    """The other library's Redis is asked only for who comes with its cookie."""
    app = blocks("python")[0].split("\n\n\n")[1]
    names: dict[str, Any] = {"get_session": get_session}
    exec(app, names)
    application = under("Moving in", app=names["app"])["application"]

    assert counts_visits(application)
    application.manager.store.close()


@pytest.mark.usefixtures("elsewhere")
def test_a_backup_holds_what_the_site_had_stored() -> None:
    """As the lines stand: while the site runs; and what has come since is not there any more."""
    backup, restore = blocks("sh")[-2:]
    shell = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath])}
    store = SQLiteStore("sessions.sqlite3")
    before = created(store, key := a_key())
    subprocess.run(["sh", "-ec", backup], env=shell, check=True)
    created(store, later := a_key())
    store.close()
    subprocess.run(["sh", "-ec", restore], env=shell, check=True)
    restored = SQLiteStore("sessions.sqlite3")

    assert restored.load(key) == before
    assert restored.load(later) is None
    assert not Path("backup.sqlite3").exists()
    restored.close()


def test_two_sites_on_one_server_have_each_a_prefix_and_a_namespace() -> None:
    """As they stand; a store connects when it is used."""
    found = under("Two sites on one server store", shop_app=answer_nothing, forum_app=answer_nothing)
    managers = [found["shop"].manager, found["forum"].manager]

    assert [manager.namespace for manager in managers] == ["shop", "forum"]
    assert {type(manager.store) for manager in managers} == {RedisStore}
    for manager in managers:
        manager.store.close()


def answer_nothing(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


def test_a_namespace_keeps_tokens_apart_and_does_not_divide_the_store() -> None:
    """A cookie of one site opens nothing on the other; listing and ending see both, if they have one prefix."""
    store = MemoryStore()
    shop, forum = SessionManager(store, namespace="shop"), SessionManager(store, namespace="forum")
    session = shop.open()
    session.login("alice")
    verdict = shop.commit(session)

    assert isinstance(verdict, Send)
    assert not shop.open(verdict.token).is_new
    assert forum.open(verdict.token).is_new
    assert [info.id for info in forum.sessions_of("alice")] == [session.id]
    assert forum.revoke_everybody() == 1


def test_the_largest_session_is_the_one_that_is_named() -> None:
    """In the table of options."""
    assert f"| `max_bytes` | {MAX_BYTES // 1024} KiB |" in README


def test_the_windows_are_as_long_as_it_says() -> None:
    """After a sign-in, and after a session was carried over."""
    assert (WINDOW, OVERLAP) == (10, 30)
    assert "For ten seconds it is told from an unknown one" in README
    assert "until ours has come, and for 30 seconds after that" in README


def test_the_ini_example_is_understood() -> None:
    """Every key of it is an option."""
    parser = ConfigParser()
    parser.read_string(blocks("ini")[0])
    section = {key: value for key, value in parser["filter:session"].items() if key != "use"}

    assert options(section, "")["cookie"] == CookiePolicy(samesite="Strict")


@pytest.mark.parametrize("preset", ["AAL1", "AAL2", "AAL3"])
def test_the_table_of_lifetimes_is_true(preset: str) -> None:
    """The numbers in words are those of the presets."""
    words = {None: "none", 900.0: "15 minutes", 3600.0: "1 hour", 43200.0: "12 hours", 86400.0: "24 hours"}
    lifetime = getattr(Lifetime, preset)
    table = README[README.index("| `Lifetime(...)`") :].splitlines()
    row = next(line for line in table if f"`Lifetime.{preset}` |" in line)

    assert row.split("|")[2].strip() == words[lifetime.idle]
    assert row.split("|")[3].strip() == words.get(lifetime.absolute, "30 days")


@pytest.mark.parametrize(
    ("table", "cls"), [("CookiePolicy(...)", CookiePolicy), ("SessionMiddleware(app, store, ...)", SessionMiddleware)]
)
def test_every_option_is_in_its_table(table: str, cls: type) -> None:
    """No option is missing, and none is made up."""
    start = README.index(f"| `{table}`")
    rows = README[start : README.index("\n\n", start)].splitlines()[2:]
    documented = {row.split("`")[1] for row in rows}

    assert documented == inspect.signature(cls).parameters.keys() - {"app"}


@pytest.mark.parametrize("cls", [FromBeaker, FromDjango, FromFlaskSession])
def test_every_option_of_moving_in_is_in_its_table(cls: type) -> None:
    """No option is missing, and none is made up."""
    start = README.index("| option | of | default |")
    rows = [row.split("|")[1:3] for row in README[start : README.index("\n\n", start)].splitlines()[2:]]
    documented = {name for names, of in rows if "all" in of or cls.__name__ in of for name in re.findall(r"`(\w+)`", names)}

    assert documented == inspect.signature(cls).parameters.keys() - {"place"}


@pytest.mark.parametrize("cls", [MemoryStore, SQLiteStore, RedisStore, SQLAlchemyStore, MemcachedStore])
def test_the_options_of_the_stores_are_true(cls: type) -> None:
    """The table of stores gives every option with its default."""
    table = README[README.index("| store | URL | options") :]
    row = next(line for line in table.splitlines() if line.startswith(f"| `{cls.__name__}`")).rpartition(" | ")[2]
    documented = dict(re.findall(r"`(\w+)`(?: \(([^)]*)\))?", row))
    options = list(inspect.signature(cls).parameters.values())
    ours = [option for option in options if option.kind is option.KEYWORD_ONLY]

    assert documented.keys() == {option.name for option in ours}
    for option in ours:
        said = documented[option.name].split(" or ")[0].strip('`"')
        assert said in _written(option.default), option.name


def _written(default: object) -> set[str]:
    if isinstance(default, bool):
        return {str(default).lower()}
    if isinstance(default, float):
        return {f"{default:.0f} s"}
    if isinstance(default, int):
        return {f"{default:,}", f"{default // 2**20} MiB"}
    return {str(default or "")}
