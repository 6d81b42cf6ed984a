"""Whatever breaks off, MemcachedStore gives no wrong answer and no other's answer."""

import signal
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from pymemcache.client.base import Client

from session_middleware import StoreUnavailable
from session_middleware.stores.memcached import MemcachedStore, _Version
from session_middleware.stores.memcached.servers import Connection
from session_middleware.testing import a_key, a_record, created, loaded
from tests.backends.proxy import FaultProxy, Side
from tests.stores.budgets import limited
from tests.stores.memcached.verbs import VERBS, Verb, through, value_of

pytestmark = pytest.mark.timed


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
    store = through(proxy)
    keys = [a_key() for _ in range(2)]
    for key in keys:
        created(store, key, a_record(key.encode()))
    for key in keys:
        proxy.latency(0.6, towards="client")
        with limited(store._servers, 0.5), pytest.raises(StoreUnavailable):
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


class Outside(BaseException):
    """As gunicorn's timeout, GreenletExit or KeyboardInterrupt."""


def struck(verb: Verb, *arguments: Any) -> None:
    """Ask, and be interrupted in the middle; on a machine that is late before it has begun."""
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    verb.call(*arguments)


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
            with pytest.raises(Outside):
                struck(verb, store, key, prepared)
            proxy.heal()

            assert value_of(store, other) == b"of another"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_no_message_tells_a_value_or_a_key(proxy: FaultProxy) -> None:
    """Promise 11: the server is named, and what is wrong; neither session nor key."""
    store = through(proxy)
    key = a_key()
    version = created(store, key, a_record(b"secret")).version
    for fault in (proxy.refuse, proxy.black_hole):
        fault()
        with (
            limited(store._servers, 0.2),
            pytest.raises(StoreUnavailable, match=rf"memcached at 127\.0\.0\.1:{proxy.port}: .") as raised,
        ):
            store.update(key, a_record(b"secret"), version=version)
        proxy.heal()

        assert raised.value.__cause__ is not None
        assert "secret" not in str(raised.value)
        assert key not in str(raised.value)
    store.close()
