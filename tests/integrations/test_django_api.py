"""What Django documents for a session, member by member, for the engine and for ``request.session`` of our middleware."""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from tests.integrations.django_site import DJANGOS, OURS  # it configures Django

# isort: split

from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.contrib.sessions.middleware import SessionMiddleware as DjangosMiddleware
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.utils import timezone

from session_middleware import ConflictError, Lifetime, MemoryStore, StoreUnavailable
from session_middleware.integrations.django import RequestSession, SessionMiddleware, SessionStore, manager
from session_middleware.integrations.moving import FromDjango
from session_middleware.rules import OVERLAP, WINDOW
from session_middleware.testing import FakeClock, FaultyStore
from session_middleware.tokens import Token

NOW = 1_900_000_000
DAY = 86400
LIFETIME = Lifetime(idle=1000, absolute=30 * DAY)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture(autouse=True)
def configured(store: FaultyStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(timezone, "now", lambda: datetime.fromtimestamp(clock(), UTC))
    with override_settings(SESSION_MIDDLEWARE={"store": store, "clock": clock, "lifetime": LIFETIME}):
        yield


def the_engines(token: str | None) -> SessionStore:
    return SessionStore(token)


def the_requests(token: str | None) -> RequestSession:
    found: list[Any] = []

    def view(request: HttpRequest) -> HttpResponse:
        found.append(request.session)
        return HttpResponse()

    request = RequestFactory().get("/", **({} if token is None else {"HTTP_COOKIE": f"session={token}"}))
    SessionMiddleware(view).process_request(request)
    session: RequestSession = request.session
    return session


@pytest.fixture(params=[the_engines, the_requests])
def opened(request: pytest.FixtureRequest) -> Callable[[str | None], Any]:
    """One of the two kinds of session, by the token that the browser has."""
    kind: Callable[[str | None], Any] = request.param
    return kind


def a_token(**data: Any) -> str:
    """Store a session, and return its token."""
    session = SessionStore()
    session.update(data)
    session.save()
    token: str = session.session_key
    return token


class Row(NamedTuple):
    """A call on a session that holds ``{"name": "value"}``, what it returns, and whether there is something to save then."""

    arguments: tuple[Any, ...]
    result: Any
    modified: bool = False
    data: dict[str, Any] = {"name": "value"}  # noqa: RUF012  # nobody changes it


# By the name of the member; those that have an asynchronous form are called in that form, too.
MEMBERS = {
    "get": Row(("other", 5), 5),
    "pop": Row(("name",), "value", True, {}),
    "setdefault": Row(("other", 5), 5, True, {"name": "value", "other": 5}),
    "update": Row(({"other": 5},), None, True, {"name": "value", "other": 5}),
    "has_key": Row(("name",), True),
    "keys": Row((), ["name"]),
    "values": Row((), ["value"]),
    "items": Row((), [("name", "value")]),
    "set_test_cookie": Row((), None, True, {"name": "value", "testcookie": "worked"}),
    "test_cookie_worked": Row((), False),
    "get_expiry_age": Row((), 1000),
    "get_expiry_date": Row((), datetime.fromtimestamp(NOW + 1000, UTC)),
    "set_expiry": Row((300,), None, True, {"name": "value", "_session_expiry": 300}),
    "get_expire_at_browser_close": Row((), False),
    "cycle_key": Row((), None, True),
    "flush": Row((), None, True, {}),
    "load": Row((), {"name": "value"}),
    "exists": Row(("x" * 40,), False),
}
ASYNCHRONOUS_ALONE = {"aset": Row(("other", 5), None, True, {"name": "value", "other": 5})}
SYNCHRONOUS_ALONE = {
    "__getitem__": Row(("name",), "value"),
    "__setitem__": Row(("other", 5), None, True, {"name": "value", "other": 5}),
    "__delitem__": Row(("name",), None, True, {}),
    "__contains__": Row(("name",), True),
    "__iter__": Row((), ["name"]),
    "__len__": Row((), 1),
    "__bool__": Row((), True),
    "clear": Row((), None, True, {}),
    "is_empty": Row((), False),
    "get_session_cookie_age": Row((), 1000),
}
# These have tests of their own below.
TOLD_BELOW = {"accessed", "modified", "session_key", "create", "save", "delete", "delete_test_cookie", "clear_expired"} | {
    "serializer",
    "encode",
    "decode",
    "key_salt",
    "TEST_COOKIE_NAME",
    "TEST_COOKIE_VALUE",
}


def plain(result: Any) -> Any:
    return result if isinstance(result, bool | str | dict) or not hasattr(result, "__iter__") else list(result)


def check(session: Any, result: Any, row: Row) -> None:
    assert plain(result) == row.result
    assert session.modified == row.modified
    assert dict(session) == row.data
    assert session.accessed


class TestMembers:
    def test_every_member_is_here(self) -> None:
        """A member that a later Django brings fails this test until the tables above know it."""
        documented = {name for name in dir(SessionBase) if not name.startswith("_")} | {"accessed", "modified", "serializer"}
        told = MEMBERS.keys() | SYNCHRONOUS_ALONE.keys() | TOLD_BELOW
        asynchronous = {f"a{name}" for name in (MEMBERS.keys() | TOLD_BELOW)} | ASYNCHRONOUS_ALONE.keys()

        assert documented <= told | asynchronous

    @pytest.mark.parametrize("name", [*MEMBERS, *SYNCHRONOUS_ALONE])
    def test_it_behaves_as_documented(self, opened: Callable[[str | None], Any], name: str) -> None:
        """Issue of every framework: the documented session API."""
        session, row = opened(a_token(name="value")), (MEMBERS | SYNCHRONOUS_ALONE)[name]
        if name == "is_empty":
            _ = session["name"]

        check(session, getattr(session, name)(*row.arguments), row)

    @pytest.mark.parametrize("name", [*MEMBERS, *ASYNCHRONOUS_ALONE])
    def test_so_does_its_asynchronous_form(self, opened: Callable[[str | None], Any], name: str) -> None:
        """Django 5.1 has brought them; here they are with every Django."""
        session = opened(a_token(name="value"))
        row = (MEMBERS | ASYNCHRONOUS_ALONE)[name]
        result = async_to_sync(getattr(session, f"a{name}" if name in MEMBERS else name))(*row.arguments)
        _ = session.get("name")

        check(session, result, row)

    @pytest.mark.parametrize("form", ["{}", "a{}"])
    def test_the_test_cookie(self, opened: Callable[[str | None], Any], form: str) -> None:
        """``set_test_cookie``, ``test_cookie_worked``, ``delete_test_cookie``."""

        def call(name: str) -> Any:
            method = getattr(session, form.format(name))
            return async_to_sync(method)() if form == "a{}" else method()

        session = opened(None)
        call("set_test_cookie")
        assert call("test_cookie_worked")
        call("delete_test_cookie")
        assert not call("test_cookie_worked")
        assert list(session) == []

    def test_a_missing_key_is_a_key_error(self, opened: Callable[[str | None], Any]) -> None:
        """As with any mapping; ``pop`` has a default."""
        session = opened(None)

        for use in ("__getitem__", "pop", "__delitem__"):
            with pytest.raises(KeyError):
                getattr(session, use)("a")
        assert session.pop("a", None) is session.pop("a", default=None) is None
        assert not session.modified

    def test_what_is_not_used_is_not_accessed(self, opened: Callable[[str | None], Any], store: FaultyStore) -> None:
        """Promise 1: making a session object asks nobody."""
        token = a_token(name="value")
        store.calls.clear()
        session = opened(token)

        assert (session.accessed, session.modified, store.calls) == (False, False, [])
        session.accessed = True
        assert not session.accessed

    def test_nested_changes_are_modifications(self, opened: Callable[[str | None], Any]) -> None:
        """Promise 8: with no flag to set, and the flag does no harm."""
        session = opened(a_token(cart={"items": ["tea"]}))
        items = session["cart"]["items"]
        assert not session.modified
        items.append("coffee")
        assert session.modified
        session.modified = True
        session.save()

        assert session.load() == {"cart": {"items": ["tea", "coffee"]}}

    def test_what_djangos_own_code_takes_for_a_dict_is_the_data(self, opened: Callable[[str | None], Any]) -> None:
        """``_session``: private, and yet others read and write it."""
        session = opened(a_token(name="value", cart={"items": []}))
        session._session["other"] = 5
        session._session["cart"]["items"].append("tea")
        del session._session["name"]
        session.save()

        assert session._session.copy() == session._get_session() == {"cart": {"items": ["tea"]}, "other": 5}
        assert dict(opened(a_token(name="value"))._session) == {"name": "value"}

    def test_encode_and_decode_are_djangos(self, opened: Callable[[str | None], Any]) -> None:
        """Nothing here uses them, but someone may."""
        session = opened(None)

        assert session.decode(session.encode({"a": 1})) == {"a": 1}
        assert session.key_salt.startswith("django.contrib.sessions.")
        assert (session.TEST_COOKIE_NAME, session.TEST_COOKIE_VALUE) == ("testcookie", "worked")

    def test_the_representation_has_no_token(self, opened: Callable[[str | None], Any]) -> None:
        """Promise 11."""
        token = a_token(name="value")
        session = opened(token)
        _ = session["name"]

        assert repr(session) == f"<Session {session.id}>"
        assert token not in repr(session)

    def test_what_ours_has_besides_is_there(self, opened: Callable[[str | None], Any]) -> None:
        """Design, 5."""
        session = opened(a_token(count=1))

        assert session.transact(lambda data: data.update(count=data["count"] + 1)) is None
        assert (session["count"], session.is_new, session.created_at, session.user_id) == (2, False, NOW, None)
        assert session.persistent
        with pytest.raises(AttributeError, match="nothing_of_the_kind"):
            _ = session.nothing_of_the_kind
        with pytest.raises(AttributeError, match="underlying"):
            _ = object.__new__(type(session)).anything

    @pytest.mark.parametrize("end", ["flush", "invalidate", "aflush", "delete", "adelete"])
    def test_what_was_ended_stays_ended(self, opened: Callable[[str | None], Any], end: str) -> None:
        """Promise 5: nobody can save it again."""
        token = a_token(name="value")
        slow = SessionStore(token)
        slow["late"] = "yes"
        session = opened(token)
        method = getattr(session, end)
        async_to_sync(method)() if end.startswith("a") else method()
        manager().commit(session.underlying)

        assert not SessionStore().exists(token)
        with pytest.raises(UpdateError):
            slow.save()

    def test_who_signs_in_with_another_id_ends_the_session_of_the_other(self, opened: Callable[[str | None], Any]) -> None:
        """Design, "Acts": at once, for perhaps no response comes of the request."""
        token = a_token(cart=["tea"])
        first = SessionStore(token)
        first.login("alice")
        first.save()
        session = opened(first.session_key)
        session.login("bob")
        assert manager().sessions_of("alice") == []
        session.save()
        manager().commit(session.underlying)

        assert (session.user_id, list(session)) == ("bob", [])
        assert len(manager().sessions_of("bob")) == 1

    def test_the_id_is_the_same_for_life(self, opened: Callable[[str | None], Any]) -> None:
        """Promise 17: what ``cycle_key()`` and a sign-in change is the secret, and that at once."""
        token = a_token(name="value")
        name, tokens_seen = SessionStore(token).id, {token}
        for act in ("cycle_key", "acycle_key", "regenerate", "login", "cycle_key", "login"):
            session = opened(token)
            method = getattr(session, act)
            async_to_sync(method)() if act == "acycle_key" else method(*(["5"] if act == "login" else []))
            assert session.id == name
            key = session.session_key
            verdict: Any = manager().commit(session.underlying)
            token = verdict.token.reveal()
            assert session.session_key == key == (token if isinstance(session, SessionStore) else name)
            assert (session.id, token in tokens_seen) == (name, False)
            tokens_seen.add(token)

        assert dict(SessionStore(token)) == {"name": "value"}

    def test_the_token_from_before_a_sign_in_opens_what_was_there_before_for_a_moment(
        self, opened: Callable[[str | None], Any], clock: FakeClock
    ) -> None:
        """Promise 18: nothing of what comes after; and after ten seconds nothing at all."""
        before = a_token(name="value")
        session = SessionStore(before)
        session.cycle_key()
        session["_auth_user_id"] = "5"
        session["mine"] = "secret"
        session.save()
        clock.advance(WINDOW - 0.1)
        late = opened(before)

        assert (dict(late), late.user_id, late.is_gone) == ({"name": "value"}, None, True)
        assert not late.exists(before)
        late.flush()
        assert not late.modified
        late.delete(before)
        assert manager().commit(late.underlying) is None
        assert dict(SessionStore(session.session_key))["mine"] == "secret"
        clock.advance(0.1)
        late = opened(before)
        assert (dict(late), late.is_gone, late.session_key) == ({}, False, None)

    def test_a_second_click_signs_in_with_a_token_of_its_own(self, opened: Callable[[str | None], Any]) -> None:
        """Promise 20: as Django's ``login()`` does it, whether the first was stored before or after the second began."""
        token = a_token(name="value")
        early, first = opened(token), opened(token)
        _ = early["name"]
        sent = []
        for session in (first, early, opened(token)):
            session.cycle_key()
            session["_auth_user_id"] = "5"
            verdict: Any = manager().commit(session.underlying)
            sent.append(verdict.token.reveal())

        assert len({token, *sent}) == 4
        assert [dict(SessionStore(each)) for each in sent] == [{"name": "value", "_auth_user_id": "5"}] * 3
        assert len(manager().sessions_of("5")) == 1

    def test_signing_in_again_gives_another_secret(self, opened: Callable[[str | None], Any]) -> None:
        """Promise 18: Django's ``login()`` of a user who is signed in calls no ``cycle_key()``."""
        first = SessionStore()
        first["_auth_user_id"] = "5"
        first.save()
        session = opened(first.session_key)
        session["_auth_user_id"] = "5"
        verdict: Any = manager().commit(session.underlying)

        assert verdict.token.reveal() != first.session_key
        assert dict(SessionStore(first.session_key)) == {}
        assert dict(SessionStore(verdict.token.reveal())) == {"_auth_user_id": "5"}

    def test_what_login_takes_is_passed_on(self, opened: Callable[[str | None], Any]) -> None:
        """Design, 5: of an anonymous session's data only these go on; and the mark that was read before the password."""
        session = opened(a_token(cart=["tea"], other="gone"))
        session.login("alice", keep=("cart",))
        verdict: Any = manager().commit(session.underlying)
        assert dict(SessionStore(verdict.token.reveal())) == {"cart": ["tea"]}

        session, mark = opened(a_token(cart=["tea"])), manager().mark_of("alice")
        manager().revoke_all("alice")
        session.login("alice", mark=mark)
        assert manager().commit(session.underlying) is None
        assert manager().sessions_of("alice") == []

    def test_asynchronous_code_signs_in(self, opened: Callable[[str | None], Any]) -> None:
        """``alogin()``: the user's mark is read from the store, which no event loop waits for."""
        session = opened(a_token(name="value"))
        async_to_sync(session.acycle_key)()
        async_to_sync(session.aset)("_auth_user_id", "5")
        async_to_sync(session.aupdate)({"_auth_user_id": "5", "other": 1})
        manager().commit(session.underlying)

        assert session.user_id == "5"
        assert [dict(info.data) for info in manager().sessions_of("5")] == [
            {"name": "value", "_auth_user_id": "5", "other": 1}
        ]


class TestExpiry:
    @pytest.mark.parametrize(
        ("value", "age", "at_close", "lifetime"),
        [
            (None, 1000, False, (1000, 30 * DAY, True)),
            (0, 1000, True, (1000, 30 * DAY, False)),
            (300, 300, False, (300, 30 * DAY, True)),
            (60 * DAY, 60 * DAY, False, (60 * DAY, 60 * DAY, True)),
            (timedelta(hours=2), 7200, False, (None, 7200, True)),
            (datetime.fromtimestamp(NOW + 500, UTC), 500, False, (None, 500, True)),
        ],
    )
    @pytest.mark.parametrize("form", ["{}", "a{}"])
    def test_set_expiry_in_each_of_its_forms(
        self, opened: Callable[[str | None], Any], form: str, value: Any, age: int, at_close: bool, lifetime: Any
    ) -> None:
        """A number is an idle timeout, a moment an absolute one, 0 ends with the browser, ``None`` brings the usual back."""

        def call(name: str, *arguments: Any) -> Any:
            method = getattr(session, form.format(name))
            return async_to_sync(method)(*arguments) if form == "a{}" else method(*arguments)

        session = opened(a_token(name="value"))
        call("set_expiry", 77)
        call("set_expiry", value)
        session.save()
        manager().commit(session.underlying)
        envelope = session.state.envelope

        assert call("get_expiry_age") == age
        assert call("get_expiry_date") == datetime.fromtimestamp(NOW + age, UTC)
        assert call("get_expire_at_browser_close") == at_close
        assert (envelope.idle, envelope.absolute, envelope.persistent) == lifetime

    def test_the_times_hold(self, opened: Callable[[str | None], Any], clock: FakeClock) -> None:
        """Promise 12: on the server, whatever the cookie says."""
        token = a_token(name="value")
        session = opened(token)
        session.set_expiry(timedelta(seconds=100))
        session.save()
        verdict = manager().commit(session.underlying)
        token = getattr(verdict, "token", token)
        clock.advance(99)
        assert SessionStore().exists(token)
        clock.advance(1)

        assert not SessionStore().exists(token)

    @pytest.mark.parametrize("value", [-1, timedelta(seconds=-1), datetime.fromtimestamp(NOW - 100, UTC)])
    def test_a_time_that_has_passed_ends_the_session(self, opened: Callable[[str | None], Any], value: Any) -> None:
        """As Django's engines have it."""
        session = opened(a_token(name="value"))
        session.set_expiry(value)
        session.save()
        manager().commit(session.underlying)

        assert manager().find(session.id) is None

    def test_a_moment_may_be_given_to_the_question(self, opened: Callable[[str | None], Any]) -> None:
        """``get_expiry_age(modification=..., expiry=...)``."""
        moment = datetime(2030, 1, 1, tzinfo=UTC)
        session = opened(None)

        assert session.get_expiry_age(modification=moment, expiry=moment + timedelta(seconds=5)) == 5
        assert session.get_expiry_date(modification=moment, expiry=5) == moment + timedelta(seconds=5)

    @pytest.mark.parametrize("value", [2, datetime.fromtimestamp(NOW + 2, UTC), "2030-03-17T17:46:42+00:00"])
    def test_what_is_assigned_is_what_happens(
        self, opened: Callable[[str | None], Any], clock: FakeClock, value: Any
    ) -> None:
        """``session["_session_expiry"] = 2``, as others do: what is reported holds (promise 12)."""
        session = opened(a_token(name="value"))
        session["_session_expiry"] = value
        assert session.get_expiry_age() == 2
        session.save()
        manager().commit(session.underlying)
        clock.advance(1.9)
        assert manager().find(session.id) is not None
        clock.advance(0.1)

        assert manager().find(session.id) is None

    @pytest.mark.parametrize(
        "remove",
        [
            lambda session: session.pop("_session_expiry"),
            lambda session: session.pop("_session_expiry", None),
            lambda session: session.__delitem__("_session_expiry"),
            lambda session: session.clear(),
            lambda session: session.set_expiry(None),
            lambda session: session.update({"_session_expiry": None}),
        ],
    )
    def test_without_it_the_usual_is_back(self, opened: Callable[[str | None], Any], remove: Callable[[Any], Any]) -> None:
        """One truth, also where it is taken away."""
        session = opened(a_token(name="value", _session_expiry=2))
        assert session.get_expiry_age() == 2
        remove(session)
        envelope = session.state.envelope

        assert session.get_expiry_age() == 1000
        assert (envelope.idle, envelope.absolute, envelope.persistent) == (1000, 30 * DAY, True)

    def test_what_our_own_call_sets_is_reported(self, opened: Callable[[str | None], Any]) -> None:
        """One truth: ``_session_expiry`` counts as long as it is what holds."""
        session = opened(a_token(name="value"))
        for expiry in (300, timedelta(hours=1)):
            session.set_expiry(expiry)
            session.set_lifetime(idle=77, absolute=DAY)

            assert session.get_expiry_age() == async_to_sync(session.aget_expiry_age)() == 77
            assert session.get_expiry_date() == datetime.fromtimestamp(NOW + 77, UTC)

    def test_the_absolute_end_is_told(self, opened: Callable[[str | None], Any], clock: FakeClock) -> None:
        """Promise 12: also where the idle timeout would last longer."""
        session = opened(a_token(name="value"))
        session.set_lifetime(idle=None, absolute=500)
        clock.advance(100)

        assert session.get_session_cookie_age() == session.get_expiry_age() == 400

    def test_another_end_is_told_with_the_same_token(self, opened: Callable[[str | None], Any], clock: FakeClock) -> None:
        """Promise 20: the cookie lasts longer, and parallel requests go on with the one that they have."""
        token = a_token(name="value")
        for _ in range(3):
            clock.advance(50)
            session = opened(token)
            session.set_expiry(timedelta(minutes=1))
            assert session.get_expiry_age() == 60
            verdict: Any = manager().commit(session.underlying)
            assert (verdict.token.reveal(), verdict.max_age) == (token, 60)

        assert dict(SessionStore(token))["name"] == "value"


class TestEngine:
    """``SessionStore``: what Django's middleware, its test client and commands do with it."""

    def test_the_key_is_the_token_and_the_store_sees_only_the_id(self, store: FaultyStore) -> None:
        """Promise 11; and it fits the columns of forty characters that others have for it."""
        assert SessionStore().session_key is None
        session = SessionStore()
        session.create()
        token = session.session_key

        assert token is not None
        assert len(token) == 40
        assert Token.read(token) is not None
        assert {key for _, key in store.calls if key} == {session.id}
        assert session.exists(token)
        assert session.exists(session.id)

    @pytest.mark.parametrize("key", ["", "short", "x" * 39, "x" * 41, "0" * 32, "../../../etc/passwd" * 3, 5, None])
    def test_what_has_not_the_form_of_a_token_reaches_no_store(self, store: FaultyStore, key: Any) -> None:
        """Promise 11: and is no key."""
        session = SessionStore(key)

        assert (session.session_key, session.is_empty(), dict(session)) == (None, True, {})
        assert store.calls == []

    def test_an_unknown_token_is_never_adopted(self) -> None:
        """Promise 11: saving gives it one of ours."""
        theirs = Token.new().reveal()
        assert SessionStore(theirs).session_key == theirs
        session = SessionStore(theirs)
        session["name"] = "value"
        unsaved = session.session_key
        session.save()

        assert unsaved is None
        assert session.session_key not in (None, theirs)
        assert not session.exists(theirs)

    def test_what_is_empty_is_kept_if_it_is_saved(self) -> None:
        """``create()`` and ``save()`` make a session in any case: people ask for the key of a visitor's cart."""
        for make in (SessionStore.create, SessionStore.save, lambda session: session.save(must_create=True)):
            session = SessionStore()
            make(session)
            assert session.exists(session.session_key)

    def test_create_gives_a_session_that_is_there_another_key(self) -> None:
        """Promise 19: no second session with the data of the first, that would outlive its end."""
        session = SessionStore(a_token(name="value"))
        before, name = session.session_key, session.id
        session.create()

        assert session.session_key != before
        assert session.id == name
        assert dict(SessionStore(session.session_key)) == {"name": "value"}
        assert dict(SessionStore(before)) == {}
        SessionStore().delete(name)
        with pytest.raises(UpdateError):
            session.create()

    def test_must_create_refuses_what_is_there(self) -> None:
        """``CreateError``."""
        with pytest.raises(CreateError):
            SessionStore(a_token(name="value")).save(must_create=True)

    def test_a_private_key_may_be_assigned(self) -> None:
        """Django's own engines do it, and so do theirs that are derived; the data stay."""
        session = SessionStore(a_token(name="value"))
        _ = session["name"]
        session["_auth_user_id"] = "5"
        session._session_key = None
        assert (session.session_key, dict(session)) == (None, {"name": "value", "_auth_user_id": "5"})
        session._session_key = "junk"
        assert session.session_key is None
        session.save()
        assert [info.data["name"] for info in manager().sessions_of("5")] == ["value"]

    def test_parallel_changes_are_merged(self) -> None:
        """Promise 3: each saves what it changed over what the other has."""
        token = a_token(old="yes", cart={"items": ["tea"]})
        one, other = SessionStore(token), SessionStore(token)
        one["one"] = 1
        other["cart"]["items"].append("coffee")
        one.save()
        other.save()
        one["again"] = 1
        one.save()

        assert dict(SessionStore(token)) == {"old": "yes", "cart": {"items": ["tea", "coffee"]}, "one": 1, "again": 1}

    def test_a_save_is_a_use(self, clock: FakeClock) -> None:
        """Promise 12: the idle timeout starts anew with each save, as Django has it."""
        token = a_token(name="value")
        for _ in range(5):
            clock.advance(900)
            SessionStore(token).save()

        assert dict(SessionStore(token)) == {"name": "value"}

    def test_cycle_key_is_stored_by_save_and_only_then(self) -> None:
        """Promises 11 and 16: a request that fails in between has changed nothing; once saved, the old key is dead."""
        before = a_token(name="value")
        session = SessionStore(before)
        for _ in range(2):
            session.cycle_key()
            unsaved = session.session_key
            assert unsaved != before
            assert not session.exists(before)
            assert SessionStore().exists(before)
            assert session.load() == {"name": "value"}
            session.save()

            assert session.session_key == unsaved
            assert not SessionStore().exists(before)
            assert dict(SessionStore(session.session_key)) == session.load() == {"name": "value"}
            before = unsaved

    def test_a_session_that_has_another_key_by_now_is_not_saved_under_the_old_one(self) -> None:
        """``UpdateError``: Django would send the old token again. The changes are with the session (promise 3)."""
        token = a_token(name="value")
        slow, late = SessionStore(token), SessionStore(token)
        slow["slow"] = "yes"
        session = SessionStore(token)
        session.cycle_key()
        session.save()

        with pytest.raises(UpdateError):
            slow.save()
        late["late"] = "yes"
        assert not late.is_empty()
        with pytest.raises(UpdateError):
            late.save()
        assert dict(SessionStore(session.session_key)) == {"name": "value", "slow": "yes"}

    def test_unmodified_leaves_out_what_was_changed_before(self) -> None:
        """``session.modified = False``, so that Django's middleware does not save; later changes count again."""
        session = SessionStore(a_token(name="value"))
        session["other"] = 5
        session.modified = False
        assert not session.modified
        session["list"] = []
        session.modified = False
        session["list"].append(1)
        assert session.modified

        unopened = SessionStore(a_token(name="value"))
        unopened.modified = False
        assert not unopened.modified

    def test_what_cannot_be_saved_is_not_modified(self) -> None:
        """Promises 5 and 20: Django's middleware saves nothing then, answers no 400, and leaves the new cookie alone."""
        token = a_token(name="value")
        session = SessionStore(token)
        session.cycle_key()
        session["_auth_user_id"] = "5"
        session.save()
        late = SessionStore(token)
        late["late"] = "yes"
        assert (late.modified, late.is_empty(), late.session_key) == (False, False, token)
        with pytest.raises(UpdateError):
            late.save()
        late.flush()

        assert (late.modified, late.is_empty()) == (False, False)
        assert "late" not in SessionStore(session.session_key)

    def test_a_sign_in_by_hand_is_recorded_and_keeps_its_key(self) -> None:
        """Tests that write the user's key themselves have no use for a new token; but the index has the user."""
        token = a_token(name="value")
        session = SessionStore(token)
        session["_auth_user_id"] = "5"
        session.save()

        assert session.session_key == token
        assert (session.user_id, session.signed_in_at) == ("5", NOW)
        assert [info.id for info in manager().sessions_of("5")] == [session.id]

    def test_sessions_are_ended_by_key_and_by_id(self) -> None:
        """``delete(key)``: at once."""
        by_key, by_id = a_token(name="value"), SessionStore(a_token(name="value"))
        SessionStore().delete(by_key)
        SessionStore().delete(by_id.id)
        SessionStore().delete()
        SessionStore().delete("junk")
        token = a_token(name="value")
        own = SessionStore(token)
        _ = own["name"]
        own.delete()
        SessionStore(unopened := a_token(name="value")).delete()

        assert not SessionStore().exists(token)
        assert not SessionStore().exists(unopened)
        assert not SessionStore().exists(by_key)
        assert not SessionStore().exists(by_id.session_key)

    @pytest.mark.parametrize(
        "names",
        [
            [DJANGOS],
            [OURS, DJANGOS],
            [OURS, f"{__name__}.DerivedMiddleware"],
            [OURS, f"{__name__}.middleware_of_others"],
            [],
        ],
    )
    def test_the_id_sent_as_a_cookie_opens_nothing_and_ends_nothing(self, names: list[str]) -> None:
        """Design, "Words": wherever a cookie may reach the engine, the public id opens nothing."""
        session = SessionStore(a_token(name="value"))
        with override_settings(MIDDLEWARE=names):
            thief = SessionStore(session.id)

            assert dict(thief) == {}
            thief.flush()
        assert dict(SessionStore(session.session_key)) == {"name": "value"}

    def test_where_channels_reads_cookies_the_id_opens_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Design, "Words": it gives the engine what the cookie of a socket holds."""
        session = SessionStore(a_token(name="value"))
        monkeypatch.setitem(sys.modules, "channels.sessions", ModuleType("channels.sessions"))

        assert dict(SessionStore(session.id)) == {}

    def test_the_id_sent_to_our_middleware_opens_nothing(self) -> None:
        """Design, "Words": it reads cookies by itself, and takes tokens alone."""
        token = a_token(name="value")

        assert dict(the_requests(SessionStore(token).id)) == {}
        assert dict(the_requests(token)) == {"name": "value"}

    def test_trusted_code_opens_a_session_by_its_id(self, clock: FakeClock) -> None:
        """``SessionStore(session_key)``, as applications list and change sessions, with the keys that it tells."""
        token = a_token(name="value")
        key = the_requests(token).session_key
        session = SessionStore(key)
        assert (session.session_key, session["name"], session.load()) == (key, "value", {"name": "value"})
        session["name"] = "other"
        session.save()
        session.save()
        assert (session.session_key, dict(SessionStore(token))) == (key, {"name": "other"})

        session.flush()
        assert dict(SessionStore(token)) == {}
        late = SessionStore(key)
        assert (dict(late), late.session_key) == ({}, None)
        late["name"] = "value"
        late.save()
        assert late.session_key not in (None, key)

    def test_who_opens_by_the_id_can_change_the_secret(self) -> None:
        """``cycle_key()``: the cookie of before is dead, and the key is the new token."""
        token = a_token(name="value")
        session = SessionStore(SessionStore(token).id)
        session.cycle_key()
        session.save()
        assert len(session.session_key) == 40
        session.save()

        assert dict(SessionStore(token)) == {}
        assert dict(SessionStore(session.session_key)) == {"name": "value"}

    def test_what_was_opened_by_the_id_and_has_ended_is_not_saved(self) -> None:
        """``UpdateError``, promise 5."""
        token = a_token(name="value")
        session = SessionStore(SessionStore(token).id)
        session["late"] = "yes"
        SessionStore(token).flush()

        with pytest.raises(UpdateError):
            session.save()

    def test_opening_by_the_id_does_not_use_a_secret_up(self, store: FaultyStore) -> None:
        """Promise 20: a secret that was renewed works until its browser has used the next one, whatever others open."""
        old, clock = OldSessions(), FakeClock()
        options = {"store": store, "clock": clock, "carry_over": lambda: carrying_over(old, "session")}
        with override_settings(SESSION_MIDDLEWARE=options):
            session = SessionStore(OLD_KEY)
            session.save()
            other = SessionStore(session.id)
            other["other"] = 1
            other.save()
            clock.advance(OVERLAP + 1)

            assert dict(SessionStore(OLD_KEY)) == {"_auth_user_id": "5", "other": 1}

    def test_what_carries_sessions_over_may_open_one_of_ours(self, store: FaultyStore) -> None:
        """While the settings are read: it gets the store, and nobody waits for themselves."""

        def carry_over() -> FromDjango:
            opened.append(SessionStore())
            opened[0].save()
            return carrying_over(old, "session")

        opened: list[SessionStore] = []
        old = OldSessions()
        with override_settings(SESSION_MIDDLEWARE={"store": store, "carry_over": carry_over}):
            assert SessionStore(OLD_KEY).load() == {"_auth_user_id": "5"}
            assert SessionStore().exists(opened[0].session_key)
        assert len(opened) == 1

    @pytest.mark.parametrize("use", ["load", "save", "flush", "exists"])
    def test_a_store_that_fails_is_no_answer(self, store: FaultyStore, use: str) -> None:
        """Promise 7: it does not read as "no session"."""
        token = a_token(name="value")
        session = SessionStore(token)
        store.fail(times=None)

        with pytest.raises(StoreUnavailable):
            getattr(session, use)(*([token] if use == "exists" else []))
        with pytest.raises(StoreUnavailable):
            _ = session["name"]
        assert (session.session_key, session.is_empty(), session.modified) == (token, False, False)
        store.heal()

    def test_a_save_that_fails_can_be_tried_again(self, store: FaultyStore) -> None:
        """Promise 6."""
        session = SessionStore(a_token(name="value"))
        session["name"] = "other"
        store.fail("update")
        with pytest.raises(StoreUnavailable):
            session.save()
        session.save()

        assert session.load() == {"name": "other"}

    @pytest.mark.parametrize("old_key", ["k" * 32, "k" * 40])
    def test_a_session_of_djangos_own_engine_is_carried_over_once(self, store: FaultyStore, old_key: str) -> None:
        """Users stay signed in through the move: the old key opens it until the new one, which Django sends, was used."""
        old, clock = OldSessions(old_key), FakeClock()
        options = {"store": store, "clock": clock, "carry_over": lambda: carrying_over(old, "session")}
        with override_settings(SESSION_MIDDLEWARE=options):
            session = SessionStore(old_key)
            assert (session.is_empty(), session.modified) == (False, True) or len(old_key) == 40
            assert SessionStore(old_key).load() == dict(session) == {"_auth_user_id": "5"}
            assert (session.is_empty(), session.modified, session.session_key) == (False, True, old_key)
            session.save()

            assert old.kept == {}
            assert Token.read(session.session_key) is not None
            assert dict(SessionStore(session.session_key)) == dict(SessionStore(old_key)) == {"_auth_user_id": "5"}
            assert [info.user_id for info in manager().sessions_of("5")] == ["5"]
            SessionStore(session.session_key).save()
            clock.advance(OVERLAP)
            assert dict(SessionStore(session.session_key)) == {"_auth_user_id": "5"}
            assert dict(SessionStore(old_key)) == {}
            assert SessionStore("no key").is_empty()

    def test_a_request_with_the_old_key_that_comes_late_leaves_the_new_one_alone(self, store: FaultyStore) -> None:
        """Promise 20: Django would send the old key again; what was changed is kept."""
        old = OldSessions()
        options = {"store": store, "carry_over": lambda: carrying_over(old, "session")}
        with override_settings(SESSION_MIDDLEWARE=options):
            session = SessionStore(OLD_KEY)
            session.save()
            late = SessionStore(OLD_KEY)
            late["late"] = "yes"
            with pytest.raises(UpdateError):
                late.save()

            assert SessionStore(session.session_key)["late"] == "yes"


class OldSessions:
    """Where Django's own engine has kept one session."""

    def __init__(self, key: str = "k" * 32) -> None:
        self.kept = {key: SessionStore().encode({"_auth_user_id": "5"}).encode()}

    def get(self, key: str, now: float) -> bytes | None:
        return self.kept.get(key)

    def remove(self, key: str) -> None:
        self.kept.pop(key, None)


OLD_KEY = "k" * 32


class DerivedMiddleware(DjangosMiddleware):  # type: ignore[misc]  # Django has no types
    """As people derive one from Django's."""


# As people write one that is derived from nothing.
middleware_of_others = type("SessionMiddleware", (), {})


def carrying_over(old: OldSessions, name: str) -> FromDjango:
    return FromDjango(old, secret_key=settings.SECRET_KEY, cookie_name=name)


class TestRequestSession:
    """``request.session`` under our middleware."""

    def test_the_key_is_the_id(self) -> None:
        """Promise 11: what an application keeps or logs of it is no cookie."""
        token = a_token(name="value")
        session = the_requests(token)

        assert session.session_key == session.id != token
        assert session.exists(session.session_key)
        assert session.exists(token)
        assert not session.exists("junk")
        assert (the_requests(None).session_key, the_requests(None).is_empty()) == (None, True)

    def test_load_answers_what_is_stored(self) -> None:
        """As Django's engines do, whatever the request has changed, and others meanwhile; of a new session nothing."""
        token = a_token(name="value")
        session, new, snapshot = the_requests(token), the_requests(None), the_requests(token)
        for changed in (session, new, snapshot):
            changed["mine"] = 1
        other = SessionStore(token)
        other["other"] = 2
        other.save()
        assert session.load() == {"name": "value", "other": 2}
        assert new.load() == {}

        other.cycle_key()
        other["_auth_user_id"] = "5"
        other.save()
        late = the_requests(token)
        assert late.load() == {"name": "value", "other": 2}
        assert session.load() == {"name": "value", "other": 2}
        SessionStore().delete(other.session_key)
        assert session.load() == {}

    @pytest.mark.parametrize("make", ["create", "save", "acreate", "asave"])
    def test_a_visitor_can_have_a_key_before_there_is_anything_to_keep(self, make: str) -> None:
        """``if not request.session.session_key: request.session.create()``: the key of a cart, kept with the response."""
        session = the_requests(None)
        method = getattr(session, make)
        async_to_sync(method)() if make.startswith("a") else method()
        key = session.session_key
        assert key is not None
        verdict: Any = manager().commit(session.underlying)

        assert the_requests(verdict.token.reveal()).session_key == key

    def test_save_stores_at_once(self) -> None:
        """A long request may show how far it has come."""
        token = a_token(done=0)
        session = the_requests(token)
        session["done"] = 50
        session.save()

        assert SessionStore(token)["done"] == 50
        SessionStore().delete(token)
        session["done"] = 100
        with pytest.raises(UpdateError):
            session.save()

    def test_what_is_saved_at_once_is_told_with_the_response(self) -> None:
        """Promise 20: the cookie lasts as long as the session that is stored already."""
        token = a_token(done=0)
        session = the_requests(token)
        session.set_expiry(timedelta(hours=2))
        session.save()
        assert SessionStore(token).expires_at == NOW + 7200
        verdict: Any = manager().commit(session.underlying)

        assert (verdict.token.reveal(), verdict.max_age) == (token, 7200)

    def test_a_new_secret_is_stored_when_the_browser_can_be_told(self) -> None:
        """Promise 20: a request that fails after ``save()`` has made nothing unreachable."""
        token = a_token(done=0)
        session = the_requests(token)
        session["done"] = 50
        session.cycle_key()
        session.save()

        assert manager().commit(session.underlying, failed=True) is None
        assert SessionStore(token)["done"] == 0

    def test_a_sign_in_meanwhile_is_not_written_to(self) -> None:
        """Promise 18: ``UpdateError``, as for a session that has ended; too many changes at once are a conflict."""
        token = a_token(done=0)
        slow, session = the_requests(token), the_requests(token)
        slow["slow"] = "yes"
        session.login("5")
        manager().commit(session.underlying)

        with pytest.raises(UpdateError):
            slow.save()
        assert [dict(info.data) for info in manager().sessions_of("5")] == [{"done": 0}]

    def test_a_save_that_keeps_losing_is_a_conflict(self, store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 4: it says so."""
        session = the_requests(a_token(done=0))
        session["done"] = 50
        monkeypatch.setattr(store, "update", lambda key, record, *, version: False)

        with pytest.raises(ConflictError):
            session.save()

    def test_other_sessions_can_be_ended_by_their_keys(self) -> None:
        """One sign-in at a time: the application keeps the key of the last one."""
        other = the_requests(a_token(name="value"))
        session = the_requests(a_token(name="value"))
        session.delete(other.session_key)
        assert not session.exists(other.session_key)
        session.delete(session.session_key)

        assert session.session_key is None

    def test_a_session_of_djangos_own_engine_is_carried_over_once(self) -> None:
        """Users stay signed in through the move, under another cookie, too."""
        for name in ("session", "sessionid"):
            old = OldSessions()
            with override_settings(SESSION_MIDDLEWARE={"store": MemoryStore(), "carry_over": carrying_over(old, name)}):
                request = RequestFactory().get("/", HTTP_COOKIE=f"{name}={OLD_KEY}")
                response = SessionMiddleware(lambda request: HttpResponse(request.session["_auth_user_id"]))(request)

                assert response.content == b"5"
                assert old.kept == {}
                assert set(response.cookies) == {"session", name}
                assert response.cookies[name].value == ("" if name == "sessionid" else response.cookies["session"].value)
