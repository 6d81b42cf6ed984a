"""The URLs and options of MemcachedStore: what cannot work is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from session_middleware import ConfigurationError, SessionManager, StoreUnavailable
from session_middleware.stores.memcached import MemcachedStore
from session_middleware.testing import a_key


def test_constructing_connects_to_nothing() -> None:
    """A server that is not there is found out at the first use."""
    store = MemcachedStore(["127.0.0.1:1", "/nowhere/a.sock"], timeout=0.2)
    for _ in range(20):
        with pytest.raises(StoreUnavailable, match=r"memcached at (127\.0\.0\.1:1|/nowhere/a\.sock): "):
            store.load(a_key())


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
