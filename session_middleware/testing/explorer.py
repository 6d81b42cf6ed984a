"""Runs two requests of an application through every order of their store calls, and reports the orders that break it."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeAlias, runtime_checkable

from session_middleware.clock import steady_clock
from session_middleware.exceptions import ConfigurationError
from session_middleware.manager import SessionManager
from session_middleware.notes import Alias, Damaged, Mark
from session_middleware.record import unpack
from session_middleware.stores.base import Record, Scannable
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.applications import keep_in, kept_in, manager_of
from session_middleware.testing.clock import clock_in_hand
from session_middleware.testing.helpers import DAY
from session_middleware.testing.orders import Call, SteppedStore, every_order

_NAMES = ("first", "second")
_READS = ("load", "keys_of", "keys")
_SHOWN = 200  # bytes of a response in the report


@runtime_checkable
class RequestLike(Protocol):
    """A ``webob.Request``, or one of WebTest, which is made of that."""

    def copy(self) -> Any: ...
    def get_response(self, application: Any) -> Any: ...


AnyRequest: TypeAlias = "Callable[[], Any] | RequestLike"
"""A request to explore: one that is described, or a function that makes it, and returns what the check is to see."""


@dataclass
class Broken:
    """An order of the store calls that breaks something; as text, all that is known of it."""

    calls: list[Call]
    """The calls of the store, in their order. The requests are number 0 and number 1."""

    responses: tuple[Any, Any]
    """What the requests have returned; ``None`` from one that has raised."""

    error: BaseException
    """What a request has raised, or else the check."""

    def __str__(self) -> str:
        lines = [_line(number, call) for number, call in enumerate(self.calls, 1)]
        lines += [f"  {name} got {_shown(response)}" for name, response in zip(_NAMES, self.responses, strict=True)]
        return "\n".join([*lines, f"  {type(self.error).__name__}: {self.error}"])


@dataclass
class Interleavings:
    """What came of all the orders; as text, a report with the first that is broken."""

    orders: int = 0
    """How many orders were run."""

    complete: bool = False
    """Whether these are all that there are."""

    broken: list[Broken] = field(default_factory=list)
    """Those that have failed, in the order in which they were run."""

    def __str__(self) -> str:
        known = "all" if self.complete else "not all there are: write most=... or seconds=..."
        head = f"{len(self.broken)} of {self.orders} orders are broken ({known})"
        return "\n".join([f"{head}; the first of them:", str(self.broken[0])]) if self.broken else head


def interleavings(
    app: Any,
    first: AnyRequest,
    second: AnyRequest,
    *,
    check: Callable[[Any, Any], object] | None = None,
    begin: Callable[[], object] | None = None,
    most: int = 1000,
    seconds: float = 60,
) -> Interleavings:
    """Run two requests in every order of their store calls; return which orders break what *check* asserts.

    *app*: see :func:`~session_middleware.testing.manager_of`; a WSGI application, if a request is a description. *first* and
    *second* are descriptions, such as ``webob.Request.blank("/cart", POST={"item": "tea"}, headers={"Cookie": cookie})``, or
    functions without arguments that make a request and return the response. *check* is called after each order with the two
    responses, and raises if they, or what is stored then, are not as they should be. An order is broken, too, if a request
    raises. *begin* is called before each order.

    Each order begins with the sessions as they are now: they are copied to a :class:`MemoryStore`, which the application
    uses meanwhile; its own store is only read. All else that the requests change, *begin* has to put back. ``time.time``
    stands still. Each request has a thread, and only one of the two runs at a time: from one call of the store to its next
    one. So a request must not wait for the other, as by a lock that it holds over a call. What it does in threads of its own
    is not ordered.

    *most*, *seconds*: how many orders are run, and for how long no further one is begun. Raise :exc:`ConfigurationError` if
    the store cannot list what it holds, :exc:`AssertionError` if the requests wait for each other, or do not do the same
    each time.
    """
    manager, report, deadline = manager_of(app), Interleavings(), steady_clock() + seconds
    records, requests = _records_of(manager), [_callable(app, request) for request in (first, second)]

    def world() -> tuple[SteppedStore, list[Callable[[], Any]], SteppedStore]:
        if report.orders >= most or steady_clock() >= deadline:
            raise _Enough
        return (store := _begun(manager, records, begin)), requests, store

    with clock_in_hand(), kept_in(manager, manager.store), suppress(_Enough):
        for store, outcome in every_order(world):
            calls, (one, other) = [*store.log], outcome.results
            report.orders += 1
            error = next(filter(None, outcome.errors), None) or _raised_by(check, one, other)
            if error is not None:
                report.broken.append(Broken(calls, (one, other), error))
        report.complete = True
    return report


class _Enough(Exception):
    """No further order is to be run."""


def _begun(manager: SessionManager, records: Mapping[str, Record], begin: Callable[[], object] | None) -> SteppedStore:
    """Let the manager keep its sessions in a new store with these records, as *begin* leaves it; return that."""
    inside = MemoryStore()
    for key, record in records.items():
        inside.create(key, record)
    store = SteppedStore(inside, known=records)
    keep_in(manager, store)
    if begin is not None:
        begin()
    store.log.clear()
    return store


def _records_of(manager: SessionManager) -> dict[str, Record]:
    """Return what the store of a manager holds. When a record expires, and whose it is, stands in the record, too."""
    store = manager.store
    if not isinstance(store, Scannable):
        raise ConfigurationError(f"{store!r} cannot list what it holds; give the application a MemoryStore() in its tests")
    found = {key: store.load(key) for key in sorted(store.keys())}
    return {key: _record_of(stored.value) for key, stored in found.items() if stored is not None}


def _record_of(value: bytes) -> Record:
    try:
        known = unpack(value)
    except Damaged:
        known = None
    if isinstance(known, tuple):
        envelope, _ = known
        return Record(value, math.ceil(envelope.expires_at), envelope.user_id)
    return Record(value, math.ceil(known.expires_at if isinstance(known, Mark | Alias) else time.time() + DAY), "")


def _callable(app: Any, request: AnyRequest) -> Callable[[], Any]:
    if isinstance(request, RequestLike):
        return partial(_send, app, request)
    if not callable(request):
        raise ConfigurationError(f"{request!r}: write a function without arguments, or webob.Request.blank(...)")
    return request


def _send(app: Any, request: RequestLike) -> Any:
    response = request.copy().get_response(app)
    _ = response.body  # to its end
    return response


def _raised_by(check: Callable[[Any, Any], object] | None, one: Any, other: Any) -> BaseException | None:
    try:
        if check is not None:
            check(one, other)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # what pytest.fail() raises is no Exception
        return error
    return None


def _line(number: int, call: Call) -> str:
    name = "another" if call.request is None else _NAMES[call.request]
    came_of_it = ("found" if call.done else "nothing") if call.verb in _READS else ("done" if call.done else "refused")
    return f"{number:3}. {name:8}{call.verb:8}{call.key}  {came_of_it}"


def _shown(response: object) -> str:
    status = getattr(response, "status", None) or getattr(response, "status_code", None)
    if status is None:
        return repr(response)
    bodies = [getattr(response, name, None) for name in ("body", "data", "content")]
    body = next((body for body in bodies if isinstance(body, bytes)), b"")
    return f"{status} {body[:_SHOWN]!r}"
