"""A cookie of our name that is no token of ours: what ends the session removes it."""

import pytest

from session_middleware import MemoryStore, SessionMiddleware, get_session
from session_middleware.cookies import CookiePolicy
from tests.apps import list_app, visit
from tests.cookies.headers import LONGEST

ODD = ["session=nonsense", "session=", 'session="quoted"', "a=b;\tsession = x", "session=" + "A" * 41]
OTHERS = [None, "", "a=b", "a=session=x", "xsession=x", "session", "\u2003session=x", "session2=x", "a=b; sessions=1"]


@pytest.mark.parametrize("cookie", ODD)
def test_ending_the_session_removes_it(cookie: str) -> None:
    """Promise 5: after a sign-out no cookie of ours is left, be it malformed."""
    site = SessionMiddleware(list_app(lambda environ: get_session(environ).invalidate()), MemoryStore())

    assert [header.split(";")[0] for header in visit(site, cookie=cookie).set_cookies] == ["session="]
    assert "Max-Age=0" in visit(site, cookie=cookie).set_cookies[0]


@pytest.mark.parametrize("cookie", OTHERS)
def test_where_there_is_none_nothing_is_removed(cookie: str | None) -> None:
    """Promise 14: no header without a reason."""
    site = SessionMiddleware(list_app(lambda environ: get_session(environ).invalidate()), MemoryStore())

    assert visit(site, cookie=cookie).set_cookies == []


def test_reading_leaves_it() -> None:
    """Promise 14: it may be of another application, until this one ends the session."""
    site = SessionMiddleware(list_app(lambda environ: get_session(environ).get("name")), MemoryStore())

    assert visit(site, cookie=ODD[0]).set_cookies == []


def test_a_header_that_is_too_long_is_not_searched() -> None:
    """Nobody chooses what a request costs."""
    cookie = CookiePolicy().for_scheme("http")

    longest = f"session={'x' * LONGEST}"[:LONGEST]
    assert cookie.is_in(longest)
    assert not cookie.is_in(f"{longest}x")
