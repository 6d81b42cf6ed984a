"""A cookie policy that has changed: nobody is signed out, and no cookie of the former one stays."""

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from session_middleware import ConfigurationError, CookiePolicy, MemoryStore, SessionMiddleware, Store, get_session
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token
from tests.apps import visit
from tests.clients import Browser
from tests.cookies.headers import TOKEN

HOST, DOMAIN = CookiePolicy(), CookiePolicy(domain="example.com")
RENAMED, BELOW = CookiePolicy(name="sid"), CookiePolicy(path="/shop")
OPEN, STRICT = CookiePolicy(secure=False), CookiePolicy(samesite="Strict")


def a_site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Does what the last part of the path says."""
    session = get_session(environ)
    match environ["PATH_INFO"].split("/")[2]:
        case "login":
            session.login("alice")
            session["cart"] = session.get("cart", 0) + 1
        case "write":
            session["seen"] = True
        case "logout":
            session.invalidate()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{session.user_id} {session.get('cart')}".encode()]


class Move:
    """A browser that is signed in under one policy, and then meets another."""

    def __init__(self, store: Store, before: CookiePolicy, after: CookiePolicy, scheme: str) -> None:
        self.clock = FakeClock()
        self.before = SessionMiddleware(a_site, store, cookie=before, namespace="session", clock=self.clock)
        self.after = SessionMiddleware(a_site, store, cookie=after, namespace="session", clock=self.clock)
        self.browser = Browser(self.before, origin=f"{scheme}://www.example.com", now=self.clock())
        self.browser.get("/shop/login")
        self.clock.advance(120)
        self.browser._app = self.after
        self.wanted = after.for_scheme(scheme)

    def get(self, what: str = "look") -> str:
        return self.browser.get(f"/shop/{what}").body.decode()

    @property
    def cookies(self) -> list[tuple[str, bool, str]]:
        return [(cookie.name, cookie.host_only, cookie.path) for cookie in self.browser.agent.cookies.values()]


def changed(before: CookiePolicy, after: CookiePolicy) -> CookiePolicy:
    return CookiePolicy(
        name=after.name,
        secure=after.secure,
        samesite=after.samesite,
        path=after.path,
        domain=after.domain,
        former=(STRICT, before),
    )


CHANGES = {
    "domain set": (HOST, DOMAIN),
    "domain removed": (DOMAIN, HOST),
    "name": (HOST, RENAMED),
    "name and domain": (RENAMED, DOMAIN),
    "path set": (HOST, BELOW),
    "path removed": (BELOW, HOST),
    "secure": (OPEN, HOST),
    "nothing that names it": (STRICT, HOST),
}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
class TestAChange:
    @pytest.fixture
    def move(self, store: Store, before: CookiePolicy, after: CookiePolicy, scheme: str) -> Move:
        return Move(store, before, changed(before, after), scheme)

    def test_nobody_is_signed_out_and_one_cookie_is_left(
        self, move: Move, before: CookiePolicy, after: CookiePolicy, scheme: str
    ) -> None:
        """Promise 20: today's cookie comes with the first response if it has another name, and else when it is next set."""
        for _ in range(3):
            assert move.get() == "alice 1"
        if before.for_scheme(scheme).name != move.wanted.name:
            assert move.cookies == [(move.wanted.name, after.domain is None, after.path)]
        assert move.get("login") == "alice 2"

        assert move.cookies == [(move.wanted.name, after.domain is None, after.path)]
        assert move.get() == "alice 2"
        assert move.browser.refused == []

    def test_signing_out_leaves_nothing(self, move: Move, before: CookiePolicy, after: CookiePolicy, scheme: str) -> None:
        """Promise 5: neither a session nor a cookie, today's or the former."""
        move.get("logout")

        assert move.cookies == []
        assert move.get() == "None None"

    def test_a_lost_response_locks_nobody_out(
        self, move: Move, before: CookiePolicy, after: CookiePolicy, scheme: str
    ) -> None:
        """Promise 20: the former cookie goes on until today's has come."""
        cookie = move.browser.agent.header(f"{scheme}://www.example.com/shop/")
        for _ in range(3):
            assert visit(move.after, "/shop/look", cookie=cookie, scheme=scheme).body == b"alice 1"
            move.clock.advance(100)
        assert move.get() == "alice 1"

    def test_without_it_they_are_signed_out_or_have_two(
        self, store: Store, before: CookiePolicy, after: CookiePolicy, scheme: str
    ) -> None:
        """That is what the option is for."""
        move = Move(store, before, after, scheme)
        first = move.get()
        move.get("login")
        same = before.for_scheme(scheme).place == move.wanted.place

        assert (first == "alice 1" and len(move.cookies) == 1) == same


@pytest.fixture
def move(store: Store) -> Move:
    """From ``session`` to ``sid``."""
    return Move(store, HOST, changed(HOST, RENAMED), "http")


def test_a_session_of_the_last_minute_keeps_its_cookie(move: Move) -> None:
    """Promise 20: a secret that was just sent is not replaced; it is read all the same."""
    move.clock.advance(-100)
    assert move.get() == "alice 1"
    assert [name for name, *_ in move.cookies] == ["session"]
    move.clock.advance(100)
    move.get()

    assert [name for name, *_ in move.cookies] == ["sid"]


def test_a_former_cookie_beside_todays_is_not_looked_at(move: Move) -> None:
    """K-9: who can plant one, on a name without a prefix, signs nobody in or out."""
    planted = visit(move.before, "/shop/login").cookie
    move.get()
    assert move.get("login") == "alice 2"
    assert move.browser.agent.receive("http://www.example.com/", planted) is None
    assert move.get() == "alice 2"


@pytest.mark.parametrize(("what", "names"), [("look", ["session"]), ("write", ["sid"])])
def test_a_former_cookie_that_opens_nothing_goes_when_a_cookie_is_set(move: Move, what: str, names: list[str]) -> None:
    """Design, "Cookie": Set-Cookie goes out only when the browser has something to learn."""
    move.after.manager.revoke_all("alice")

    assert move.get(what) == "None None"
    assert [name for name, *_ in move.cookies] == names


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_goes_has_come_and_is_not_in_the_place_of_todays(scheme: str) -> None:
    """Promise 14: no header without a reason; and none that would remove what was just set."""
    cookie = CookiePolicy(name="sid", former=(HOST,)).for_scheme(scheme)
    before = HOST.for_scheme(scheme)

    assert cookie.removals(f"{before.name}={TOKEN}") == [before.deletion_header()]
    assert cookie.removals(f"{cookie.name}={TOKEN}") == cookie.removals(None) == []
    assert CookiePolicy(former=(STRICT,)).for_scheme(scheme).removals(f"{before.name}={TOKEN}") == []


def test_another_name_changes_nothing_else() -> None:
    """It has the attributes and the former ones; what is in its place is not removed."""
    cookie = changed(HOST, BELOW).for_scheme("http")
    named = cookie.named("sid")

    assert cookie.named("session") is cookie
    assert named.header(Token(TOKEN)) == cookie.header(Token(TOKEN)).replace("session=", "sid=")
    assert named.former == cookie.former
    assert CookiePolicy(former=(RENAMED,)).for_scheme("http").named("sid").removals(f"sid={TOKEN}") == []


@pytest.mark.parametrize("former", [[HOST], HOST, ("session",), None, (CookiePolicy(name="a", former=(HOST,)),)])
def test_former_policies_stand_side_by_side(former: Any) -> None:
    """Promise 15."""
    with pytest.raises(ConfigurationError, match="write a tuple of all former ones"):
        CookiePolicy(former=former)


def test_another_name_needs_the_namespace_of_before() -> None:
    """Promise 15: without one it has been the name of the cookie, and nothing would be opened."""
    with pytest.raises(ConfigurationError, match=r"write namespace='session', and keep it when former=\.\.\. goes"):
        SessionMiddleware(a_site, MemoryStore(), cookie=changed(HOST, RENAMED))
    SessionMiddleware(a_site, MemoryStore(), cookie=changed(HOST, DOMAIN))
