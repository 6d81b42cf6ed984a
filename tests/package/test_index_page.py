"""README.md as an index of packages shows it: what is not allowed there is taken out, and nothing is beside it."""

import re
from html.parser import HTMLParser

import pytest
from readme_renderer.markdown import render

from tests.package.conftest import ROOT


class Page(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str, attribute: str) -> list[str]:
        return [attributes.get(attribute) or "" for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page() -> Page:
    html = render((ROOT / "README.md").read_text())
    assert html is not None, "the text cannot be rendered"
    return Page(html)


def test_it_has_headings_tables_and_coloured_code(page: Page) -> None:
    """It is rendered, and not shown as plain text."""
    tags = {tag for tag, _ in page.tags}
    assert {"h1", "h2", "table", "pre", "code", "span"} <= tags


def test_no_picture_is_looked_for_beside_it(page: Page) -> None:
    """A relative address leads nowhere there, and a ``data:`` address is taken out: what is drawn is drawn in text."""
    assert [source for source in page.all("img", "src") if not source.startswith("https://")] == []


def test_each_link_leads_somewhere(page: Page) -> None:
    """To a heading of the page, to a file that comes with the source package, or to an address."""
    headings = {attributes.get("id") for _, attributes in page.tags}
    for target in page.all("a", "href"):
        if target.startswith("#"):
            assert target[1:].removeprefix("user-content-") in {str(each).removeprefix("user-content-") for each in headings}
        elif not target.startswith("https://"):
            assert (ROOT / target.partition("#")[0]).exists(), target


def test_nothing_is_taken_out_of_it() -> None:
    """It has no tag that an index does not allow."""
    outside_code = re.sub(r"^```.*?^```$|`[^`\n]+`", "", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"<[a-z]+[ >]", outside_code) == []
