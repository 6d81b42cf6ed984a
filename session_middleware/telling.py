"""Tells observers what happens. Nobody imports it where there are none: then nothing is told, and nothing is measured."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar, cast

from session_middleware import events
from session_middleware.clock import steady_clock
from session_middleware.events import Event, Observer, Reason
from session_middleware.exceptions import ConfigurationError
from session_middleware.record import Envelope
from session_middleware.stores.around import StoreAround
from session_middleware.stores.base import Store, Swept

log = logging.getLogger("session_middleware")

T = TypeVar("T")

_EVERY: Final = 60.0


class Teller:
    """Tells each of the *observers* of every event. *clock* returns epoch seconds.

    Raise :exc:`ConfigurationError` if one of them is none.
    """

    def __init__(self, observers: "Observer | Iterable[Observer]", clock: Callable[[], float]) -> None:
        # One that can be iterated over is an observer all the same.
        self._observers: tuple[Observer, ...]
        if _observes(observers) or not isinstance(observers, Iterable):
            self._observers = (cast("Observer", observers),)
        else:
            self._observers = tuple(observers)
        for observer in self._observers:
            if not _observes(observer):
                raise ConfigurationError(f"observer={observer!r}: write an object with a method on(event), or several")
        self._now = clock
        self._next_line = 0.0

    def tell(self, kind: type[Event], session_id: str | None = None, user_id: str | None = None, **rest: Any) -> None:
        """Make an event of that kind, and tell of it."""
        self.hand_on(kind(at=self._now(), session_id=session_id, user_id=user_id or None, **rest))

    def hand_on(self, event: Event) -> None:
        """Tell of an event."""
        for observer in self._observers:
            try:
                observer.on(event)
            except Exception as error:
                if (now := steady_clock()) >= self._next_line:
                    self._next_line = now + _EVERY
                    log.exception("an observer failed at %s, and nobody else notices: %s", event.name, type(error).__name__)

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Who is told."""
        return self._observers

    def around(self, store: Store) -> "AskedStore":
        """Return the store with its calls told of."""
        return AskedStore(store, self)

    def created(self, session_id: str, envelope: Envelope) -> None:
        self.tell(events.Created, session_id, envelope.user_id, carried=envelope.carried)

    def signed_in(self, session_id: str, envelope: Envelope) -> None:
        self.tell(events.SignedIn, session_id, envelope.user_id)

    def new_secret(self, session_id: str, envelope: Envelope, *, renewed: bool) -> None:
        self.tell(events.Renewed if renewed else events.Regenerated, session_id, envelope.user_id)

    def ended(self, session_id: str, user_id: str | None, reason: Reason) -> None:
        self.tell(events.Ended, session_id, user_id, reason=reason)

    def replayed(self, session_id: str, envelope: Envelope) -> None:
        self.tell(events.Replayed, session_id, envelope.user_id)

    def bound(self, session_id: str, envelope: Envelope) -> None:
        self.tell(events.Bound, session_id, envelope.user_id)

    def unproven(self, session_id: str, envelope: Envelope, why: str, *, refused: bool) -> None:
        self.tell(events.Unproven, session_id, envelope.user_id, why=why, refused=refused)

    def binding_refused(self, session_id: str | None, why: str) -> None:
        self.tell(events.BindingRefused, session_id, why=why)

    def too_many_cookies(self, count: int) -> None:
        self.tell(events.TooManyCookies, count=count)

    def damaged(self, session_id: str, why: object) -> None:
        self.tell(events.Damaged, session_id, why=str(why))

    def conflict(self, session_id: str, user_id: str | None, why: str) -> None:
        self.tell(events.Conflict, session_id, user_id, why=why)

    def store_failed(self, error: object) -> None:
        self.tell(events.StoreFailed, error=str(error))

    def store_recovered(self, requests: int, seconds: float) -> None:
        self.tell(events.StoreRecovered, requests=requests, seconds=seconds)

    def swept(self, removed: Sequence[Swept], seconds: float) -> None:
        """A sweep is over. What has an empty user id is no session: see the repository."""
        for key, user_id in removed:
            if user_id != "":
                self.tell(events.Ended, key, user_id, reason="expired")
        self.tell(events.SweepDone, removed=len(removed), seconds=seconds)


def _observes(thing: object) -> bool:
    return not isinstance(thing, type) and callable(getattr(thing, "on", None))


class AskedStore(StoreAround):
    """A store around another that tells of each call."""

    def __init__(self, inner: Store, teller: Teller) -> None:
        super().__init__(inner)
        self._teller = teller

    def around(self, verb: str, key: str, call: Callable[[], T]) -> T:
        started = time.perf_counter()
        try:
            result = call()
        except BaseException:
            self._tell(verb, key, started, "failed")
            raise
        self._tell(verb, key, started, "done" if result or verb in ("sweep", "open") else "absent")
        return result

    def around_list(self, verb: str, key: str, keys: Iterable[str]) -> Iterator[str]:
        seconds, found, rest = 0.0, "absent", iter(keys)
        outcome: str | None = None
        try:
            while True:
                started = time.perf_counter()
                try:
                    listed = next(rest)
                except StopIteration:
                    outcome = found
                    return
                except BaseException:
                    outcome = "failed"
                    raise
                finally:
                    seconds += time.perf_counter() - started
                found = "done"
                yield listed
        finally:
            self._teller.tell(events.Asked, user_id=key or None, verb=verb, seconds=seconds, outcome=outcome or found)

    def _tell(self, verb: str, key: str, started: float, outcome: str) -> None:
        self._teller.tell(events.Asked, key or None, verb=verb, seconds=time.perf_counter() - started, outcome=outcome)
