"""``flask.session`` is our session: through Flask's test client, through WebTest and through gunicorn."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.validate import validator

import flask
import pytest
from flask import Flask

from tests.browser import Answer, Browser, Transport, in_process, over_http
from tests.integrations import flask_site
from tests.servers.gunicorn import Gunicorn


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
        deadline = time.monotonic() + 120
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
