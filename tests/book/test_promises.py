"""The page of promises names every promise once, and tests that are there."""

import ast
import re
from pathlib import Path

from tests.book.pages import Page

TESTS = Path(__file__).parents[1]
PAGE = Page("explanation/promises").text


def there() -> set[str]:
    """Return the names of all tests, those for stores that come with the package among them."""
    places = [*TESTS.rglob("*.py"), *(TESTS.parent / "session_middleware").rglob("testing*/**/*.py")]
    return {
        node.name
        for path in places
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_promise_is_on_the_page() -> None:
    """Those from 1 to 21, and of options 23."""
    numbers = [int(number) for number in re.findall(r"^### (\d+)\. ", PAGE, re.MULTILINE)]

    assert sorted(numbers) == [*range(1, 22), 23]


def test_every_promise_names_tests() -> None:
    """Three at least."""
    pieces = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]

    assert not [piece.splitlines()[0] for piece in pieces if len(re.findall("`test_", piece.partition("Shown by:")[2])) < 3]


def test_the_tests_that_it_names_are_there() -> None:
    """Under these names."""
    assert set(re.findall(r"`(test_\w+)`", PAGE)) <= there()
