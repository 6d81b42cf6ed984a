"""MemcachedStore waits no longer than it is told, whatever the network or the server do."""

import signal
import socket
import time
from collections.abc import Callable
from threading import Event, Thread, get_ident
from typing import Any

import pytest

from session_middleware import StoreUnavailable
from session_middleware.stores.memcached import MemcachedStore
from session_middleware.testing import a_key, a_record, created, loaded, race
from tests.backends.memcached import Memcached
from tests.backends.proxy import FaultProxy
from tests.stores.budgets import refused_after, served
from tests.stores.memcached.verbs import VERBS, Verb, through, value_of

pytestmark = pytest.mark.timed

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
            served(lambda: store.load(a_key()), within=60)  # noqa: B023 - called at once
        calls.append((name, verb, store, key, verb.prepare(direct, key)))
    FAULTS[fault](proxy)
    took = race(*(lambda call=call: refused_after(lambda: call[1].call(call[2], call[3], call[4]), 0.2) for call in calls))
    proxy.heal()

    # As many calls at once as there are verbs wait a little for each other.
    assert max(took) < 0.2 * 1.1 + 0.2, took
    for _, _, store, _, _ in calls:
        key = a_key()
        served(lambda: store.create(key, a_record(b"after")), within=60)  # noqa: B023 - called at once
        served(lambda: loaded(store, key), within=60)  # noqa: B023
        assert value_of(direct, key) == b"after"
        store.close()


@pytest.mark.parametrize("fault", ["black hole", "gone", "answers one byte at a time"])
def test_the_time_holds_whatever_is_the_default_for_sockets(proxy: FaultProxy, direct: MemcachedStore, fault: str) -> None:
    """An application may have set one for all sockets."""
    socket.setdefaulttimeout(5)
    try:
        store, key = through(proxy, timeout=0.2), a_key()
        created(direct, key)
        served(lambda: store.load(key), within=60)
        FAULTS[fault](proxy)
        assert refused_after(lambda: store.load(key), 0.2) < 0.4
        proxy.heal()
        assert served(lambda: loaded(store, key), within=1).value == value_of(direct, key) == b"value"
        store.close()
    finally:
        socket.setdefaulttimeout(None)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to threads")
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "not connected"])
def test_signals_do_not_make_the_time_longer(proxy: FaultProxy, connected: bool) -> None:
    """Each of them breaks off what waits in the system, which then waits again: a profiler sends hundreds a second."""
    store, over = through(proxy, timeout=0.3), Event()
    if connected:
        served(lambda: store.load(a_key()), within=60)
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
        assert refused_after(lambda: store.load(a_key()), 0.3) < 0.5
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
    served(lambda: store.load(key), within=60)
    proxy.black_hole()

    assert refused_after(lambda: store.create(key, a_record(bytes(32 * 1024 * 1024))), 0.2) < 1
    store.close()


def test_a_slow_server_is_waited_for(proxy: FaultProxy, store: MemcachedStore, direct: MemcachedStore) -> None:
    """Within the time there is: slow answers are right answers."""
    proxy.latency(0.02)
    for verb in VERBS.values():
        key = a_key()
        prepared = verb.prepare(direct, key)

        assert verb.call(store, key, prepared) == verb.right
        assert value_of(direct, key) == verb.after


def test_a_silent_server_is_left_alone_for_a_moment(own_server: Memcached) -> None:
    """F-N3: after one verb has waited in vain the next ones fail at once; right again within a second."""
    store, key = MemcachedStore(own_server.address, timeout=0.3), a_key()
    served(lambda: store.load(key), within=60)
    own_server.pause()
    try:
        started = time.monotonic()
        assert refused_after(lambda: store.load(key), 0.3) < 0.35
        assert time.monotonic() - started > 0.25
        assert max(refused_after(lambda: store.load(key)) for _ in range(50)) < 0.05
    finally:
        own_server.resume()
    served(lambda: store.load(key), within=1)
    store.close()
