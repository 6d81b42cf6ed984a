"""What is told of two stores, while sessions move from the one to the other."""

from pathlib import Path

import pytest

from session_middleware import MemoryStore, SQLiteStore, Store
from session_middleware.health import health_of
from session_middleware.moving import MovingStore
from session_middleware.stores.base import Checkable, Health
from session_middleware.testing import FaultyStore


class Told(MemoryStore):
    """A store that tells what it is told to tell."""

    def __init__(self, health: Health) -> None:
        super().__init__()
        self._health = health

    def health(self) -> Health:
        return self._health


def test_both_are_asked(tmp_path: Path) -> None:
    """The kinds of both are named, and what is counted is counted in both."""
    new, old = SQLiteStore(tmp_path / "new.sqlite3"), MemoryStore()
    new.open()
    found = health_of(MovingStore(new, old))

    assert found.kind == "SQLite, moving from memory"
    assert found.records == 0
    assert found.latency is not None
    new.close()


@pytest.mark.parametrize("turn", [1, -1])
def test_what_is_worse_is_told(turn: int) -> None:
    """Whichever of them it is: a dropping one, tables that lack something, a network without TLS, the fuller one."""
    good = Told(Health("A", tls=True, schema="complete", eviction="noeviction", free_space=900, space=1000))
    bad = Told(Health("B", tls=False, schema="an index is missing", eviction="allkeys-lru", free_space=1, space=1000))
    found = MovingStore(*(good, bad)[::turn]).health()

    assert found.tls is False
    assert found.schema == "an index is missing"
    assert found.eviction == "allkeys-lru, noeviction"
    assert (found.free_space, found.space) == (1, 1000)


def test_what_is_not_known_of_one_is_not_told_of_both() -> None:
    """A file has no TLS; a store in memory has no tables."""
    found = MovingStore(Told(Health("A", tls=True)), Told(Health("B", schema="complete"))).health()

    assert found.tls is None
    assert found.schema == "complete"


def test_one_that_is_away_is_told(tmp_path: Path) -> None:
    """Both are needed while they move."""
    old = FaultyStore(MemoryStore())
    old.fail("health", times=None)
    found = health_of(MovingStore(MemoryStore(), old))

    assert not found.ok
    assert [finding.name for finding in found.findings] == ["unreachable"]


def test_it_tells_only_if_both_can() -> None:
    """Otherwise it is asked for a session that does not exist, as any other that tells nothing."""

    class Plain:
        """A store that can do no more than it must."""

        def __init__(self, store: Store) -> None:
            self.create, self.load, self.update, self.delete = store.create, store.load, store.update, store.delete

    assert not isinstance(MovingStore(MemoryStore(), Plain(MemoryStore())), Checkable)
    assert health_of(MovingStore(MemoryStore(), Plain(MemoryStore()))).ok
