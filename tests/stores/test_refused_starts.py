"""What a server or a file refuses for good does not start, and says what to write instead; what passes does start."""

import logging
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from session_middleware import (
    ConfigurationError,
    MemoryStore,
    SessionMiddleware,
    SQLiteStore,
    StoreUnavailable,
    StoreUnusable,
)
from session_middleware.stores.memcached import MemcachedStore
from session_middleware.stores.redis import RedisStore
from session_middleware.testing import a_key, a_record, created
from tests.apps import a_site
from tests.backends.memcached import Memcached
from tests.backends.redis import RedisCluster, RedisSentinels, RedisServer, SecretRedisServer
from tests.backends.running import PATIENCE, PATIENT

RIGHTS = (
    *("~session:*", "+get", "+set", "+del", "+getrange", "+eval", "+evalsha"),
    *("+zadd", "+zscore", "+zrange", "+zrevrange", "+zrem", "+expire", "+pttl"),
)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


class TestRedis:
    @pytest.mark.parametrize(
        ("place", "message"),
        [
            ("redis://127.0.0.1:{}/99", "DB index is out of range; write a database that there is"),
            ("redis://:s5word@127.0.0.1:{}", "AUTH .*; look at the user and the password: redis://user:password@host"),
            ("redis://ann:s5word@127.0.0.1:{}", "WRONGPASS .*; look at the user and the password"),
            ("redis+cluster://127.0.0.1:{}", "cluster support disabled; write redis:// and this one server"),
            ("redis+sentinel://127.0.0.1:{}/shop", "SENTINEL'; write the addresses of the sentinels"),
        ],
    )
    def test_what_it_refuses_for_good_does_not_start(self, server: RedisServer, place: str, message: str) -> None:
        """Promise 15; and no password is told."""
        with pytest.raises(ConfigurationError, match=message) as caught:
            SessionMiddleware(a_site, f"{place.format(server.port)}?{PATIENT}")
        assert "s5word" not in str(caught.value)

    def test_a_server_that_wants_a_password_is_not_started_with(self, server: RedisServer) -> None:
        """Promise 15."""
        with server.client() as client:
            client.config_set("requirepass", "s5word")
            try:
                for user in ("", ":wrong@"):
                    with pytest.raises(ConfigurationError, match=r"(NOAUTH|WRONGPASS) .*; look at the user"):
                        SessionMiddleware(a_site, f"redis://{user}127.0.0.1:{server.port}?{PATIENT}")
                SessionMiddleware(a_site, f"redis://:s5word@127.0.0.1:{server.port}?{PATIENT}")
            finally:
                client.config_set("requirepass", "")

    def test_an_authority_that_is_not_known_is_not_started_with(self) -> None:
        """Promise 15: nothing but a change of the settings makes a certificate known."""
        with SecretRedisServer() as server:
            with pytest.raises(ConfigurationError, match=r"CERTIFICATE_VERIFY_FAILED.*ssl_ca_certs=/path/of/authority\.pem"):
                SessionMiddleware(a_site, f"rediss://localhost:{server.port}?{PATIENT}")
            SessionMiddleware(a_site, f"{server.url}&{PATIENT}")

    def test_a_node_of_a_cluster_is_not_started_with(self, cluster: RedisCluster) -> None:
        """Promise 15."""
        with pytest.raises(ConfigurationError, match=r"write redis\+cluster:// and its nodes"):
            SessionMiddleware(a_site, f"redis://127.0.0.1:{cluster.nodes[0].port}?{PATIENT}")

    @pytest.mark.parametrize(
        "missing", ["~session:*", "+set", "+del", "+getrange", "+evalsha", "+zadd", "+zrange", "+expire"]
    )
    def test_a_user_who_may_not_write_is_not_started_with(self, server: RedisServer, missing: str) -> None:
        """Promise 15: each right that a sign-in needs; with all of them it starts, and nothing is left."""
        with server.client() as client:
            for name, rights in (("some", [right for right in RIGHTS if right != missing]), ("all", RIGHTS)):
                client.execute_command("ACL", "SETUSER", name, "reset", "on", ">s5word", *rights)
            with pytest.raises(ConfigurationError, match=r"this user needs ~prefix\* of the store, \+get \+set"):
                SessionMiddleware(a_site, f"redis://some:s5word@127.0.0.1:{server.port}?{PATIENT}")
            SessionMiddleware(a_site, f"redis://all:s5word@127.0.0.1:{server.port}?{PATIENT}")
            assert client.dbsize() == 0

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"maxmemory": "1", "maxmemory-policy": "noeviction"}, "OOM"),
            ({"replicaof": "127.0.0.1 1"}, "READONLY"),
            ({"min-replicas-to-write": "1"}, "NOREPLICAS"),
        ],
    )
    def test_what_passes_is_one_line(self, settings: dict[str, str], message: str, caplog: pytest.LogCaptureFixture) -> None:
        """A server that is full, or a replica until it is promoted, is no reason not to start."""
        with RedisServer() as server:
            with server.client() as client:
                for name, value in settings.items():
                    client.config_set(name, value) if name != "replicaof" else client.replicaof("127.0.0.1", 1)
            SessionMiddleware(a_site, f"redis://127.0.0.1:{server.port}?{PATIENT}")

        (line,) = lines(caplog)
        assert message in line

    def test_a_trial_is_repeated_where_one_was_broken_off(self, server: RedisServer) -> None:
        """What a process that was killed has left of it keeps nobody from starting, and is removed."""
        store = RedisStore(server.url, timeout=PATIENCE)
        created(store, "-" * 12)
        store.open()

        with server.client() as client:
            assert client.dbsize() == 0

    def test_with_replicas_and_on_many_servers_nothing_is_left(
        self, cluster: RedisCluster, sentinels: RedisSentinels
    ) -> None:
        """Nor is anybody's session touched."""
        for url in (cluster.url, sentinels.url):
            store = RedisStore(url, prefix=f"{a_key()}:", wait_replicas=1, timeout=PATIENCE)
            before = created(store, key := a_key(), a_record(user_id="alice"))
            store.open()
            assert list(store.keys()) == [key]
            assert store.load(key) == before
            store.close()

    def test_options_of_the_store_are_not_passed_over(self) -> None:
        """Promise 15: in the URL of a store that is made directly."""
        with pytest.raises(ConfigurationError, match=r"'prefix' is an option of the store: give it as an argument, or use"):
            RedisStore("redis://localhost?prefix=shop:")

        store = RedisStore.from_url("rediss://localhost/1?prefix=shop:&ssl_cert_reqs=none")
        assert store._index_of(b"") == b"shop:user:"


class TestSQLite:
    @pytest.mark.parametrize("kind", ["pipe", "device"])
    def test_what_is_no_file_does_not_start(self, kind: str, tmp_path: Path) -> None:
        """Promise 15: a pipe keeps nothing, nor does a device."""
        path = tmp_path / "pipe"
        os.mkfifo(path)
        with pytest.raises(ConfigurationError, match="is no file to keep anything in: write the path of a file"):
            SessionMiddleware(a_site, SQLiteStore(path if kind == "pipe" else os.devnull))

    def test_a_name_that_is_too_long_does_not_start(self, tmp_path: Path) -> None:
        """Promise 15."""
        with pytest.raises(ConfigurationError, match="File name too long"):
            SessionMiddleware(a_site, SQLiteStore(tmp_path / ("x" * 300)))

    def test_too_many_open_files_are_not_for_good(self, tmp_path: Path) -> None:
        """They are closed some day: the site starts, and works from then on."""
        store, key = SQLiteStore(tmp_path / "sessions.sqlite3"), a_key()
        before = created(store, key)
        store.close()
        open_files = [os.open(os.devnull, os.O_RDONLY)]
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files[0] + 50, limits[1]))
        try:
            with suppress(OSError):
                while True:
                    open_files.append(os.open(os.devnull, os.O_RDONLY))
            with pytest.raises(StoreUnavailable, match="unable to open database file") as caught:
                store.load(key)
            assert not isinstance(caught.value, StoreUnusable)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for file in open_files:
                os.close(file)
        assert store.load(key) == before

    def test_a_log_that_cannot_be_made_is_for_good(self, tmp_path: Path) -> None:
        """Promise 15: nothing but a change makes a place for it."""
        path = tmp_path / "sessions.sqlite3"
        (tmp_path / "sessions.sqlite3-wal").symlink_to(tmp_path / "nowhere" / "log")
        with pytest.raises(ConfigurationError, match="unable to open database file"):
            SessionMiddleware(a_site, SQLiteStore(path))


@pytest.mark.parametrize(
    ("store", "most"),
    [
        (lambda: MemcachedStore("127.0.0.1:1", max_item_size=256 * 1024), 260_620),
        (lambda: MemoryStore(max_bytes=256 * 1024), 260_236),
    ],
)
def test_a_session_that_the_store_cannot_keep_does_not_start(store: Callable[[], Any], most: int) -> None:
    """Promise 15: the error says how long a session may be, and so long it may be."""
    with pytest.raises(
        ConfigurationError, match=f"max_bytes=262144: .* keeps none that is so long; write max_bytes={most} or"
    ):
        SessionMiddleware(a_site, store(), check_store=False)
    with pytest.raises(ConfigurationError, match=f"max_bytes={most + 1}: "):
        SessionMiddleware(a_site, store(), max_bytes=most + 1, check_store=False)
    SessionMiddleware(a_site, store(), max_bytes=most, check_store=False)


def test_sessions_that_are_lost_by_the_clock_of_memcached_are_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """F-C10: those of more than thirty days, where it is ahead by more than that; the others live."""
    day = 86400
    now = time.time() - 40 * day
    monkeypatch.setattr(time, "time", lambda: now)
    with Memcached() as server:
        store = MemcachedStore(server.address, timeout=PATIENCE)
        created(store, key := a_key(), a_record(expires_in=29 * day))
        assert store.load(key) is not None
        assert lines(caplog) == []
        for _ in range(2):
            assert store.create(key := a_key(), a_record(expires_in=31 * day))
            assert store.load(key) is None
        store.close()

    (line,) = lines(caplog)
    assert f"memcached at {server.address}: a session that was just stored is gone" in line
    assert "more than 30 days ahead of this host's (20" in line
