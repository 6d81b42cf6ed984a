"""MemcachedStore: the contract on real servers, and what is particular to it as long as nothing is wrong."""

import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session_middleware import ConfigurationError, Record, SessionManager, StoreUnavailable, StoreUnusable
from session_middleware.stores.base import Stored
from session_middleware.stores.memcached import MemcachedStore
from session_middleware.testing import StoreContract, a_key, a_record, created, loaded, race
from tests.backends.memcached import MAX_ITEM_SIZE, Memcached
from tests.backends.twemproxy import Twemproxy
from tests.stores.forked import in_child

_DAY = 86400


@pytest.fixture(scope="module")
def server() -> Iterator[Memcached]:
    with Memcached() as server:
        yield server


@pytest.fixture(scope="module")
def other_server() -> Iterator[Memcached]:
    with Memcached() as server:
        yield server


@pytest.fixture(scope="module")
def unix_server() -> Iterator[Memcached]:
    with Memcached(unix=True) as server:
        yield server


@pytest.fixture(scope="module")
def twemproxy(server: Memcached, other_server: Memcached) -> Iterator[Twemproxy]:
    with Twemproxy(server, other_server) as proxy:
        yield proxy


def open_at(*servers: Memcached, **options: Any) -> MemcachedStore:
    return MemcachedStore([server.address for server in servers], max_item_size=MAX_ITEM_SIZE, **options)


@pytest.fixture
def memcached(server: Memcached) -> Iterator[MemcachedStore]:
    store = open_at(server)
    yield store
    store.close()


class TestMemcachedStore(StoreContract):
    @pytest.fixture
    def store(self, memcached: MemcachedStore) -> MemcachedStore:
        return memcached


class TestMemcachedStoreOnTwoServers(StoreContract):
    @pytest.fixture
    def store(self, server: Memcached, other_server: Memcached) -> Iterator[MemcachedStore]:
        store = open_at(server, other_server)
        yield store
        store.close()


class TestMemcachedStoreOnAUnixSocket(StoreContract):
    @pytest.fixture
    def store(self, unix_server: Memcached) -> Iterator[MemcachedStore]:
        store = open_at(unix_server)
        yield store
        store.close()


class TestMemcachedStoreByTwemproxy(StoreContract):
    """A proxy that speaks the old text protocol alone, and closes the connection at anything else."""

    @pytest.fixture
    def store(self, twemproxy: Twemproxy) -> Iterator[MemcachedStore]:
        store = MemcachedStore(twemproxy.address, max_item_size=MAX_ITEM_SIZE, timeout=10)
        yield store
        store.close()


def test_processes_find_what_others_wrote(server: Memcached) -> None:
    """A version that one store loaded is good for another one; nothing that matters is kept on this side."""
    one, other = open_at(server), open_at(server)
    key = a_key()
    stored = created(one, key)
    assert other.load(key) == stored

    assert other.update(key, a_record(b"new"), version=stored.version)
    assert not one.update(key, a_record(b"lost"), version=stored.version)
    assert one.update(key, a_record(expires_in=-1), version=loaded(other, key).version)
    assert other.load(key) is None
    one.close()
    other.close()


def item_name(key: str) -> bytes:
    return b"session:" + key.encode()


def seconds_left(server: Memcached, key: str) -> int:
    """Return how long memcached will keep the item; -1 for as long as it likes."""
    answer = server.ask(b"mg %b t" % item_name(key))
    assert answer.startswith(b"HD t"), answer
    return int(answer[4:])


# Expiry


def test_a_session_of_31_days_is_alive(server: Memcached, memcached: MemcachedStore) -> None:
    """F-S11: memcached takes more than 30 days for a date, so it gets one."""
    for days in (29, 30, 31, 400):
        key = a_key()
        created(memcached, key, a_record(expires_in=days * _DAY))

        assert days * _DAY <= seconds_left(server, key) <= days * _DAY + 70


def test_a_session_of_a_century_is_alive(server: Memcached, memcached: MemcachedStore) -> None:
    """memcached knows no date after 2038, so it is told none, and the record ends at its own expiry."""
    key = a_key()
    created(memcached, key, a_record(expires_in=100 * 365 * _DAY))

    assert seconds_left(server, key) == -1


def test_expired_items_go_soon(server: Memcached, memcached: MemcachedStore) -> None:
    """Promise 13: memcached drops an item about a minute after the record has expired, for its clock may differ."""
    for expires_in, at_most in ((100, 161), (-10, 51), (-1000, 1)):
        key = a_key()
        memcached.create(key, a_record(expires_in=expires_in))

        assert 0 < seconds_left(server, key) <= at_most


def test_update_moves_the_end_of_the_item(server: Memcached, memcached: MemcachedStore) -> None:
    """Promise 13: the item ends with the record."""
    key = a_key()
    version = created(memcached, key, a_record(expires_in=_DAY)).version
    assert memcached.update(key, a_record(expires_in=100), version=version)

    assert seconds_left(server, key) <= 161


def test_an_expired_record_is_absent_while_memcached_still_has_it(server: Memcached, memcached: MemcachedStore) -> None:
    """Promise 12: the expiry is in the value, and the client's clock decides."""
    key = a_key()
    memcached.create(key, a_record(expires_in=-1))
    assert seconds_left(server, key) > 0

    assert memcached.load(key) is None
    assert not memcached.delete(key)
    assert memcached.create(key, a_record(b"new"))
    assert loaded(memcached, key).value == b"new"


def test_racing_creates_over_an_expired_record_make_one(memcached: MemcachedStore) -> None:
    """Compare-and-set takes the place of add where memcached still has something."""
    for _ in range(20):
        key = a_key()
        memcached.create(key, a_record(expires_in=-1))
        won = race(*[lambda key=key: memcached.create(key, a_record())] * 8)

        assert Counter(won) == {True: 1, False: 7}


# What memcached holds


def test_what_others_wrote_under_a_key_is_nobody_s_session(server: Memcached, memcached: MemcachedStore) -> None:
    """Promise 10: what is no record of ours reads as a damaged one, and is left alone."""
    for value in (b"", b"x", b"x" * 15):
        key = a_key()
        server.ask(b"set %b 0 100 %d\r\n%b" % (item_name(key), len(value), value))

        assert loaded(memcached, key).value == b""
        assert not memcached.create(key, a_record())
        assert value in server.ask(b"get " + item_name(key))


def test_prefixes_keep_sites_apart(server: Memcached) -> None:
    """Two sites may share a memcached."""
    one, other = open_at(server, prefix="one:"), open_at(server, prefix="other:")
    key = a_key()
    created(one, key)

    assert other.load(key) is None
    assert server.ask(b"mg one:" + key.encode()) == b"HD\r\n"
    one.close()
    other.close()


def test_a_value_takes_sixteen_bytes_more(server: Memcached, memcached: MemcachedStore) -> None:
    """Nonce and expiry."""
    key = a_key()
    created(memcached, key, a_record(b"x" * 100))

    assert server.ask(b"mg %b s" % item_name(key)) == b"HD s116\r\n"


@pytest.mark.parametrize("key", ["a b", "a\r\nflush_all", "a\0b", "é" * 12, "\n"])
def test_a_key_cannot_become_a_command(memcached: MemcachedStore, key: str) -> None:
    """Keys of sessions are 12 plain characters; nothing else reaches memcached."""
    with pytest.raises(ValueError, match="no key"):
        memcached.load(key)


# Large records


def test_a_record_that_is_too_large_is_not_sent(server: Memcached) -> None:
    """F-S11: said before anything is sent, with what to change; the old record is untouched."""
    store = MemcachedStore(server.address, max_item_size=2048)
    key = a_key()
    before = created(store, key)
    written = server.statistic("bytes_read")
    calls: list[Callable[[], object]] = [
        lambda: store.create(a_key(), a_record(b"x" * 2000)),
        lambda: store.update(key, a_record(b"x" * 2000), version=before.version),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError, match=r"2,000 bytes .* item of 2,048.*max_bytes.* -I"):
            call()

    assert int(server.statistic("bytes_read")) - int(written) < 100
    assert loaded(store, key) == before
    store.close()


def test_the_largest_record_that_is_allowed_fits() -> None:
    """What the store lets through memcached takes, with the item size that memcached has when it is told none."""
    with Memcached("-I", "1m") as server:
        store = MemcachedStore(server.address)
        with pytest.raises(ConfigurationError, match="bytes"):
            store.create(a_key(), a_record(b"x" * 1024 * 1024))
        value = secrets.token_bytes(store._max_bytes)

        assert created(store, a_key(), a_record(value)).value == value
        store.close()


def test_a_record_that_only_memcached_finds_too_large_changes_nothing() -> None:
    """``max_item_size`` is larger than ``-I``: the old record is not lost over it, and the connection stays usable."""
    with Memcached("-I", "1m") as server:
        store = open_at(server)
        key = a_key()
        before = created(store, key)
        calls: list[Callable[[], object]] = [
            lambda: store.create(a_key(), a_record(b"x" * 2_000_000)),
            lambda: store.update(key, a_record(b"x" * 2_000_000), version=before.version),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable, match=r"too large.*max_item_size"):
                call()
            assert loaded(store, key) == before
        store.close()


# Several servers


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


# Versions


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


# Eviction and memory


def test_an_evicted_session_is_absent_and_stays_so() -> None:
    """F-N8, F-S11: a full memcached drops old sessions; nothing brings them back, and nothing fails."""
    with Memcached("-m", "8", "-I", "1m") as server:
        store = MemcachedStore(server.address)
        key = a_key()
        first = created(store, key, a_record(b"x" * 100_000))
        while int(server.statistic("evictions")) < 200:
            assert store.create(a_key(), a_record(b"x" * 100_000))

        assert store.load(key) is None
        assert not store.update(key, a_record(), version=first.version)
        assert not store.update(key, a_record(expires_in=-10), version=first.version)
        assert not store.delete(key)
        assert store.load(key) is None
        store.close()


def create_many(store: MemcachedStore, size: int) -> None:
    for _ in range(100_000):
        store.create(a_key(), a_record(b"x" * size))


def test_sessions_end_when_memcached_takes_no_more() -> None:
    """With ``-M`` a full memcached refuses: reads work, writes are errors, and logging out works, either way.

    Also where it has no room for an item without anything in it.
    """
    with Memcached("-M", "-m", "8", "-I", "1m") as server:
        store = MemcachedStore(server.address)
        keys = [a_key() for _ in range(20)]
        for key in keys:
            created(store, key, a_record(b"x" * 100))
        for size in (500_000, 50_000, 5000, 500, 100, 0):
            with pytest.raises(StoreUnavailable, match="out of memory"):
                create_many(store, size)
        for key in keys[:10]:
            assert store.update(key, a_record(expires_in=-10), version=loaded(store, key).version)
        for key in keys[10:]:
            assert store.delete(key)

        assert [store.load(key) for key in keys] == [None] * 20
        store.close()


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


# Connections


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
    store = MemcachedStore.from_url(f"memcached://{server.address}?max_connections=2&timeout=10")
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
    store = open_at(server, timeout=10)
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


def test_constructing_connects_to_nothing() -> None:
    """A server that is not there is found out at the first use."""
    store = MemcachedStore(["127.0.0.1:1", "/nowhere/a.sock"], timeout=0.2)
    for _ in range(20):
        with pytest.raises(StoreUnavailable, match=r"memcached at (127\.0\.0\.1:1|/nowhere/a\.sock): "):
            store.load(a_key())


# Configuration


@pytest.mark.parametrize(
    "options",
    [
        {"servers": []},
        {"servers": ""},
        {"servers": ["a:1", "a:1"]},
        {"servers": ["a", "a:11211"]},
        {"servers": ["a:b"]},
        {"servers": ["a:70000"]},
        {"servers": [":11211"]},
        {"servers": ["a b:1"]},
        {"servers": [("localhost", 11211)]},
        {"servers": None},
        {"timeout": 0},
        {"timeout": "1"},
        {"timeout": True},
        {"timeout": float("nan")},
        {"max_item_size": 5},
        {"max_item_size": 1.5},
        {"prefix": "a b"},
        {"prefix": "é"},
        {"prefix": "x" * 239},
        {"prefix": b"x"},
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any]) -> None:
    """Promise 15: at construction, with what to write."""
    with pytest.raises(ConfigurationError, match=r"write|name"):
        MemcachedStore(**{"servers": "localhost", **options})


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("memcached://localhost", ["localhost:11211"]),
        ("memcached://localhost:1/", ["localhost:1"]),
        ("memcached://a:1,b:2?timeout=0.5", ["a:1", "b:2"]),
        ("memcached://[::1]:5", ["::1:5"]),
        ("memcached:///run/a.sock", ["/run/a.sock"]),
        ("memcached:///run/a%20b.sock", None),
        ("memcached:///run/a.sock,/run/b.sock", ["/run/a.sock", "/run/b.sock"]),
    ],
)
def test_a_url_names_the_servers(url: str, names: list[str] | None) -> None:
    """Hosts with their ports, or paths of sockets."""
    if names is None:
        with pytest.raises(ConfigurationError, match="not a server"):
            MemcachedStore.from_url(url)
        return
    assert list(MemcachedStore.from_url(url)._servers._by_name) == names


def test_a_url_sets_the_options() -> None:
    """All of those that the constructor has."""
    store = MemcachedStore.from_url("memcached://a?timeout=0.5&max_item_size=2048&prefix=shop:")

    assert (store._servers._timeout, store._max_item_size, store._prefix) == (0.5, 2048, b"shop:")


@pytest.mark.parametrize(
    "url",
    [
        "memcached:a",
        "memcached://",
        "memcached://user:hunter2@a",
        "memcached://a/b",
        "memcached://a#b",
        "memcached://a?timeuot=1",
        "memcached://a?timeout=x",
        "memcached://a?timeout=1&timeout=2",
        "memcached://a,,b",
    ],
)
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    """Promise 15; and promise 11: a password is not repeated."""
    with pytest.raises(ConfigurationError) as raised:
        MemcachedStore.from_url(url)
    assert "hunter2" not in str(raised.value)


def test_users_cannot_be_asked_for(memcached: MemcachedStore) -> None:
    """memcached has no index: the call that needs one says so."""
    manager = SessionManager(memcached)
    calls: list[Callable[[], object]] = [lambda: manager.sessions_of("alice"), lambda: manager.revoke_all("alice")]
    for call in calls:
        with pytest.raises(ConfigurationError, match="MemcachedStore keeps no index of users; use a store that does"):
            call()


def test_expiry_is_by_the_clock_of_the_client(memcached: MemcachedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 12: to the second, whatever memcached's clock says."""
    key, end = a_key(), int(time.time()) + 100
    assert memcached.create(key, Record(b"value", end, None))
    version = loaded(memcached, key).version
    monkeypatch.setattr(time, "time", lambda: end - 0.001)
    assert memcached.load(key) is not None
    monkeypatch.setattr(time, "time", lambda: float(end))

    assert memcached.load(key) is None
    assert not memcached.update(key, Record(b"new", end + 100, None), version=version)
    assert not memcached.delete(key)
