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
    visitor.sign_in("alice")
    visitor.fill("/cart", item="Tea", quantity="2")
    visitor.press("/try/parallel")
    visitor.press("/try/break")
    visitor.go("/attacks")
    visitor.press("/try/planted")
    options = "{}" if scheme == "light" else "{runOnly: ['color-contrast']}"
    found = []
    for path in PAGES:
        visitor.go(path)
        visitor.page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
        visitor.page.evaluate(axe)
        for violation in visitor.page.evaluate(f"axe.run(document, {options}).then(result => result.violations)"):
            nodes = [node["html"][:120] for node in violation["nodes"][:4]]
            found.append((path, violation["impact"], violation["id"], nodes))

    assert [line for line in found if line[1] in ("serious", "critical")] == []
    visitor.complaints = [text for text in visitor.complaints if "404" not in text]
