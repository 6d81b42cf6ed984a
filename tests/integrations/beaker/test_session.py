"""The session has every member of Beaker's, and they do what Beaker says."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import beaker.session
import pytest

from session_middleware import ConfigurationError, MemoryStore, SessionMiddleware
from session_middleware.integrations.beaker import BeakerMiddleware, BeakerSession, Snapshot
from session_middleware.testing import FakeClock
from tests.apps import Gateway, visit
from tests.integrations.beaker.application import application

Use = Callable[[Any], object]


def site(use: Use, *, get_by_id: bool = False, **options: Any) -> BeakerMiddleware:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        environ["test.use"](environ["beaker.session"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    return BeakerMiddleware(SessionMiddleware(app, MemoryStore(), **options), get_by_id=get_by_id)


class Visitor:
    """A browser, and an application that does what each request asks of it."""

    def __init__(self, **options: Any) -> None:
        self.site = site(lambda session: None, **options)
        self.cookie: str | None = None
        self.response = Gateway()

    def __call__(self, use: Use) -> Any:
        """Make a request in which the application does that with its session; return the outcome."""
        outcome: list[Any] = []
        request = {"test.use": lambda session: outcome.append(use(session))}
        self.response = visit(self.site, cookie=self.cookie, **request)  # type: ignore[arg-type]
        for cookie in self.response.set_cookies:
            pair = cookie.partition(";")[0]
            self.cookie = None if pair.endswith("=") else pair
        return outcome[0]


@pytest.fixture
def visitor(clock: FakeClock) -> Visitor:
    return Visitor(clock=clock)


# What is Beaker's own machinery, or dict's: nothing that the documentation gives to applications.
INTERNAL = {
    *("fromkeys", "serialize_cookie_date", "persist"),
    *("__dict__", "__weakref__", "__module__", "__delattr__", "__getattr__", "__setattr__"),
}


def members() -> set[str]:
    """Return the names of everything that Beaker's session has and that is not private."""
    names = set(dir(beaker.session.Session)) | set(dir(beaker.session.SessionObject)) | {"id", "is_new", "last_accessed"}
    return {name for name in names if not name.startswith("_")} | {"timeout", "cookie_expires"}


@pytest.mark.parametrize("name", sorted(members() - INTERNAL))
def test_every_member_of_beakers_session_is_there(name: str) -> None:
    """The table is Beaker's own: what it adds later fails here."""
    assert hasattr(BeakerSession, name)


class TestSession:
    def test_changes_are_saved_without_being_asked_to(self, visitor: Visitor) -> None:
        """Promise 8."""
        visitor(lambda session: session.update(cart=[]))
        visitor(lambda session: session["cart"].append("tea"))
        assert visitor(lambda session: session.copy()) == {"cart": ["tea"]}
        assert visitor(lambda session: "tea" in session["cart"]) is True

    def test_it_is_a_mapping(self, visitor: Visitor) -> None:
        visitor(lambda session: session.update(a=1, b=2, c=3))
        visitor(lambda session: session.__delitem__("a"))
        assert visitor(lambda session: (len(session), list(session), session.pop("b"), session.get("z", 9))) == (
            2,
            ["b", "c"],
            2,
            9,
        )
        visitor(lambda session: session.clear())
        assert visitor(dict) == {}

    def test_an_untouched_session_costs_nothing(self, visitor: Visitor) -> None:
        """Promise 1: the view loads nothing either."""
        assert visitor(lambda session: session.accessed()) is False
        assert visitor(lambda session: (session.get("a"), session.accessed(), session.dirty())) == (None, True, False)
        assert visitor.response.set_cookies == []

    def test_the_times_are_there_and_not_among_the_items(self, visitor: Visitor, clock: FakeClock) -> None:
        began = clock.now
        visitor(lambda session: session.update(a=1))
        clock.advance(100)
        times = visitor(lambda session: (session["_creation_time"], session.created, session.last_accessed))
        assert times == (began, began, began)
        assert visitor(lambda session: session["_accessed_time"]) == clock.now
        assert visitor(lambda session: ("_creation_time" in session, list(session))) == (True, ["a"])
        with pytest.warns(DeprecationWarning, match="_accessed_time"):
            visitor(lambda session: session.update(_accessed_time=0))
        assert visitor(dict) == {"a": 1}

    def test_a_new_session_knows_that_it_is(self, visitor: Visitor) -> None:
        assert visitor(lambda session: (session.is_new, session.last_accessed)) == (True, None)
        visitor(lambda session: session.update(a=1))
        assert visitor(lambda session: session.is_new) is False

    def test_the_id_opens_nothing(self, visitor: Visitor) -> None:
        """Promise 11: Beaker's is the cookie; ours is a name."""
        visitor(lambda session: session.update(a=1))
        name, shown = visitor(lambda session: (session.id, repr(session)))
        assert len(name) == 12
        assert shown == f"<Session {name}>"
        visitor.cookie = f"session={name}"
        assert visitor(dict) == {}

    def test_the_id_is_stable(self, visitor: Visitor) -> None:
        """Promise 17: from the first write on, through ``regenerate_id()`` and sign-in; each with another cookie."""
        names, cookies = [visitor(lambda session: (session.update(a=1), session.id)[1])], {visitor.cookie}
        for act in (BeakerSession.regenerate_id, lambda session: session.login("anna"), BeakerSession.regenerate_id):
            visitor(act)
            names.append(visitor(lambda session: session.id))
            cookies.add(visitor.cookie)
        assert (len(set(names)), len(cookies)) == (1, 4)
        assert visitor(dict) == {"a": 1}

    def test_the_cookie_from_before_a_sign_in_reads_what_was_there_for_ten_seconds(
        self, visitor: Visitor, clock: FakeClock
    ) -> None:
        """Design, "Secrets": what it writes in that time is dropped; afterwards it is as an unknown one."""
        visitor(lambda session: session.update(a=1))
        before = visitor.cookie
        visitor(lambda session: (session.login("anna"), session.update(b=2)))
        after = visitor.cookie
        for _ in range(2):
            clock.advance(4.9)
            visitor.cookie = before
            assert visitor(lambda session: (dict(session), session.update(c=3))) == ({"a": 1}, None)
            assert visitor.response.set_cookies == []
        clock.advance(0.2)
        assert visitor(dict) == {}
        visitor(lambda session: session.update(c=3))
        assert visitor.cookie not in (before, after)
        visitor.cookie = after
        assert visitor(dict) == {"a": 1, "b": 2}

    def test_a_double_click_signs_in_whichever_answer_is_kept(self, visitor: Visitor) -> None:
        """Promise 20: both cookies open one session, with what the visitor had."""
        visitor(lambda session: session.update(a=1))
        before, after = visitor.cookie, []
        for number in range(2):
            visitor.cookie = before
            visitor(lambda session, number=number: (session.login("anna"), session.update({f"click{number}": 1})))  # type: ignore[misc]
            after.append(visitor.cookie)
        for cookie in after:
            visitor.cookie = cookie
            assert visitor(dict) == {"a": 1, "click0": 1, "click1": 1}
        assert len(visitor.site.manager.sessions_of("anna")) == 1

    @pytest.mark.parametrize("method", ["delete", "invalidate"])
    def test_what_ends_it_ends_it(self, visitor: Visitor, method: str) -> None:
        """Promise 5: Beaker's leave the record, and the cookie of invalidate() opens it again."""
        visitor(lambda session: session.update(a=1))
        cookie = visitor.cookie
        visitor(lambda session: getattr(session, method)())
        assert visitor.cookie is None
        visitor.cookie = cookie
        assert visitor(dict) == {}

    def test_after_invalidate_a_new_one_begins(self, visitor: Visitor) -> None:
        visitor(lambda session: session.update(a=1))
        cookie = visitor.cookie
        visitor(lambda session: (session.invalidate(), session.update(b=2)))
        assert visitor.cookie not in (None, cookie)
        assert visitor(dict) == {"b": 2}

    def test_regenerate_id_kills_the_old_one(self, visitor: Visitor) -> None:
        """Unlike Beaker's, after which both cookies open it."""
        visitor(lambda session: session.update(a=1))
        cookie = visitor.cookie
        visitor(lambda session: session.regenerate_id())
        assert visitor(dict) == {"a": 1}
        visitor.cookie = cookie
        assert visitor(dict) == {}

    def test_revert_undoes_this_request(self, visitor: Visitor) -> None:
        """Back to what was loaded, nested values too; a new session is empty. What was stored at once stays."""
        visitor(lambda session: session.update(a=[1], b=2))
        visitor(lambda session: (session["a"].append(2), session.pop("b"), session.update(c=3), session.revert()))
        assert visitor(dict) == {"a": [1], "b": 2}
        visitor(lambda session: (session.transact(lambda data: data.update(b=3)), session.update(b=4), session.revert()))
        assert visitor(dict) == {"a": [1], "b": 3}
        visitor.cookie = None
        visitor(lambda session: (session.update(a=1), session.revert()))
        assert visitor.response.set_cookies == []

    def test_login_and_transact_are_at_hand(self, visitor: Visitor) -> None:
        visitor(lambda session: session.update(a=1, b=2))
        mark = visitor.site.manager.mark_of("anna")
        visitor(lambda session: session.login("anna", keep=("a",), mark=mark))
        assert visitor(lambda session: session.transact(lambda data: data.setdefault("n", 1))) == 1
        assert visitor.site.manager.sessions_of("anna")[0].data == {"a": 1, "n": 1}


class TestGetById:
    @pytest.fixture
    def visitor(self, clock: FakeClock) -> Visitor:
        return Visitor(clock=clock, get_by_id=True)

    def test_it_is_off_unless_asked_for(self, visitor: Visitor, clock: FakeClock) -> None:
        """An id is public, so where one comes from a request it would be a key to the sessions of others."""
        plain = Visitor(clock=clock)
        plain(lambda session: session.update(a=1))
        name = plain(lambda session: session.id)
        with pytest.raises(ConfigurationError, match="write get_by_id=True"):
            plain(lambda session: session.get_by_id(name))
        by_settings = BeakerMiddleware.from_config(application, {}, get_by_id=True)
        environ: WSGIEnvironment = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
        by_settings(environ, lambda status, headers, exc_info=None: lambda data: None)
        assert environ["beaker.session"].get_by_id("a" * 12) is None

    def test_a_session_is_found_by_its_id(self, visitor: Visitor, clock: FakeClock) -> None:
        """From another session, by ``session.id``: a copy, with its times. A new cookie changes nothing about that."""
        visitor(lambda session: session.update(a=1))
        name, cookie = visitor(lambda session: session.id), visitor.cookie
        visitor.cookie = None
        found = visitor(lambda session: session.get_by_id(name))
        assert isinstance(found, Snapshot)
        assert (dict(found), found.id, found.created, found.last_accessed) == ({"a": 1}, name, clock.now, clock.now)
        assert found.is_new is False
        visitor.cookie = cookie
        visitor(lambda session: session.regenerate_id())
        assert visitor(lambda session: session.get_by_id(name)) == {"a": 1}
        with pytest.raises(NotImplementedError, match="a copy"):
            found.save()

    def test_it_can_be_ended(self, visitor: Visitor) -> None:
        visitor(lambda session: session.update(a=1))
        name, cookie = visitor(lambda session: session.id), visitor.cookie
        visitor.cookie = None
        visitor(lambda session: session.get_by_id(name).delete())
        visitor.cookie = cookie
        assert visitor(dict) == {}
        assert visitor(lambda session: session.get_by_id(name)) is None

    def test_it_can_be_ended_while_it_gets_a_new_cookie(self, visitor: Visitor) -> None:
        """Promises 17 and 19: listed, and ended in the middle of a request that regenerates."""
        visitor(lambda session: session.login("anna"))
        (listed,) = visitor.site.manager.sessions_of("anna")
        before = visitor.cookie
        assert visitor(lambda session: (session.regenerate_id(), session.get_by_id(listed.id).delete())) == (None, None)
        for cookie in (before, visitor.cookie):
            visitor.cookie = cookie
            assert visitor(lambda session: (dict(session), session.session.user_id)) == ({}, None)
        assert visitor.site.manager.sessions_of("anna") == []

    def test_anything_else_is_none(self, visitor: Visitor) -> None:
        """The cookie is no id, and neither is one of Beaker's."""
        visitor(lambda session: session.update(a=1))
        token = (visitor.cookie or "").partition("=")[2]
        for name in (token, "a" * 32, "", None, 7, "a" * 43, "../x"):
            assert visitor(lambda session, name=name: session.get_by_id(name)) is None  # type: ignore[misc]


HINTS: dict[str, Use] = {
    "save": lambda session: session.save(),
    "persist": lambda session: session.persist(),
    "load": lambda session: session.load(),
    "lock": lambda session: session.lock(),
    "unlock": lambda session: session.unlock(),
    "has_key": lambda session: session.has_key("a"),
    "timeout": lambda session: setattr(session, "timeout", 60),
    "cookie_expires": lambda session: setattr(session, "cookie_expires", True),
    "_set_cookie_expires": lambda session: session._set_cookie_expires(None),
    "_update_cookie_out": lambda session: session._update_cookie_out(),
    "domain": lambda session: setattr(session, "domain", ".example.com"),
    "path": lambda session: setattr(session, "path", "/app"),
}


def expire(expires: Any, session: Any) -> None:
    session["a"] = 1
    session.cookie_expires = expires


class TestHints:
    @pytest.mark.parametrize("method", HINTS)
    def test_what_is_not_needed_says_so_once(self, visitor: Visitor, method: str) -> None:
        """At the line of the application that calls it; the second call is silent."""
        with pytest.warns(DeprecationWarning, match=method) as caught:
            visitor(HINTS[method])
        assert [warning.filename for warning in caught] == [__file__]
        visitor(HINTS[method])

    def test_every_site_hints(self, visitor: Visitor) -> None:
        """There is no global registry."""
        for one in (visitor, Visitor()):
            with pytest.warns(DeprecationWarning, match="save"):
                one(lambda session: session.save())

    @pytest.mark.usefixtures("quiet")
    def test_the_cookie_can_outlive_the_browser(self, visitor: Visitor, clock: FakeClock) -> None:
        """As people write "remember me" with Beaker."""
        naive = datetime.fromtimestamp(int(clock.now) + 7200, UTC).replace(tzinfo=None)
        hours: list[tuple[Any, float]] = [(timedelta(hours=1), 1), (False, 400 * 24), (600, 1 / 6)]
        hours += [(naive, 2), (naive.replace(tzinfo=UTC), 2)]
        for expires, expected in hours:
            visitor.cookie = None
            visitor(partial(expire, expires))
            assert f"Max-Age={expected * 3600:.0f};" in visitor.response.set_cookies[0]
            assert visitor(lambda session: session.cookie_expires) is False
            visitor.cookie = None
            visitor(lambda session, expires=expires: session._set_cookie_expires(expires))  # type: ignore[misc]
        visitor(partial(expire, 600))
        visitor(partial(expire, True))
        assert "Max-Age" not in visitor.response.set_cookies[0]

    @pytest.mark.usefixtures("quiet")
    def test_the_timeout_of_one_session(self, visitor: Visitor, clock: FakeClock) -> None:
        visitor(lambda session: session.update(a=1))
        visitor(lambda session: setattr(session, "timeout", 60))
        assert visitor(lambda session: (session.timeout, session.domain, session.path)) == (3600, None, "/")
        clock.advance(60)
        assert visitor(dict) == {}
