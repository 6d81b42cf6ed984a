"""Sessions in the memory of one process: for tests, and for small sites that run as one process."""

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from itertools import islice
from threading import Lock
from typing import NamedTuple, Self

from session_middleware.exceptions import ConfigurationError, StoreUnavailable
from session_middleware.stores.base import Record, Stored, Version
from session_middleware.stores.forks import around_forks
from session_middleware.stores.urls import number, options, path_alone, refuse_unknown, split

log = logging.getLogger("session_middleware")

# What an entry takes beside its value, roughly: the key, the tuple, its places in the tables (bytes).
_OVERHEAD = 500

# An eviction of a live session is logged at once, then at most this often (seconds).
_LOG_INTERVAL = 60


class _Entry(NamedTuple):
    """``look_at`` is where the heap has the key: at its end, or before. So an end that moves on leaves the heap alone."""

    record: Record
    version: int
    look_at: int


class MemoryStore:
    """Keeps at most ``max_entries`` records in at most ``max_bytes``.

    When full it drops expired records, and then those that were used longest ago, and says so in the log. It promises
    everything that a store promises, within one process: another process has sessions of its own (a fork, a copy of
    those there were), and a restart ends all.
    """

    single_process = True

    def __init__(self, *, max_entries: int = 100_000, max_bytes: int = 256 * 1024 * 1024) -> None:
        for name, value in (("max_entries", max_entries), ("max_bytes", max_bytes)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name}={value!r}: write a whole number above 0")
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
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
        refuse_unknown("memory", found, ("max_entries", "max_bytes"))
        return cls(**{name: number(int, name, text) for name, text in found.items()})

    def create(self, key: str, record: Record) -> bool:
        with self._lock:
            if self._live(key) is not None:
                return False
            self._put(key, record)
            return True

    def load(self, key: str) -> Stored | None:
        with self._lock:
            entry = self._live(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return Stored(entry.record.value, entry.version)

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        with self._lock:
            entry = self._live(key)
            if entry is None or entry.version != version:
                return False
            if record.expires_at <= time.time():
                return self._remove(key)
            self._put(key, record)
            return True

    def delete(self, key: str) -> bool:
        with self._lock:
            return self._remove(key) if self._live(key) is not None else False

    def sweep(self, limit: int) -> int:
        with self._lock:
            return sum(islice(self._expired(), limit))

    def keys_of(self, user_id: str) -> list[str]:
        with self._lock:
            self._mend()
            return [key for key in tuple(self._by_user.get(user_id, ())) if self._live(key) is not None]

    def keys(self) -> Iterator[str]:
        with self._lock:
            return iter([key for key in tuple(self._entries) if self._live(key) is not None])

    def _after_fork(self) -> None:
        # A thread that held the lock when the process forked does not exist in the child to release it.
        self._lock = Lock()

    def _live(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.record.expires_at <= time.time():
            self._remove(key)
            return None
        return entry

    def _put(self, key: str, record: Record) -> None:
        if len(record.value) + _OVERHEAD > self._max_bytes:
            raise StoreUnavailable(f"a record of {len(record.value):,} bytes does not fit into {self._max_bytes:,}")
        self._versions += 1
        before = self._entries.get(key)
        look_at = record.expires_at if before is None else min(record.expires_at, before.look_at)
        self._set(key, _Entry(record, self._versions, look_at))
        if len(self._by_expiry) > 2 * len(self._entries) + 100:
            self._by_expiry = self._heap()
        self._make_room()

    def _remove(self, key: str) -> bool:
        self._set(key, None)
        return True

    def _set(self, key: str, entry: _Entry | None) -> None:
        """Put the entry, or nothing, in the place of what is under the key."""
        self._mend()
        self._changing = True
        if (before := self._entries.get(key)) is not None:
            self._bytes -= len(before.record.value) + _OVERHEAD
            if before.record.user_id is not None:
                keys = self._by_user[before.record.user_id]
                keys.discard(key)
                if not keys:
                    del self._by_user[before.record.user_id]
        if entry is None:
            self._entries.pop(key)
        else:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            self._index(key, entry.record)
            if before is None or entry.look_at < before.look_at:
                heappush(self._by_expiry, (entry.look_at, key))
        self._changing = False

    def _index(self, key: str, record: Record) -> None:
        self._bytes += len(record.value) + _OVERHEAD
        if record.user_id is not None:
            self._by_user.setdefault(record.user_id, set()).add(key)

    def _mend(self) -> None:
        """Make the tables anew if a change was cut short: by an exception from outside, or by a fork."""
        if self._changing:
            self._index_anew()

    def _index_anew(self) -> None:
        self._changing = True
        self._bytes, self._by_user, self._by_expiry = 0, {}, self._heap()
        for key, entry in self._entries.items():
            self._index(key, entry.record)
        self._changing = False

    def _heap(self) -> list[tuple[int, str]]:
        heap = [(entry.look_at, key) for key, entry in self._entries.items()]
        heapify(heap)
        return heap

    def _expired(self) -> Iterator[bool]:
        """Remove expired records, one a step. What lives on is looked at again at its end; what is gone is dropped."""
        self._mend()
        now = time.time()
        while self._by_expiry and self._by_expiry[0][0] <= now:
            look_at, key = self._by_expiry[0]
            entry = self._entries.get(key)
            if entry is None or entry.look_at != look_at:
                heappop(self._by_expiry)
            elif (end := entry.record.expires_at) <= now:
                yield self._remove(key)
            else:
                self._changing = True
                self._entries[key] = entry._replace(look_at=end)
                heapreplace(self._by_expiry, (end, key))
                self._changing = False

    def _full(self) -> bool:
        return len(self._entries) > self._max_entries or self._bytes > self._max_bytes

    def _make_room(self) -> None:
        expired = self._expired()
        while self._full() and next(expired, False):
            pass
        while self._full():
            self._remove(next(iter(self._entries)))
            self._evicted += 1
            if time.monotonic() >= self._next_log:
                self._next_log = time.monotonic() + _LOG_INTERVAL
                log.warning("the memory store is full: %d live sessions dropped so far", self._evicted)
