"""Each thing to do in the lab, by clicking in Chromium; what came of it is read from the page."""

import re
import time

import pytest

from tests.lab.visitor import Arrive, Visitor


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


def _before(visitor: Visitor) -> list[str]:
    """Return what is shown of the time before the sign-in."""
    return visitor.page.locator("#before tbody tr").all_inner_texts()


@pytest.mark.timed
def test_the_cookie_from_before_sign_in_reads_what_was_there_and_then_nothing(arrive: Arrive) -> None:
    """Promise 18: for ten seconds the snapshot, which nothing changes; the page counts them down, and shows no more."""
    for _ in range(5):
        visitor = arrive()
        visitor.press("/count")
        before, began = visitor.token, time.monotonic()
        visitor.sign_in("alice")
        visitor.press("/count")
        after = visitor.token
        shown = visitor.text("#secrets .signed_in .countdown"), visitor.text("#snapshot")
        visitor.use(before)
        visitor.read_again()
        read = visitor.who(), visitor.token, _before(visitor), visitor.has("#secrets, #data, #session-id")
        ended = visitor.text("#ended")
        visitor.press("/count")
        counted, words = _before(visitor), visitor.words("POST /count")
        if time.monotonic() < began + 9:
            break  # in time: a machine that is late does it again
    assert shown[0].startswith("reads the snapshot: ")
    assert shown[1].startswith("csrf, visits")
    assert read == (None, before, ["visits\t1"], False)
    assert "has just been replaced" in ended
    assert counted == ["visits\t1"]
    assert "found; the secret was replaced" in words

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
    for _ in range(5):
        visitor.press("/count")
        visitor.fill("/lifetime", idle="5")
        session_id = visitor.session_id
        # Also where it is set; on a machine that is late it may have ended before one looks.
        if visitor.text("#lifetime .countdown").endswith(" seconds"):
            break
    else:
        pytest.fail("the countdown is not shown")
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
    assert re.fullmatch("Ends in any case: (30 days|29 days 23 hours)", visitor.text("#lifetime p:has(.countdown)"))

    visitor.page.locator("#remember button").last.click()
    visitor.page.wait_for_selector("#persistent", state="detached")
    cookie = visitor.cookie()
    assert cookie is not None
    assert cookie["expires"] == -1
    assert visitor.text("#lifetime p:has(.countdown)").startswith("Ends if unused: ")


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
