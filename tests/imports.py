"""What the modules of the package import, and the order in which they may."""

import ast
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "session_middleware"

# Each imports only from a line above its own, or from its own line. A package stands for all that is in it.
LINES = [
    ["exceptions", "frozen", "clock", "advice", "events"],
    ["tokens", "lifetime", "codecs", "headers", "carry_over"],
    ["notes"],
    ["record", "stores.base", "stores.around", "stores.several"],
    ["describing", "devices"],
    ["moving"],
    ["stores"],
    ["telling", "health", "capacity"],
    ["observers"],
    ["values", "rules"],
    ["state"],
    ["facts"],
    ["session"],
    ["site_keys"],
    ["seal"],
    ["repository"],
    ["aliases", "limit"],
    ["commits", "takeover", "outage", "bound"],
    ["directory"],
    ["manager"],
    ["cookies"],
    ["config", "exchange"],
    ["binding"],
    ["middleware"],
    ["cli"],
    ["testing", "integrations"],
    ["", "__main__", "integrations.django.management"],
]

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in PACKAGE.rglob("*.py")
}


def imported(path: Path) -> set[str]:
    """Return the modules that *path* imports, absolute, with what is imported for types alone left out."""
    return {name for node in at_run_time(path) for whole in _names_of(node) for name in (whole, whole.rpartition(".")[0])}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def at_run_time(path: Path) -> Iterator[ast.AST]:
    for top in tree_of(path).body:
        if not isinstance(top, ast.If):
            yield from ast.walk(top)


def _names_of(node: ast.AST) -> set[str]:
    """Return what a statement imports: modules, and what is in them."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        return {f"{node.module}.{alias.name}" for alias in node.names}
    return set()


def needed(module: str) -> set[str]:
    """Return the modules of the package that *module* imports, at its top or in a function; ``""`` is the package itself."""
    found = set()
    for name in chain.from_iterable(map(_names_of, at_run_time(MODULES[module]))):
        package, *rest = name.split(".")
        if package == "session_middleware":
            own = ".".join(rest)
            found.add(own if own in MODULES else own.rpartition(".")[0])
    # What open_store() imports by name.
    return found | ({name for name in MODULES if is_in(name, "stores")} - {"stores"} if module == "stores" else set())


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def line_of(module: str) -> int:
    """Return the line of a module, or of the package that it is in."""
    names = [module]
    while "." in names[-1]:
        names.append(names[-1].rpartition(".")[0])
    return next(number for name in names for number, line in enumerate(LINES) if name in line)
