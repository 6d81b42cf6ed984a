"""The middleware behind a real gunicorn with several workers: under load, killed, preloaded, reloaded."""

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from session_middleware import MsgpackCodec, SessionManager, open_store
from session_middleware.record import unpack, unpack_values
from tests.backends.running import Backends
from tests.gates import full
from tests.servers.client import Client, Lost, Response
from tests.servers.direct import racers
from tests.servers.gunicorn import Gunicorn
from tests.servers.site import DATABASE

soak = pytest.mark.soak

# For a machine that is late: workers are not taken for dead, and connections not for left.
PATIENT = ("--timeout", "300", "--keep-alive", "300")


def counts(normal: int, full: int) -> list[Any]:
    """Return the parameters of a test that runs *normal* rounds, and *full* in the soak."""
    return [pytest.param(normal, id=str(normal)), pytest.param(full, id=f"{full:,}", marks=soak)]


def serve(directory: Path, *arguments: str, workers: int, threads: int, url: str, app: str = "make()") -> Gunicorn:
    """Return a server of the site, with *directory* as its working directory."""
    return Gunicorn(
        f"tests.servers.site:{app}",
        *("--worker-class", "gthread", "--workers", str(workers), "--threads", str(threads), *PATIENT),
        *arguments,
        cwd=directory,
        env={"SESSION_STORE": url},
    )


@contextmanager
def clients_of_every_worker(server: Gunicorn, workers: int, each: int) -> Iterator[list[Client]]:
    """Yield clients whose kept connections are spread evenly: a worker that is stopped accepts none."""
    pids = server.all_workers(workers)
    clients = []
    for pid in pids:
        others = [other for other in pids if other != pid]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            for _ in range(each):
                clients.append(Client(server.port))
                assert clients[-1].get("/get").json()["pid"] == pid
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def token_of(response: Response) -> str:
    assert response.status == 200, response
    token = response.token
    assert token, response
    return token


def assert_whole(path: Path) -> None:
    """Assert that the file passes SQLite's own check, and that each record in it can be read, if there is one."""
    if not path.exists():
        return
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for (value,) in connection.execute("SELECT value FROM sessions"):
            found = unpack(value)
            if isinstance(found, tuple):
                for encoded in unpack_values(found[1]).values():
                    MsgpackCodec().decode(encoded)


@pytest.mark.parametrize("rounds", counts(2, 10))
@pytest.mark.parametrize("hold", [0, 5])
def test_parallel_requests_lose_no_change(tmp_path: Path, url: str, hold: int, rounds: int) -> None:
    """Promise 3, G-7: 2 workers of 8 threads, 8 clients of 25 requests on one session: 200 of 200 keys in every round."""

    def writing(client: Client, token: str, place: int) -> Callable[[], list[Response]]:
        return lambda: [client.get(f"/set?key={place}.{number}&value={number}&hold={hold}", token) for number in range(25)]

    with (
        serve(tmp_path, workers=2, threads=8, url=url) as server,
        clients_of_every_worker(server, workers=2, each=4) as clients,
        racers(8) as crew,
    ):
        for _ in range(rounds):
            token = token_of(clients[0].get("/set?key=first&value=0"))
            answers = crew.run(*(writing(client, token, place) for place, client in enumerate(clients)))
            responses = [response for batch in answers for response in batch]
            data = clients[0].get("/get", token).json()["data"]
            assert [response.status for response in responses] == [200] * 200
            assert all(response.token is None for response in responses)
            assert len({response.json()["pid"] for response in responses}) == 2
            assert data.keys() == {"first", *(f"{place}.{number}" for place in range(8) for number in range(25))}
        log = server.log()
    assert "locked" not in log
    assert "ERROR" not in log


class Writer(Thread):
    """A client that writes rising numbers under a key of its own until told to stop, and notes what was acknowledged."""

    def __init__(self, port: int, key: str, token: str, stop: Event) -> None:
        super().__init__(daemon=True)
        self.key, self.token = key, token
        self.acknowledged = self.tried = self.lost = self.pid = 0
        self.created: list[tuple[str, int]] = []
        self.statuses: set[int] = set()
        self._port, self._enough = port, stop

    def run(self) -> None:
        with Client(self._port) as client:
            for number in count(1):
                if self._enough.is_set():
                    return
                target = f"/set?key={self.key}&value={number}&times=20"
                try:
                    self.tried = number
                    response = client.get(target, self.token)
                    self.statuses.add(response.status)
                    if response.status == 200:
                        self.acknowledged, self.pid = number, response.json()["pid"]
                    if number % 10 == 0:
                        response = client.get(target)
                        self.statuses.add(response.status)
                        if response.token:
                            self.created.append((response.token, number))
                except Lost:
                    self.lost += 1


@pytest.mark.parametrize("kills", counts(5, full(40, 200)))
def test_a_killed_worker_takes_no_acknowledged_write_with_it(tmp_path: Path, url: str, kills: int) -> None:
    """Promise 6, F-P1, G-11: SIGKILL of workers under load: what was answered is stored, no record is torn, others serve."""
    stop = Event()
    with serve(tmp_path, workers=2, threads=4, url=url) as server:
        with Client(server.port) as client:
            tokens = [token_of(client.get("/set?key=first&value=0")) for _ in range(4)]
        writers = [Writer(server.port, f"w{place}", tokens[place % 4], stop) for place in range(8)]
        for writer in writers:
            writer.start()
        _wait_for(lambda: all(writer.acknowledged for writer in writers))
        for _ in range(kills):
            victim = random.choice([writer.pid for writer in writers])
            os.kill(victim, signal.SIGKILL)
            server.all_workers(2, without={victim})
            _wait_for(partial(_go_on, writers, {victim}, sum(writer.acknowledged for writer in writers) + 50))
        _wait_for(lambda: all(writer.created for writer in writers))
        stop.set()
        for writer in writers:
            writer.join(120)
        log = server.log()
    assert set().union(*(writer.statuses for writer in writers)) == {200}
    assert sum(writer.lost for writer in writers) >= kills
    assert "locked" not in log
    assert_whole(tmp_path / DATABASE)
    with closing(open_store(url)) as store:  # type: ignore[type-var]  # each of these can be closed
        manager = SessionManager(store)
        for writer in writers:
            values = {int(value) for value in manager.open(writer.token)[writer.key]}
            assert len(values) == 1, "a torn value"
            assert writer.acknowledged <= values.pop() <= writer.tried
            for token, number in writer.created:
                assert manager.open(token)[writer.key] == [str(number)] * 20


@pytest.mark.parametrize(("requests", "workers"), [(1_000, 4), pytest.param(full(20_000, 1_000_000), 8, marks=soak)])
def test_workers_of_a_preloaded_application_never_mix_up_users(
    request: pytest.FixtureRequest, tmp_path: Path, url: str, backends: Backends, requests: int, workers: int
) -> None:
    """Promise 3, F-P3, G-10: the store was in use before the fork; 50 users: everyone sees their own session.

    No server has more connections than there are threads, and one of the master.
    """
    kind = request.node.callspec.params["url"]
    before = 0 if kind == "sqlite" else backends.connections(kind)

    def visiting(client: Client, seed: int, tokens: dict[str, str]) -> Callable[[], None]:
        chance, users = random.Random(seed), list(tokens)

        def act() -> None:
            for number in range(requests // 8):
                user = chance.choice(users)
                write = number % 4 == 0
                response = client.get(f"/set?key={seed}&value={user}" if write else "/get", tokens[user])
                assert (response.status, response.token) == (200, None)
                if not write:
                    answer = response.json()
                    assert answer["user"] == answer["data"].pop("user") == user
                    assert all(value == [user] for value in answer["data"].values())

        return act

    with (
        serve(tmp_path, "--preload", workers=workers, threads=4, url=url, app="make(preload=True)") as server,
        clients_of_every_worker(server, workers=workers, each=8 // workers) as clients,
        racers(8) as crew,
    ):
        tokens = {f"user{number}": token_of(clients[0].get(f"/login?user=user{number}")) for number in range(50)}
        crew.run(*(visiting(client, seed, tokens) for seed, client in enumerate(clients)))
        if kind != "sqlite":
            assert backends.connections(kind) - before <= workers * 4 + 1
        log = server.log()
    assert "locked" not in log
    assert "ERROR" not in log
    assert_whole(tmp_path / DATABASE)


@pytest.mark.parametrize("reloads", counts(2, 15))
def test_a_reload_under_load_fails_no_request(tmp_path: Path, reloads: int) -> None:
    """F-P2: SIGHUP while clients write: every answer is the application's, every acknowledged write is there afterwards."""
    stop = Event()
    statuses: list[set[int]] = []
    cut_off: list[int] = []
    written: list[tuple[str, int]] = []

    def visit(place: int, token: str) -> None:
        seen = set()
        for number in count():
            if stop.is_set():
                break
            while True:
                try:
                    response = Client(server.port, keep=False).get(f"/set?key=r{place}&value={number}", token)
                    break
                except Lost as lost:
                    cut_off.append(lost.received)
            seen.add(response.status)
        statuses.append(seen)
        written.append((f"r{place}", number - 1))

    with serve(tmp_path, workers=2, threads=4, url=f"sqlite:///{DATABASE}") as server:
        with Client(server.port) as client:
            token = token_of(client.get("/set?key=first&value=0"))
        visitors = [Thread(target=visit, args=(place, token), daemon=True) for place in range(4)]
        for visitor in visitors:
            visitor.start()
        for _ in range(reloads):
            before = set(server.worker_pids())
            os.kill(server.pid, signal.SIGHUP)
            server.all_workers(2, without=before)
        stop.set()
        for visitor in visitors:
            visitor.join(120)
        with Client(server.port) as client:
            data = client.get("/get", token).json()["data"]
        log = server.log()
    assert statuses == [{200}] * 4
    assert set(cut_off) <= {0}
    for key, number in written:
        assert data[key] == [str(number)]
    assert "Traceback" not in log


def _go_on(writers: list[Writer], gone: set[int], acknowledged: int) -> bool:
    return sum(writer.acknowledged for writer in writers) > acknowledged and not any(
        writer.pid in gone for writer in writers
    )


def _wait_for(condition: Callable[[], bool], within: float = 120) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
