"""RedisStore has no more connections than threads at work, and shares none with a fork."""

import os
from typing import Any

import redis

from session_middleware.stores.redis import RedisStore
from session_middleware.testing import a_key, a_record, created, loaded, race
from tests.backends.redis import RedisServer, until
from tests.backends.running import PATIENCE
from tests.stores.forked import in_child


def test_making_a_store_connects_to_nothing() -> None:
    """No server needs to be there, and no name is looked up."""
    for url in (
        "redis://nowhere.invalid",
        "rediss://nowhere.invalid",
        "unix:///nowhere",
        "redis+sentinel://nowhere.invalid/name",
        "redis+cluster://nowhere.invalid",
    ):
        RedisStore(url).close()


def connections(raw: Any, name: str) -> int:
    return sum(client["name"] == name for client in raw.client_list())


def test_there_are_no_more_connections_than_threads_at_work(server: RedisServer, raw: Any, prefix: str) -> None:
    """One each, used again; a store that is closed has none, and opens others when it is used again."""
    name = a_key()
    store = RedisStore(redis.Redis(port=server.port, client_name=name), prefix=prefix, timeout=PATIENCE)

    def live() -> None:
        for _ in range(50):
            created(store, a_key())

    race(*[live] * 5)
    assert 1 <= connections(raw, name) <= 5
    store.close()
    until(lambda: connections(raw, name) == 0, "connections are left")
    live()
    assert connections(raw, name) == 1
    store.close()


def test_no_connection_is_shared_with_a_fork(server: RedisServer, raw: Any, prefix: str) -> None:
    """F-P3: parent and children go on with connections of their own, and the one that was inherited stays whole."""
    name = a_key()
    store = RedisStore(redis.Redis(port=server.port, client_name=name), prefix=prefix, timeout=PATIENCE)
    key = a_key()
    before = created(store, key)
    connection = store._servers._server.idle[-1]

    def child() -> None:
        assert loaded(store, key) == before
        assert store._servers._server.idle == [other for other in store._servers._server.idle if other.pid == os.getpid()]
        for _ in range(50):
            mine = a_key()
            assert created(store, mine, a_record(mine.encode())).value == mine.encode()
        store.close()

    assert in_child(child) == 0
    assert loaded(store, key) == before
    assert store._servers._server.idle == [connection]
    assert connections(raw, name) == 1
    store.close()


def test_parent_and_children_work_at_the_same_time(redis_store: RedisStore) -> None:
    """F-P3: every one of them on the store that was used before the fork; no answer goes to another."""
    created(redis_store, a_key())
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for _ in range(200):
                    key = a_key()
                    assert created(redis_store, key, a_record(key.encode())).value == key.encode()
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    for _ in range(200):
        key = a_key()
        assert created(redis_store, key, a_record(key.encode())).value == key.encode()
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 4
