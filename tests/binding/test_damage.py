"""What is damaged, forged, late or of somebody else proves nothing, and breaks nothing."""

from random import Random

import pytest

from tests.binding.sites import BOUND, REFRESH, REGISTRATION, TOKEN, BindingSite, Browser, challenge_in
from tests.gates import full

SOME, MANY = 300, full(20_000, 100_000)


@pytest.fixture
def site() -> BindingSite:
    return BindingSite()


def asked(browser: Browser) -> str:
    """Return the challenge of a refresh."""
    answer = browser.post(REFRESH, {"Sec-Secure-Session-Id": browser.session_id})
    assert answer.status_code == 403
    assert answer.headers["Secure-Session-Challenge"].endswith(f'";id="{browser.session_id}"')
    return challenge_in(answer.headers)


def proved(browser: Browser, token: str, session_id: str | None = None) -> int:
    headers = {"Sec-Secure-Session-Id": session_id or browser.session_id, "Secure-Session-Response": token}
    return browser.post(REFRESH, headers).status_code


def damaged(text: str, random: Random) -> str:
    """Return a text with something changed, cut, doubled, or taken for something else, as a header may have it."""
    at, end = sorted((random.randrange(len(text) + 1), random.randrange(len(text) + 1)))
    return random.choice([
        text[:at] + chr(random.randrange(32, 256)) + text[at + 1 :],
        text[:at],
        text[at:],
        text[:at] + text[end:],
        text[:end] + text[at:],
        text[:at] + text[at:end].swapcase() + text[end:],
        ".".join(random.sample(text.split("."), len(text.split(".")))) if "." in text else text[::-1],
    ])  # fmt: skip


@pytest.mark.parametrize(
    "count", [pytest.param(SOME, id=str(SOME)), pytest.param(MANY, id=f"{MANY:,}", marks=pytest.mark.soak)]
)
def test_damaged_registrations_and_refreshes_are_refused(count: int) -> None:
    """Whatever the damage: no error, nothing bound, nothing proved, and the session goes on."""
    random, site = Random(5), BindingSite()
    new, bound = site.browser(), site.browser().bind("bob")
    offer = challenge_in(new.get("/login/alice").headers)
    registration, refresh = new.device.sign(offer, first=True), bound.device.sign(asked(bound))
    site.clock.advance(61)  # nothing has just been bound
    proof = bound.cookies[BOUND]
    for _ in range(count // 3):
        forged = damaged(registration, random)
        assert forged == registration or new.post(REGISTRATION, {"Secure-Session-Response": forged}).status_code == 400
        forged = damaged(refresh, random)
        assert forged == refresh or proved(bound, forged) == 400
        forged = damaged(proof, random)
        thief = f"{TOKEN}={bound.cookies[TOKEN]}; {BOUND}={forged}"
        assert forged in (proof, "") or site.browser().get(cookie=thief).text.startswith("None"), forged

    assert new.get().text == "alice {} bound=False"
    assert bound.get().text == "bob {} bound=True"
    assert new.post(REGISTRATION, {"Secure-Session-Response": registration}).status_code == 200
    assert proved(bound, refresh) == 200


def test_what_is_missing_is_refused(site: BindingSite) -> None:
    """Without a token, without an id, without an answer."""
    browser, nobody = site.browser(), site.browser()
    signed = browser.device.sign(challenge_in(browser.get("/login/alice").headers), first=True)

    assert browser.post(REGISTRATION).status_code == 400
    assert nobody.post(REGISTRATION, {"Secure-Session-Response": signed}).status_code == 400
    assert browser.device.register(browser.get("/confirm")) == 200
    assert browser.post(REFRESH).status_code == 400
    assert nobody.post(REFRESH, {"Sec-Secure-Session-Id": browser.session_id}).status_code == 400
    assert browser.post(REFRESH, {"Sec-Secure-Session-Id": "A" * 12}).status_code == 400


def test_a_challenge_has_its_time(site: BindingSite) -> None:
    """Five minutes; a refresh is asked anew after that, and a registration is too late."""
    browser, late = site.browser().bind(), site.browser()
    signed = browser.device.sign(asked(browser))
    offer = late.get("/login/bob")
    site.clock.advance(299)
    assert proved(browser, signed) == 200
    site.clock.advance(2)

    assert proved(browser, signed) == 403
    assert late.device.register(offer) == 400
    assert late.get().text == "bob {} bound=False"


def test_a_challenge_is_for_one_session_and_one_purpose(site: BindingSite) -> None:
    """Those of others, of before a sign-in, and the value of the cookie are none."""
    alice, bob = site.browser().bind(), site.browser().bind("bob")
    before = asked(alice)
    site.clock.advance(61)

    assert proved(alice, alice.device.sign(asked(bob))) == 400
    assert proved(alice, alice.device.sign(alice.cookies[BOUND])) == 400
    assert proved(alice, bob.device.sign(asked(alice))) == 400
    assert proved(alice, alice.device.sign(asked(alice)), bob.session_id) == 400
    assert alice.device.register(alice.get("/confirm")) == 200
    site.clock.advance(61)
    assert proved(alice, alice.device.sign(before)) == 400
    assert proved(alice, alice.device.sign(asked(alice))) == 200


def test_what_began_before_a_sign_in_is_asked_to_come_again(site: BindingSite) -> None:
    """A 400 would end in the browser what has been bound since, for it goes by the id of the session; that is for later."""
    browser = site.browser().bind()
    before, signed = browser.copy(), browser.device.sign(asked(browser))
    offer = browser.get("/confirm")
    assert proved(browser, signed) == 503  # it is offered, and may be on its way
    assert proved(before, signed) == 503  # with the old token, too
    assert browser.device.register(offer) == 200
    assert proved(browser, signed) == 503
    site.clock.advance(61)

    assert proved(browser, signed) == 400
    assert browser.device.refresh() == 200


def test_a_refresh_holds_while_the_token_is_replaced(site: BindingSite) -> None:
    """It may have been under way: the key proves the device, and the cookie opens nothing by itself."""
    browser = site.browser().bind()
    site.clock.advance(61)
    old, signed = browser.copy(), browser.device.sign(asked(browser))
    browser.get("/regenerate")

    assert proved(old, signed) == 200
    site.clock.advance(10)
    assert proved(old, signed) == 400


def test_a_registration_holds_while_the_token_is_replaced(site: BindingSite) -> None:
    """Nobody is left unbound by that."""
    browser = site.browser()
    offer = browser.get("/login/alice")
    old = browser.copy()
    browser.get("/regenerate")

    assert old.device.register(offer) == 200
    assert browser.get().text == "alice {} bound=True"


def test_a_failing_store_is_no_refusal(site: BindingSite) -> None:
    """Promise 7: a 503, after which a browser comes again; a 400 would end its binding for good."""
    browser, new = site.browser().bind(), site.browser()
    signed, offer = browser.device.sign(asked(browser)), new.get("/login/bob")
    site.store.fail(times=None)
    assert proved(browser, signed) == 503
    assert browser.post(REFRESH, {"Sec-Secure-Session-Id": browser.session_id}).status_code == 503
    assert new.device.register(offer) == 503
    site.store.heal()
    site.store.refuse_writes()
    assert new.device.register(offer) == 503
    assert proved(browser, signed) == 200
    site.store.heal()

    assert new.device.register(offer) == 200
    site.clock.advance(60)
    assert browser.get().text == "alice {} bound=True"
    assert {event.name for event in site.events} >= {"StoreFailed", "StoreRecovered"}
