"""The session as the application sees it: a mapping whose every change is kept, and what can be asked of it."""

from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from session_middleware import PayloadError, Send, Session, StoreUnavailable
from tests.sites import DATA, MADE_UP, Site, setting

HOUR = 3600


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
    "signed_in_at": lambda s: s.signed_in_at,
    "persistent": lambda s: s.persistent,
    "is_gone": lambda s: s.is_gone,
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


@pytest.mark.parametrize(
    "look", [repr, lambda session: session.modified, lambda session: session.tells, lambda session: session.state]
)
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
    session.regenerate()
    new = site.open()
    new["a"] = token.reveal()
    assert repr(new) == "<Session, new>"
    new.regenerate()
    assert token.reveal()[12:] not in repr(session) + repr(new)


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
        assert not session.tells
        assert session.state is None
        assert repr(session) == "<Session, not loaded>"
        assert site.calls(lambda: site.manager.commit(session)) == []
        assert site.manager.commit(session) is None


def regenerate_and_transact(session: Session) -> None:
    session.regenerate()
    session.transact(lambda data: data.update(a=1))


class TestProperties:
    def test_the_id_is_known_before_the_session_is_stored(self, site: Site) -> None:
        """It is the same before and after, and in the next request."""
        session = site.open()
        session["a"] = 1
        before = session.id
        token = site.sent(session)

        assert before == session.id == site.open(token).id == token.id

    def test_the_id_is_stable(self, site: Site) -> None:
        """Promise 17: the same from the first write to the end, whatever new secrets it gets, also within a request."""
        session = site.open()
        session["a"] = 1
        ids, token = [session.id], site.sent(session)
        acts: list[Callable[[Session], object]] = [
            setting("a", 2),
            Session.regenerate,
            lambda s: s.login("alice"),
            lambda s: s.login("alice"),
            lambda s: s.set_lifetime(persistent=True),
            lambda s: s.transact(lambda data: data.clear()),
            regenerate_and_transact,
        ]
        for act in acts:
            session = site.open(token)
            ids.append(session.id)
            act(session)
            ids.append(session.id)
            verdict = site.manager.commit(session)
            ids.append(session.id)
            token = verdict.token if isinstance(verdict, Send) else token

        assert set(ids) == {token.id}
        assert site.records() == [token.id]

    def test_the_id_opens_nothing(self, site: Site) -> None:
        """Promise 11: what logs and listings show is no cookie."""
        token = site.begin()
        guess = token.id + "A" * 28

        assert site.manager.open(token.id).is_new
        assert site.manager.open(guess).is_new
        assert site.is_alive(token)

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
        assert site.open(MADE_UP).is_new

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
        assert session.signed_in_at is None

    def test_a_sign_in_does_not_change_when_it_was_created(self, site: Site) -> None:
        """Two facts of one session: when it began, and when its user proved who they are."""
        created = site.clock()
        token = site.begin()
        site.clock.advance(100)
        session = site.open(site.follow(token, lambda s: s.login("alice")))

        assert (session.created_at, session.signed_in_at) == (created, created + 100)
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
