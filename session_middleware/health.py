"""How a store is, and what to do about it: for ``manager.check()`` and for ``/healthz``. It touches no session."""

import json
from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import TYPE_CHECKING, Final

from session_middleware.clock import steady_clock
from session_middleware.exceptions import ConfigurationError, StoreError, StoreUnusable
from session_middleware.stores.base import Checkable, Finding, Health, Store
from session_middleware.stores.forks import around_forks
from session_middleware.stores.trial import TRIAL

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from session_middleware.manager import SessionManager

__all__ = ["CheckApp", "check_app", "health_of"]

_REPLICAS: Final = ("slave", "replica", "standby", "read_only")
_KEEPS_ALL: Final = (None, "noeviction")

# By so much (seconds) clocks may differ without anybody being told.
_TOLERABLE: Final = 5.0

# Little room is less than a tenth and less than a gigabyte; with less than a megabyte there is none (bytes).
_LITTLE: Final = 1024**3
_NONE: Final = 1024**2

# The store is asked no more often than once in so many seconds.
_EVERY: Final = 1.0


def health_of(store: Store) -> Health:
    """Ask *store* once, and return what it tells, with the time that it took and all findings; it raises nothing.

    A store that is not :class:`~session_middleware.stores.base.Checkable` is asked for a session that does not exist.
    """
    name = type(getattr(store, "inner", store)).__name__
    started = steady_clock()
    try:
        if isinstance(store, Checkable):
            found = store.health()
        else:
            store.load(TRIAL)
            found = Health(name)
    except StoreError as error:
        return Health(name, findings=(_failed(error),))
    except Exception as error:
        return Health(name, findings=(_broken(error),))
    found = found._replace(latency=steady_clock() - started)
    return found._replace(findings=(*found.findings, *_findings(found, single=getattr(store, "single_process", False))))


def _failed(error: StoreError) -> Finding:
    why = str(error).removesuffix(".")
    if isinstance(error, StoreUnusable):
        return Finding("error", "unusable", f"The store cannot be used: {why}.", "Change what the message names.")
    return Finding(
        "error",
        "unreachable",
        f"The store does not answer: {why}.",
        "Look whether it runs, whether its address is right, and what lies between.",
    )


def _broken(error: Exception) -> Finding:
    """Return what is found of a store that keeps not to :class:`Store`; its message may hold secrets."""
    return Finding(
        "error",
        "broken",
        f"The store raises {type(error).__qualname__} when it is asked how it is.",
        "Let it raise StoreUnavailable for what its backend raises, and mend the rest; call its health() to see where.",
    )


def _findings(found: Health, *, single: bool) -> Iterator[Finding]:
    if found.role is not None and any(role in found.role for role in _REPLICAS):
        yield Finding(
            "error",
            "replica",
            f"A server takes no writes: it is a {found.role}.",
            "Write the address of the one that does, or let the sentinels tell it (redis+sentinel://).",
        )
    if found.schema not in (None, "complete"):
        yield Finding(
            "warning",
            "schema",
            f"The tables are not as they should be: {found.schema}.",
            "Run the statements that `session-middleware schema` prints; a store that may makes its table at its first use.",
        )
    if found.eviction not in _KEEPS_ALL and found.space is not None:
        yield Finding(
            "warning" if found.role else "note",
            "evicts",
            f"When it is full it drops sessions that are in use, without a word ({found.eviction}).",
            "Set maxmemory-policy to noeviction." if found.role else "Give it more room than the sessions take.",
        )
    if found.clock_difference is not None and abs(found.clock_difference) > _TOLERABLE:
        way = "ahead of" if found.clock_difference > 0 else "behind"
        yield Finding(
            "warning",
            "clock",
            f"The clock of the server is {abs(found.clock_difference):.0f} s {way} that of this host.",
            "Let both keep the time by NTP: sessions end by the clocks of the hosts that serve the site.",
        )
    if found.tls is False:
        yield Finding(
            "warning",
            "unencrypted",
            "What goes to the server and comes from it is not encrypted.",
            "Use TLS (rediss://, or the options of the driver), unless nobody else is on that network.",
        )
    yield from _about_room(found)
    if single:
        yield Finding(
            "note",
            "single_process",
            "The sessions live in one process, and end with it.",
            "Use another store where there are several processes, or where sessions are to outlive a restart.",
        )


def _about_room(found: Health) -> Iterator[Finding]:
    free, space = found.free_space, found.space
    if free is None or space is None or free >= min(space / 10, _LITTLE):
        return
    is_full = free < _NONE and found.eviction in _KEEPS_ALL
    yield Finding(
        "error" if is_full else "warning",
        "space",
        f"There is {'no' if is_full else 'little'} room left: {free:,} of {space:,} bytes.",
        "Give it more room, or let sessions end sooner (Lifetime), or keep less in them.",
    )


def check_app(manager: "SessionManager") -> "WSGIApplication":
    """Return a WSGI application for ``/healthz``: 200 if sessions can be kept, 503 if not, and a short JSON text.

    The text tells the kind of store, the latency in milliseconds, and the names of the findings; no address, no path and
    nothing of any session. However many ask, the store is asked once a second at most.
    """
    return CheckApp(manager)


class CheckApp:
    """See :func:`check_app`. *clock* returns seconds, and never goes back."""

    def __init__(self, manager: "SessionManager", clock: Callable[[], float] = steady_clock) -> None:
        if not callable(getattr(manager, "check", None)):
            raise ConfigurationError(f"manager={manager!r}: write SessionMiddleware(...).manager")
        self._manager = manager
        self._clock = clock
        self._lock = Lock()
        self._last: Health | None = None
        self._next = 0.0
        around_forks(self, in_child=CheckApp._after_fork)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            start_response("405 Method Not Allowed", [("Allow", "GET, HEAD"), ("Content-Length", "0")])
            return []
        health = self._health()
        body = json.dumps(_told(health)).encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Cache-Control", "no-store"),
            ("Content-Length", str(len(body))),
        ]
        start_response("200 OK" if health.ok else "503 Service Unavailable", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _health(self) -> Health:
        # Who comes while another asks is answered with what was found last; the first ones wait for it.
        if self._lock.acquire(blocking=self._last is None):
            try:
                if self._last is None or self._clock() >= self._next:
                    self._next = self._clock() + _EVERY
                    self._last = self._manager.check()
            finally:
                self._lock.release()
        assert self._last is not None  # noqa: S101  # whoever had the lock before has set it
        return self._last

    def _after_fork(self) -> None:
        self._lock = Lock()


def _told(health: Health) -> dict[str, object]:
    return {
        "status": "ok" if health.ok else "failing",
        "store": health.kind,
        "latency_ms": None if health.latency is None else round(health.latency * 1000, 2),
        "findings": [{"severity": finding.severity, "name": finding.name} for finding in health.findings],
    }
