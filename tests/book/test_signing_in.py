"""What the pages about signing in and out everywhere say, is what their applications do."""

import time
from configparser import ConfigParser
from typing import Any

import pytest
from webtest import TestApp

from session_middleware import SessionMiddleware
from tests.apps import a_site, visit
from tests.book.pages import Block, Page


@pytest.fixture
def site() -> dict[str, Any]:
    return Page("how-to/sign-in").run()


def signed_in(site: dict[str, Any], **fields: str) -> TestApp:
    browser = TestApp(site["application"])
    browser.post("/sign-in", {"user": "alice", "password": "wonderland", "csrf": form_token(browser), **fields}, status=303)
    return browser


def having(cookie: str, site: dict[str, Any]) -> TestApp:
    """Return a browser with that cookie."""
    return TestApp(site["application"], extra_environ={"HTTP_COOKIE": f"session={cookie}"})


def form_token(browser: TestApp) -> str:
    return str(browser.get("/").text.splitlines()[1])


def who(browser: TestApp) -> str:
    return str(browser.get("/").text.splitlines()[0])


def test_a_sign_in_needs_the_token_and_the_password(site: dict[str, Any]) -> None:
    """Without either of them, and for a user who does not exist, nobody is signed in."""
    browser = TestApp(site["application"])
    right = {"user": "alice", "password": "wonderland"}
    browser.post("/sign-in", right, status=403)
    token = form_token(browser)
    browser.post("/sign-in", {**right, "csrf": "guess"}, status=403)
    browser.post("/sign-in", {**right, "password": "guess", "csrf": token}, status=403)
    browser.post("/sign-in", {**right, "user": "bob", "csrf": token}, status=403)
    assert who(browser) == "nobody"

    browser.post("/sign-in", {**right, "csrf": token}, status=303)
    assert who(browser) == "17"


def test_a_sign_in_brings_a_new_secret_and_leaves_the_token_behind(site: dict[str, Any]) -> None:
    """The id stays; who planted the cookie is nobody."""
    browser = TestApp(site["application"])
    token = form_token(browser)
    planted = browser.cookies["session"]
    thief = having(planted, site)
    assert form_token(thief) == token
    browser.post("/sign-in", {"user": "alice", "password": "wonderland", "csrf": token}, status=303)

    assert browser.cookies["session"] != planted
    assert browser.cookies["session"][:12] == planted[:12]
    assert who(thief) == "nobody"
    assert form_token(browser) != token


def test_who_wants_to_be_remembered_has_a_cookie_for_thirty_days(site: dict[str, Any]) -> None:
    """The session lasts as long, and is ended with the others."""
    browser = TestApp(site["application"])
    fields = {"user": "alice", "password": "wonderland", "csrf": form_token(browser), "remember": "yes"}
    response = browser.post("/sign-in", fields, status=303)

    assert "Max-Age=2592000" in response.headers["Set-Cookie"]
    assert site["manager"].revoke_all("17") == 1
    assert who(browser) == "nobody"


def test_a_new_password_ends_the_other_sessions(site: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """And this one has a new secret; who signed in long ago types the old password first."""
    here, there = signed_in(site), signed_in(site)
    before = here.cookies["session"]
    here.post("/password", {"csrf": form_token(here), "new": "looking glass"}, status=303)

    assert (who(here), who(there)) == ("17", "nobody")
    assert here.cookies["session"] != before
    later = time.time() + 301
    monkeypatch.setattr(time, "time", lambda: later)
    here.post("/password", {"csrf": form_token(here), "new": "looking glass"}, status=403)


def test_somebody_signed_out_everywhere_during_the_check_is_not_signed_in(
    site: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 19: for the mark was read before."""
    browser, check = TestApp(site["application"]), site["hashed"]

    def slow(password: str, salt: bytes) -> bytes:
        site["manager"].revoke_all("17")
        return bytes(check(password, salt))

    monkeypatch.setitem(site, "hashed", slow)
    browser.post("/sign-in", {"user": "alice", "password": "wonderland", "csrf": form_token(browser)}, status=303)

    assert who(browser) == "nobody"


def test_sign_out_ends_the_session(site: dict[str, Any]) -> None:
    """For every copy of the cookie."""
    browser = signed_in(site)
    copy = having(browser.cookies["session"], site)
    assert who(copy) == "17"
    browser.post("/sign-out", {"csrf": form_token(browser)}, status=303)

    assert (who(browser), who(copy)) == ("nobody", "nobody")


FIREFOX = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def test_people_see_their_devices_and_end_what_is_not_theirs() -> None:
    """By browser and network; this one is told from the others, and stays when they are ended."""
    site = Page("how-to/devices").run()

    def browser_at(address: str) -> TestApp:
        browser = TestApp(site["application"], extra_environ={"HTTP_USER_AGENT": FIREFOX, "REMOTE_ADDR": address})
        browser.post("/sign-in", status=303)
        return browser

    here, there, thief = map(browser_at, ("203.0.113.77", "2001:db8::1", "198.51.100.7"))
    TestApp(site["application"]).get("/devices", status=403)
    page = here.get("/devices").text
    for network in ("203.0.113.0/24", "2001:db8::/48", "198.51.100.0/24"):
        assert f"<b>Firefox on Ubuntu, {network}</b>" in page
    assert page.count("(this device)") == 1
    here.post("/devices/end", {"id": "A" * 12}, status=404)
    here.post("/devices/end", {"id": thief.cookies["session"][:12]}, status=303)
    thief.get("/devices", status=403)
    there.get("/devices", status=200)
    here.post("/devices/end-others", status=303)
    there.get("/devices", status=403)

    assert here.get("/devices").text.count("<li>") == 1


def test_the_ini_line_about_devices_is_understood(claimed: list[Block]) -> None:
    """It names the function of the page."""
    (line,) = claimed
    parser = ConfigParser()
    parser.read_string(f"[site]\n{line.text}")
    site = SessionMiddleware.from_config(a_site, {"session.store": "memory:", **parser["site"]})
    visit(site, "/login/17", HTTP_USER_AGENT=FIREFOX)

    assert [info.device for info in site.manager.sessions_of("17")] == ["Firefox on Ubuntu"]


@pytest.fixture
def devices() -> dict[str, Any]:
    return Page("how-to/sign-out-everywhere").run()


def on(devices: dict[str, Any], name: str) -> TestApp:
    browser = TestApp(devices["application"], extra_environ={"HTTP_USER_AGENT": name})
    browser.post("/sign-in", status=303)
    return browser


def test_the_devices_of_a_user_are_listed(devices: dict[str, Any]) -> None:
    """This one by that name, and the others by their ids."""
    phone, desk = on(devices, "phone"), on(devices, "desk")
    other = phone.cookies["session"][:12]
    lines = [line.partition(", since ")[0] for line in desk.get("/devices").text.splitlines()]

    assert sorted(lines) == sorted(["this one: desk", f"{other}: phone"])
    TestApp(devices["application"]).get("/devices", status=403)


def test_one_device_is_signed_out_by_its_user_alone(devices: dict[str, Any]) -> None:
    """Somebody else gets a 404."""
    phone, desk = on(devices, "phone"), on(devices, "desk")
    other = phone.cookies["session"][:12]
    TestApp(devices["application"]).post("/devices/end", {"id": other}, status=404)
    phone.get("/devices", status=200)
    desk.post("/devices/end", {"id": other}, status=303)

    phone.get("/devices", status=403)
    desk.get("/devices", status=200)


def test_all_other_devices_are_signed_out(devices: dict[str, Any]) -> None:
    """This one stays."""
    phone, desk = on(devices, "phone"), on(devices, "desk")
    desk.post("/devices/end-others", status=303)

    phone.get("/devices", status=403)
    desk.get("/devices", status=200)
    assert devices["manager"].revoke_everybody() == 1
