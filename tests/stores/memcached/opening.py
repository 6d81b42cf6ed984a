"""How the tests of MemcachedStore open one, and what they ask the server."""

from typing import Any

from session_middleware.stores.memcached import MemcachedStore
from tests.backends.memcached import MAX_ITEM_SIZE, Memcached
from tests.backends.running import PATIENCE


def open_at(*servers: Memcached, **options: Any) -> MemcachedStore:
    """Open one that has time, unless it is told otherwise."""
    options = {"timeout": PATIENCE, "max_item_size": MAX_ITEM_SIZE, **options}
    return MemcachedStore([server.address for server in servers], **options)
