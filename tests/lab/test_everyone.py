"""The lab in Chromium is for everyone: in their language, without scripts, by keyboard, and on a phone."""

import pytest

from tests.lab.visitor import Arrive


def test_the_language_is_that_of_the_browser_until_another_is_chosen(arrive: Arrive) -> None:
    """``Accept-Language``; the choice is kept in the session and survives the sign-in."""
    visitor = arrive(language="ko")
    assert visitor.page.locator("html").get_attribute("lang") == "ko"
    assert visitor.text("h1") == "세션을 눈앞에서 봅니다."

    visitor.page.click('.languages button[value="en"]')
    visitor.page.wait_for_selector('html[lang="en"]')
    assert visitor.text("h1") == "See a session, live."
    visitor.sign_in("alice")
    visitor.go("/attacks")
    assert visitor.page.locator("html").get_attribute("lang") == "en"


def test_it_works_without_scripts(arrive: Arrive) -> None:
    """Forms and links do what they say; only what is about scripts says that they are off."""
    visitor = arrive(java_script_enabled=False)
    with visitor.page.expect_navigation():
        visitor.page.locator("#count button").click()
    assert visitor.text("#count .big strong") == "1"
    assert "POST /count" in visitor.requests()
    assert visitor.text("output.sees") == "(JavaScript is off)"

    with visitor.page.expect_navigation():
        visitor.page.locator("#parallel button").click()
    assert visitor.verdict("parallel") == "Held"
    visitor.go("/attacks")
    with visitor.page.expect_navigation():
        visitor.page.locator("#planted button").click()
    assert visitor.verdict("planted") == "Held"
    assert visitor.text("#script .notice").startswith("This one is about JavaScript")
    assert not visitor.page.locator('[data-run="script"]').is_visible()


def test_the_keyboard_reaches_everything_and_keeps_its_place(arrive: Arrive) -> None:
    """The first stop leads to the content; after an action the focus is where it was."""
    visitor = arrive()
    visitor.page.keyboard.press("Tab")
    assert visitor.page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(120):
        visitor.page.keyboard.press("Tab")
        reached.add(visitor.page.evaluate("document.activeElement.closest('form')?.getAttribute('action')"))
    forms = visitor.page.evaluate("[...document.forms].map(form => form.getAttribute('action'))")
    assert set(forms) <= reached

    visitor.page.locator("#count button").focus()
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector("body.refreshed")
    assert visitor.page.evaluate("document.activeElement.closest('.card')?.id") == "count"


def test_the_focus_stays_on_the_button_that_was_pressed(arrive: Arrive) -> None:
    """Also where several forms do the same; where it is gone, the focus is in the content."""
    visitor = arrive()
    visitor.fill("/cart", item="Coffee", quantity="1")
    visitor.fill("/cart", item="Tea", quantity="1")
    visitor.page.locator("#remember button").last.focus()
    visitor.enter()
    assert visitor.page.evaluate("document.activeElement.textContent") == "Forget that again"

    visitor.page.locator("#cart .lines button").last.focus()
    visitor.enter()
    assert visitor.page.evaluate("document.activeElement.id") == "main"


def test_what_came_of_it_is_said(arrive: Arrive) -> None:
    """To who cannot see that the page has changed."""
    visitor = arrive()
    said = visitor.page.locator("#announcement")
    for action, outcome in (("/try/break", "Held"), ("/flash", "Hello!"), ("/count", "Lab · Session lab")):
        visitor.press(action)
        said.filter(has_text=outcome).wait_for(state="attached")


def test_a_double_click_sends_a_form_once(arrive: Arrive) -> None:
    """While the answer is on its way, another click is none."""
    visitor = arrive()
    visitor.page.evaluate(
        "const button = document.querySelector('#count button'); document.body.dataset.stale = '';"
        " button.click(); button.click()"
    )
    visitor.page.wait_for_selector("body:not([data-stale])")
    visitor.read_again()

    assert visitor.text("#count .big strong") == "1"


def test_a_label_leads_to_its_field(arrive: Arrive) -> None:
    """On the page that has a lot else beside the form."""
    visitor = arrive()
    for label in ("Name", "Password", "Remember me for 30 days"):
        assert visitor.page.locator("#sign-in").get_by_label(label, exact=True).count() == 1


def test_on_a_phone_both_sides_stay_in_sight(arrive: Arrive) -> None:
    """Whatever is pressed, and however far down: the token in the browser, and who, how much and which version is stored."""
    visitor = arrive(viewport={"width": 390, "height": 844})
    visitor.page.locator("#count button").scroll_into_view_if_needed()

    def seen() -> list[str]:
        sides = visitor.page.locator(".glance p")
        assert all(0 < (side.bounding_box() or {"y": -1})["y"] < 844 for side in sides.all())
        return [text.replace("\n", " ") for text in sides.all_inner_texts()]

    first = seen()
    visitor.press("/count", within="#count")
    second = seen()
    assert first[0] == second[0] == f"In your browser {visitor.token[:16]}…"
    assert second[1] == f"On the server keys: 2 · version {visitor.text('#version')}"
    assert first[1] != second[1]
    visitor.sign_in("alice")
    assert seen()[0] == f"In your browser {visitor.token[:16]}…" != first[0]
    assert seen()[1].startswith("On the server alice · keys: ")

    visitor.page.set_viewport_size({"width": 1280, "height": 900})
    assert not visitor.page.locator(".glance").is_visible()


@pytest.mark.parametrize("language", ["en", "ko"])
def test_nothing_is_wider_than_a_phone(arrive: Arrive, language: str) -> None:
    """At 360 pixels nobody has to scroll sideways, on any page."""
    visitor = arrive(language=language, viewport={"width": 360, "height": 740})
    visitor.sign_in("alice")
    visitor.press("/try/parallel")
    widths = {}
    for path in ("/", "/attacks", "/sessions", "/sign-in", "/untouched"):
        visitor.go(path)
        widths[path] = visitor.page.evaluate("document.documentElement.scrollWidth")

    assert {path: width for path, width in widths.items() if width > 360} == {}
