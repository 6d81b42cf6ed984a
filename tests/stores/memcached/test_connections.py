"""MemcachedStore has no more connections than threads at work, and shares none with a fork."""

import os
import time

import pytest

from session_middleware import StoreUnavailable
from session_middleware.stores.memcached import MemcachedStore
from session_middleware.testing import a_key, a_record, created, loaded, race
from tests.backends.memcached import Memcached
from tests.backends.running import PATIENCE, PATIENT
from tests.stores.forked import in_child
from tests.stores.memcached.opening import open_at


def test_there_are_no_more_connections_than_threads_at_work(server: Memcached) -> None:
    """One at a time for one thread, and they are used again."""
    store = open_at(server)
    before = int(server.statistic("total_connections"))
    for _ in range(50):
        created(store, a_key())
    assert len(store._servers._only.idle) == 1  # type: ignore[union-attr]  # there is only one
    race(*[lambda: [created(store, a_key()) for _ in range(50)]] * 8)

    assert int(server.statistic("total_connections")) - before <= 8 + 2
    store.close()


def test_a_bound_of_connections_holds(server: Memcached) -> None:
    """More threads than that wait for each other; also in a fork, which begins with none."""
    store = MemcachedStore.from_url(f"memcached://{server.address}?max_connections=2&{PATIENT}")
    before = int(server.statistic("total_connections"))

    def work() -> None:
        for _ in range(30):
            created(store, a_key())

    race(*[work] * 8)
    assert int(server.statistic("total_connections")) - before <= 2 + 1
    assert in_child(lambda: race(*[work] * 4) and None) == 0
    store.close()


def test_all_connections_in_use_is_no_sign_of_the_server_being_away(server: Memcached) -> None:
    """Promise 7: it says so within its time, and keeps nobody from asking."""
    store = open_at(server, max_connections=1, timeout=0.2)
    peer = store._servers.server_of("")
    peer.enter(time.monotonic())
    with pytest.raises(StoreUnavailable, match="all 1 connections of this process are in use; raise max_connections"):
        store.load(a_key())
    peer.leave()
    assert store.load(a_key()) is None
    store.close()


def test_connections_that_rest_are_closed(server: Memcached) -> None:
    """After a burst those at the bottom would stay for good, for the last one used is always taken first."""
    store = open_at(server, timeout=PATIENCE)
    peer, now = store._servers.server_of(""), time.monotonic()
    taken = [peer.take(now + 10) for _ in range(6)]
    for connection in taken:
        connection.gets(b"nothing")
    for number, connection in enumerate(taken):
        connection.deadline -= 100 if number < 4 else 0
        peer.idle.append(connection)
    store.load(a_key())

    assert peer.idle == taken[4:]
    assert [connection.client.sock is None for connection in taken] == [True] * 4 + [False] * 2
    store.load(a_key())
    assert peer.idle == taken[4:]
    store.close()


def test_a_child_makes_connections_of_its_own(server: Memcached, memcached: MemcachedStore) -> None:
    """F-P3: after a fork parent and child do not read each other's answers, and the parent's connection stays good."""
    key, other = a_key(), a_key()
    created(memcached, key, a_record(b"parent's"))
    created(memcached, other, a_record(b"child's"))
    before = int(server.statistic("total_connections"))

    def child() -> None:
        for _ in range(200):
            assert loaded(memcached, other).value == b"child's"

    pids = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                child()
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    for _ in range(500):
        assert loaded(memcached, key).value == b"parent's"
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]
    assert int(server.statistic("total_connections")) - before == 3 + 1


def test_a_child_that_ends_leaves_the_parent_s_connection_alone(server: Memcached, memcached: MemcachedStore) -> None:
    """F-P3: the inherited connection is let go of without a word to the server."""
    created(memcached, a_key())
    before = int(server.statistic("total_connections"))

    assert in_child(memcached.close) == 0
    created(memcached, a_key())
    assert int(server.statistic("total_connections")) - before == 1
