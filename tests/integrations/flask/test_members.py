"""``flask.session`` has and does what Flask documents: its members, its messages, and sessions that are permanent."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import flask
import pytest
from flask import Flask
from flask.sessions import SessionMixin
from flask.testing import FlaskClient
from markupsafe import Markup

from session_middleware import JSONCodec, Lifetime, MemoryStore, PayloadError, SessionMiddleware
from session_middleware.integrations.flask import FlaskSession, Sessions, session
from session_middleware.testing import FakeClock, FaultyStore
from tests.apps import visit
from tests.integrations.flask.serving import manager_of, serve, verbs

HOUR = 3600

# Every documented member of flask.session, and what it does in a request with {"a": 1} and in one without a cookie.
MEMBERS: dict[str, Callable[[Any], tuple[object, object, object]]] = {
    "__getitem__": lambda session: (session["a"], 1, None),
    "__setitem__": lambda session: (session.__setitem__("b", 2), None, {"a": 1, "b": 2}),
    "__delitem__": lambda session: (session.__delitem__("a"), None, {}),
    "__iter__": lambda session: (list(session), ["a"], None),
    "__len__": lambda session: (len(session), 1, None),
    "__contains__": lambda session: (("a" in session, "b" in session), (True, False), None),
    "__eq__": lambda session: ((session == {"a": 1}, session == {}), (True, False), None),
    "get": lambda session: ((session.get("a"), session.get("b"), session.get("b", 3)), (1, None, 3), None),
    "keys": lambda session: (list(session.keys()), ["a"], None),
    "items": lambda session: (list(session.items()), [("a", 1)], None),
    "values": lambda session: (list(session.values()), [1], None),
    "pop": lambda session: ((session.pop("a"), session.pop("b", 3)), (1, 3), {}),
    "popitem": lambda session: (session.popitem(), ("a", 1), {}),
    "clear": lambda session: (session.clear(), None, {}),
    "update": lambda session: (session.update({"b": 2}, c=3), None, {"a": 1, "b": 2, "c": 3}),
    "setdefault": lambda session: ((session.setdefault("a", 2), session.setdefault("b", 2)), (1, 2), {"a": 1, "b": 2}),
    "permanent": lambda session: (session.permanent, False, None),
    "new": lambda session: (session.new, False, None),
    "modified": lambda session: ((session.modified, session.update(a=2), session.modified), (False, None, True), {"a": 2}),
    "accessed": lambda session: ((session.get("a"), session.accessed), (1, True), None),
}


class TestMembers:
    def test_every_documented_member_is_here(self) -> None:
        """What Flask or ``MutableMapping`` adds fails this test until the table knows it."""
        special = {"__getitem__", "__setitem__", "__delitem__", "__iter__", "__len__", "__contains__", "__eq__"}
        assert {name for name in dir(SessionMixin) if not name.startswith("_")} | special == MEMBERS.keys()

    @pytest.mark.parametrize("name", MEMBERS)
    def test_it_does_what_flask_says(self, app: Flask, client: FlaskClient, kept: FaultyStore, name: str) -> None:
        """Also that it writes only what it changes: promise 2."""
        with client.session_transaction() as prepared:
            prepared["a"] = 1
        kept.calls.clear()
        seen = []
        serve(app, lambda: seen.append(MEMBERS[name](session)))

        assert client.get("/").headers.getlist("Vary") == ["Cookie"]
        ((result, expected, data),) = seen
        assert result == expected
        assert verbs(kept) == (["load"] if data is None else ["load", "update"])
        with client.session_transaction() as stored:
            assert dict(stored) == ({"a": 1} if data is None else data)

    def test_clear_signs_out(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """Promise 5: it is how applications sign out that have no extension for it, so nothing of the session is left."""
        serve(app, lambda: session.login("alice"))
        serve(app, lambda: session.clear(), "/out")
        client.get("/")
        cookie = client.get_cookie("session")
        assert cookie is not None
        client.get("/out")

        assert client.get_cookie("session") is None
        assert manager_of(app).open(cookie.value).is_new
        assert manager_of(app).sessions_of("alice") == []

    def test_values_come_back_as_they_were(self, app: Flask, client: FlaskClient) -> None:
        """Promise 9: what Flask's own tagged JSON keeps, and more; the types stay."""
        values = {"tuple": (1, b"2"), "time": timedelta(days=1), "set": {1}, "keys": {1: 2}, "none": None}
        with client.session_transaction() as stored:
            stored.update(values)

        with client.session_transaction() as stored:
            assert dict(stored) == values
            assert type(stored["tuple"]) is tuple

    def test_it_can_be_merged_in_place(self, client: FlaskClient) -> None:
        """A dict can, and Flask's own session is one."""
        with client.session_transaction() as stored:
            assert isinstance(stored, FlaskSession)
            stored |= {"a": 1}

        with client.session_transaction() as stored:
            assert dict(stored) == {"a": 1}

    def test_setting_modified_is_not_needed_and_does_no_harm(
        self, app: Flask, client: FlaskClient, kept: FaultyStore
    ) -> None:
        """Promise 2: an application that sets it out of habit writes nothing."""

        def view() -> None:
            session.modified = True

        serve(app, view)
        assert client.get("/").headers.get("Vary") is None
        assert kept.calls == []

    def test_naming_the_session_is_not_to_use_it(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """Promise 1: Flask sets ``accessed`` whenever someone names ``flask.session``, also in a template's context."""

        def view() -> str:
            assert flask.session is not None
            assert repr(session) == "<Session, not loaded>"
            assert session.accessed is False
            return flask.render_template_string("{% if false %}{{ session['a'] }}{% endif %}page")

        serve(app, view)
        with client.session_transaction() as stored:
            stored["a"] = 1
        kept.calls.clear()

        response = client.get("/")
        assert (response.text, response.headers.get("Vary"), response.headers.get("Set-Cookie")) == ("page", None, None)
        assert kept.calls == []

    def test_what_a_session_has_on_top(self, app: Flask, client: FlaskClient, clock: FakeClock) -> None:
        """All that the README shows of a session is there; ``sid`` is Flask-Session's name of the id."""
        serve(app, lambda: session.login("alice"))
        serve(app, lambda: {"id": session.id}, "/id")
        client.get("/")
        with client:
            answered = client.get("/id").json
            assert answered == {"id": session.id} == {"id": session.sid}
            assert (session.user_id, session.is_new, session.created_at) == ("alice", False, clock())
            assert session.transact(lambda data: data.setdefault("n", 1)) == 1
        assert [info.data for info in manager_of(app).sessions_of("alice")] == [{"n": 1}]

    def test_the_token_is_not_shown(self, app: Flask, client: FlaskClient) -> None:
        """Promise 11: not by repr(), nor by the debugger that uses it."""
        with client.session_transaction() as stored:
            stored["a"] = "secret"
            assert "secret" not in repr(stored)
        cookie = client.get_cookie("session")
        assert cookie is not None
        with client.session_transaction() as stored:
            assert stored["a"]
            assert cookie.value not in repr(stored)
            assert "secret" not in repr(stored)

    def test_it_does_not_pretend_to_have_anything(self, client: FlaskClient) -> None:
        """Attributes that a Session lacks are missing here, too."""
        with client.session_transaction() as stored, pytest.raises(AttributeError, match="no_such_thing"):
            stored.no_such_thing  # type: ignore[attr-defined]  # noqa: B018
        with pytest.raises(AttributeError, match="underlying"):
            FlaskSession.__new__(FlaskSession).id  # noqa: B018


class TestPermanent:
    def test_the_cookie_outlives_the_browser(self, app: Flask, client: FlaskClient) -> None:
        """Flask: ``PERMANENT_SESSION_LIFETIME``, 31 days by default."""
        with client.session_transaction() as stored:
            stored["a"] = 1
            stored.permanent = True
            assert stored.permanent

        cookie = client.get_cookie("session")
        assert cookie is not None
        assert cookie.max_age == 31 * 24 * HOUR
        with client.session_transaction() as stored:
            assert stored.permanent

    @pytest.mark.parametrize(("minutes", "lives"), [(4, True), (6, False)])
    def test_the_common_recipe_ends_what_is_not_used(
        self, app: Flask, client: FlaskClient, clock: FakeClock, minutes: int, lives: bool
    ) -> None:
        """The lifetime counts from the last use, as with Flask's own session; promise 12."""

        @app.before_request
        def make_session_permanent() -> None:
            session.permanent = True
            app.permanent_session_lifetime = timedelta(minutes=5)

        serve(app, lambda: {"a": session.setdefault("a", clock())})
        first = client.get("/").json
        for _ in range(5):
            clock.advance(minutes * 60)
            last = client.get("/").json
        assert (first == last) is lives

    def test_it_ends_after_the_longer_of_the_two(self, app: Flask, client: FlaskClient, clock: FakeClock) -> None:
        """Promise 12: used or not, the absolute timeout holds."""
        app.permanent_session_lifetime = timedelta(days=2)
        with client.session_transaction() as stored:
            stored["a"], stored.permanent = 1, True
        for _ in range(3):
            clock.advance(15 * HOUR)
            with client.session_transaction() as stored:
                assert stored["a"] == 1
        clock.advance(3 * HOUR)
        with client.session_transaction() as stored:
            assert dict(stored) == {}

    def test_saying_it_again_changes_nothing(self, client: FlaskClient, kept: FaultyStore) -> None:
        """Promise 2: the recipe says it at each request; no write, no cookie."""
        with client.session_transaction() as stored:
            stored["a"], stored.permanent = 1, True
        kept.calls.clear()

        with client.session_transaction() as stored:
            stored.permanent = True
        assert verbs(kept) == ["load"]

    def test_it_can_be_taken_back(self, app: Flask, client: FlaskClient, clock: FakeClock) -> None:
        """The timeouts of the options hold again, and the cookie, which is sent again as it was, ends with the browser."""
        with client.session_transaction() as stored:
            stored["a"], stored.permanent = 1, True
        before = client.get_cookie("session")
        with client.session_transaction() as stored:
            stored.permanent = False
        cookie = client.get_cookie("session")
        assert cookie is not None
        assert before is not None
        assert (cookie.max_age, cookie.value) == (None, before.value)

        with client.session_transaction() as stored:
            assert (stored.permanent, stored["a"]) == (False, 1)
        clock.advance(HOUR)
        with client.session_transaction() as stored:
            assert dict(stored) == {}

    def test_the_usual_timeouts_are_those_of_the_middleware_around_it(self, app: Flask, clock: FakeClock) -> None:
        """Whoever keeps the session says what is usual."""
        outer = SessionMiddleware(app, MemoryStore(), lifetime=Lifetime(idle=60, absolute=120), clock=clock)

        def view() -> None:
            session["a"] = 1
            session.permanent = "permanent" in flask.request.args

        serve(app, view)
        first = visit(outer, QUERY_STRING="permanent")
        second = visit(outer, cookie=first.cookie)
        assert outer.manager.open(second.token).expires_at == clock() + 60

    def test_a_visitor_without_data_gets_no_cookie(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """Promise 2: to be permanent is no data."""

        def view() -> None:
            session.permanent = False
            session.permanent = True

        serve(app, view)
        assert client.get("/").headers.get("Set-Cookie") is None
        assert kept.calls == []


class TestMessages:
    def test_a_message_can_be_read_before_it_is_shown(self, app: Flask, client: FlaskClient) -> None:
        """As test suites do it; and what is added to it after that is added, with Markup and without."""
        serve(app, lambda: flask.flash("plain"))
        serve(app, lambda: flask.flash(Markup("<b>")), "/markup")
        client.get("/")
        with client.session_transaction() as stored:
            assert dict(stored["_flashes"]) == {"message": "plain"}
            stored["_flashes"].append(("message", "appended"))
        client.get("/markup")
        for _ in range(2):
            with client.session_transaction() as stored:
                assert stored["_flashes"] == [("message", "plain"), ("message", "appended"), ("message", Markup("<b>"))]
                assert [type(text) for _, text in stored["_flashes"]] == [str, str, Markup]
        with client.session_transaction() as stored:
            (key, flashes) = stored.popitem()
            assert (key, type(flashes[2][1])) == ("_flashes", Markup)

    def test_messages_may_be_set_with_other_keys(self, client: FlaskClient) -> None:
        """With ``update()``; Markup stays what it is."""
        with client.session_transaction() as stored:
            stored.update({"cart": ["tea"], "_flashes": [("message", Markup("<b>"))]})
        with client.session_transaction() as stored:
            assert (stored["cart"], type(stored["_flashes"][0][1])) == (["tea"], Markup)

    @pytest.mark.parametrize("text", [{"markup": "<b>"}, ("x", "<b>", "markup"), ["x", "<b>", "markup"], "markup"])
    def test_nothing_becomes_markup_that_was_none(self, app: Flask, client: FlaskClient, text: Any) -> None:
        """Whatever a visitor gets into a message is escaped."""

        def view() -> None:
            flask.flash(text, text)

        serve(app, view)
        serve(app, lambda: flask.render_template_string("{{ get_flashed_messages()[0] }}"), "/show")
        client.get("/")
        assert "<b>" not in client.get("/show").text

    @pytest.mark.parametrize("value", [None, 1, "abc", [1], ["abc"], {"a": 1}, [("message", "text", "other")]])
    def test_the_key_holds_what_is_put_there(self, client: FlaskClient, value: Any) -> None:
        """Promise 9: it is a key like any."""
        with client.session_transaction() as stored:
            stored["_flashes"] = value
        with client.session_transaction() as stored:
            assert stored["_flashes"] == value

    def test_json_says_that_it_cannot_keep_the_pairs(self) -> None:
        """Promise 9: refused by its path, and not changed."""
        app = Flask(__name__)
        app.testing = True
        Sessions(app, MemoryStore(), codec=JSONCodec())
        serve(app, lambda: flask.flash("text"))
        with pytest.raises(PayloadError, match=r"session\['_flashes'\]\[0\]: tuple"):
            app.test_client().get("/")
