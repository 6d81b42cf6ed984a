"""Sessions of another library are carried over once each, whatever happens at the same time. The library here is a dict."""

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from session_middleware import (
    ConfigurationError,
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
    tokens,
)
from session_middleware.carrying import Carried
from session_middleware.record import Moved
from session_middleware.testing import FakeClock, FaultyStore, race
from tests.apps import Gateway, list_app, visit
from tests.interleaving import SteppedStore, some_orders

OLD = "old=anna"
ANNA = {"name": "Anna", "cart": ["tea"]}

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
        return self.library.sessions.get(self.secret)

    def remove(self) -> None:
        self.library.note("remove")
        self.library.sessions.pop(self.secret, None)


def content(session: Session) -> dict[str, Any]:
    return dict(session)


class Site:
    """A site that has moved from the library to our middleware, and notes what each request saw."""

    def __init__(self, store: Store, library: Library, **options: Any) -> None:
        self.library = library
        self.middleware = SessionMiddleware(list_app(self._use), store, carry_over=library, **options)
        self.manager = self.middleware.manager
        self.act: Act = content
        self.seen: Any = None

    def _use(self, environ: dict[str, Any]) -> None:
        act = environ.get("test.act", self.act)
        self.seen = act(get_session(environ))

    def request(self, act: Act = content, cookie: str | None = OLD, **request: Any) -> Gateway:
        request["test.act"] = act
        return visit(self.middleware, cookie=cookie, **request)

    def opened(self, token: str) -> dict[str, Any]:
        return dict(self.manager.open(token))


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def faulty(store: Store) -> FaultyStore:
    return FaultyStore(store)


@pytest.fixture
def site(faulty: FaultyStore, library: Library, clock: FakeClock) -> Site:
    return Site(faulty, library, clock=clock)


def own(gateway: Gateway) -> str:
    """Return the token that the response sets."""
    (token,) = [cookie[8:51] for cookie in gateway.set_cookies if re.match(r"session=[\w-]{43};", cookie)]
    return token


def let_the_pointer_expire(site: Site) -> None:
    """Remove what leads from the session as it was carried over to where it has moved, as stores do after 30 s."""
    moved = site.manager._sessions.find(mark(site))
    assert isinstance(moved, Moved)
    assert site.manager.store.delete(moved.successor)


def mark(site: Site) -> str:
    return site.manager._takeover.mark_of(OldSession(site.library, "anna"))


def fails(session: Session) -> None:
    session["lost"] = True
    raise RuntimeError("the application fails")


class TestOnce:
    def test_the_data_and_the_user_come_under_a_fresh_token(self, site: Site) -> None:
        """A visitor who is signed in stays signed in; the old record and the old cookie are removed."""
        response = site.request()
        assert site.seen == ANNA
        assert site.library.sessions == {}
        assert [cookie.partition(";")[0] for cookie in response.set_cookies if "Max-Age=0" in cookie] == ["old="]

        token = own(response)
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

    def test_a_cookie_of_ours_goes_before_theirs(self, site: Site) -> None:
        """A session that has ended here does not come back from there, so theirs is not asked for beside ours."""
        token = own(site.request(lambda session: session.update(ours=1), cookie=None))
        site.request(cookie=f"session={token}; {OLD}")
        assert site.seen == {"ours": 1}
        site.request(lambda session: session.invalidate(), cookie=f"session={token}")
        site.request(cookie=f"session={token}; {OLD}")
        assert site.seen == {}
        assert site.library.calls == []

    def test_what_is_written_is_kept(self, site: Site) -> None:
        """Promise 8: nested changes of the first request, too."""
        response = site.request(lambda session: session["cart"].append("milk"))
        assert site.opened(own(response))["cart"] == ["tea", "milk"]

    def test_an_unknown_old_cookie_opens_nothing_and_stays(self, site: Site) -> None:
        """Nothing to tell the browser; a new session removes the old cookie."""
        response = site.request(cookie="old=nobody")
        assert (site.seen, response.set_cookies) == ({}, [])
        response = site.request(lambda session: session.update(new=1), cookie="old=nobody")
        assert site.opened(own(response)) == {"new": 1}
        assert "old=; Path=/; Max-Age=0" in response.set_cookies

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

    def test_the_old_secret_is_no_token_and_no_key(self, site: Site, faulty: FaultyStore) -> None:
        """Promise 11: what opened the session there is not stored and opens nothing here."""
        secret = tokens.new()
        site.library.sessions[secret] = Carried(ANNA)
        site.request(cookie=f"old={secret}")
        assert secret not in {key for _, key in faulty.calls}
        assert site.opened(secret) == {}


class TestEnding:
    def test_who_signs_in_at_once_gets_one_session(self, site: Site) -> None:
        """Another user's data are dropped; the old session is gone in any case."""
        response = site.request(lambda session: session.login("8"))
        assert site.opened(own(response)) == {}
        assert site.manager.sessions_of("7") == []
        assert site.library.sessions == {}

    def test_who_signs_out_at_once_is_out(self, site: Site) -> None:
        """Promise 5: the old cookie opens nothing any more, and is removed."""
        response = site.request(lambda session: session.invalidate())
        assert {cookie.partition("=")[0] for cookie in response.set_cookies} == {"session", "old"}
        assert all("Max-Age=0" in cookie for cookie in response.set_cookies)
        site.request()
        assert site.seen == {}

    def test_the_old_cookie_opens_nothing_after_the_move(self, site: Site) -> None:
        """A request that still comes with it sees nothing, writes nothing and sends no cookie over the new one."""
        token = own(site.request())
        response = site.request(lambda session: session.update(late=1))
        assert (response.set_cookies, site.opened(token)) == ([], ANNA)
        assert site.request().set_cookies == []
        assert site.seen == {}
        let_the_pointer_expire(site)
        assert site.opened(own(site.request(lambda session: session.update(late=1)))) == {"late": 1}

    def test_the_old_cookie_can_still_sign_out_and_in(self, site: Site) -> None:
        """As with a token that was replaced a moment ago."""
        token = own(site.request())
        site.request(lambda session: session.invalidate())
        assert site.opened(token) == {}
        assert site.manager.open(own(site.request(lambda session: session.login("9")))).user_id == "9"

    def test_a_straggler_brings_nothing_back(self, site: Site) -> None:
        """Promise 5: the library may still have a copy, after a sign-out, for whatever reason."""
        token = own(site.request())
        site.request(lambda session: session.invalidate(), cookie=f"session={token}")
        site.library.sessions["anna"] = Carried(ANNA, "7")
        site.request()
        assert site.seen == {}
        let_the_pointer_expire(site)
        site.request()
        assert site.seen == {}
        assert site.library.calls.count("read") == 1

    def test_a_session_can_be_revoked_before_it_has_its_token(self, site: Site) -> None:
        """A failed request carries over, too, and the session counts from then on."""
        with pytest.raises(RuntimeError):
            site.request(fails)
        assert site.manager.revoke_all("7") == 1
        site.request()
        assert site.seen == {}


class TestFailure:
    def test_a_failed_request_loses_nothing(self, site: Site) -> None:
        """Promise 16: it changes nothing; the next one finds everything."""
        for _ in range(2):
            with pytest.raises(RuntimeError):
                site.request(fails)
        assert site.opened(own(site.request())) == ANNA
        assert site.seen == ANNA
        assert site.library.sessions == {}

    @pytest.mark.parametrize("call", ["read", "remove"])
    def test_a_failing_library_is_a_503_and_not_a_sign_out(self, site: Site, call: str) -> None:
        """Promise 7: no cookie is set or removed; when it answers again, the visitor is signed in."""
        site.library.fault = call
        response = site.request(lambda session: session.update(lost=1))
        assert (response.status[:3], response.set_cookies) == ("503", [])
        assert response.values("Retry-After")
        site.library.fault = ""
        assert site.opened(own(site.request())) == ANNA

    @pytest.mark.parametrize("applied", [False, True], ids=["not done", "done, not acknowledged"])
    @pytest.mark.parametrize("at", range(1, 8))
    def test_a_failure_of_our_store_at_any_call_loses_nothing(
        self, site: Site, faulty: FaultyStore, clock: FakeClock, at: int, applied: bool
    ) -> None:
        """Promise 7: whichever call fails, the session is there for the next request, once."""
        faulty.fail("create", "load", "update", "delete", at=at, applied=applied)
        first = site.request()
        faulty.heal()
        if first.status.startswith("200"):
            assert site.opened(own(first)) == ANNA
            return
        assert first.set_cookies == []
        if applied and at == 7:
            # The move itself was done and not acknowledged: as with a regenerate, nobody knows the token.
            return
        second = site.request()
        assert site.opened(own(second)) == ANNA
        site.request()
        assert site.seen == {}

    def test_a_store_that_fails_for_long_leaves_the_session_there(self, site: Site, faulty: FaultyStore) -> None:
        faulty.fail("create", at=2, times=None)
        assert site.request().status[:3] == "503"
        assert "anna" in site.library.sessions
        faulty.heal()
        faulty.fail("create", "load", at=3, times=None)
        assert site.request().status[:3] == "503"
        faulty.heal()
        assert site.opened(own(site.request())) == ANNA

    @pytest.mark.parametrize(
        ("data", "reason"),
        [({"a": object()}, "session['a']: object"), ({1: "a"}, "a key of type int"), ({"a": "x" * 2000}, "over the limit")],
    )
    def test_what_cannot_be_kept_is_skipped_with_one_line(
        self, library: Library, data: dict[Any, Any], reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 10: an empty session and one line, and the old record is left alone."""
        library.sessions["anna"] = Carried(data)
        site = Site(MemoryStore(), library, max_bytes=1024)
        caplog.set_level(logging.INFO)
        site.request()
        assert site.seen == {}
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
        assert site.opened(own(site.request(lambda session: session.update(new=1)))) == {"new": 1}
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

    def test_a_damaged_mark_opens_nothing(self, library: Library, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 10: never an exception, and nothing is overwritten in place."""
        store = MemoryStore()
        site = Site(store, library)
        with pytest.raises(RuntimeError):
            site.request(fails)
        assert store.delete(mark(site))
        assert store.create(mark(site), Record(b"damaged", int(time.time()) + 60, None))
        site.request()
        assert site.seen == {}
        assert {record.levelname for record in caplog.records} == {"ERROR"}
        stored = store.load(mark(site))
        assert stored is not None
        assert stored.value == b"damaged"

    def test_a_token_that_is_taken_is_drawn_again(self, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
        site = Site(MemoryStore(), library)
        taken = own(site.request(lambda session: session.update(mine=1), cookie=None))
        drawn = iter([taken, tokens.new(), tokens.new(), tokens.new()])
        monkeypatch.setattr(tokens, "new", lambda: next(drawn))
        token = own(site.request())
        assert (site.opened(token), site.opened(taken)) == (ANNA, {"mine": 1})


class TestNames:
    def test_one_name_for_both_cookies(self, faulty: FaultyStore) -> None:
        """Flask-Session's cookie has the name and the form of ours: whichever store knows it, opens it."""
        secret = tokens.new()
        site = Site(faulty, Library({secret: Carried(ANNA)}, name="session"))
        response = site.request(cookie=f"session={secret}")
        assert site.seen == ANNA
        (cookie,) = response.set_cookies
        assert "Max-Age=0" not in cookie
        token = own(response)
        site.library.calls.clear()
        site.request(cookie=f"session={token}")
        assert (site.seen, site.library.calls) == (ANNA, [])
        assert site.request(cookie=f"session={secret}").set_cookies == []
        assert site.seen == {}

    def test_one_name_on_http_and_two_on_https(self, faulty: FaultyStore) -> None:
        secret = tokens.new()
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

    def __init__(self, store: Store) -> None:
        self.store = SteppedStore(store)
        self.library = Library(step=lambda: self.store._step("old", lambda: None))
        self.site = Site(self.store, self.library)
        self.told: list[str] = []

    def request(self, act: Act) -> str:
        response = self.site.request(act)
        self.told += [cookie[8:51] for cookie in response.set_cookies if re.match(r"session=[\w-]{43};", cookie)]
        return response.status

    def live(self) -> list[dict[str, Any]]:
        found = [self.site.manager.find(key) for key in list(self.store.keys())]
        return [dict(info.data) for info in found if info is not None]


def write(key: str, session: Session) -> None:
    session[key] = session.get("name", "nothing")


def increment(session: Session) -> None:
    session.transact(lambda data: data.update(count=data.get("count", 0) + 1))


def orders(acts: list[Act], sample: int) -> Iterator[World]:
    def world() -> tuple[SteppedStore, list[Callable[[], Any]], World]:
        made = World(MemoryStore())
        return made.store, [partial(made.request, act) for act in acts], made

    for made, outcome in some_orders(world, sample):
        assert outcome.errors == [None] * len(acts), (outcome.errors, outcome.schedule)
        assert outcome.results == ["200 OK"] * len(acts), (outcome.results, outcome.schedule)
        assert made.library.sessions == {}
        yield made


@pytest.mark.parametrize("sample", [100, pytest.param(2000, marks=pytest.mark.soak)])
class TestOrders:
    def test_first_requests_keep_each_others_changes(self, sample: int) -> None:
        """Promise 3: those that saw the session; one session comes of it, and one cookie."""
        for world in orders([partial(write, "a"), partial(write, "b")], sample):
            (token,) = world.told
            (live,) = world.live()
            assert world.site.opened(token) == live
            assert live.items() >= ANNA.items()
            assert live.keys() - ANNA.keys() in ({"a"}, {"b"}, {"a", "b"})

    def test_a_sign_out_is_final_beside_a_first_request(self, sample: int) -> None:
        """Promise 5: in no order is the session alive afterwards; the other may have begun one without its data."""
        for world in orders([lambda session: session.invalidate(), partial(write, "a")], sample):
            assert all("name" not in live for live in world.live())
            world.site.request()
            assert "name" not in world.site.seen

    def test_three_requests_and_a_sign_out(self, sample: int) -> None:
        """Promise 5: the more stragglers there are, the more ways to bring something back."""
        acts: list[Act] = [lambda session: session.invalidate(), partial(write, "a"), partial(write, "b")]
        for world in orders(acts, sample):
            assert all("name" not in live for live in world.live())

    def test_a_sign_in_beside_a_first_request(self, sample: int) -> None:
        """The session that was signed in is the one that the browser ends with, with its old data gone."""
        for world in orders([lambda session: session.login("8"), partial(write, "a")], sample):
            assert len(world.site.manager.sessions_of("8")) == 1
            assert world.site.manager.sessions_of("7") == [] or world.told

    def test_increments_beside_each_other_all_count(self, sample: int) -> None:
        """Promise 4: of those that saw the session."""
        for world in orders([increment, increment], sample):
            (live,) = world.live()
            assert live["count"] in (1, 2)
            assert len(world.told) == 1


def test_both_changes_are_there_if_both_saw_the_session() -> None:
    """Promise 3: real threads, real time: who began before the move ended is merged."""
    for _ in range(50):
        world = World(MemoryStore())
        saw: list[bool] = []

        def act(key: str, session: Session, saw: list[bool] = saw) -> None:
            saw.append("name" in session)
            session[key] = 1

        race(*[partial(world.request, partial(act, key)) for key in "abcd"])
        (live,) = world.live()
        assert len(live) - len(ANNA) == saw.count(True)
        assert len(world.told) == 1


def test_json_goes_over_into_json() -> None:
    """The codec is ours, whatever theirs was."""
    site = Site(MemoryStore(), Library({"anna": Carried(json.loads('{"a": [1, {"b": null}]}'))}), codec=JSONCodec())
    assert site.opened(own(site.request())) == {"a": [1, {"b": None}]}


@pytest.mark.parametrize("session_id", [None, 7, "", "x", "a" * 43, "../" * 15])
def test_only_the_id_of_a_live_session_finds_one(site: Site, session_id: Any) -> None:
    """``manager.find`` is by the public name; a token is none, and neither is the mark of what was carried over."""
    token = own(site.request())
    found = site.manager.find(site.manager.open(token).id)
    assert found is not None
    assert (found.data, found.user_id) == (ANNA, "7")
    assert [site.manager.find(name) for name in (session_id, token, mark(site))] == [None] * 3
