"""From what a site asks, and what was measured, to a plan for each store. It knows stores by their names."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from session_middleware.capacity.sizes import Measured, record_bytes
from session_middleware.capacity.traffic import Rates, Site, rates
from session_middleware.exceptions import ConfigurationError

STORES: Final = ("memory", "sqlite", "redis", "postgresql", "mariadb", "memcached")

GIB: Final = 2**30
_MIB: Final = 2**20
_PAGE: Final = 4096

_KEPT_AFTER: Final = {"sqlite": 300, "redis": 300, "postgresql": 300, "mariadb": 300, "memcached": 60, "memory": 0}
"""For how long (seconds) a store keeps a session that has ended by time."""

_ROOM: Final = 1.25
"""What a server is given, by what it needs: for fragmentation, and so that full is not the usual state."""

_BUSY: Final = 0.5
"""The share of a processor's time that is planned with, so that nobody waits for long."""

_SAVED: Final = 100e6
"""Bytes a second at which Redis writes its memory to disk."""


class Plan(NamedTuple):
    """What a store needs for a site."""

    store: str
    where: Literal["memory", "disk"]
    session: int
    """What a session takes there, its part of the indexes too (bytes)."""
    kept: int
    """What all of them take, those included that have ended and are not removed yet (bytes)."""
    reads: float
    """Records read (a second)."""
    writes: float
    """Records written (a second); removals are not among them."""
    logged: float
    """What goes to the log on disk for that (bytes a second)."""
    sent: float
    """What goes to the server (bytes a second), but for what the network adds."""
    received: float
    """What comes back (bytes a second)."""
    connections: int
    """Connections to the server at once."""
    processors: float
    """Processors that this keeps busy: on the server, or, of SQLite and in memory, in the processes of the site."""
    servers: int
    """Servers that share the sessions, as large as was said."""
    settings: tuple[str, ...]
    """What to set, a line each."""
    ends: str
    """Where this store comes to its end, and what is next."""


def plan(site: Site, found: Measured, *, server_memory: float = 24 * GIB) -> list[Plan]:
    """Return what each store of :data:`STORES` needs for the site; *found*: what was measured.

    *server_memory*: that of one server (bytes), by which Redis and memcached are spread over several. Raise
    :exc:`ConfigurationError` if it is not above 0.
    """
    if not server_memory > 0:
        raise ConfigurationError(f"server_memory={server_memory!r}: write bytes, above 0")
    return [_planned(store, site, found, server_memory) for store in STORES]


def _planned(store: str, site: Site, found: Measured, server_memory: float) -> Plan:
    asked = rates(site)
    held = asked.sessions + asked.new * _KEPT_AFTER[store]
    signed_in = 0.0 if store == "memcached" else site.signed_in
    session = record_bytes(store, site.session, found, signed_in=signed_in, sessions=held)
    taken = _taken(store, site, asked, found)
    has_server = store not in ("memory", "sqlite")
    bare = Plan(
        store=store,
        where="memory" if store in ("memory", "redis", "memcached") else "disk",
        session=round(session),
        kept=round(session * held),
        reads=asked.loads,
        writes=asked.writes,
        logged=taken["disk"],
        sent=taken["sent"],
        received=taken["received"],
        connections=site.threads if has_server else 0,
        processors=taken["cpu"],
        servers=1,
        settings=(),
        ends="",
    )
    servers, settings, ends = _ADVICE[store](bare, site, asked, server_memory)
    return bare._replace(servers=servers, settings=tuple(settings), ends=ends)


def _taken(store: str, site: Site, asked: Rates, found: Measured) -> dict[str, float]:
    """Return what all verbs take together, a second; a removal counts as a write of nothing."""
    verbs: Mapping[str, Mapping[str, Mapping[str, float]]] = found["stores"][store].get("verbs", {})
    total = dict.fromkeys(("cpu", "sent", "received", "disk"), 0.0)
    if not verbs:
        return total
    small, large = sorted(verbs, key=int)
    for verb, times, size in (
        ("load", asked.loads, site.session),
        ("update", asked.writes, site.session),
        ("update", asked.new, 0),
    ):
        for name in total:
            low, high = verbs[small][verb][name], verbs[large][verb][name]
            by_byte = max(0.0, (high - low) / (int(large) - int(small)))
            total[name] += times * max(0.0, low + by_byte * (size - int(small)))
    return total


# What to set, and where it ends: of each store the servers, the settings and the text.

_Advice = tuple[int, Sequence[str], str]


def _memory(bare: Plan, site: Site, asked: Rates, server_memory: float) -> _Advice:
    entries = math.ceil(asked.sessions * _ROOM)
    settings = [f"MemoryStore(max_entries={entries}, max_bytes={math.ceil(entries * (site.session + 500))})"]
    return 1, settings, "One process: it is for tests and small sites; all sessions end when it restarts."


def _sqlite(bare: Plan, site: Site, asked: Rates, server_memory: float) -> _Advice:
    one_writer = site.requests * _BUSY / bare.processors
    settings = [
        f"a local disk with {_large(2 * bare.kept)} free, so that there is room for a backup",
        f"{_large(_seen(bare, asked))} of memory that the system has for files: what is in use is read from there",
    ]
    return 1, settings, (
        "One machine, one writer at a time: with half of a processor for SQLite, at"
        f" {_round(one_writer):,} requests a second of this kind. Then PostgreSQL or Redis."
    )  # fmt: skip


def _redis(bare: Plan, site: Site, asked: Rates, server_memory: float) -> _Advice:
    maxmemory = bare.kept * _ROOM
    copied = min(maxmemory, asked.writes * _PAGE * bare.kept / _SAVED)
    servers = max(math.ceil((maxmemory + copied) / server_memory), math.ceil(bare.processors / _BUSY))
    servers = servers if servers == 1 else max(3, servers)
    settings = [
        f"maxmemory {math.ceil(maxmemory / servers / _MIB)}mb, on a machine with"
        f" {_large((maxmemory + copied) / servers)}: while it saves, pages that change are there twice",
        "maxmemory-policy noeviction",
        f"appendonly yes, on a disk with {_large(3 * bare.kept / servers)}",
        *_limit("maxclients", bare.connections + 64, 10_000),
    ]
    if servers == 1:
        most = site.requests * _BUSY / bare.processors
        return 1, settings, (
            f"One server: until its memory is full, or half of its one processor, at {_round(most):,} requests a second of"
            " this kind. Then a cluster."
        )  # fmt: skip
    return servers, settings, (
        f"A cluster of {servers:,} masters, and a replica of each; it grows by further masters, to about 1,000 of them."
        " There a sign-in asks two of them, one after the other."
    )  # fmt: skip


def _postgresql(bare: Plan, site: Site, asked: Rates, server_memory: float) -> _Advice:
    settings = [
        f"a disk with {_large(3 * bare.kept)}: rows that were replaced, the log and a backup take their part",
        f"shared_buffers = {math.ceil(max(128 * _MIB, min(_seen(bare, asked), server_memory / 4)) / _MIB)}MB",
        f"max_wal_size = {math.ceil(max(1024, bare.logged * 600 / _MIB))}MB",
        "ALTER TABLE sessions SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)",
        *_databases(bare, "PgBouncer"),
    ]
    return 1, settings, _one_database(bare, site)


def _mariadb(bare: Plan, site: Site, asked: Rates, server_memory: float) -> _Advice:
    settings = [
        f"a disk with {_large(3 * bare.kept)}: the logs and a backup take their part",
        f"innodb_buffer_pool_size = {math.ceil(max(128 * _MIB, min(_seen(bare, asked), server_memory * 0.7)) / _MIB)}M",
        f"innodb_log_file_size = {math.ceil(max(96, bare.logged * 1800 / _MIB))}M",
        *_databases(bare, "a proxy such as ProxySQL or MaxScale"),
    ]
    return 1, settings, _one_database(bare, site)


def _memcached(bare: Plan, site: Site, asked: Rates, server_memory: float) -> _Advice:
    needed = bare.kept * _ROOM
    servers = math.ceil(needed / server_memory)
    settings = [
        f"-m {math.ceil(needed / servers / _MIB)}",
        *_limit("-c", bare.connections + 64, 1024),
        *([f"-I {math.ceil(site.session * 1.5 / _MIB)}m"] if site.session > 0.9 * _MIB else []),
    ]
    return servers, settings, (
        "Full, it drops the sessions that were used longest ago, and nobody is told; a server that restarts loses its own."
        " There is no list of a user's sessions."
    )  # fmt: skip


_ADVICE: Final[Mapping[str, Callable[[Plan, Site, Rates, float], _Advice]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "redis": _redis,
    "postgresql": _postgresql,
    "mariadb": _mariadb,
    "memcached": _memcached,
}


def _one_database(bare: Plan, site: Site) -> str:
    per_processor = site.requests * _BUSY / bare.processors
    return (
        f"One server that writes: each processor, half busy, is enough for {_round(per_processor):,} requests a second"
        " of this kind. Where those, or its disk, are not enough: Redis."
    )


def _seen(bare: Plan, asked: Rates) -> float:
    """Return how much is in use, which is good to have in memory: of each session that is active, the pages it is on."""
    return min(float(bare.kept), asked.active * max(bare.session, 2 * _PAGE) + bare.kept / 20)


def _databases(bare: Plan, proxy: str) -> list[str]:
    found = [f"max_connections = {math.ceil(bare.connections * 1.1) + 10}"]
    return found if bare.connections < 500 else [*found, f"with so many, {proxy} in front of it"]


def _limit(name: str, needed: int, usual: int) -> list[str]:
    return [f"{name} {needed}"] if needed > usual else []


def _round(number: float) -> int:
    """Return the number with two digits that count: it is known no better."""
    return int(float(f"{number:.2g}"))


def _large(number: float) -> str:
    """Return a number of bytes as a text."""
    for size, unit in ((2**40, "TiB"), (GIB, "GiB")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{math.ceil(number / _MIB)} MiB"
