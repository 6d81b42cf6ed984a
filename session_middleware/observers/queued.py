"""Hands events to an observer in a thread of its own, so that no request waits for it."""

import atexit
import logging
import time
from collections import deque
from collections.abc import Iterable
from threading import Condition, Thread
from typing import Final

from session_middleware.clock import system_clock
from session_middleware.events import Event, Observer
from session_middleware.exceptions import ConfigurationError
from session_middleware.stores.forks import around_forks
from session_middleware.telling import Teller

log = logging.getLogger("session_middleware")

_PATIENCE: Final = 5.0


class Queued:
    """Tell *observer*, one or several, in a thread of its own, one event after the other in their order.

    At most *most* events wait; what comes while so many do is dropped, and counted. The thread starts with the first event,
    in each process: after a fork the child has a thread of its own, and what waited is told by the parent alone. What waits
    when the process ends in an orderly way is told before, for 5 seconds at most. Raise :exc:`ConfigurationError` for what
    is no observer, and for a *most* that is no number above 0.
    """

    dropped: int
    """How many events this process has dropped."""

    _events: deque[Event]
    _condition: Condition
    _thread: Thread | None
    _closed: bool

    def __init__(self, observer: "Observer | Iterable[Observer]", most: int = 10_000) -> None:
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise ConfigurationError(f"most={most!r}: write a whole number above 0")
        self._teller = Teller(observer, system_clock)
        self._most = most
        self._begin()
        around_forks(self, in_child=Queued._begin)

    @property
    def waiting(self) -> int:
        """How many events are not told yet."""
        return len(self._events)

    def on(self, event: Event) -> None:
        """Keep an event for the thread."""
        with self._condition:
            if self._closed or len(self._events) >= self._most:
                self.dropped += 1
                return
            self._events.append(event)
            self._condition.notify()
            if self._thread is None:
                thread = Thread(target=self._run, name="session_middleware observer", daemon=True)
                thread.start()
                self._thread = thread
                atexit.register(self.close)

    def flush(self, timeout: float = _PATIENCE) -> bool:
        """Wait until all that waits now is told, *timeout* seconds at most; return whether it is."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._events, timeout)

    def close(self, timeout: float = _PATIENCE) -> bool:
        """Tell what waits, and end the thread; what comes afterwards is dropped. See :meth:`flush`."""
        deadline = time.monotonic() + timeout
        with self._condition:
            self._closed = True
            self._condition.notify()
            thread = self._thread
        if thread is not None:
            atexit.unregister(self.close)
            thread.join(max(0.0, deadline - time.monotonic()))
        return not self._events

    def _begin(self) -> None:
        self._events, self._condition, self._thread, self.dropped = deque(), Condition(), None, 0
        self._closed = False

    def _run(self) -> None:
        events, condition = self._events, self._condition
        while True:
            with condition:
                condition.wait_for(lambda: events or self._closed)
                if not events:
                    return
                event = events[0]
            try:
                self._teller.hand_on(event)
            except BaseException as error:
                # It would end the thread, and nobody would be told of anything any more.
                log.error("an observer tried to end its thread at %s: %s", event.name, type(error).__name__)
            with condition:
                events.popleft()
                if not events:
                    condition.notify_all()
