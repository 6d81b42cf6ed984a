"""A session that is bound to a device opens there, and nowhere else."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from session_middleware import Lifetime, events
from session_middleware.binding import DeviceBinding
from tests.binding.sites import BOUND, REFRESH, REGISTRATION, TOKEN, BindingSite, Browser, challenge_in

NOTHING = "None {} bound=False"


@pytest.fixture
def site() -> BindingSite:
    return BindingSite()


@pytest.fixture
def browser(site: BindingSite) -> Browser:
    return site.browser()


def is_refused(browser: Browser, site: BindingSite) -> bool:
    """Tell whether the session is empty, and takes nothing; no cookie is sent, but what removes a proof that is none."""
    before = len(site.store.calls)
    answers = [browser.get(path) for path in ("/", "/set/x", "/clear", "/invalidate", "/regenerate")]
    verbs = {verb for verb, _ in site.store.calls[before:]}
    sent = {header.partition(";")[0] for answer in answers for header in answer.set_cookies}
    return verbs == {"load"} and sent <= {f"{BOUND}="} and all(answer.text.startswith("None") for answer in answers)


def test_a_sign_in_offers_the_binding(browser: Browser) -> None:
    """Beside the cookie, and not before anybody signs in, nor later."""
    assert "Secure-Session-Registration" not in browser.get("/set/x").headers
    offer = browser.get("/login/alice").headers["Secure-Session-Registration"]

    assert re.fullmatch(r'\(ES256 RS256\);path="/\.session/registration";challenge="[0-9a-f]+\.[\w-]{32}"', offer)
    assert "Secure-Session-Registration" not in browser.get("/regenerate").headers
    assert browser.get("/set/x").text == "alice {'x': 2} bound=False"


def test_a_browser_that_cannot_bind_notices_nothing(browser: Browser, site: BindingSite) -> None:
    """Its session goes on for as long as others do."""
    browser.get("/login/alice")
    for _ in range(20):
        site.clock.advance(1800)
        assert browser.get("/set/x").text.endswith("bound=False")
    assert set(browser.cookies) == {TOKEN}


def test_a_registration_binds_the_session(browser: Browser, site: BindingSite) -> None:
    """It is told once, listed, and is no use of the session."""
    answer = browser.get("/login/alice")
    seen = site.middleware.manager.sessions_of("alice")[0].last_seen_at
    site.clock.advance(100)
    assert browser.device.register(answer) == 200

    (info,) = site.middleware.manager.sessions_of("alice")
    assert (info.device_bound, info.last_seen_at) == (True, seen)
    assert browser.get().text == "alice {} bound=True"
    (event,) = site.told("Bound")
    assert (event.session_id, event.user_id) == (browser.session_id, "alice")


def test_what_the_browser_is_told(browser: Browser) -> None:
    """The cookie that proves it, and where a new one is to be had."""
    signed = browser.device.sign(challenge_in(browser.get("/login/alice").headers), first=True)
    answer = browser.post(REGISTRATION, {"Secure-Session-Response": signed})

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    (cookie,) = answer.set_cookies
    assert re.fullmatch(
        rf"{BOUND}=[0-9a-f]+\.[\w-]{{32}}; Path=/; secure; HttpOnly; SameSite=Lax; Max-Age=600", cookie, re.I
    )
    assert json.loads(answer.data) == {
        "session_identifier": browser.session_id,
        "refresh_url": REFRESH,
        "scope": {"include_site": False},
        "credentials": [
            {"type": "cookie", "name": BOUND, "attributes": cookie.split("; ", 1)[1].removesuffix("; Max-Age=600")}
        ],
    }


def test_both_cookies_work_until_the_proof_is_too_old(browser: Browser, site: BindingSite) -> None:
    """Whoever has copied them, too; the device gets another one, and goes on."""
    browser.bind()
    thief = browser.copy()
    site.clock.advance(599)
    assert thief.get("/set/x").text == "alice {'x': 1} bound=True"
    site.clock.advance(7)

    for _ in range(100):
        assert is_refused(thief, site)
    assert browser.device.refresh() == 200
    assert browser.get("/set/x").text == "alice {'x': 2} bound=True"
    assert is_refused(thief, site)


def test_a_proof_that_is_too_old_is_removed(browser: Browser, site: BindingSite) -> None:
    """A browser that still has it, for a clock was set, would not prove it again; with its next request it does."""
    browser.bind()
    site.clock.advance(700)
    answer = browser.get()

    (removal,) = answer.set_cookies
    assert re.fullmatch(rf"{BOUND}=; Path=/; secure; HttpOnly; SameSite=Lax; Max-Age=0; Expires=[\w:, ]+", removal, re.I)
    assert "no-store" in answer.headers["Cache-Control"]
    assert set(browser.cookies) == {TOKEN}
    assert browser.get().set_cookies == []


def test_the_token_alone_opens_nothing(browser: Browser, site: BindingSite) -> None:
    """Once the grace is over; by http neither, whatever comes with it."""
    browser.bind()
    thief = browser.copy(TOKEN)
    site.clock.advance(9)
    assert thief.get().text == "alice {} bound=True"
    site.clock.advance(1)

    assert is_refused(thief, site)
    plain: dict[str, Any] = {
        "scheme": "http",
        "cookie": f"session={browser.cookies[TOKEN]}; session-bound={browser.cookies[BOUND]}",
    }
    assert browser.get("/set/x", **plain).text.startswith("None")
    assert browser.get().text == "alice {} bound=True"


def test_there_may_be_no_grace() -> None:
    """Then a page that was asked for while the key was registered may be empty."""
    browser = BindingSite(device_binding=DeviceBinding(grace=timedelta(0))).browser().bind()

    assert browser.copy(TOKEN).get().text == NOTHING
    assert browser.get().text == "alice {} bound=True"


def test_every_refusal_is_told(browser: Browser, site: BindingSite, caplog: pytest.LogCaptureFixture) -> None:
    """With its reason: to observers, and in a line of the log; with what the browser says of it, too, if it is short."""
    browser.bind()
    old = browser.copy()
    site.clock.advance(700)
    browser.device.refresh()
    other = site.browser().bind("bob")
    mixed = Browser(site, {TOKEN: browser.cookies[TOKEN], BOUND: other.cookies[BOUND]})
    caplog.clear()
    old.get()
    browser.copy(TOKEN).get("/", {"Secure-Session-Skipped": 'unreachable;session_identifier="x"'})
    mixed.get()
    browser.copy(TOKEN).get("/", {"Secure-Session-Skipped": "x" * 10_000})

    whys = [
        "the cookie that proves it is too old",
        "no cookie proves it ('unreachable;session_identifier=\"x\"')",
        "the cookie proves another session",
        f"no cookie proves it ({'x' * 80!r})",
    ]
    told = [event for event in site.events if isinstance(event, events.Unproven)]
    assert [(event.session_id, event.user_id, event.why, event.refused) for event in told] == [
        (browser.session_id, "alice", why, True) for why in whys
    ]
    assert [record.getMessage() for record in caplog.records] == [
        f"session {browser.session_id}: a request is refused: {why}" for why in whys
    ]


def test_who_has_not_proved_it_can_sign_in(browser: Browser, site: BindingSite) -> None:
    """As a new session: that of the device stays, and its own."""
    browser.bind()
    browser.get("/set/x")
    thief = browser.copy(TOKEN)
    site.clock.advance(60)

    assert thief.get("/login/mallory").text == "mallory {} bound=False"
    assert thief.session_id != browser.session_id
    assert browser.get().text == "alice {'x': 1} bound=True"


def test_who_has_not_proved_it_ends_no_other_session(browser: Browser, site: BindingSite) -> None:
    """Promise 18: of several cookies in a request, a sign-in ends those sessions alone that the request may use."""
    browser.bind()
    site.clock.advance(60)
    thief = site.browser()
    thief.get("/login/mallory")
    header = f"{TOKEN}={thief.cookies[TOKEN]}; {TOKEN}={browser.cookies[TOKEN]}"
    thief.get("/login/mallory", cookie=header)

    assert browser.get().text == "alice {} bound=True"


def test_a_session_is_never_unbound_by_a_request(browser: Browser, site: BindingSite) -> None:
    """A new secret keeps the binding; a second key is refused; only another sign-in of the device's holder offers anew."""
    answer = browser.get("/login/alice")
    assert browser.device.register(answer) == 200
    assert browser.device.register(answer) == 200  # its answer may have been lost
    other = browser.copy()
    assert other.device.register(answer) == 400
    browser.get("/regenerate")
    assert browser.get("/set/x").text.endswith("bound=True")
    site.clock.advance(607)
    assert is_refused(browser.copy(), site)
    assert browser.device.refresh() == 200

    again = browser.get("/confirm")
    assert again.text.endswith("bound=False")
    assert browser.device.register(again) == 200
    assert browser.get().text == "alice {'x': 1} bound=True"


def test_signing_out_removes_both_cookies(browser: Browser) -> None:
    """And ends what the browser keeps of it: when that asks once more, it is told so."""
    browser.bind()
    copied = browser.copy()
    browser.get("/invalidate")

    assert browser.cookies == {}
    assert browser.device.refresh() == 400
    assert copied.get().text == NOTHING


def test_revocation_ends_the_binding(browser: Browser, site: BindingSite) -> None:
    """Wherever it comes from: no proof opens anything any more."""
    browser.bind()
    assert site.middleware.manager.revoke_all("alice") == 1

    assert browser.get().text == NOTHING
    assert browser.device.refresh() == 400


def test_a_registration_is_a_load_and_a_write(browser: Browser, site: BindingSite) -> None:
    """A key that has come already is written once."""
    offer = browser.get("/login/alice")
    for verbs in (["load", "update"], ["load"]):
        before = len(site.store.calls)
        assert browser.device.register(offer) == 200
        assert [verb for verb, _ in site.store.calls[before:]] == verbs


def test_a_refresh_is_a_load_for_each_of_its_requests(browser: Browser, site: BindingSite) -> None:
    """It writes nothing, and is no use of the session: an open tab keeps nobody signed in."""
    browser.bind()
    before = len(site.store.calls)
    assert browser.device.refresh() == 200
    assert [verb for verb, _ in site.store.calls[before:]] == ["load", "load"]  # it was asked, and answered
    for _ in range(8):
        site.clock.advance(500)
        status = browser.device.refresh()

    assert status == 400
    assert browser.get().text == NOTHING


def test_renewal_keeps_the_binding() -> None:
    """Both secrets, the old and the new one, are of the device."""
    site = BindingSite(lifetime=Lifetime(renew=60))
    browser = site.browser().bind()
    old = browser.copy()
    site.clock.advance(61)
    browser.get()
    assert browser.cookies[TOKEN] != old.cookies[TOKEN]
    assert old.get().text == "alice {} bound=True"
    site.clock.advance(607)

    assert is_refused(browser.copy(), site)
    assert browser.device.refresh() == 200
    assert browser.get().text == "alice {} bound=True"


def test_report_only_tells_and_refuses_nothing() -> None:
    """To see who would be refused, before anybody is."""
    site = BindingSite(device_binding=DeviceBinding(report_only=True))
    browser = site.browser().bind()
    site.clock.advance(700)

    assert browser.copy(TOKEN).get("/set/x").text == "alice {'x': 1} bound=True"
    (event,) = site.told("Unproven")
    assert isinstance(event, events.Unproven)
    assert not event.refused


def test_bound_sessions_can_be_accepted_unproven() -> None:
    """By a switch, for the day on which a browser changes: nothing is offered, told or refused; what is bound stays so."""
    store = BindingSite().store
    browser = BindingSite(store).browser().bind()
    late = BindingSite(store, device_binding=DeviceBinding(accept_unproven=True))
    late.clock.advance(700)
    browser.site = late

    assert browser.copy(TOKEN).get("/set/x").text == "alice {'x': 1} bound=True"
    assert late.told("Unproven") == []
    assert browser.device.refresh() == 200
    assert "Secure-Session-Registration" not in late.browser().get("/login/bob").headers
    browser.site = BindingSite(store, clock=late.clock)
    assert is_refused(browser.copy(TOKEN), browser.site)


@pytest.mark.parametrize("site_header", ["cross-site", "same-site", "none"])
def test_a_link_of_another_site_gets_a_page_that_reloads_itself(
    site_header: str, browser: Browser, site: BindingSite
) -> None:
    """The browser sends that without proof, and the reload with it. Nothing else is answered so."""
    browser.bind()
    site.clock.advance(700)
    link = {"Sec-Fetch-Site": site_header, "Sec-Fetch-Mode": "navigate"}
    answer = browser.get("/set/x", link)

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert set(browser.cookies) == {TOKEN}, "the proof that is none has been removed"
    assert browser.get("/set/x", link).set_cookies == []
    assert 'http-equiv="refresh"' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    for other in ({"Sec-Fetch-Mode": "cors"}, {"Sec-Fetch-Site": "same-origin"}, {"Secure-Session-Skipped": "unreachable"}):
        assert "refresh" not in browser.get("/set/x", link | other).text
    assert "refresh" not in browser.post("/set/x", link).text
    assert browser.get("/untouched", link).text == "untouched"
    assert "refresh" not in browser.get("/login/alice", link).text
    browser.cookies[TOKEN] = "A" * 40
    assert "refresh" not in browser.get("/set/x", link).text


def test_what_follows_the_path_is_the_applications(browser: Browser) -> None:
    """As long as it is neither of the two; and the two are there by POST alone, and by https."""
    assert browser.get("/.session/else").status_code == 200
    assert browser.get(REGISTRATION).status_code == 405
    assert browser.get(REFRESH).headers["Allow"] == "POST"
    assert browser.post("/x" + REFRESH).text.startswith("None")
    assert browser.post(REFRESH, scheme="http").text.startswith("None")


def test_a_site_may_lie_under_a_path(browser: Browser) -> None:
    """The browser is told of the whole one."""
    answer = browser.get("/login/alice", SCRIPT_NAME="/a b")

    assert 'path="/a%20b/.session/registration"' in answer.headers["Secure-Session-Registration"]
