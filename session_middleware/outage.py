"""What the log says of a store that fails: one line when it begins, one a minute, one when it is over. It asks no store."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from session_middleware.exceptions import SessionError, StoreError

if TYPE_CHECKING:
    from session_middleware.telling import Teller

log = logging.getLogger("session_middleware")

_EVERY: Final = 60.0
# So long (seconds) nothing may have failed: where one of several servers is away, failures and answers alternate.
_QUIET: Final = 5.0


class Outage:
    """Counts the requests that a failing store has cost. ``clock`` returns epoch seconds.

    Without locks: that two threads sometimes count one request does no harm.
    """

    def __init__(self, clock: Callable[[], float], teller: "Teller | None" = None) -> None:
        self.is_on = False
        self._teller = teller
        self._now = clock
        self._since = self._last = self._next_line = 0.0
        self._requests = 0

    def failed(self, error: SessionError) -> None:
        """A request has failed, or was answered without its session, because of the store; or because of a conflict, which
        is told of each time."""
        if not isinstance(error, StoreError):
            log.error("the session could not be stored: %s", error)
            return
        now = self._now()
        if not self.is_on:
            self.is_on, self._since, self._requests, self._next_line = True, now, 0, now + _EVERY
            log.error("the session could not be loaded or stored: %s", error)
            if self._teller is not None:
                self._teller.store_failed(error)
        self._requests += 1
        self._last = now
        if now >= self._next_line:
            self._next_line = now + _EVERY
            log.error("the store goes on failing, %d requests in %.0f s: %s", self._requests, now - self._since, error)

    def answered(self) -> None:
        """The store has answered a request. It is over when nothing has failed for some seconds."""
        if self.is_on and self._now() - self._last >= _QUIET:
            self.is_on = False
            seconds = self._last - self._since
            log.warning("the store answers again; it failed %d requests in %.0f s", self._requests, seconds)
            if self._teller is not None:
                self._teller.store_recovered(self._requests, seconds)
