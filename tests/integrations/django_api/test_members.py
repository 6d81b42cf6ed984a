"""What Django documents for a session, member by member, for the engine and for ``request.session`` of our middleware."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.base import SessionBase, UpdateError

from session_middleware.integrations.django import SessionStore, manager
from session_middleware.rules import WINDOW
from session_middleware.testing import FakeClock, FaultyStore
from tests.integrations.django_api.sessions import NOW, a_token


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
