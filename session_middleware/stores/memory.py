"""Sessions in the memory of one process: for tests, and for small sites that run as one process. Nothing outlives it."""

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from itertools import islice
from threading import Lock
from typing import Self, TypeAlias

from session_middleware.exceptions import ConfigurationError, StoreUnavailable
from session_middleware.stores.base import Health, Record, Stored, Swept, Version
from session_middleware.stores.forks import around_forks
from session_middleware.stores.urls import number, options, path_alone, refuse_unknown, split

log = logging.getLogger("session_middleware")

# What an entry takes beside its value, roughly: the key, the tuple, its places in the tables (bytes).
_OVERHEAD = 500

# An eviction of a live session is logged at once, then at most this often (seconds).
_LOG_INTERVAL = 60


# How many keys are looked at in one go. (Before, all are copied: 100,000 in about 5 ms.)
_PAGE = 1000


# What is found under a key, when that expires, whose it is, and where the heap has the key: at its end, or before. So an end
# that moves on leaves the heap alone.
_Entry: TypeAlias = tuple[Stored, int, str | None, int]


class MemoryStore:
    """Keeps at most ``max_entries`` records in at most ``max_bytes``, and of those at most ``max_anonymous`` of no user.

    When full it drops expired records, then those of no user, then the others, each time those that were used longest ago,
    and says so in the log. So who makes many sessions without signing in signs nobody out. It promises everything that a
    store promises, within one process: another process has sessions of its own (a fork, a copy of those there were), and a
    restart ends all.
    """

    single_process = True

    def __init__(
        self, *, max_entries: int = 100_000, max_bytes: int = 256 * 1024 * 1024, max_anonymous: int | None = None
    ) -> None:
        if max_anonymous is None:
            max_anonymous = max_entries
        for name, value in (("max_entries", max_entries), ("max_bytes", max_bytes), ("max_anonymous", max_anonymous)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name}={value!r}: write a whole number above 0")
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self.max_value = max_bytes - _OVERHEAD
        self._max_anonymous = max_anonymous
        # In the order of their last use; of those of no user the second table has it.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._anonymous: OrderedDict[str, None] = OrderedDict()
        self._by_user: dict[str, set[str]] = {}
        self._by_expiry: list[tuple[int, str]] = []
        self._bytes = 0
        self._changing = False
        self._versions = 0
        self._evicted = 0
        self._next_log = 0.0
        self._lock = Lock()
        around_forks(self, in_child=MemoryStore._after_fork)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the store of a URL such as ``memory:?max_entries=1000``; see :func:`open_store`."""
        if path_alone(url, "memory:").strip("/"):
            raise ConfigurationError("memory: takes no path; write memory:")
        found = options("memory", split(url).query)
        refuse_unknown("memory", found, ("max_entries", "max_bytes", "max_anonymous"))
        return cls(**{name: number(int, name, text) for name, text in found.items()})

    def __repr__(self) -> str:
        return "MemoryStore()"

    def create(self, key: str, record: Record) -> bool:
        with self._lock:
            before = self._entries.get(key)
            if before is not None and before[1] > time.time():
                return False
            self._put(key, record, before)
            return True

    def load(self, key: str) -> Stored | None:
        with self._lock:
            if self._changing:
                self._mend()
            entry = self._entries.get(key)
            if entry is None:
                return None
            stored, ends, user_id, _ = entry
            if ends <= time.time():
                return None  # a sweep removes it, and tells of it
            (self._anonymous if user_id is None else self._entries).move_to_end(key)
            return stored

    def load_whole(self, key: str) -> tuple[Record, Version] | None:
        with self._lock:
            self._mend()
            entry = self._live(key)
            return None if entry is None else (Record(entry[0].value, entry[1], entry[2]), entry[0].version)

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        value, expires_at, user_id = record
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return False
            (before, known), ends, user, look_at = entry
            now = time.time()
            if known != version or ends <= now:
                return False
            if expires_at <= now:
                return self._remove(key)
            total = self._bytes - len(before) + len(value)
            if user_id != user or expires_at < look_at or total > self._max_bytes or self._changing:
                self._put(key, record, entry)
                return True
            # Most updates change no table but one.
            self._versions = number = self._versions + 1
            self._changing = True
            self._entries[key] = (tuple.__new__(Stored, (value, number)), expires_at, user, look_at)
            (self._anonymous if user is None else self._entries).move_to_end(key)
            self._bytes = total
            self._changing = False
            return True

    def delete(self, key: str) -> bool:
        with self._lock:
            return self._live(key) is not None and self._remove(key)

    def sweep(self, limit: int) -> list[Swept]:
        with self._lock:
            return list(islice(self._expired(), limit))

    def health(self) -> Health:
        with self._lock:
            self._mend()
            free, records = self._max_bytes - self._bytes, len(self._entries)
        return Health("memory", eviction="lru", free_space=free, space=self._max_bytes, records=records)

    def keys_of(self, user_id: str) -> Iterator[str]:
        with self._lock:
            self._mend()
            keys = tuple(self._by_user.get(user_id, ()))
        for key, entry in self._look_at(keys):
            if entry[2] == user_id:
                yield key

    def keys(self) -> Iterator[str]:
        with self._lock:
            keys = tuple(self._entries)
        for key, _ in self._look_at(keys):
            yield key

    def _look_at(self, keys: tuple[str, ...]) -> Iterator[tuple[str, _Entry]]:
        """Yield those of the keys that have an entry, and that."""
        for start in range(0, len(keys), _PAGE):
            with self._lock:
                page = [(key, entry) for key in keys[start : start + _PAGE] if (entry := self._live(key)) is not None]
            yield from page

    def _after_fork(self) -> None:
        # A thread that held the lock when the process forked does not exist in the child to release it.
        self._lock = Lock()

    def _live(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        return None if entry is None or entry[1] <= time.time() else entry

    def _put(self, key: str, record: Record, before: _Entry | None) -> None:
        """Put the record in the place of what is under the key, if anything is, expired or not."""
        value, expires_at, user_id = record
        size = len(value) + _OVERHEAD
        if size > self._max_bytes:
            raise StoreUnavailable(f"a record of {len(value):,} bytes does not fit into {self._max_bytes:,}")
        if self._changing:
            self._mend()
        self._versions = number = self._versions + 1
        look_at = expires_at if before is None else min(expires_at, before[3])
        self._changing = True
        self._entries[key] = (tuple.__new__(Stored, (value, number)), expires_at, user_id, look_at)
        self._bytes += size
        if before is not None:
            self._entries.move_to_end(key)
            self._forget(key, before)
        if user_id is None:
            self._anonymous[key] = None
        else:
            self._by_user.setdefault(user_id, set()).add(key)
        if before is None or look_at < before[3]:
            heappush(self._by_expiry, (look_at, key))
            if len(self._by_expiry) > 2 * len(self._entries) + 100:
                self._by_expiry = self._heap()
        self._changing = False
        if self._full():
            self._make_room(key)

    def _remove(self, key: str) -> bool:
        if self._changing:
            self._mend()
        self._changing = True
        self._forget(key, self._entries.pop(key))
        self._changing = False
        return True

    def _forget(self, key: str, entry: _Entry) -> None:
        """Take what is an entry no more out of the tables; the heap drops it when it comes to it."""
        (value, _), _, user_id, _ = entry
        self._bytes -= len(value) + _OVERHEAD
        if user_id is None:
            del self._anonymous[key]
            return
        keys = self._by_user[user_id]
        keys.discard(key)
        if not keys:
            del self._by_user[user_id]

    def _mend(self) -> None:
        """Make the tables anew if a change was cut short: by an exception from outside, or by a fork."""
        if self._changing:
            self._bytes, self._by_user, self._anonymous, self._by_expiry = 0, {}, OrderedDict(), self._heap()
            for key, ((value, _), _, user_id, _) in self._entries.items():
                self._bytes += len(value) + _OVERHEAD
                if user_id is None:
                    self._anonymous[key] = None
                else:
                    self._by_user.setdefault(user_id, set()).add(key)
            self._changing = False

    def _heap(self) -> list[tuple[int, str]]:
        heap = [(look_at, key) for key, (_, _, _, look_at) in self._entries.items()]
        heapify(heap)
        return heap

    def _expired(self) -> Iterator[Swept]:
        """Remove expired records, one a step. What lives on is looked at again at its end; what is gone is dropped."""
        self._mend()
        now = time.time()
        while self._by_expiry and self._by_expiry[0][0] <= now:
            look_at, key = self._by_expiry[0]
            entry = self._entries.get(key)
            if entry is None or entry[3] != look_at:
                heappop(self._by_expiry)
                continue
            stored, end, user_id, _ = entry
            if end <= now:
                self._remove(key)
                yield Swept(key, user_id)
            else:
                self._changing = True
                self._entries[key] = (stored, end, user_id, end)
                heapreplace(self._by_expiry, (end, key))
                self._changing = False

    def _full(self) -> bool:
        return (
            len(self._entries) > self._max_entries
            or self._bytes > self._max_bytes
            or len(self._anonymous) > self._max_anonymous
        )

    def _make_room(self, newest: str) -> None:
        expired = self._expired()
        while self._full() and next(expired, None):
            pass
        while self._full():
            first = next(iter(self._anonymous), newest)
            self._remove(next(iter(self._entries)) if first == newest else first)
            self._evicted += 1
            if time.monotonic() >= self._next_log:
                self._next_log = time.monotonic() + _LOG_INTERVAL
                log.warning("the memory store is full: %d live sessions dropped so far", self._evicted)
