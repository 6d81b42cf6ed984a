"""The forms of the lab do what their pages say, and refuse what is made up or not theirs."""

import re
import threading

import pytest

from tests.browser import FORM, Browser, Transport, forms_of
from tests.lab.visitor import PASSWORDS
from tests.lab.visits import ACTIONS, csrf_of, id_of, lines_of, sign_in, user_of


def test_visits_are_counted_exactly(transport: Transport) -> None:
    """Promise 4: the counter is a transaction, so of parallel clicks none is lost."""
    browser = Browser(transport)
    csrf = csrf_of(browser)

    def click() -> None:
        copy = Browser(transport)
        copy.cookies = dict(browser.cookies)
        for _ in range(5):
            assert copy.post("/count", csrf=csrf).status == 303

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert '<p class="big"><strong>20</strong>' in browser.get("/").text


def test_the_cart_survives_sign_in_and_remembers_nested_values(browser: Browser) -> None:
    """Promise 8: the quantity inside the line inside the cart adds up."""
    browser.submit("/", "/cart", item="Tea", quantity="2")
    sign_in(browser, "alice")
    answer = browser.submit("/", "/cart", item="Tea", quantity="3")

    assert answer.status == 303
    assert lines_of(browser) == ["5 × Tea"]
    browser.submit("/", "/cart/remove", item="Tea")
    assert lines_of(browser) == []


@pytest.mark.parametrize(
    ("item", "quantity"),
    [("", "1"), (" ", "1"), ("x" * 61, "1"), ("Tea", ""), ("Tea", "0"), ("Tea", "100"), ("Tea", "٣")],
)
def test_the_cart_refuses_what_it_cannot_hold(browser: Browser, item: str, quantity: str) -> None:
    """400, and the cart is as it was."""
    assert browser.submit("/", "/cart", item=item, quantity=quantity).status == 400
    assert lines_of(browser) == []


def test_the_session_is_bounded(browser: Browser) -> None:
    """Nobody fills the store with one session, by the cart or by messages."""
    csrf = csrf_of(browser)
    answers = [browser.post("/cart", csrf=csrf, item=f"Thing {number}", quantity="1").status for number in range(21)]
    assert answers == [303] * 20 + [400]

    for _ in range(7):
        browser.post("/flash", csrf=csrf, message="x" * 1000)
    assert browser.get("/").text.count(f"<strong>{'x' * 100}</strong>") == 5


@pytest.mark.parametrize(
    ("action", "field", "value"),
    [
        ("/lifetime", "idle", "7"),
        ("/lifetime", "idle", "-1"),
        ("/language", "language", "xx"),
        ("/probe/write", "name", "csrf"),
    ],
)
def test_a_form_with_made_up_values_is_refused(browser: Browser, action: str, field: str, value: str) -> None:
    """400: only what the page offers is done."""
    assert browser.post(action, csrf=csrf_of(browser), **{field: value}).status == 400


def test_after_a_form_the_visitor_stays_on_this_site(browser: Browser) -> None:
    """No open redirect."""
    csrf = csrf_of(browser)
    for wanted in ("https://example.com/", "//example.com", "/nowhere", ""):
        answer = browser.post("/count", csrf=csrf, back=wanted)
        assert answer.status == 303
        assert re.sub("^http://[^/]*", "", answer.header("Location")) == "/#count"


def test_a_form_that_is_not_ours_changes_nothing(transport: Transport) -> None:
    """400 without the secret of the session, with a wrong one, and with that of another session; for every form."""
    browser, other = sign_in(Browser(transport), "alice"), Browser(transport)
    fields = {"user": "bob", "password": PASSWORDS["bob"], "item": "Tea", "quantity": "1", "id": id_of(browser)}
    fields |= {"language": "ko", "message": "x", "idle": "5", "remember": "1", "name": "key-01", "together": "1"}

    for action in ACTIONS:
        assert browser.post(action, **fields).status == 400
        for wrong in ("", "x", "é", csrf_of(other)):
            assert browser.post(action, **fields, csrf=wrong).status == 400
    assert user_of(browser) == "alice"
    assert lines_of(browser) == []


def test_every_form_is_in_that_test(transport: Transport) -> None:
    """So that none is forgotten."""
    browser = sign_in(Browser(transport), "alice")
    browser.submit("/", "/cart", item="Tea", quantity="1")
    sign_in(Browser(transport), "alice")
    there = {form.action for path in ["/", "/attacks", "/sessions", "/sign-in"] for form in forms_of(browser.get(path).text)}

    assert there <= set(ACTIONS)
    assert set(ACTIONS) - there == {"/probe/write", "/probe/break", "/probe/stream"}


def test_a_visitor_without_a_session_cannot_send_a_form(browser: Browser) -> None:
    """An empty secret is not that of a session that has none."""
    answer = browser.post("/cart", csrf="", item="Tea", quantity="1")

    assert answer.status == 400
    assert answer.all("Set-Cookie") == []


def test_a_form_that_is_too_large_or_no_text_is_refused(browser: Browser) -> None:
    """413 and 400, before anything is done with it."""
    csrf = csrf_of(browser)

    assert browser.post("/cart", csrf=csrf, item="x" * 20_000, quantity="1").status == 413
    assert browser.send("POST", "/cart", b"csrf=%ff&item=Tea", Content_Type=FORM).status == 400
    assert browser.send("POST", "/cart", b'{"csrf": 1}', Content_Type="application/json").status == 400


@pytest.mark.parametrize("kind", ["multipart/form-data", f"{FORM}; charset=utf-16", f"{FORM}; charset=nonsense"])
def test_a_form_that_cannot_be_read_is_refused(browser: Browser, kind: str) -> None:
    """400: nonsense is no reason to fail."""
    assert browser.send("POST", "/count", f"csrf={csrf_of(browser)}".encode(), Content_Type=kind).status == 400


@pytest.mark.parametrize("query", ["language=%ff", "language=xx", "%ff", "language=ko&x=%ff"])
def test_a_query_of_nonsense_does_no_harm(browser: Browser, query: str) -> None:
    """The page is there, in the language that the browser asks for."""
    assert (answer := browser.get(f"/untouched?{query}")).status == 200
    assert answer.header("Content-Language") == "en"


def test_an_experiment_finds_the_session_among_several_cookies(browser: Browser) -> None:
    """A cookie that someone else has set beside it is in nobody's way."""
    csrf, token = csrf_of(browser), browser.token
    browser.token = f"{'A' * 40}; session={token}"

    assert browser.post("/try/break", csrf=csrf).status == 303
    assert 'class="verdict held"' in browser.get("/").text
