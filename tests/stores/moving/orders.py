"""Runs processes in every order of their calls of two stores, and looks whether it was as with one store.

A process is a kind and a script of verbs on one key; a schedule says whose call comes next, or who is killed. What was seen
is compared with what one plain store would have done, in some order of the verbs in which each lies between its beginning
and its end. A verb whose process was killed may have been done or not, and a compare-and-set may be refused because the
record has moved.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar
from unittest.mock import patch

import greenlet

from session_middleware.moving import MovingStore
from session_middleware.notes import unpack_reservation
from session_middleware.stores.base import Record, Store, Stored, Version

T = TypeVar("T")

KEY = "a" * 12
END = 2**32
OVER = Record(b"", 0, None)


class Process(NamedTuple):
    """``kind``: "old" or "new" knows that one alone, "both" does not hand over, "moving", "copy". ``script``: its verbs."""

    kind: str
    script: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.script}"


class Did(NamedTuple):
    """A verb of a process: what it returned, ``None`` for none at all, and which ones had returned before it began."""

    process: int
    number: int
    verb: str
    after: frozenset[tuple[int, int]]
    result: object = None


class _Table:
    """A store of one key. Versions tell who wrote, and the how manyth time: they do not depend on the order."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self.found: tuple[Record, Version] | None = None

    def create(self, key: str, record: Record) -> bool:
        def create() -> bool:
            if self.found is not None:
                return False
            self.found = record, self._run.name()
            return True

        return self._run.step(create)

    def load(self, key: str) -> Stored | None:
        def load() -> Stored | None:
            return None if self.found is None else Stored(self.found[0].value, self.found[1])

        return self._run.step(load)

    def load_whole(self, key: str) -> tuple[Record, Version] | None:
        return self._run.step(lambda: self.found)

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        def update() -> bool:
            if self.found is None or self.found[1] != version:
                return False
            self.found = None if record.expires_at < END else (record, self._run.name())
            return True

        return self._run.step(update)

    def delete(self, key: str) -> bool:
        def delete() -> bool:
            was, self.found = self.found, None
            return was is not None

        return self._run.step(delete)


@dataclass
class _Run:
    """One schedule, from its beginning."""

    processes: tuple[Process, ...]
    begins: str
    now: int | None = None
    seen: list[list[object]] = field(default_factory=list)
    did: dict[tuple[int, int], Did] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._names = [0] * (len(self.processes) + 1)
        self.seen = [[] for _ in self.processes]
        self.new, self.old = _Table(self), _Table(self)
        if self.begins:
            getattr(self, self.begins).found = Record(b"first", END, None), "first"
        self.greenlets = [greenlet.greenlet(self._work) for _ in self.processes]
        self._hub = greenlet.getcurrent()
        self.alive = set(range(len(self.processes)))

    def name(self) -> str:
        """Return a text that nobody else is given, whatever the order."""
        who = -1 if self.now is None else self.now
        self._names[who] += 1
        return f"{who}.{self._names[who]}"

    def step(self, call: Callable[[], T]) -> T:
        """Make a call when it is the turn of the process that it comes from."""
        if self.now is None:
            return call()
        who = self.now
        self._hub.switch()
        result = call()
        self.seen[who].append(result)
        return result

    def go_on(self, who: int) -> None:
        """Let a process make its next call, and come to the one after it."""
        self.now = who
        self.greenlets[who].switch(who)
        self.now = None
        if self.greenlets[who].dead:
            self.alive.discard(who)

    def state(self) -> object:
        return (
            self.new.found, self.old.found, tuple(map(tuple, self.seen)),
            frozenset(self.alive), frozenset((key, done.after) for key, done in self.did.items()),
        )  # fmt: skip

    def _work(self, who: int) -> None:
        kind, script = self.processes[who]
        stores: dict[str, Callable[[], Store]] = {
            "old": lambda: self.old,
            "new": lambda: self.new,
            "both": lambda: MovingStore(self.new, self.old, hand_over=False),
            "moving": lambda: MovingStore(self.new, self.old),
            "copy": lambda: MovingStore(self.new, self.old),
        }
        store, version = stores[kind](), None
        for number, verb in enumerate(script.split()):
            ended = frozenset(key for key, done in self.did.items() if done.result is not None)
            did = self.did[who, number] = Did(who, number, verb, ended)
            result: object
            if verb == "load":
                stored = store.load(KEY)
                if kind == "new" and stored is not None and unpack_reservation(stored.value):
                    stored = None  # who knows of no move takes it for the end of a session
                version = None if stored is None else stored.version
                result = "nothing" if stored is None else stored.value
            else:
                result = _make(store, verb, Record(b"%d.%d" % (who, number), END, None), version)
            self.did[who, number] = did._replace(result=result)


def _make(store: Store, verb: str, record: Record, version: Version | None) -> object:
    if verb == "create":
        return store.create(KEY, record)
    if verb == "delete":
        return store.delete(KEY)
    if verb == "copy":
        assert isinstance(store, MovingStore)
        return store.hand_over_now(KEY) is None
    if version is None:
        return "not tried"
    return store.update(KEY, record if verb == "update" else OVER, version=version)


def problems(processes: tuple[Process, ...], begins: str, kills: int = 0) -> Iterator[str]:
    """Go through every state that the processes can come to; yield what is wrong, with the schedule, and nothing if all is
    well. *begins*: which store has a record, "old", "new" or none. So many are killed at most."""
    seen: set[object] = set()
    todo: deque[tuple[int, ...]] = deque([()])
    with patch("session_middleware.moving.os.urandom", lambda _: _nonce()):
        while todo:
            schedule = todo.popleft()
            run = _follow(processes, begins, schedule)
            if (state := run.state()) in seen:
                continue
            seen.add(state)
            if not run.alive and (problem := _problem(run)):
                yield f"{schedule}: {problem}"
            for who in sorted(run.alive):
                todo.append((*schedule, who))
                if sum(step < 0 for step in schedule) < kills:
                    todo.append((*schedule, -1 - who))


_current: list[_Run] = []


def _nonce() -> bytes:
    return _current[0].name().encode().ljust(8)


def _follow(processes: tuple[Process, ...], begins: str, schedule: tuple[int, ...]) -> _Run:
    run = _Run(processes, begins)
    _current[:] = [run]
    for who in range(len(processes)):
        run.go_on(who)
    for step in schedule:
        if step >= 0:
            run.go_on(step)
        else:
            run.alive.discard(-1 - step)
    return run


def _problem(run: _Run) -> str:
    """Say what is wrong at the end: nothing that one store could have done, or something other after all has been moved."""
    reader = MovingStore(run.new, run.old)
    now = reader.load(KEY)
    if any(process.kind == "old" for process in run.processes):
        value = None if run.old.found is None else run.old.found[0].value
    else:
        value = None if now is None else now.value
    if (None if now is None else now.value) != value:
        return f"who knows the old store alone finds {value!r}, the others {now}"
    for _ in range(2):
        reader.hand_over_now(KEY)
    after = reader.load(KEY)
    if run.old.found is not None or (None if after is None else after.value) != value:
        return f"{value!r} was there, and {after} after it was handed over; in the old store {run.old.found}"
    did = [done for done in run.did.values() if done.verb != "copy"]
    if not _explained(did, value, (b"first" if run.begins else None, 0), {}):
        return f"{did}: no order leads to {value!r}"
    return ""


def _explained(
    left: list[Did], end: bytes | None, state: tuple[bytes | None, int], versions: dict[int, tuple[bytes | None, int]]
) -> bool:
    """Tell whether one store could have done what is *left*, each verb at a moment between its beginning and its end."""
    if not left:
        return state[0] == end
    begun = {(done.process, done.number) for done in left}
    for done in left:
        if done.after & begun:
            continue
        rest = [other for other in left if other is not done]
        if done.result is None and _explained(rest, end, state, versions):
            return True
        after, result = _as_one_store(done, state, versions.get(done.process))
        if done.verb == "create" and done.result is False and result:
            # Somebody else may have changed or removed it before the one who made it knew that it was there.
            result = False
        if done.verb in ("update", "remove") and done.result is False:
            # Refused, it has done nothing; also if the record has but moved.
            after, result = state, False
        if done.result is None or result == done.result:
            known = {**versions, done.process: state} if done.verb == "load" else versions
            if _explained(rest, end, after, known):
                return True
    return False


def _as_one_store(
    done: Did, state: tuple[bytes | None, int], version: tuple[bytes | None, int] | None
) -> tuple[tuple[bytes | None, int], object]:
    value, number = state
    match done.verb:
        case "load":
            return state, "nothing" if value is None else value
        case "create":
            return ((b"%d.%d" % done[:2], number + 1), True) if value is None else (state, False)
        case "delete":
            return (None, number + 1), value is not None
    if version is None or version[0] is None:
        return state, "not tried"
    if version != state:
        return state, False
    return (None if done.verb == "remove" else b"%d.%d" % done[:2], number + 1), True
