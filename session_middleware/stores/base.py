"""What a store is: four verbs over bytes. No store knows a token, a codec, a lifetime or HTTP."""

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

Version: TypeAlias = Hashable
"""Whatever a store tells two states of one record apart by; opaque to everyone else."""


class Record(NamedTuple):
    """What is written under a key.

    ``value`` is opaque. ``expires_at`` is epoch seconds: from then on the record is absent, whatever the store still
    holds. ``user_id`` is what :meth:`UserIndexed.keys_of` finds the key by.
    """

    value: bytes
    expires_at: int
    user_id: str | None


class Stored(NamedTuple):
    """What is found under a key: the value, and the version to name when updating it."""

    value: bytes
    version: Version


class Swept(NamedTuple):
    """What a sweep has removed."""

    key: str
    user_id: str | None


class Finding(NamedTuple):
    """Something about a store that somebody should know.

    ``severity``: ``"error"``, it does not work as it should; ``"warning"``, it may come to that; ``"note"``, neither.
    ``name`` is one word of a short list, for programs; ``what`` and ``to_do`` are sentences for people, without secrets.
    """

    severity: Literal["error", "warning", "note"]
    name: str
    what: str
    to_do: str


class Health(NamedTuple):
    """What a store tells of itself; ``None`` is what it cannot tell, or what it has not.

    ``kind`` is what it is called, such as ``"Redis"``; ``version`` that of the server, or of SQLite. ``latency`` (seconds)
    is what one question took; ``None`` if there was no answer. ``role`` is what the server is to its replicas, in its own
    words. ``eviction`` is what it drops when it is full, in its own words. ``tls``: whether what goes over a network is
    encrypted. ``schema``: whether the tables are ``"complete"``, and else what is missing. ``clock_difference``: by how
    many seconds its clock is ahead of ours. ``free_space`` and ``space`` (bytes) are what it can still keep, and in all.
    ``records`` is about how many it has, those counted that have expired and are still there. Of several servers it is what
    is worst.
    """

    kind: str
    version: str | None = None
    latency: float | None = None
    role: str | None = None
    eviction: str | None = None
    tls: bool | None = None
    schema: str | None = None
    clock_difference: float | None = None
    free_space: int | None = None
    space: int | None = None
    records: int | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no error among the findings."""
        return all(finding.severity != "error" for finding in self.findings)


class Store(Protocol):
    """Keeps records by key; each verb is one atomic operation.

    Keys are 12 characters of the base64url alphabet. Every verb raises
    :exc:`~session_middleware.exceptions.StoreUnavailable`, caused by the driver's own error and without secrets, when
    the backend cannot be asked or does not answer within the store's own time budget, retries included. A store may be
    used by any number of threads, and after a fork in the parent and in the child.

    A store may have an attribute ``single_process``. True says that its records live in one process only, so that a
    site that is served by several would lose sessions at every turn; the middleware warns of that. Without the
    attribute, every process finds what any process wrote. And it may have an attribute ``max_value``: the longest value
    (bytes) that it keeps. A site whose sessions may be longer does not start.
    """

    def create(self, key: str, record: Record) -> bool:
        """Write a record under a key that has none. Return ``False``, writing nothing, if the key is taken."""
        ...

    def load(self, key: str) -> Stored | None:
        """Return what is under the key, or ``None`` if nothing is or if it has expired."""
        ...

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        """Replace the record if it is still at *version*.

        Return ``False``, writing nothing, if it changed since, has expired or is gone; the caller loads again to learn
        which. A record that has already expired replaces it with nothing: a compare-and-delete, which works even when
        the store refuses writes.
        """
        ...

    def delete(self, key: str) -> bool:
        """Remove what is under the key; return whether there was anything. Works even when the store refuses writes."""
        ...


@runtime_checkable
class Sweepable(Protocol):
    """A store that does not drop expired records by itself."""

    def sweep(self, limit: int) -> Sequence["Swept"]:
        """Remove at most *limit* expired records, by an index; return which. Of those that race, one returns it."""
        ...


@runtime_checkable
class Openable(Protocol):
    """A store that can tell before its first use whether it works."""

    def open(self) -> None:
        """Make what the store needs unless it is there, and keep no connection open.

        Raise :exc:`~session_middleware.exceptions.StoreUnusable` if it will not work before somebody changes something,
        :exc:`~session_middleware.exceptions.StoreUnavailable` if it does not work just now.
        """
        ...


@runtime_checkable
class Checkable(Protocol):
    """A store that tells how it is."""

    def health(self) -> Health:
        """Ask the server once, write nothing, and return what it tells; no findings of what follows from the rest.

        Raise :exc:`~session_middleware.exceptions.StoreUnavailable` if it cannot be asked. What it is not allowed to tell
        is ``None``. It has the time of a verb, for each server; that one takes longer is not taken for a sign that it is
        away.
        """
        ...


@runtime_checkable
class UserIndexed(Protocol):
    """A store that finds the records of a user."""

    def keys_of(self, user_id: str) -> Iterator[str]:
        """Yield the keys of the unexpired records with this user id, each once, in any order; none if there are none.

        Whichever record is the user's all the time from the first ``next`` to the end is found; what is written or removed
        meanwhile may be missing or not. The store is asked for one page after the other, of about a thousand keys: so
        however many records a user has, nobody waits for more than a page, and nothing is held between two of them. The
        cost grows with the records of that user, not with the size of the store.

        Nothing is asked before the first ``next``. Any of them may raise
        :exc:`~session_middleware.exceptions.StoreUnavailable`: a list that cannot be read to its end never just ends. A
        page has the time of a verb. That it takes longer is not taken for a sign that the store is away.
        """
        ...


@runtime_checkable
class Scannable(Protocol):
    """A store that can list itself, for maintenance."""

    def keys(self) -> Iterator[str]:
        """Yield the key of every unexpired record; for the rest as :meth:`UserIndexed.keys_of`."""
        ...


@runtime_checkable
class Batched(Protocol):
    """A store that is asked about many records in one go sooner than about one after the other.

    Each record is looked at, or removed, in a step of its own, and what fails may have been done for some of them. At most a
    hundred are asked for at once, so that nobody else waits for long. As with :meth:`UserIndexed.keys_of`, all of it has the
    time of a verb, and that it takes longer is not taken for a sign that the store is away.
    """

    def load_many(self, keys: Sequence[str]) -> Mapping[str, Stored]:
        """Return what :meth:`Store.load` would for each of the keys, without those that have nothing."""
        ...

    def delete_many(self, keys: Sequence[str]) -> Collection[str]:
        """Do as :meth:`Store.delete` with each of the keys; return those that were there."""
        ...


@runtime_checkable
class Copyable(Protocol):
    """A store that tells all that it knows of a record, so that another one can keep it instead."""

    def load_whole(self, key: str) -> tuple[Record, Version] | None:
        """Return the record under the key as it was written, and its version; for the rest as :meth:`Store.load`.

        ``None`` also for what is no record: what damage has left, for example.
        """
        ...
