"""A session of another library is carried over once, at the cost that it must have, whatever its cookie is called."""

import json
from typing import Any

import pytest

from session_middleware import ConfigurationError, CookiePolicy, JSONCodec, Lifetime, MemoryStore, SessionMiddleware
from session_middleware.carry_over import Carried
from session_middleware.testing import FakeClock, FaultyStore
from session_middleware.tokens import Token
from tests.apps import list_app
from tests.takeover.library import ANNA, OLD, Act, Library, Site, own, removed, setting, sign_out


def appending(value: str) -> Act:
    return lambda session: session["cart"].append(value)


class TestOnce:
    def test_the_data_and_the_user_come_under_a_fresh_secret(self, site: Site) -> None:
        """A visitor who is signed in stays signed in; the old record and the old cookie are removed."""
        response = site.request()
        assert site.seen == ANNA
        assert site.library.sessions == {}
        assert removed(response) == ["old"]

        token = own(response)
        assert (token[:12], token[12:]) != (site.token.id, site.token.reveal()[12:])
        assert site.opened(token) == ANNA
        assert site.manager.open(token).user_id == "7"
        site.library.calls.clear()
        assert site.request(cookie=f"session={token}").set_cookies == []
        assert site.seen == ANNA
        assert site.library.calls == []

    def test_a_session_that_is_not_used_is_not_carried_over(self, site: Site, faulty: FaultyStore) -> None:
        """Promise 1: an untouched session costs nothing, here or there."""
        response = site.request(lambda session: None)
        assert (response.set_cookies, faulty.calls, site.library.calls) == ([], [], [])

    def test_without_their_cookie_nothing_is_asked(self, site: Site, faulty: FaultyStore) -> None:
        """Promise 2: a read without a cookie makes no call."""
        site.request(cookie=None)
        assert (faulty.calls, site.library.calls) == ([], [])

    def test_it_costs_what_it_must(self, site: Site, faulty: FaultyStore) -> None:
        """The library is asked for what only it knows."""
        site.request()
        assert [verb for verb, _ in faulty.calls if verb != "sweep"] == ["load", "create", "load", "update"]
        assert site.library.calls == ["read", "remove"]
        faulty.calls.clear()
        site.request(cookie="old=nobody")
        assert [verb for verb, _ in faulty.calls] == ["load", "load"]
        faulty.calls.clear()
        site.request()
        assert [verb for verb, _ in faulty.calls] == ["load"]

    def test_a_cookie_of_ours_goes_before_theirs(self, site: Site) -> None:
        """A session that has ended here does not come back from there, so theirs is not asked for beside ours."""
        token = own(site.request(setting("ours"), cookie=None))
        assert site.sees(f"session={token}; {OLD}") == {"ours": True}
        site.request(sign_out, cookie=f"session={token}")
        assert site.sees(f"session={token}; {OLD}") == {}
        assert site.library.calls == []

    def test_what_is_written_is_kept(self, site: Site) -> None:
        """Promise 8: nested changes of the first request, too."""
        response = site.request(appending("milk"))
        assert site.opened(own(response))["cart"] == ["tea", "milk"]

    def test_an_unknown_old_cookie_opens_nothing_and_stays(self, site: Site) -> None:
        """Nothing to tell the browser; a new session removes the old cookie."""
        response = site.request(cookie="old=nobody")
        assert (site.seen, response.set_cookies) == ({}, [])
        response = site.request(setting("new"), cookie="old=nobody")
        assert site.opened(own(response)) == {"new": True}
        assert removed(response) == ["old"]

    def test_a_persistent_cookie_stays_one(self, site: Site) -> None:
        """Who asked to be remembered is remembered, for as long as our own timeouts allow."""
        site.library.sessions["anna"] = Carried(ANNA, None, True)
        assert "Max-Age=86400" in site.request().set_cookies[0]

    def test_the_timeouts_are_ours_from_then_on(self, faulty: FaultyStore, library: Library, clock: FakeClock) -> None:
        """Promise 12."""
        site = Site(faulty, library, clock=clock, lifetime=Lifetime(idle=600))
        token = own(site.request())
        clock.advance(599)
        assert site.opened(token) == ANNA
        clock.advance(1)
        assert site.opened(token) == {}

    @pytest.mark.parametrize(
        ("idle", "absolute", "ends"),
        [(300.0, None, 300), (10.0**6, None, 10**6), (None, 7200.0, 7200), (None, 10.0**7, 10**7), (60.0, 90.0, 60)],
    )
    def test_timeouts_of_its_own_go_with_it(self, site: Site, idle: float | None, absolute: float | None, ends: int) -> None:
        """Promise 12: neither longer nor shorter than its user was told."""
        site.library.sessions["anna"] = Carried(ANNA, "7", True, idle, absolute)
        site.request(lambda session: session.expires_at - session.created_at)

        assert site.seen == ends

    def test_the_browser_is_told_on_https_too(self, site: Site) -> None:
        response = site.request(scheme="https")
        assert [cookie.partition("=")[0] for cookie in response.set_cookies] == ["__Host-session", "old"]

    def test_json_goes_over_into_json(self) -> None:
        """The codec is ours, whatever theirs was."""
        site = Site(MemoryStore(), Library({"anna": Carried(json.loads('{"a": [1, {"b": null}]}'))}), codec=JSONCodec())
        assert site.opened(own(site.request())) == {"a": [1, {"b": None}]}

    @pytest.mark.parametrize("session_id", [None, 7, "", "x", "a" * 12, "../" * 4])
    def test_only_the_id_of_a_live_session_finds_one(self, site: Site, session_id: Any) -> None:
        """``manager.find`` is by the public name, and a token is none."""
        token = own(site.request())
        found = site.manager.find(site.manager.open(token).id)
        assert found is not None
        assert (found.data, found.user_id) == (ANNA, "7")
        assert [site.manager.find(name) for name in (session_id, token)] == [None] * 2


class TestNames:
    @pytest.mark.parametrize("secret", ["a" * 40, "b" * 43], ids=["of the form of a token", "of another"])
    def test_one_name_for_both_cookies(self, faulty: FaultyStore, secret: str) -> None:
        """The old cookie may have the name of ours, and even the form: whichever store knows it, opens it."""
        site = Site(faulty, Library({secret: Carried(ANNA)}, name="session"))
        response = site.request(cookie=f"session={secret}")
        assert site.seen == ANNA
        (cookie,) = response.set_cookies
        assert "Max-Age=0" not in cookie
        token = own(response)
        site.library.calls.clear()
        assert site.sees(f"session={token}") == ANNA
        assert site.library.calls == []
        assert removed(site.request(sign_out, cookie=f"session={secret}")) == ["session"]
        assert site.sees(f"session={secret}") == {}
        assert site.sees(f"session={token}") == {}

    def test_one_name_on_http_and_two_on_https(self, faulty: FaultyStore) -> None:
        secret = Token.new().reveal()
        site = Site(faulty, Library({secret: Carried(ANNA)}, name="session"))
        response = site.request(cookie=f"session={secret}", scheme="https")
        assert [cookie.partition("=")[0] for cookie in response.set_cookies] == ["__Host-session", "session"]

    @pytest.mark.parametrize("library", [Library(name="session", path="/app"), Library(name="session", domain="a.example")])
    def test_one_name_at_two_places_does_not_start(self, library: Library) -> None:
        """Promise 15: a browser would keep both."""
        with pytest.raises(ConfigurationError, match=r"write CookiePolicy\(name="):
            Site(MemoryStore(), library)
        Site(MemoryStore(), library, cookie=CookiePolicy(name="sid"))

    @pytest.mark.parametrize("wrong", ["redis://localhost", Library, object()])
    def test_what_is_no_reader_does_not_start(self, wrong: Any) -> None:
        """Promise 15."""
        with pytest.raises(ConfigurationError, match=r"write FromBeaker"):
            SessionMiddleware(list_app(lambda environ: None), MemoryStore(), carry_over=wrong)
