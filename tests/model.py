"""What sessions do, in plain dicts: the reference that the state machine compares the manager and its stores with.

Nothing races in here: every step is whole. Keys stand for tokens, and a clock for time.
"""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

Data: TypeAlias = dict[str, Any]

MOVED_FOR = 30


class Told(Enum):
    """What a commit lets the browser know."""

    NOTHING = "nothing"
    FORGET = "forget"
    TOKEN = "token"


class Conflict(Exception):
    """A transaction met a session in which someone has signed in."""


class Facts(NamedTuple):
    """What is known of a session beside its data; times in epoch seconds."""

    user_id: str | None
    created_at: float
    last_seen_at: float
    idle: float | None
    absolute: float
    persistent: bool

    @property
    def ends_at(self) -> float:
        end = self.created_at + self.absolute
        return end if self.idle is None else min(end, self.last_seen_at + self.idle)

    def changed_as(self, before: "Facts", after: "Facts") -> "Facts":
        """Return these facts with whatever differs between *before* and *after*; of two last uses, the later."""
        changes = {name: getattr(after, name) for name in self._fields if getattr(before, name) != getattr(after, name)}
        return self._replace(**changes)._replace(last_seen_at=max(after.last_seen_at, self.last_seen_at))


@dataclass
class Life:
    """One session from its first token to its end, under the last of its keys."""

    key: str
    data: Data
    facts: Facts
    writes: int = 0
    ended: bool = False


@dataclass
class Request:
    """What one request knows and has done. ``key`` is that of the session it works on; ``None`` for a new one."""

    key: str | None
    base: Data
    base_facts: Facts
    base_writes: int | None
    view: Data
    facts: Facts
    has_cookie: bool
    rivals: Sequence[str] = ()
    gone: bool = False
    moving: bool = False
    signed_in: bool = False
    ending: list[str] = field(default_factory=list)
    forget: bool = False
    announced: bool = False

    @property
    def is_too_late(self) -> bool:
        """Whether a new session could not be told to the browser any more."""
        return self.announced and self.key is None and not self.gone


class World:
    """All sessions there have been, and what each verb of the manager does to them."""

    def __init__(self, now: float, idle: float | None, absolute: float) -> None:
        self.now = now
        self.lives: dict[str, Life] = {}
        self.pointers: dict[str, tuple[str, float]] = {}
        self._idle, self._absolute = idle, absolute

    # What there is

    def is_there(self, life: Life) -> bool:
        """Tell whether the store has a record; it is kept to the whole second."""
        return not life.ended and math.ceil(life.facts.ends_at) > self.now

    def live(self, key: str) -> Life | None:
        life = self.lives.get(key)
        return life if life is not None and not life.ended and life.facts.ends_at > self.now else None

    def has_moved(self, key: str) -> bool:
        return key in self.pointers and self.pointers[key][1] > self.now

    def last_key(self, key: str) -> str:
        while self.has_moved(key):
            key = self.pointers[key][0]
        return key

    def pursued(self, key: str) -> Life | None:
        return self.live(self.last_key(key))

    def keys(self) -> set[str]:
        there = {key for key, life in self.lives.items() if self.is_there(life)}
        return there | {key for key in self.pointers if self.has_moved(key)}

    def of_user(self, user_id: str) -> list[Life]:
        return [life for life in self.lives.values() if self.is_there(life) and life.facts.user_id == user_id]

    def fresh(self) -> Facts:
        return Facts(None, self.now, self.now, self._idle, self._absolute, False)

    # What one request does

    def load(self, keys: Sequence[str]) -> Request:
        alive = [life for key in dict.fromkeys(keys) if (life := self.live(key))]
        if len(alive) == 1:
            life = alive[0]
            return Request(life.key, deepcopy(life.data), life.facts, life.writes, deepcopy(life.data), life.facts, True)
        rivals = [key for key in dict.fromkeys(keys) if self.live(key) or self.has_moved(key)]
        gone = bool(rivals) and not alive
        facts = self.fresh()
        return Request(None, {}, facts, None, {}, facts, bool(keys), rivals=rivals, gone=gone)

    def invalidate(self, request: Request) -> None:
        request.ending += request.rivals if request.key is None else [request.key]
        request.rivals = ()
        request.view, request.facts = {}, self.fresh()
        request.key, request.base = None, {}
        request.moving = request.signed_in = request.gone = False
        request.forget = request.has_cookie

    def login(self, request: Request, user_id: str) -> None:
        if request.facts.user_id not in (None, user_id):
            self.invalidate(request)
        request.facts = request.facts._replace(user_id=user_id, created_at=self.now, last_seen_at=self.now)
        request.signed_in, request.gone, request.moving = True, False, True

    def set_lifetime(self, request: Request, **changes: Any) -> None:
        before = request.facts
        after = request.facts = before._replace(**changes)
        if after.persistent != before.persistent or (after.persistent and after.absolute != before.absolute):
            request.moving = True

    def transact(self, request: Request, change: Callable[[Data], Any]) -> None:
        if request.gone:
            return
        if request.key is None:
            change(request.view)
            return
        life = self.pursued(request.key)
        if life is None:
            request.gone = True
            return
        if life.facts.user_id != request.base_facts.user_id:
            raise Conflict
        pending = _laid_over(life.data, request.base, request.view)
        view = deepcopy(pending)
        change(view)
        stored = _laid_over(life.data, pending, view)
        signed_in = request.signed_in
        moving = request.moving and (signed_in or life.key == request.key)
        facts = life.facts._replace(last_seen_at=self.now)
        written = exact(stored) != exact(life.data)
        if written:
            self._write(life, stored, facts)
        mine = life.facts.changed_as(request.base_facts, request.facts)
        self._go_on(request, life, view)
        request.facts, request.moving, request.signed_in = mine, moving, signed_in
        request.base_writes = None if written else life.writes

    # What its end does

    def end_all(self, request: Request, note: Callable[[], None] = lambda: None) -> None:
        while request.ending:
            self.end(request.ending[0])
            note()
            del request.ending[0]

    def end(self, key: str) -> bool:
        life = self.lives.get(self.last_key(key))
        if life is None or not self.is_there(life):
            return False
        life.ended = True
        return True

    def commit(self, request: Request, key: str | None, *, failed: bool, note: Callable[[], None] = lambda: None) -> Told:
        """Store what the request did, a new token's session under *key*; *note* is called between the steps."""
        self.end_all(request, note)
        told = False
        if not (failed or request.gone):
            if request.key is None:
                told = not request.announced and self._create(request, key)
            elif request.moving:
                told = self._move(request, key, note)
            else:
                self._update(request)
        if told:
            return Told.TOKEN
        return Told.FORGET if request.forget else Told.NOTHING

    def drafts(self, request: Request) -> list[tuple[Data, Facts]]:
        """Return what a commit that fails may have left behind under the new key."""
        mine = request.facts if request.key is None else request.facts._replace(last_seen_at=self.now)
        drafts = [(request.view, mine)]
        if request.key is not None:
            drafts.append((_changed(request.base, request.view), mine))
            if life := self.pursued(request.key):
                merged = _laid_over(life.data, request.base, request.view)
                drafts += [(merged, mine), (merged, life.facts.changed_as(request.base_facts, mine))]
        return deepcopy(drafts)

    def _create(self, request: Request, key: str | None) -> bool:
        if not request.view and request.facts.user_id is None:
            return False
        self._go_on(request, self.born(key, request.view, request.facts), request.view)
        return True

    def born(self, key: str | None, data: Data, facts: Facts) -> Life:
        assert key is not None
        assert key not in self.lives
        life = self.lives[key] = Life(key, deepcopy(data), facts)
        return life

    def _update(self, request: Request) -> None:
        base = request.base_facts
        if exact(request.view) != exact(request.base) or request.facts != base:
            self._merge(request)
        elif not request.announced:
            interval = 60.0 if base.idle is None else min(60.0, base.idle / 10)
            life = self._unchanged(request)
            if life and self.now - base.last_seen_at >= interval:
                life.facts = life.facts._replace(last_seen_at=self.now)
                life.writes += 1

    def _unchanged(self, request: Request) -> Life | None:
        """Return the session of the request if nobody has written to it since."""
        assert request.key is not None
        life = self.live(request.key)
        return life if life is not None and life.writes == request.base_writes else None

    def _merge(self, request: Request) -> None:
        assert request.key is not None
        mine = request.facts._replace(last_seen_at=self.now)
        if life := self._unchanged(request):
            self._write(life, request.view, mine)
            self._go_on(request, life, life.data)
            return
        life = self.pursued(request.key)
        if life is None:
            request.gone = True
            return
        before = life.writes
        self._lay(request, life, mine)
        if life.facts.user_id != request.facts.user_id:
            request.gone, request.moving = True, False
            return
        self._go_on(request, life, life.data)
        request.base_writes = life.writes if life.writes == before else None

    def _lay(self, request: Request, life: Life, mine: Facts) -> None:
        """Lay the changes of the request over a session that others have written to, unless they come to nothing.

        What came with a sign-in stays as it is.
        """
        base, view, facts = request.base, request.view, life.facts
        if facts.user_id == request.base_facts.user_id:
            facts = facts.changed_as(request.base_facts, mine)
        else:
            taken = _changed(base, life.data).keys() | base.keys() - life.data.keys()
            view = {key: value for key, value in view.items() if key not in taken}
            view |= {key: base[key] for key in base if key in taken}
        data = _laid_over(life.data, base, view)
        unseen = facts._replace(last_seen_at=0) == life.facts._replace(last_seen_at=0)
        if exact(data) != exact(life.data) or not unseen:
            self._write(life, data, facts)

    def _move(self, request: Request, key: str | None, note: Callable[[], None]) -> bool:
        assert request.key is not None
        mine = request.facts._replace(last_seen_at=self.now)
        life = self.pursued(request.key)
        if life is None:
            if not request.signed_in:
                request.gone = True
                return False
            new = self.born(key, _changed(request.base, request.view), mine)
            self._go_on(request, new, new.data)
            return True
        if life.key != request.key:
            if not request.signed_in:
                request.moving = False
                self._merge(request)
                return False
            if life.facts.user_id is not None:
                data = request.view
                if life.facts.user_id == mine.user_id:
                    data = _laid_over(life.data, request.base, request.view)
                    self._lay(request, life, request.base_facts._replace(last_seen_at=life.facts.last_seen_at))
                    note()
                new = self.born(key, data, mine)
                self._go_on(request, new, new.data)
                return True
        if self._unchanged(request):
            data, facts = request.view, mine
        else:
            data = _laid_over(life.data, request.base, request.view)
            facts = life.facts.changed_as(request.base_facts, mine)
        new = self.born(key, data, facts)
        del self.lives[life.key]
        self.pointers[life.key] = (new.key, math.ceil(self.now) + MOVED_FOR)
        self._go_on(request, new, new.data)
        return True

    def _write(self, life: Life, data: Data, facts: Facts) -> None:
        life.data, life.facts, life.writes = deepcopy(data), facts, life.writes + 1

    def _go_on(self, request: Request, life: Life, view: Data) -> None:
        """The request goes on from what is stored, and sees *view*, in its own order."""
        mine = request.view
        kept = [key for key in mine if key in view]
        request.view = deepcopy({key: view[key] for key in [*kept, *view]})
        request.key, request.base_facts, request.facts, request.base_writes = life.key, life.facts, life.facts, None
        request.base = deepcopy({key: life.data[key] for key in [*request.view, *life.data] if key in life.data})
        request.moving = request.signed_in = False


def exact(data: Data) -> str:
    """Return a text that is the same for data that are the same: types count, and so does their order."""
    return repr(data)


def _changed(base: Data, mine: Data) -> Data:
    return {key: value for key, value in mine.items() if key not in base or exact(value) != exact(base[key])}


def _laid_over(theirs: Data, base: Data, mine: Data) -> Data:
    kept = {key: value for key, value in theirs.items() if key in mine or key not in base}
    return deepcopy(kept | _changed(base, mine))
