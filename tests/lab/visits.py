"""What visitors of the lab do without a browser."""

import re
from html import unescape

from tests.browser import Browser, forms_of
from tests.lab.visitor import PASSWORDS

ACTIONS = [
    *("/sign-in", "/sign-out", "/language", "/count", "/cart", "/cart/remove", "/flash", "/lifetime", "/remember"),
    *("/regenerate", "/sessions/revoke", "/sessions/revoke-others", "/probe/write", "/probe/break", "/probe/stream"),
    *("/try/break", "/try/stream", "/try/parallel", "/try/writers", "/try/double-click", "/try/planted", "/try/damaged"),
    *("/try/before-sign-in", "/try/after-sign-out", "/try/thief", "/try/two-cookies", "/try/bound"),
]


def sign_in(browser: Browser, user: str) -> Browser:
    answer = browser.submit("/sign-in", "/sign-in", user=user, password=PASSWORDS[user])
    assert (answer.status, answer.header("Location").rpartition("/")[2]) == (303, "")
    return browser


def user_of(browser: Browser) -> str | None:
    found = re.search(r'class="user">.*?<strong>(.*?)</strong>', browser.get("/attacks").text)
    return found and found[1]


def id_of(browser: Browser) -> str:
    found = re.search(r'id="session-id">(.*?)<', browser.get("/").text)
    assert found is not None
    return found[1]


def csrf_of(browser: Browser) -> str:
    return forms_of(browser.get("/sign-in").text)[-1].fields["csrf"]


def lines_of(browser: Browser) -> list[str]:
    """Return what stands in the cart."""
    return [unescape(line) for line in re.findall("<li><span>(.*?)</span>", browser.get("/").text)]
