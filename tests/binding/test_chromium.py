"""Sessions that are bound to a device, with a real Chromium, over TLS, on two workers: browsers go on, copies do not."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest

from session_middleware.testing import FakeDevice
from tests.backends.running import Backends
from tests.binding.shop import AGE, Shop, Visitor, until
from tests.binding.sites import BOUND, REFRESH, REGISTRATION, TOKEN, challenge_in
from tests.chromium import launched, remembering

IN_SOAK = pytest.mark.soak
ALICE, NOBODY = "alice, bound", "None, not bound"

MakeShop = Callable[..., Shop]


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=IN_SOAK)])
def make_shop(request: pytest.FixtureRequest, backends: Backends, tmp_path: Path) -> MakeShop:
    """A shop that is not open yet."""
    kind = request.param

    def make(**settings: str) -> Shop:
        url = f"sqlite:///{tmp_path}/sessions.sqlite3?timeout=10" if kind == "sqlite" else backends.url(kind)
        return Shop(tmp_path, url, **settings)

    return make


@contextmanager
def visited(shop: Shop) -> Iterator[Visitor]:
    """Open the shop, and let somebody in."""
    with shop.open(), launched(*shop.flags) as browser:
        yield Visitor(shop, browser.new_context())


def test_both_cookies_are_worth_nothing_elsewhere(make_shop: MakeShop) -> None:
    """A copy works until the proof has run out; the browser proves it again, and goes on. The token alone opens nothing."""
    with visited(make_shop()) as visitor:
        shop = visitor.shop
        assert visitor.reload() == NOBODY
        visitor.press("sign-in")
        assert visitor.page.title().startswith("alice, ")
        until(lambda: BOUND in visitor.cookies)
        assert visitor.reload() == ALICE
        copied = visitor.cookies
        assert set(copied) == {TOKEN, BOUND}
        shop.advance(60)
        assert shop.ask(cookies=copied).user == "alice"
        assert shop.ask(cookies={TOKEN: copied[TOKEN]}).user is None

        visitor.lose_proof()
        assert shop.ask(cookies=copied).user is None
        assert shop.refreshed() == 0
        assert visitor.reload() == ALICE
        assert shop.refreshed() == 1
        assert visitor.cookies[TOKEN] == copied[TOKEN]
        assert [shop.ask(cookies=copied).user for _ in range(100)] == [None] * 100


@IN_SOAK
def test_many_writers_at_once_are_all_kept(make_shop: MakeShop) -> None:
    """They wait for one proof: 24 scripts with a cookie that has run out."""
    with visited(make_shop()) as visitor:
        visitor.bind().lose_proof()
        answers = visitor.page.evaluate(
            """async () => {
                const send = (_, i) => fetch(`/set?key${i}=${i}`, {method: 'POST'}).then(answer => answer.json());
                return Promise.all(Array.from({length: 24}, send));
            }"""
        )

        assert [answer["user"] for answer in answers] == ["alice"] * 24
        assert visitor.post("/who")["data"] == {f"key{number}": str(number) for number in range(24)}
        assert visitor.shop.refreshed() == 1


@IN_SOAK
def test_three_tabs_prove_it_once(make_shop: MakeShop) -> None:
    """Each sends four requests, all at the same time."""
    with visited(make_shop()) as visitor:
        visitor.bind()
        tabs = [visitor.page, visitor.new_tab(), visitor.new_tab()]
        for number, tab in enumerate(tabs):
            tab.evaluate(
                """number => {
                    const address = i => `/set?key${4 * number + i}=x`;
                    const send = (_, i) => fetch(address(i), {method: 'POST'}).then(answer => answer.json());
                    const start = done => () => done(Promise.all(Array.from({length: 4}, send)));
                    window.answers = new Promise(done => { new BroadcastChannel('start').onmessage = start(done); });
                }""",
                number,
            )
        visitor.lose_proof()
        visitor.page.evaluate("new BroadcastChannel('start').postMessage('')")
        answers = [answer for tab in tabs for answer in tab.evaluate("window.answers")]

        assert [answer["user"] for answer in answers] == ["alice"] * 12
        assert len(visitor.post("/who")["data"]) == 12
        assert visitor.shop.refreshed() == 1
        for tab in tabs:
            tab.reload()
        assert [tab.title() for tab in tabs] == [ALICE] * 3


@IN_SOAK
def test_the_key_survives_a_restart_of_the_browser(make_shop: MakeShop, tmp_path: Path) -> None:
    """With a cookie that outlives the browser: the profile has the key, and the proof is made anew."""
    shop, profile = make_shop(), tmp_path / "profile"
    with shop.open():
        with remembering(profile, *shop.flags) as context:
            visitor = Visitor(shop, context).bind()
            token = visitor.cookies[TOKEN]
        with remembering(profile, *shop.flags) as context:
            visitor = Visitor(shop, context)
            assert (visitor.page.title(), visitor.cookies[TOKEN]) == (ALICE, token)
            before = shop.refreshed()
            visitor.lose_proof()
            assert visitor.reload() == ALICE
            assert shop.refreshed() == before + 1


@IN_SOAK
def test_the_binding_survives_a_restart_of_the_server(make_shop: MakeShop) -> None:
    """Nothing of it is kept in a process: what the cookie proves, and what it was challenged with."""
    shop = make_shop()
    with launched(*shop.flags) as browser:
        with shop.open():
            visitor = Visitor(shop, browser.new_context()).bind()
        with shop.open():
            assert visitor.reload() == ALICE
            assert shop.refreshed() == 0
            visitor.lose_proof()
        with shop.open():
            assert visitor.reload() == ALICE
            assert shop.refreshed() == 1


@IN_SOAK
def test_a_new_name_of_the_cookie_is_told_by_the_next_proof(make_shop: MakeShop) -> None:
    """Until then the old one counts; a browser that waited for that again would ask in each request."""
    shop = make_shop()
    with launched(*shop.flags) as browser:
        with shop.open():
            visitor = Visitor(shop, browser.new_context()).bind()
        shop.rename_cookie("id")
        with shop.open():
            assert visitor.reload() == ALICE
            assert shop.refreshed() == 0
            visitor.lose_proof()
            assert [visitor.reload() for _ in range(3)] == [ALICE] * 3
            assert shop.refreshed() == 1
            assert set(visitor.cookies) == {"__Host-id", "__Host-id-bound"}


@IN_SOAK
def test_a_link_of_another_site_finds_the_session(make_shop: MakeShop) -> None:
    """It comes without proof; the tiny page that it gets reloads itself, and that has the proof."""
    with visited(make_shop()) as visitor:
        shop, page = visitor.bind().shop, visitor.page
        for loads in (1, 2):
            page.goto(shop.elsewhere)
            before, proved = len(shop.seen("GET", "/")), shop.refreshed()
            if loads == 2:
                visitor.lose_proof()
            page.get_by_role("link").click()
            visitor.wait_for(ALICE)
            assert len(shop.seen("GET", "/")) == before + loads
            assert shop.refreshed() == proved + loads - 1

        visitor.lose_proof()
        visitor.page = visitor.new_tab()
        visitor.wait_for(ALICE)


@IN_SOAK
def test_a_clock_that_was_set_locks_nobody_out(make_shop: MakeShop) -> None:
    """The browser has a proof that it takes for good: it is removed, and the next request has another one."""
    with visited(make_shop()) as visitor:
        shop = visitor.bind().shop
        shop.advance(AGE)
        assert [visitor.post("/who")["user"] for _ in range(2)] == [None, "alice"]
        assert shop.refreshed() == 1

        shop.advance(AGE)
        visitor.page.goto(shop.elsewhere)
        visitor.page.get_by_role("link").click()
        visitor.wait_for(ALICE)
        assert shop.refreshed() == 2


@IN_SOAK
def test_a_new_secret_keeps_the_binding(make_shop: MakeShop) -> None:
    """By ``regenerate()``, and by a renewal."""
    with visited(make_shop(RENEW="60")) as visitor:
        tokens = [visitor.bind().cookies[TOKEN]]
        visitor.press("regenerate")
        assert visitor.page.title() == ALICE
        tokens.append(visitor.cookies[TOKEN])
        visitor.shop.advance(61)
        assert visitor.reload() == ALICE
        tokens.append(visitor.cookies[TOKEN])
        assert len(set(tokens)) == 3

        visitor.lose_proof()
        assert visitor.reload() == ALICE
        assert visitor.cookies[TOKEN] not in tokens, "the secret was due again"
        assert visitor.shop.refreshed() == 1
        assert len(visitor.shop.seen("POST", REGISTRATION)) == 1


@IN_SOAK
def test_signing_out_ends_it_in_the_browser(make_shop: MakeShop) -> None:
    """Both cookies go; the browser asks once more, and never again."""
    with visited(make_shop()) as visitor:
        shop, copied = visitor.bind().shop, visitor.cookies
        visitor.press("sign-out")
        assert visitor.page.title() == NOBODY
        until(lambda: shop.seen("POST", REFRESH, 400))
        assert visitor.cookies == {}
        assert shop.ask(cookies=copied).user is None
        assert [visitor.reload() for _ in range(3)] == [NOBODY] * 3
        assert len(shop.seen("POST", REFRESH)) == 1
        assert visitor.bind().reload() == ALICE


@IN_SOAK
def test_a_revocation_elsewhere_ends_it_in_the_browser(make_shop: MakeShop) -> None:
    """Somebody signs the user's other browsers out: this one is told so, and forgets its key."""
    shop = make_shop()
    with shop.open(), launched(*shop.flags) as browser:
        visitor, other = [Visitor(shop, browser.new_context()).bind() for _ in range(2)]
        other.page.evaluate("fetch('/revoke', {method: 'POST'}).then(() => null)")
        assert visitor.reload() == NOBODY
        visitor.lose_proof()
        assert visitor.reload() == NOBODY
        until(lambda: shop.seen("POST", REFRESH, 400))

        asked = len(shop.seen("POST", REFRESH, 400))
        assert [visitor.reload() for _ in range(3)] == [NOBODY] * 3
        assert len(shop.seen("POST", REFRESH, 400)) == asked == 1
        other.lose_proof()
        assert other.reload() == ALICE


@IN_SOAK
def test_what_the_device_has_not_signed_proves_nothing(make_shop: MakeShop) -> None:
    """Forged, with another key, with none, replayed after its time; and who registers a second key is refused."""
    with visited(make_shop()) as visitor:
        shop, thief = visitor.bind().shop, Thief(visitor)
        registration = shop.signed()
        challenge = str(claims_of(registration)["jti"])
        assert not thief.registers(thief.sign(challenge, first=True))
        assert not thief.registers(thief.forge(registration))
        assert not thief.registers(thief.unsigned(registration))
        shop.advance(AGE)
        assert not thief.registers(registration)
        assert not thief.registers(thief.sign(challenge, first=True))

        visitor.lose_proof()
        assert visitor.reload() == ALICE
        proof = shop.signed(REFRESH)
        thief.cookies = {TOKEN: visitor.cookies[TOKEN]}
        challenge = thief.challenge()
        assert not thief.proves(thief.sign(challenge))
        assert not thief.proves(thief.sign(challenge, first=True))
        assert not thief.proves(thief.forge(proof))
        assert not thief.proves(thief.unsigned(proof))
        assert not thief.proves(registration)
        assert thief.proves(proof), "it is what the device has signed, and still in time"
        shop.advance(301)
        assert not thief.proves(proof)

        visitor.lose_proof()
        assert visitor.reload() == ALICE
        assert shop.refreshed() == 3


class Thief:
    """Somebody with a copy of the cookies, and a key of their own."""

    def __init__(self, visitor: Visitor) -> None:
        self._shop = visitor.shop
        self.cookies = visitor.cookies
        self._id = self.cookies[TOKEN][:12]
        self.sign = FakeDevice(None).sign

    def registers(self, signed: str) -> bool:
        return self._is_taken(REGISTRATION, signed)

    def proves(self, signed: str) -> bool:
        return self._is_taken(REFRESH, signed)

    def challenge(self) -> str:
        answer = self._shop.ask(REFRESH, self.cookies, method="POST", headers={"Sec-Secure-Session-Id": self._id})
        assert answer.status == 403
        return challenge_in(answer.headers)

    def forge(self, signed: str) -> str:
        """Return the same, header and all, with a signature of the own key."""
        head, content, _ = signed.split(".")
        return ".".join((head, content, self.sign("").rpartition(".")[2]))

    def unsigned(self, signed: str) -> str:
        """Return the same, which says of itself that it is not signed."""
        head = jwt.get_unverified_header(signed) | {"alg": "none"}
        encoded = urlsafe_b64encode(json.dumps(head).encode()).rstrip(b"=").decode()
        return ".".join((encoded, signed.split(".")[1], ""))

    def _is_taken(self, path: str, signed: str) -> bool:
        headers = {"Sec-Secure-Session-Id": self._id, "Secure-Session-Response": signed}
        answer = self._shop.ask(path, self.cookies, method="POST", headers=headers)
        assert (answer.status == 200) == ("Set-Cookie" in answer.headers)
        assert answer.status in (200, 400, 403)
        return answer.status == 200


def claims_of(signed: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(signed, options={"verify_signature": False})
    return claims
