"""Sessions of another library are carried over once each, whatever happens at the same time. The library here is a dict."""

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from session_middleware import (
    ConfigurationError,
    ConflictError,
    CookiePolicy,
    JSONCodec,
    Lifetime,
    MemoryStore,
    PayloadError,
    Record,
    Session,
    SessionMiddleware,
    Store,
    StoreUnavailable,
    get_session,
    takeover,
)
from session_middleware.carry_over import Carried
from session_middleware.testing import FakeClock, FaultyStore, race
from session_middleware.testing.orders import SteppedStore, some_orders
from session_middleware.tokens import Token
from tests.apps import Gateway, list_app, visit
from tests.backends.running import EMBEDDED, Backends, a_store
from tests.sites import AgedStore

OLD = "old=anna"
ANNA = {"name": "Anna", "cart": ["tea"]}
DAY = 86400

Act = Callable[[Session], object]


@dataclass
class Library:
    """Another library's sessions, found by a cookie named ``old``."""

    sessions: dict[str, Carried] = field(default_factory=lambda: {"anna": Carried(ANNA, "7")})
    name: str = "old"
    path: str = "/"
    domain: str | None = None
    calls: list[str] = field(default_factory=list)
    fault: str = ""
    step: Callable[[], None] = lambda: None
    meanwhile: Callable[[], object] | None = None
    """What happens, once, between the moment at which a session was read and the next step of whoever has read it."""

    def find(self, header: object) -> "OldSession | None":
        found = re.search(rf"(?:^|; ){self.name}=([\w-]+)", str(header))
        return OldSession(self, found[1]) if found else None

    def deletion_header(self) -> str:
        return f"{self.name}=; Path={self.path}; Max-Age=0"

    def note(self, call: str) -> None:
        self.step()
        self.calls.append(call)
        if call == self.fault:
            raise StoreUnavailable("as the test asked")


@dataclass
class OldSession:
    library: Library
    secret: str

    def read(self, now: float) -> Carried | None:
        self.library.note("read")
        found = self.library.sessions.get(self.secret)
        happens, self.library.meanwhile = self.library.meanwhile, None
        if happens is not None:
            happens()
        return found

    def remove(self) -> None:
        self.library.note("remove")
        self.library.sessions.pop(self.secret, None)


class Site:
    """A site that has moved from the library to our middleware, and notes what each request saw."""

    def __init__(self, store: Store, library: Library, **options: Any) -> None:
        self.library = library
        self.middleware = SessionMiddleware(self._app, store, carry_over=library, **options)
        self.manager = self.middleware.manager
        self.seen: Any = None

    def _app(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        self.seen = environ["test.act"](get_session(environ))
        start_response(environ["test.status"], [("Content-Type", "text/plain")])
        return [b"mine"]

    def request(self, act: Act = dict, cookie: str | None = OLD, *, status: str = "200 OK", scheme: str = "http") -> Gateway:
        extra: dict[str, Any] = {"test.act": act, "test.status": status}
        return visit(self.middleware, cookie=cookie, scheme=scheme, **extra)

    def opened(self, token: str) -> dict[str, Any]:
        return dict(self.manager.open(token))

    @property
    def token(self) -> Token:
        """What Anna's session has here before its secret is renewed."""
        return self.manager._takeover.token_of(OldSession(self.library, "anna"))

    def sees(self, cookie: str | None = OLD) -> dict[str, Any]:
        """Return what a request that only reads finds."""
        self.request(cookie=cookie)
        seen: dict[str, Any] = self.seen
        return seen


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def faulty(store: Store, clock: FakeClock) -> FaultyStore:
    return FaultyStore(AgedStore(store, clock))


@pytest.fixture
def site(faulty: FaultyStore, library: Library, clock: FakeClock) -> Site:
    return Site(faulty, library, clock=clock)


def told(response: Gateway) -> list[str]:
    """Return the token that the response sets, if it sets one."""
    return [found[1] for cookie in response.set_cookies if (found := re.match(r"session=([\w-]{40});", cookie))]


def own(response: Gateway) -> str:
    """Return the token that the response sets."""
    (token,) = told(response)
    return token


def removed(response: Gateway) -> list[str]:
    """Return the names of the cookies that the response removes."""
    return [cookie.partition("=")[0] for cookie in response.set_cookies if "Max-Age=0" in cookie]


def setting(key: str, value: object = True) -> Act:
    return lambda session: session.update({key: value})


def appending(value: str) -> Act:
    return lambda session: session["cart"].append(value)


def increment(session: Session) -> None:
    session.transact(lambda data: data.update(count=data.get("count", 0) + 1))


def signing_in(user_id: str) -> Act:
    def act(session: Session) -> None:
        session.login(user_id)
        session["signed in"] = True

    return act


def regenerating(session: Session) -> None:
    session.regenerate()
    session["regenerated"] = True


sign_out: Act = Session.invalidate


def fails(session: Session) -> None:
    session["lost"] = True
    raise RuntimeError("the application fails")


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


class TestSecret:
    def test_the_old_secret_is_no_token_and_no_id(
        self, site: Site, faulty: FaultyStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 11: what opened the session there is not stored or logged, and opens nothing here."""
        caplog.set_level(logging.DEBUG)
        secret = Token.new().reveal()
        site.library.sessions = {secret: Carried({"a": "x" * 70_000})}
        site.request(cookie=f"old={secret}")
        keys = {key for _, key in faulty.calls}
        values = b"".join(stored.value for key in keys if (stored := faulty.inner.load(key)))
        assert site.seen != {}
        assert all(part not in text for part in (secret, secret[:12], secret[12:]) for text in (*keys, caplog.text))
        assert secret.encode() not in values
        assert site.opened(secret) == {}

    def test_another_namespace_makes_another_token(self) -> None:
        """Two sites that share both stores have a session each."""
        sites = [Site(MemoryStore(), Library(), namespace=name) for name in ("one", "two")]
        assert sites[0].token.id != sites[1].token.id
        assert len({sites[0].token, sites[1].token, Site(MemoryStore(), Library(), namespace="one").token}) == 2

    def test_the_old_cookie_works_until_the_new_one_was_used_and_thirty_seconds(self, site: Site, clock: FakeClock) -> None:
        """Promise 20: parallel, slow and lost responses lock nobody out."""
        token = own(site.request())
        for _ in range(3):
            clock.advance(19)
            assert site.request(setting("old")).set_cookies == []
        assert site.sees(f"session={token}") == ANNA | {"old": True}
        clock.advance(29)
        assert site.sees() == ANNA | {"old": True}
        clock.advance(1)
        assert site.sees() == {}
        assert site.sees(f"session={token}") == ANNA | {"old": True}

    def test_after_that_the_old_cookie_is_an_unknown_one(self, site: Site, clock: FakeClock) -> None:
        """It sees nothing, a write starts a new session, and nothing is carried over again, even if it is there again."""
        token = own(site.request())
        site.sees(f"session={token}")
        clock.advance(30)
        site.library.sessions["anna"] = Carried({"another": 1}, "7")
        assert site.sees() == {}
        response = site.request(setting("late"))
        assert site.opened(own(response)) == {"late": True}
        assert site.opened(token) == ANNA
        assert site.library.calls.count("read") == 1

    def test_a_response_that_was_lost_is_told_again_after_a_minute(self, site: Site, clock: FakeClock) -> None:
        """Promise 20: the first cookie and the two latest, any of which may have arrived, work until a later one comes."""
        tokens = [own(site.request(setting("first")))]
        clock.advance(59)
        assert site.request().set_cookies == []
        assert site.seen == ANNA | {"first": True}
        for number in range(4):
            clock.advance(1 if number == 0 else 60)
            tokens.append(own(site.request()))
        assert {token[:12] for token in tokens} == {site.token.id}
        assert [site.opened(token) != {} for token in tokens] == [True, False, False, True, True]
        assert site.sees(f"session={tokens[-1]}") == ANNA | {"first": True}
        clock.advance(30)
        assert [site.opened(token) != {} for token in tokens] == [False] * 4 + [True]
        assert site.sees() == {}

    def test_who_is_remembered_from_now_on_is_told_so(self, site: Site, clock: FakeClock) -> None:
        """``set_lifetime(persistent=True)`` in a request with the old cookie, the first one or another beside it."""

        def remember(session: Session) -> None:
            session.set_lifetime(persistent=True)

        first = site.request()
        second = site.request(remember)
        assert "Max-Age=86400" in second.set_cookies[0]
        assert removed(second) == ["old"]
        assert [site.opened(own(response)) for response in (first, second)] == [ANNA, ANNA]
        assert site.request(remember).set_cookies == []

        site.sees(f"session={own(second)}")
        assert site.request(lambda session: session.set_lifetime(absolute=2 * DAY)).set_cookies == []
        assert site.manager.open(own(second)).expires_at - clock() == 3600

        site = Site(MemoryStore(), Library())
        assert "Max-Age=86400" in site.request(remember).set_cookies[0]

    def test_a_transaction_of_the_first_request_is_told_even_if_it_fails(self, site: Site) -> None:
        """What it stored is stored, and the secret with it."""
        response = site.request(increment, status="500 Internal Server Error")
        assert site.opened(own(response)) == ANNA | {"count": 1}
        assert site.sees() == ANNA | {"count": 1}

    def test_a_response_that_has_started_tells_nothing(self, site: Site) -> None:
        """Used only while it streams, the session is carried over, and the next request is told the cookie."""

        def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"one"
            get_session(environ)["late"] = 1
            yield b"two"

        middleware = SessionMiddleware(stream, site.manager.store, carry_over=site.library, clock=site.manager.now)
        assert visit(middleware, cookie=OLD).set_cookies == []
        assert site.opened(own(site.request())) == ANNA | {"late": 1}


class TestEnding:
    def test_another_user_who_signs_in_at_once_gets_a_session_of_their_own(self, site: Site) -> None:
        """The other's data are dropped, and their session has ended, wherever it was."""
        response = site.request(signing_in("8"))
        assert site.opened(own(response)) == {"signed in": True}
        assert own(response)[:12] != site.token.id
        assert site.manager.sessions_of("7") == []
        assert site.library.sessions == {}
        assert site.sees() == {}

    def test_who_proves_who_they_are_goes_on(self, site: Site, clock: FakeClock) -> None:
        """Promise 18: nothing from before opens what comes after, and the old cookie opens nothing from then on."""
        response = site.request(signing_in("7"))
        assert site.opened(own(response)) == ANNA | {"signed in": True}
        assert site.sees() == {}
        assert site.request(setting("late")).set_cookies == []
        clock.advance(10)
        assert site.sees() == {}
        assert site.opened(own(response)) == ANNA | {"signed in": True}

    def test_an_anonymous_visitor_who_signs_in_at_once_takes_the_cart_along(self, site: Site, clock: FakeClock) -> None:
        """For 10 s the old cookie still reads what was there before, and can sign in, as the second of a double click."""
        site.library.sessions["anna"] = Carried(ANNA)
        response = site.request(signing_in("7"))
        assert site.sees() == ANNA
        assert site.request(setting("late")).set_cookies == []
        second = site.request(signing_in("7"))
        assert [site.opened(own(one)) for one in (response, second)] == [ANNA | {"signed in": True}] * 2
        assert len(site.manager.sessions_of("7")) == 1
        clock.advance(10)
        assert site.sees() == {}

    def test_a_new_secret_that_was_asked_for_ends_the_old_cookie(self, site: Site) -> None:
        """``regenerate()``: nothing else opens the session from then on."""
        response = site.request(regenerating)
        assert site.opened(own(response)) == ANNA | {"regenerated": True}
        assert site.sees() == {}

    @pytest.mark.parametrize("user", ["7", None])
    def test_who_signs_out_at_once_is_out(self, site: Site, user: str | None) -> None:
        """Promise 5: the old cookie opens nothing any more, and is removed."""
        site.library.sessions["anna"] = Carried(ANNA, user)
        response = site.request(sign_out)
        assert told(response) == []
        assert removed(response) == ["session", "old"]
        assert site.sees() == {}

    @pytest.mark.parametrize("user", ["7", None])
    def test_the_end_lasts_as_long_as_the_session_could_have(self, site: Site, clock: FakeClock, user: str | None) -> None:
        """Promise 5: the library may have a copy, for whatever reason. It is not asked."""
        site.library.sessions["anna"] = copy = Carried(ANNA, user)
        token = own(site.request())
        site.request(sign_out, cookie=f"session={token}")
        site.library.sessions["anna"] = copy
        for _ in range(25):
            assert site.sees() == {}
            clock.advance(DAY / 25 - 1)
            site.library.sessions["anna"] = copy
        assert site.library.calls.count("read") == 1

    def test_the_old_cookie_can_sign_out(self, site: Site) -> None:
        """As long as it opens the session."""
        token = own(site.request())
        assert removed(site.request(sign_out)) == ["session", "old"]
        assert site.opened(token) == {}
        assert site.sees() == {}

    def test_a_session_can_be_revoked_before_it_has_its_token(self, site: Site) -> None:
        """A failed request carries over, too, and the session counts from then on."""
        ways: list[Callable[[], int]] = [
            lambda: site.manager.revoke_all("7"),
            lambda: site.manager.revoke(site.token.id),
            site.manager.revoke_everybody,
        ]
        for revoke in ways:
            site.library.sessions["anna"] = Carried(ANNA, "7")
            with pytest.raises(RuntimeError):
                site.request(fails)
            assert revoke() == 1
            assert site.sees() == {}
            assert revoke() == 0
            site.manager.store.delete(site.token.id)

    def test_a_session_that_timed_out_here_is_gone(self, site: Site, clock: FakeClock) -> None:
        """Promise 12: its old record was removed, so there is nothing to carry over again."""
        site.request()
        clock.advance(3601)
        assert site.sees() == {}
        assert site.library.calls == ["read", "remove", "read"]

    def test_a_session_that_no_request_got_is_carried_over_again(self, site: Site, clock: FakeClock) -> None:
        """It has timed out here, but was never removed there, so nobody has had it: the library's own timeout decides."""
        site.library.fault = "remove"
        assert site.request().status[:3] == "503"
        clock.advance(3601)
        site.library.fault = ""
        assert site.opened(own(site.request())) == ANNA

    def test_a_full_store_ends_sessions_all_the_same(self, site: Site, faulty: FaultyStore) -> None:
        """Whoever signs out, or is signed out, is out, though no more can be stored than that a record is gone."""
        for end in (
            lambda: site.request(sign_out),
            lambda: site.manager.revoke(site.token.id),
            lambda: site.manager.revoke_everybody(),
        ):
            for user in ("7", None):
                site.library.sessions["anna"] = Carried(ANNA, user)
                token = own(site.request())
                faulty.fail("update")
                end()
                faulty.heal()
                assert (site.opened(token), site.sees()) == ({}, {})


class TestStragglers:
    """A request with the old cookie has read the other library's store, and creates the session when all is over."""

    @pytest.fixture(params=["7", None], ids=["signed in", "anonymous"])
    def user(self, request: pytest.FixtureRequest, library: Library) -> str | None:
        user: str | None = request.param
        library.sessions["anna"] = Carried(ANNA, user)
        return user

    def straggle(self, site: Site, act: Act, meanwhile: Callable[[], object]) -> Gateway:
        site.library.meanwhile = meanwhile
        response = site.request(act)
        assert response.status == "200 OK"
        return response

    @pytest.mark.usefixtures("user")
    def test_nothing_is_brought_back(self, site: Site) -> None:
        """Promise 5: of a session that was carried over and ended meanwhile."""
        response = self.straggle(site, setting("late"), lambda: site.request(sign_out))
        assert site.opened(own(response)) == {"late": True}
        assert site.library.sessions == {}
        assert site.sees() == {}

    def test_nothing_is_brought_back_where_another_user_has_signed_in(self, site: Site, user: str | None) -> None:
        """Promise 18. Of an anonymous visitor the straggler may read, for 10 s, what was there before."""
        response = self.straggle(site, dict, lambda: site.request(signing_in("8")))
        assert site.seen == ({} if user else ANNA)
        assert response.set_cookies == []
        assert len(site.manager.sessions_of("8")) == 1
        assert site.manager.sessions_of("7") == []

    def test_nothing_is_brought_back_by_the_new_cookie_either(self, site: Site, user: str | None) -> None:
        """Promise 5: the sign-out may come with it."""

        def carry_and_end() -> None:
            site.request(sign_out, cookie=f"session={own(site.request())}")

        self.straggle(site, dict, carry_and_end)
        assert site.seen == {}
        assert site.sees() == {}

    def test_a_revoked_session_stays_so(self, site: Site, user: str | None) -> None:
        """Promise 19."""
        for revoke in (lambda: site.manager.revoke(site.token.id), site.manager.revoke_everybody):
            site.library.sessions["anna"] = Carried(ANNA, user)
            self.straggle(site, dict, lambda revoke=revoke: (site.request(), revoke()))  # type: ignore[misc]
            assert site.seen == {}
            site.manager.store.delete(site.token.id)

    def test_a_sign_in_that_was_revoked_stays_so(self, site: Site, user: str | None) -> None:
        """Promise 19: the user is signed out everywhere, which is found out when the sign-in has been stored."""

        def sign_in(session: Session) -> None:
            session.login("7")
            # As far as a revoke_all() has come that has not looked for sessions yet.
            site.manager._sessions.leave_mark(site.manager._mark_id("7"), None)

        self.straggle(site, dict, lambda: site.request(sign_in))
        assert site.seen == {}
        assert site.manager.sessions_of("7") == []
        assert site.sees() == {}

    @pytest.mark.usefixtures("user")
    def test_a_session_that_has_moved_on_is_not_opened(self, site: Site, clock: FakeClock) -> None:
        """Its new secret has been used more than 30 s ago."""

        def carry_and_use() -> None:
            site.sees(f"session={own(site.request(setting('kept')))}")
            clock.advance(30)

        response = self.straggle(site, dict, carry_and_use)
        assert (site.seen, response.set_cookies) == ({}, [])

    @pytest.mark.usefixtures("user")
    def test_a_session_that_is_there_is_opened_with_what_has_changed(self, site: Site) -> None:
        """Promise 3."""
        response = self.straggle(site, setting("late"), lambda: site.request(setting("kept")))
        assert response.set_cookies == []
        assert site.sees() == ANNA | {"kept": True, "late": True}


class TestFailure:
    @pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Service Unavailable", None])
    def test_a_failed_request_loses_nothing(self, site: Site, status: str | None) -> None:
        """Promise 16: it changes nothing and tells nothing; the next one finds everything."""
        for _ in range(2):
            if status is None:
                with pytest.raises(RuntimeError):
                    site.request(fails)
            else:
                assert site.request(regenerating, status=status).set_cookies == []
        assert site.opened(own(site.request())) == ANNA
        assert site.seen == ANNA
        assert site.library.sessions == {}

    def test_a_failed_request_ends_what_it_has_ended(self, site: Site) -> None:
        """Promise 16."""
        assert removed(site.request(sign_out, status="500 Internal Server Error")) == ["session", "old"]
        assert site.sees() == {}

    @pytest.mark.parametrize("call", ["read", "remove"])
    def test_a_failing_library_is_a_503_and_not_a_sign_out(self, site: Site, call: str) -> None:
        """Promise 7: no cookie is set or removed; when it answers again, the visitor is signed in."""
        site.library.fault = call
        response = site.request(setting("lost"))
        assert (response.status[:3], response.set_cookies) == ("503", [])
        assert response.values("Retry-After")
        site.library.fault = ""
        assert site.opened(own(site.request())) == ANNA

    def test_a_process_that_dies_between_the_two_stores_loses_nothing(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The session is there twice, and the next request removes the old one."""

        def die(self: OldSession) -> None:
            raise SystemExit

        with monkeypatch.context() as patch:
            patch.setattr(OldSession, "remove", die)
            with pytest.raises(SystemExit):
                site.request()
        assert "anna" in site.library.sessions
        assert site.opened(own(site.request(setting("kept")))) == ANNA | {"kept": True}
        assert site.library.sessions == {}

    @pytest.mark.parametrize("applied", [False, True], ids=["not done", "done, not acknowledged"])
    @pytest.mark.parametrize("act", [dict, setting("a"), increment, regenerating, signing_in("7"), sign_out])
    def test_a_failure_of_our_store_at_any_call_loses_nothing(self, site: Site, act: Act, applied: bool) -> None:
        """Promise 7: whichever call fails, the session is there, once, for who tries again with what the browser has."""
        faulty = site.manager.store
        assert isinstance(faulty, FaultyStore)
        for at in range(1, 9):
            site.library.sessions["anna"] = Carried(ANNA, "7")
            faulty.fail("create", "load", "update", "delete", at=at, applied=applied)
            calls = len(faulty.calls)
            first = site.request(act)
            struck = len(faulty.calls) - calls >= at
            faulty.heal()
            if first.status[:3] == "503":
                assert first.set_cookies == []
                first = site.request(act)
            elif told(first) == [] and act is not sign_out:
                assert act is dict
                assert struck
                assert site.sees() == ANNA
            for token in told(first):
                assert site.opened(token).items() >= ANNA.items()
            if act is sign_out:
                assert site.sees() == {}
                assert site.manager.sessions_of("7") == []
            elif told(first) or act is dict:
                assert len(site.manager.sessions_of("7")) == 1
            site.manager.revoke_everybody()
            faulty.delete(site.token.id)
            if not struck:
                assert at > 4
                return
        raise AssertionError("there are more calls")

    def test_a_store_that_fails_for_long_leaves_the_session_there(self, site: Site, faulty: FaultyStore) -> None:
        for at in (1, 2):
            faulty.fail("create", "load", at=at, times=None)
            assert site.request().status[:3] == "503"
            assert "anna" in site.library.sessions
            faulty.heal()
        assert site.opened(own(site.request())) == ANNA

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            ({"a": object()}, "session['a']: object"),
            ({"a": [{"b": 1j}]}, "session['a'][0]['b']: complex"),
            ({1: "a"}, "a key of type int"),
            ({"\ud800": "a"}, "a key with a lone surrogate"),
            ({"a": "x" * 2000}, "over the limit"),
        ],
    )
    def test_what_cannot_be_kept_is_skipped_with_one_line(
        self, library: Library, data: dict[Any, Any], reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 10: an empty session and one line, and the old record is left alone."""
        library.sessions["anna"] = Carried(data)
        site = Site(MemoryStore(), library, max_bytes=1024)
        caplog.set_level(logging.INFO)
        assert site.sees() == {}
        (record,) = caplog.records
        assert reason in record.getMessage()
        assert "anna" not in record.getMessage()
        assert "anna" in library.sessions

    def test_what_the_library_refuses_is_skipped_with_its_reason(
        self, library: Library, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(self: OldSession, now: float) -> Carried:
            raise PayloadError("convert it like this")

        monkeypatch.setattr(OldSession, "read", refuse)
        site = Site(MemoryStore(), library)
        assert site.opened(own(site.request(setting("new")))) == {"new": True}
        assert [record.getMessage()[-20:] for record in caplog.records] == ["convert it like this"]

    def test_a_session_that_is_skipped_is_logged_once(
        self, library: Library, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its cookie comes with every request. What is remembered for that is bounded."""
        library.sessions = {name: Carried({"a": object()}) for name in ("anna", "bert")}
        site = Site(MemoryStore(), library)
        for name in ("anna", "anna", "bert", "anna", "bert"):
            site.request(cookie=f"{library.name}={name}")
        assert len(caplog.records) == 2

        monkeypatch.setattr(takeover, "_MOST_TOLD", 1)
        again = Site(MemoryStore(), library)
        for name in ("anna", "bert", "bert", "anna"):
            again.request(cookie=f"{library.name}={name}")
        assert len(caplog.records) == 5

    def test_a_damaged_record_opens_nothing(self, library: Library, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 10: never an exception, nothing is overwritten in place, and the old record is left where it is."""
        store = MemoryStore()
        site = Site(store, library)
        assert store.create(site.token.id, Record(b"damaged", int(time.time()) + 60, None))
        assert site.sees() == {}
        assert {record.levelname for record in caplog.records} == {"ERROR"}
        stored = store.load(site.token.id)
        assert stored is not None
        assert stored.value == b"damaged"
        assert "anna" in library.sessions


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


class World:
    """A site on a stepped store and a stepped library, and requests that come with one old cookie."""

    def __init__(self, store: Store, user: str | None) -> None:
        self.store = SteppedStore(store)
        self.library = Library({"anna": Carried(ANNA, user)}, step=lambda: self.store.step("old", "", lambda: None))
        self.site = Site(self.store, self.library)
        self.manager = self.site.manager
        self.told: list[str] = []
        self.saw: list[dict[str, Any]] = []
        """What each request found that looked."""
        self.revoked: list[object] = []

    def request(self, deed: "Deed") -> str:
        response = self.site.request(partial(deed, self))
        self.told += told(response)
        return response.status

    @property
    def all_saw(self) -> bool:
        return all(saw.items() >= ANNA.items() for saw in self.saw)

    def opened(self) -> list[dict[str, Any]]:
        """Return what each cookie opens that the browser may have kept, the old one last."""
        return [*map(self.site.opened, self.told), self.site.sees()]

    def live(self) -> list[dict[str, Any]]:
        found = map(self.manager.find, self.store.keys())
        return [dict(info.data) for info in found if info is not None]


Deed = Callable[[World, Session], object]


def look(world: World, session: Session) -> None:
    world.saw.append(dict(session))


def write(key: str) -> Deed:
    def deed(world: World, session: Session) -> None:
        look(world, session)
        session[key] = True

    return deed


def count(world: World, session: Session) -> None:
    look(world, session)
    with suppress(ConflictError):  # someone may have signed in
        increment(session)


def end(world: World, session: Session) -> None:
    session.invalidate()


def renew(world: World, session: Session) -> None:
    look(world, session)
    regenerating(session)


def remember(world: World, session: Session) -> None:
    look(world, session)
    session.set_lifetime(persistent=True)


def sign_in(user_id: str) -> Deed:
    return lambda world, session: signing_in(user_id)(session)


def revoke(world: World, session: Session) -> None:
    world.revoked.append(world.manager.revoke(world.site.token.id))


def revoke_all(world: World, session: Session) -> None:
    world.revoked.append(world.manager.revoke_all("7"))


Orders = Callable[..., Iterator[World]]


@pytest.fixture(params=[100, pytest.param(500, marks=pytest.mark.soak)])
def orders(request: pytest.FixtureRequest, kind: str, tmp_path: Path, backends: Backends) -> Iterator[Orders]:
    """A sample of the orders in which the requests, all with the old cookie, can call the two stores; a larger one in the
    soak."""
    with a_store(kind, tmp_path, backends) as store:

        def run(*deeds: Deed, user: str | None = "7") -> Iterator[World]:
            def world() -> tuple[SteppedStore, list[Callable[[], Any]], World]:
                made = World(store, user)
                return made.store, [partial(made.request, deed) for deed in deeds], made

            for made, outcome in some_orders(world, request.param):
                assert outcome.errors == [None] * len(deeds), (outcome.errors, outcome.schedule)
                assert outcome.results == ["200 OK"] * len(deeds), (outcome.results, outcome.schedule)
                yield made
                made.store.empty()

        yield run


@pytest.mark.unmeasured
@pytest.mark.parametrize("kind", EMBEDDED)
class TestOrders:
    """Two requests, and three, with the old cookie, in the orders of their calls to the store and to the library."""

    @pytest.mark.parametrize(
        "deeds",
        [
            (look, look),
            (write("a"), look),
            (write("a"), write("b")),
            (write("a"), write("b"), write("c")),
            (look, write("b"), remember),
        ],
    )
    def test_parallel_requests_make_one_session(self, orders: Orders, deeds: tuple[Deed, ...]) -> None:
        """Promises 3 and 20: all see what was there, nothing is lost, and whichever cookie the browser keeps works."""
        for world in orders(*deeds):
            assert world.all_saw
            (live,) = world.live()
            assert live.items() >= ANNA.items()
            assert len(live) - len(ANNA) == len([deed for deed in deeds if deed not in (look, remember)])
            assert len(world.told) == 1 if remember not in deeds else len(world.told) in (1, 2)
            assert world.opened() == [live] * (len(world.told) + 1)
            assert world.library.sessions == {}

    def test_increments_beside_each_other_all_count(self, orders: Orders) -> None:
        """Promise 4."""
        for world in orders(count, count):
            assert world.all_saw
            assert world.live() == [ANNA | {"count": 2}]
            assert world.opened() == [ANNA | {"count": 2}] * 2

    @pytest.mark.parametrize("user", ["7", None])
    @pytest.mark.parametrize("others", [(look,), (write("a"),), (count,), (end,), (write("a"), write("b"))])
    def test_a_sign_out_is_final(self, orders: Orders, others: tuple[Deed, ...], user: str | None) -> None:
        """Promise 5: in no order is the session alive afterwards; another may have begun one without its data."""
        for world in orders(end, *others, user=user):
            assert all("name" not in live for live in world.live())
            assert all("name" not in opened for opened in world.opened())
            assert world.library.sessions == {}

    @pytest.mark.parametrize("others", [(look,), (write("a"),), (write("a"), write("b"))])
    @pytest.mark.parametrize("revocation", [revoke, revoke_all])
    def test_what_was_revoked_stays_so(self, orders: Orders, others: tuple[Deed, ...], revocation: Deed) -> None:
        """Promise 19: if the session was known by then; one that is carried over later is another matter."""
        for world in orders(revocation, *others):
            was_there = bool(world.revoked[0])
            assert any("name" in live for live in world.live()) != was_there
            assert any("name" in opened for opened in world.opened()) != was_there
            assert world.library.sessions == {}

    @pytest.mark.parametrize("other", [look, write("a")])
    def test_who_signs_in_keeps_what_the_others_did_before(self, orders: Orders, other: Deed) -> None:
        """Promise 18: an anonymous visitor, and what is done after the sign-in is not theirs."""
        for world in orders(sign_in("7"), other, user=None):
            assert world.all_saw
            (info,) = world.manager.sessions_of("7")
            assert info.data.items() >= {**ANNA, "signed in": True}.items()
            assert [token[:12] for token in world.told] == [info.id] * len(world.told)
            assert dict(info.data) in world.opened()
            assert world.site.seen == {key: value for key, value in info.data.items() if key != "signed in"}

    def test_a_double_click_signs_in_once(self, orders: Orders) -> None:
        """Promise 20: either cookie is that of the one session."""
        for world in orders(sign_in("7"), sign_in("7"), user=None):
            (info,) = world.manager.sessions_of("7")
            assert len(world.told) == 2
            assert [world.site.opened(token) for token in world.told] == [info.data] * 2
            assert world.live() == [info.data]

    @pytest.mark.parametrize("other", [look, write("a")])
    def test_who_proves_who_they_are_again_is_alone(self, orders: Orders, other: Deed) -> None:
        """Promise 18: of the cookies only that of the sign-in works, and one that a write after it may have begun."""
        for world in orders(sign_in("7"), other):
            (info,) = world.manager.sessions_of("7")
            assert info.data.items() >= {**ANNA, "signed in": True}.items()
            assert [opened for opened in world.opened() if "name" in opened] == [info.data]
            assert world.site.seen == {}

    @pytest.mark.parametrize("other", [look, write("a")])
    def test_another_user_who_signs_in_ends_the_session(self, orders: Orders, other: Deed) -> None:
        """Promise 18."""
        for world in orders(sign_in("8"), other):
            (info,) = world.manager.sessions_of("8")
            assert info.data == {"signed in": True}
            assert all("name" not in live for live in world.live())
            assert world.manager.sessions_of("7") == []
            assert world.library.sessions == {}

    @pytest.mark.parametrize("other", [look, write("a"), count])
    def test_a_new_secret_keeps_what_the_others_did(self, orders: Orders, other: Deed) -> None:
        """Promise 3: and it is the only one, but for who was told another before it."""
        for world in orders(renew, other):
            (live,) = [live for live in world.live() if "name" in live]
            assert live.items() >= {**ANNA, "regenerated": True}.items()
            assert ("a" in live or "count" in live or other is look) or {} in world.saw
            assert [opened for opened in world.opened() if "name" in opened] == [live]


@pytest.mark.parametrize("kind", EMBEDDED)
def test_threads_at_once(kind: str, tmp_path: Path, backends: Backends) -> None:
    """Promises 3 and 4: real threads, real time: one session, all changes, one cookie."""
    with a_store(kind, tmp_path, backends) as store:
        for number in range(30):
            world = World(store, "7")
            deeds = [write("a"), write("b"), write("c"), count, count, look]
            assert race(*[partial(world.request, deed) for deed in deeds]) == ["200 OK"] * 6
            (info,) = world.manager.sessions_of("7")
            assert info.data == ANNA | {"a": True, "b": True, "c": True, "count": 2}, number
            assert world.all_saw
            assert len(world.told) == 1
            assert world.opened() == [info.data] * 2
            assert race(*[partial(world.request, deed) for deed in (end, write("d"), look, count)]) == ["200 OK"] * 4
            assert all("name" not in opened for opened in world.opened())
            world.store.empty()
