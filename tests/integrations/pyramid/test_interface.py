"""The session is Pyramid's ``ISession``, member by member, with its messages."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pyramid.interfaces import ISession
from webtest import TestApp
from zope.interface.verify import verifyClass, verifyObject

from session_middleware.integrations.pyramid import PyramidSession
from tests.integrations.pyramid.application import a_session, app_of

# ISession, member by member: how it is used, and what comes of it.
MEMBERS: dict[str, Callable[[Any], bool]] = {
    "created": lambda s: s.created == 1000 and type(s.created) is int,
    "new": lambda s: s.new is True,
    "invalidate": lambda s: s.invalidate() is None and not s,
    "changed": lambda s: s.changed() is None,
    "flash": lambda s: s.flash("x", "q") is None and s["_f_q"] == ["x"],
    "pop_flash": lambda s: s.flash("x") is None and s.pop_flash() == ["x"] and s.pop_flash() == [],
    "peek_flash": lambda s: s.flash("x") is None and s.peek_flash() == ["x"] == s.peek_flash(),
    "__contains__": lambda s: "a" in s and "x" not in s,
    "__setitem__": lambda s: s.__setitem__("x", 1) is None and s["x"] == 1,
    "__delitem__": lambda s: s.__delitem__("a") is None and "a" not in s,
    "__getitem__": lambda s: s["a"] == 1,
    "__iter__": lambda s: list(s) == ["a", "b"],
    "get": lambda s: (s.get("a"), s.get("x"), s.get("x", 7)) == (1, None, 7),
    "items": lambda s: list(s.items()) == [("a", 1), ("b", [])],
    "keys": lambda s: list(s.keys()) == ["a", "b"],
    "values": lambda s: list(s.values()) == [1, []],
    "pop": lambda s: (s.pop("a"), s.pop("a", 7)) == (1, 7) and "a" not in s,
    "popitem": lambda s: s.popitem() == ("b", []) and list(s) == ["a"],
    "setdefault": lambda s: (s.setdefault("a", 7), s.setdefault("x", 7)) == (1, 7) and s["x"] == 7,
    "update": lambda s: s.update({"a": 2, "x": 3}) is None and (s["a"], s["x"]) == (2, 3),
    "clear": lambda s: s.clear() is None and dict(s) == {},
}


class TestInterface:
    def test_zope_finds_all_of_it(self) -> None:
        """Every method with its arguments, every attribute."""
        assert verifyClass(ISession, PyramidSession)
        assert verifyObject(ISession, a_session())

    def test_the_table_is_complete(self) -> None:
        """A member that Pyramid adds fails this test until the table knows it."""
        assert set(ISession.names(all=True)) == MEMBERS.keys()

    @pytest.mark.parametrize("name", MEMBERS)
    def test_each_member_does_what_is_documented(self, name: str) -> None:
        """On a session that holds a number and a list."""
        assert MEMBERS[name](a_session(a=1, b=[]))

    def test_the_rest_of_a_mapping_is_there_too(self) -> None:
        """A key that is not there is a ``KeyError``; length, truth, equality and repr are those of a mapping."""
        session = a_session(a=1)

        for use in (lambda: session["x"], lambda: session.pop("x"), lambda: session.__delitem__("x")):
            with pytest.raises(KeyError):
                use()
        assert (len(session), bool(session), session == {"a": 1}) == (1, True, True)
        assert repr(session) == "<Session, new>"
        assert not a_session()

    def test_what_a_session_has_on_top_is_there(self) -> None:
        """See :class:`Session`."""
        session = a_session(a=1)
        session.set_lifetime(idle=timedelta(minutes=5), persistent=True)
        session.login("alice")
        session.regenerate()

        assert session.transact(lambda data: data.pop("a")) == 1
        assert session.user_id == session.underlying.user_id == "alice"
        assert session.id == session.underlying.id
        assert (session.created_at, session.last_seen_at, session.expires_at) == (1000.9, 1000.9, 1300.9)

    def test_a_message_is_not_added_twice_unless_that_is_allowed(self) -> None:
        """Queue by queue."""
        session = a_session()
        for allow_duplicate in (True, False, True):
            session.flash("one", allow_duplicate=allow_duplicate)
        session.flash("one", "other", allow_duplicate=False)

        assert (session.peek_flash(), session.peek_flash("other")) == (["one", "one"], ["one"])

    def test_the_csrf_token_of_the_session_stays_until_a_new_one_is_made(self) -> None:
        """As sessions had it before Pyramid 1.9; under the key that Pyramid's own policy uses."""
        session = a_session()
        token = session.get_csrf_token()

        assert session.get_csrf_token() == session["_csrft_"] == token
        assert session.new_csrf_token() != token
        assert session.get_csrf_token() == session["_csrft_"] != token


class TestFlash:
    def test_a_message_is_shown_once(self) -> None:
        """Across requests, and however often it was looked at before."""

        def say(request: Any) -> Any:
            request.session.flash("saved")
            return {}

        app = TestApp(
            app_of(
                say=say,
                peek=lambda request: request.session.peek_flash(),
                pop=lambda request: request.session.pop_flash(),
            )
        )
        app.get("/say")
        shown = [app.get(path).json for path in ("/peek", "/peek", "/pop", "/pop", "/peek")]

        assert shown == [["saved"], ["saved"], ["saved"], [], []]
