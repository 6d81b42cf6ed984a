"""A store around another: what all of them have in common. What becomes of a call, each of them says for itself."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from session_middleware.stores.base import (
    Batched,
    Checkable,
    Copyable,
    Openable,
    Record,
    Scannable,
    Store,
    Stored,
    Sweepable,
    UserIndexed,
    Version,
)

T = TypeVar("T")


class StoreAround:
    """Hand every call on to the store *inner*, by way of :meth:`around`, and lists by way of :meth:`around_list`.

    It can do what the other can: ``isinstance(store, Sweepable)`` and the like say the same.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.single_process: bool = getattr(inner, "single_process", False)
        self.max_value: int | None = getattr(inner, "max_value", None)
        # As attributes of the object, because that is where isinstance() looks from Python 3.12 on.
        if isinstance(inner, Openable):
            self.open = lambda: self.around("open", "", inner.open)
        if isinstance(inner, Checkable):
            self.health = lambda: self.around("health", "", inner.health)
        if isinstance(inner, Sweepable):
            self.sweep = lambda limit: self.around("sweep", "", partial(inner.sweep, limit))
        if isinstance(inner, UserIndexed):
            self.keys_of: Callable[[str], Iterator[str]] = lambda user_id: self.around_list(
                "keys_of", user_id, inner.keys_of(user_id)
            )
        if isinstance(inner, Scannable):
            self.keys: Callable[[], Iterator[str]] = lambda: self.around_list("keys", "", inner.keys())
        if isinstance(inner, Batched):
            self.load_many = lambda keys: self.around("load_many", "", partial(inner.load_many, keys))
            self.delete_many = lambda keys: self.around("delete_many", "", partial(inner.delete_many, keys))
        if isinstance(inner, Copyable):
            self.load_whole = lambda key: self.around("load_whole", key, partial(inner.load_whole, key))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

    def create(self, key: str, record: Record) -> bool:
        return self.around("create", key, partial(self.inner.create, key, record))

    def load(self, key: str) -> Stored | None:
        return self.around("load", key, partial(self.inner.load, key))

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return self.around("update", key, partial(self.inner.update, key, record, version=version))

    def delete(self, key: str) -> bool:
        return self.around("delete", key, partial(self.inner.delete, key))

    def close(self) -> None:
        """Close the store inside, if that can be closed."""
        if close := getattr(self.inner, "close", None):
            close()

    def around(self, verb: str, key: str, call: Callable[[], T]) -> T:
        """Make a call of the store inside. *key* is the empty text for what is asked about none or about many."""
        return call()

    def around_list(self, verb: str, key: str, keys: Iterable[str]) -> Iterator[str]:
        """Hand on what the store inside lists; nothing is asked before the first step. *key* is the user's id, if any."""
        yield from keys
