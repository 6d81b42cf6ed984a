"""Sites that have moved to our sessions from another library, and what was kept there."""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from session_middleware import MemoryStore, Session, SessionMiddleware, get_session
from session_middleware.testing import FakeClock
from tests.apps import Gateway, list_app, visit

NOW = 1_800_000_000.0


@dataclass
class Bomb:
    """What runs a command where it is unpickled."""

    path: Path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@dataclass
class Site:
    """A site that has moved to our middleware; ``seen`` is what the last request that used the session saw in it."""

    carry_over: Any
    clock: FakeClock = field(default_factory=FakeClock)
    seen: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        app = list_app(lambda environ: self._use(get_session(environ)))
        self.middleware = SessionMiddleware(app, MemoryStore(), carry_over=self.carry_over, clock=self.clock)

    def _use(self, session: Session) -> None:
        self.seen = dict(session)

    def visit(self, cookie: str) -> Gateway:
        return visit(self.middleware, cookie=cookie)


def the_line(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    return record.getMessage()


class MemoryPlace:
    """A place of the user's own."""

    def __init__(self, **found: bytes) -> None:
        self.found = found

    def get(self, key: str, now: float) -> bytes | None:
        return self.found.get(key)

    def remove(self, key: str) -> None:
        self.found.pop(key, None)
