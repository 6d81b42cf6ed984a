"""MemcachedStore when a server restarts, dies or is full."""

import socket

import pytest

from session_middleware import StoreUnavailable
from session_middleware.stores.memcached import MemcachedStore
from session_middleware.testing import a_key, a_record, created, loaded
from tests.backends.memcached import Memcached
from tests.stores.budgets import refused_after, served
from tests.stores.memcached.opening import open_at

pytestmark = pytest.mark.timed


def test_a_server_that_restarts_has_forgotten_and_takes_new_sessions(own_server: Memcached) -> None:
    """F-N1, F-N8: refused while it is away; then old sessions are absent, and updates bring none of them back."""
    store, keys = open_at(own_server), [a_key() for _ in range(10)]
    versions = {key: created(store, key).version for key in keys}
    own_server.kill()
    assert max(refused_after(lambda: store.load(keys[0])) for _ in range(20)) < 0.1
    own_server.start()
    served(lambda: store.load(keys[0]), within=1)

    for key, version in versions.items():
        assert not store.update(key, a_record(), version=version)
        assert store.load(key) is None
    created(store, a_key())
    store.close()


def test_a_dead_server_takes_only_its_own_sessions_with_it(server: Memcached, own_server: Memcached) -> None:
    """Promise 7: its sessions are unavailable, not absent, and move to no other server; the others go on."""
    store = open_at(server, own_server)
    keys = [a_key() for _ in range(40)]
    for key in keys:
        created(store, key)
    theirs = [key for key in keys if store._servers.server_of(key).name == own_server.address]
    assert 0 < len(theirs) < len(keys)
    own_server.kill()
    for _ in range(3):
        for key in keys:
            if key in theirs:
                with pytest.raises(StoreUnavailable, match=own_server.address):
                    store.load(key)
                with pytest.raises(StoreUnavailable, match=own_server.address):
                    store.create(key, a_record())
            else:
                assert loaded(store, key).value == b"value"
    own_server.start()
    served(lambda: store.load(theirs[0]), within=1)

    assert [store.load(key) for key in theirs] == [None] * len(theirs)
    store.close()


def test_too_many_connections_are_an_error() -> None:
    """memcached's ``-c``: refused, and not taken for an answer."""
    with Memcached("-c", "64") as small:
        hogs = [open_at(small) for _ in range(100)]
        refused = 0
        for hog in hogs:
            try:
                assert hog.load(a_key()) is None
            except StoreUnavailable:
                refused += 1
        for hog in hogs:
            hog.close()

        assert refused > 30


def test_a_server_that_is_full_serves_who_has_a_connection() -> None:
    """Promise 7: it is not away. Who comes anew is told why not, and is let in as soon as there is room."""
    with Memcached("-c", "64") as small:
        store, newcomer, key = open_at(small), open_at(small), a_key()
        created(store, key)
        hogs = [socket.create_connection(("127.0.0.1", small.port)) for _ in range(100)]
        for _ in range(20):
            with pytest.raises(StoreUnavailable, match="it has too many connections; raise its -c"):
                newcomer.load(key)
            in_use = store._servers.server_of(key).idle.pop()
            with pytest.raises(StoreUnavailable, match="it has too many connections"):
                store.load(key)
            store._servers.server_of(key).idle.append(in_use)
            assert loaded(store, key).value == b"value"
        for hog in hogs:
            hog.close()
        served(lambda: newcomer.load(key), within=5)
        store.close()
        newcomer.close()


def test_who_has_a_connection_goes_on_whatever_keeps_others_from_connecting(direct: MemcachedStore) -> None:
    """Promise 7: what was refused to a newcomer may look as if the server was away."""
    key = a_key()
    created(direct, key)
    server = direct._servers.server_of(key)
    server.breaker.failed()
    in_use = server.idle.pop()
    with pytest.raises(StoreUnavailable):
        direct.load(key)
    server.idle.append(in_use)
    assert loaded(direct, key).value == b"value"
