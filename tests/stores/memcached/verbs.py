"""Every verb on a record that is there, with what it answers where nothing is wrong."""

from collections.abc import Callable
from typing import Any, NamedTuple

from session_middleware.stores.memcached import MemcachedStore
from session_middleware.testing import a_record, created
from tests.backends.memcached import MAX_ITEM_SIZE
from tests.backends.proxy import FaultProxy

VALUE, NEW = b"value of this session", b"new value of this session"


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
