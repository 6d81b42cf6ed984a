"""MemcachedStore when the server or the network fails: no wrong answer, no other's answer, and an end to all waiting."""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread, get_ident
from typing import Any, NamedTuple

import pytest
from pymemcache.client.base import Client

from session_middleware import StoreUnavailable
from session_middleware.stores.memcached import MemcachedStore, _Version
from session_middleware.stores.memcached.servers import Connection
from session_middleware.testing import a_key, a_record, created, loaded, race
from tests.backends.memcached import MAX_ITEM_SIZE, Memcached
from tests.backends.proxy import FaultProxy, Side
from tests.stopwatch import Stopwatch

pytestmark = pytest.mark.timed

VALUE, NEW = b"value of this session", b"new value of this session"


@pytest.fixture(scope="module")
def server() -> Iterator[Memcached]:
    with Memcached() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[Memcached]:
    """A server that the test may stop."""
    with Memcached() as server:
        yield server


@pytest.fixture
def proxy(server: Memcached) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def direct(server: Memcached) -> Iterator[MemcachedStore]:
    """A store that no fault is in the way of."""
    store = MemcachedStore(server.address, max_item_size=MAX_ITEM_SIZE)
    yield store
    store.close()


@pytest.fixture
def store(proxy: FaultProxy) -> Iterator[MemcachedStore]:
    """A store behind the proxy, with a connection, that lets every verb try."""
    store = through(proxy)
    store.load(a_key())
    yield store
    store.close()


def through(proxy: FaultProxy, **options: Any) -> MemcachedStore:
    store = MemcachedStore(f"127.0.0.1:{proxy.port}", **{"timeout": 10, "max_item_size": MAX_ITEM_SIZE, **options})
    for server in store._servers._by_name.values():
        server.breaker._pause = 0
    return store


class Verb(NamedTuple):
    """A call of the store under test on a record that *direct* made, and whether its answer and the record agree."""

    prepare: Callable[[MemcachedStore, str], Any]
    call: Callable[[MemcachedStore, str, Any], Any]
    right: Any
    before: bytes | None
    after: bytes | None


def _created(direct: MemcachedStore, key: str) -> Any:
    return created(direct, key, a_record(VALUE)).version


VERBS = {
    "create": Verb(lambda direct, key: None, lambda store, key, _: store.create(key, a_record(NEW)), True, None, NEW),
    "create over expired": Verb(
        lambda direct, key: direct.create(key, a_record(VALUE, expires_in=-1)),
        lambda store, key, _: store.create(key, a_record(NEW)),
        True,
        None,
        NEW,
    ),
    "load": Verb(_created, lambda store, key, _: getattr(store.load(key), "value", None), VALUE, VALUE, VALUE),
    "update": Verb(
        _created, lambda store, key, version: store.update(key, a_record(NEW), version=version), True, VALUE, NEW
    ),
    "end": Verb(
        _created,
        lambda store, key, version: store.update(key, a_record(expires_in=-1), version=version),
        True,
        VALUE,
        None,
    ),
    "delete": Verb(_created, lambda store, key, _: store.delete(key), True, VALUE, None),
}


def value_of(store: MemcachedStore, key: str) -> bytes | None:
    stored = store.load(key)
    return None if stored is None else stored.value


def lengths(proxy: FaultProxy, store: MemcachedStore, direct: MemcachedStore, verb: Verb) -> dict[Side, int]:
    """Return how many bytes go in either direction when nothing is wrong."""
    key = a_key()
    prepared = verb.prepare(direct, key)
    before = proxy.bytes_to_server, proxy.bytes_to_client
    assert verb.call(store, key, prepared) == verb.right
    return {"server": proxy.bytes_to_server - before[0], "client": proxy.bytes_to_client - before[1]}


@pytest.mark.parametrize("connections", [1, None], ids=["first connection", "every connection"])
@pytest.mark.parametrize("towards", ["server", "client"])
@pytest.mark.parametrize("name", VERBS)
def test_a_reset_at_any_byte_is_no_wrong_answer(
    proxy: FaultProxy, store: MemcachedStore, direct: MemcachedStore, name: str, towards: Side, connections: int | None
) -> None:
    """Promise 7, F-N4: the right answer or StoreUnavailable, and the next verb gets an answer of its own.

    If only one connection breaks, the verb succeeds: what it did is recognised when it is tried again.
    """
    verb, other = VERBS[name], a_key()
    created(direct, other, a_record(b"of another"))
    length = lengths(proxy, store, direct, verb)[towards]
    assert length >= 4
    for after in range(length + 1):
        store.load(other)
        key = a_key()
        prepared = verb.prepare(direct, key)
        proxy.reset(after, towards=towards, connections=connections)
        try:
            answer = verb.call(store, key, prepared)
        except StoreUnavailable:
            assert connections is None, after
            assert value_of(direct, key) in (verb.before, verb.after)
        else:
            assert answer == verb.right, after
            assert value_of(direct, key) == verb.after
        proxy.heal()

        assert value_of(store, other) == b"of another"
        direct.delete(key)


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_over_a_connection_that_was_closed_succeeds(
    proxy: FaultProxy, store: MemcachedStore, direct: MemcachedStore, name: str
) -> None:
    """The server, or something on the way, has closed it while it was idle: reset, or an end in good order."""
    verb = VERBS[name]
    for fault in (proxy.reset_links_now, proxy.half_close):
        store.load(a_key())
        key = a_key()
        prepared = verb.prepare(direct, key)
        fault()

        assert verb.call(store, key, prepared) == verb.right
        assert value_of(direct, key) == verb.after


def seconds(call: Callable[[], object]) -> float:
    """Return how long *call* takes to raise StoreUnavailable, but for what the machine is late."""
    with Stopwatch() as watch, pytest.raises(StoreUnavailable):
        call()
    return watch.own


FAULTS: dict[str, Callable[[FaultProxy], None]] = {
    "black hole": lambda proxy: proxy.black_hole(),
    "gone": lambda proxy: proxy.drop(),
    "slow": lambda proxy: proxy.latency(1),
    "slow answers": lambda proxy: proxy.latency(1, towards="client"),
    "one byte at a time": lambda proxy: proxy.trickle(0.1),
    "answers one byte at a time": lambda proxy: proxy.trickle(0.1, towards="client"),
}


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "not connected"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_verb_ends_within_its_time(proxy: FaultProxy, direct: MemcachedStore, fault: str, connected: bool) -> None:
    """F-N3, F-N4: the time holds for a verb as a whole, against silence and against a trickle, and it is right again."""
    calls: list[tuple[str, Verb, MemcachedStore, str, Any]] = []
    for name, verb in VERBS.items():
        store, key = through(proxy, timeout=0.2), a_key()
        if connected:
            store.load(a_key())
        calls.append((name, verb, store, key, verb.prepare(direct, key)))
    FAULTS[fault](proxy)
    took = race(*(lambda call=call: seconds(lambda: call[1].call(call[2], call[3], call[4])) for call in calls))
    proxy.heal()

    # As many calls at once as there are verbs wait a little for each other.
    assert max(took) < 0.2 * 1.1 + 0.2, took
    for _, _, store, _, _ in calls:
        key = a_key()
        assert store.create(key, a_record(b"after"))
        assert value_of(store, key) == b"after"
        store.close()


@pytest.mark.parametrize("fault", ["black hole", "gone", "answers one byte at a time"])
def test_the_time_holds_whatever_is_the_default_for_sockets(proxy: FaultProxy, fault: str) -> None:
    """An application may have set one for all sockets."""
    socket.setdefaulttimeout(5)
    try:
        store, key = through(proxy, timeout=0.2), a_key()
        created(store, key)
        FAULTS[fault](proxy)
        assert seconds(lambda: loaded(store, key)) < 0.4
        proxy.heal()
        assert loaded(store, key).value == b"value"
        store.close()
    finally:
        socket.setdefaulttimeout(None)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to threads")
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "not connected"])
def test_signals_do_not_make_the_time_longer(proxy: FaultProxy, connected: bool) -> None:
    """Each of them breaks off what waits in the system, which then waits again: a profiler sends hundreds a second."""
    store, over = through(proxy, timeout=0.3), Event()
    if connected:
        store.load(a_key())
        proxy.black_hole()
    else:
        proxy.drop()
    before, main = signal.signal(signal.SIGUSR1, lambda *_: None), get_ident()

    def disturb() -> None:
        until = time.monotonic() + 3
        while not over.wait(0.02) and time.monotonic() < until:
            signal.pthread_kill(main, signal.SIGUSR1)

    thread = Thread(target=disturb)
    thread.start()
    try:
        assert seconds(lambda: store.load(a_key())) < 0.5
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
        store.close()


def test_a_name_that_takes_too_long_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can end a look-up in the system; but there is no second one when the time is over."""
    asked: list[object] = []

    def look_up(*arguments: object) -> list[object]:
        asked.append(arguments)
        time.sleep(0.1)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    store = MemcachedStore("cache.example.com:11211", timeout=0.05)

    with pytest.raises(StoreUnavailable, match="name resolution"):
        store.load(a_key())
    assert len(asked) == 1


def test_a_peer_that_does_not_read_is_not_waited_for(proxy: FaultProxy) -> None:
    """A large record fills what the system keeps for the connection; the time holds for sending, too."""
    store, key = through(proxy, timeout=0.2, max_item_size=64 * 1024 * 1024), a_key()
    store.load(key)
    proxy.black_hole()

    assert seconds(lambda: store.create(key, a_record(bytes(32 * 1024 * 1024)))) < 1
    store.close()


def test_a_slow_server_is_waited_for(proxy: FaultProxy, store: MemcachedStore, direct: MemcachedStore) -> None:
    """Within the time there is: slow answers are right answers."""
    proxy.latency(0.02)
    for verb in VERBS.values():
        key = a_key()
        prepared = verb.prepare(direct, key)

        assert verb.call(store, key, prepared) == verb.right
        assert value_of(direct, key) == verb.after


def test_answers_in_pieces_are_put_together(proxy: FaultProxy, direct: MemcachedStore) -> None:
    """One byte at a time, with no pause to speak of; and a large record in many blocks."""
    store = through(proxy)
    for verb in VERBS.values():
        key = a_key()
        prepared = verb.prepare(direct, key)
        proxy.trickle(0)

        assert verb.call(store, key, prepared) == verb.right
        proxy.heal()
        assert value_of(direct, key) == verb.after
    key, large = a_key(), b"\r\nEND\r\n" * 100_000
    created(direct, key, a_record(large))
    assert value_of(store, key) == large
    store.close()


def test_a_verb_that_was_late_leaves_no_answer_behind(proxy: FaultProxy) -> None:
    """The answer to a verb that has given up is nobody's."""
    store = through(proxy, timeout=0.5)
    keys = [a_key() for _ in range(2)]
    for key in keys:
        created(store, key, a_record(key.encode()))
    for key in keys:
        proxy.latency(0.6, towards="client")
        with pytest.raises(StoreUnavailable):
            store.load(key)
        proxy.heal()
        for other in keys:
            assert loaded(store, other).value == other.encode()
    store.close()


def test_an_answer_that_is_none_is_an_error() -> None:
    """Something else listens there: no session is made of what it says, and none of that is in the message."""
    with HTTPServer(("127.0.0.1", 0), Silent) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        for verb in VERBS.values():
            store = MemcachedStore(f"127.0.0.1:{other.server_port}", timeout=0.5)
            with pytest.raises(StoreUnavailable, match=str(other.server_port)) as raised:
                verb.call(store, a_key(), _Version(b"5", b"n" * 16, 2**60))
            assert "HTTP" not in str(raised.value)
        other.shutdown()


class Silent(BaseHTTPRequestHandler):
    """Refuses everything, and logs nothing."""

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the library's name
        pass


# Processes


def test_a_silent_server_is_left_alone_for_a_moment(own_server: Memcached) -> None:
    """F-N3: after one verb has waited in vain the next ones fail at once; right again within a second."""
    store, key = MemcachedStore(own_server.address, timeout=0.3), a_key()
    created(store, key)
    own_server.pause()
    try:
        assert 0.25 < seconds(lambda: store.load(key)) < 0.35
        assert max(seconds(lambda: store.load(key)) for _ in range(50)) < 0.05
    finally:
        own_server.resume()
    started = time.monotonic()
    until(lambda: loaded(store, key), within=1)

    assert time.monotonic() - started < 1
    store.close()


def until(call: Callable[[], object], *, within: float) -> None:
    """Call until it raises no StoreUnavailable."""
    deadline = time.monotonic() + within
    while True:
        try:
            call()
            return
        except StoreUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_server_that_restarts_has_forgotten_and_takes_new_sessions(own_server: Memcached) -> None:
    """F-N1, F-N8: refused while it is away; then old sessions are absent, and updates bring none of them back."""
    store, keys = MemcachedStore(own_server.address, timeout=0.5), [a_key() for _ in range(10)]
    versions = {key: created(store, key).version for key in keys}
    own_server.kill()
    assert max(seconds(lambda: store.load(keys[0])) for _ in range(20)) < 0.1
    own_server.start()
    until(lambda: store.load(keys[0]), within=1)

    for key, version in versions.items():
        assert not store.update(key, a_record(), version=version)
        assert store.load(key) is None
    created(store, a_key())
    store.close()


def test_a_dead_server_takes_only_its_own_sessions_with_it(server: Memcached, own_server: Memcached) -> None:
    """Promise 7: its sessions are unavailable, not absent, and move to no other server; the others go on."""
    store = MemcachedStore([server.address, own_server.address], timeout=0.3)
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
    until(lambda: store.load(theirs[0]), within=1)

    assert [store.load(key) for key in theirs] == [None] * len(theirs)
    store.close()


def test_too_many_connections_are_an_error() -> None:
    """memcached's ``-c``: refused, and not taken for an answer."""
    with Memcached("-c", "64") as small:
        hogs = [MemcachedStore(small.address) for _ in range(100)]
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
        store, newcomer, key = MemcachedStore(small.address, timeout=10), MemcachedStore(small.address, timeout=10), a_key()
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
        until(lambda: newcomer.load(key), within=5)
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


class Invention(Exception):
    pass


def test_whatever_the_driver_raises_is_unavailable(direct: MemcachedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 7: also what no driver is known to raise, while connecting, asking or answering; its text is not quoted."""

    def invent(*_: object, **__: object) -> None:
        raise Invention("s5word")

    key = a_key()
    created(direct, key)
    for owner, name in ((Client, "version"), (socket.socket, "sendall"), (Connection, "gets")):
        direct.close()
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, invent)
            with pytest.raises(StoreUnavailable, match=r"\(Invention\)") as caught:
                direct.load(key)
            assert isinstance(caught.value.__cause__, Invention)
            assert "s5word" not in str(caught.value)
        assert loaded(direct, key).value == b"value"


# Exceptions from outside


class Outside(BaseException):
    """As gunicorn's timeout, GreenletExit or KeyboardInterrupt."""


@pytest.mark.parametrize("name", VERBS)
def test_an_exception_from_outside_takes_the_connection_with_it(
    proxy: FaultProxy, store: MemcachedStore, direct: MemcachedStore, name: str
) -> None:
    """F-P7: the next verb does not read the answer that the one before was waiting for."""
    verb, other = VERBS[name], a_key()
    created(direct, other, a_record(b"of another"))

    def interrupt(number: int, frame: object) -> None:
        raise Outside

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(3):
            key = a_key()
            prepared = verb.prepare(direct, key)
            store.load(other)
            proxy.latency(0.05, towards="client")
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(Outside):
                verb.call(store, key, prepared)
            proxy.heal()

            assert value_of(store, other) == b"of another"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_no_message_tells_a_value_or_a_key(proxy: FaultProxy) -> None:
    """Promise 11: the server is named, and what is wrong; neither session nor key."""
    store = through(proxy, timeout=0.2)
    key = a_key()
    version = created(store, key, a_record(b"secret")).version
    for fault in (proxy.refuse, proxy.black_hole):
        fault()
        with pytest.raises(StoreUnavailable, match=rf"memcached at 127\.0\.0\.1:{proxy.port}: .") as raised:
            store.update(key, a_record(b"secret"), version=version)
        proxy.heal()

        assert raised.value.__cause__ is not None
        assert "secret" not in str(raised.value)
        assert key not in str(raised.value)
    store.close()
