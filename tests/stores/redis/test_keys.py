"""What RedisStore puts into the server: which keys, for how long, and with how many commands."""

import logging
import math
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from session_middleware import Record
from session_middleware.stores import redis as module
from session_middleware.stores.redis import RedisStore
from session_middleware.testing import a_key, a_record, created, listed, loaded, race
from tests.backends.redis import RedisServer, until
from tests.backends.running import PATIENCE
from tests.stores.redis.ends import HOUR, end_of

# What a time to live that was told is late on its way to the server (seconds).
LATE = 30


def test_no_key_is_without_an_end(redis_store: RedisStore, raw: Any, prefix: str) -> None:
    """Promise 13: after any verb, in any order and from many threads, every key expires by itself."""

    def live() -> None:
        for number in range(20):
            key = a_key()
            stored = created(redis_store, key, a_record(user_id="alice"))
            redis_store.update(key, a_record(user_id="bob", expires_in=HOUR + number), version=stored.version)
            redis_store.update(key, a_record(user_id="carol"), version=stored.version)
            if number % 3:
                redis_store.delete(key)
            listed(redis_store, "alice")

    race(*[live] * 4)
    names = list(raw.scan_iter(f"{prefix}*"))

    assert len(names) > 20
    assert [name for name in names if raw.ttl(name) < 0] == []


def test_a_session_expires_with_its_record(redis_store: RedisStore, raw: Any, prefix: str) -> None:
    """Promise 13: the expiry is set in the same step as the value, with some slack, and every write moves it."""
    key, ends = a_key(), int(time.time()) + HOUR
    version = created(redis_store, key, Record(b"", ends, None)).version
    assert 0 <= end_of(raw, prefix + key) - ends - module._GRACE <= LATE

    assert redis_store.update(key, Record(b"", ends + 100, "alice"), version=version)
    assert 0 <= end_of(raw, prefix + key) - ends - 100 - module._GRACE <= LATE


def test_what_has_expired_is_absent_though_redis_has_it(
    redis_store: RedisStore, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 12: for every verb, and in every list."""
    keys, now = [a_key() for _ in range(4)], time.time()
    versions = [created(redis_store, key, a_record(user_id="alice")).version for key in keys]
    monkeypatch.setattr(time, "time", lambda: now + HOUR + 1)

    assert [redis_store.load(key) for key in keys] == [None] * 4
    assert redis_store.load_many(keys) == {}
    assert listed(redis_store, "alice") == list(redis_store.keys()) == []
    assert not redis_store.update(keys[0], a_record(), version=versions[0])
    assert redis_store.delete_many(keys[:1]) == []
    assert not redis_store.delete(keys[1])
    assert raw.exists(*[prefix + key for key in keys]) == 2
    assert redis_store.create(keys[2], a_record(b"new"))
    assert not redis_store.create(keys[2], a_record(b"newer"))
    assert loaded(redis_store, keys[2]).value == b"new"
    monkeypatch.setattr(time, "time", lambda: now)
    assert loaded(redis_store, keys[3]).value == b"value"


@pytest.mark.parametrize("behind", [2 * HOUR, -2 * HOUR])
def test_the_clock_of_redis_may_be_another(
    redis_store: RedisStore, behind: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise 12: when a session ends, our clock says, by however much that of Redis is ahead of it, or behind."""
    now, key, other = time.time() - behind, a_key(), a_key()
    monkeypatch.setattr(time, "time", lambda: now)
    for name in (key, other):
        created(redis_store, name, a_record(user_id="alice"))
    assert redis_store.update(key, a_record(b"new", user_id="alice"), version=loaded(redis_store, key).version)
    monkeypatch.setattr(time, "time", lambda: now + HOUR - 2)
    assert listed(redis_store, "alice") == sorted([key, other])
    assert loaded(redis_store, key).value == b"new"
    monkeypatch.setattr(time, "time", lambda: now + HOUR + 1)
    assert listed(redis_store, "alice") == []


def test_an_end_beyond_all_ends_is_far_away(redis_store: RedisStore) -> None:
    """Promise 10: it comes from a damaged record, and is no exception."""
    key = a_key()
    for user in (None, "alice"):
        record = Record(b"value", 2**60, user)
        assert redis_store.update(key, record, version=created(redis_store, key).version)
        assert loaded(redis_store, key).value == b"value"
        assert redis_store.delete(key)


def test_a_session_that_is_gone_at_once_is_told_of_once(
    redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """F-C10: written by a host whose clock is behind ours by more than it lives; by how much, and which clocks."""
    now, keys = time.time(), [a_key() for _ in range(3)]
    monkeypatch.setattr(time, "time", lambda: now - 2 * HOUR)
    for key in keys:
        created(redis_store, key)
    monkeypatch.setattr(time, "time", lambda: now)

    assert [redis_store.load(key) for key in keys] == [None] * 3
    (line,) = [record.getMessage() for record in caplog.records if "clock" in record.message]
    assert re.search(rf"^session {keys[0]} has ended by the clock of this host \(20\d\d-.*\+00:00\)", line)
    assert re.search(r"host that wrote it has (3600|35\d\d) s to live: .* differ by 7[12]\d\d s", line)


def test_a_session_that_ended_in_its_time_is_not_told_of(
    redis_store: RedisStore, raw: Any, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Clocks that agree to some seconds are none of anybody's business; nor is a user of Redis who may not ask."""
    key = a_key()
    redis_store.create(key, Record(b"", math.ceil(time.time() + 0.1), None))
    until(lambda: redis_store.load(key) is None, "it has not ended")
    raw.pexpire(prefix + key, 1000 * (module._GRACE + 3))
    assert redis_store.load(key) is None

    assert [record for record in caplog.records if "clock" in record.getMessage()] == []


def test_a_small_session_takes_few_bytes(server: RedisServer, raw: Any) -> None:
    """110 bytes, which is more than ``{"uid": 1}`` with its envelope, take at most 200, all that Redis adds included."""
    store, key = RedisStore(server.url, timeout=PATIENCE), a_key()
    created(store, key, a_record(bytes(110)))

    assert raw.memory_usage(f"session:{key}") <= 200
    store.close()


def calls(raw: Any, work: Callable[[], object]) -> dict[str, int]:
    """Return how often the server ran each command while *work* was done; a command of a script counts, too."""
    raw.config_resetstat()
    work()
    found = raw.info("commandstats")
    ours = {name.removeprefix("cmdstat_").partition("|")[0]: int(counts["calls"]) for name, counts in found.items()}
    return {name: count for name, count in ours.items() if name not in ("config", "info", "client", "select", "ping")}


def test_a_verb_is_one_command(redis_store: RedisStore, raw: Any) -> None:
    """One atomic operation each, and no other command around it."""
    key = a_key()
    version = created(redis_store, key).version
    redis_store.update(key, a_record(), version=version)
    version = loaded(redis_store, key).version

    assert calls(raw, lambda: redis_store.create(a_key(), a_record())) == {"set": 1}
    assert calls(raw, lambda: redis_store.load(key)) == {"get": 1}
    assert calls(raw, lambda: redis_store.update(key, a_record(), version=version)) == {
        "evalsha": 1,
        "getrange": 1,
        "set": 1,
    }
    version = loaded(redis_store, key).version
    redis_store.update(key, Record(b"", 0, None), version=b"another ")
    assert calls(raw, lambda: redis_store.update(key, Record(b"", 0, None), version=version)) == {
        "evalsha": 1,
        "getrange": 1,
        "del": 1,
    }
    redis_store.delete(a_key())
    assert calls(raw, lambda: redis_store.delete(key)) == {"evalsha": 1, "getrange": 1, "del": 1}


def test_what_others_wrote_is_no_session(redis_store: RedisStore, raw: Any, prefix: str) -> None:
    """Promise 10: damaged or foreign, it is the empty value, which is no record of anybody; never an error."""
    strange: list[Callable[[str], object]] = [
        lambda name: raw.set(name, b"short"),
        lambda name: raw.set(name, bytes(8) + b"\xff"),
        lambda name: raw.rpush(name, "a list"),
    ]
    for write in strange:
        key = a_key()
        write(prefix + key)
        assert loaded(redis_store, key).value == redis_store.load_many([key])[key].value == b""
        assert redis_store.delete(key)

    key = a_key()
    raw.set(prefix + key, b"short")
    version = loaded(redis_store, key).version
    assert redis_store.update(key, Record(b"", 0, None), version=version)
    assert redis_store.load(key) is None


def test_only_sessions_are_listed(redis_store: RedisStore, raw: Any, prefix: str) -> None:
    """What else is in the server, under the same prefix too, is none of ours."""
    key = a_key()
    redis_store.create(key, a_record(user_id="alice" * 9))
    for name in (f"{prefix}short", f"{prefix}{a_key()}more", f"x{prefix}{a_key()}", f"{prefix}user:{a_key()[5:]}"):
        raw.set(name, "", ex=60)

    assert list(redis_store.keys()) == [key]


def test_a_prefix_is_no_pattern(server: RedisServer, raw: Any) -> None:
    """Wildcards in it stand for themselves."""
    one, other = (RedisStore(server.url, prefix=prefix, timeout=PATIENCE) for prefix in ("a[b]*?\\c:", "ab--c:"))
    key = a_key()
    created(one, key)
    created(other, a_key())

    assert list(one.keys()) == [key]
    assert raw.exists(f"a[b]*?\\c:{key}")


def test_two_prefixes_are_two_stores(server: RedisServer, prefix: str) -> None:
    """One server may keep the sessions of several sites."""
    one, other = (RedisStore(server.url, prefix=f"{name}{prefix}", timeout=PATIENCE) for name in ("", "other-"))
    key = a_key()
    created(one, key, a_record(user_id="alice"))

    assert other.load(key) is None
    assert listed(other, "alice") == []


@pytest.mark.parametrize(
    ("policy", "maxmemory", "warned"), [("allkeys-lru", "1gb", 1), ("noeviction", "1gb", 0), ("volatile-ttl", "0", 0)]
)
def test_a_server_that_drops_sessions_is_warned_of_once(
    server: RedisServer, raw: Any, caplog: pytest.LogCaptureFixture, policy: str, maxmemory: str, warned: int
) -> None:
    """F-N8: eviction is silent, so whoever has set it is told, once."""
    before = raw.config_get("maxmemory*")
    raw.config_set("maxmemory-policy", policy)
    raw.config_set("maxmemory", maxmemory)
    try:
        store = RedisStore(server.url, timeout=PATIENCE)
        race(*[lambda: store.load(a_key())] * 4)
        store.close()
        store.load(a_key())
    finally:
        raw.config_set("maxmemory-policy", before["maxmemory-policy"])
        raw.config_set("maxmemory", before["maxmemory"])

    found = [record for record in caplog.records if "maxmemory-policy is" in record.message]
    assert len(found) == warned
    assert all(record.levelno == logging.WARNING and f":{server.port}/0" in record.message for record in found)
