"""Someone clicks "Sign in" twice: they are signed in, with their cart, whichever answers arrive, and in whatever order.

The shop is one of Flask with Flask-Login and Flask-WTF, which know nothing of it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask

from session_middleware import MemoryStore, SessionManager, Store
from session_middleware.testing import FakeClock, race
from session_middleware.testing.orders import SteppedStore, every_order, some_orders
from session_middleware.tokens import Token
from tests.apps import visit
from tests.backends.running import sizes
from tests.browser import Answer, Browser, Transport, forms_of
from tests.gates import full
from tests.integrations import shop_site
from tests.servers.gunicorn import Gunicorn

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import Page

# Thousands of requests: measuring what they cover would take most of the time, and other tests cover as much.
pytestmark = pytest.mark.unmeasured

ALICE = {"name": "alice", "user": "alice", "cart": ["tea"]}
NOBODY: dict[str, Any] = {"name": None, "user": None, "cart": []}


def manager_of(app: Flask) -> SessionManager:
    manager: SessionManager = app.extensions["session_middleware"].manager
    return manager


def who(browser: Browser) -> Any:
    return json.loads(browser.get("/who").text)


def id_of(browser: Browser) -> str:
    token = Token.read(browser.token)
    assert token is not None
    return token.id


def called(app: Flask) -> Transport:
    """Call the application, with the checks of our own gateway."""

    def send(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        path, _, query = path.partition("?")
        request: dict[str, Any] = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
        request |= {"CONTENT_TYPE": headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)), "QUERY_STRING": query}
        seen = visit(app, path, method=method, **request, **{"wsgi.input": BytesIO(body)})
        return Answer(int(seen.status[:3]), seen.headers, seen.body)

    return send


class Shopper:
    """Someone with a cart who has the form to sign in on the screen."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.browser = Browser(called(app))
        self.browser.get("/cart?item=tea")
        self.fields = self.form(self.browser.get("/sign-in"))

    @staticmethod
    def form(page: Answer) -> dict[str, str]:
        return next(form.fields for form in forms_of(page.text) if form.action == "/sign-in")

    def again(self) -> Browser:
        """Return a browser that has the same cookies: what another request is sent with, or what is left of this one if the
        answers are lost."""
        other = Browser(called(self.app))
        other.cookies = dict(self.browser.cookies)
        return other

    def click(self, browser: Browser, path: str = "/sign-in") -> Answer:
        fields = {"user": "alice", "password": shop_site.PASSWORDS["alice"]}
        return browser.post(path, **self.fields, **fields)

    def check(self, clicks: list[Browser], answers: list[Answer]) -> None:
        """Both answers have led on, and each has a secret of the session that was there, which is alive."""
        assert [(answer.status, answer.header("Location")) for answer in answers] == [(302, "/")] * len(answers)
        assert len({self.browser.token, *(browser.token for browser in clicks)}) == len(clicks) + 1
        for browser in clicks:
            assert id_of(browser) == id_of(self.browser)
            assert who(browser) == ALICE
            assert browser.get("/").text.endswith('<p id="cart">tea</p>')
        assert [info.id for info in manager_of(self.app).sessions_of("alice")] == [id_of(self.browser)]

    def leave(self) -> None:
        assert manager_of(self.app).revoke(id_of(self.browser))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def stepped() -> SteppedStore:
    return SteppedStore(MemoryStore())


@pytest.fixture
def app(stepped: SteppedStore, clock: FakeClock) -> Flask:
    return shop_site.make(stepped, rounds=0, clock=clock)


Clicks = tuple[Shopper, list[Browser]]
World = Callable[[], tuple[SteppedStore, list[Callable[[], Any]], Clicks]]


@pytest.fixture
def world(app: Flask, stepped: SteppedStore) -> Callable[[int], World]:
    """Return what makes a shopper who clicks so many times."""

    def of(count: int) -> World:
        def made() -> tuple[SteppedStore, list[Callable[[], Any]], Clicks]:
            shopper = Shopper(app)
            clicks = [shopper.again() for _ in range(count)]
            return stepped, [partial(shopper.click, click) for click in clicks], (shopper, clicks)

        return made

    return of


SOME = 40
EVERY = pytest.param(0, id="every", marks=pytest.mark.soak)


def run(world: World, some: int = 0) -> Iterator[tuple[Clicks, list[Any]]]:
    """Make the requests of fresh worlds in *some* orders of what they ask of the store; in all if that is 0."""
    for context, outcome in some_orders(world, some) if some else every_order(world):
        assert outcome.errors == [None] * len(outcome.errors), outcome
        yield context, outcome.results


class TestOrders:
    """Promise 20, whatever the order of the calls to the store."""

    def test_each_answer_has_a_secret_of_the_session_with_the_cart(self, world: Callable[[int], World]) -> None:
        """So whichever arrives last, and if one is lost, the browser is signed in."""
        count = 0
        for (shopper, clicks), answers in chain(run(world(2)), run(world(4), SOME)):
            shopper.check(clicks, answers)
            shopper.leave()
            count += 1
        assert count > 100

    @pytest.mark.parametrize("orders", [SOME, EVERY])
    def test_they_can_sign_in_again_at_once(self, world: Callable[[int], World], orders: int) -> None:
        """With the form that is on the screen or a new one, signed in as they are, or as the answers were lost."""
        for (shopper, browsers), _ in chain(run(world(2), orders), run(world(3), SOME)):
            lost = shopper.again()
            assert who(lost) == {**NOBODY, "cart": ["tea"]}
            assert shopper.form(lost.get("/sign-in")).keys() == {"csrf_token"}
            shopper.check([*browsers, lost], [*map(shopper.click, browsers), shopper.click(lost)])
            shopper.fields = shopper.form(browsers[0].get("/sign-in?again"))
            shopper.check(browsers[:1], [shopper.click(browsers[0], "/sign-in?again")])
            shopper.leave()

    @pytest.mark.parametrize("orders", [SOME, EVERY])
    def test_two_sign_ins_of_who_is_signed_in_are_no_other(self, world: Callable[[int], World], orders: int) -> None:
        """A password that is asked for once more, and clicked twice."""

        def again() -> tuple[SteppedStore, list[Callable[[], Any]], Clicks]:
            store, _, (shopper, clicks) = world(2)()
            shopper.click(shopper.browser)
            for click in clicks:
                click.cookies = dict(shopper.browser.cookies)
            return store, [partial(shopper.click, click, "/sign-in?again") for click in clicks], (shopper, clicks)

        signed_in = 0
        for (shopper, clicks), answers in run(again, orders):
            # Who comes when the other is done has a secret that opens nothing, not even the form's: refused, and unharmed.
            done = [(click, page) for click, page in zip(clicks, answers, strict=True) if page.status != 400]
            shopper.check([click for click, _ in done], [page for _, page in done])
            signed_in += len(done) == 2
            shopper.leave()
        assert signed_in > 10


class TestRemembered:
    """A browser that has an anonymous session, and the cookie by which Flask-Login remembers alice."""

    @staticmethod
    def remembered(shopper: Shopper) -> None:
        other = Browser(called(shopper.app))
        fields = shopper.form(other.get("/sign-in"))
        other.post("/sign-in", **fields, user="alice", password=shop_site.PASSWORDS["alice"], remember="yes")
        shopper.browser.cookies["remember_token"] = other.cookies["remember_token"]
        manager_of(shopper.app).revoke(id_of(other))

    def test_two_pages_at_once_are_one_sign_in(self, world: Callable[[int], World]) -> None:
        """Promise 20, in every order: each answer has a secret of the session with the cart."""

        def pages() -> tuple[SteppedStore, list[Callable[[], Any]], Clicks]:
            store, _, (shopper, _) = world(0)()
            self.remembered(shopper)
            browsers = [shopper.again(), shopper.again()]
            return store, [partial(browser.get, "/") for browser in browsers], (shopper, browsers)

        for (shopper, browsers), answers in run(pages):
            assert [page.text.partition(">")[2] for page in answers] == [answers[0].text.partition(">")[2]] * 2
            for browser in browsers:
                assert id_of(browser) == id_of(shopper.browser)
                assert who(browser) == ALICE
            assert [info.id for info in manager_of(shopper.app).sessions_of("alice")] == [id_of(shopper.browser)]
            shopper.leave()

    def test_a_page_at_the_same_time_as_a_sign_in_does_it_no_harm(self, world: Callable[[int], World]) -> None:
        """Promise 20, in every order: who has given the password is signed in and fresh, by the cookie of that answer, and
        by that of the page if it has one."""

        def both() -> tuple[SteppedStore, list[Callable[[], Any]], Clicks]:
            store, _, (shopper, _) = world(0)()
            self.remembered(shopper)
            click, page = shopper.again(), shopper.again()
            return store, [partial(shopper.click, click, "/sign-in?again"), partial(page.get, "/")], (shopper, [click, page])

        without = 0
        for (shopper, (click, page)), answers in run(both):
            assert [answer.status for answer in answers] == [302, 200]
            told = page.token != shopper.browser.token
            without += not told
            for browser in (click, page) if told else (click,):
                assert id_of(browser) == id_of(shopper.browser)
                assert who(browser) == ALICE
            (info,) = manager_of(shopper.app).sessions_of("alice")
            assert (info.id, info.data["_fresh"]) == (id_of(shopper.browser), True)
            shopper.leave()
        assert without > 0


def test_after_ten_seconds_one_signs_in_anew(app: Flask, clock: FakeClock) -> None:
    """Design, "Secrets": all answers were lost, and the cookie from before is as an unknown one. A new form is needed."""
    shopper = Shopper(app)
    shopper.click(shopper.again())
    clock.advance(10)
    assert shopper.click(shopper.again()).status == 400

    late = shopper.again()
    shopper.fields = shopper.form(late.get("/sign-in"))
    assert shopper.click(late).status == 302
    assert who(late) == {**ALICE, "cart": []}
    assert id_of(late) != id_of(shopper.browser)


def test_a_second_click_as_somebody_else_signs_in_the_one_who_was_meant(app: Flask) -> None:
    """Promise 18: two people, two sessions; neither sees anything of the other."""
    shopper = Shopper(app)
    first, second = shopper.again(), shopper.again()
    shopper.click(first)
    page = second.post("/sign-in", **shopper.fields, user="bob", password=shop_site.PASSWORDS["bob"])

    assert page.status == 302
    assert (who(first), who(second)) == (ALICE, {"name": "bob", "user": "bob", "cart": []})
    assert id_of(first) != id_of(second)


def test_a_wrong_password_in_the_second_click_changes_nothing(app: Flask) -> None:
    """The page with the form comes again, without a cookie."""
    shopper = Shopper(app)
    first, second = shopper.again(), shopper.again()
    shopper.click(first)
    page = second.post("/sign-in", **shopper.fields, user="alice", password="wrong")

    assert (page.status, page.all("Set-Cookie")) == (200, [])
    assert who(first) == ALICE


@sizes("clicks", 50, 1000)
def test_by_threads(store: Store, clicks: int) -> None:
    """Promise 20: all of them, on every kind of store."""
    app = shop_site.make(store, rounds=0)
    for _ in range(clicks):
        shopper = Shopper(app)
        both = [shopper.again(), shopper.again()]
        answers = race(*(partial(shopper.click, click) for click in both))
        shopper.check(both, answers)
        shopper.leave()


# In a real browser

ROUNDS = full(15, 50)


@contextmanager
def shop(directory: Path, workers: int) -> Iterator[Gunicorn]:
    arguments = ("--worker-class", "gthread", "--workers", str(workers), "--threads", "8", "--access-logfile", "-")
    with Gunicorn("tests.integrations.shop_site:make()", *arguments, cwd=directory) as server:
        yield server
        assert "Traceback" not in server.log()


def press_twice(page: "Page") -> None:
    """As people do: the second click stops the first request on its way, if it comes in time."""
    box = page.get_by_role("button", name="Sign in").bounding_box()
    assert box is not None
    page.mouse.dblclick(box["x"] + 5, box["y"] + 5, delay=10)
    page.wait_for_selector("#cart")


def send_twice(page: "Page") -> None:
    """As scripts do: both answers arrive."""
    page.evaluate(
        """async () => {
            const form = document.querySelector('form');
            const send = () => fetch(form.action, {method: 'POST', body: new URLSearchParams(new FormData(form))});
            const answers = await Promise.all([send(), send()]);
            if (!answers.every(answer => answer.ok)) throw new Error(answers.map(answer => answer.status).join());
        }"""
    )
    page.goto(re.sub("/sign-in$", "/", page.url))


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("act", [press_twice, send_twice])
def test_in_chromium(chromium: "Chromium", tmp_path: Path, workers: int, act: Callable[["Page"], None]) -> None:
    """Promise 20: all are signed in, with the cart, and stay so."""
    seen = []
    with shop(tmp_path, workers) as server:
        for _ in range(ROUNDS):
            context = chromium.new_context()
            page = context.new_page()
            page.goto(f"{server.url}/cart?item=tea")
            page.locator("[name=user]").fill("alice")
            page.locator("[name=password]").fill(shop_site.PASSWORDS["alice"])
            act(page)
            cart = page.locator("#cart").inner_text() if page.locator("#cart").count() else None
            answer = context.request.get(f"{server.url}/who").json()
            seen.append((page.title(), cart, answer))
            context.close()
        sent = server.log().count("POST /sign-in")

    assert seen == [("alice", "tea", ALICE)] * ROUNDS
    assert sent > 1.5 * ROUNDS, "most of the clicks were single ones"
