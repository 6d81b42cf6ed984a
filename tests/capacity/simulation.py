"""A site on a clock that is set by hand: people come, read, write and leave, sessions end, at random."""

from collections import Counter
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count
from random import Random

from session_middleware import MemoryStore, Send, SessionManager
from session_middleware.capacity import Site, rates
from session_middleware.stores.base import Record, Stored, Swept, Version
from session_middleware.testing import clock_in_hand


class CountingStore(MemoryStore):
    """A memory store that counts what is asked of it, and what that did."""

    def __init__(self) -> None:
        super().__init__(max_entries=1_000_000)
        self.asked: Counter[str] = Counter()

    def create(self, key: str, record: Record) -> bool:
        self.asked["create"] += 1
        return super().create(key, record)

    def load(self, key: str) -> Stored | None:
        self.asked["load"] += 1
        return super().load(key)

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        self.asked["update"] += 1
        return super().update(key, record, version=version)

    def sweep(self, limit: int) -> list[Swept]:
        swept = super().sweep(limit)
        self.asked["sweep"] += 1
        self.asked["swept"] += len(swept)
        return swept

    def alive(self, now: float) -> int:
        """Return how many records have not expired; nothing is removed."""
        return sum(1 for _, expires_at, *_ in self._entries.values() if expires_at > now)


class Seen:
    """What was counted in a time that a site ran as usual; all but the first a second."""

    def __init__(self, site: Site, *, lives: float, seed: int) -> None:
        """Run the site from its first visitor on; once it has settled, count for so many *lives* of a session."""
        with clock_in_hand(1_000_000.0) as clock:
            self._store, self._random = CountingStore(), Random(seed)
            self._manager = SessionManager(self._store, lifetime=site.lifetime, clock=clock)
            expected, self._changes, numbers = rates(site), 0, count()
            self._site, self._stays = site, expected.lives * expected.active / expected.sessions
            begin, visits = clock.now, list[tuple[float, int, Iterator[float]]]()
            counted_from = begin + 2.5 * expected.lives
            end = counted_from + lives * expected.lives
            arrival, alive, held, looks = begin, list[int](), list[int](), counted_from
            before: Counter[str] | None = None
            while clock.now < end:
                if not visits or arrival <= visits[0][0]:
                    clock.now = arrival
                    visit = self._visit()
                    heappush(visits, (arrival, next(numbers), visit))
                    arrival += self._random.expovariate(expected.new)
                else:
                    clock.now, number, visit = heappop(visits)
                    if (following := next(visit, None)) is not None:
                        heappush(visits, (following, number, visit))
                if before is None and clock.now >= counted_from:
                    before = self._counted()
                if clock.now >= looks:
                    looks += expected.lives / 20
                    alive.append(self._store.alive(clock.now))
                    held.append(len(self._store._entries))
            assert before is not None
            seconds = clock.now - counted_from
            self.a_second = {name: (number - before[name]) / seconds for name, number in self._counted().items()}
            self.sessions = sum(alive) / len(alive)
            self.held = sum(held) / len(held)

    def _counted(self) -> Counter[str]:
        return self._store.asked + Counter(changes=self._changes)

    def _visit(self) -> Iterator[float]:
        """Make the requests of one visitor, one a step; yield when the next is due."""
        site, manager, random = self._site, self._manager, self._random
        session = manager.open()
        session["visits"] = 0
        if random.random() < site.signed_in:
            session.login(f"user{random.getrandbits(60)}")
        verdict = manager.commit(session)
        assert isinstance(verdict, Send)
        now = manager.now()
        leaves = now + self._stays
        while (now := now + random.expovariate(1 / site.pace)) < leaves:
            yield now
            session = manager.open(verdict.token)
            seen = session.get("visits")
            assert seen is not None
            if random.random() < site.writes:
                self._changes += 1
                session["visits"] = seen + 1
            manager.commit(session)
