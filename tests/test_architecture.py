"""What the package is made of, and what it must not be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "session_middleware"

# Each imports only from a line above its own, or from its own line. A package stands for all that is in it.
LINES = [
    ["exceptions"],
    ["tokens", "lifetime", "refusals", "codecs", "headers", "carrying"],
    ["record", "stores.base"],
    ["merge", "stores"],
    ["session"],
    ["repository"],
    ["commits", "takeover"],
    ["manager"],
    ["cookies"],
    ["config"],
    ["middleware"],
    ["testing", "integrations"],
    [""],
]

# What only one module, or one package, may import.
USERS = {
    "webob": ["cookies", "integrations.webob"],
    "msgpack": ["codecs", "integrations.moving"],
    "sqlite3": ["stores.sqlite"],
    "redis": ["stores.redis", "integrations.moving"],
    "hiredis": ["stores.redis"],
    "pymemcache": ["stores.memcached"],
    "sqlalchemy": ["stores.sqlalchemy", "integrations.moving"],
    "flask": ["integrations.flask"],
    "django": ["integrations.django", "integrations.moving"],
    "pyramid": ["integrations.pyramid"],
    "bottle": ["integrations.bottle"],
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in PACKAGE.rglob("*.py")
}


def imported(path: Path) -> set[str]:
    """Return the modules that *path* imports, absolute, with what is imported for types alone left out."""
    tree = ast.parse(path.read_text())
    at_run_time = [node for node in tree.body if not isinstance(node, ast.If)]
    return {name for top in at_run_time for node in ast.walk(top) for name in _imported_by(node)}


def _imported_by(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        return {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return set()


def line_of(module: str) -> int:
    """Return the line of a module, or of the package that it is in."""
    names = [module]
    while "." in names[-1]:
        names.append(names[-1].rpartition(".")[0])
    return next(number for name in names for number, line in enumerate(LINES) if name in line)


def test_every_module_has_its_line() -> None:
    """A new module says where it belongs."""
    assert all(line_of(module) >= 0 for module in MODULES)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_inwards(module: str) -> None:
    """A module knows only what stands above it or beside it."""
    own = {name.removeprefix("session_middleware").lstrip(".") for name in imported(MODULES[module]) if name}
    for name in own & MODULES.keys():
        if name:
            assert line_of(name) <= line_of(module), f"{module} imports {name}"


def test_no_store_knows_a_token_a_codec_a_clock_or_http() -> None:
    """A store gets bytes and an absolute expiry."""
    for module, path in MODULES.items():
        if module.startswith("stores"):
            names = {name.removeprefix("session_middleware.").split(".")[0] for name in imported(path)}
            assert names.isdisjoint({"tokens", "codecs", "lifetime", "record", "session", "cookies", "webob", "msgpack"})


@pytest.mark.parametrize("library", USERS)
def test_a_library_is_imported_in_one_place(library: str) -> None:
    """A driver or a framework is known to one module, or to the few that were split off from it."""
    for module, path in MODULES.items():
        if library in {name.split(".")[0] for name in imported(path)}:
            assert module.startswith(tuple(USERS[library])), module


FORBIDDEN = {"pickle", "marshal", "shelve", "http.cookies", "random", "yaml", "threading.Thread"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_in_the_package_runs_data_or_guesses(module: str) -> None:
    """Promises 10 and 11: no pickle and its like, no eval, no weak randomness, no lenient cookie parser."""
    tree = ast.parse(MODULES[module].read_text())
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}

    assert imported(MODULES[module]).isdisjoint(FORBIDDEN - ({"threading.Thread"} if module == "testing" else set()))
    assert calls.isdisjoint({"eval", "exec", "compile", "__import__"})


@pytest.mark.parametrize("module", ["cookies", "headers", "middleware"])
def test_white_space_is_named_where_headers_are_read(module: str) -> None:
    """K-22: a bare strip() takes characters for white space that browsers do not."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in ("strip", "lstrip", "rstrip") or node.args


def run(program: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return result.stdout.strip()


def test_importing_brings_in_no_framework_no_driver_and_no_thread() -> None:
    """WebOb and msgpack are all that it needs."""
    program = """
import sys, threading
before = set(sys.modules)
import session_middleware
files = [getattr(module, "__file__", None) or "" for name, module in sys.modules.items() if name not in before]
print(sorted({name.split("site-packages/")[1].split("/")[0] for name in files if "site-packages/" in name}))
print(threading.active_count())
"""
    assert run(program) == "['msgpack', 'webob']\n1"


def test_constructing_opens_nothing() -> None:
    """No connection, no file and no thread before the first use."""
    program = """
import os, tempfile, threading
os.chdir(tempfile.mkdtemp())
from session_middleware import SessionMiddleware
SessionMiddleware(lambda environ, start_response: [])
print(os.listdir("."), threading.active_count())
"""
    assert run(program) == "[] 1"


def test_no_fact_stands_in_both_files_of_settings() -> None:
    """pyproject.toml holds what a standard defines, setup.cfg what only setuptools reads."""
    root = PACKAGE.parent
    sections = [line for line in (root / "setup.cfg").read_text().splitlines() if line.startswith("[")]

    assert sections == ["[options]", "[options.packages.find]", "[options.package_data]"]
    assert "[tool.setuptools" not in (root / "pyproject.toml").read_text()


def test_the_package_is_typed() -> None:
    """PEP 561: the marker is there, and ships."""
    assert (PACKAGE / "py.typed").exists()
    assert "session_middleware = py.typed" in (PACKAGE.parent / "setup.cfg").read_text()
