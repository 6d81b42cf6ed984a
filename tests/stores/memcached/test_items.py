"""What MemcachedStore puts into the server, and for how long: items of bounded size, each with an end."""

import secrets
import time
from collections import Counter
from collections.abc import Callable

import pytest

from session_middleware import ConfigurationError, Record, StoreUnavailable
from session_middleware.stores.memcached import MemcachedStore
from session_middleware.testing import a_key, a_record, created, loaded, race
from tests.backends.memcached import Memcached
from tests.backends.running import PATIENCE
from tests.stores.memcached.opening import open_at

_DAY = 86400


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
    for expires_in, at_most in ((100, 161), (-10, 51)):
        key = a_key()
        memcached.create(key, a_record(expires_in=expires_in))

        assert 0 < seconds_left(server, key) <= at_most
    key, deadline = a_key(), time.monotonic() + 120
    memcached.create(key, a_record(expires_in=-1000))
    while (answer := server.ask(b"mg %b t" % item_name(key))) != b"EN\r\n":
        assert answer in (b"HD t1\r\n", b"HD t0\r\n")
        assert time.monotonic() < deadline


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


def test_a_record_that_is_too_large_is_not_sent(server: Memcached) -> None:
    """F-S11: said before anything is sent, with what to change; the old record is untouched."""
    store = open_at(server, max_item_size=2048)
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
        store = MemcachedStore(server.address, timeout=PATIENCE)
        with pytest.raises(ConfigurationError, match="bytes"):
            store.create(a_key(), a_record(b"x" * 1024 * 1024))
        value = secrets.token_bytes(store.max_value)

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


def test_an_evicted_session_is_absent_and_stays_so() -> None:
    """F-N8, F-S11: a full memcached drops old sessions; nothing brings them back, and nothing fails."""
    with Memcached("-m", "8", "-I", "1m") as server:
        store = MemcachedStore(server.address, timeout=PATIENCE)
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
        store = MemcachedStore(server.address, timeout=PATIENCE)
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
