"""The lesson leads into the lab: to places that are there, and in the words that stand on them."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from tests.book.pages import DOCS, Page

LAB = "http://127.0.0.1:8000"
PAGES = {"en": Page("explanation/how-sessions-work"), "ko": Page("explanation/how-sessions-work.ko")}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Someone who looks at the lab, in process."""
    monkeypatch.chdir(tmp_path)
    recorder = importlib.import_module("examples.lab.app").make()
    yield TestApp(recorder)
    recorder.app.manager.store.close()


@pytest.mark.parametrize("language", PAGES)
def test_every_link_into_the_lab_leads_somewhere(lab: Any, language: str) -> None:
    """To a page, and to the part of it that is named."""
    links = re.findall(rf"\({LAB}(/[a-z-]*)(?:#([a-z-]+))?\)", PAGES[language].text)
    pages = {path: lab.get(path).text for path, _ in links}

    assert len(links) >= 6
    assert not [link for link in links if link[1] and f'id="{link[1]}"' not in pages[link[0]]]


@pytest.mark.parametrize("language", PAGES)
def test_each_of_the_six_steps_says_where_it_is_in_the_lab(language: str) -> None:
    """Six items, each with its line."""
    items = re.split(r"^\d\. ", PAGES[language].text, flags=re.MULTILINE)[1:]

    assert len(items) == 6
    assert all("*In the lab:*" in item or "*실습에서:*" in item for item in items)


@pytest.mark.parametrize(
    ("language", "quoted"),
    [
        ("en", ("Just read", "My sessions", "found; the secret is current", "password checked")),
        ("ko", ("읽기만 하기", "내 세션")),
    ],
)
def test_what_is_quoted_from_the_lab_stands_there(language: str, quoted: tuple[str, ...]) -> None:
    """Among its texts."""
    texts = (DOCS.parent / "examples" / "lab" / "texts" / f"{language}.toml").read_text()

    assert all(text in PAGES[language].text and text in texts for text in quoted)


@pytest.mark.parametrize("language", PAGES)
def test_its_pictures_are_there(language: str) -> None:
    """For light and for dark, each with words for who cannot see it."""
    pictures = re.findall(r"^```\{image\} (\S+)\n:class: only-(\w+)\n:alt: (.+)$", PAGES[language].text, re.MULTILINE)

    assert [scheme for _, scheme, _ in pictures] == ["light", "dark"]
    assert all((DOCS / "explanation" / path).is_file() and words for path, _, words in pictures)


def test_the_two_lead_to_each_other() -> None:
    """In the first lines."""
    assert "(how-sessions-work.ko.md)" in PAGES["en"].text[:200]
    assert "(how-sessions-work.md)" in PAGES["ko"].text[:200]
