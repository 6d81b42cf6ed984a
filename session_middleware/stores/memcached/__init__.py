"""Sessions in memcached, shared by machines, and gone when it restarts or needs the room. It opens no connection itself."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from secrets import token_bytes
from struct import Struct
from typing import Final, Self, cast
from urllib.parse import unquote

from session_middleware.exceptions import ConfigurationError, StoreUnusable
from session_middleware.stores.base import Health, Record, Stored, Version
from session_middleware.stores.memcached.servers import Connection, Servers, is_plain
from session_middleware.stores.room import checked_bound
from session_middleware.stores.several import worst_of
from session_middleware.stores.trial import TRIAL, try_verbs
from session_middleware.stores.urls import number, options, refuse_unknown, split

log = logging.getLogger("session_middleware")

# item = nonce (8 random bytes, new with every write) | expires_at (8 bytes) | value
_HEAD: Final = Struct(">8sq")
_NONCE: Final = 8

# What memcached keeps beside the key and the value of an item, rounded up (bytes).
_OVERHEAD: Final = 80
_KEY: Final = 12
_LONGEST_PREFIX: Final = 250 - _KEY

# memcached drops an item this long after it has expired (seconds): its clock is coarse, and may differ from ours.
_SLACK: Final = 60
# Longer times memcached takes for dates, and dates after 2038 it does not know.
_LONGEST_TIME: Final = 30 * 86400
_LAST_DATE: Final = 2**31 - 1

_TRIES: Final = 10


@dataclass(slots=True, unsafe_hash=True)
class _Version:
    """``cas`` is memcached's number for this state of the item; ``newest`` tells when the newest connection was made.

    memcached counts from 1 again when it restarts, so an old number may come to mean another item. But it cannot have
    restarted since it was asked if the connection that asks again was there before.
    """

    cas: bytes
    head: bytes
    newest: float = field(compare=False)


class MemcachedStore:
    """Keeps sessions in memcached (1.6 or later), on one server or spread over several.

    A server that restarts forgets its sessions, and a full one forgets those that were used longest ago; nobody is told.
    While a server is away its sessions are unavailable, and those of the others are not affected. ``servers`` are
    ``"host:port"``, or paths of Unix sockets; all processes must name the same. ``timeout`` (seconds) bounds a verb.
    ``max_item_size`` (bytes) is what memcached was started with (its option ``-I``). ``max_connections`` bounds those of
    this process to each server; a thread that finds them all in use waits for one, within its time. There is no index of
    users.

    Sessions end by the clocks of the hosts that serve the site. That of memcached does not matter as long as they have
    thirty days or less to live. Those that have more it drops early by as much as its clock is ahead, less a minute; where
    that leaves them no time at all, the log says so once.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        timeout: float = 1.0,
        max_item_size: int = 1024 * 1024,
        prefix: str = "session:",
        max_connections: int | None = None,
    ) -> None:
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 60:
            raise ConfigurationError(f"timeout={timeout!r}: write seconds, above 0 and up to 60")
        if isinstance(max_item_size, bool) or not isinstance(max_item_size, int) or max_item_size < 1024:
            raise ConfigurationError(f"max_item_size={max_item_size!r}: write a number of bytes, at least 1024")
        if not isinstance(prefix, str) or len(prefix) > _LONGEST_PREFIX or not is_plain(prefix):
            raise ConfigurationError(f"prefix={prefix!r}: write at most {_LONGEST_PREFIX} ASCII characters, no blanks")
        bound = checked_bound(max_connections)
        self._servers = Servers([servers] if isinstance(servers, str) else servers, timeout, bound)
        self._run = self._servers.run
        self._prefix = prefix.encode()
        self._max_item_size = max_item_size
        self.max_value = max_item_size - _OVERHEAD - len(prefix) - _KEY - _HEAD.size
        self._has_compared = False

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the store at ``memcached://host:port,host:port``, or ``memcached:///path/of/a.sock``.

        The options follow as a query: ``?timeout=0.5&max_item_size=2097152&prefix=shop:``.
        """
        parts = split(url)
        if "@" in parts.netloc:
            raise ConfigurationError(f"{parts.scheme}: takes no user and no password; write memcached://host:11211")
        if not url.partition(":")[2].startswith("//") or parts.fragment or (parts.netloc and parts.path.strip("/")):
            raise ConfigurationError(
                f"{parts.scheme}: takes hosts, or paths of sockets; write memcached://host:11211,other:11211"
            )
        given = options(parts.scheme, parts.query)
        refuse_unknown(parts.scheme, given, ("timeout", "max_item_size", "prefix", "max_connections"))
        bound = given.get("max_connections")
        return cls(
            (parts.netloc or unquote(parts.path)).split(","),
            timeout=number(float, "timeout", given.get("timeout", "1")),
            max_item_size=number(int, "max_item_size", given.get("max_item_size", str(1024 * 1024))),
            prefix=given.get("prefix", "session:"),
            max_connections=None if bound is None else number(int, "max_connections", bound),
        )

    def create(self, key: str, record: Record) -> bool:
        name = self._name(key)
        item, ends = self._packed(record)

        def attempt(connection: Connection, again: bool) -> bool:
            for _ in range(_TRIES):
                if connection.add(name, item, ends):
                    if ends > _LONGEST_TIME and not self._has_compared:
                        self._compare_clocks(connection, name)
                    return True
                there = connection.gets(name)
                if there is None:
                    continue
                found, cas = there
                if found[:_NONCE] == item[:_NONCE]:
                    return True
                if _expires_at(found) > time.time():
                    return connection.server.unknown() if again else False
                if connection.cas(name, item, cas, ends):
                    return True
            raise connection.server.unavailable("the record keeps changing")

        return self._run(key, attempt)

    def load(self, key: str) -> Stored | None:
        name = self._name(key)

        def attempt(connection: Connection, again: bool) -> Stored | None:
            newest = connection.server.newest
            there = connection.gets(name)
            if there is None:
                return None
            found, cas = there
            if _expires_at(found) <= time.time():
                return None
            if cas == b"0":
                raise StoreUnusable("memcached runs with -C; start it without: there sessions could not be changed")
            version = _Version(cas, found[: _HEAD.size], max(newest, connection.since))
            return Stored(found[_HEAD.size :], version)

        return self._run(key, attempt)

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        known = cast(_Version, version)
        now = time.time()
        if _expires_at(known.head) <= now:
            return False
        name = self._name(key)
        ending = record.expires_at <= now
        item, ends = self._packed(record)

        def attempt(connection: Connection, again: bool) -> bool:
            if again or connection.since > known.newest:
                there = connection.gets(name)
                if there is None:
                    return again and ending
                found, cas = there
                if found[:_NONCE] == item[:_NONCE]:
                    return True
                if cas != known.cas or found[: _HEAD.size] != known.head:
                    return connection.server.unknown() if again else False
            done = connection.remove(name, known.cas) if ending else connection.cas(name, item, known.cas, ends)
            if done is None:
                return again and ending
            return done or (connection.server.unknown() if again else False)

        return self._run(key, attempt)

    def delete(self, key: str) -> bool:
        name = self._name(key)
        asked = False

        def attempt(connection: Connection, again: bool) -> bool:
            nonlocal asked
            there = connection.gets(name)
            if there is None or _expires_at(there[0]) <= time.time():
                return asked
            asked = True
            return connection.delete(name)

        return self._run(key, attempt)

    def health(self) -> Health:
        name = self._name(TRIAL)

        def attempt(connection: Connection, again: bool) -> Health:
            connection.gets(name)  # what a proxy knows, too
            asked = time.time()
            facts = connection.statistics()
            half_way = (asked + time.time()) / 2
            space = facts.get("limit_maxbytes")
            return Health(
                "memcached",
                version=facts.get("version"),
                eviction="lru",
                tls=connection.server.tls,
                # Of a clock that counts whole seconds, which are over by half of one in the mean.
                clock_difference=facts["time"] + 0.5 - half_way if "time" in facts else None,
                free_space=max(0, space - facts.get("bytes", 0)) if space else None,
                space=space,
                records=facts.get("curr_items"),
            )

        return worst_of(self._servers.run_on_each(attempt))

    def open(self) -> None:
        """Write a record, read, replace and remove it, and keep no connection open."""
        try_verbs(self)
        self.close()

    def __repr__(self) -> str:
        return f"MemcachedStore({self._servers.name})"

    def close(self) -> None:
        """Close the connections that are not in use now. The store opens others when it is used again."""
        self._servers.close()

    def _compare_clocks(self, connection: Connection, name: bytes) -> None:
        """Tell, once, if what was just written with a date is gone by the clock of memcached."""
        self._has_compared = True
        if connection.gets(name) is None:
            log.error(
                "memcached at %s: a session that was just stored is gone: the clock of that server is more than %d days"
                " ahead of this host's (%s), and sessions that could last longer than that are lost at once",
                connection.server.name,
                _LONGEST_TIME // 86400,
                datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
            )

    def _name(self, key: str) -> bytes:
        if not is_plain(key):
            raise ValueError(f"{key!r} is no key")
        return self._prefix + key.encode()

    def _packed(self, record: Record) -> tuple[bytes, int]:
        """Return the item, with a nonce of its own, and when memcached may drop it, in memcached's words."""
        if len(record.value) > self.max_value:
            raise StoreUnusable(
                f"a record of {len(record.value):,} bytes does not fit into an item of {self._max_item_size:,}: lower"
                " max_bytes of the middleware, or raise max_item_size of the store and memcached's -I"
            )
        left = math.ceil(record.expires_at - time.time()) + _SLACK
        date = record.expires_at + _SLACK
        ends = max(1, left) if left <= _LONGEST_TIME else date if date <= _LAST_DATE else 0
        return _HEAD.pack(token_bytes(_NONCE), record.expires_at) + record.value, ends


def _expires_at(item: bytes) -> float:
    """Return when the record ends; never, for what is no record of ours: it is nobody's, but it is there."""
    return _HEAD.unpack_from(item)[1] if len(item) >= _HEAD.size else math.inf
