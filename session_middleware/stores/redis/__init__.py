"""Sessions in Redis or Valkey, shared by any number of machines: the verbs. Which server has a key it does not know."""

import logging
import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Self, cast

from session_middleware.exceptions import ConfigurationError, StoreUnavailable
from session_middleware.stores.base import Health, Record, Stored, Version
from session_middleware.stores.redis.connections import Command, Refusal
from session_middleware.stores.redis.health import health_of
from session_middleware.stores.redis.scripts import CREATE, DELETE, DROP, INDEX, MARK, MARK_AGAIN, REMOVE, WRITE
from session_middleware.stores.redis.settings import Client, deployment, without_own_options
from session_middleware.stores.room import checked_bound
from session_middleware.stores.trial import TRIAL, try_verbs

log = logging.getLogger("session_middleware")

# A value in Redis, so that one string is all that a verb needs, and a version is its head:
#
#     string = head value
#     head   = nonce(8) expires_at(5) 0                                  of nobody
#            | nonce(8) expires_at(5) n(1) user_id(n) indexed_until(5)   of a user
#
# The nonce is new with every write. The times are epoch seconds: until indexed_until the index of the user has the key.
_NONCE: Final = 8
_TIME: Final = 5
_LAST_TIME: Final = 2**39
_HEAD: Final = _NONCE + _TIME
_NOBODY: Final = b"\0"

# What is read where something stands that is no string: the empty value, which is no record of anybody.
_DAMAGED: Final = bytes(_NONCE) + b"\xff" * _TIME + _NOBODY

# Redis keeps a record for so much longer (seconds) than it lives, counted from when it was written: its clock may differ
# from ours, or be set, and after a failover it is another one. When a record has expired is for the head to say.
_GRACE: Final = 300

# By so much (seconds) clocks may differ without anybody being told.
_TOLERABLE: Final = 5

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
_ENDED: Final = bytes(_NONCE)

# How many keys are listed, and asked for, in one go.
_PAGE: Final = 500

_GLOB: Final = re.compile(rb"[]*?\\[]")
_KEY: Final = re.compile(rb"[A-Za-z0-9_-]{12}")


class RedisStore:
    """Keeps sessions in Redis 6.2 or later, or in Valkey, each under ``prefix`` and its key, with an expiry.

    *server* is a URL without options of the store (:meth:`from_url` takes them), or a client of redis-py (``Redis``, one of
    a ``Sentinel`` for the master, ``RedisCluster``). A client lends its addresses, credentials and TLS settings; the
    connections are the store's own, at most one for each thread at work and server, and so is their time budget:
    ``timeout`` (seconds) bounds a verb, connecting and retries included.

    ``wait_replicas``: a write is acknowledged when so many replicas have it, else it raises :exc:`StoreUnavailable`, and may
    or may not last. Nor is it said that a session has ended before they know, whoever asks. With 0 a failover can lose an
    acknowledged write, or bring an ended session back. So can it where Redis had no memory left for a mark of the end.
    Stores with one prefix should agree on it.

    ``max_connections`` bounds those of this process to each server; a thread that finds them all in use waits for one,
    within its time budget. Those that were not needed for a minute are closed, whatever the bound.
    """

    def __init__(
        self,
        server: str | Client,
        *,
        prefix: str = "session:",
        timeout: float = 1.0,
        wait_replicas: int = 0,
        max_connections: int | None = None,
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
        self._servers = deployment(server, timeout, checked_bound(max_connections))
        self._ask = self._servers.ask
        self._has_told = False

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the store that *url* names; ``prefix``, ``timeout``, ``wait_replicas`` and ``max_connections`` may stand in
        its query."""
        rest, options = without_own_options(url)
        return cls(rest, **options)

    def create(self, key: str, record: Record) -> bool:
        if record.expires_at <= time.time():
            return self.load(key) is None
        deadline = time.monotonic() + self._timeout
        name, string, index, entry = self._prepared(key, record, b"", deadline)
        create: Command = ("SET", name, string, "NX", "EX", _kept_for(record))
        if index:
            create = ("EVALSHA", CREATE, 2, name, *index, string, _kept_for(record), *entry)
        found, again = self._settled(name, create, deadline)
        if found is not None:
            return True
        # It may be there because the first try was done, and its answer lost; or it has expired.
        nonce = string[:_NONCE] if again else self._nonce_of_expired(name, deadline)
        if nonce is None:
            return False
        write = ("EVALSHA", WRITE, 1 + len(index), name, *index, nonce, string, _kept_for(record), *entry)
        return bool(self._settled(name, write, deadline)[0] == 1)

    def load(self, key: str) -> Stored | None:
        name, deadline = self._prefix + key.encode(), time.monotonic() + self._timeout
        try:
            found = self._ask(name, (("GET", name),), deadline)[0][0]
        except StoreUnavailable as error:
            if getattr(error.__cause__, "code", None) != "WRONGTYPE":
                raise
            found = _DAMAGED
        return None if found is None else self._read(name, found, deadline)

    def load_whole(self, key: str) -> tuple[Record, Version] | None:
        stored = self.load(key)
        head = b"" if stored is None else cast(bytes, stored.version)
        if stored is None or len(head) <= _HEAD or head == _DAMAGED:
            return None
        with suppress(UnicodeDecodeError):  # of what is no record of ours
            user_id = head[_HEAD + 1 : -_TIME].decode() if head[_HEAD] else None
            return Record(stored.value, int(_expires_at(head)), user_id), head
        return None

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        head = cast(bytes, version)
        now = time.time()
        if _expires_at(head) <= now:
            return False
        if record.expires_at <= now:
            return self._remove(key, head[:_NONCE])
        deadline = time.monotonic() + self._timeout
        name, string, index, entry = self._prepared(key, record, head, deadline)
        write = ("EVALSHA", WRITE, 1 + len(index), name, *index, head[:_NONCE], string, _kept_for(record), *entry)
        found, again = self._settled(name, write, deadline)
        if found < 0 and again:
            # It may have been stored and replaced, and must not look as if it had not been.
            raise StoreUnavailable(f"{self._servers.name}: the answer to a write was lost, and then the record had changed")
        return bool(found == 1)

    def delete(self, key: str) -> bool:
        name = self._prefix + key.encode()
        return self._end(name, ("EVALSHA", DELETE, 1, name, int(time.time())))

    def load_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        deadline, names = time.monotonic() + self._timeout, [self._prefix + key.encode() for key in keys]
        answers, _ = self._servers.ask_each({name: ("GET", name) for name in names}, deadline)
        records = {}
        for key, name, found in zip(keys, names, answers, strict=True):
            string = _DAMAGED if isinstance(found, Refusal) else found
            if string is not None and (stored := self._read(name, string, deadline)) is not None:
                records[key] = stored
        return records

    def delete_many(self, keys: Sequence[str]) -> list[str]:
        if self._replicas:
            return list(filter(self.delete, keys))
        deadline, now = time.monotonic() + self._timeout, int(time.time())
        questions: dict[bytes, Command] = {}
        for key in keys:
            name = self._prefix + key.encode()
            questions[name] = ("EVALSHA", DELETE, 1, name, now)
        answers, again = self._servers.ask_each(questions, deadline)
        return [key for key, answer in zip(keys, answers, strict=True) if again or answer == 1]

    def keys_of(self, user_id: str) -> Iterator[str]:
        user = user_id.encode()
        index, mine = self._index_of(user), bytes((len(user),)) + user
        after, most, seen = b"-inf", _PAGE, set[bytes]()
        while True:
            deadline = time.monotonic() + self._timeout
            page: Command = ("ZRANGE", index, after, "+inf", "BYSCORE", "LIMIT", 0, most, "WITHSCORES")
            entries = self._ask(index, (page,), deadline, may_be_late=True)[0][0]
            scores = {key: score for key, score in zip(entries[::2], entries[1::2], strict=True) if key not in seen}
            seen.update(scores)
            yield from self._alive(index, mine, scores, deadline)
            if len(entries) < 2 * most:
                return
            # A page begins with the score at which the last one ended; it is made longer if it comes no further.
            most = _PAGE if entries[-1] != after else 2 * most
            after = entries[-1]

    def keys(self) -> Iterator[str]:
        """Yield the key of every record, by ``SCAN``; what it has yielded is kept, for Redis may name a key twice.

        While the slots of a cluster are moved, a session on the way may be missing.
        """
        pattern, seen = _GLOB.sub(rb"\\\g<0>", self._prefix) + b"?" * 12, set[bytes]()
        for server in self._servers.servers(time.monotonic() + self._timeout):
            for names in self._servers.scan(server, pattern, _PAGE, self._timeout):
                fresh = {name for name in names if _KEY.fullmatch(name, len(self._prefix))} - seen
                seen |= fresh
                questions: dict[bytes, Command] = {name: ("GETRANGE", name, 0, _HEAD - 1) for name in fresh}
                heads, _ = self._servers.ask_each(questions, time.monotonic() + self._timeout)
                now = time.time()
                for name, head in zip(questions, heads, strict=True):
                    if isinstance(head, Refusal) or (head and head != _ENDED and _expires_at(head) > now):
                        yield name[len(self._prefix) :].decode()

    def health(self) -> Health:
        return health_of(self._servers, self._timeout)

    def open(self) -> None:
        """Write a record and an entry in an index, read and remove them, and keep no connection open."""
        try_verbs(self)
        # The index of the user without a name, whom nobody is.
        index, deadline = self._index_of(b""), time.monotonic() + self._timeout
        self._ask(index, (("EVALSHA", INDEX, 1, index, *_entry(TRIAL, int(time.time()))),), deadline)
        list(self.keys_of(""))
        self._ask(index, (("DEL", index),), deadline)
        self.close()

    def __repr__(self) -> str:
        return f"RedisStore({self._servers.name})"

    def close(self) -> None:
        """Close the connections that are not in use now. The store opens others when it is used again."""
        self._servers.close()

    def _read(self, name: bytes, string: bytes, deadline: float) -> Stored | None:
        """Return the record in the string under *name*; ``None`` if it has ended."""
        if len(string) <= _HEAD:
            if string == _ENDED:
                if self._replicas:
                    self._confirm_end(name, deadline)
                return None
            return Stored(b"", string) if string else None
        if _expires_at(string) <= time.time():
            if not self._has_told:
                self._compare_clocks(name, string, deadline)
            return None
        size = string[_HEAD]
        end = _HEAD + 1 + size + _TIME if size else _HEAD + 1
        return tuple.__new__(Stored, (string[end:], string[:end]))

    def _nonce_of_expired(self, name: bytes, deadline: float) -> bytes | None:
        """Return the nonce of what is under *name* if it has expired; ``None`` if not, or if it is no record."""
        (head,), _ = self._servers.ask_each({name: ("GETRANGE", name, 0, _HEAD - 1)}, deadline)
        is_over = isinstance(head, bytes) and _expires_at(head) <= time.time()
        return head[:_NONCE] if is_over else None

    def _compare_clocks(self, name: bytes, string: bytes, deadline: float) -> None:
        """Tell, once, if a record that has ended by our clock would still live by that of whoever wrote it."""
        with suppress(StoreUnavailable):
            (left,), _ = self._ask(name, (("PTTL", name),), deadline, may_be_late=True)
            lives = left / 1000 - _GRACE
            if lives > _TOLERABLE:
                self._has_told = True
                log.error(
                    "session %s has ended by the clock of this host (%s), and by that of the host that wrote it has %.0f s"
                    " to live: the clocks of the two, or that of %s, differ by %.0f s, and users are signed out by that",
                    name[len(self._prefix) :].decode(),
                    datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
                    lives,
                    self._servers.name,
                    lives + time.time() - _expires_at(string),
                )

    def _alive(self, index: bytes, mine: bytes, scores: dict[bytes, bytes], deadline: float) -> list[str]:
        """Return the keys with a record of the user whose *index* it is; take those out of it that are there for nothing.

        *scores* has the keys; *mine* is how the record of the user goes on after its nonce.
        """
        questions: dict[bytes, Command] = {}
        for key in scores:
            name = self._prefix + key
            questions[name] = ("GETRANGE", name, 0, _HEAD + len(mine) - 1)
        alive, gone, now = list[str](), list[bytes](), time.time()
        for key, name, found in zip(scores, questions, self._servers.ask_each(questions, deadline)[0], strict=True):
            if isinstance(found, bytes) and found[_HEAD:] == mine and _expires_at(found) > now:
                alive.append(key.decode())
                continue
            if found == _ENDED and self._replicas:
                self._confirm_end(name, deadline)
            if not _is_on_its_way(float(scores[key])):
                gone += (key, scores[key])
        if gone:
            self._ask(index, (("EVALSHA", DROP, 1, index, *gone),), deadline, may_be_late=True)
        return alive

    def _prepared(
        self, key: str, record: Record, head: bytes, deadline: float
    ) -> tuple[bytes, bytes, tuple[bytes, ...], Command]:
        """Return the name and the string of a record, and the index that is to have it by the same write, with its entry.

        *head* is that of the string in whose place it comes, so that the index is left alone if it has the key. Where
        another server may have the index, that has been asked when this returns.
        """
        name = self._prefix + key.encode()
        value, expires_at, user_id = record
        expires_at = min(expires_at, _LAST_TIME)
        fresh = os.urandom(_NONCE) + expires_at.to_bytes(_TIME)
        if not user_id:
            return name, fresh + _NOBODY + value, (), ()
        user = user_id.encode()
        mine = bytes((len(user),)) + user
        if head[_HEAD:-_TIME] == mine and int.from_bytes(head[-_TIME:]) >= expires_at:
            return name, fresh + head[_HEAD:] + value, (), ()
        until = expires_at + _SLACK
        string = fresh + mine + until.to_bytes(_TIME) + value
        index, entry = self._index_of(user), _entry(key, until)
        if self._servers.has_all_keys_together:
            return name, string, (index,), entry
        self._settled(index, ("EVALSHA", INDEX, 1, index, *entry), deadline)
        return name, string, (), ()

    def _remove(self, key: str, nonce: bytes) -> bool:
        name = self._prefix + key.encode()
        return self._end(name, ("EVALSHA", REMOVE, 1, name, nonce), nonce)

    def _end(self, name: bytes, remove: Command, *nonce: bytes) -> bool:
        """Remove a record; return ``True`` also if the answer to the first try was lost and the second finds nothing."""
        deadline = time.monotonic() + self._timeout
        if self._replicas:
            remove = ("EVALSHA", MARK, 1, name, _ENDED, int(time.time()), *nonce)
        found, again = self._settled(name, remove, deadline)
        if self._replicas and (found == 2 or (found == 0 and again)):
            self._confirm_end(name, deadline)
        elif self._replicas and found == 1:
            self._unmark(name, deadline)
        return bool(found == 1 or (again and found != -1))

    def _confirm_end(self, name: bytes, deadline: float) -> None:
        """Return when as many replicas know that a record has ended as are to be waited for, if there is its mark."""
        found, _ = self._settled(name, ("EVALSHA", MARK_AGAIN, 1, name, _ENDED), deadline)
        if found == -1:
            raise StoreUnavailable(f"{self._servers.name}: a session that had ended is there again, after a failover")
        self._unmark(name, deadline)

    def _unmark(self, name: bytes, deadline: float) -> None:
        with suppress(StoreUnavailable):  # then it goes when the session would have ended by itself
            self._ask(name, (("EVALSHA", REMOVE, 1, name, _ENDED),), deadline, may_be_late=True)

    def _settled(self, name: bytes, command: Command, deadline: float) -> tuple[Any, bool]:
        """Ask for a write; return when as many replicas have it as are to be waited for."""
        if not self._replicas:
            (answer,), again = self._ask(name, (command,), deadline)
            return answer, again
        (answer, replicas), again = self._ask(name, (command,), deadline, replicas=self._replicas)
        if replicas < self._replicas and answer not in (0, -1, None):
            raise StoreUnavailable(
                f"{self._servers.name}: {replicas} of {self._replicas} replicas have acknowledged a write in time;"
                " whether it lasts is not known"
            )
        return answer, again

    def _index_of(self, user: bytes) -> bytes:
        return self._prefix + b"user:" + user


def _expires_at(head: bytes) -> float:
    """Return when the record with this head ends; never, for what is no record of ours: it is nobody's, but it is there."""
    return int.from_bytes(head[_NONCE:_HEAD]) if len(head) >= _HEAD else math.inf


def _entry(key: str, until: int) -> Command:
    """Return what the scripts are given to let an index have *key* at least *until* then."""
    now = time.time()
    written = now % _PERIOD / _PERIOD
    return (key, until, f"{written:.17f}", int(now) - _ON_ITS_WAY, int(now))


def _kept_for(record: Record) -> int:
    """Return for how many seconds Redis is to keep a record that is written now."""
    return math.ceil(min(record.expires_at, _LAST_TIME) - time.time()) + _GRACE


def _is_on_its_way(score: float) -> bool:
    """Tell whether an entry with this score was written so short a time ago that its record may be still to come."""
    age = (time.time() - score % 1 * _PERIOD) % _PERIOD
    return age < _ON_ITS_WAY or age > _PERIOD - _ON_ITS_WAY
