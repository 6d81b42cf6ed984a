"""A registration, and whatever else becomes of its session meanwhile, in every order of their store calls."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from session_middleware import Lifetime
from session_middleware.testing import interleavings
from tests.binding.sites import REGISTRATION, BindingSite, Browser, Response, challenge_in

BOUND, UNBOUND = "bound=True", "bound=False"


class Race(NamedTuple):
    """A site with a session that was offered a binding, and who comes with its cookie."""

    site: BindingSite
    browser: Browser
    offer: Response

    def run(self, other: Callable[[], Any], check: Callable[[int, Any], object]) -> int:
        """Let the device register in every order with the *other*; return how many orders there were."""
        browser, device = self.browser, self.browser.device
        signed = device.sign(challenge_in(self.offer.headers), first=True)
        cookies = dict(browser.cookies)

        def register() -> int:
            return Browser(self.site, cookies).post(REGISTRATION, {"Secure-Session-Response": signed}).status_code

        report = interleavings(self.site.application, register, other, check=check)
        assert report.complete
        assert not report.broken, report
        return report.orders

    def act(self, path: str) -> Callable[[], Browser]:
        """Return what requests *path* as the browser does, and then has the cookies that it is told."""
        cookies = dict(self.browser.cookies)

        def act() -> Browser:
            browser = Browser(self.site, cookies)
            assert browser.get(path).status_code == 200
            return browser

        return act

    @property
    def sessions(self) -> list[Any]:
        return list(self.site.middleware.manager.sessions_of("alice"))


def a_race(**options: Any) -> Race:
    site = BindingSite(**options)
    browser = site.browser()
    browser.get("/set/x")
    return Race(site, browser, browser.get("/login/alice"))


@pytest.fixture
def race() -> Race:
    return a_race()


@pytest.mark.parametrize(("path", "kept"), [("/set/x", "{'x': 2}"), ("/regenerate", "{'x': 1}"), ("/clear", "{}")])
def test_it_binds_whatever_changes_the_session(path: str, kept: str, race: Race) -> None:
    """Promise 3: neither is lost, and the session is bound in the end."""

    def check(status: int, browser: Browser) -> None:
        assert status == 200
        assert browser.get().text == f"alice {kept} {BOUND}"

    assert race.run(race.act(path), check) > 2


def test_it_binds_a_session_that_is_renewed() -> None:
    """Promise 22: the old and the new secret are of the device."""
    race = a_race(lifetime=Lifetime(renew=60))
    race.site.clock.advance(61)
    act = race.act("/")

    def check(status: int, browser: Browser) -> None:
        assert status == 200
        assert browser.get().text == race.browser.copy().get().text == f"alice {{'x': 1}} {BOUND}"

    assert race.run(act, check) > 2


@pytest.mark.parametrize("how", ["sign-out", "revoke", "revoke_all", "revoke_everybody"])
def test_it_brings_no_session_back(how: str, race: Race) -> None:
    """Promises 5 and 19: bound and ended, or refused."""
    manager, session_id = race.site.middleware.manager, race.browser.session_id
    other: Callable[[], Any] = {
        "sign-out": race.act("/invalidate"),
        "revoke": lambda: manager.revoke(session_id),
        "revoke_all": lambda: manager.revoke_all("alice"),
        "revoke_everybody": manager.revoke_everybody,
    }[how]

    def check(status: int, _: Any) -> None:
        assert status in (200, 400)
        assert race.sessions == []
        assert race.browser.copy().get().text == f"None {{}} {UNBOUND}"

    assert race.run(other, check) > 2


def test_it_binds_nothing_of_a_later_sign_in(race: Race) -> None:
    """Promise 18: that has an offer of its own, and an earlier one is void."""

    def check(status: int, browser: Browser) -> None:
        assert status in (200, 400)
        assert browser.get().text == f"alice {{'x': 1}} {UNBOUND}"
        assert [one.device_bound for one in race.sessions] == [False]

    assert race.run(race.act("/confirm"), check) > 2


def test_of_two_keys_one_is_bound(race: Race) -> None:
    """Never both, and never none; the other is refused."""
    thief = race.browser.copy()
    signed = thief.device.sign(challenge_in(race.offer.headers), first=True)
    cookies = dict(thief.cookies)

    def other() -> int:
        return Browser(race.site, cookies).post(REGISTRATION, {"Secure-Session-Response": signed}).status_code

    def check(status: int, others: int) -> None:
        assert sorted((status, others)) == [200, 400]
        assert [one.device_bound for one in race.sessions] == [True]

    assert race.run(other, check) > 2


def test_a_key_that_comes_twice_is_bound_once(race: Race) -> None:
    """As when a browser has heard nothing, and tries again: both are told that it is bound."""
    signed, cookies = race.browser.device.sign(challenge_in(race.offer.headers), first=True), dict(race.browser.cookies)

    def other() -> int:
        return Browser(race.site, cookies).post(REGISTRATION, {"Secure-Session-Response": signed}).status_code

    assert race.run(other, lambda one, another: [one, another] == [200, 200] or pytest.fail("refused")) > 2
