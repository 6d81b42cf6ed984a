"""Each thing to do, each attack and the list of sessions, by clicking in Chromium; what came of it is read from the page."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.conftest import APPLICATION, SETTINGS, SecureGunicorn
from tests.lab.visitor import Visitor
from tests.servers.gunicorn import Gunicorn

if TYPE_CHECKING:
    from playwright.sync_api import Route

Arrive = Callable[..., Visitor]

ATTACKS = [
    "planted",
    pytest.param("before-sign-in", marks=pytest.mark.timed),
    *("after-sign-out", "thief", "damaged", "two-cookies"),
]


# What browser and server have


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


# The drawing


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


# Things to do


def test_signing_in_and_out(arrive: Arrive) -> None:
    """New secret, same id, the user on the page and the user database in the drawing (2); then all of it is gone."""
    visitor = arrive()
    token, session_id = visitor.token, visitor.session_id
    assert (visitor.text("#era"), visitor.secrets) == ("0", ["current"])
    visitor.sign_in("alice")

    assert visitor.who() == "alice"
    assert visitor.text("#user") == "alice"
    assert visitor.token not in ("", token)
    assert visitor.session_id == session_id == visitor.token[:12]
    assert (visitor.text("#era"), visitor.secrets) == ("1", ["current", "signed_in"])
    assert visitor.text("#secrets .current .mark") == "in your cookie"
    assert "password checked ·" in visitor.newest("POST /sign-in").inner_text()
    assert "same id, new secret, next era" in visitor.words("POST /sign-in")

    visitor.press("/sign-out", within="header")
    assert visitor.who() is None
    assert visitor.text("#user") == "nobody signed in"
    assert "delete ·" in visitor.newest("POST /sign-out").inner_text()


@pytest.mark.timed
def test_the_cookie_from_before_sign_in_reads_what_was_there_and_then_nothing(arrive: Arrive) -> None:
    """Promise 18: for ten seconds the snapshot, which nothing changes; the page counts them down, and shows no more."""
    visitor = arrive()
    visitor.press("/count")
    before = visitor.token
    visitor.sign_in("alice")
    visitor.press("/count")
    after = visitor.token
    assert visitor.text("#secrets .signed_in .countdown").startswith("reads the snapshot: ")
    assert visitor.text("#snapshot").startswith("csrf, visits")

    visitor.use(before)
    visitor.read_again()
    assert (visitor.who(), visitor.token) == (None, before)
    assert visitor.page.locator("#before tbody tr").all_inner_texts() == ["visits\t1"]
    assert "has just been replaced" in visitor.text("#ended")
    assert not visitor.has("#secrets, #data, #session-id")
    visitor.press("/count")
    assert visitor.page.locator("#before tbody tr").all_inner_texts() == ["visits\t1"]
    assert "found; the secret was replaced" in visitor.words("POST /count")

    visitor.use(after)
    visitor.read_again()
    assert (visitor.who(), visitor.data["visits"]) == ("alice", "2")
    visitor.page.wait_for_selector("#secrets .signed_in .countdown.over")
    assert visitor.text("#secrets .signed_in .countdown") == "opens nothing"
    visitor.use(before)
    visitor.read_again()
    assert "opens nothing any more" in visitor.text("#ended")
    assert visitor.session_id not in (before[:12], "")


def test_a_wrong_password_is_refused(arrive: Arrive) -> None:
    """The page says so, without telling which of the two was wrong."""
    visitor = arrive("/sign-in")
    visitor.page.fill("#user", "alice")
    visitor.page.fill("#password", "wrong")
    visitor.page.click('main form[action="/sign-in"] button')
    visitor.page.wait_for_selector('[role="alert"]')

    assert visitor.text('[role="alert"]') == "There is no such user, or the password is wrong."
    assert visitor.who() is None
    visitor.complaints = [text for text in visitor.complaints if "403" not in text]


def test_counting(arrive: Arrive) -> None:
    """One more with each click."""
    visitor = arrive()
    for number in ("1", "2", "3"):
        visitor.press("/count", within="#count")
        assert visitor.text("#count .big strong") == number


def test_the_nested_cart(arrive: Arrive) -> None:
    """Promise 8: the quantity deep inside adds up, survives the sign-in, and can be taken out."""
    visitor = arrive()
    visitor.fill("/cart", item="Tea", quantity="2")
    visitor.sign_in("alice")
    visitor.fill("/cart", item="Tea", quantity="3")
    assert visitor.text("#cart .lines li span") == "5 × Tea"
    date = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    assert re.fullmatch(rf"\{{'Tea': \{{'quantity': 5, 'added': {date}\}}\}}", visitor.data["cart"])

    visitor.press("/cart/remove")
    assert not visitor.has("#cart .lines")


def test_a_flashed_message_is_shown_once(arrive: Arrive) -> None:
    """The next page shows it, the one after that does not."""
    visitor = arrive()
    visitor.fill("/flash", message="<b>Hello</b> & goodbye")
    assert visitor.text(".flash strong") == "<b>Hello</b> & goodbye"

    visitor.read_again()
    assert not visitor.has(".flash")


def test_a_session_with_a_short_lifetime_can_be_watched_dying(arrive: Arrive) -> None:
    """Promise 12: the countdown ends, and then the server has nothing: a new session begins."""
    visitor = arrive()
    visitor.press("/count")
    visitor.fill("/lifetime", idle="5")
    session_id = visitor.session_id
    # Also where it is set.
    assert visitor.text("#lifetime .countdown").endswith(" seconds")
    visitor.page.wait_for_selector("#idle .countdown.over")
    visitor.page.wait_for_selector("#lifetime .countdown.over")
    assert visitor.text("#idle .countdown") == "ended"

    visitor.read_again()
    assert visitor.session_id != session_id
    assert "visits" not in visitor.data
    assert "opens nothing any more" in visitor.text("#ended")


def test_being_remembered_and_forgotten_again(arrive: Arrive) -> None:
    """The cookie outlives the browser for 30 days, as the jar says; then it ends with the browser again."""
    visitor = arrive()
    visitor.page.locator("#remember button").first.click()
    visitor.page.wait_for_selector("#persistent")
    cookie = visitor.cookie()
    assert cookie is not None
    left = cookie["expires"] - visitor.page.evaluate("Date.now() / 1000")
    assert 29.9 * 86400 < left < 30.1 * 86400
    assert visitor.text("#persistent code") == "Max-Age=2592000"
    assert "Max-Age=" in visitor.newest("POST /remember").inner_text()

    visitor.page.locator("#remember button").last.click()
    visitor.page.wait_for_selector("#persistent", state="detached")
    cookie = visitor.cookie()
    assert cookie is not None
    assert cookie["expires"] == -1


def test_being_remembered_at_sign_in(arrive: Arrive) -> None:
    """The box in the form does the same."""
    visitor = arrive()
    visitor.sign_in("alice", remember=True)

    assert visitor.who() == "alice"
    assert visitor.has("#persistent")


def test_regenerating_the_secret(arrive: Arrive) -> None:
    """The same data and the same id under a new secret; the old one reads nothing of it."""
    visitor = arrive()
    visitor.press("/count")
    before, session_id = visitor.token, visitor.session_id
    visitor.press("/regenerate")

    assert visitor.token != before
    assert visitor.session_id == session_id == visitor.token[:12]
    assert visitor.data["visits"] == "1"
    assert (visitor.text("#era"), visitor.secrets) == ("0", ["current", "replaced"])
    assert "Set-Cookie" in visitor.newest("POST /regenerate").inner_text()
    assert "same id, new secret" in visitor.newest("POST /regenerate").inner_text()

    visitor.use(before)
    visitor.read_again()
    assert "has just been replaced" in visitor.text("#ended")
    assert "visits" not in visitor.text(".pane-server")


def test_a_broken_request_saves_nothing(arrive: Arrive) -> None:
    """Promise 16."""
    visitor = arrive()
    visitor.press("/count")
    before = visitor.data
    visitor.press("/try/break")

    assert visitor.verdict("break") == "Held"
    assert visitor.facts("break")["status"] == "The server answered 500."
    assert visitor.facts("break")["kept"] == "Changes that were saved: 0."
    assert visitor.data == before


def test_a_streamed_response_may_change_the_session_late(arrive: Arrive) -> None:
    """Section 6, Commit: what changed after the first byte is stored when the response is closed."""
    visitor = arrive()
    visitor.press("/try/stream")

    assert visitor.verdict("stream") == "Held"
    assert set(visitor.facts("stream")) == {"head", "parts", "stored"}
    assert "streamed" in visitor.data


def test_twenty_parallel_requests_all_arrive(arrive: Arrive) -> None:
    """Promise 3: twenty keys, where the last writer would have kept fewer."""
    visitor = arrive()
    visitor.press("/try/parallel")

    assert visitor.verdict("parallel") == "Held"
    assert visitor.facts("parallel")["ours"] == "This layer kept 20 of 20."
    assert "kept 20 of 20" not in visitor.facts("parallel")["naive"]
    assert visitor.page.locator(".cells .ours .kept").count() == 20
    assert visitor.page.locator(".cells .naive .kept").count() < 20
    assert {key for key in visitor.data if key.startswith("key-")} == {f"key-{number:02}" for number in range(1, 21)}


def test_signing_out_while_ten_requests_write_is_final(arrive: Arrive) -> None:
    """Promise 5: nothing brings it back, and each of the ten gets its answer."""
    visitor = arrive()
    visitor.sign_in("bob")
    token = visitor.token
    visitor.press("/try/writers")

    assert visitor.verdict("writers") == "Held"
    facts = visitor.facts("writers")
    assert facts["in_flight"] == "10 requests were under way when you signed out."
    assert facts["answered"] == "10 of them got their own answer, and no error."
    assert facts["revived"] == "Sessions brought back: 0."
    assert facts["replayed"].endswith(": nobody")
    assert visitor.who() is None
    assert visitor.token != token


def test_a_double_click_on_sign_in_is_one_session(arrive: Arrive) -> None:
    """Promise 20: two answers, two secrets, one session, and whichever the browser keeps opens it."""
    visitor = arrive()
    visitor.press("/try/double-click")

    assert visitor.verdict("double-click") == "Held"
    facts = visitor.facts("double-click")
    assert facts["first"].endswith("opens the session of: carol")
    assert facts["second"].endswith("opens the session of: carol")
    assert facts["one"].endswith("one session in era 1, with 2 current secrets.")
    assert visitor.who() is None


def test_the_experiments_show_the_requests_as_they_ran(arrive: Arrive) -> None:
    """Each has its own drawing; they do not push the visitor's own requests out."""
    visitor = arrive()
    visitor.press("/try/break")
    visitor.result("break").locator("details.requests > summary").click()

    assert visitor.result("break").locator("li.band").count() == 1
    assert "500" in visitor.result("break").locator("svg.sequence").first.inner_html()
    assert not [
        title for title in visitor.page.locator(".drawing li.band summary code").all_inner_texts() if "probe" in title
    ]


# Attacks


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
    for_nobody = ("replayed", "both", "changed", "cut", "id_alone", "quoted", "guessed", "copied", "renewed", "under_way")
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


# My sessions


def test_who_wants_to_see_their_sessions_signs_in_there(arrive: Arrive) -> None:
    """With a form in place of the list, and the list after it, also if the password was wrong at first."""
    visitor = arrive("/sessions")
    assert visitor.text("h1") == "Sign in"
    assert visitor.text(".lede") == "Sign in to see your sessions."
    visitor.page.fill("#user", "alice")
    visitor.page.fill("#password", "wrong")
    visitor.page.click('main form[action="/sign-in"] button')
    visitor.page.wait_for_selector('[role="alert"]')
    visitor.complaints.clear()  # the browser notes the 403

    visitor.sign_in("alice")
    assert visitor.page.url == f"{visitor.url}/sessions"
    assert visitor.page.locator(".sessions .here").count() == 1


def test_one_browser_ends_the_session_of_another(arrive: Arrive) -> None:
    """Each is listed, this one is marked; the other is signed out at its next request, and told so."""
    here, there = arrive(), arrive(user_agent="Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/150.0")
    for visitor in (here, there):
        visitor.sign_in("alice")
    here.go("/sessions")
    assert here.text(".sessions .here .mark") == "This session"
    other = here.page.locator(".sessions li", has_text="Firefox 150 · Windows").first
    other.locator("button").click()
    here.page.wait_for_load_state()
    assert not here.page.locator(".sessions li", has_text="Firefox 150 · Windows").count()

    there.read_again()
    assert there.who() is None
    assert "opens nothing any more" in there.text("#ended")
    assert here.who() == "alice"


def test_all_other_sessions_are_ended_at_once(arrive: Arrive) -> None:
    """This one stays."""
    here, others = arrive(), [arrive(), arrive()]
    for visitor in (here, *others):
        visitor.sign_in("bob")
    here.go("/sessions")
    assert here.page.locator(".sessions li").count() >= 3
    here.page.click('form[action="/sessions/revoke-others"] button')
    here.page.wait_for_selector("text=There is no other session.")

    assert here.page.locator(".sessions li").count() == 1
    for visitor in others:
        visitor.read_again()
        assert visitor.who() is None
    assert here.who() == "bob"


def test_ending_this_session_is_signing_out(arrive: Arrive) -> None:
    """Back in the lab, as nobody."""
    visitor = arrive()
    visitor.sign_in("alice")
    visitor.go("/sessions")
    visitor.page.click(".sessions .here button")
    visitor.page.wait_for_url(f"{visitor.url}/")

    assert visitor.who() is None


# For everyone


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
    visitor.page.locator("#count button").click()
    assert visitor.text("#count .big strong") == "1"
    assert "POST /count" in visitor.requests()
    assert visitor.text("output.sees") == "(JavaScript is off)"

    visitor.page.locator("#parallel button").click()
    assert visitor.verdict("parallel") == "Held"
    visitor.go("/attacks")
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
