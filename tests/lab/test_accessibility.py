"""axe-core finds nothing serious on any page, in either language, light or dark."""

from collections.abc import Callable
from importlib.resources import files

import pytest

from tests.lab.visitor import Visitor

PAGES = ["/", "/attacks", "/sessions", "/sign-in", "/untouched", "/nowhere"]


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core."""
    try:
        return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    except ModuleNotFoundError:
        pytest.skip("axe-core is not installed: pip install axe-playwright-python")


@pytest.mark.parametrize(("language", "scheme"), [("en", "light"), ("ko", "light"), ("en", "dark")])
def test_no_page_has_a_serious_violation(arrive: Callable[..., Visitor], axe: str, language: str, scheme: str) -> None:
    """WCAG 2.2 A and AA as far as a program can tell, with results and lists to look at. Dark differs in colours alone."""
    visitor = arrive(language=language, color_scheme=scheme, reduced_motion="reduce")
    options = "{}" if scheme == "light" else "{runOnly: ['color-contrast']}"
    found = _violations(visitor, axe, options, "/ of nobody")
    visitor.sign_in("alice")
    visitor.fill("/cart", item="Tea", quantity="2")
    visitor.press("/try/parallel")
    visitor.press("/try/break")
    visitor.go("/attacks")
    visitor.press("/try/planted")
    visitor.press("/try/bound")
    for path in PAGES:
        visitor.go(path)
        found += _violations(visitor, axe, options, path)

    assert [line for line in found if line[1] in ("serious", "critical")] == []
    visitor.complaints = [text for text in visitor.complaints if "404" not in text]


def _violations(visitor: Visitor, axe: str, options: str, page: str) -> list[tuple[str, str, str, list[str]]]:
    visitor.page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    visitor.page.evaluate(axe)
    violations = visitor.page.evaluate(f"axe.run(document, {options}).then(result => result.violations)")
    return [(page, each["impact"], each["id"], [node["html"][:120] for node in each["nodes"][:4]]) for each in violations]
