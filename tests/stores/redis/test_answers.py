"""An answer that RedisStore has lost, got too late or got in part is no answer, and nobody else's."""

import ctypes
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any

import pytest
import redis

from session_middleware import Record, StoreUnavailable
from session_middleware.stores.redis import RedisStore
from session_middleware.stores.redis.connections import Connection
from session_middleware.testing import a_key, a_record, created, filled, loaded
from tests.backends.proxy import FaultProxy, Side
from tests.backends.redis import RedisServer
from tests.backends.running import PATIENCE
from tests.stores.budgets import limited
from tests.stores.redis.faults import BUDGET, fails, wait_until_back

pytestmark = pytest.mark.timed


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
    with limited(store, BUDGET):
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


def test_a_batch_whose_answer_is_lost_is_done(direct: RedisStore, proxy: FaultProxy, prefix: str) -> None:
    """F-N1: what was there the first time is counted, though the second finds nothing."""
    store = RedisStore(f"redis://127.0.0.1:{proxy.port}", prefix=prefix, timeout=PATIENCE)
    keys = filled(direct, 100)
    store.load(a_key())
    proxy.reset(0, towards="client", connections=1)
    assert set(store.load_many(keys)) == {*keys}
    proxy.reset(0, towards="client", connections=1)
    assert list(store.delete_many(keys)) == keys
    assert direct.load_many(keys) == {}
    store.close()


def test_a_list_is_whole_though_the_server_began_anew_meanwhile(prefix: str) -> None:
    """Promise 19: another process keeps its keys in another order, and what is told has no gap for all that."""
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        store = RedisStore(server.url, prefix=prefix, timeout=PATIENCE)
        keys = sorted(filled(store, 3000, user_id="alice"))
        for listing in (store.keys_of("alice"), store.keys()):
            found = [next(listing) for _ in range(1000)]
            server.kill()
            server.start()
            wait_until_back(store, 10)
            found += listing
            assert sorted(found) == keys
        store.close()


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
