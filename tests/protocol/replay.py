"""Plays schedules on a real store: each request runs once, in a thread of its own, and waits after each of its store calls.

What every call is and what it returns is compared with what the search says, so the two vouch for each other: the search's
store for the rules of the real ones, and its way of running a request again and again for one that runs once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Thread, local
from typing import Any, TypeVar

from session_middleware import Lifetime, Record, Store, Stored, UserIndexed
from session_middleware.rules import Opens
from session_middleware.stores.base import Version
from tests.protocol.acts import RENEWING, Manager, Outcome, Request, Visit
from tests.protocol.script import CREATE, DELETE, KEYS_OF, LOAD, UPDATE, Kept
from tests.protocol.turn import turn
from tests.protocol.world import CRASHES, GOES_ON, Contents, Did, Step, World
from tests.sealing import names

T = TypeVar("T")

# So long (seconds) a request may take from one store call to the next.
_PATIENCE = 30.0


class _Crash(BaseException):
    """The process of the request is no more."""


class _Runner(Thread):
    """A thread that runs requests, one after the other, a step at a time."""

    def __init__(self, manager: Manager) -> None:
        super().__init__(daemon=True)
        self.calls: list[tuple[str, str, Record | None, Any]] = []
        """The store calls of this step: verb, key, record and result."""
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self._manager = manager
        self._request: Request | None = None
        self._now = 0
        self._is_last = self._crashes = self._is_busy = False
        # Locks change hands faster than anything else; each is held until it is the other's turn.
        self._goes, self._has_gone = Lock(), Lock()
        self._goes.acquire()
        self._has_gone.acquire()

    def step(self, request: Request, now: int, *, is_last: bool) -> None:
        """Let the request go on, over its next store call; to its end if that is the last."""
        self._request, self._now, self._is_last = request, now, is_last
        self.calls, self.outcome, self.error = [], None, None
        self._go()

    def crash(self) -> None:
        """Let the request come to nothing where it is."""
        self._crashes = True
        self._go()
        self._crashes = False

    def end(self) -> None:
        """End the thread, and what it runs."""
        if self._is_busy:
            self.crash()
        self._request = None
        self._goes.release()
        self.join(_PATIENCE)

    def run(self) -> None:
        _here.runner = self
        while True:
            self._goes.acquire()
            if self._request is None:
                return
            self._is_busy = True
            turn.begin(self._request.name, self._now)
            try:
                self.outcome = Visit(self._manager, self._request).run()
            except BaseException as error:
                self.error = error
            self._is_busy = False
            self._has_gone.release()

    def called(self, verb: str, key: str, record: Record | None, result: Any) -> None:
        """Wait for the next step, in the thread of the request; but not if it has to come to its end in this one."""
        self.calls.append((verb, key, record, result))
        turn.answered = self._now
        if not self._is_last:
            self._has_gone.release()
            self._goes.acquire()
            if self._crashes:
                raise _Crash
            turn.now = self._now

    def _go(self) -> None:
        self._goes.release()
        if not self._has_gone.acquire(timeout=_PATIENCE):
            raise AssertionError("a request neither ends nor calls the store")


class _Here(local):
    runner: _Runner


_here = _Here()


class Player:
    """A store whose every call waits for its turn, and the threads that make them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._manager = Manager(self, clock=turn.clock)
        self._runners: list[_Runner] = []
        self._keys: set[str] = set()
        self._versions: dict[tuple[str, Any], Any] = {}

    def play(self, world: World, schedule: tuple[Step, ...]) -> None:
        """Play a schedule to its end; raise ``AssertionError`` where the store or a request does anything else."""
        self._manager.lifetime = RENEWING if world.scenario.renewing else Lifetime.AAL2
        self._manager.limit_to(world.scenario.limit)
        self._versions = {}
        while len(self._runners) < len(world.scenario.plans):
            self._runners.append(_Runner(self._manager))
            self._runners[-1].start()
        for key, record in world.scenario.records.items():
            self._keys.add(key)
            assert self._store.create(key, record)
        state = world.beginning()
        for step in schedule:
            before = state
            state, did = world.after(state, step)
            if step.what == CRASHES:
                self._runners[step.number].crash()
            if step.what == GOES_ON and did is not None:
                sent = state.sent[step.number]
                assert sent is not None
                runner = self._runners[step.number]
                runner.step(sent.request, before.now, is_last=did.outcome is not None)
                self._compare(did, runner)
        self._compare_contents(state.contents)
        for key in self._keys:
            self._store.delete(key)
        self._keys.clear()

    def close(self) -> None:
        """End the threads."""
        for runner in self._runners:
            runner.end()

    def _compare(self, did: Did, runner: _Runner) -> None:
        if runner.error is not None:
            raise AssertionError(f"{did.plan.name} has failed") from runner.error
        assert _without_counts(runner.outcome) == _without_counts(did.outcome), did.plan.name
        if did.verb is None:
            assert runner.calls == []
            return
        verb = did.verb
        assert len(runner.calls) == 1, did.plan.name
        do, key, record, result = runner.calls[0]
        assert (do, key) == (verb.do, verb.key), did.plan.name
        assert record == (None if verb.kept is None else verb.kept.record), did.plan.name
        if do == LOAD and isinstance(did.result, tuple):
            kept, version = did.result
            assert isinstance(kept, Kept)
            assert result is not None, verb
            assert result.value == kept.record.value
            assert self._versions.setdefault((key, version), result.version) == result.version
            versions = [found for (other, _), found in self._versions.items() if other == key]
            assert len(set(versions)) == len(versions), verb
        else:
            assert result == did.result, (did.plan.name, verb)

    def _compare_contents(self, contents: Contents) -> None:
        held = {key: kept.record for key, _, kept in contents.entries}
        for key in self._keys:
            stored = self._store.load(key)
            assert (None if stored is None else stored.value) == (held[key].value if key in held else None)
        assert isinstance(self._store, UserIndexed)
        for name in names().users("alice"):
            assert set(self._store.keys_of(name)) == {key for key, record in held.items() if record.user_id == name}

    # The store

    def create(self, key: str, record: Record) -> bool:
        self._keys.add(key)
        return self._called(CREATE, key, record, self._store.create(key, record))

    def load(self, key: str) -> Stored | None:
        return self._called(LOAD, key, None, self._store.load(key))

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return self._called(UPDATE, key, record, self._store.update(key, record, version=version))

    def delete(self, key: str) -> bool:
        deleted = self._called(DELETE, key, None, self._store.delete(key))
        turn.deleted.append(key)
        return deleted

    def keys_of(self, user_id: str) -> Iterator[str]:
        assert isinstance(self._store, UserIndexed)
        found = tuple(sorted(self._store.keys_of(user_id)))
        turn.listed = list(self._called(KEYS_OF, user_id, None, found))
        yield from turn.listed

    def _called(self, verb: str, key: str, record: Record | None, result: T) -> T:
        _here.runner.called(verb, key, record, result)
        return result


@contextmanager
def a_player(store: Store) -> Iterator[Player]:
    player = Player(store)
    try:
        yield player
    finally:
        player.close()


def _without_counts(outcome: Outcome | None) -> Outcome | None:
    """Return what is known of a request without the search's help."""
    if outcome is None:
        return None
    opened = Opens.NOTHING if outcome.opened is Opens.REPLAY else outcome.opened
    return outcome._replace(opened=opened, verbs=0, began=0, at=0)
