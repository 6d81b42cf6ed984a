"""RedisStore when the server is killed, loads, forgets scripts, is full, or forbids: F-N1, F-N3, F-N6, F-N7, F-S1."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

import pytest
import redis

from session_middleware import Record, StoreUnavailable
from session_middleware.stores.redis import RedisStore
from session_middleware.testing import a_key, a_record, created, listed, loaded
from tests import gates
from tests.backends.process import free_port
from tests.backends.redis import RedisServer, until
from tests.backends.running import PATIENCE
from tests.stopwatch import Stopwatch
from tests.stores.redis.faults import fails, wait_until_back

pytestmark = pytest.mark.timed


def test_a_killed_server_is_used_again_when_it_is_back(prefix: str) -> None:
    """F-N1: under load; what was acknowledged is there (it is on disk), nothing is mixed up, no connection is left."""
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        store, stop = RedisStore(server.url, prefix=prefix), Event()
        acknowledged, wrong = list[str](), list[object]()

        def work() -> None:
            while not stop.is_set():
                key = a_key()
                with suppress(StoreUnavailable):
                    assert store.create(key, a_record(key.encode()))
                    acknowledged.append(key)
                    stored = store.load(key)
                    if stored is None or stored.value != key.encode():
                        wrong.append(stored)
                time.sleep(0.001)

        threads = [Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(gates.full(2, 100)):
            time.sleep(0.1)
            server.kill()
            time.sleep(0.05)
            server.start()
            assert wait_until_back(store, 2.0) < 1.0
        stop.set()
        for thread in threads:
            thread.join()

        assert len(acknowledged) > 50
        assert not wrong
        assert [key for key in acknowledged if store.load(key) is None] == []
        with server.client() as client:
            assert len(client.client_list()) <= 4 + 2
        store.close()


def test_nobody_is_there(prefix: str) -> None:
    """F-N2: refused is known at once, and the message says where."""
    port = free_port()
    store = RedisStore(f"redis://:s5word@127.0.0.1:{port}/3", prefix=prefix, timeout=PATIENCE)
    with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{port}/3: .*[Rr]efused") as caught:
        store.load(a_key())
    assert isinstance(caught.value.__cause__, redis.ConnectionError)
    with Stopwatch() as watch:
        for _ in range(50):
            fails(lambda: store.load(a_key()))
    assert watch.own < 0.5


def test_a_server_that_is_loading_is_away(prefix: str) -> None:
    """F-N6: it answers, and it is not an answer; when it has loaded, all is there."""
    with RedisServer(rdbcompression="no") as server:
        store = RedisStore(server.url, prefix=prefix, timeout=PATIENCE)
        key = a_key()
        created(store, key)
        with server.client() as client:
            # It answers after every two megabytes that it has loaded.
            for number in range(60):
                client.set(f"filler:{number}", b"x" * 1_000_000, ex=600)
            client.save()
        server.settings["key_load_delay"] = 25_000
        server.prepare()
        server.kill()
        answers = server.answers
        server.answers = lambda: True  # type: ignore[method-assign]
        server.start()
        found = list[str]()

        def look() -> bool:
            try:
                return store.load(key) is not None
            except StoreUnavailable as error:
                found.append(str(error))
                return False

        until(look, "it does not load")
        server.answers = answers  # type: ignore[method-assign]
        assert any("loading" in text for text in found), found
        store.close()


@contextmanager
def full(raw: Any) -> Iterator[None]:
    """Let the server have no memory left for anything new."""
    raw.config_set("maxmemory-policy", "noeviction")
    raw.config_set("maxmemory", 1)
    try:
        yield
    finally:
        raw.config_set("maxmemory", 0)


def test_out_of_memory_a_session_can_be_ended_for_replicas_too(server: RedisServer, raw: Any, prefix: str) -> None:
    """F-S1, promise 5: also where there is no memory for what marks its end."""
    store = RedisStore(server.url, prefix=prefix, wait_replicas=1, timeout=PATIENCE)
    with RedisServer() as replica:
        replica.follow(server)
        keys = [a_key() for _ in range(20)]
        versions = [created(store, key, a_record(user_id="alice")).version for key in keys]
        with full(raw):
            assert all(store.delete(key) for key in keys[:10])
            for key, version in zip(keys[10:], versions[10:], strict=True):
                assert store.update(key, Record(b"", 0, None), version=version)
            assert listed(store, "alice") == []
        with replica.client() as client:
            assert [name for name in client.scan_iter(f"{prefix}*") if b"user:" not in name] == []
    store.close()


def test_out_of_memory_is_unavailable_for_writes_only(direct: RedisStore, raw: Any) -> None:
    """F-S1, promise 5: reading works, writing does not, and ending a session does, whichever way it is ended."""
    keys = [a_key() for _ in range(60)]
    versions = [created(direct, key, a_record(key.encode(), user_id="alice")).version for key in keys]
    with full(raw):
        assert [loaded(direct, key).value for key in keys] == [key.encode() for key in keys]
        assert set(direct.keys_of("alice")) == set(direct.keys()) == set(keys)
        for record in (a_record(), a_record(user_id="alice"), a_record(user_id="bob")):
            with pytest.raises(StoreUnavailable, match="used memory > 'maxmemory'"):
                direct.create(a_key(), record)
            with pytest.raises(StoreUnavailable, match="used memory > 'maxmemory'"):
                direct.update(keys[0], record, version=versions[0])
        assert all(direct.delete(key) for key in keys[:20])
        raw.script_flush()
        assert all(
            direct.update(key, Record(b"", 0, None), version=version)
            for key, version in zip(keys[20:40], versions[20:40], strict=True)
        )
    assert set(direct.keys()) == set(keys[40:])


def test_a_user_who_may_not_is_told_so(server: RedisServer, raw: Any) -> None:
    """F-N7: the error names the server and what is wrong, and no secret; what is allowed works."""
    everything = ("resetpass", "resetkeys", "-@all", ">s5word", "~session:*")
    commands = ("+get", "+set", "+del", "+getrange", "+evalsha", "+eval")
    raw.execute_command("ACL", "SETUSER", "reader", "on", *everything, "+get")
    raw.execute_command("ACL", "SETUSER", "writer", "on", *everything, *commands)
    reader, writer = (
        RedisStore(f"redis://{name}:s5word@127.0.0.1:{server.port}/0", timeout=PATIENCE) for name in ("reader", "writer")
    )
    key = a_key()
    value = b"what nobody but us may know"
    version = created(writer, key, a_record(value)).version
    assert loaded(reader, key).value == value

    refused: list[Callable[[], object]] = [
        lambda: reader.create(a_key(), a_record(value)),
        lambda: reader.update(key, a_record(value), version=version),
        lambda: reader.delete(key),
        lambda: writer.create(a_key(), a_record(value, user_id="alice")),
    ]
    for verb in refused:
        with pytest.raises(StoreUnavailable) as caught:
            verb()
        text = f"{caught.value} {caught.value.__cause__!r}"
        assert f"127.0.0.1:{server.port}/0: " in text
        assert "permission" in text.lower() or "can't run this command" in text
        assert "s5word" not in text
        assert "nobody" not in text
    assert writer.update(key, a_record(b"new"), version=version)
    assert writer.delete(key)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("wrong:s5word@127.0.0.1:{port}/0", "WRONGPASS|invalid username-password"),
        (":s5word@127.0.0.1:{port}/0", "WRONGPASS|AUTH"),
        ("127.0.0.1:{port}/99", "DB index is out of range"),
    ],
)
def test_wrong_credentials_and_databases_are_told_without_secrets(server: RedisServer, place: str, message: str) -> None:
    """F-N7: at the first use, as unavailable, and again at the next."""
    store = RedisStore(f"redis://{place.format(port=server.port)}", timeout=PATIENCE)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=message) as caught:
            store.load(a_key())
        assert f"127.0.0.1:{server.port}/" in str(caught.value)
        assert "s5word" not in "".join(traceback.format_exception(caught.value))


def test_a_server_without_a_command_tells_no_arguments(prefix: str) -> None:
    """Promise 11: Redis quotes an unknown command with what followed it, and that is a session."""
    with RedisServer(**{"rename-command EVALSHA": '""'}) as server:
        store, key = RedisStore(server.url, prefix=prefix, timeout=PATIENCE), a_key()
        version = created(store, key).version
        with pytest.raises(StoreUnavailable, match=r"unknown command ['`]EVALSHA['`]; the store needs") as caught:
            store.update(key, a_record(b"what nobody may know"), version=version)
        assert "nobody" not in repr(caught.value.__cause__)
