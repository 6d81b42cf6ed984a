"""``session-middleware copy``: what it prints, and how it ends."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from session_middleware import SQLiteStore, Store, moving
from session_middleware.cli import copy as command
from session_middleware.testing import filled
from tests.cli.running import here


@pytest.fixture
def urls(tmp_path: Path) -> list[str]:
    return [f"sqlite:///{tmp_path}/{name}.sqlite3" for name in ("old", "new")]


@pytest.fixture
def old(tmp_path: Path) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(tmp_path / "old.sqlite3")) as store:
        yield store


def test_copy_in_words_and_as_json(urls: list[str], old: SQLiteStore) -> None:
    """How many were copied, and how many are left."""
    filled(old, 7)

    assert here("copy", *urls).output == "copied 7, 0 left\n"
    assert json.loads(here("copy", *urls, "--json").output)["result"] == {"copied": 0, "left": 0}


@pytest.mark.parametrize("as_json", [False, True])
def test_copy_is_interrupted_and_goes_on(
    urls: list[str], old: SQLiteStore, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    """What was done until then is said, and the code is that of Ctrl-C."""
    filled(old, 5)
    true_copy = moving.copy

    def copy(source: Store, target: Store, *, progress: Callable[[int], object]) -> int:
        def interrupted(moved: int) -> None:
            progress(moved)
            if moved == 3:
                raise KeyboardInterrupt

        left: int = true_copy(source, target, progress=interrupted)
        return left

    monkeypatch.setattr(command, "copy", copy)
    done = here("copy", *urls, *["--json"] * as_json)

    assert done.exit_code == 130
    assert ('"copied": 3, "left": null' if as_json else "copied 3\n") in done.output
    assert "run it again to go on" in done.output
    monkeypatch.undo()
    assert here("copy", *urls).output == "copied 2, 0 left\n"


def test_copy_says_that_some_are_left(urls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It has not done all, and its code says so."""
    Path(urls[0].removeprefix("sqlite:///")).touch()
    monkeypatch.setattr(command, "copy", lambda source, target, *, progress: 4)
    done = here("copy", *urls)

    assert (done.exit_code, done.output) == (1, "copied 0, 4 left\n")


def test_copy_from_a_store_that_cannot_be_listed_is_refused(urls: list[str]) -> None:
    """Promise 15."""
    done = here("copy", "memcached://localhost:11211", urls[1])

    assert done.exit_code == 2
    assert "cannot list" in done.output
