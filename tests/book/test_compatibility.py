"""What the page of compatibility says of versions is what the package asks for."""

import re
import tomllib
from pathlib import Path

from session_middleware.notes import pack_tombstone
from tests.book.pages import Page

PAGE = Page("reference/compatibility").text
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
NAMES = {"redis": "redis-py", "psycopg[binary]": "psycopg"}
USERS = ("redis", "memcached", "sqlalchemy", "postgresql", "mariadb", "flask", "django", "pyramid", "bottle")


def test_the_lower_bounds_are_those_of_the_metadata() -> None:
    """Of Python, of what is needed, and of each extra."""
    wanted = [*PROJECT["dependencies"], *(one for extra in USERS for one in PROJECT["optional-dependencies"][extra])]
    bounds = [one.split(">=") for one in wanted if ">=" in one]
    expected = {NAMES.get(name, name).lower(): bound for name, bound in bounds}
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) and later(?:, with (\w+) ([\d.]+))?", PAGE, re.MULTILINE)
    said = {name.lower(): bound for row in rows for name, bound in (row[:2], row[2:]) if name}

    assert said == {**expected, "python": PROJECT["requires-python"].removeprefix(">=")}


def test_there_is_one_format_of_records() -> None:
    """The first byte says which."""
    assert pack_tombstone()[0] == 1
    assert "There is one format, 1." in PAGE
