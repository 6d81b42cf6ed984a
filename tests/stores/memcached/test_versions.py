"""A version of MemcachedStore stands for one state of one record, whichever server that is on."""

from collections import Counter

import pytest

from session_middleware import StoreUnavailable, StoreUnusable
from session_middleware.stores.base import Stored
from session_middleware.stores.memcached import MemcachedStore
from session_middleware.testing import a_key, a_record, created, loaded
from tests.backends.memcached import Memcached
from tests.stores.memcached.opening import open_at


def test_sessions_are_spread_over_the_servers(server: Memcached, other_server: Memcached) -> None:
    """Each server gets its share, and every process finds the same one, in whatever order they are named."""
    one, other = open_at(server, other_server), open_at(other_server, server)
    keys = [a_key() for _ in range(300)]
    for key in keys:
        created(one, key)

    assert all(other.load(key) for key in keys)
    alone = open_at(server)
    assert 100 < sum(alone.load(key) is not None for key in keys) < 200
    for store in (one, other, alone):
        store.close()


def test_another_server_takes_its_share_from_each() -> None:
    """When a server is added only the sessions that it takes over are lost."""
    names = [f"10.0.0.{number}:11211" for number in range(4)]
    three, four = MemcachedStore(names[:3])._servers, MemcachedStore(names)._servers
    keys = [a_key() for _ in range(3000)]
    counts = Counter(four.server_of(key).name for key in keys)
    moved = [key for key in keys if four.server_of(key).name != three.server_of(key).name]

    assert all(600 < counts[name] < 900 for name in names)
    assert {four.server_of(key).name for key in moved} == {names[3]}


def restarted_with_the_same_number(server: Memcached, store: MemcachedStore, key: str) -> tuple[Stored, Stored]:
    """Return the record before a restart of the server, and another one with the same number after it."""
    old = created(store, key, a_record(b"old"))
    server.kill()
    server.start()
    other = open_at(server)
    new = created(other, key, a_record(b"new"))
    other.close()
    assert new.version.cas == old.version.cas  # type: ignore[attr-defined]  # the store's own
    return old, new


@pytest.mark.parametrize("expires_in", [100, -10])
def test_a_version_says_nothing_about_another_life_of_the_server(expires_in: int) -> None:
    """Promise 5: after a restart memcached numbers its states from 1 again; an old number matches no new record."""
    with Memcached() as server:
        store, key = open_at(server), a_key()
        old, new = restarted_with_the_same_number(server, store, key)
        store.close()

        assert not store.update(key, a_record(expires_in=expires_in), version=old.version)
        assert loaded(store, key) == new
        assert store.update(key, a_record(b"newer"), version=new.version)
        store.close()


@pytest.mark.parametrize("expires_in", [100, -10])
def test_a_version_is_not_tried_again_in_another_life_of_the_server(expires_in: int) -> None:
    """Promise 5: the same over a connection from before the restart; whether it was stored before that is not known."""
    with Memcached() as server:
        store, key = open_at(server), a_key()
        old, new = restarted_with_the_same_number(server, store, key)
        with pytest.raises(StoreUnavailable, match="not known"):
            store.update(key, a_record(expires_in=expires_in), version=old.version)

        assert loaded(store, key) == new
        store.close()


def test_an_update_is_one_round_trip(server: Memcached, memcached: MemcachedStore) -> None:
    """It asks twice only over a connection that is younger than what was loaded."""
    key = a_key()
    stored = created(memcached, key)
    for number in range(3):
        asked = int(server.statistic("cmd_get"))
        assert memcached.update(key, a_record(b"%d" % number), version=stored.version)
        assert int(server.statistic("cmd_get")) == asked
        stored = loaded(memcached, key)
    memcached.close()
    asked = int(server.statistic("cmd_get"))
    assert memcached.update(key, a_record(b"new"), version=stored.version)
    assert int(server.statistic("cmd_get")) == asked + 1


def test_versions_of_one_state_are_equal(memcached: MemcachedStore) -> None:
    """However often it is loaded, and over whatever connection."""
    key = a_key()
    first = created(memcached, key).version
    memcached.close()

    assert loaded(memcached, key).version == first
    assert hash(loaded(memcached, key).version) == hash(first)


def test_a_memcached_that_numbers_no_states_is_refused() -> None:
    """Promise 15: with ``-C`` no session could be changed; that is said, and not found out bit by bit."""
    with Memcached("-C") as server:
        store = open_at(server)
        with pytest.raises(StoreUnusable, match="-C"):
            store.open()
        key = a_key()
        store.create(key, a_record())
        with pytest.raises(StoreUnusable, match="-C"):
            store.load(key)
        store.close()
