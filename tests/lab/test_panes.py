"""What the lab shows in Chromium of the browser and the server, and the drawing of what passed between them."""

import re
from pathlib import Path

import pytest

from tests.lab.conftest import APPLICATION, SETTINGS
from tests.lab.visitor import Arrive
from tests.servers.gunicorn import Gunicorn, SecureGunicorn


def test_the_cookie_in_the_jar_is_httponly_lax_and_for_this_host(arrive: Arrive, lab: Gunicorn) -> None:
    """Design, section 6: as the browser itself keeps it; it ends with the browser, and holds a token alone."""
    cookie = arrive().cookie()

    assert cookie is not None
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"], cookie["secure"]) == (True, "Lax", "/", False)
    assert (cookie["domain"], cookie["expires"], len(cookie["value"])) == ("127.0.0.1", -1, 40)


def test_a_script_sees_no_cookie(arrive: Arrive) -> None:
    """HttpOnly: ``document.cookie`` is empty, for a script of the page and for any other."""
    visitor = arrive()

    assert visitor.page.evaluate("document.cookie") == ""
    assert visitor.text('output[data-sees="cookie"]') == "(nothing)"
    assert len(visitor.context.cookies()) == 2


def test_over_https_the_cookie_is_secure_and_bound_to_the_host(
    arrive: Arrive, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    """Design, section 6: ``__Host-session``, Secure, no Domain; and everything works there, too."""
    cert, key = map(str, certificate)
    with SecureGunicorn(APPLICATION, *SETTINGS, "--certfile", cert, "--keyfile", key, cwd=tmp_path) as server:
        visitor = arrive(url=server.url)
        cookie = visitor.cookie("__Host-session")
        assert cookie is not None
        assert (cookie["secure"], cookie["httpOnly"], cookie["path"], cookie["sameSite"]) == (True, True, "/", "Lax")
        assert visitor.cookie("session") is None
        assert visitor.text(".token .name") == "__Host-session="

        visitor.sign_in("alice")
        assert visitor.who() == "alice"
        visitor.press("/try/parallel")
        assert visitor.verdict("parallel") == "Held"
        visitor.go("/attacks")
        visitor.press("/try/after-sign-out")
        assert visitor.verdict("after-sign-out") == "Held"


def test_the_token_is_not_on_the_page(arrive: Arrive) -> None:
    """Promise 11: not in the HTML of any page, before sign-in or after; nor is the lab's own cookie. The id is."""
    visitor = arrive()
    for path in ("/", "/attacks", "/sign-in"):
        visitor.go(path)
        values = [cookie.get("value", "") for cookie in visitor.context.cookies()]
        assert not [value for value in values if value in visitor.page.content()]
    visitor.go("/")
    visitor.sign_in("alice")

    assert visitor.token not in visitor.page.content()
    assert visitor.text(".token code") == f"session={visitor.token[:16]}…"
    assert visitor.text(".token code .id") == visitor.session_id == visitor.token[:12]
    assert visitor.token[16:] not in visitor.page.content()


def test_the_server_pane_shows_what_is_stored(arrive: Arrive) -> None:
    """Keys, values, bytes, version and size; the version, shortened, changes with each write, the secret of the forms is
    not shown."""
    visitor = arrive()
    version = visitor.text("#version")
    visitor.press("/count")

    assert visitor.data == {"csrf": "(kept from this page)", "visits": "1"}
    assert visitor.text("#data .stored") == "01 1 byte"
    assert re.fullmatch("[0-9a-f]{8}", version)
    assert re.fullmatch("[0-9a-f]{8}", visitor.text("#version"))
    assert visitor.text("#version") != version
    assert visitor.text("#size").endswith(" bytes")
    assert visitor.page.locator("#idle .countdown").inner_text().startswith(("59 minutes", "1 hour"))
    assert visitor.page.locator("#absolute .countdown").inner_text().startswith(("23 hours", "24 hours", "1 day"))


def test_the_first_visit_gets_a_session_in_the_steps_of_the_lesson(arrive: Arrive) -> None:
    """No cookie came (1), a record was made (3), Set-Cookie went out (4): the drawing shows this very request."""
    visitor = arrive()
    drawing = visitor.newest("GET /")

    text = drawing.locator("svg.sequence").text_content() or ""
    assert "no session cookie" in text
    assert "create ·" in text
    assert f"Set-Cookie: session={visitor.token[:16]}…; Path=/; HttpOnly" in visitor.words("GET /")
    assert f"{visitor.token[:16]}…" in text
    assert "HttpOnly" in text
    assert drawing.locator("circle.step").count() == 3
    assert visitor.page.locator(".steps li.on").count() == 3


def test_reading_writing_and_touching_nothing_look_different(arrive: Arrive) -> None:
    """Promises 1 and 2: a read asks the store once and writes nothing; an untouched request asks nothing."""
    visitor = arrive()
    visitor.read_again()
    read = visitor.newest("GET /")
    assert "read" in (read.get_attribute("class") or "")
    assert read.locator("line.arrow").count() - 4 == 1
    assert "load ·" in read.inner_text()

    visitor.press("/count")
    assert "write" in (visitor.newest("POST /count").get_attribute("class") or "")
    assert "update ·" in visitor.newest("POST /count").inner_text()

    visitor.page.locator("a.quick-untouched").click()
    visitor.page.wait_for_url("**/untouched*")
    untouched = visitor.newest("GET /untouched")
    assert "untouched" in (untouched.get_attribute("class") or "")
    assert untouched.locator("line.arrow").count() == 4
    assert untouched.locator(".load, .store").count() == 0


def test_the_session_id_in_the_drawing_is_that_of_the_session(arrive: Arrive) -> None:
    """``session.id`` is safe to show; it is the first part of the cookie, in the same colour."""
    visitor = arrive()
    visitor.press("/count")
    band = visitor.newest("POST /count")

    assert band.locator("p.of").inner_text() == f"session.id = {visitor.session_id}"
    assert band.locator("svg tspan.id").first.text_content() == visitor.session_id
    assert band.locator("svg tspan.secret").first.text_content() == f"{visitor.token[12:16]}…"


_ACROSS = """
[...document.querySelectorAll("svg.sequence")].flatMap((drawing) => {
  const lines = [...drawing.querySelectorAll(".life")].map((line) => line.getBoundingClientRect().x);
  return [...drawing.querySelectorAll("text:not(.step)")].filter((label) => {
    const { left, right } = label.getBoundingClientRect();
    return lines.some((line) => left < line && line < right);
  }).map((label) => label.textContent);
})
"""


@pytest.mark.parametrize("language", ["en", "ko"])
def test_no_label_runs_across_a_lifeline(arrive: Arrive, language: str) -> None:
    """On a screen of 1280 pixels; labels that are too long go on in the next line."""
    visitor = arrive(language=language, viewport={"width": 1280, "height": 900})
    visitor.press("/count")
    visitor.sign_in("alice", remember=True)
    visitor.press("/regenerate")
    visitor.press("/try/double-click")
    found = []
    for page, action in (("/", "/try/writers"), ("/attacks", "/try/thief"), ("/attacks", "/try/damaged")):
        visitor.go(page)
        visitor.press(action)
        visitor.page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
        assert visitor.page.locator("svg.sequence").count() > 5
        found += visitor.page.evaluate(_ACROSS)

    assert found == []
