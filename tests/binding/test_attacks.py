"""What somebody tries who has no device, and what an application does at the wrong moment: nothing is won, nothing lost."""

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from session_middleware import get_session
from tests.binding.sites import BOUND, TOKEN, BindingSite, Browser

LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}

ACTS: dict[str, Any] = {
    "set": lambda session: session.update(x=1),
    "login": lambda session: session.login("alice"),
    "transact": lambda session: session.transact(lambda values: values.update(seen=True)),
    "persistent": lambda session: session.set_lifetime(persistent=True),
    "idle": lambda session: session.set_lifetime(idle=60),
}


def several(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """``/one,another`` does both to the session, in their order."""
    session = get_session(environ)
    for act in filter(None, environ["PATH_INFO"][1:].split(",")):
        ACTS[act](session) if act in ACTS else getattr(session, act)()
    start_response("200 OK", [])
    return [f"{session.user_id} {dict(session)} bound={session.device_bound}".encode()]


@pytest.fixture
def site() -> BindingSite:
    return BindingSite(app=several)


@pytest.fixture
def browser(site: BindingSite) -> Browser:
    """One whose session is bound."""
    browser = site.browser()
    assert browser.device.register(browser.get("/login")) == 200
    return browser


@pytest.mark.parametrize("acts", ["use", "persistent", "idle", "invalidate", "invalidate,set", "transact", "set,regenerate"])
def test_a_link_gets_the_page_that_reloads_itself_whatever_the_application_does(
    acts: str, browser: Browser, site: BindingSite
) -> None:
    """An application that uses, extends or ends the session in each request does so in the one that has the proof."""
    site.clock.advance(700)
    assert 'http-equiv="refresh"' in browser.get(f"/{acts}", LINK).text

    assert browser.device.refresh() == 200
    assert browser.get("/").text == "alice {} bound=True"


@pytest.mark.parametrize("acts", ["login", "login,transact", "transact,login", "invalidate,login"])
def test_a_link_that_signs_in_gets_the_answer_of_the_application(acts: str, browser: Browser, site: BindingSite) -> None:
    """Promise 20: as one from an identity provider, which is good for one request; also if it is stored at once."""
    site.clock.advance(700)
    answer = browser.get(f"/{acts}", LINK)

    assert answer.text.startswith("alice")
    assert browser.device.register(answer) == 200
    assert browser.get("/").text.startswith("alice")


@pytest.mark.parametrize("acts", ["invalidate", "invalidate,set"])
def test_signing_out_removes_the_proof_also_where_a_new_session_begins(acts: str, browser: Browser) -> None:
    """As with a word of farewell in it."""
    browser.get(f"/{acts}")

    assert BOUND not in browser.cookies


def test_a_session_that_was_signed_out_of_again_offers_nothing(site: BindingSite) -> None:
    """The new one after it belongs to nobody, and no registration of it could be answered."""
    answer = site.browser().get("/login,transact,invalidate,set")

    assert [cookie.partition("=")[0] for cookie in answer.set_cookies] == [TOKEN]
    assert "Secure-Session-Registration" not in answer.headers
