"""Goes through the sessions of a store as they are, without their values. It changes none."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from session_middleware.exceptions import ConfigurationError
from session_middleware.manager import SessionManager
from session_middleware.notes import Damaged
from session_middleware.record import Envelope, unpack
from session_middleware.stores.base import Batched, Checkable, Scannable, Stored

# So many are asked for at once, as the manager does.
_BATCH: Final = 100


class Seen(NamedTuple):
    """A session that is alive. ``size`` is what its record takes (bytes)."""

    id: str
    size: int
    envelope: Envelope


def all_sessions(manager: SessionManager, looked_at: Callable[[int], None] = lambda number: None) -> Iterator[Seen]:
    """Yield every session; *looked_at* is told of so many records more, those that are none among them.

    Raise :exc:`ConfigurationError` if the store cannot list what it holds.
    """
    store = manager.store
    if not isinstance(store, Scannable):
        raise ConfigurationError(f"{type(store).__name__} cannot list its sessions; use a store that can")
    return _sessions(manager, store.keys(), looked_at)


def sessions_of(manager: SessionManager, user_id: str) -> Iterator[Seen]:
    """Yield the sessions of a user; raise :exc:`ConfigurationError` if the store keeps no index of users."""
    names, found = manager.names_of(user_id), _sessions(manager, manager.keys_of(user_id), lambda number: None)
    return (seen for seen in found if seen.envelope.user_id in names)


def how_many(manager: SessionManager) -> int | None:
    """Return about how many records there are, to show how far something is; ``None`` if the store cannot list them."""
    store = manager.store
    if not isinstance(store, Scannable):
        return None
    told = store.health().records if isinstance(store, Checkable) else None
    return sum(map(bool, store.keys())) if told is None else told


def _sessions(manager: SessionManager, keys: Iterable[str], looked_at: Callable[[int], None]) -> Iterator[Seen]:
    rest, now = iter(keys), manager.now()
    while some := list(islice(rest, _BATCH)):
        for key, (value, _) in _loaded(manager, some):
            try:
                found = unpack(value)
            except Damaged:
                continue
            if isinstance(found, tuple) and found[0].expires_at > now:
                yield Seen(key, len(value), found[0])
        looked_at(len(some))


def _loaded(manager: SessionManager, keys: list[str]) -> Iterable[tuple[str, Stored]]:
    store = manager.store
    if isinstance(store, Batched):
        return store.load_many(keys).items()
    return ((key, stored) for key in keys if (stored := store.load(key)) is not None)
