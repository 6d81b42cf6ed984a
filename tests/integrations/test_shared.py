"""Four applications in four frameworks share one session and one sign-in, under gunicorn."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from typing import Any

import pytest

from tests.browser import Browser, over_http
from tests.servers.gunicorn import Gunicorn

FRAMEWORKS = ["bottle", "django", "flask", "pyramid"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    directory = tmp_path_factory.mktemp("shared")
    arguments = ("--worker-class", "gthread", "--workers", "2", "--threads", "4")
    with Gunicorn("examples.shared.app:application", *arguments, cwd=directory) as server:
        yield server
        assert "Traceback" not in server.log()
        assert (directory / "sessions.sqlite3").exists()


@pytest.fixture
def browser(server: Gunicorn) -> Browser:
    return Browser(over_http(server.url))


def home(browser: Browser, framework: str) -> Any:
    page = browser.get(f"/{framework}/")
    assert page.status == 200, page.text
    return json.loads(page.text)


def users(browser: Browser) -> list[str | None]:
    return [home(browser, framework)["user"] for framework in FRAMEWORKS]


def sign_in(browser: Browser, framework: str, user: str = "alice") -> None:
    page = browser.post(f"/{framework}/login", user=user)
    assert (page.status, json.loads(page.text)["user"]) == (200, user)


def test_they_share_one_session_and_one_cookie(browser: Browser) -> None:
    """What one of them writes the others read; the cookie is sent once, by whichever comes first."""
    pages = [browser.get(f"/{framework}/") for framework in FRAMEWORKS * 2]

    assert json.loads(pages[-1].text)["visits"] == dict.fromkeys(FRAMEWORKS, 2)
    assert [len(page.all("Set-Cookie")) for page in pages] == [1] + [0] * 7


@pytest.mark.parametrize(("on", "off"), list(permutations(FRAMEWORKS, 2)))
def test_signing_in_on_one_is_signing_in_on_all_and_so_is_signing_out(browser: Browser, on: str, off: str) -> None:
    """Promises 5, 17 and 18: the same session with a new secret, with what the visitor had, and wherever they sign out it is
    final."""
    home(browser, off)
    before = browser.token
    assert before is not None
    sign_in(browser, on)
    signed_in = browser.token
    assert signed_in is not None
    assert (signed_in[:12] == before[:12], signed_in == before) == (True, False)

    assert users(browser) == ["alice"] * 4
    assert home(browser, off)["visits"][off] == 3
    page = browser.post(f"/{off}/logout")
    assert (page.status, json.loads(page.text)) == (200, {"framework": off, "user": None})
    assert browser.token is None
    for token in (before, signed_in):
        browser.cookies = {"session": token}
        assert users(browser) == [None] * 4


@pytest.mark.parametrize(("one", "other"), list(permutations(FRAMEWORKS, 2)))
def test_who_signs_in_on_two_at_once_is_signed_in_on_all_by_either_cookie(
    browser: Browser, server: Gunicorn, one: str, other: str
) -> None:
    """Promise 20: the second sign-in comes with the cookie from before the first, and joins."""
    home(browser, one)
    second = Browser(over_http(server.url))
    second.cookies = dict(browser.cookies)
    sign_in(browser, one)
    sign_in(second, other)

    assert browser.token != second.token
    assert users(browser) == users(second) == ["alice"] * 4
    assert home(browser, one)["visits"] == home(second, one)["visits"] | {one: home(second, other)["visits"][one] - 1}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_stranger_is_signed_in_on_none(browser: Browser, framework: str) -> None:
    """A refusal is the framework's own."""
    assert browser.post(f"/{framework}/login", user="mallory").status == 403
    assert users(browser) == [None] * 4


def test_another_user_finds_nothing_of_the_first(browser: Browser) -> None:
    """Design, "Lifetimes": also when the two sign in on different applications."""
    sign_in(browser, "flask", "alice")
    home(browser, "pyramid")
    sign_in(browser, "django", "bob")

    assert home(browser, "bottle") == {"framework": "bottle", "user": "bob", "visits": {"bottle": 1, "django": 1}}


def test_signing_out_everywhere_ends_the_sessions_of_all_devices(server: Gunicorn) -> None:
    """``revoke_all``: those of the one user, and of no other."""
    devices = [Browser(over_http(server.url)) for _ in FRAMEWORKS]
    for device, framework in zip(devices, FRAMEWORKS, strict=True):
        sign_in(device, framework, "bob")
    other = Browser(over_http(server.url))
    sign_in(other, "flask", "alice")
    page = devices[0].post("/everywhere/logout")

    assert json.loads(page.text)["ended"] >= len(devices)
    assert devices[0].token is None
    assert [users(device) for device in devices] == [[None] * 4] * 4
    assert users(other) == ["alice"] * 4


def test_parallel_requests_of_different_applications_keep_each_others_changes(browser: Browser, server: Gunicorn) -> None:
    """Promise 3: twenty at a time, each application counting its own visits."""
    home(browser, "flask")
    others = [Browser(over_http(server.url)) for _ in FRAMEWORKS]
    for other in others:
        other.cookies = dict(browser.cookies)

    def visit(other: Browser, framework: str) -> None:
        for _ in range(5):
            home(other, framework)

    with ThreadPoolExecutor(len(others)) as pool:
        list(pool.map(visit, others, FRAMEWORKS))

    assert home(browser, "flask")["visits"] == dict.fromkeys(FRAMEWORKS, 5) | {"flask": 7}


def test_a_path_that_leads_nowhere_makes_no_session(browser: Browser) -> None:
    """Promise 2: neither at the dispatcher nor in an application."""
    for path in ("/", "/nowhere", *(f"/{framework}/nowhere" for framework in FRAMEWORKS)):
        page = browser.get(path)
        assert (page.status, page.all("Set-Cookie")) == (404, [])
