"""A site that moves while it is used: servers of one step beside those of the next, and workers that are killed."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import pytest

from session_middleware import open_store
from session_middleware.moving import copy
from session_middleware.stores.base import Scannable
from tests.backends.postgresql import PostgresServer
from tests.backends.redis import RedisServer
from tests.backends.running import PATIENT
from tests.servers.client import Client, Lost, Response
from tests.servers.gunicorn import Gunicorn


class Route(NamedTuple):
    """From where to where, as URLs."""

    old: str
    new: str


class Visitors:
    """Visitors who sign in, write, read and sign out, of any of the *servers*, and know what they have been promised."""

    def __init__(self) -> None:
        self.servers: Sequence[Gunicorn] = ()
        self.problems: list[str] = []
        self.written = self.lost = 0
        self._ended: list[str] = []
        self._staying: list[tuple[str, str, dict[str, set[str]]]] = []
        self._stop = Event()

    @contextmanager
    def at_work(self, staying: int, coming: int) -> Iterator[None]:
        """Let so many stay signed in, each with two tabs that write at once; and so many come and go."""
        tasks: list[Callable[[], None]] = []
        for number in range(staying):
            token = self._sign_in(f"staying-{number}")
            for tab in "ab":
                known: dict[str, set[str]] = {}
                self._staying.append((f"staying-{number}", token, known))
                tasks.append(partial(self._stay, f"staying-{number}", token, tab, known))
        tasks += [partial(self._come_and_go, f"coming-{number}") for number in range(coming)]
        self._threads = [Thread(target=self._guarded, args=(task,), daemon=True) for task in tasks]
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()

    def rest(self) -> None:
        """Do no more, when what was begun is done."""
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def look(self) -> None:
        """Compare what there is with what was acknowledged."""
        for name, token, known in self._staying:
            self._compare(name, self._patiently(f"/get?of={name}", token), known)
        for token in self._ended:
            found = self._patiently("/get", token).json()
            if found["user"] or found["data"]:
                self.problems.append(f"{found} is there again after its end")

    def _guarded(self, task: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                task()
            except Exception as error:
                self.problems.append(repr(error))
                return

    def _stay(self, name: str, token: str, tab: str, known: dict[str, set[str]]) -> None:
        key, value = f"{tab}{random.randrange(4)}", str(random.random())
        answer = self._ask(f"/set?key={key}&value={value}", token)
        if answer is None:
            known.setdefault(key, {""}).add(value)
        elif answer.status == 200:
            self.written += 1
            known[key] = {value}
        answer = self._ask("/get", token)
        if answer is not None:
            self._compare(name, answer, known)

    def _come_and_go(self, name: str) -> None:
        token = self._sign_in(name)
        answer = self._ask("/get", token) if token else None
        if answer is not None and answer.json()["user"] != name:
            self.problems.append(f"{name} was signed out just after signing in: {answer}")
        if token and self._ask("/invalidate", token) is not None:
            self._ended.append(token)
            again = self._ask("/get", token)
            if again is not None and again.json()["user"]:
                self.problems.append(f"{name} is signed in after signing out")

    def _compare(self, name: str, answer: Response, known: dict[str, set[str]]) -> None:
        found = answer.json()
        if found["user"] != name:
            self.problems.append(f"{name} was signed out: {answer}")
        for key, values in known.items():
            value = found["data"].get(key, [""])[0]
            if value not in values:
                self.problems.append(f"{name}: {key} is {value}, not one of {values}")

    def _sign_in(self, name: str) -> str:
        while not self._stop.is_set():
            answer = self._ask(f"/login?user={name}")
            if answer is not None and answer.token:
                return answer.token
        return ""

    def _patiently(self, target: str, token: str) -> Response:
        while (answer := self._ask(target, token)) is None:
            pass
        return answer

    def _ask(self, target: str, token: str | None = None) -> Response | None:
        """Return the answer of some server; ``None`` if it was lost, or if a store did not answer: it may have been done."""
        try:
            with Client(random.choice(self.servers).port, keep=False) as client:
                answer = client.get(target, token)
        except (Lost, OSError):
            answer = None
        if answer is None or answer.status == 503:
            self.lost += 1
            return None
        return answer


def step(directory: Path, store: str) -> Gunicorn:
    """Return a server of two processes whose sessions are in *store*."""
    arguments = ("--worker-class", "gthread", "--workers", "2", "--threads", "4")
    return Gunicorn("tests.servers.site:make()", *arguments, cwd=directory, env={"SESSION_STORE": store})


def kill_one_of(server: Gunicorn) -> None:
    """Kill a worker; its master starts another one."""
    if pids := server.worker_pids():
        os.kill(random.choice(pids), signal.SIGKILL)


def move(route: Route, directory: Path, visitors: Visitors, seconds: float, *, kills: int) -> None:
    """Go through all the steps, with the servers of a step beside those of the one before, for so long each."""
    both = f"{route.new} {route.old}"
    with ExitStack() as stack:
        last = stack.enter_context(step(directory, route.old))
        visitors.servers = [last]
        stack.enter_context(visitors.at_work(staying=4, coming=2))
        for store in (f"moving-later:{both}", f"moving:{both}", route.new):
            if store == route.new:
                copy_all(route)
            following = stack.enter_context(step(directory, store))
            visitors.servers = [last, following]
            for _ in range(kills):
                time.sleep(seconds / (kills + 1))
                kill_one_of(random.choice([last, following]))
            time.sleep(seconds / (kills + 1))
            visitors.servers = [following]
            time.sleep(0.3)  # what was sent to the others is answered
            assert "damaged" not in last.log()
            last.stop()
            last = following
        assert left_to_copy(route) == []
        visitors.rest()
        visitors.look()
        assert "damaged" not in last.log()


def copy_all(route: Route) -> None:
    """Hand over what is left, while the site is used; two that do so at once do not hinder each other."""
    threads = [Thread(target=lambda: copy(open_store(route.old), open_store(route.new))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until = time.monotonic() + 120
    while (left := left_to_copy(route)) and time.monotonic() < until:  # what is on its way, also of a killed worker
        time.sleep(0.1)
    assert left == []


def left_to_copy(route: Route) -> list[str]:
    """Copy once; return the keys that the old store has afterwards, also those of sessions that begin at this moment."""
    old = open_store(route.old)
    assert isinstance(old, Scannable)
    copy(old, open_store(route.new))
    return list(old.keys())


@pytest.fixture
def urls(tmp_path: Path, server: RedisServer, prefix: str) -> dict[str, str]:
    return {
        "sqlite": f"sqlite:///{tmp_path}/sessions.sqlite3?{PATIENT}",
        "redis": f"{server.url}?prefix={prefix}&{PATIENT}",
    }


@pytest.mark.parametrize(
    ("way", "seconds", "kills"),
    [
        pytest.param(("sqlite", "redis"), 0.7, 1, id="sqlite-redis"),
        pytest.param(("sqlite", "redis", "sqlite"), 5.0, 6, id="sqlite-redis-sqlite", marks=pytest.mark.soak),
        pytest.param(("redis", "postgresql", "redis"), 5.0, 6, id="redis-postgresql-redis", marks=pytest.mark.soak),
    ],
)
def test_a_site_moves_while_it_is_used(
    way: tuple[str, ...],
    seconds: float,
    kills: int,
    tmp_path: Path,
    urls: dict[str, str],
    table: str,
    request: pytest.FixtureRequest,
) -> None:
    """Promises 3 to 7 and 20: nothing acknowledged is lost, nobody is signed out, and nothing that has ended is back."""
    if "postgresql" in way:
        database: PostgresServer = request.getfixturevalue("postgresql")
        urls["postgresql"] = f"{database.url()}?table={table}&{PATIENT}"
    for old, new in pairwise(way):
        visitors = Visitors()
        move(Route(urls[old], urls[new]), tmp_path, visitors, seconds, kills=kills)

        assert visitors.problems == []
        assert visitors.written > 20
