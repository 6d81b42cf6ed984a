"""Events as lines of JSON, through ``logging``. It opens no file."""

import json
import logging
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from session_middleware.events import (
    Asked,
    BindingRefused,
    Conflict,
    Damaged,
    Event,
    Replayed,
    StoreFailed,
    TooManyCookies,
    Unproven,
)

_WORTH_A_LOOK: Final = (BindingRefused, Conflict, Damaged, Replayed, StoreFailed, TooManyCookies, Unproven)


class Audit:
    """Log each event as one line of JSON.

    *logger*: the name of the logger. What somebody should look at has the level WARNING, all else INFO. *asked*: whether
    calls of the store are logged, too; there are one or two for each request. A line holds no token and no value of a
    session. Its ``at`` is the time in UTC (RFC 3339); what an event does not have is left out.
    """

    def __init__(self, logger: str = "session_middleware.audit", *, asked: bool = False) -> None:
        self._log = logging.getLogger(logger)
        self._asked = asked

    def on(self, event: Event) -> None:
        """Log an event."""
        if isinstance(event, Asked) and not self._asked:
            return
        level = logging.WARNING if isinstance(event, _WORTH_A_LOOK) else logging.INFO
        if self._log.isEnabledFor(level):
            at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            rest = {name: value for name, value in asdict(event).items() if name != "at" and value is not None}
            self._log.log(level, "%s", json.dumps({"at": at, "event": event.name, **rest}))
