"""A write of RedisStore that waits for replicas counts when they know it, and not before."""

import time
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any

import pytest

from session_middleware import Session, SessionManager, StoreUnavailable
from session_middleware.stores.breaker import _PAUSE
from session_middleware.stores.redis import RedisStore
from session_middleware.testing import a_key, a_record, created, loaded
from tests.backends.redis import RedisServer
from tests.backends.running import PATIENCE
from tests.servers.direct import Site
from tests.stores.budgets import limited, refused_after
from tests.stores.redis.faults import fails

pytestmark = pytest.mark.timed


def test_a_write_waits_for_replicas(server: RedisServer, prefix: str) -> None:
    """A write is acknowledged when it is where it must be; too few of them are no answer, in time."""
    store = RedisStore(server.url, prefix=prefix, wait_replicas=1, timeout=PATIENCE)
    key = a_key()
    with limited(store, 0.6), pytest.raises(StoreUnavailable, match="0 of 1 replicas have acknowledged"):
        store.create(key, a_record())
    with RedisServer() as replica:
        replica.follow(server)
        version = loaded(store, key).version
        assert store.update(key, a_record(b"new"), version=version)
        with replica.client() as client:
            assert client.get(f"{prefix}{key}").endswith(b"new")
            assert store.delete(key)
            assert client.get(f"{prefix}{key}") in (None, bytes(8))
        created(store, key)
        replica.pause()
        try:
            with limited(store, 0.6):
                assert refused_after(lambda: store.delete(key), 0.6) < 0.6 + 0.25
        finally:
            replica.resume()
    store.close()


def sign_out(session: Session) -> Iterable[bytes]:
    session.invalidate()
    return [b"goodbye"]


def test_an_end_counts_when_a_replica_knows_it_however_often_it_is_asked_for(prefix: str) -> None:
    """Promise 5: who is told to try again, and does, is not told that all is well while a replica has the session."""
    with RedisServer() as server, RedisServer() as replica:
        store = RedisStore(server.url, prefix=prefix, wait_replicas=1, timeout=PATIENCE)
        site, manager = Site(store), SessionManager(store)
        replica.follow(server)
        tokens = [site.sign_in("alice") for _ in range(3)]
        keys = [manager.open(token).id for token in tokens]
        attempts: list[Callable[[], object]] = [
            lambda: manager.revoke(keys[0]),
            lambda: manager.revoke(keys[0]),
            lambda: manager.find(keys[0]),
            lambda: manager.revoke_all("alice"),
            lambda: manager.revoke_all("alice"),
            lambda: manager.sessions_of("alice"),
        ]
        replica.pause()
        try:
            with limited(store, 0.6):
                for attempt in attempts:
                    fails(attempt)
                for _ in range(2):
                    assert site.visit(sign_out, tokens[2]).status.startswith("503")
                fails(lambda: store.delete(keys[0]))
        finally:
            replica.resume()

        assert site.visit(sign_out, tokens[2]).status.startswith("200")
        assert manager.sessions_of("alice") == [manager.find(keys[1])]
        server.kill()
        with replica.client() as client:
            client.replicaof("NO", "ONE")
        near = RedisStore(replica.url, prefix=prefix, timeout=PATIENCE)
        assert [near.load(key) is not None for key in keys] == [False, True, False]
        near.close()
        store.close()


def test_who_waits_for_replicas_keeps_nobody_else_waiting(prefix: str) -> None:
    """F-N6: after a failover there may be no replica for a while; whoever only reads is served as soon as the master is."""
    with RedisServer() as server:
        store = RedisStore(server.url, prefix=prefix, wait_replicas=1, timeout=2)
        server.kill()
        fails(lambda: store.load(a_key()))
        server.start()
        assert store._servers._server.breaker.is_open
        time.sleep(_PAUSE)
        writer = Thread(target=lambda: fails(lambda: store.create(a_key(), a_record())))
        writer.start()
        time.sleep(_PAUSE / 2)
        assert store.load(a_key()) is None
        assert writer.is_alive()
        writer.join()
        store.close()


def test_marks_of_ends_are_gone_when_the_replicas_know(server: RedisServer, raw: Any, prefix: str) -> None:
    """Nothing is left of a session that has ended, and another may begin under its key."""
    store, alone = (RedisStore(server.url, prefix=prefix, wait_replicas=number, timeout=1) for number in (1, 0))
    key = a_key()
    created(alone, key)
    for _ in range(2):
        fails(lambda: store.delete(key))
    assert raw.ttl(f"{prefix}{key}") > 0
    assert not alone.create(key, a_record())
    assert alone.load(key) is None
    fails(lambda: store.load(key))
    with RedisServer() as replica:
        replica.follow(server)
        assert store.load(key) is None
        assert raw.get(f"{prefix}{key}") is None
        assert created(alone, key)
    alone.close()
    store.close()


def test_a_failover_while_an_end_is_confirmed_does_not_confirm_it(
    server: RedisServer, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 5, F-N6: the new master may have the session still, and then nobody is told that it has ended."""
    store, key = RedisStore(server.url, prefix=prefix, wait_replicas=1, timeout=PATIENCE), a_key()
    name, confirm = f"{prefix}{key}", store._confirm_end
    with RedisServer() as replica:
        replica.follow(server)
        created(store, key)
        alive = raw.get(name)
        raw.set(name, bytes(8), keepttl=True)

        def after_a_failover(name: bytes, deadline: float) -> None:
            raw.set(name, alive, keepttl=True)
            confirm(name, deadline)

        monkeypatch.setattr(store, "_confirm_end", after_a_failover)
        for ask in (lambda: store.load(key), lambda: store.delete(key)):
            raw.set(name, bytes(8), keepttl=True)
            fails(ask)
        assert loaded(store, key).value == b"value"
        assert store.delete(key)
    store.close()
