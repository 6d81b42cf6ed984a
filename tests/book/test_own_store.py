"""The page about a store of one's own: its store passes the suite, and serves."""

import sys
import tomllib
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from session_middleware import SessionManager, open_store
from session_middleware.testing import a_key, created
from tests.book.pages import DOCS, Block


@pytest.fixture
def pages_modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The files of the page are modules, and no others of these names are in the way."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("file_store", "shop"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_the_store_of_the_page_passes_the_contract(claimed: list[Block]) -> None:
    """By the lines that the page says to type, in an empty directory."""
    (command,) = [block for block in claimed if not block.caption]
    for block in claimed:
        if block.caption:
            block.write()
    said = command.shell(PYTHONPATH=str(DOCS.parent), PYTEST_ADDOPTS="-p no:cacheprovider -q")

    assert " passed" in said
    assert "failed" not in said


@pytest.mark.usefixtures("pages_modules")
def test_the_store_of_the_page_serves_a_site(claimed: list[Block]) -> None:
    """And ends a session for good; the files are closed to others."""
    names: dict[str, Any] = {}
    for block in claimed:
        block.write()
    for block in claimed:
        if block.caption == "shop.py":
            block.execute(names)
    browser = TestApp(names["application"])
    assert [browser.get("/").text for _ in range(2)] == ["visit number 1\n", "visit number 2\n"]

    manager: SessionManager = names["application"].manager
    assert manager.revoke_everybody() == 1
    assert browser.get("/").text == "visit number 1\n"
    assert Path("sessions").stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("pages_modules")
def test_the_entry_point_of_the_page_is_found(claimed: list[Block], monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installed package with these lines in its pyproject.toml would have it."""
    (toml,) = [block for block in claimed if block.language == "toml"]
    for block in claimed:
        if block.caption:
            block.write()
    groups = tomllib.loads(toml.text)["project"]["entry-points"]
    found = EntryPoints(
        EntryPoint(name=name, value=value, group=group) for group, names in groups.items() for name, value in names.items()
    )
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **select: found.select(**select))
    store: Any = open_store("files:sessions")

    assert type(store).__name__ == "FileStore"
    created(store, key := a_key())
    assert list(store.keys()) == [key]
    assert store.delete(key)
    assert repr(store) == f"FileStore('{Path.cwd()}/sessions')"
