"""Bound sessions beside other options: seals, the sessions of another library, no observer, only a report."""

import os
from typing import Any

import pytest

from session_middleware import Lifetime, SessionMiddleware
from session_middleware.binding import DeviceBinding
from session_middleware.seal import Seal
from tests.binding.sites import LINK, REGISTRATION, TOKEN, BindingSite, Browser, an_app
from tests.takeover.library import Library


@pytest.mark.parametrize("seal", [None, Seal(os.urandom(32))], ids=["plain", "sealed"])
@pytest.mark.parametrize("replaced_by", ["login/alice", "regenerate", "confirm"])
def test_a_registration_with_a_token_that_was_just_replaced_loses_nothing(replaced_by: str, seal: Seal | None) -> None:
    """Promise 3: what it writes is the whole session, though its token opens only what was there before."""
    site = BindingSite(seal=seal)
    browser = site.browser()
    browser.get("/set/x")
    if replaced_by != "login/alice":
        browser.get("/login/alice")
    old = browser.copy()
    offer = browser.get(f"/{replaced_by}")
    if "Secure-Session-Registration" not in offer.headers:
        offer = browser.get("/confirm")
    browser.get("/set/y")

    assert old.device.register(offer) in (200, 400)
    assert browser.get().text.startswith("alice {'x': 1, 'y': 1}")


def test_where_nobody_observes_the_same_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """And is a line in the log."""
    site = BindingSite()
    site.application = SessionMiddleware(an_app, "memory:", clock=site.clock, device_binding=DeviceBinding())
    browser = site.browser().bind()
    site.clock.advance(60)

    assert browser.copy(TOKEN).get().text == "None {} bound=False"
    assert browser.post(REGISTRATION).status_code == 400
    assert ["refused" in record.getMessage() for record in caplog.records] == [True, True]


def test_a_session_of_another_library_is_bound_by_its_next_sign_in() -> None:
    """It comes with none: a registration with its cookie is refused; after the sign-in that cookie opens nothing."""
    library = Library()
    site = BindingSite(carry_over=library)
    browser = Browser(site, {"old": "anna"})
    signed = browser.device.sign("challenge", first=True)
    assert browser.post(REGISTRATION, {"Secure-Session-Response": signed}).status_code == 400
    assert library.calls == []

    assert browser.get("/untouched").text == "untouched"
    browser.bind("7")
    assert set(browser.cookies) == {TOKEN, f"{TOKEN}-bound"}
    site.clock.advance(60)
    assert Browser(site, {"old": "anna"}).get().text == "None {} bound=False"
    assert "bound=True" in browser.get().text


@pytest.mark.parametrize("options", [{"report_only": True}, {"accept_unproven": True}], ids=str)
def test_what_refuses_nothing_changes_no_answer(options: dict[str, Any]) -> None:
    """A link without proof gets what it asks for; so does http; what is written is kept, and what ends has ended."""
    store = BindingSite().store
    browser = BindingSite(store).browser().bind()
    browser.site = BindingSite(store, device_binding=DeviceBinding(**options))
    browser.site.clock.advance(700)

    assert browser.copy(TOKEN).get("/set/x", LINK).text == "alice {'x': 1} bound=True"
    plain = f"session={browser.cookies[TOKEN]}"
    assert browser.copy(TOKEN).get("/set/x", scheme="http", cookie=plain).text == "alice {'x': 2} bound=True"
    assert browser.copy(TOKEN).get("/invalidate").text == "None {} bound=False"
    assert browser.get().text == "None {} bound=False"


def test_a_site_without_the_option_reads_bound_sessions() -> None:
    """As sessions like others, and keeps that they are bound: whoever turns the option on again finds them so."""
    store = BindingSite().store
    browser = BindingSite(store).browser().bind()
    binding = browser.site
    binding.clock.advance(60)
    browser.site = BindingSite(store, device_binding=None, clock=binding.clock)
    thief = browser.copy(TOKEN)

    assert thief.get("/set/x").text == "alice {'x': 1} bound=True"
    thief.get("/regenerate")
    thief.site = binding
    assert thief.get().text == "None {} bound=False"


def test_a_sign_in_without_proof_is_described_as_others_are() -> None:
    """The user finds it in the list of their devices."""
    site = BindingSite(describe=lambda environ: environ["HTTP_USER_AGENT"])
    site.browser().get("/login/alice", {"User-Agent": "a browser"})
    browser = site.browser()
    assert browser.device.register(browser.get("/login/bob", {"User-Agent": "another"})) == 200
    site.clock.advance(60)
    browser.copy(TOKEN).get("/login/alice", {"User-Agent": "a third"})

    listed = site.middleware.manager.sessions_of("alice")
    assert sorted(str(info.device) for info in listed) == ["a browser", "a third"]


def test_what_offers_nothing_offers_nothing_of_others() -> None:
    """The second click of a double click may come to a process that takes sessions without proof."""
    store = BindingSite().store
    browser = BindingSite(store).browser()
    browser.get("/set/x")
    second = browser.copy()
    assert "Secure-Session-Registration" in browser.get("/login/alice").headers
    second.site = BindingSite(store, clock=browser.site.clock, device_binding=DeviceBinding(accept_unproven=True))

    answer = second.get("/login/alice")
    assert answer.text == "alice {'x': 1} bound=False"
    assert second.session_id == browser.session_id
    assert "Secure-Session-Registration" not in answer.headers


def test_an_unproven_request_is_no_use_and_renews_nothing() -> None:
    """Promise 12: whoever has the token alone keeps no session alive, and gets no new secret."""
    site = BindingSite(lifetime=Lifetime(renew=60))
    browser = site.browser().bind()
    seen = site.middleware.manager.sessions_of("alice")[0].last_seen_at
    thief = browser.copy(TOKEN)
    for _ in range(3):
        site.clock.advance(1000)
        before = len(site.store.calls)
        assert thief.get("/set/x").set_cookies == []
        assert [verb for verb, _ in site.store.calls[before:]] == ["load"]

    assert site.middleware.manager.sessions_of("alice")[0].last_seen_at == seen
