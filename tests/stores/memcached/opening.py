"""How the tests of MemcachedStore open one, and what they ask the server."""

from typing import Any

from session_middleware.stores.memcached import MemcachedStore
from tests.backends.memcached import MAX_ITEM_SIZE, Memcached


def open_at(*servers: Memcached, **options: Any) -> MemcachedStore:
    return MemcachedStore([server.address for server in servers], max_item_size=MAX_ITEM_SIZE, **options)
