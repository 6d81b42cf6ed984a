"""Requests on one session in real threads, thousands of times: nothing comes back, nothing is lost, nothing is refused."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from session_middleware import Session, Store
from session_middleware.stores.base import Record, Version
from tests.backends.running import LATER, Backends, a_store, sizes
from tests.servers.direct import Answer, Handler, Racers, Site, regenerate, saw, transact, write

# Thousands of requests: measuring what they cover would take most of the time, and other tests cover as much.
pytestmark = pytest.mark.unmeasured


USER = "alice"


@pytest.fixture(params=LATER)
def store(request: pytest.FixtureRequest, tmp_path: Path, backends: Backends) -> Iterator[Any]:
    """A store of each kind, most of them in the soak."""
    with a_store(request.param, tmp_path, backends) as store:
        yield store


@pytest.fixture
def site(store: Store) -> Site:
    return Site(store)


def write_late(session: Session) -> Iterable[bytes]:
    seen = saw(session)
    yield seen[0]
    if seen == [b"saw it"]:
        session["late"] = 1
    yield b""


def invalidate(session: Session) -> Iterable[bytes]:
    seen = saw(session)
    session.invalidate()
    return seen


def by_request(site: Site, token: str, key: str, user: str) -> bool:
    return site.visit(invalidate, token).body == b"saw it"


def by_id(site: Site, token: str, key: str, user: str) -> bool:
    return site.manager.revoke(key)


def by_user(site: Site, token: str, key: str, user: str) -> bool:
    return site.manager.revoke_all(user) > 0


IN_FLIGHT: list[tuple[Handler, Handler]] = [
    (write, write),
    (write, regenerate),
    (transact, write),
    (write_late, write),
    (regenerate, regenerate),
    (transact, regenerate),
    (write_late, regenerate),
]


@sizes("rounds", 500, 3_400, served=3_400)
@pytest.mark.parametrize("logout", [by_request, by_id, by_user])
def test_nothing_in_flight_survives_a_logout(
    site: Site, three: Racers, logout: Callable[[Site, str, str, str], bool], rounds: int
) -> None:
    """Promise 5, F-C1, G-6: whatever is in flight, an ended session opens under no token, and everyone gets an answer."""
    ended = in_flight = 0
    for number, (first, second) in enumerate(islice(cycle(IN_FLIGHT), rounds)):
        user = f"user-{number}"  # what Redis remembers of a user for minutes is not to make later rounds slow
        token = site.sign_in(user, secret=1)
        key = site.manager.open(token).id
        was_there, *answers = three.run(
            partial(logout, site, token, key, user),
            partial(site.visit, first, token),
            partial(site.visit, second, token),
        )
        assert {answer.status for answer in answers} == {"200 OK"}
        assert {answer.body for answer in answers} <= {b"saw it", b"saw nothing"}
        assert was_there or logout is by_request  # who names the session, or the user, ends it wherever it has moved
        if was_there:
            ended += 1
            in_flight += any(answer.body == b"saw it" for answer in answers)
            for answer in (Answer("", [("Set-Cookie", f"session={token};")], b""), *answers):
                opened = site.opened(answer.token) if answer.token else {}
                assert "secret" not in opened, (first.__name__, second.__name__)
                assert "user_id" not in opened, (first.__name__, second.__name__)
            assert site.manager.sessions_of(user) == []
        site.manager.revoke_all(user)
    assert ended > rounds / 2
    assert in_flight > rounds / 10, "the requests did not meet"


@sizes("rounds", 500, 2_000)
def test_a_regenerate_loses_no_change(site: Site, three: Racers, rounds: int) -> None:
    """Promise 3, F-C5: what was written by requests that had the session is there, and its new token alone opens it."""

    def setting(key: str) -> Handler:
        def handler(session: Session) -> Iterable[bytes]:
            seen = saw(session)
            session[key] = key
            return seen

        return handler

    met = 0
    for _ in range(rounds):
        token = site.sign_in(USER, secret=1)
        answers = three.run(
            partial(site.visit, regenerate, token),
            partial(site.visit, setting("b"), token),
            partial(site.visit, setting("c"), token),
        )
        successor = answers[0].token
        assert successor
        opened = site.opened(successor)
        assert opened["secret"] == 1
        assert not site.opened(token)
        for key, answer in zip(("b", "c"), answers[1:], strict=True):
            assert answer.status == "200 OK"
            if answer.body == b"saw it":
                met += 1
                assert answer.token is None
                assert opened[key] == key
    assert met > rounds / 10


@sizes("rounds", 300, 1_000)
def test_of_three_regenerates_one_has_the_new_secret(site: Site, three: Racers, rounds: int) -> None:
    """F-C5, F-C9: parallel regenerates make one new secret, with the changes of all; the others send no cookie."""

    def regenerating(key: str) -> Handler:
        def handler(session: Session) -> Iterable[bytes]:
            seen = saw(session)
            if seen == [b"saw it"]:
                session[key] = key
                session.regenerate()
            return seen

        return handler

    for number in range(rounds):
        user = f"user-{number}"
        token = site.sign_in(user, secret=1)
        answers = three.run(*(partial(site.visit, regenerating(key), token) for key in "abc"))
        (successor,) = [answer.token for answer in answers if answer.token]
        saved = {key for key, answer in zip("abc", answers, strict=True) if answer.body == b"saw it"}
        assert site.opened(successor).keys() == {"secret", "user_id"} | saved
        assert not site.opened(token)
        assert len(site.manager.sessions_of(user)) == 1
        site.manager.revoke_all(user)


@sizes("rounds", 300, 1_000)
def test_two_logins_both_work_and_the_token_before_them_is_dead(site: Site, three: Racers, rounds: int) -> None:
    """Promise 20, F-C5: a double click: both responses carry a cookie, of one session, and the cart of before is in it."""

    def logging_in(user: str) -> Handler:
        def login(session: Session) -> Iterable[bytes]:
            session.login(user)
            session["account"] = "private"
            return [b"welcome"]

        return login

    for number in range(rounds):
        user = f"user-{number}"
        token = site.sign_in(cart=["book"])
        answers = three.run(
            partial(site.visit, logging_in(user), token),
            partial(site.visit, logging_in(user), token),
            partial(site.visit, write, token),
        )
        assert {answer.status for answer in answers} == {"200 OK"}
        assert not site.opened(token)
        tokens = {answer.token for answer in answers[:2]}
        assert len(tokens) == 2
        for token in tokens:
            assert token
            opened = site.opened(token)
            assert (opened["user_id"], opened["account"], opened["cart"]) == (user, "private", ["book"])
        assert len(site.manager.sessions_of(user)) == 1
        site.manager.revoke_all(user)


@sizes("polls", 1_000, 10_000)
def test_the_token_of_before_a_login_never_shows_what_came_after(site: Site, polls: int) -> None:
    """Promise 11, F-C7, G-5: an attacker who planted the token and polls it through the sign-in sees nothing of it."""

    def login(session: Session) -> Iterable[bytes]:
        session.login(USER)
        session["account"] = "private"
        return [b"welcome"]

    def login_late_data(session: Session) -> Iterable[bytes]:
        session.login(USER)
        yield b"welcome"
        session["account"] = "private"
        yield b""

    planted, done = "", threading.Event()
    made, seen = 0, list[Any]()

    def look(session: Session) -> Iterable[bytes]:
        return [repr((session.get("account"), session.user_id)).encode()]

    def mark(session: Session) -> Iterable[bytes]:
        session["mark"] = made
        return [repr((session.get("account"), session.user_id)).encode()]

    def attack(handler: Handler) -> None:
        nonlocal made
        while not done.is_set():
            if token := planted:
                answer = site.visit(handler, token)
                made += 1
                if answer.body != b"(None, None)":
                    seen.append(answer)
                if answer.token and "account" in site.opened(answer.token):
                    seen.append(answer)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    attackers = [threading.Thread(target=attack, args=(handler,)) for handler in (look, mark)]
    for attacker in attackers:
        attacker.start()
    try:
        for handler in cycle((login, login_late_data)):
            token = planted = site.sign_in(cart=[])
            started = made
            while made < started + 2 and made < polls:
                time.sleep(0)
            answer = site.visit(handler, token)
            assert answer.status == "200 OK"
            assert answer.token
            assert site.opened(answer.token)["account"] == "private"
            if made >= polls:
                break
    finally:
        done.set()
        for attacker in attackers:
            attacker.join(30)
        sys.setswitchinterval(interval)
    assert seen == []


class Meddling:
    """Before each step that ends a session, a request comes first: it writes, and at last regenerates."""

    def __init__(self, store: Store, writes: int) -> None:
        self._store = store
        self._writes = writes
        self._aside = False
        self.site: Site | None = None
        self.token = ""
        self.successors: list[str] = []
        self.create, self.load = store.create, store.load

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        if record.expires_at == 0:
            self._meddle(last=False)
        return self._store.update(key, record, version=version)

    def delete(self, key: str) -> bool:
        self._meddle(last=True)
        return self._store.delete(key)

    def _meddle(self, *, last: bool) -> None:
        if self._aside or self.site is None:
            return
        self._aside = True
        try:
            self._writes -= 1
            if last:
                answer = self.site.visit(regenerate, self.token)
                if answer.token:
                    self.successors.append(answer.token)
            elif self._writes >= 0:
                self.site.visit(write, self.token)
        finally:
            self._aside = False


@pytest.mark.parametrize("writes", [1, 15, 16, 17, 40])
def test_a_logout_holds_however_often_it_loses_the_race(store: Store, writes: int) -> None:
    """Promise 5: requests that write faster than the logout can end the session, and one that regenerates, gain nothing."""
    meddling = Meddling(store, writes)
    site = Site(meddling)
    token = site.sign_in(secret=1)
    meddling.site, meddling.token = site, token
    assert site.manager.revoke(site.manager.open(token).id)
    assert not site.opened(token)
    assert [site.opened(successor) for successor in meddling.successors if site.opened(successor)] == []
