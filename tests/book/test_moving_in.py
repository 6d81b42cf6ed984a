"""What the page about moving in says; `tests/integrations/moving` moves the sessions of the libraries themselves."""

import inspect
import re
from typing import Any

import pytest
from webtest import TestApp

from session_middleware.integrations.moving import FromBeaker, FromDjango, FromFlaskSession
from session_middleware.manager import MAX_BYTES
from session_middleware.rules import OVERLAP
from tests.book.pages import Page

PAGE = Page("how-to/moving-in")


@pytest.fixture
def page() -> dict[str, Any]:
    return PAGE.run()


@pytest.mark.filterwarnings("ignore:session.save:DeprecationWarning")
@pytest.mark.parametrize("name", ["application", "old_application"])
def test_who_has_moved_needs_nothing_from_the_old_store(page: dict[str, Any], name: str) -> None:
    """The other library's Redis is asked only for who comes with its cookie."""
    browser = TestApp(page[name])

    assert [browser.get("/").text for _ in range(2)] == ["visit number 1\n", "visit number 2\n"]


def test_the_readers_are_those_of_the_libraries(page: dict[str, Any]) -> None:
    """Their options are understood."""
    assert isinstance(page["carry_over"], FromBeaker)
    assert callable(page["SESSION_MIDDLEWARE"]["carry_over"])


@pytest.mark.parametrize("cls", [FromBeaker, FromDjango, FromFlaskSession])
def test_every_option_of_moving_in_is_in_its_table(cls: type) -> None:
    """No option is missing, and none is made up."""
    start = PAGE.text.index("| option | of | default |")
    rows = [row.split("|")[1:3] for row in PAGE.text[start : PAGE.text.index("\n\n", start)].splitlines()[2:]]
    documented = {name for names, of in rows if "all" in of or cls.__name__ in of for name in re.findall(r"`(\w+)`", names)}

    assert documented == inspect.signature(cls).parameters.keys() - {"place"}


def test_the_numbers_are_those_of_the_code() -> None:
    """How long both cookies open a session, and how large it may be."""
    assert f"until ours has come, and for {OVERLAP} seconds after that" in PAGE.text.replace("\n", " ")
    assert f"`max_bytes` ({MAX_BYTES // 1024} KiB)" in PAGE.text
