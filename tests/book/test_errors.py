"""The page of errors describes each exception, and quotes lines that the package logs."""

import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import session_middleware
from session_middleware import SessionError
from tests.book.pages import Page

PACKAGE = Path(session_middleware.__file__).parent
PAGE = Page("reference/errors").text
LEVELS = ("INFO", "WARNING", "ERROR")


def logged(*, core: bool) -> Iterator[tuple[str, str]]:
    """Yield the level and the text of each line that the core logs, or else the stores and integrations."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if (path.relative_to(PACKAGE).parts[0] not in ("stores", "integrations", "testing")) is not core:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
            ):
                # log.log() is given the level: INFO, or DEBUG where nobody has asked for anything.
                level = "INFO" if node.func.attr == "log" else node.func.attr.upper()
                yield from (
                    (level, str(one.value)) for one in node.args if isinstance(one, ast.Constant) and level in LEVELS
                )


LINES = [(level, line) for level, line in re.findall(r"^\| ([A-Z]+) \| `([^`]+)` \|", PAGE, re.MULTILINE)]


def is_said(level: str, line: str, logs: Collection[tuple[str, str]]) -> bool:
    pattern = re.compile(".*".join(re.escape(piece) for piece in line.split("...")), re.DOTALL)
    return any(known == level and pattern.fullmatch(text) for known, text in logs)


def test_the_lines_on_the_page_are_logged() -> None:
    """At the level that it says."""
    logs = {*logged(core=True), *logged(core=False)}

    assert not [(level, line) for level, line in LINES if not is_said(level, line, logs)]


def test_every_line_of_the_core_is_on_the_page() -> None:
    """None is missing; those of single stores and integrations are on their own pages."""
    missing = [
        (level, text)
        for level, text in logged(core=True)
        if not any(is_said(known, line, {(level, text)}) for known, line in LINES)
    ]

    assert LINES
    assert not missing


def test_every_exception_is_in_the_table() -> None:
    """But for the two that are never raised themselves."""
    kinds = [getattr(session_middleware, name) for name in session_middleware.__all__]
    errors = {kind.__name__ for kind in kinds if isinstance(kind, type) and issubclass(kind, SessionError)}
    table = PAGE[PAGE.index("## When, and what the client sees") : PAGE.index("## The log")]

    assert errors - {name for name in errors if f"| `{name}` |" in table} == {"SessionError", "StoreError"}
