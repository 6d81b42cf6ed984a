"""Where there is no room for another connection, who has one is served, and who has none is told why."""

import re
import select
import socket
import time
from contextlib import suppress
from threading import Thread
from typing import Any

import pytest
import redis

from session_middleware import StoreUnavailable
from session_middleware.stores.redis import RedisStore
from session_middleware.testing import a_key, created, loaded, race
from tests.backends.redis import RedisServer, until
from tests.backends.running import PATIENCE
from tests.stores.forked import in_child
from tests.stores.redis.faults import fails

pytestmark = pytest.mark.timed


class _Refusing:
    """Something that says one line to whoever connects, and closes the connection."""

    def __init__(self, line: bytes) -> None:
        self._line = line
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "_Refusing":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                with peer:
                    peer.sendall(self._line)


@pytest.mark.parametrize("place", ["redis://:s5word@127.0.0.1:{port}/2", "redis://127.0.0.1:{port}", "unix://{socket}"])
def test_a_server_that_is_full_serves_who_has_a_connection(place: str) -> None:
    """Promise 7: it is not away. Who comes anew is told why not, and is let in as soon as there is room."""
    server = RedisServer(**{"requirepass": "s5word"} if "s5word" in place else {})
    server.password = "s5word" if "s5word" in place else None
    with server as full:
        url = place.format(port=full.port, socket=full.socket)
        store, newcomer, key = RedisStore(url, timeout=PATIENCE), RedisStore(url, timeout=PATIENCE), a_key()
        with full.client() as client:
            created(store, key)
            client.config_set("maxclients", len(client.client_list()))
            for _ in range(20):
                with pytest.raises(StoreUnavailable, match="max number of clients reached"):
                    newcomer.load(key)
                in_use = store._servers._server.idle.pop()
                with pytest.raises(StoreUnavailable, match="max number of clients reached"):
                    store.delete_many([key])
                store._servers._server.idle.append(in_use)
                assert loaded(store, key).value == b"value"
            client.config_set("maxclients", 100)
            assert loaded(newcomer, key).value == b"value"
        for one in (store, newcomer):
            one.close()


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("redis://127.0.0.1:{port}", "DENIED Redis is running in protected mode"),
        ("redis+cluster://127.0.0.1:{port}", "ERR max number of clients + cluster connections reached"),
        ("redis+sentinel://127.0.0.1:{port}/name", "ERR max number of clients reached"),
    ],
)
def test_who_is_turned_away_is_told_why(place: str, reason: str) -> None:
    """Promise 7: whatever the deployment; and it does not keep those from asking who have a connection."""
    with _Refusing(f"-{reason}\r\n".encode()) as peer:
        store = RedisStore(place.format(port=peer.port), timeout=PATIENCE)
        for _ in range(5):
            with pytest.raises(StoreUnavailable, match=re.escape(reason)):
                store.load(a_key())
            with pytest.raises(StoreUnavailable, match=re.escape(reason)):
                list(store.keys())


def test_what_could_not_be_sent_had_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 7: the connection was closed before the first question left, and what the server had said is there."""
    with _Refusing(b"-ERR max number of clients reached\r\n") as peer:

        def too_late(connection: Any, *command: object, **options: object) -> None:
            select.select([connection._sock], [], [], 10)
            connection.disconnect()
            raise redis.ConnectionError("Broken pipe")

        monkeypatch.setattr(redis.Connection, "send_command", too_late)
        with pytest.raises(StoreUnavailable, match="max number of clients reached"):
            RedisStore(f"redis://127.0.0.1:{peer.port}", timeout=PATIENCE).load(a_key())


def test_who_has_a_connection_goes_on_whatever_keeps_others_from_connecting(direct: RedisStore) -> None:
    """Promise 7: with TLS a server that is full says nothing, and looks to those who come as if it was away."""
    key, server = a_key(), direct._servers._server
    created(direct, key)
    server.breaker.failed()
    in_use = server.idle.pop()
    fails(lambda: direct.load(key))
    server.idle.append(in_use)
    assert loaded(direct, key).value == b"value"


def test_a_bound_of_connections_holds(server: RedisServer, raw: Any, prefix: str) -> None:
    """More threads than that wait for each other; also in a fork, which begins with none."""
    name = a_key()
    store = RedisStore(redis.Redis(port=server.port, client_name=name), prefix=prefix, max_connections=2, timeout=PATIENCE)

    def work() -> None:
        for _ in range(30):
            created(store, a_key())

    race(*[work] * 8)
    assert sum(client["name"] == name for client in raw.client_list()) <= 2
    assert in_child(lambda: race(*[work] * 4) and None) == 0
    store.close()


def test_all_connections_in_use_is_no_sign_of_the_server_being_away(server: RedisServer, prefix: str) -> None:
    """Promise 7: it says so within its time, keeps nobody from asking, and closes no connection."""
    store = RedisStore.from_url(f"{server.url}?max_connections=1&timeout=0.2&prefix={prefix}")
    store.load(a_key())
    room, idle = store._servers._server._room, list(store._servers._server.idle)
    assert room is not None
    assert room.enter(0)
    with pytest.raises(StoreUnavailable, match="all 1 connections of this process are in use; raise max_connections"):
        store.load(a_key())
    room.leave()
    assert store.load(a_key()) is None
    assert store._servers._server.idle == idle
    store.close()


def test_connections_that_rest_are_closed(server: RedisServer, raw: Any, prefix: str) -> None:
    """After a burst those at the bottom would stay for good, for the last one used is always taken first."""
    name = a_key()
    store = RedisStore(redis.Redis(port=server.port, client_name=name), prefix=prefix, timeout=PATIENCE)
    pool = store._servers._server

    def open_() -> int:
        return sum(client["name"] == name for client in raw.client_list())

    pool.idle += [pool._open(time.monotonic() + 10) for _ in range(6)]
    for number, connection in enumerate(pool.idle):
        connection.deadline -= 100 if number < 4 else 0
    store.load(a_key())
    until(lambda: open_() == 2, "they stay open")
    store.load(a_key())
    assert len(pool.idle) == open_() == 2
    store.close()
