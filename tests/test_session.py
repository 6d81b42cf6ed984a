"""The session as the application sees it: a mapping whose every change is kept, and what can be asked of it."""

from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from session_middleware import (
    ConfigurationError,
    ConflictError,
    Forget,
    HeadersAlreadySent,
    Lifetime,
    MemoryStore,
    PayloadError,
    Send,
    Session,
    Store,
    StoreUnavailable,
)
from session_middleware.testing import FakeClock
from tests.sites import DATA, Site, setting

HOUR = 3600
DAY = 86400


@pytest.fixture
def site(store: Store) -> Site:
    return Site(store, FakeClock())


class Text(str):
    """A subclass of str, as template engines have them."""


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in DATA.items() if key not in keys}


def nested(session: Session) -> None:
    session["dict"]["x"]["y"].append("deep")


def by_values(session: Session) -> None:
    for value in session.values():
        if isinstance(value, list):
            value.append(2)


def by_items(session: Session) -> None:
    for key, value in session.items():
        if key == "set":
            value.add(2)


def by_merge(session: Session) -> None:
    session |= {"a": 2, "b": 3}


CHANGES: dict[str, tuple[Callable[[Session], object], dict[str, Any]]] = {
    "set": (lambda s: s.__setitem__("b", 2), {**DATA, "b": 2}),
    "set again": (lambda s: s.__setitem__("a", 2), {**DATA, "a": 2}),
    "set to another type": (lambda s: s.__setitem__("a", True), {**DATA, "a": True}),
    "del": (lambda s: s.__delitem__("a"), without("a")),
    "update with a mapping": (lambda s: s.update({"a": 2}, b=3), {**DATA, "a": 2, "b": 3}),
    "update with pairs": (lambda s: s.update([("a", 2), ("b", 3)]), {**DATA, "a": 2, "b": 3}),
    "|=": (by_merge, {**DATA, "a": 2, "b": 3}),
    "setdefault": (lambda s: s.setdefault("b", []).append(1), {**DATA, "b": [1]}),
    "setdefault of what is there": (lambda s: s.setdefault("list", []).append(2), {**DATA, "list": [1, 2]}),
    "pop": (lambda s: s.pop("list"), without("list")),
    "popitem": (lambda s: s.popitem(), without("set")),
    "clear": (lambda s: s.clear(), {}),
    "nested list": (lambda s: s["list"].append(2), {**DATA, "list": [1, 2]}),
    "nested set": (lambda s: s["set"].discard(1), {**DATA, "set": set()}),
    "nested dict": (lambda s: s["dict"].pop("x"), {**DATA, "dict": {}}),
    "deeply nested": (nested, {**DATA, "dict": {"x": {"y": ["deep"]}}}),
    "get": (lambda s: s.get("list").append(2), {**DATA, "list": [1, 2]}),
    "values": (by_values, {**DATA, "list": [1, 2]}),
    "items": (by_items, {**DATA, "set": {1, 2}}),
    "transact": (lambda s: s.transact(lambda data: data["list"].append(2)), {**DATA, "list": [1, 2]}),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
def test_every_way_to_change_the_data_is_stored(
    site: Site, change: Callable[[Session], object], expected: dict[str, Any]
) -> None:
    """Promise 8: whatever changes it, at the top or inside a value, is saved, with no flag to set."""
    token = site.begin()

    assert site.request(token, change) is None
    assert repr(site.data(token)) == repr(expected)


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
def test_every_way_to_change_the_data_works_on_a_new_session(
    site: Site, change: Callable[[Session], object], expected: dict[str, Any]
) -> None:
    """Promise 8, before there is a record."""
    session = site.open()
    session.update(deepcopy(DATA))
    change(session)
    verdict = site.manager.commit(session)

    assert (repr(site.data(verdict.token)) if isinstance(verdict, Send) else "{}") == repr(expected)


LOOKS: dict[str, Callable[[Session], object]] = {
    "get": lambda s: s.get("nothing"),
    "in": lambda s: "nothing" in s,
    "len": len,
    "iteration": list,
    "bool": bool,
    "keys": lambda s: list(s.keys()),
    "values": lambda s: list(s.values()),
    "items": lambda s: list(s.items()),
    "==": lambda s: s == {},
    "pop": lambda s: s.pop("nothing", None),
    "id": lambda s: s.id,
    "user_id": lambda s: s.user_id,
    "is_new": lambda s: s.is_new,
    "created_at": lambda s: s.created_at,
    "last_seen_at": lambda s: s.last_seen_at,
    "expires_at": lambda s: s.expires_at,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_every_way_to_look_is_access_and_writes_nothing(site: Site, look: Callable[[Session], object]) -> None:
    """Promise 2, W-30: exactly one load, no write, nothing to tell the browser; but the response varies by cookie."""
    token = site.begin()
    session = site.open(token)

    assert site.calls(lambda: look(session)) == ["load"]
    assert session.accessed
    assert not session.modified
    assert site.calls(lambda: site.manager.commit(session)) == []
    assert site.manager.commit(session) is None


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_looking_without_a_cookie_asks_no_store(site: Site, look: Callable[[Session], object]) -> None:
    """Promise 2: read without a cookie: zero store calls, no record, nothing to tell the browser."""
    session = site.open()

    assert site.calls(lambda: look(session)) == []
    assert site.calls(lambda: site.manager.commit(session)) == []
    assert session.accessed
    assert site.manager.commit(session) is None


@pytest.mark.parametrize("look", [repr, lambda session: session.modified, lambda session: session.progress])
def test_what_is_no_use_of_the_session_loads_nothing(site: Site, look: Callable[[Session], object]) -> None:
    """Promise 1: tools and log lines that show the object do not touch the session."""
    session = site.open(site.begin())

    assert site.calls(lambda: look(session)) == []
    assert not session.accessed
    assert site.calls(lambda: site.manager.commit(session)) == []


def test_it_is_loaded_once(site: Site) -> None:
    """Promise 2: exactly one load, however often it is used."""
    session = site.open(site.begin())

    assert site.calls(lambda: [dict(session), session["a"], session.user_id, session.id]) == ["load"]


def test_reading_mutable_values_writes_nothing(site: Site) -> None:
    """Promise 2: what was handed out is compared with what was loaded, and is the same."""
    session = site.open(site.begin())

    assert [session["list"], session["dict"], session["set"]] == [[1], {"x": {"y": []}}, {1}]
    assert not session.modified
    assert site.calls(lambda: site.manager.commit(session)) == []


@pytest.mark.parametrize(
    "change",
    [
        setting("a", 1),
        lambda s: s.update(a=2) or s.update(a=1),
        lambda s: s["list"].append(2) or s["list"].pop(),
        lambda s: s.transact(lambda data: None),
        lambda s: s.set_lifetime(),
        lambda s: s.set_lifetime(idle=HOUR, absolute=timedelta(days=1), persistent=False),
    ],
)
def test_a_change_that_comes_to_nothing_writes_nothing(site: Site, change: Callable[[Session], object]) -> None:
    """Promise 2: equal to what was loaded: nothing to store."""
    session = site.open(site.begin())
    change(session)

    assert not session.modified
    assert site.calls(lambda: site.manager.commit(session)) == []


def test_set_then_cleared_creates_nothing(site: Site) -> None:
    """A new session without data or user is not stored."""
    session = site.open()
    session["a"] = 1
    session.clear()

    assert not session.modified
    assert site.calls(lambda: site.manager.commit(session)) == []


def test_a_cleared_session_stays_the_session(site: Site) -> None:
    """Clearing is not ending: user, token and lifetimes stay."""
    token = site.begin(user_id="alice")

    assert site.request(token, Session.clear) is None
    assert site.is_alive(token)
    assert site.open(token).user_id == "alice"
    assert site.data(token) == {}


def test_popitem_removes_the_newest_first(site: Site) -> None:
    """Like dict, last in, first out; the order outlives the store."""
    token = site.begin({"a": 1, "b": 2})
    site.request(token, setting("c", 3))
    session = site.open(token)

    assert [session.popitem() for _ in range(3)] == [("c", 3), ("b", 2), ("a", 1)]
    with pytest.raises(KeyError):
        session.popitem()


def test_what_is_not_there_is_a_key_error_or_the_default(site: Site) -> None:
    """As in any mapping."""
    session = site.open(site.begin({"none": None}))

    for refused in (session.__getitem__, session.__delitem__, session.pop):
        with pytest.raises(KeyError):
            refused("nothing")
    assert session.get("nothing") is None
    assert session.get("nothing", 5) == 5
    assert session.get("none", 5) is None
    number: Any = 1
    assert number not in session
    assert session == {"none": None}


@pytest.mark.parametrize("key", [1, None, b"a", ("a",)])
@pytest.mark.parametrize(
    "change",
    [
        lambda s, key: s.__setitem__(key, 1),
        lambda s, key: s.update({key: 1}),
        lambda s, key: s.setdefault(key, 1),
        lambda s, key: s.transact(lambda data: data.__setitem__(key, 1)),
    ],
)
def test_keys_are_text(site: Site, change: Callable[[Session, Any], object], key: object) -> None:
    """Promise 9: another key is refused at once, by name, and the stored session is unchanged."""
    token = site.begin()
    session = site.open(token)

    with pytest.raises(PayloadError, match="keys at the top level are str"):
        change(session, key)
    assert site.manager.commit(session) is None
    assert site.data(token) == DATA


def test_a_key_that_transact_refused_does_not_spoil_a_new_session(site: Site) -> None:
    """Promise 9: an application that handles the error goes on with a session that can be stored and loaded."""
    number: Any = 1
    session = site.open()
    session["a"] = 1
    with pytest.raises(PayloadError, match="keys at the top level are str"):
        session.transact(lambda data: data.update({number: 1}))

    assert site.data(site.sent(session)) == {"a": 1}


def test_a_subclass_of_text_is_a_key_like_any_other(site: Site) -> None:
    """The key is kept as plain str."""
    token = site.begin({Text("a"): 1})

    assert [type(key) for key in site.open(token)] == [str]


def test_its_representation_names_the_id_and_never_the_token(site: Site) -> None:
    """Promise 11: safe in a log line or a traceback."""
    token = site.begin()
    session = site.open(token)

    assert repr(session) == "<Session, not loaded>"
    key = session.id
    assert repr(session) == f"<Session {key}>"
    new = site.open()
    new["a"] = token
    assert repr(new) == "<Session, new>"
    new.regenerate()
    assert token not in repr(session) + repr(new)


class TestFailure:
    def test_a_failed_load_is_raised_at_each_use(self, site: Site) -> None:
        """Promise 7: it never reads as an empty session, and the store is not asked again and again."""
        session = site.open(site.begin())
        site.store.fail("load")

        with pytest.raises(StoreUnavailable):
            session.get("a")
        for use in (len, Session.invalidate, Session.regenerate, lambda s: s.login("alice"), lambda s: s.id):
            with pytest.raises(StoreUnavailable):
                assert site.calls(lambda: use(session)) == []  # noqa: B023
        with pytest.raises(StoreUnavailable):
            session["a"] = 2

    def test_after_a_failed_load_nothing_is_stored_or_told(self, site: Site) -> None:
        """Promise 7: a store failure issues no token and clears no cookie."""
        session = site.open(site.begin())
        site.store.fail("load")
        with pytest.raises(StoreUnavailable):
            session["a"] = 2

        assert session.accessed
        assert not session.modified
        assert session.progress is None
        assert repr(session) == "<Session, not loaded>"
        assert site.calls(lambda: site.manager.commit(session)) == []
        assert site.manager.commit(session) is None


class TestProperties:
    def test_the_id_is_known_before_the_session_is_stored(self, site: Site) -> None:
        """It is the same before and after, and in the next request."""
        session = site.open()
        session["a"] = 1
        before = session.id
        token = site.sent(session)

        assert before == session.id == site.open(token).id
        assert before != token

    def test_the_id_changes_with_the_token(self, site: Site) -> None:
        """At once, so that a listing made in the same request can be told from it."""
        session = site.open(site.begin())
        ids = [session.id]
        session.regenerate()
        ids.append(session.id)
        token = site.sent(session)

        assert ids[0] != ids[1] == session.id == site.open(token).id

    def test_the_id_opens_nothing(self, site: Site) -> None:
        """Promise 11: what logs and listings show is no cookie."""
        token = site.begin()

        assert not site.is_alive(site.open(token).id)

    def test_a_session_is_new_until_it_is_stored(self, site: Site) -> None:
        """Whether the store holds it."""
        session = site.open()
        seen = [session.is_new]
        session["a"] = 1
        seen.append(session.is_new)
        token = site.sent(session)
        seen.append(session.is_new)

        assert seen == [True, True, False]
        assert not site.open(token).is_new
        assert site.open("A" * 43).is_new

    def test_its_times(self, site: Site) -> None:
        """Created, last used before this request, and the end if it is not used again."""
        created = site.clock()
        token = site.begin()
        site.clock.advance(100)
        site.request(token, setting("a", 2))
        site.clock.advance(10)
        session = site.open(token)

        assert session.created_at == created
        assert session.last_seen_at == created + 100
        assert session.expires_at == created + 100 + HOUR

    def test_the_times_of_a_new_session_are_now(self, site: Site) -> None:
        """It begins when the request first uses it."""
        session = site.open()

        assert session.created_at == session.last_seen_at == site.clock()
        assert session.expires_at == site.clock() + HOUR

    @pytest.mark.parametrize(
        "change",
        [
            setting("a", 2),
            lambda s: s["list"].append(2),
            Session.regenerate,
            Session.invalidate,
            lambda s: s.login("alice"),
            lambda s: s.set_lifetime(idle=60),
            lambda s: s.set_lifetime(persistent=True),
            lambda s: s.__setitem__("a", object()),
        ],
    )
    def test_modified_says_whether_there_is_something_to_store(
        self, site: Site, change: Callable[[Session], object]
    ) -> None:
        """Data, user, lifetimes, token or end; also what cannot be encoded, for the commit will say so."""
        session = site.open(site.begin())
        assert session["list"] == [1]
        seen = [session.modified]
        change(session)

        assert [*seen, session.modified] == [False, True]

    def test_a_new_session_is_modified_once_it_holds_something(self, site: Site) -> None:
        """Data or a user."""
        session, signed_in = site.loaded(), site.loaded()
        seen = [session.modified]
        session["a"] = 1
        seen.append(session.modified)
        site.sent(session)
        seen.append(session.modified)
        signed_in.login("alice")

        assert seen == [False, True, False]
        assert signed_in.modified

    def test_it_knows_whose_it_is(self, site: Site) -> None:
        """Of several managers in one process."""
        session = site.open()

        assert session.belongs_to(site.manager)
        assert not session.belongs_to(Site(site.store, site.clock).manager)


class TestTransact:
    def test_it_stores_at_once_and_returns_what_the_function_returns(self, site: Site) -> None:
        """Promise 4: stored before it returns, whatever becomes of the request."""
        token = site.begin({"n": 1})
        session = site.open(token)

        assert session.transact(lambda data: data.pop("n")) == 1
        assert site.data(token) == {}
        assert "n" not in session
        assert site.calls(lambda: site.manager.commit(session, failed=True)) == []

    def test_it_is_stored_even_if_the_request_fails(self, site: Site) -> None:
        """Promises 4 and 16: it is the request's other changes that go."""
        token = site.begin({"n": 1})
        session = site.open(token)
        session["other"] = 1
        session.transact(lambda data: data.update(n=2))
        site.manager.commit(session, failed=True)

        assert site.data(token) == {"n": 2}

    def test_it_sees_what_is_stored_now_and_the_changes_of_the_request(self, site: Site) -> None:
        """Read your writes: the function sees both."""
        token = site.begin({"n": 1, "old": 1})
        session = site.loaded(token)
        site.request(token, setting("theirs", 1))
        session["mine"] = 1
        del session["old"]
        seen = session.transact(dict)

        assert seen == {"n": 1, "theirs": 1, "mine": 1}
        assert session == seen

    def test_only_the_keys_that_it_changes_are_stored(self, site: Site) -> None:
        """The request's other changes wait for its end."""
        token = site.begin({"n": 1})
        session = site.open(token)
        session["mine"] = 1
        session.transact(lambda data: data.update(n=2))

        assert site.data(token) == {"n": 2}
        assert session == {"n": 2, "mine": 1}
        assert site.manager.commit(session) is None
        assert site.data(token) == {"n": 2, "mine": 1}

    def test_a_change_over_a_pending_one_is_stored(self, site: Site) -> None:
        """The same key, changed by the request and then by the function."""
        token = site.begin({"n": 1})
        session = site.open(token)
        session["n"] = 10
        session.transact(lambda data: data.update(n=data["n"] + 1))

        assert site.data(token) == {"n": 11}

    def test_it_is_tried_again_until_nobody_else_was_faster(self, site: Site) -> None:
        """Promise 4: no update is lost."""
        token = site.begin({"n": 0})
        session = site.open(token)
        seen: list[int] = []

        def add(data: dict[str, Any]) -> None:
            seen.append(data["n"])
            if len(seen) < 4:
                site.request(token, setting("n", len(seen) * 10))
            data["n"] += 1

        session.transact(add)

        assert seen == [0, 10, 20, 30]
        assert site.data(token) == {"n": 31}

    def test_two_in_a_row_both_count(self, site: Site) -> None:
        """Also when another request comes between."""
        token = site.begin({"n": 0})
        session = site.open(token)
        for _ in range(2):
            session.transact(lambda data: data.update(n=data["n"] + 1))
            site.request(token, lambda s: s.transact(lambda data: data.update(n=data["n"] + 1)))

        assert site.data(token) == {"n": 4}

    def test_values_that_did_not_change_stay_the_same_objects(self, site: Site) -> None:
        """Promise 8: what the application already holds is still what will be stored."""
        token = site.begin({"n": 1, "list": [1], "theirs": [1]})
        session = site.open(token)
        held, replaced = session["list"], session["theirs"]
        site.request(token, lambda s: s["theirs"].append(2))
        session.transact(lambda data: data.update(n=2))

        assert session["list"] is held
        assert session["theirs"] is not replaced
        held.append(2)
        site.manager.commit(session)
        assert site.data(token) == {"n": 2, "list": [1, 2], "theirs": [1, 2]}

    def test_an_exception_inside_changes_nothing(self, site: Site) -> None:
        """It goes through to the caller, and neither the store nor the request's view has changed."""
        token = site.begin()
        session = site.open(token)

        def broken(data: dict[str, Any]) -> None:
            data.clear()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            session.transact(broken)
        assert session == DATA
        assert site.manager.commit(session) is None
        assert site.data(token) == DATA

    def test_a_value_that_cannot_be_stored_changes_nothing(self, site: Site) -> None:
        """Promise 9: the error names the path."""
        token = site.begin()
        session = site.open(token)

        with pytest.raises(PayloadError, match=r"session\['cart'\]\[0\]\.price: object"):
            session.transact(lambda data: data.update(cart=[{"price": object()}]))
        assert session == DATA
        assert site.data(token) == DATA

    def test_on_a_new_session_it_changes_the_data_like_any_other_code(self, site: Site) -> None:
        """There is nobody else yet to race with."""
        session = site.open()

        assert site.calls(lambda: session.transact(lambda data: data.update(n=1))) == []
        assert session == {"n": 1}
        assert site.data(site.sent(session)) == {"n": 1}

    def test_on_a_session_that_has_ended_it_sees_nothing_and_stores_nothing(self, site: Site) -> None:
        """Promise 5: nothing in flight brings it back, and the request goes on."""
        token = site.begin()
        session = site.loaded(token)
        site.request(token, Session.invalidate)

        assert session.transact(lambda data: data.setdefault("n", 5)) == 5
        assert session.transact(dict) == {}
        assert site.manager.commit(session) is None
        assert site.live() == []

    def test_it_gives_up_where_someone_has_signed_in_meanwhile(self, site: Site) -> None:
        """Promises 4 and 11: what they have is not for this request, and nothing is lost without a word."""
        token = site.begin({"n": 1})
        session = site.loaded(token)
        other = site.open(token)
        other.login("alice")
        new = site.sent(other)

        with pytest.raises(ConflictError, match="someone signed in"):
            session.transact(lambda data: data.update(n=2))
        assert site.data(new) == {"n": 1}

    def test_it_follows_a_session_to_its_new_token(self, site: Site) -> None:
        """Promise 3: who had the session before it moved loses nothing."""
        token = site.begin({"n": 1})
        session = site.loaded(token)
        other = site.open(token)
        other.regenerate()
        new = site.sent(other)
        session.transact(lambda data: data.update(n=2))

        assert site.data(new) == {"n": 2}

    @pytest.mark.parametrize(
        "act",
        [
            Session.regenerate,
            lambda s: s.login("alice"),
            lambda s: s.set_lifetime(persistent=True),
        ],
    )
    def test_a_new_token_that_was_asked_for_before_is_still_sent(self, site: Site, act: Callable[[Session], object]) -> None:
        """Promise 11: the order of the calls in one request does not matter."""
        token = site.begin({"n": 1})
        session = site.open(token)
        act(session)
        user_id, persistent = session.user_id, session.progress and session.progress.envelope.persistent
        session.transact(lambda data: data.update(n=2))
        session["after"] = 1
        new = site.sent(session)

        assert site.data(new) == {"n": 2, "after": 1}
        assert not site.is_alive(token)
        assert site.open(new).user_id == user_id
        opened = site.loaded(new)
        assert opened.progress is not None
        assert opened.progress.envelope.persistent == persistent

    def test_a_regenerate_gives_way_if_the_session_turns_out_to_have_moved(self, site: Site) -> None:
        """Promise 11: two responses never name two tokens of one session, of which one is dead."""
        token = site.begin({"n": 1})
        session = site.loaded(token)
        other = site.open(token)
        other.regenerate()
        new = site.sent(other)
        session.regenerate()
        session.transact(lambda data: data.update(n=2))

        assert site.manager.commit(session) is None
        assert site.data(new) == {"n": 2}

    def test_its_change_survives_lifetimes_set_before(self, site: Site) -> None:
        """What is pending beside the data stays pending."""
        token = site.begin({"n": 1})
        session = site.open(token)
        session.set_lifetime(idle=600)
        session.transact(lambda data: data.update(n=2))

        assert site.open(token).expires_at == site.clock() + HOUR
        site.manager.commit(session)
        assert site.open(token).expires_at == site.clock() + 600


class TestRegenerate:
    def test_the_session_gets_a_new_token_and_the_old_one_is_dead(self, site: Site) -> None:
        """Promise 11: same data, same times; the old token opens nothing from then on."""
        token = site.begin(user_id="alice")
        session = site.open(token)
        created = session.created_at
        site.clock.advance(100)
        session.regenerate()
        new = site.sent(session)

        assert new != token
        assert not site.is_alive(token)
        assert site.data(new) == DATA
        assert site.open(new).user_id == "alice"
        assert site.open(new).created_at == created

    def test_twice_in_a_request_is_once(self, site: Site) -> None:
        """One request sends one token."""
        session = site.open(site.begin())
        session.regenerate()
        first = session.id
        session.regenerate()

        assert session.id == first
        site.sent(session)
        assert len(site.live()) == 1

    def test_a_new_session_has_nothing_to_regenerate(self, site: Site) -> None:
        """It gets a token of its own anyway, and only if it holds something."""
        empty, session = site.open(), site.open()
        empty.regenerate()
        session.regenerate()
        session["a"] = 1

        assert site.manager.commit(empty) is None
        assert site.data(site.sent(session)) == {"a": 1}

    def test_it_does_not_extend_the_absolute_timeout(self, site: Site) -> None:
        """Promise 12: however often it gets a new token, the session ends when it was to end."""
        token = site.begin()
        for _ in range(47):
            site.clock.advance(1800)
            session = site.open(token)
            session.regenerate()
            token = site.sent(session)
        site.clock.advance(1799)
        assert site.is_alive(token)
        site.clock.advance(1)

        assert not site.is_alive(token)


class TestLogin:
    def test_it_records_the_user_under_a_new_token(self, site: Site) -> None:
        """Promise 11, A-7.2.4: the anonymous session keeps its data; its token is dead."""
        token = site.begin()
        session = site.open(token)
        session.login("alice")
        assert session.user_id == "alice"
        new = site.sent(session)

        assert not site.is_alive(token)
        assert site.open(new).user_id == "alice"
        assert site.data(new) == DATA

    def test_it_starts_both_timeouts_anew(self, site: Site) -> None:
        """Promise 12: signing in again is a new beginning."""
        token = site.begin(user_id="alice")
        for _ in range(25):
            site.clock.advance(3500)
            session = site.open(token)
            session.login("alice")
            token = site.sent(session)

        assert site.data(token) == DATA
        assert site.open(token).created_at == site.clock()

    def test_it_drops_the_data_of_another_user(self, site: Site) -> None:
        """Promise 5: signing in as somebody else ends the former session, in the store too."""
        token = site.begin(user_id="alice")
        session = site.open(token)
        session.login("bob")
        session["b"] = 2
        new = site.sent(session)

        assert site.data(new) == {"b": 2}
        assert site.live() == [{"b": 2}]
        assert site.manager.sessions_of("alice") == []

    def test_it_is_enough_to_make_a_session(self, site: Site) -> None:
        """A user without data is a session."""
        session = site.open()
        session.login("alice")
        token = site.sent(session)

        assert site.open(token).user_id == "alice"
        assert site.data(token) == {}

    @pytest.mark.parametrize("user_id", ["a", "é" * 127, "x" * 255, "'; DROP TABLE sessions; --", "a\0b", Text("alice")])
    def test_any_text_up_to_255_bytes_is_a_user_id(self, site: Site, user_id: str) -> None:
        """It comes back as it was given, as plain str."""
        session = site.open(site.begin(user_id=user_id))

        assert session.user_id == user_id
        assert type(session.user_id) is str

    @pytest.mark.parametrize("user_id", ["", "x" * 256, "é" * 128, "\ud800"])
    def test_no_other_length_is(self, site: Site, user_id: str) -> None:
        """Refused at the call, and the session is as it was."""
        session = site.open(site.begin())

        with pytest.raises(ValueError, match=r"1 to 255 bytes|surrogates"):
            session.login(user_id)
        assert not session.modified

    @pytest.mark.parametrize("user_id", [1, None, b"alice"])
    def test_no_other_type_is(self, site: Site, user_id: Any) -> None:
        """The error says what to write."""
        session = site.open()

        with pytest.raises(TypeError, match=r"write str\(\.\.\.\)"):
            session.login(user_id)


class TestInvalidate:
    def test_the_store_forgets_it_and_the_browser_is_told_to(self, site: Site) -> None:
        """Promise 5: nothing is left of it."""
        token = site.begin(user_id="alice")
        session = site.open(token)
        session.invalidate()

        assert session == {}
        assert session.user_id is None
        assert session.is_new
        assert site.manager.commit(session) == Forget()
        assert not site.is_alive(token)
        assert site.records() == []

    def test_it_holds_even_if_the_request_fails(self, site: Site) -> None:
        """Promise 16: ending a session always ends it; what was written after it is dropped."""
        token = site.begin()
        session = site.open(token)
        session.invalidate()
        session["a"] = 2

        assert site.manager.commit(session, failed=True) == Forget()
        assert site.records() == []

    def test_what_is_written_afterwards_is_a_new_session(self, site: Site) -> None:
        """Under a new token, which is all that the browser is told."""
        token = site.begin(user_id="alice")
        site.clock.advance(100)
        session = site.open(token)
        session.set_lifetime(idle=60)
        session.invalidate()
        session["a"] = 2
        new = site.sent(session)

        assert new != token
        assert site.data(new) == {"a": 2}
        opened = site.open(new)
        assert (opened.user_id, opened.created_at, opened.expires_at) == (None, site.clock(), site.clock() + HOUR)
        assert len(site.records()) == 1

    def test_on_a_new_session_there_is_nothing_to_end(self, site: Site) -> None:
        """Without a cookie nobody is to forget one."""
        session = site.open()
        session["a"] = 1
        session.invalidate()

        assert site.calls(lambda: site.manager.commit(session)) == []
        assert site.manager.commit(session) is None

    def test_a_dead_cookie_is_removed(self, site: Site) -> None:
        """Signing out of a session that has already ended leaves no cookie behind."""
        session = site.open("A" * 43)
        session.invalidate()

        assert site.manager.commit(session) == Forget()

    def test_two_sessions_ended_by_one_request_are_both_dead(self, site: Site) -> None:
        """Also one that this request began."""
        token = site.begin(user_id="alice")
        session = site.open(token)
        session.invalidate()
        session["a"] = 2
        new = site.sent(session)
        session.announced = True
        session.invalidate()

        assert not site.is_alive(token)
        assert not site.is_alive(new)

    def test_a_failing_store_is_no_end(self, site: Site) -> None:
        """Promise 7: the error is raised, and what could not be ended is still to be ended."""
        token = site.begin()
        session = site.open(token)
        session.invalidate()
        site.store.fail()

        with pytest.raises(StoreUnavailable):
            site.manager.commit(session)
        assert site.is_alive(token)
        assert site.manager.commit(session) == Forget()
        assert not site.is_alive(token)


class TestAfterTheResponseHasStarted:
    @pytest.fixture
    def session(self, site: Site) -> Session:
        """A session whose response has started."""
        session = site.loaded(site.begin())
        assert site.manager.commit(session) is None
        session.announced = True
        return session

    @pytest.mark.parametrize(
        "change",
        [
            setting("a", 1),
            lambda s: s.update(a=1),
            lambda s: s.setdefault("a", 1),
            lambda s: s.transact(lambda data: None),
            Session.regenerate,
            lambda s: s.login("alice"),
            lambda s: s.set_lifetime(persistent=True),
        ],
    )
    def test_a_new_session_cannot_begin(self, site: Site, change: Callable[[Session], object]) -> None:
        """W-4: its token could not reach the browser; the call says so, and nothing is stored."""
        session = site.open()
        session.announced = True

        with pytest.raises(HeadersAlreadySent, match="the response has started"):
            change(session)
        assert site.manager.commit(session) is None
        assert site.records() == []

    @pytest.mark.parametrize(
        "change",
        [
            Session.regenerate,
            lambda s: s.login("alice"),
            lambda s: s.set_lifetime(persistent=True),
        ],
    )
    def test_no_new_token_can_be_given(self, site: Site, session: Session, change: Callable[[Session], object]) -> None:
        """W-4: the call says so, and nothing has changed."""
        with pytest.raises(HeadersAlreadySent, match="needs a new cookie"):
            change(session)
        assert not session.modified
        assert site.calls(lambda: site.manager.commit(session)) == []

    def test_changes_of_an_existing_session_are_stored(self, site: Site, session: Session) -> None:
        """Promise 8: a second commit, at the end of the response."""
        session["late"] = 1
        session["list"].append(2)
        session.set_lifetime(idle=600)
        key = session.id

        assert site.manager.commit(session) is None
        assert site.live() == [{**DATA, "list": [1, 2], "late": 1}]
        assert session.id == key
        assert session.expires_at == site.clock() + 600

    def test_changes_of_a_session_that_this_request_began_are_stored(self, site: Site) -> None:
        """Its cookie has gone out."""
        session = site.open()
        session["a"] = 1
        token = site.sent(session)
        session.announced = True
        session["late"] = 1

        assert site.manager.commit(session) is None
        assert site.data(token) == {"a": 1, "late": 1}

    def test_a_late_read_is_no_use_to_note(self, site: Site, session: Session) -> None:
        """The first commit has noted what there was to note."""
        site.clock.advance(600)

        assert session["a"] == 1
        assert site.calls(lambda: site.manager.commit(session)) == []

    def test_it_can_still_be_ended_at_once(self, site: Site, session: Session) -> None:
        """Promise 5: only the cookie stays; it opens nothing."""
        assert site.calls(session.invalidate) == ["load", "update"]
        assert site.live() == []
        with pytest.raises(HeadersAlreadySent):
            session["a"] = 1

    def test_an_end_that_the_store_refused_is_tried_again(self, site: Site, session: Session) -> None:
        """Promise 16: ending a session always ends it: when the request ends, at the latest."""
        site.store.fail()
        with pytest.raises(StoreUnavailable):
            session.invalidate()
        site.manager.commit(session)

        assert site.live() == []

    def test_writes_to_a_session_that_has_just_moved_are_dropped(self, site: Site) -> None:
        """Promise 5: the innocent request that lost its session gets its own response."""
        token = site.begin()
        site.request(token, Session.regenerate)
        session = site.loaded(token)
        session.announced = True
        session["a"] = 2

        assert site.manager.commit(session) is None
        assert site.live() == [DATA]


class TestLifetime:
    def test_timeouts_of_its_own_survive_reload_and_regenerate(self, site: Site) -> None:
        """Promise 12: per session, until they are set again."""
        token = site.begin()
        assert site.request(token, lambda s: s.set_lifetime(idle=timedelta(minutes=10), absolute=1800)) is None
        session = site.open(token)
        session.regenerate()
        token = site.sent(session)
        assert site.open(token).expires_at == site.clock() + 600
        for _ in range(3):
            site.clock.advance(599)
            site.request(token, setting("a", site.clock()))

        assert site.open(token).expires_at == site.open(token).created_at + 1800
        site.clock.advance(3)
        assert not site.is_alive(token)

    def test_there_may_be_no_idle_timeout(self, site: Site) -> None:
        """Promise 12: the absolute timeout still holds."""
        token = site.begin()
        site.request(token, lambda s: s.set_lifetime(idle=None))
        site.clock.advance(DAY - 1)
        assert site.is_alive(token)
        site.clock.advance(1)

        assert not site.is_alive(token)

    @pytest.mark.parametrize("name", ["idle", "absolute"])
    @pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "1", timedelta(0), 101 * 365 * DAY])
    def test_a_timeout_that_cannot_be_is_refused(self, site: Site, name: str, value: Any) -> None:
        """The error names it, and nothing has changed."""
        session = site.open(site.begin())

        with pytest.raises(ConfigurationError, match=f"{name}="):
            session.set_lifetime(**{name: value})
        assert not session.modified

    def test_there_is_always_an_absolute_timeout(self, site: Site) -> None:
        """A-7.3.2: it cannot be left out."""
        with pytest.raises(ConfigurationError, match="absolute=None"):
            site.open().set_lifetime(absolute=None)  # type: ignore[arg-type]

    def test_a_persistent_session_keeps_its_cookie_until_the_absolute_timeout(self, site: Site) -> None:
        """The browser learns of it with a new token, and again with each one."""
        token = site.begin()
        verdict = site.request(token, lambda s: s.set_lifetime(persistent=True, absolute=timedelta(days=30)))
        assert isinstance(verdict, Send)
        assert verdict.max_age == 30 * DAY
        site.clock.advance(100.5)
        verdict = site.request(verdict.token, Session.regenerate)

        assert isinstance(verdict, Send)
        assert verdict.max_age == 30 * DAY - 100
        assert not site.is_alive(token)

    def test_a_new_session_may_be_persistent_from_the_start(self, site: Site) -> None:
        """One cookie, with its Max-Age."""
        session = site.open()
        session.set_lifetime(persistent=True)
        session["a"] = 1
        verdict = site.manager.commit(session)

        assert isinstance(verdict, Send)
        assert verdict.max_age == DAY

    def test_a_session_that_is_persistent_no_more_gets_a_cookie_without_an_end(self, site: Site) -> None:
        """A browser-session cookie has no Max-Age."""
        session = site.open()
        session.set_lifetime(persistent=True)
        session["a"] = 1
        verdict = site.request(site.sent(session), lambda s: s.set_lifetime(persistent=False))

        assert isinstance(verdict, Send)
        assert verdict.max_age is None

    def test_only_what_the_cookie_shows_needs_a_new_one(self, site: Site) -> None:
        """The absolute timeout of a persistent session does; an idle timeout never does."""
        session = site.open()
        session.set_lifetime(persistent=True)
        session["a"] = 1
        token = site.sent(session)

        assert site.request(token, lambda s: s.set_lifetime(idle=60)) is None
        verdict = site.request(token, lambda s: s.set_lifetime(absolute=2 * DAY))
        assert isinstance(verdict, Send)
        assert verdict.max_age == 2 * DAY

    def test_a_session_may_be_set_to_end_now(self, site: Site) -> None:
        """Promise 12: a timeout that has already passed ends it."""
        token = site.begin()
        site.clock.advance(100)
        site.request(token, lambda s: s.set_lifetime(absolute=50))

        assert not site.is_alive(token)

    def test_new_sessions_have_the_lifetime_of_the_manager(self) -> None:
        """The default of the site."""
        site = Site(MemoryStore(), FakeClock(), lifetime=Lifetime(idle=None, absolute=100))
        token = site.begin()

        assert site.open(token).expires_at == site.clock() + 100
