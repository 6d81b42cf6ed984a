"""Sessions in Redis or Valkey, shared by any number of machines: one server, one behind sentinels, or a cluster."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, Self, TypeAlias, cast

from session_middleware.exceptions import ConfigurationError, StoreUnavailable
from session_middleware.stores.base import Record, Stored, Version
from session_middleware.stores.redis.connections import Command
from session_middleware.stores.redis.deployments import script
from session_middleware.stores.redis.settings import Client, deployment, own_options

# A value in Redis, so that one string is all that a verb needs, and a version is its head:
#
#     string = head value
#     head   = nonce(8) indexed_until(5) n(1) user_id(n)
#
# The nonce is new with every write. indexed_until is epoch seconds: for so long the index of the user has the key.
_HEAD: Final = 14
_NOBODY: Final = bytes(6)

# What is read where something stands that is no string: the empty value, which is no record of anybody.
_DAMAGED: Final = bytes(_HEAD)

# The index is written with so many seconds to spare, so that the common update, which moves the end of a session by
# seconds, leaves it alone.
_SLACK: Final = 300

# A key whose record is not there is dropped from the index, unless it came in so short a time ago (seconds) that the
# record may be on its way: longer than a verb may take, and than clocks differ. The score of a key is the last moment of
# its entry, and after the point when the entry was written, modulo _PERIOD.
_ON_ITS_WAY: Final = 300
_PERIOD: Final = 65536

# What stands in place of a record that has ended, for as long as the replicas that are waited for may not know it. No nonce
# is like it.
_ENDED: Final = bytes(8)

# How many keys are asked for, or listed, in one go.
_BATCH: Final = 500

_GLOB: Final = re.compile(rb"[]*?\\[]")
_KEY: Final = re.compile(rb"[A-Za-z0-9_-]{43}")

# Creates (for the nonce that nothing has), or replaces what has the nonce; also what has the new one already, because then
# the answer to the first try was lost, and whoever waits for replicas must have something to wait for.
_WRITE: Final = script("""\
local found = redis.call('GETRANGE', KEYS[1], '0', '7')
if found ~= ARGV[1] and found ~= string.sub(ARGV[2], 1, 8) then return found == '' and 0 or -1 end
redis.call('SET', KEYS[1], ARGV[2], 'EXAT', ARGV[3])
return 1""")

# Nothing but reading and DEL, so that it works when Redis is out of memory.
_REMOVE: Final = script("""\
local found = redis.call('GETRANGE', KEYS[1], '0', '7')
if found ~= ARGV[1] then return found == '' and 0 or -1 end
return redis.call('DEL', KEYS[1])""")

# Puts the mark in place of a record; 2 if it is there already. For the mark Redis needs memory: if it has none, nothing is
# left.
_MARK: Final = script("""\
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local found = redis.pcall('GETRANGE', KEYS[1], '0', '7')
if found == ARGV[1] then return 2 end
if ARGV[2] and found ~= ARGV[2] then return found == '' and 0 or -1 end
if redis.pcall('SET', KEYS[1], ARGV[1], 'KEEPTTL').err then redis.call('DEL', KEYS[1]) end
return 1""")

# Writes the mark once more, so that there is something to wait for: the replicas get it after what was written before.
# -1 if something else is there: this is a new master, to which the end has not come.
_MARK_AGAIN: Final = script("""\
local found = redis.call('GET', KEYS[1])
if found ~= ARGV[1] then return found and -1 or 0 end
local left = redis.call('PTTL', KEYS[1])
return redis.call('PEXPIRE', KEYS[1], left < 0 and 86400000 or math.max(left, 1000))""")

# Sent with its text: if it failed because the server does not know it, the record after it would be written without it.
_INDEX: Final = """\
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
local until_ = math.max(tonumber(ARGV[2]), before and math.floor(tonumber(before)) or 0)
redis.call('ZADD', KEYS[1], string.format('%.17g', until_ + ARGV[3]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[4])
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
return redis.call('EXPIREAT', KEYS[1], string.format('%.0f', math.ceil(tonumber(last))))"""

_ENTRIES: Final = script("return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')")

# The keys, the score of each, and what is in its record from one place to another; nothing where there is something else.
_LOOK: Final = script("""\
local entries, found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), {}
for number = 1, #entries, 2 do
    local part = redis.pcall('GETRANGE', ARGV[1] .. entries[number], ARGV[2], ARGV[3])
    if type(part) == 'table' then
        if not string.find(part.err, 'WRONGTYPE', 1, true) then return part end
        part = ''
    end
    table.insert(found, entries[number])
    table.insert(found, entries[number + 1])
    table.insert(found, part)
end
return found""")

_DROP: Final = script("""\
for number = 1, #ARGV, 2 do
    if redis.call('ZSCORE', KEYS[1], ARGV[number]) == ARGV[number + 1] then redis.call('ZREM', KEYS[1], ARGV[number]) end
end""")


Looked: TypeAlias = tuple[dict[bytes, bytes], dict[bytes, Any]]


class RedisStore:
    """Keeps sessions in Redis 6.2 or later, or in Valkey, each under ``prefix`` and its key, with an expiry.

    *server* is a URL, or a client of redis-py (``Redis``, one of a ``Sentinel`` for the master, ``RedisCluster``). A client
    lends its addresses, credentials and TLS settings; the connections are the store's own, at most one for each thread at
    work and server, and so is their time budget: ``timeout`` (seconds) bounds a verb, connecting and retries included.

    ``wait_replicas``: a write is acknowledged when so many replicas have it, else it raises :exc:`StoreUnavailable`, and may
    or may not last. Nor is it said that a session has ended before they know, whoever asks. With 0 a failover can lose an
    acknowledged write, or bring an ended session back. So can it where Redis had no memory left for a mark of the end.
    Stores with one prefix should agree on it.
    """

    def __init__(
        self,
        server: str | Client,
        *,
        prefix: str = "session:",
        timeout: float = 1.0,
        wait_replicas: int = 0,
    ) -> None:
        if not isinstance(prefix, str) or not prefix or set("{}") & set(prefix) or not prefix.isprintable():
            raise ConfigurationError(f"prefix={prefix!r}: write text, such as 'session:', without braces")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 60:
            raise ConfigurationError(f"timeout={timeout!r}: write seconds, above 0 and up to 60")
        if isinstance(wait_replicas, bool) or not isinstance(wait_replicas, int) or wait_replicas < 0:
            raise ConfigurationError(f"wait_replicas={wait_replicas!r}: write how many replicas, 0 or more")
        self._prefix = prefix.encode()
        self._timeout = timeout
        self._replicas = wait_replicas
        self._servers = deployment(server, timeout)
        self._ask = self._servers.ask

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the store that *url* names; ``prefix``, ``timeout`` and ``wait_replicas`` may stand in its query."""
        return cls(url, **own_options(url))

    def create(self, key: str, record: Record) -> bool:
        if record.expires_at <= time.time():
            return self.load(key) is None
        return self._write(key, record, b"", b"")[0] == 1

    def load(self, key: str) -> Stored | None:
        return self._load(self._prefix + key.encode(), time.monotonic() + self._timeout)

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        head = cast(bytes, version)
        if record.expires_at <= time.time():
            return self._remove(key, head[:8])
        found, again = self._write(key, record, head[:8], head[8:])
        if found < 0 and again:
            # It may have been stored and replaced, and must not look as if it had not been.
            raise StoreUnavailable(f"{self._servers.name}: the answer to a write was lost, and then the record had changed")
        return found == 1

    def delete(self, key: str) -> bool:
        name = self._prefix + key.encode()
        return self._end(name, ("DEL", name))

    def keys_of(self, user_id: str) -> list[str]:
        user, deadline = user_id.encode(), time.monotonic() + self._timeout
        index, mine = self._index_of(user), bytes((len(user),)) + user
        look = self._look if self._servers.has_all_keys_together else self._look_again
        scores, heads = look(index, mine, deadline)
        if self._replicas:
            for key in scores:
                if not heads[key]:
                    self._load(self._prefix + key, deadline)
        gone = [key for key, score in scores.items() if heads[key] != mine and not _is_on_its_way(float(score))]
        for batch in _batches(gone):
            pairs = [part for key in batch for part in (key, scores[key])]
            self._ask(index, (("EVALSHA", _DROP, 1, index, *pairs),), deadline)
        return [key.decode() for key, head in heads.items() if head == mine]

    def keys(self) -> Iterator[str]:
        """Yield the key of every record, by ``SCAN``; what it has yielded is kept, for Redis may name a key twice."""
        pattern, seen = _GLOB.sub(rb"\\\g<0>", self._prefix) + b"?" * 43, set[bytes]()
        for server in self._servers.servers(time.monotonic() + self._timeout):
            cursor = b""
            while cursor != b"0":
                scan: Command = ("SCAN", cursor or b"0", "MATCH", pattern, "COUNT", _BATCH)
                cursor, names = self._servers.ask_at(server, scan, time.monotonic() + self._timeout)
                fresh = {name for name in names if _KEY.fullmatch(name, len(self._prefix))} - seen
                seen |= fresh
                yield from (name[len(self._prefix) :].decode() for name in fresh)

    def close(self) -> None:
        """Close the connections that are not in use now. The store opens others when it is used again."""
        self._servers.close()

    def _look(self, index: bytes, mine: bytes, deadline: float) -> Looked:
        """Return the score of each key in an index, and the head of its record as far as it says whose it is."""
        end = _HEAD - 2 + len(mine)
        look: Command = ("EVALSHA", _LOOK, 1, index, self._prefix, _HEAD - 1, end)
        found = self._ask(index, (look,), deadline)[0][0]
        return dict(zip(found[::3], found[1::3], strict=True)), dict(zip(found[::3], found[2::3], strict=True))

    def _look_again(self, index: bytes, mine: bytes, deadline: float) -> Looked:
        """Return the same where no server has all records: they are looked at one after the other.

        A session that gets a new key meanwhile might be seen under neither. A record comes, is the user's and goes, in this
        order: if two looks see the same, it was so at one moment. Raise :exc:`StoreUnavailable` if that does not happen.
        """
        heads: dict[bytes, Any] = {}
        while True:
            found = self._ask(index, (("EVALSHA", _ENTRIES, 1, index),), deadline)[0][0]
            scores = dict(zip(found[::2], found[1::2], strict=True))
            before = {key: heads.get(key) for key in scores}
            for batch in _batches([key for key in scores if not heads.get(key)]):
                names = [self._prefix + key for key in batch]
                questions = {name: ("GETRANGE", name, _HEAD - 1, _HEAD - 2 + len(mine)) for name in names}
                heads |= zip(batch, self._servers.ask_each(questions, deadline), strict=True)
            now = {key: heads[key] for key in scores}
            if now == before or all(head == mine for head in now.values()):
                return scores, heads
            if time.monotonic() >= deadline:
                raise StoreUnavailable(f"{self._servers.name}: the sessions of a user keep changing")

    def _load(self, name: bytes, deadline: float) -> Stored | None:
        try:
            found = self._ask(name, (("GET", name),), deadline)[0][0]
        except StoreUnavailable as error:
            if getattr(error.__cause__, "code", None) != "WRONGTYPE":
                raise
            found = _DAMAGED
        if found is None:
            return None
        if len(found) < _HEAD:
            if found == _ENDED:
                if self._replicas:
                    self._confirm_end(name, deadline)
                return None
            return Stored(b"", found) if found else None
        end = _HEAD + found[_HEAD - 1]
        return tuple.__new__(Stored, (found[end:], found[:end]))

    def _write(self, key: str, record: Record, nonce: bytes, tail: bytes) -> tuple[int, bool]:
        """Store the record where *nonce* is; *tail* is the rest of the head there.

        Return 1, or 0 if nothing is there, or -1 if something else is; and whether it may have been done once before.
        """
        deadline, name = time.monotonic() + self._timeout, self._prefix + key.encode()
        value, expires_at, user_id = record
        indexing: tuple[Command, ...] = ()
        if user_id is None:
            tail = _NOBODY
        elif tail[6:] != (user := user_id.encode()) or int.from_bytes(tail[:5]) < expires_at:
            until = expires_at + _SLACK
            tail = until.to_bytes(5) + bytes((len(user),)) + user
            indexing = (self._indexing(user, key, until),)
            if not self._servers.has_all_keys_together:
                self._settled(self._index_of(user), indexing, deadline)
                indexing = ()
        write: Command = ("EVALSHA", _WRITE, 1, name, nonce, os.urandom(8) + tail + value, expires_at)
        found, again = self._settled(name, (*indexing, write), deadline)
        return found[len(indexing)], again

    def _remove(self, key: str, nonce: bytes) -> bool:
        name = self._prefix + key.encode()
        return self._end(name, ("EVALSHA", _REMOVE, 1, name, nonce), nonce)

    def _end(self, name: bytes, remove: Command, *nonce: bytes) -> bool:
        """Remove a record; return ``True`` also if the answer to the first try was lost and the second finds nothing."""
        deadline = time.monotonic() + self._timeout
        if self._replicas:
            remove = ("EVALSHA", _MARK, 1, name, _ENDED, *nonce)
        (found, *_), again = self._settled(name, (remove,), deadline)
        if self._replicas and (found == 2 or (found == 0 and again)):
            self._confirm_end(name, deadline)
        elif self._replicas and found == 1:
            self._unmark(name, deadline)
        return bool(found == 1 or (again and found != -1))

    def _confirm_end(self, name: bytes, deadline: float) -> None:
        """Return when as many replicas know that a record has ended as are to be waited for, if there is its mark."""
        (found, *_), _ = self._settled(name, (("EVALSHA", _MARK_AGAIN, 1, name, _ENDED),), deadline)
        if found == -1:
            raise StoreUnavailable(f"{self._servers.name}: a session that had ended is there again, after a failover")
        self._unmark(name, deadline)

    def _unmark(self, name: bytes, deadline: float) -> None:
        with suppress(StoreUnavailable):  # then it goes when the session would have ended by itself
            self._ask(name, (("EVALSHA", _REMOVE, 1, name, _ENDED),), deadline)

    def _settled(self, name: bytes, commands: tuple[Command, ...], deadline: float) -> tuple[list[Any], bool]:
        """Ask for writes; return when as many replicas have them as are to be waited for."""
        if not self._replicas:
            return self._ask(name, commands, deadline)
        (*answers, replicas), again = self._ask(name, commands, deadline, replicas=self._replicas)
        if replicas < self._replicas and answers[-1] not in (0, -1):
            raise StoreUnavailable(
                f"{self._servers.name}: {replicas} of {self._replicas} replicas have acknowledged a write in time;"
                " whether it lasts is not known"
            )
        return answers, again

    def _index_of(self, user: bytes) -> bytes:
        return self._prefix + b"user:" + user

    def _indexing(self, user: bytes, key: str, until: int) -> Command:
        """Return the command that lets the index of the user have *key* at least *until* then."""
        now = time.time()
        written = now % _PERIOD / _PERIOD
        return ("EVAL", _INDEX, 1, self._index_of(user), key, until, f"{written:.17f}", int(now) - _ON_ITS_WAY)


def _is_on_its_way(score: float) -> bool:
    """Tell whether an entry with this score was written so short a time ago that its record may be still to come."""
    age = (time.time() - score % 1 * _PERIOD) % _PERIOD
    return age < _ON_ITS_WAY or age > _PERIOD - _ON_ITS_WAY


def _batches(keys: list[bytes]) -> Iterator[list[bytes]]:
    return (keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH))
