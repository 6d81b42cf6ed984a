"""Each attack of the lab fails, in Chromium."""

from typing import TYPE_CHECKING

import pytest

from tests.lab.visitor import Arrive

if TYPE_CHECKING:
    from playwright.sync_api import Route

ATTACKS = [
    "planted",
    pytest.param("before-sign-in", marks=pytest.mark.timed),
    *("after-sign-out", "thief", "damaged", "two-cookies", "bound"),
]


def test_a_script_that_wants_the_cookie_gets_nothing(arrive: Arrive) -> None:
    """HttpOnly: neither ``document.cookie`` nor the Cookie Store API has it; one that a script can see is reported."""
    visitor = arrive("/attacks")
    visitor.page.click('[data-run="script"]')
    visitor.page.wait_for_selector('[data-result="script"] .verdict')

    assert visitor.verdict("script") == "Held"
    assert visitor.text('[data-sees="document.cookie"]') == "(nothing)"
    assert visitor.text('[data-sees="cookieStore"]') == "(nothing)"

    # The result stands there as those of the others do.
    visitor.press("/try/damaged")
    visitor.page.wait_for_selector('[data-result="script"] .verdict.held')
    visitor.go("/")
    visitor.go("/attacks")
    visitor.page.wait_for_selector('[data-result="script"] .verdict.held')

    visitor.page.evaluate("document.cookie = 'session=made-up; path=/attacks'")
    visitor.page.click('[data-run="script"]')
    visitor.page.wait_for_selector('[data-result="script"] .verdict.broken')
    assert visitor.verdict("script") == "Failed"


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_fails(arrive: Arrive, name: str) -> None:
    """Promises 5, 11, 18 and 19; the page says what was sent, what came of it, and why."""
    visitor = arrive("/attacks")
    visitor.press(f"/try/{name}")

    assert visitor.verdict(name) == "Held"
    facts = visitor.facts(name)
    assert len(facts) >= 2
    for_nobody = (
        *("replayed", "both", "changed", "cut", "id_alone", "quoted", "guessed", "copied", "renewed", "under_way"),
        *("alone", "too_late"),
    )
    assert {key: text for key, text in facts.items() if key in for_nobody and not text.endswith(": nobody")} == {}
    assert visitor.text(f"#{name} .why")
    assert visitor.page.url == f"{visitor.url}/attacks"


def test_what_takes_a_while_says_so_beside_the_button(arrive: Arrive) -> None:
    """At once, until the answer is there."""
    visitor = arrive("/attacks")
    held: list[Route] = []
    visitor.page.route("**/try/two-cookies", lambda route: held.append(route))
    form = visitor.page.locator('form[action="/try/two-cookies"]')
    shown = "form => getComputedStyle(form, '::after').content"
    assert form.evaluate(shown) == "none"

    form.locator("button").click()
    assert form.evaluate(shown) == '"Running …"'
    while not held:
        visitor.page.wait_for_timeout(10)
    held[0].continue_()
    visitor.page.wait_for_selector('[data-result="two-cookies"] .verdict')
    assert form.evaluate(shown) == "none"
    visitor.page.unroute("**/try/two-cookies")
