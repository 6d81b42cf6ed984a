"""Connections of an engine: the store's own, or those that an application's pool lends. It knows no statement."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool

from session_middleware.stores.sqlalchemy.errors import driver_error

# Firewalls drop connections that are idle for long, without a word: none of our own grows older than this (seconds).
_OLDEST: Final = 600


@dataclass(slots=True)
class Lent:
    """A connection in use: the driver's own, where it goes back to, and what its pool calls it."""

    driver: Any
    home: Any
    pooled: Any = None
    cursor: Any = None
    good_until: float = 0.0


class Connections(Protocol):
    """Lends connections, each to one thread at a time, who gives it back, or discards it after an error."""

    def take(self) -> Lent: ...

    def cursor(self, lent: Lent) -> Any:
        """Return a cursor whose statements are transactions of their own."""
        ...

    def give_back(self, lent: Lent) -> None: ...
    def discard(self, lent: Lent) -> None: ...

    def distrust(self, lent: Lent) -> None:
        """That connection was broken: those that are as old may be broken, too."""
        ...

    def idle(self) -> int:
        """Return how many are open and not in use."""
        ...

    def close(self) -> None:
        """Close those that are not in use now."""
        ...

    def forget(self) -> None:
        """Let go of all connections without a word: after a fork they are the parent's."""
        ...


class OwnConnections:
    """Connections that are kept here, no more than were ever needed at once; the engine opens them, and has no pool."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: list[Lent] = []
        self._pid = os.getpid()

    def take(self) -> Lent:
        now = time.monotonic()
        while True:
            try:
                lent = self._idle.pop()
            except IndexError:
                return self._open(now)
            if now < lent.good_until:
                # The last one used is always taken first, and those at the bottom would stay for good.
                if self._idle and self._idle[0].good_until <= now:
                    with suppress(IndexError):
                        self.discard(self._idle.pop(0))
                return lent
            self.discard(lent)

    def cursor(self, lent: Lent) -> Any:
        return lent.cursor

    def give_back(self, lent: Lent) -> None:
        lent.home.append(lent)
        if lent.home is not self._idle:
            self._close(lent.home)

    def discard(self, lent: Lent) -> None:
        with suppress(Exception):  # whatever a driver has to say of a connection that goes: it is gone
            self._engine.dialect.do_close(lent.driver)

    def distrust(self, lent: Lent) -> None:
        if lent.home is self._idle:
            self.close()

    def idle(self) -> int:
        return len(self._idle)

    def close(self) -> None:
        idle, self._idle = self._idle, []
        if self._pid == os.getpid():
            self._close(idle)

    def forget(self) -> None:
        self._idle, self._pid = [], os.getpid()

    def _close(self, idle: list[Lent]) -> None:
        with suppress(IndexError):
            while True:
                self.discard(idle.pop())

    def _open(self, now: float) -> Lent:
        pooled = self._engine.pool.connect()
        driver: Any = pooled.dbapi_connection
        pooled.detach()
        return Lent(driver, self._idle, cursor=driver.cursor(), good_until=now + _OLDEST)


class LentConnections:
    """Connections of the engine of an application. Its pool is its own business."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def take(self) -> Lent:
        pool = self._engine.pool
        pooled = pool.connect()
        return Lent(pooled.dbapi_connection, pool, pooled)

    def cursor(self, lent: Lent) -> Any:
        self._engine.dialect.set_isolation_level(lent.driver, "AUTOCOMMIT")
        lent.cursor = lent.pooled.cursor()
        return lent.cursor

    def give_back(self, lent: Lent) -> None:
        try:
            lent.cursor.close()
            self._engine.dialect.reset_isolation_level(lent.driver)
            if lent.home is self._engine.pool:
                lent.pooled.close()
            else:
                lent.pooled.invalidate()
        except BaseException as problem:
            lent.pooled.invalidate()
            if driver_error(problem) is None:
                raise

    def discard(self, lent: Lent) -> None:
        lent.pooled.invalidate()

    def distrust(self, lent: Lent) -> None: ...

    def idle(self) -> int:
        pool = self._engine.pool
        return pool.checkedin() if isinstance(pool, QueuePool) else 0

    def close(self) -> None: ...

    def forget(self) -> None:
        self._engine.dispose(close=False)
