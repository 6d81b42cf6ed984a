"""What the package is made of, and what it must not be."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest

import session_middleware
from docs.architecture import DOCS, edges, written
from session_middleware.stores.sqlite import SQLiteStore
from tests.imports import LINES, MODULES, PACKAGE, imported, is_in, line_of, needed, tree_of

# What only one module, or one package, may import.
USERS = {
    "webob": ["cookies", "integrations.webob"],
    "msgpack": ["codecs", "record", "integrations.moving"],
    "sqlite3": ["stores.sqlite"],
    "redis": ["stores.redis", "integrations.moving"],
    "hiredis": ["stores.redis"],
    "pymemcache": ["stores.memcached"],
    "sqlalchemy": ["stores.sqlalchemy", "integrations.moving"],
    "flask": ["integrations.flask"],
    "django": ["integrations.django", "integrations.moving"],
    "pyramid": ["integrations.pyramid"],
    "bottle": ["integrations.bottle"],
    "click": ["cli"],
    "rich": ["cli"],
    "pytest": ["testing.plugin"],
    "prometheus_client": ["observers.prometheus"],
    "opentelemetry": ["observers.opentelemetry"],
    "ua_parser": ["devices"],
}


def test_every_module_has_its_line() -> None:
    """A new module says where it belongs, and one that is gone is not named."""
    assert all(line_of(module) >= 0 for module in MODULES)
    assert {name for line in LINES for name in line} <= MODULES.keys()
    assert {user for users in USERS.values() for user in users} <= MODULES.keys()


def test_the_page_says_where_everything_is() -> None:
    """Whoever looks for a rule finds its module on the page, and no module there that has gone."""
    folder, named = PACKAGE, set()
    table = (DOCS / "architecture.md").read_text().partition("## Where each thing lives")[2].partition("\n## ")[0]
    for row in table.splitlines():
        names = re.findall("`([a-z_/]+(?:[.]py|/))`", row)
        if row.startswith("| **"):
            folder = PACKAGE.joinpath(*names)
        elif row.startswith("|"):
            named |= {path for name in names for path in [folder / name, *(folder / name).glob("*.py")]}
    assert {path for path in named if not path.exists()} == set()
    assert {path for path in MODULES.values() if path.name != "__init__.py"} - named == set()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_inwards(module: str) -> None:
    """A module knows only what stands above it or beside it; nothing but the package itself knows the package."""
    for name in needed(module):
        assert line_of(name) <= line_of(module), f"{module} imports {name}"


def test_no_import_goes_in_a_circle() -> None:
    """Neither when the package is imported nor when it is used: what a function imports counts, too."""
    TopologicalSorter({module: needed(module) for module in MODULES}).prepare()


@pytest.mark.parametrize("name", ["light", "dark"])
def test_the_drawing_shows_the_imports_of_today(name: str) -> None:
    """make drawing draws it anew."""
    assert written(edges()) in (DOCS / f"architecture-{name}.svg").read_text()


def test_no_module_is_too_long_to_read() -> None:
    """400 lines, and no function more than 45."""
    assert {module: lines for module, path in MODULES.items() if (lines := len(path.read_text().splitlines())) > 400} == {}
    functions = {
        f"{module}.{node.name}": node.end_lineno - node.lineno + 1
        for module, path in MODULES.items()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None
    }
    assert {name: lines for name, lines in functions.items() if lines > 45} == {}


def test_no_store_knows_a_token_a_codec_a_clock_or_http() -> None:
    """A store gets bytes and an absolute expiry."""
    unknown = {"tokens", "codecs", "lifetime", "record", "notes", "rules", "values", "session", "cookies"}
    for module, path in MODULES.items():
        if is_in(module, "stores"):
            assert {name.partition(".")[0] for name in needed(module)}.isdisjoint(unknown)
            assert {name.split(".")[0] for name in imported(path)}.isdisjoint({"webob", "msgpack"})


@pytest.mark.parametrize("module", ["rules", "record", "notes", "tokens", "lifetime", "headers", "codecs", "values"])
def test_what_decides_does_no_io(module: str) -> None:
    """Rules, formats and arithmetic know no store, no clock and no HTTP."""
    reached, ahead = set(), [module]
    while ahead:
        name = ahead.pop()
        reached.add(name)
        ahead.extend(needed(name) - reached)

    assert {name.partition(".")[0] for name in reached} <= {
        "exceptions",
        "frozen",
        "tokens",
        "lifetime",
        "codecs",
        "headers",
        "notes",
        "record",
        "rules",
        "values",
    }
    for name in reached:
        assert imported(MODULES[name]).isdisjoint({"time", "socket", "os", "pathlib", "threading", "io", "webob"})


@pytest.mark.parametrize("library", USERS)
def test_a_library_is_imported_in_one_place(library: str) -> None:
    """A driver or a framework is known to one module, or to the few that are named; and to each of them."""
    found = [module for module, path in MODULES.items() if library in {name.split(".")[0] for name in imported(path)}]

    assert [module for module in found if not any(is_in(module, user) for user in USERS[library])] == []
    assert [user for user in USERS[library] if not any(is_in(module, user) for module in found)] == []


FORBIDDEN = {"pickle", "marshal", "shelve", "http.cookies", "random", "yaml", "threading.Thread"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_in_the_package_runs_data_or_guesses(module: str) -> None:
    """Promises 10 and 11: no pickle and its like, no eval, no weak randomness, no lenient cookie parser."""
    tree = tree_of(MODULES[module])
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}

    # Tests run requests at the same time, and pick some orders of their calls by chance.
    allowed = {"threading.Thread", "random"} if is_in(module, "testing") else set()
    if module == "observers.queued":
        allowed = {"threading.Thread"}
    assert imported(MODULES[module]).isdisjoint(FORBIDDEN - allowed)
    assert calls.isdisjoint({"eval", "exec", "compile", "__import__"})


@pytest.mark.parametrize("module", ["cookies", "headers", "exchange", "middleware"])
def test_white_space_is_named_where_headers_are_read(module: str) -> None:
    """K-22: a bare strip() takes characters for white space that browsers do not."""
    for node in ast.walk(tree_of(MODULES[module])):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in ("strip", "lstrip", "rstrip") or node.args


def run(program: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True, timeout=600
    )
    return result.stdout.strip()


def test_importing_brings_in_no_framework_no_driver_and_no_thread() -> None:
    """Only msgpack; WebOb comes when a cookie is built, and nothing else does."""
    program = """
import sys, threading
before = set(sys.modules)
import session_middleware
files = [getattr(module, "__file__", None) or "" for name, module in sys.modules.items() if name not in before]
print(sorted({name.split("site-packages/")[1].split("/")[0] for name in files if "site-packages/" in name}))
print(threading.active_count(), "sqlite3" in sys.modules, "webob" in sys.modules)
session_middleware.SessionMiddleware(lambda environ, start_response: [], "memory:")
print(threading.active_count(), "webob" in sys.modules)
"""
    assert run(program) == "['msgpack']\n1 False False\n1 True"


# What the package can do without until it is used; each took a noticeable part of the time of the import.
LATER = [
    "ctypes",
    "dataclasses",
    "email",
    "importlib.metadata",
    "inspect",
    "socket",
    "sqlite3",
    "tempfile",
    "webob",
    "zoneinfo",
]


def test_importing_brings_in_little() -> None:
    """A short program, such as the command of a console, is not kept waiting; nothing is imported to be there in case."""
    program = f"""
import logging, sys  # which needs more of them from one Python to the next
before = set(sys.modules)
import session_middleware
print(sorted((sys.modules.keys() - before) & set({LATER!r})))
"""
    assert run(program) == "[]"


def test_a_store_of_the_package_is_imported_when_it_is_asked_for() -> None:
    """SQLite has a driver, too: the name is there all the same, and no other."""
    assert session_middleware.SQLiteStore is SQLiteStore
    assert {"SQLiteStore", "MemoryStore"} <= {
        name for name in session_middleware.__all__ if hasattr(session_middleware, name)
    }
    with pytest.raises(AttributeError, match="has no attribute 'RedisStore'"):
        session_middleware.RedisStore  # noqa: B018  # the point of it


@pytest.mark.parametrize(
    "statement",
    [
        "import session_middleware",
        "import session_middleware; session_middleware.SessionMiddleware(lambda environ, start_response: [], 'memory:')",
        "import session_middleware.integrations.webob",
        "import session_middleware.integrations.flask",
        "import session_middleware.integrations.beaker",
        "import session_middleware.integrations.moving",
    ],
)
def test_no_warning_comes_from_what_is_imported(statement: str) -> None:
    """WebOb's own, of a module that Python has removed, is nothing that a user could act on."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", statement], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")


def test_constructing_leaves_nothing_open() -> None:
    """The store is tried, and no connection and no thread is left of that; without a try there is no file."""
    program = """
import os, tempfile, threading
os.chdir(tempfile.mkdtemp())
from session_middleware import SessionMiddleware, SQLiteStore
before = len(os.listdir("/dev/fd"))
SessionMiddleware(lambda environ, start_response: [], check_store=False)
print(os.listdir("."), threading.active_count(), len(os.listdir("/dev/fd")) - before)
SessionMiddleware(lambda environ, start_response: [])
print(os.listdir("."), threading.active_count(), len(os.listdir("/dev/fd")) - before)
"""
    assert run(program) == "[] 1 0\n['sessions.sqlite3'] 1 0"


def test_no_fact_stands_in_both_files_of_settings() -> None:
    """pyproject.toml holds what a standard defines, setup.cfg what only setuptools reads."""
    root = PACKAGE.parent
    sections = [line for line in (root / "setup.cfg").read_text().splitlines() if line.startswith("[")]

    assert sections == ["[metadata]", "[options]", "[options.packages.find]", "[options.package_data]"]
    assert "[tool.setuptools" not in (root / "pyproject.toml").read_text()


def test_the_package_is_typed() -> None:
    """PEP 561: the marker is there, and ships."""
    assert (PACKAGE / "py.typed").exists()
    assert "session_middleware = py.typed" in (PACKAGE.parent / "setup.cfg").read_text()


def test_no_file_of_the_tests_grows_too_long() -> None:
    """A file promises one thing; past 500 lines it promises several, and is to be split by them."""
    lengths = {path: len(path.read_text().splitlines()) for path in (PACKAGE.parent / "tests").rglob("*.py")}

    assert {str(path): length for path, length in lengths.items() if length > 500} == {}
