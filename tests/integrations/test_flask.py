"""``flask.session`` is our session: through Flask's test client, through WebTest and through gunicorn."""

import inspect
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib import reload
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import flask
import flask_session
import flask_wtf
import pytest
from cachelib import SimpleCache
from flask import Flask, Response
from flask.sessions import SessionInterface, SessionMixin
from flask.testing import FlaskClient
from markupsafe import Markup
from webtest import TestApp
from werkzeug.middleware.proxy_fix import ProxyFix

import session_middleware.integrations.flask
from session_middleware import (
    ConfigurationError,
    CookiePolicy,
    HeadersAlreadySent,
    JSONCodec,
    Lifetime,
    MemoryStore,
    PayloadError,
    SessionManager,
    SessionMiddleware,
    SessionTooLarge,
    StoreUnavailable,
    get_session,
)
from session_middleware.integrations.flask import FlaskSession, FlaskSessions, Sessions, session
from session_middleware.testing import FakeClock, FaultyStore
from tests.apps import visit
from tests.browser import Answer, Browser, Transport, in_process, over_http
from tests.integrations import flask_site
from tests.servers.gunicorn import Gunicorn

HOUR = 3600


def over_test_client(app: Flask) -> Transport:
    def send(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        client = app.test_client(use_cookies=False)
        response = client.open(path, method=method, headers=dict(headers), data=body, buffered=True)
        return Answer(response.status_code, list(response.headers), response.data)

    return send


@pytest.fixture(params=["test client", "WebTest", "gunicorn"], scope="module")
def transport(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transport]:
    """The site, in its three ways."""
    directory = tmp_path_factory.mktemp("flask")
    if request.param == "gunicorn":
        arguments = ("--worker-class", "gthread", "--workers", "2", "--threads", "8")
        with Gunicorn("tests.integrations.flask_site:make()", *arguments, cwd=directory) as server:
            yield over_http(server.url)
        return
    app = flask_site.make(f"sqlite:///{directory / flask_site.DATABASE}")
    if request.param == "test client":
        yield over_test_client(app)
    else:
        middleware = app.extensions["session_middleware"]
        middleware.app = validator(middleware.app)
        yield in_process(validator(app))
    app.extensions["session_middleware"].manager.store.close()


@pytest.fixture
def browser(transport: Transport) -> Browser:
    return Browser(transport)


def answer(browser: Browser, path: str, method: str = "GET") -> Any:
    return flask.json.loads(browser.send(method, path).text)


class TestEveryWay:
    def test_signing_in_is_a_boundary(self, browser: Browser) -> None:
        """Promise 18: ``login_user`` gives a new secret, the user is recorded, and what the visitor had is kept; the token
        from before has no part in any of it."""
        answer(browser, "/append")
        before = browser.token
        assert before is not None

        assert answer(browser, "/sign-in?id=1")["user"] == "1"
        after = answer(browser, "/show")
        assert (after["user"], after["name"], after["data"]["cart"]) == ("1", "alice", {"items": ["tea"]})
        token = browser.token
        assert token not in (before, None)
        browser.token = before
        shown = answer(browser, "/show")
        assert (shown["user"], shown["name"], shown["data"].keys() <= {"cart"}) == (None, None, True)
        answer(browser, "/put?key=b&value=2")
        assert token is not None
        browser.token = token
        assert "b" not in answer(browser, "/show")["data"]

    def test_signing_out_ends_the_session(self, browser: Browser) -> None:
        """Promise 5: after ``logout_user`` the old token opens nothing; messages, unseen ones and the next, are in a new
        session."""
        answer(browser, "/append")
        answer(browser, "/sign-in?id=1")
        before = browser.token
        assert before is not None

        assert browser.get("/sign-out").status == 302
        assert browser.token not in (before, None)
        assert answer(browser, "/messages") == {"messages": [["message", "welcome"], ["message", "good bye"]]}
        assert answer(browser, "/show") == {"data": {}, "user": None, "name": None}
        browser.token = before
        assert answer(browser, "/show") == {"data": {}, "user": None, "name": None}

    def test_another_user_finds_nothing_of_the_first(self, browser: Browser) -> None:
        """Design, "Lifetimes": without a sign-out between, the data of the other user are dropped."""
        answer(browser, "/sign-in?id=1")
        answer(browser, "/append")
        answer(browser, "/sign-in?id=2")

        shown = answer(browser, "/show")
        assert (shown["user"], shown["name"], "cart" in shown["data"]) == ("2", "bob", False)

    def test_parallel_requests_keep_each_others_changes(self, transport: Transport) -> None:
        """Promise 3: 8 at a time, 40 keys written in parallel, 40 there."""
        browser = Browser(transport)
        answer(browser, "/put?key=first&value=0")
        assert browser.token is not None

        def write(number: int) -> int:
            one = Browser(transport)
            one.cookies = dict(browser.cookies)
            return one.get(f"/put?key=k{number}&value={number}&hold=5").status

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(write, range(40))) == [200] * 40
        assert answer(browser, "/show")["data"].keys() == {"first", *(f"k{number}" for number in range(40))}

    def test_nested_changes_are_saved(self, browser: Browser) -> None:
        """Promise 8: with no ``session.modified``."""
        for _ in range(3):
            answer(browser, "/append")

        assert answer(browser, "/show")["data"] == {"cart": {"items": ["tea"] * 3}}

    def test_messages_appear_once_and_markup_stays_markup(self, browser: Browser) -> None:
        """Promise 9: what is no Markup is escaped by the template, what is one is not."""
        answer(browser, "/say")

        assert answer(browser, "/messages") == {"messages": [["message", "<b>saved</b>"], ["error", "&lt;i&gt;"]]}
        assert answer(browser, "/messages") == {"messages": []}

    def test_a_stream_reads_and_changes_the_session(self, browser: Browser) -> None:
        """Design, "Commit": what it changes is stored when it ends, which may be after the client has seen the end."""
        answer(browser, "/append")

        assert answer(browser, "/stream?late=1") == ["before", "cart"]
        deadline = time.monotonic() + 10
        while "late" not in (data := answer(browser, "/show")["data"]) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert data.keys() == {"before", "cart", "late"}

    def test_an_error_page_loses_nothing(self, browser: Browser) -> None:
        """Promise 16: a 500 changes nothing, and what was there before it is there after it."""
        answer(browser, "/append")

        assert browser.get("/fail").status == 500
        assert answer(browser, "/show")["data"] == {"cart": {"items": ["tea"]}}

    def test_a_session_that_is_read_is_not_announced(self, browser: Browser) -> None:
        """Promise 2: no Set-Cookie; the response depends on the cookie, and says so."""
        read = browser.get("/messages")
        assert (read.all("Set-Cookie"), read.all("Vary")) == ([], ["Cookie"])


# In process, each with an application of its own.


@pytest.fixture
def kept() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def app(kept: FaultyStore, clock: FakeClock) -> Flask:
    app = Flask(__name__)
    Sessions(app, kept, clock=clock)
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def manager_of(app: Flask) -> SessionManager:
    manager: SessionManager = app.extensions["session_middleware"].manager
    return manager


def serve(app: Flask, view: Callable[[], Any], path: str = "/") -> None:
    app.add_url_rule(path, f"{view.__name__}{len(app.view_functions)}", lambda: view() or "", methods=["GET", "POST"])


def verbs(store: FaultyStore) -> list[str]:
    return [verb for verb, _ in store.calls if verb != "sweep"]


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


class TestTransactions:
    """``client.session_transaction()`` opens and stores by itself, by the rules of the middleware."""

    def test_it_puts_the_cookie_into_the_jar(self, app: Flask, client: FlaskClient) -> None:
        """With the attributes that the middleware would give it."""
        serve(app, lambda: {"a": session["a"]})
        with client.session_transaction() as stored:
            stored["a"] = 1

        cookie = client.get_cookie("session")
        assert cookie is not None
        assert (cookie.http_only, cookie.same_site, cookie.path, cookie.secure) == (True, "Lax", "/", False)
        assert client.get("/").json == {"a": 1}

    def test_reading_stores_nothing(self, client: FlaskClient, kept: FaultyStore) -> None:
        """Promise 2: no record, no cookie."""
        with client.session_transaction() as stored:
            assert "a" not in stored
        assert client.get_cookie("session") is None
        assert kept.calls == []

    def test_it_changes_what_a_request_has_stored(self, app: Flask, client: FlaskClient) -> None:
        """The same session, the same token."""
        serve(app, lambda: session.setdefault("cart", []).append("tea"))
        client.get("/")
        before = client.get_cookie("session")
        with client.session_transaction() as stored:
            stored["cart"].append("coffee")
        client.get("/")

        assert client.get_cookie("session") == before
        with client.session_transaction() as stored:
            assert stored["cart"] == ["tea", "coffee", "tea"]

    def test_it_regenerates_and_ends(self, app: Flask, client: FlaskClient) -> None:
        """Promises 5 and 11: in the jar, too."""
        with client.session_transaction() as stored:
            stored["a"] = 1
        before = client.get_cookie("session")
        with client.session_transaction() as stored:
            app.session_interface.regenerate(stored)  # type: ignore[attr-defined]  # as Flask-Session has it
        assert client.get_cookie("session") not in (before, None)
        with client.session_transaction() as stored:
            assert stored["a"] == 1
            assert isinstance(stored, FlaskSession)
            stored.invalidate()
        assert client.get_cookie("session") is None

    def test_by_https_the_cookie_is_that_of_https(self, app: Flask, client: FlaskClient) -> None:
        """Design, "Cookie": Secure and ``__Host-``; a later transaction finds it without being told."""
        serve(app, lambda: {"a": session["a"]})
        with client.session_transaction(base_url="https://localhost") as stored:
            stored["a"] = 1
        cookie = client.get_cookie("__Host-session")
        assert cookie is not None
        assert cookie.secure

        assert client.get("/", base_url="https://localhost").json == {"a": 1}
        with client.session_transaction() as stored:
            stored["a"] = 2
        assert client.get("/", base_url="https://localhost").json == {"a": 2}

    def test_a_failure_of_the_store_is_the_tests_to_see(self, client: FlaskClient, kept: FaultyStore) -> None:
        """Promise 7: it is raised."""
        kept.fail("create")
        with pytest.raises(StoreUnavailable), client.session_transaction() as stored:
            stored["a"] = 1
        assert client.get_cookie("session") is None

    def test_a_request_context_has_a_session(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """``test_request_context()``: what it is used for is not stored, as with Flask's own session."""
        with client.session_transaction() as stored:
            stored["a"] = 1
        cookie = client.get_cookie("session")
        assert cookie is not None
        kept.calls.clear()

        with app.test_request_context(headers={"Cookie": f"session={cookie.value}"}):
            assert session["a"] == 1
            session["a"] = 2
            session.login("alice")  # asks for the mark of the user
        assert verbs(kept) == ["load", "load"]

    def test_a_with_block_reads_the_session_of_the_request(self, app: Flask, client: FlaskClient) -> None:
        """Flask, "Testing": also when it is new, and when the view has not used it."""
        serve(app, lambda: session.update(a=1))
        serve(app, lambda: None, "/untouched")
        with client:
            client.get("/")
            assert session["a"] == 1
            client.get("/untouched")
            assert session["a"] == 1
            with pytest.raises(HeadersAlreadySent):
                session.regenerate()


class TestUnwrapped:
    """An application that is served without the middleware, as when ``wsgi_app`` has been put back."""

    @pytest.fixture
    def client(self, app: Flask) -> FlaskClient:
        app.wsgi_app = app.extensions["session_middleware"].app  # type: ignore[method-assign]
        return app.test_client()

    def test_sessions_are_kept(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """The same cookie, the same headers, the same number of calls."""
        serve(app, lambda: session.setdefault("cart", []).append("tea"))
        serve(app, lambda: None, "/untouched")
        serve(app, lambda: {"cart": session["cart"]}, "/cart")
        first = client.get("/")
        (cookie,) = first.headers.getlist("Set-Cookie")

        name, *attributes = cookie.split("; ")
        assert name.startswith("session=")
        assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Lax"]
        assert first.headers.getlist("Vary") == ["Cookie"]
        assert first.headers["Cache-Control"] == "private, no-store"
        kept.calls.clear()
        assert client.get("/untouched").headers.getlist("Vary") == []
        assert kept.calls == []
        second = client.get("/cart")
        assert (second.json, second.headers.getlist("Set-Cookie")) == ({"cart": ["tea"]}, [])
        assert verbs(kept) == ["load"]

    def test_a_stream_is_stored_when_it_ends(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """Design, "Commit": and a failure then is a line in the log, and no error."""
        serve(app, lambda: session.update(a=1))

        def stream() -> Response:
            def blocks() -> Iterator[str]:
                yield "block"
                session["late"] = True

            return Response(flask.stream_with_context(blocks()))

        serve(app, stream, "/stream")
        client.get("/")
        client.get("/stream", buffered=True)
        with client.session_transaction() as stored:
            assert dict(stored) == {"a": 1, "late": True}
            stored.pop("late")
        kept.fail("update")
        client.get("/stream", buffered=True)
        with client.session_transaction() as stored:
            assert dict(stored) == {"a": 1}

    def test_a_response_may_be_processed_again(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """As tests do, and as Flask does when a hook fails: what was changed since is stored, and no second cookie sent."""
        with app.test_request_context():
            session["a"] = 1
            response = app.process_response(Response())
            session["b"] = 2
            again = app.process_response(Response())
            response.close()
        assert len(response.headers.getlist("Set-Cookie")) == 1
        assert again.headers.getlist("Set-Cookie") == []
        assert verbs(kept) == ["create", "load", "update"]

    def test_a_failed_request_changes_nothing(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """Promises 6 and 16: by itself or because the store fails; no cookie, and nothing of the page."""

        def fail() -> None:
            session["a"] = 1
            raise RuntimeError("on purpose")

        serve(app, fail)
        serve(app, lambda: session.update(a=1) or "page", "/page")
        failed = client.get("/")
        assert (failed.status_code, failed.headers.getlist("Set-Cookie"), kept.calls) == (500, [], [])
        kept.fail("create")
        failed = client.get("/page")
        assert (failed.status_code, failed.headers.getlist("Set-Cookie")) == (500, [])
        assert "page" not in failed.text


class TestSecrets:
    """The session and its id stay while the token in the cookie changes."""

    @pytest.fixture
    def app(self, app: Flask) -> Flask:
        serve(app, lambda: {"id": session.id, "user": session.user_id, "data": dict(session)}, "/show")
        serve(app, lambda: session.update(flask.request.args.to_dict()), "/put")
        serve(app, lambda: session.regenerate(), "/regenerate")
        serve(app, lambda: session.login("alice"), "/login")
        serve(app, lambda: session.login("alice", keep=("a",)), "/login-keep")
        return app

    @pytest.fixture(params=["served", "unwrapped"], autouse=True)
    def way(self, request: pytest.FixtureRequest, app: Flask) -> None:
        """With the middleware, and as Flask alone opens and stores its sessions."""
        if request.param == "unwrapped":
            app.wsgi_app = app.extensions["session_middleware"].app  # type: ignore[method-assign]

    @staticmethod
    def visit(app: Flask, path: str, token: str | None = None) -> tuple[Any, str | None]:
        """Make a request; return the JSON of the response, and the token that it sets."""
        client = app.test_client(use_cookies=False)
        response = client.get(path, headers={} if token is None else {"Cookie": f"session={token}"})
        assert response.status_code == 200
        cookies = response.headers.getlist("Set-Cookie")
        return response.json if response.is_json else None, cookies[0].partition(";")[0][8:] if cookies else None

    def begin(self, app: Flask, path: str = "/put?a=1") -> str:
        token = self.visit(app, path)[1]
        assert token is not None
        return token

    def follow(self, app: Flask, path: str, token: str) -> str:
        fresh = self.visit(app, path, token)[1]
        assert fresh is not None
        return fresh

    def test_the_id_is_stable(self, app: Flask) -> None:
        """Promise 17: through ``regenerate()`` and sign-in, ``sid`` included."""
        tokens = [self.begin(app)]
        for path in ("/regenerate", "/login", "/regenerate", "/login"):
            tokens.append(self.follow(app, path, tokens[-1]))
        shown, _ = self.visit(app, "/show", tokens[-1])
        assert shown == {"id": tokens[0][:12], "user": "alice", "data": {"a": "1"}}
        assert ({token[:12] for token in tokens}, len(set(tokens))) == ({shown["id"]}, 5)

    def test_a_token_from_before_a_sign_in_reads_what_was_there_for_ten_seconds(self, app: Flask, clock: FakeClock) -> None:
        """Design, "Secrets": what it writes is dropped; afterwards it is as an unknown one."""
        before = self.begin(app)
        after = self.follow(app, "/login", before)
        for _ in range(2):
            clock.advance(4.9)
            shown, _ = self.visit(app, "/show", before)
            assert (shown["user"], shown["data"]) == (None, {"a": "1"})
            assert self.visit(app, "/put?b=2", before) == (None, None)
        clock.advance(0.2)
        shown, _ = self.visit(app, "/show", before)
        assert (shown["user"], shown["data"]) == (None, {})
        another = self.follow(app, "/put?b=2", before)
        assert another[:12] != before[:12]
        assert self.visit(app, "/show", after)[0] == {"id": before[:12], "user": "alice", "data": {"a": "1"}}

    def test_a_double_click_signs_in_whichever_answer_is_kept(self, app: Flask) -> None:
        """Promise 20: both have a secret of the same session."""
        before = self.begin(app)
        for after in [self.follow(app, "/login", before) for _ in range(2)]:
            assert self.visit(app, "/show", after)[0] == {"id": before[:12], "user": "alice", "data": {"a": "1"}}

    def test_only_what_is_to_be_kept_goes_on(self, app: Flask) -> None:
        """``login(user, keep=...)``, as everywhere."""
        before = self.begin(app, "/put?a=1&b=2")
        after = self.follow(app, "/login-keep", before)
        assert self.visit(app, "/show", after)[0]["data"] == {"a": "1"}

    def test_a_sign_in_is_ended_by_a_sign_out_everywhere_from_before_the_password_was_checked(self, app: Flask) -> None:
        """Promise 19: with ``login(user, mark=...)``."""
        manager = manager_of(app)

        def sign_in() -> None:
            mark = manager.mark_of("alice")
            manager.revoke_all("alice")
            session.login("alice", mark=mark)

        serve(app, sign_in, "/slow")
        assert self.visit(app, "/slow", self.begin(app)) == (None, None)
        assert manager.sessions_of("alice") == []

    def test_a_session_that_is_listed_can_be_ended_while_it_gets_a_new_secret(self, app: Flask) -> None:
        """Promises 17 and 19: in the middle of the request that regenerates."""
        manager = manager_of(app)

        def regenerate() -> None:
            session.regenerate()
            (listed,) = manager.sessions_of("alice")
            assert manager.revoke(listed.id)

        serve(app, regenerate, "/ended")
        token = self.follow(app, "/login", self.begin(app))
        assert self.visit(app, "/ended", token) == (None, None)
        shown, _ = self.visit(app, "/show", token)
        assert (shown["user"], shown["data"], manager.sessions_of("alice")) == (None, {}, [])


def regenerates() -> None:
    session["a"] = object()
    session.regenerate()


class TestErrors:
    def test_a_failed_request_changes_nothing(self, app: Flask, client: FlaskClient) -> None:
        """Promise 16: with a handler of the application's own, too, but a 404 is no failure."""
        app.register_error_handler(ZeroDivisionError, lambda error: ("sorry", 500))
        app.register_error_handler(404, lambda error: (str(session.setdefault("missed", 1)), 404))

        def divide() -> None:
            session["a"] = 1 / (1 - session.setdefault("b", 1))

        serve(app, divide)
        assert (client.get("/").text, client.get("/").headers.get("Set-Cookie")) == ("sorry", None)
        assert client.get("/nowhere").status_code == 404
        with client.session_transaction() as stored:
            assert dict(stored) == {"missed": 1}

    def test_a_failed_store_is_a_503(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """Promise 6: also where Flask has made an error page of it."""
        serve(app, lambda: session.update(a=1) or "page")
        serve(app, lambda: session.get("a") or "page", "/read")
        kept.fail("create")
        assert client.get("/").status_code == 503
        client.get("/")
        kept.fail("load")
        failed = client.get("/read")
        assert (failed.status_code, failed.headers["Retry-After"], "page" in failed.text) == (503, "5", False)

    @pytest.mark.parametrize(
        ("change", "verb", "cause", "status"),
        [
            (lambda: session.update(a=object()), None, PayloadError, 500),
            (lambda: session.update(a="x" * 300_000), None, SessionTooLarge, 500),
            (lambda: session.update(a=1), "update", StoreUnavailable, 503),
            (regenerates, None, PayloadError, 500),
        ],
    )
    def test_flask_handles_what_keeps_a_session_from_being_stored(
        self,
        app: Flask,
        client: FlaskClient,
        kept: FaultyStore,
        change: Callable[[], Any],
        verb: str | None,
        cause: type[Exception],
        status: int,
    ) -> None:
        """As with Flask's own sessions: the handler of 500 makes the page, and the signal, for Sentry, is sent once."""
        seen: list[Any] = []

        @app.errorhandler(500)
        def sorry(error: Any) -> tuple[str, int]:
            seen.append(error.original_exception)
            return "sorry", 500

        serve(app, lambda: session.update(b=1))
        serve(app, lambda: change() or "page", "/change")
        client.get("/")
        if verb:
            kept.fail(verb)

        def received(_: object, exception: Exception, **__: object) -> None:
            seen.append(exception)

        with flask.got_request_exception.connected_to(received, app):
            answer = client.get("/change")
        kept.heal()
        assert [type(error) for error in seen] == [cause, cause]
        assert (answer.status_code, "page" in answer.text, answer.headers.get("Set-Cookie")) == (status, False, None)
        assert status == 503 or answer.text == "sorry"
        with client.session_transaction() as stored:
            assert dict(stored) == {"b": 1}

    def test_a_sign_in_that_fails_after_the_view_changes_nothing(self, app: Flask, client: FlaskClient) -> None:
        """Promise 16: the new secret is stored when its cookie leaves, or the browser would be signed out."""
        serve(app, lambda: session.update(a=1))
        serve(app, lambda: session.login("alice"), "/sign-in")
        serve(app, lambda: dict(session), "/show")
        fails = [True]

        @app.teardown_request
        def teardown(error: BaseException | None) -> None:
            if fails and "sign-in" in flask.request.path:
                raise RuntimeError("on purpose")

        client.get("/")

        with pytest.raises(RuntimeError, match="on purpose"):
            client.get("/sign-in")
        fails.clear()
        assert client.get("/show").json == {"a": 1}
        manager = app.extensions["session_middleware"].manager
        assert manager.sessions_of("alice") == []

    def test_the_page_of_the_application_is_sent_where_it_says_that_it_is_unavailable(
        self, app: Flask, client: FlaskClient, kept: FaultyStore
    ) -> None:
        """Design, "When the store fails": whoever handles it answers, here to what came up after the view."""
        app.register_error_handler(500, lambda error: ("our own page", 503))
        serve(app, lambda: session.update(a=1))
        kept.fail("create")

        answer = client.get("/")
        assert (answer.status_code, answer.text, answer.headers.get("Set-Cookie")) == (503, "our own page", None)

    def test_a_session_is_stored_once_and_told_once(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """Design, "Commit": that Flask hears of errors costs no second write, and the cookie comes with the response."""

        def more() -> None:
            session.setdefault("list", []).append(1)

        def sign_in() -> None:
            more()
            session.login("alice")

        serve(app, sign_in)
        serve(app, more, "/more")
        assert len(client.get("/").headers.getlist("Set-Cookie")) == 1
        assert verbs(kept) == ["load", "create", "load"]  # the first and the last look at the user's mark
        kept.calls.clear()
        assert "Set-Cookie" not in client.get("/more").headers
        assert verbs(kept) == ["load", "update"]

    def test_what_cannot_be_sent_is_found_before_anything_is_stored(
        self, app: Flask, client: FlaskClient, kept: FaultyStore
    ) -> None:
        """Promise 6: the browser would never learn of the session."""

        @app.after_request
        def unsendable(response: Response) -> Response:
            response.status = "200 a\0b"
            return response

        serve(app, lambda: session.update(a=1))
        with pytest.raises(ValueError, match="cannot be sent"):
            client.get("/", buffered=True)
        assert "create" not in verbs(kept)

    def test_what_a_stream_has_changed_is_left_to_the_middleware(
        self, app: Flask, client: FlaskClient, kept: FaultyStore
    ) -> None:
        """Promise 16: a stream that fails at its beginning is a failed request, and changes nothing."""

        def stream() -> Response:
            session["a"] = 1

            def blocks() -> Iterator[str]:
                yield str(1 / (1 - len(session)))

            return Response(flask.stream_with_context(blocks()))

        serve(app, stream)
        with pytest.raises(ZeroDivisionError):
            client.get("/")
        assert "create" not in verbs(kept)

    def test_a_teardown_function_can_use_the_session(self, app: Flask, client: FlaskClient) -> None:
        """It runs before the response starts, so what it writes is stored."""
        app.teardown_request(lambda error: session.update(torn_down=True))
        serve(app, lambda: None)
        client.get("/")

        with client.session_transaction() as stored:
            assert dict(stored) == {"torn_down": True}

    def test_a_hook_that_needs_a_cookie_too_late_is_told(self, app: Flask) -> None:
        """Design, "Commit": a first write while the response is being sent."""

        def stream() -> Response:
            def blocks() -> Iterator[str]:
                yield "block"
                session["a"] = 1

            return Response(flask.stream_with_context(blocks()))

        serve(app, stream)
        with pytest.raises(HeadersAlreadySent):
            assert app.test_client().get("/").text


class TestSetup:
    def test_it_is_one_line_either_way(self, kept: FaultyStore) -> None:
        """``Sessions(app, store)`` and ``Sessions(store=...).init_app(app)`` and ``Sessions().init_app(app, store)``."""
        apps = [Flask(__name__) for _ in range(3)]
        Sessions(apps[0], kept)
        Sessions(store=kept).init_app(apps[1])
        Sessions().init_app(apps[2], kept)
        for app in apps:
            assert manager_of(app).store is kept
            assert isinstance(app.wsgi_app, SessionMiddleware)
            assert isinstance(app.session_interface, FlaskSessions)

    def test_without_a_store_it_is_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """``./sessions.sqlite3``; ``None`` is no store, for it comes of a setting that is missing."""
        monkeypatch.chdir(tmp_path)
        app = Flask(__name__)
        with pytest.raises(ConfigurationError, match="store=None: write a URL"):
            Sessions(Flask(__name__), None)  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []
        Sessions(app)
        with app.test_client().session_transaction() as stored:
            stored["a"] = 1
        assert (tmp_path / "sessions.sqlite3").exists()
        manager_of(app).store.close()  # type: ignore[attr-defined]

    def test_the_options_are_those_of_the_middleware(self) -> None:
        """None is missing, none is made up, and the defaults are the same."""
        theirs = dict(inspect.signature(SessionMiddleware).parameters)
        for method, ours in [
            ("Sessions", inspect.signature(Sessions).parameters),
            ("init_app", inspect.signature(Sessions().init_app).parameters),
        ]:
            assert list(ours) == list(theirs)
            for name in set(ours) - {"app", "store", "cookie"}:
                assert ours[name].default == (theirs[name].default if method == "Sessions" else None)

    def test_each_application_may_have_options_of_its_own(self, kept: FaultyStore, clock: FakeClock) -> None:
        """What ``init_app`` is not given is as it was given to the constructor."""
        usual, special = Lifetime(idle=60), Lifetime(idle=5)
        sessions = Sessions(store=kept, lifetime=usual, clock=clock, cookie=CookiePolicy(name="sid"))
        one, other = Flask("one"), Flask("other")
        sessions.init_app(one)
        options: dict[str, Any] = {"max_bytes": 2048, "codec": JSONCodec(), "namespace": "shop"}
        sessions.init_app(other, lifetime=special, cookie=CookiePolicy(name="other"), **options)
        with one.app_context():
            assert sessions.manager is manager_of(one)
            assert (sessions.manager.lifetime, sessions.manager.now) == (usual, clock)
            assert sessions.manager.namespace == "sid"
        with other.app_context():
            assert sessions.manager is manager_of(other)
            assert (sessions.manager.lifetime, sessions.manager.store) == (special, kept)
            assert isinstance(sessions.manager.codec, JSONCodec)
            assert sessions.manager.namespace == "shop"
        with one.test_client().session_transaction() as stored:
            stored["a"] = 1

    def test_the_manager_of_the_one_application_needs_no_context(self, kept: FaultyStore) -> None:
        """For a script that revokes sessions; with init_app the current application is meant."""
        app = Flask("one")
        sessions = Sessions(app, kept)

        assert sessions.manager is manager_of(app)
        with pytest.raises(RuntimeError, match="application context"):
            _ = Sessions(store=kept).manager

    def test_a_second_time_is_refused(self, app: Flask) -> None:
        """Promise 15: which of the two would count?"""
        with pytest.raises(ConfigurationError, match="once"):
            Sessions(app)

    def test_what_is_no_application_is_refused(self, app: Flask) -> None:
        """Promise 15: such as its ``wsgi_app``."""
        with pytest.raises(ConfigurationError, match="write Flask"):
            Sessions(app.wsgi_app)  # type: ignore[arg-type]

    def test_a_misspelt_option_is_refused(self, app: Flask) -> None:
        """Promise 15: at construction."""
        with pytest.raises(TypeError, match="livetime"):
            Sessions(livetime=1)  # type: ignore[call-arg]

    def test_fifty_factories_make_fifty_applications(self, kept: FaultyStore) -> None:
        """None knows of another, and each asks for the session once."""
        apps = []
        for number in range(50):
            app = Flask(f"app{number}")
            Sessions(app, kept)
            serve(app, lambda: {"n": session.setdefault("n", len(kept.calls))})
            apps.append(app)
        clients = [app.test_client() for app in apps]
        first = [client.get("/").json for client in clients]
        kept.calls.clear()
        assert [client.get("/").json for client in clients] == first
        assert verbs(kept) == ["load"] * 50

    def test_flasks_own_settings_of_the_cookie_count(self, kept: FaultyStore) -> None:
        """An application keeps its configuration; a ``cookie`` of the options has precedence."""
        settings: dict[str, Any] = {
            "SESSION_COOKIE_NAME": "sid",
            "SESSION_COOKIE_SECURE": True,
            "SESSION_COOKIE_SAMESITE": "Strict",
            "SESSION_COOKIE_PATH": "/shop",
            "SESSION_COOKIE_DOMAIN": "example.com",
            "SESSION_COOKIE_PARTITIONED": True,
        }
        app, explicit = Flask("app"), Flask("explicit")
        app.config.update(settings)
        explicit.config.update(settings)
        Sessions(app, kept)
        Sessions(explicit, kept, cookie=CookiePolicy())
        for each in (app, explicit):
            serve(each, lambda: session.update(a=1))

        assert visit(app, scheme="https").set_cookies[0].startswith("__Secure-sid=")
        (cookie,) = visit(app, scheme="https").set_cookies
        attributes = {part.lower() for part in cookie.split("; ")[1:]}
        expected = {"domain=example.com", "httponly", "partitioned", "path=/shop", "samesite=strict", "secure"}
        assert attributes == expected
        assert visit(explicit).set_cookies[0].startswith("session=")

    def test_settings_that_come_too_late_are_logged_once(self, kept: FaultyStore, caplog: pytest.LogCaptureFixture) -> None:
        """Not heeded is not unnoticed; what comes in time, or stays as it is, or was given as an option, needs no word."""
        late, explicit, intime = Flask("late"), Flask("explicit"), Flask("intime")
        intime.config["SESSION_COOKIE_NAME"] = "sid"
        for each in (late, intime):
            Sessions(each, kept)
        Sessions(explicit, kept, cookie=CookiePolicy())
        for each in (late, explicit, intime):
            each.config["SESSION_COOKIE_NAME"] = "sid"
            serve(each, lambda: session.update(a=1))
            assert visit(each).set_cookies[0].startswith("sid=" if each is intime else "session=")
            visit(each)
        (record,) = caplog.records
        assert "SESSION_COOKIE_" in record.getMessage()

    def test_a_late_setting_that_cannot_work_harms_no_request(
        self, kept: FaultyStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is as late as any other."""
        app = Flask("late")
        Sessions(app, kept)
        app.config["SESSION_COOKIE_SAMESITE"] = "nonsense"
        serve(app, lambda: session.update(a=1))
        assert [visit(app).status for _ in range(2)] == ["200 OK"] * 2
        assert len(caplog.records) == 1

    def test_a_cookie_for_scripts_is_refused(self) -> None:
        """Promise 15: no option turns HttpOnly off."""
        app = Flask(__name__)
        app.config["SESSION_COOKIE_HTTPONLY"] = False
        with pytest.raises(ConfigurationError, match="SESSION_COOKIE_HTTPONLY"):
            Sessions(app, MemoryStore())

    def test_the_interface_tells_of_the_cookie(self, app: Flask) -> None:
        """Flask documents ``get_cookie_...``: they say what is sent, by the scheme of the request."""
        interface = app.session_interface
        told = {name for name in dir(SessionInterface) if name.startswith("get_cookie_")}
        assert told <= {f"get_cookie_{name}" for name in COOKIE_FACTS}  # Flask 3.0 asks for less
        assert {name: getattr(interface, f"get_cookie_{name}")(app) for name in COOKIE_FACTS} == COOKIE_FACTS
        with app.test_request_context(base_url="https://localhost"):
            assert (interface.get_cookie_name(app), interface.get_cookie_secure(app)) == ("__Host-session", True)
            session["a"] = 1
            assert not interface.is_null_session(session)
            assert interface.should_set_cookie(app, session)
            assert interface.get_expiration_time(app, session) is None
        assert interface.pickle_based is False

    def test_a_secure_cookie_is_told_of_without_a_request(self, kept: FaultyStore) -> None:
        """``secure=True`` does not ask for the scheme."""
        app = Flask(__name__)
        Sessions(app, kept, cookie=CookiePolicy(secure=True))
        assert app.session_interface.get_cookie_name(app) == "__Host-session"

    def test_behind_proxy_fix_the_scheme_is_the_corrected_one(self, kept: FaultyStore) -> None:
        """The cookie is Secure, whichever of the two lines comes first."""
        for fixed_first in (True, False):
            app = Flask(__name__)
            if fixed_first:
                app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
            Sessions(app, kept)
            if not fixed_first:
                app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
            serve(app, lambda: session.update(a=1))

            (cookie,) = visit(app, HTTP_X_FORWARDED_PROTO="https").set_cookies
            assert cookie.startswith("__Host-session=")

    def test_another_extension_in_its_place_is_told_of_once(
        self, kept: FaultyStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """``flask.session`` would be kept elsewhere without a word."""
        app = Flask(__name__)
        Sessions(app, kept)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Flask-Session, for its own cachelib
            app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=SimpleCache())
            flask_session.Session(app)
        serve(app, lambda: session.update(a=1))
        for _ in range(2):
            visit(app)

        assert [record.getMessage() for record in caplog.records if record.name == "session_middleware"] == [
            "flask.session is not ours, but of CacheLibSessionInterface, set up after Sessions(app): take that away"
        ]

    @pytest.mark.parametrize("name", ["app", "application", "wsgi_app"])
    def test_proxy_fix_is_found_behind_other_middlewares(self, kept: FaultyStore, name: str) -> None:
        """Under the names that they have for what they wrap."""

        class Layer:
            def __init__(self, app: Any) -> None:
                setattr(self, name, app)

            def __call__(self, environ: Any, start_response: Any) -> Any:
                return getattr(self, name)(environ, start_response)

        app = Flask(__name__)
        app.wsgi_app = Layer(Layer(ProxyFix(Layer(ProxyFix(app.wsgi_app)))))  # type: ignore[method-assign]
        Sessions(app, kept)
        serve(app, lambda: session.update(a=1))

        (cookie,) = visit(app, HTTP_X_FORWARDED_PROTO="https").set_cookies
        assert cookie.startswith("__Host-session=")

    def test_proxy_fix_of_another_application_is_none_of_ours(self, kept: FaultyStore) -> None:
        """What is mounted, or goes round in a circle, is not looked into."""

        class Layer:
            def __init__(self, app: Any) -> None:
                self.app, self.wsgi_app = app or self, app

            def __call__(self, environ: Any, start_response: Any) -> Any:
                return self.wsgi_app(environ, start_response)

        mounted = Flask("mounted")
        mounted.wsgi_app = ProxyFix(mounted.wsgi_app)  # type: ignore[method-assign]
        for layer in (Layer(mounted), Layer(None)):
            app = Flask(__name__)
            layer.wsgi_app = app.wsgi_app
            app.wsgi_app = layer  # type: ignore[method-assign]
            Sessions(app, kept)
            serve(app, lambda: session.update(a=1))

            (cookie,) = visit(app, HTTP_X_FORWARDED_PROTO="https").set_cookies
            assert cookie.startswith("session=")

    def test_proxy_fix_that_cannot_be_seen_is_warned_of(self, kept: FaultyStore, caplog: pytest.LogCaptureFixture) -> None:
        """In a function, say; the log says in which order to wrap."""
        app = Flask(__name__)
        fix = ProxyFix(app.wsgi_app)
        app.wsgi_app = lambda environ, start_response: fix(environ, start_response)  # type: ignore[method-assign]
        Sessions(app, kept)
        serve(app, lambda: session.update(a=1))
        visit(app, HTTP_X_FORWARDED_PROTO="https")

        assert "ProxyFix(SessionMiddleware(app))" in caplog.text

    def test_the_session_of_a_middleware_around_it_is_used(self, app: Flask, kept: FaultyStore) -> None:
        """One session: nothing is opened, stored or sent twice."""
        outer = SessionMiddleware(app, MemoryStore())
        serve(app, lambda: session.update(a=get_session(flask.request.environ).is_new))
        response = visit(outer)

        assert len(response.set_cookies) == 1
        assert response.values("Vary") == ["Cookie"]
        assert kept.calls == []
        opened = outer.manager.open(response.token)
        assert dict(opened) == {"a": True}

    def test_a_middleware_around_it_under_another_name_is_another_one(self, app: Flask, kept: FaultyStore) -> None:
        """Two sessions, two cookies."""
        outer = SessionMiddleware(app, MemoryStore(), environ_key="outer.session", cookie=CookiePolicy(name="outer"))
        serve(app, lambda: session.update(a=get_session(flask.request.environ, "outer.session").setdefault("b", 1)))
        names = sorted(cookie.partition("=")[0] for cookie in visit(outer).set_cookies)
        assert names == ["outer", "session"]

    def test_an_application_may_answer_by_itself(self, app: Flask, kept: FaultyStore) -> None:
        """A view that calls the application again, with the environ that it has, shares its session."""
        serve(app, lambda: session.update(inner=1), "/inner")

        def outer() -> str:
            environ = dict(flask.request.environ, PATH_INFO="/inner")
            return b"".join(app(environ, lambda *_: lambda _: None)).decode() or str(session["inner"])

        serve(app, outer)
        assert visit(app).body == b"1"
        assert verbs(kept) == ["create"]

    def test_between_validators(self, app: Flask) -> None:
        """Promise 14: PEP 3333 on both sides."""
        serve(app, lambda: session.update(a=1) or "page")
        middleware = app.extensions["session_middleware"]
        middleware.app = validator(middleware.app)
        assert TestApp(validator(app)).get("/").text == "page"

    def test_a_missing_flask_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The extra is named."""
        monkeypatch.setitem(sys.modules, "flask", None)
        with pytest.raises(ImportError, match=r"pip install 'session-middleware\[flask\]'"):
            reload(session_middleware.integrations.flask)

    def test_a_broken_flask_is_not_called_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What it fails to import itself is named instead."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "flask"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "werkzeug", None)
        with pytest.raises(ImportError, match="werkzeug"):
            reload(session_middleware.integrations.flask)


COOKIE_FACTS = {
    "name": "session",
    "domain": None,
    "path": "/",
    "httponly": True,
    "secure": False,
    "samesite": "Lax",
    "partitioned": False,
}


class TestFlaskWTF:
    """Its CSRF protection works unchanged; nothing here is said to it."""

    @pytest.fixture
    def app(self, app: Flask) -> Flask:
        app.secret_key = "signs the tokens of forms"
        flask_wtf.CSRFProtect(app)
        form = "{{ csrf_token() }}"

        def sign_in() -> Any:
            session.login(flask.request.form["user"])

        def sign_out() -> Any:
            session.invalidate()

        serve(app, lambda: flask.render_template_string(form), "/form")
        serve(app, lambda: session.update(saved=True) or "saved", "/save")
        serve(app, lambda: sign_in() or flask.render_template_string(form), "/login")
        serve(app, lambda: sign_out() or flask.render_template_string(form), "/logout")
        serve(app, lambda: str(flask_wtf.FlaskForm().validate_on_submit()), "/flask-form")
        return app

    def post(self, client: FlaskClient, path: str, token: str, **data: str) -> tuple[int, str]:
        response = client.post(path, data={"csrf_token": token, **data})
        return response.status_code, response.text

    def test_a_form_needs_its_token(self, client: FlaskClient) -> None:
        """The token of the session, or a 400."""
        token = client.get("/form").text
        assert self.post(client, "/save", token) == (200, "saved")
        assert self.post(client, "/flask-form", token) == (200, "True")
        assert self.post(client, "/save", "another")[0] == 400
        client.delete_cookie("session")
        assert self.post(client, "/save", token)[0] == 400

    def test_a_token_from_before_the_sign_in_is_good_after_it(self, client: FlaskClient) -> None:
        """An anonymous session keeps its data: a form in another tab still works, and so does the one that is there."""
        token, other_tab = client.get("/form").text, client.get("/form").text
        status, next_token = self.post(client, "/login", token, user="alice")
        assert status == 200
        for each in (token, other_tab, next_token):
            assert self.post(client, "/save", each) == (200, "saved")

    def test_a_form_that_is_on_its_way_while_someone_signs_in_is_let_through(
        self, app: Flask, client: FlaskClient, clock: FakeClock
    ) -> None:
        """Promise 20: the second click of a double click has the cookie from before; after 10 s nothing is known of it."""
        token = client.get("/form").text
        before = client.get_cookie("session")
        assert before is not None
        self.post(client, "/login", token, user="alice")
        for wait, status in ((0, 200), (9, 200), (2, 400)):
            clock.advance(wait)
            late = app.test_client()
            late.set_cookie("session", before.value)
            assert self.post(late, "/save", token)[0] == status
            assert self.post(late, "/login", token, user="alice")[0] == status
        with client:
            client.get("/form")
            assert "saved" not in session

    def test_a_page_after_a_sign_in_that_keeps_no_token_has_one_of_its_own(self, app: Flask, client: FlaskClient) -> None:
        """``keep=("cart",)``: the old token goes with all else, and the form on the answer works."""

        def sign_in() -> str:
            session.login("alice", keep=("cart",))
            return flask.render_template_string("{{ csrf_token() }}")

        serve(app, sign_in, "/login-keep")
        token = client.get("/form").text
        _, next_token = self.post(client, "/login-keep", token)
        assert self.post(client, "/save", token)[0] == 400
        assert self.post(client, "/save", next_token) == (200, "saved")

    def test_a_page_after_the_end_of_a_session_has_a_token_of_the_next(self, client: FlaskClient) -> None:
        """Sign-out, or sign-in as someone else: the old token is dead, and the form on the answer works."""
        token = client.get("/form").text
        self.post(client, "/login", token, user="alice")
        _, next_token = self.post(client, "/login", token, user="bob")
        assert self.post(client, "/save", token)[0] == 400
        assert self.post(client, "/save", next_token) == (200, "saved")
        _, last_token = self.post(client, "/logout", next_token)
        assert self.post(client, "/save", next_token)[0] == 400
        assert self.post(client, "/save", last_token) == (200, "saved")
