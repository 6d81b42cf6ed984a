"""RedisStore when something is wrong: with the network, the server, its memory, its permissions, or in between."""

import ctypes
import re
import select
import socket
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

import pytest
import redis

from session_middleware import Record, Session, SessionManager, StoreUnavailable
from session_middleware.stores.breaker import _PAUSE
from session_middleware.stores.redis import RedisStore
from session_middleware.stores.redis.connections import Connection
from session_middleware.testing import a_key, a_record, created, filled, listed, loaded, race
from tests.backends.process import free_port
from tests.backends.proxy import FaultProxy, Side
from tests.backends.redis import RedisServer, until
from tests.servers.direct import Site
from tests.servers.gunicorn import ROOT
from tests.stopwatch import Stopwatch
from tests.stores.forked import in_child

pytestmark = pytest.mark.timed

BUDGET = 0.15


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def raw(server: RedisServer) -> Iterator[Any]:
    with server.client() as client:
        yield client


@pytest.fixture
def prefix() -> str:
    return f"{a_key()}:"


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: FaultProxy, prefix: str) -> Iterator[RedisStore]:
    """A store that the proxy stands in front of, with a small time budget."""
    store = RedisStore(f"redis://127.0.0.1:{proxy.port}", prefix=prefix, timeout=BUDGET)
    yield store
    store.close()


@pytest.fixture
def direct(server: RedisServer, prefix: str) -> Iterator[RedisStore]:
    """A store on the same sessions, past the proxy."""
    store = RedisStore(server.url, prefix=prefix)
    yield store
    store.close()


def verbs(store: RedisStore, key: str, version: Any) -> list[Callable[[], object]]:
    """Verbs, one of each kind, on a record that is there."""
    return [
        lambda: store.load(key),
        lambda: store.update(key, a_record(b"new", user_id="bob"), version=version),
        lambda: listed(store, "alice"),
        lambda: list(store.keys()),
    ]


def timed(work: Callable[[], object]) -> float:
    """Return how long *work* takes, but for what the machine is late."""
    with Stopwatch() as watch:
        work()
    return watch.own


def fails(work: Callable[[], object]) -> None:
    with pytest.raises(StoreUnavailable):
        work()


def wait_until_back(store: RedisStore, within: float) -> float:
    """Ask until the store answers again; return after how many seconds it did."""
    started = time.monotonic()
    while True:
        with suppress(StoreUnavailable):
            store.load(a_key())
            return time.monotonic() - started
        assert time.monotonic() < started + within, "the store has not come back"
        time.sleep(0.005)


# The network (F-N1 to F-N4)

TROUBLES: dict[str, Callable[[FaultProxy], None]] = {
    "refuse": FaultProxy.refuse,
    "black hole": FaultProxy.black_hole,
    "drop": FaultProxy.drop,
    "trickle": lambda proxy: proxy.trickle(0.05, towards="client"),
    "latency": lambda proxy: proxy.latency(2.0),
}


@pytest.mark.parametrize(
    ("trouble", "connected"),
    [*((trouble, True) for trouble in TROUBLES), *((trouble, False) for trouble in list(TROUBLES)[:4])],
)
def test_a_verb_takes_no_longer_than_its_budget(
    store: RedisStore, proxy: FaultProxy, direct: RedisStore, trouble: str, connected: bool
) -> None:
    """Promise 7, F-N2 to F-N4: on a connection that is there and on a new one; then the store is right again at once."""
    key = a_key()
    version = created(direct, key, a_record(user_id="alice")).version
    if connected:
        store.load(key)
    TROUBLES[trouble](proxy)
    times = list[float]()
    for verb in verbs(store, key, version):
        store._servers._server.breaker.answered()
        times.append(timed(lambda: fails(verb)))  # noqa: B023 - called at once
    # One of them may have been held up by a machine that is busy with other tests.
    assert statistics.median(times) < 1.1 * BUDGET
    assert max(times) < 1.1 * BUDGET + 0.25
    proxy.heal()

    assert wait_until_back(store, 1.0) < 1.0
    key = a_key()
    assert created(store, key, a_record(key.encode())).value == key.encode()


def test_one_byte_at_a_time_is_read_to_the_end_if_it_comes_in_time(store: RedisStore, proxy: FaultProxy) -> None:
    """F-N4: slow, but within the budget, is not wrong."""
    key = a_key()
    created(store, key)
    proxy.trickle(0.001, towards="client")

    assert [loaded(store, key).value for _ in range(3)] == [b"value"] * 3
    assert store.delete(key)


def test_a_black_hole_is_not_waited_for_by_everybody(store: RedisStore, proxy: FaultProxy) -> None:
    """F-N3: after the first verbs the others are told at once that the server is away."""
    store.load(a_key())
    proxy.black_hole()
    race(*[lambda: fails(lambda: store.load(a_key()))] * 8)
    times = [timed(lambda: fails(lambda: store.load(a_key()))) for _ in range(200)]

    assert statistics.median(times) < 0.005
    assert max(times) < 1.1 * BUDGET + 0.25


def test_a_connection_that_the_server_closed_is_not_noticed(
    store: RedisStore, proxy: FaultProxy, raw: Any, prefix: str
) -> None:
    """An idle connection that is gone costs another connection, not an error; with every verb, with every connection."""
    race(*[lambda: [store.load(a_key()) for _ in range(20)]] * 4)
    key = a_key()
    version = created(store, key, a_record(user_id="alice")).version
    works: list[Callable[[], object]] = [
        lambda: store.load(key) is not None,
        lambda: store.create(a_key(), a_record(user_id="alice")),
        lambda: store.update(key, a_record(user_id="alice"), version=version),
        lambda: len(listed(store, "alice")) == 2,
        lambda: len(list(store.keys())) == 2,
        lambda: store.update(key, Record(b"", 0, None), version=loaded(store, key).version),
        lambda: not store.delete(a_key()) or True,
    ]
    for works_once in works:
        proxy.reset_links_now()
        assert works_once()


def test_a_connection_that_rested_for_long_is_not_trusted(store: RedisStore, proxy: FaultProxy, prefix: str) -> None:
    """Firewalls forget idle connections without a word; to wait for them would cost each of them the budget."""
    store.load(a_key())
    (connection,) = store._servers._server.idle
    opened = proxy.connections
    connection.deadline -= 50
    store.load(a_key())
    assert proxy.connections == opened

    connection.deadline -= 70
    store.load(a_key())
    assert proxy.connections == opened + 1


@pytest.mark.parametrize("towards", ["server", "client"])
def test_a_reset_at_every_byte_gives_no_wrong_answer(
    store: RedisStore, direct: RedisStore, proxy: FaultProxy, towards: Side
) -> None:
    """F-N1, F-N4: a verb is done, or it fails; what it says is true; and the next answer is that to the next question."""
    for place in range(0, 460, 7) if towards == "server" else range(70):
        one, other = a_key(), a_key()
        version = created(store, one, a_record(one.encode(), user_id="alice")).version
        created(direct, other, a_record(other.encode()))

        def cut(verb: Callable[[], object]) -> object:
            proxy.reset(place, towards=towards, connections=1)  # noqa: B023
            try:
                return verb()
            except StoreUnavailable:
                return None
            finally:
                proxy.heal()
                assert loaded(store, other).value == other.encode()  # noqa: B023

        stored: Any = cut(lambda: store.load(other))  # noqa: B023
        assert stored.value == other.encode()
        assert cut(lambda: store.update(one, a_record(b"new", user_id="alice"), version=version))  # noqa: B023
        assert loaded(direct, one).value == b"new"
        # At an old version: if it is not known whether the first try was stored, that is what is said.
        assert not cut(lambda: store.update(one, a_record(b"x" * 300), version=version))  # noqa: B023
        assert loaded(direct, one).value == b"new"
        assert cut(lambda: store.delete(one))  # noqa: B023
        assert direct.load(one) is None
        assert cut(lambda: store.create(one, a_record(b"anew")))  # noqa: B023
        assert loaded(direct, one).value == b"anew"


def test_a_lost_answer_is_told_from_a_refusal(store: RedisStore, direct: RedisStore, proxy: FaultProxy) -> None:
    """A write that was done, and whose answer was lost, is found to have been done: it is neither refused nor done twice."""
    key, gone = a_key(), a_key()
    store.load(key)
    proxy.reset(0, towards="client", connections=1)
    assert store.create(key, a_record(b"ours"))
    version = loaded(direct, key).version
    proxy.reset(0, towards="client", connections=1)
    assert store.update(key, a_record(b"new"), version=version)
    assert loaded(direct, key).value == b"new"

    version = created(direct, gone).version
    proxy.reset(0, towards="client", connections=1)
    assert store.update(gone, Record(b"", 0, None), version=version)
    created(direct, gone)
    proxy.reset(0, towards="client", connections=1)
    assert store.delete(gone)
    assert direct.load(gone) is None


def test_a_write_that_may_have_been_replaced_is_not_called_refused(
    store: RedisStore, direct: RedisStore, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 4: if it were, a transaction would be applied twice. Nobody knows, and so it is said."""
    key = a_key()
    version = created(store, key, a_record(b"0")).version
    failed = store._servers.failed

    def meanwhile(*arguments: Any) -> None:
        assert direct.update(key, a_record(b"theirs, after ours"), version=loaded(direct, key).version)
        failed(*arguments)

    monkeypatch.setattr(store._servers, "failed", meanwhile)
    proxy.reset(0, towards="client", connections=1)
    with pytest.raises(StoreUnavailable, match="the answer to a write was lost"):
        store.update(key, a_record(b"ours"), version=version)


def test_an_answer_that_came_too_late_is_nobodys(store: RedisStore, proxy: FaultProxy) -> None:
    """F-N4: the connection on which an answer is still to come is not used again."""
    keys = [a_key() for _ in range(5)]
    for key in keys:
        created(store, key, a_record(key.encode()))
    proxy.latency(BUDGET + 0.1)
    fails(lambda: store.load(keys[0]))
    proxy.heal()
    wait_until_back(store, 1.0)

    for _ in range(20):
        for key in keys:
            assert loaded(store, key).value == key.encode()


def test_a_list_that_breaks_off_does_not_end(store: RedisStore, direct: RedisStore, proxy: FaultProxy) -> None:
    """Promise 7: what could not be asked for is not taken for nothing, wherever it was."""
    keys = filled(direct, 1200, user_id="alice")
    for listing in (store.keys_of("alice"), store.keys()):
        found = {next(listing)}
        proxy.refuse()
        with pytest.raises(StoreUnavailable):
            found.update(listing)
        proxy.heal()
        store._servers._server.breaker.answered()
        assert found < {*keys}


def test_a_list_goes_on_on_another_connection(store: RedisStore, direct: RedisStore, proxy: FaultProxy) -> None:
    """F-N1: one that is lost between two pages costs another connection, not an error."""
    keys = filled(direct, 1200, user_id="alice")
    for listing in (store.keys_of("alice"), store.keys()):
        found = [next(listing)]
        proxy.reset_links_now()
        found += listing
        assert sorted(found) == sorted(keys)


@pytest.mark.parametrize("seconds", [0.7 * BUDGET, 2.0])
def test_a_list_that_is_late_keeps_nobody_from_asking(
    store: RedisStore, direct: RedisStore, proxy: FaultProxy, seconds: float
) -> None:
    """Promise 7: there is more to ask for than for a session, and so it is no sign of the server being away."""
    filled(direct, 1200, user_id="alice")
    store.load(a_key())
    for listing in (store.keys_of("alice"), store.keys()):
        next(listing)
        proxy.latency(seconds)
        with suppress(StoreUnavailable):
            assert [*listing]
            assert seconds < BUDGET
        assert not store._servers._server.breaker.is_open
        proxy.heal()
        store.load(a_key())


@pytest.mark.parametrize("ask", [RedisStore.load_many, RedisStore.delete_many])
def test_a_batch_that_is_late_keeps_nobody_from_asking(
    store: RedisStore, direct: RedisStore, proxy: FaultProxy, ask: Callable[[RedisStore, list[str]], object]
) -> None:
    """Promise 7: nor is it an answer that some could not be asked for."""
    keys = filled(direct, 100, user_id="alice")
    store.load(a_key())
    proxy.latency(2.0)
    fails(lambda: ask(store, keys))
    assert not store._servers._server.breaker.is_open
    proxy.heal()
    store.load(a_key())


def test_a_batch_whose_answer_is_lost_is_done(direct: RedisStore, proxy: FaultProxy, prefix: str) -> None:
    """F-N1: what was there the first time is counted, though the second finds nothing."""
    store = RedisStore(f"redis://127.0.0.1:{proxy.port}", prefix=prefix, timeout=10)
    keys = filled(direct, 100)
    store.load(a_key())
    proxy.reset(0, towards="client", connections=1)
    assert set(store.load_many(keys)) == {*keys}
    proxy.reset(0, towards="client", connections=1)
    assert store.delete_many(keys) == 100
    assert direct.load_many(keys) == {}
    store.close()


# The server (F-N1, F-N3, F-N6)


def test_a_list_is_whole_though_the_server_began_anew_meanwhile(prefix: str) -> None:
    """Promise 19: another process keeps its keys in another order, and what is told has no gap for all that."""
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        store = RedisStore(server.url, prefix=prefix)
        keys = sorted(filled(store, 3000, user_id="alice"))
        for listing in (store.keys_of("alice"), store.keys()):
            found = [next(listing) for _ in range(1000)]
            server.kill()
            server.start()
            wait_until_back(store, 10)
            found += listing
            assert sorted(found) == keys
        store.close()


def test_a_silent_server_is_not_waited_for(server: RedisServer, direct: RedisStore, prefix: str) -> None:
    """F-N3: stopped in the middle, it accepts connections and says nothing."""
    store = RedisStore(server.url, prefix=prefix, timeout=BUDGET)
    store.load(a_key())
    server.pause()
    try:
        assert timed(lambda: fails(lambda: store.load(a_key()))) < 1.1 * BUDGET + 0.25
    finally:
        server.resume()
    assert wait_until_back(store, 1.0) < 1.0


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
        for _ in range(2):
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
    store = RedisStore(f"redis://:s5word@127.0.0.1:{port}/3", prefix=prefix)
    with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{port}/3: .*[Rr]efused") as caught:
        store.load(a_key())
    assert isinstance(caught.value.__cause__, redis.ConnectionError)
    with Stopwatch() as watch:
        for _ in range(50):
            fails(lambda: store.load(a_key()))
    assert watch.own < 0.5


def test_a_server_that_forgot_the_scripts_is_told_them_again(direct: RedisStore, raw: Any) -> None:
    """After SCRIPT FLUSH, a restart or a failover: with every verb that has one, and in one more round trip."""
    key = a_key()
    for _ in range(2):
        raw.script_flush()
        version = created(direct, key, a_record(user_id="alice")).version
        raw.script_flush()
        assert direct.update(key, a_record(b"new", user_id="bob"), version=version)
        raw.script_flush()
        assert not direct.update(key, a_record(b"lost"), version=version)
        raw.script_flush()
        assert listed(direct, "bob") == [key]
        raw.script_flush()
        assert direct.update(key, Record(b"", 0, None), version=loaded(direct, key).version)


def test_a_server_that_is_loading_is_away(prefix: str) -> None:
    """F-N6: it answers, and it is not an answer; when it has loaded, all is there."""
    with RedisServer(rdbcompression="no") as server:
        store = RedisStore(server.url, prefix=prefix)
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

        until(look, "it does not load", within=20)
        server.answers = answers  # type: ignore[method-assign]
        assert any("loading" in text for text in found), found
        store.close()


# Its memory and permissions (F-S1, F-N7)


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
    store = RedisStore(server.url, prefix=prefix, wait_replicas=1, timeout=10)
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
    reader, writer = (RedisStore(f"redis://{name}:s5word@127.0.0.1:{server.port}/0") for name in ("reader", "writer"))
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


def test_the_permissions_that_the_readme_names_are_enough(server: RedisServer, raw: Any, prefix: str) -> None:
    """F-N7: for every verb, with replicas to wait for too."""
    paragraph = (ROOT / "README.md").read_text().partition("An ACL needs")[2].partition("- **")[0]
    commands = re.findall(r"\+[a-z]+(?![a-z|])", paragraph)
    assert {"+get", "+scan", "+wait", "+pexpire"} <= {*commands}
    raw.execute_command("ACL", "SETUSER", "site", "reset", "on", ">s5word", "~session:*", *commands)
    url = f"redis://site:s5word@127.0.0.1:{server.port}/0"
    with RedisServer() as replica:
        replica.follow(server)
        for replicas in (0, 1):
            store = RedisStore(url, prefix=f"session:{prefix}", wait_replicas=replicas, timeout=10)
            keys = [a_key() for _ in range(3)]
            versions = [created(store, key, a_record(user_id="alice")).version for key in keys]
            assert store.update(keys[0], a_record(b"new", user_id="alice"), version=versions[0])
            assert store.update(keys[1], Record(b"", 0, None), version=versions[1])
            assert store.delete(keys[2])
            assert listed(store, "alice") == list(store.keys()) == keys[:1]
            assert store.delete(keys[0])
            store.close()


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
    store = RedisStore(f"redis://{place.format(port=server.port)}")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=message) as caught:
            store.load(a_key())
        assert f"127.0.0.1:{server.port}/" in str(caught.value)
        assert "s5word" not in "".join(traceback.format_exception(caught.value))


def test_a_server_without_a_command_tells_no_arguments(prefix: str) -> None:
    """Promise 11: Redis quotes an unknown command with what followed it, and that is a session."""
    with RedisServer(**{"rename-command EVALSHA": '""'}) as server:
        store, key = RedisStore(server.url, prefix=prefix), a_key()
        version = created(store, key).version
        with pytest.raises(StoreUnavailable, match=r"unknown command ['`]EVALSHA['`]$") as caught:
            store.update(key, a_record(b"what nobody may know"), version=version)
        assert "nobody" not in repr(caught.value.__cause__)


# No room for more


class _Refusing:
    """Something that says one line to whoever connects, and closes the connection."""

    def __init__(self, line: bytes) -> None:
        self._line = line
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "_Refusing":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                with peer:
                    peer.sendall(self._line)


@pytest.mark.parametrize("place", ["redis://:s5word@127.0.0.1:{port}/2", "redis://127.0.0.1:{port}", "unix://{socket}"])
def test_a_server_that_is_full_serves_who_has_a_connection(place: str) -> None:
    """Promise 7: it is not away. Who comes anew is told why not, and is let in as soon as there is room."""
    server = RedisServer(**{"requirepass": "s5word"} if "s5word" in place else {})
    server.password = "s5word" if "s5word" in place else None
    with server as full:
        url = place.format(port=full.port, socket=full.socket)
        store, newcomer, key = RedisStore(url, timeout=10), RedisStore(url, timeout=10), a_key()
        with full.client() as client:
            created(store, key)
            client.config_set("maxclients", len(client.client_list()))
            for _ in range(20):
                with pytest.raises(StoreUnavailable, match="max number of clients reached"):
                    newcomer.load(key)
                in_use = store._servers._server.idle.pop()
                with pytest.raises(StoreUnavailable, match="max number of clients reached"):
                    store.delete_many([key])
                store._servers._server.idle.append(in_use)
                assert loaded(store, key).value == b"value"
            client.config_set("maxclients", 100)
            assert loaded(newcomer, key).value == b"value"
        for one in (store, newcomer):
            one.close()


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("redis://127.0.0.1:{port}", "DENIED Redis is running in protected mode"),
        ("redis+cluster://127.0.0.1:{port}", "ERR max number of clients + cluster connections reached"),
        ("redis+sentinel://127.0.0.1:{port}/name", "ERR max number of clients reached"),
    ],
)
def test_who_is_turned_away_is_told_why(place: str, reason: str) -> None:
    """Promise 7: whatever the deployment; and it does not keep those from asking who have a connection."""
    with _Refusing(f"-{reason}\r\n".encode()) as peer:
        store = RedisStore(place.format(port=peer.port), timeout=10)
        for _ in range(5):
            with pytest.raises(StoreUnavailable, match=re.escape(reason)):
                store.load(a_key())
            with pytest.raises(StoreUnavailable, match=re.escape(reason)):
                list(store.keys())


def test_what_could_not_be_sent_had_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 7: the connection was closed before the first question left, and what the server had said is there."""
    with _Refusing(b"-ERR max number of clients reached\r\n") as peer:

        def too_late(connection: Any, *command: object, **options: object) -> None:
            select.select([connection._sock], [], [], 10)
            connection.disconnect()
            raise redis.ConnectionError("Broken pipe")

        monkeypatch.setattr(redis.Connection, "send_command", too_late)
        with pytest.raises(StoreUnavailable, match="max number of clients reached"):
            RedisStore(f"redis://127.0.0.1:{peer.port}", timeout=10).load(a_key())


def test_who_has_a_connection_goes_on_whatever_keeps_others_from_connecting(direct: RedisStore) -> None:
    """Promise 7: with TLS a server that is full says nothing, and looks to those who come as if it was away."""
    key, server = a_key(), direct._servers._server
    created(direct, key)
    server.breaker.failed()
    in_use = server.idle.pop()
    fails(lambda: direct.load(key))
    server.idle.append(in_use)
    assert loaded(direct, key).value == b"value"


def test_a_bound_of_connections_holds(server: RedisServer, raw: Any, prefix: str) -> None:
    """More threads than that wait for each other; also in a fork, which begins with none."""
    name = a_key()
    store = RedisStore(redis.Redis(port=server.port, client_name=name), prefix=prefix, max_connections=2, timeout=10)

    def work() -> None:
        for _ in range(30):
            created(store, a_key())

    race(*[work] * 8)
    assert sum(client["name"] == name for client in raw.client_list()) <= 2
    assert in_child(lambda: race(*[work] * 4) and None) == 0
    store.close()


def test_all_connections_in_use_is_no_sign_of_the_server_being_away(server: RedisServer, prefix: str) -> None:
    """Promise 7: it says so within its time, keeps nobody from asking, and closes no connection."""
    store = RedisStore.from_url(f"{server.url}?max_connections=1&timeout=0.2&prefix={prefix}")
    store.load(a_key())
    room, idle = store._servers._server._room, list(store._servers._server.idle)
    assert room is not None
    assert room.enter(0)
    with pytest.raises(StoreUnavailable, match="all 1 connections of this process are in use; raise max_connections"):
        store.load(a_key())
    room.leave()
    assert store.load(a_key()) is None
    assert store._servers._server.idle == idle
    store.close()


def test_connections_that_rest_are_closed(server: RedisServer, raw: Any, prefix: str) -> None:
    """After a burst those at the bottom would stay for good, for the last one used is always taken first."""
    name = a_key()
    store = RedisStore(redis.Redis(port=server.port, client_name=name), prefix=prefix, timeout=10)
    pool = store._servers._server

    def open_() -> int:
        return sum(client["name"] == name for client in raw.client_list())

    pool.idle += [pool._open(time.monotonic() + 10) for _ in range(6)]
    for number, connection in enumerate(pool.idle):
        connection.deadline -= 100 if number < 4 else 0
    store.load(a_key())
    until(lambda: open_() == 2, "they stay open")
    store.load(a_key())
    assert len(pool.idle) == open_() == 2
    store.close()


# What a driver invents


class _Invention(Exception):
    pass


def test_whatever_the_driver_raises_is_unavailable(direct: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 7: also what no driver is known to raise, while connecting, asking or answering; its text is not quoted."""

    def invent(*_: object, **__: object) -> None:
        raise _Invention("s5word")

    key = a_key()
    created(direct, key)
    for owner, name in ((redis.Connection, "connect"), (Connection, "_hurry"), (socket.socket, "sendall")):
        direct.close()
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, invent)
            for ask in (lambda: direct.load(key), lambda: list(direct.keys()), lambda: direct.load_many([key])):
                with pytest.raises(StoreUnavailable, match=r"the driver failed \(_Invention\)$") as caught:
                    ask()
                assert isinstance(caught.value.__cause__, _Invention)
        assert loaded(direct, key).value == b"value"


# From outside (F-P7)


class _FromOutside(BaseException):
    pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a socket that redis-py was opening
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # struck once more on its way out
def test_exceptions_from_outside_leave_no_connection_in_the_middle(direct: RedisStore, raw: Any) -> None:
    """F-P7: struck at any moment, a thread leaves no connection behind on which an answer is still to come."""

    def work() -> None:
        with suppress(_FromOutside):
            while True:
                key = a_key()
                assert created(direct, key, a_record(key.encode())).value == key.encode()

    for number in range(60):
        thread = Thread(target=work, daemon=True)
        thread.start()
        time.sleep(0.0007 * (number % 10))
        while thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_FromOutside))
            thread.join(0.05)
        key = a_key()
        assert created(direct, key, a_record(key.encode())).value == key.encode()
    assert len(direct._servers._server.idle) <= 2


# Waiting for replicas


def test_a_write_waits_for_replicas(server: RedisServer, prefix: str) -> None:
    """A write is acknowledged when it is where it must be; too few of them are no answer, in time."""
    store = RedisStore(server.url, prefix=prefix, wait_replicas=1, timeout=0.6)
    key = a_key()
    with pytest.raises(StoreUnavailable, match="0 of 1 replicas have acknowledged"):
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
            assert timed(lambda: fails(lambda: store.delete(key))) < 0.6 + 0.25
        finally:
            replica.resume()
    store.close()


def sign_out(session: Session) -> Iterable[bytes]:
    session.invalidate()
    return [b"goodbye"]


def test_an_end_counts_when_a_replica_knows_it_however_often_it_is_asked_for(prefix: str) -> None:
    """Promise 5: who is told to try again, and does, is not told that all is well while a replica has the session."""
    with RedisServer() as server, RedisServer() as replica:
        store = RedisStore(server.url, prefix=prefix, wait_replicas=1, timeout=0.6)
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
        near = RedisStore(replica.url, prefix=prefix)
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
    store, key = RedisStore(server.url, prefix=prefix, wait_replicas=1, timeout=10), a_key()
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
