"""What sessions do, in plain dicts: the reference that the state machine compares the manager and its stores with.

Nothing races in here: every step is whole. Tokens stand for themselves, numbers for versions, and a clock for time.
"""

import math
from collections.abc import Callable, MutableMapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from session_middleware.tokens import Token
from tests.model.parts import Changes, Data, Facts, Kind, Life, View, differ

Change: TypeAlias = Callable[[MutableMapping[str, Any]], Any]

WINDOW = 10
MOST_CURRENT, MOST_ENTRIES = 4, 4
MARKED_FOR = 86400


class Told(Enum):
    """What a commit lets the browser know."""

    NOTHING = "nothing"
    FORGET = "forget"
    TOKEN = "token"


class Opens(Enum):
    SESSION = "session"
    SNAPSHOT = "snapshot"
    NOTHING = "nothing"


class Conflict(Exception):
    """A transaction met a session in which someone has signed in."""


class Opened(NamedTuple):
    """A session as a request has opened it."""

    key: str
    user_id: str | None
    era: int


@dataclass
class Request:
    """What one request knows and has done. ``key`` is that of the session it works on; ``None`` for a new one."""

    opens: Opens
    view: View
    facts: Facts
    has_cookie: bool = True
    key: str | None = None
    base_facts: Facts | None = None
    base_era: int = 0
    base_current: list[Token] = field(default_factory=list)
    base_writes: int | None = None
    own: Token | None = None
    proof: Token | None = None
    rivals: Sequence[Opened] = ()
    ending: list[Opened] = field(default_factory=list)
    login: tuple[str, int | None, Sequence[str] | None] | None = None
    regenerates: bool = False
    amended: dict[str, Any] = field(default_factory=dict)
    acted: bool = False
    wanted: bool = False
    forget: bool = False
    gone: bool = False
    to_tell: Token | None = None
    announced: bool = False

    @property
    def is_too_late(self) -> bool:
        """Whether a new session could not be told to the browser any more."""
        return self.announced and self.opens is Opens.NOTHING and not self.gone

    @property
    def resends(self) -> bool:
        return "persistent" in self.amended or ("absolute" in self.amended and self.facts.persistent)


Note: TypeAlias = Callable[[], None]


def nothing() -> None:
    """Nobody wants to know what there is between two steps."""


class World:
    """All sessions there have been, and what each verb of the manager does to them."""

    def __init__(self, now: float, idle: float | None, absolute: float) -> None:
        self.now = now
        self.lives: dict[str, Life] = {}
        self.marks: dict[str, tuple[list[tuple[int, str | None]], float]] = {}
        self.nonces = 0
        self.is_guessing = False
        """Whether a step has failed, so that nobody knows which token it would have made."""
        self._idle, self._absolute = idle, absolute

    # What there is

    def is_there(self, life: Life) -> bool:
        """Tell whether the store has a record; it is kept to the whole second."""
        return not life.ended and math.ceil(life.facts.ends_at) > self.now

    def live(self, key: str) -> Life | None:
        life = self.lives.get(key)
        return life if life is not None and not life.ended and life.facts.ends_at > self.now else None

    def keys(self) -> set[str]:
        """Return the ids of all sessions of which there is a record."""
        return {key for key, life in self.lives.items() if self.is_there(life)}

    def marked(self) -> set[str]:
        """Return the users whose marks are there."""
        return {user_id for user_id, (_, expires_at) in self.marks.items() if expires_at > self.now}

    def of_user(self, user_id: str) -> list[Life]:
        return [life for life in self.lives.values() if self.is_there(life) and life.facts.user_id == user_id]

    def mark_of(self, user_id: str) -> int | None:
        return self.marks[user_id][0][-1][0] if user_id in self.marked() else None

    def fresh(self) -> Facts:
        return Facts(None, self.now, self.now, self.now, self._idle, self._absolute, False)

    def judge(self, token: Token) -> Opens:
        """Say what a token opens."""
        life = self.live(token.id)
        if life is None:
            return Opens.NOTHING
        if token in life.current:
            return Opens.SESSION
        found = [previous for previous in life.previous if previous.token == token]
        return Opens.SNAPSHOT if any(self.now - previous.at < WINDOW for previous in found) else Opens.NOTHING

    # What one request does

    def load(self, tokens: Sequence[Token]) -> Request:
        best: dict[str, tuple[Opens, Token]] = {}
        for token in tokens:
            opens = self.judge(token)
            if opens is Opens.SESSION or (opens is Opens.SNAPSHOT and token.id not in best):
                best[token.id] = opens, token
        living = [token for opens, token in best.values() if opens is Opens.SESSION]
        signed_in = [token for token in living if self.lives[token.id].facts.user_id is not None]
        group = signed_in or living or [token for _, token in best.values()]
        request = Request(Opens.NOTHING, View({}), self.fresh(), has_cookie=bool(tokens))
        if len(group) == 1:
            request = self._opened(*best[group[0].id])
        used = [request.key] if request.opens is Opens.SESSION else []
        request.rivals = [self._as_opened(self.lives[token.id]) for token in living if token.id not in used]
        return request

    def _opened(self, opens: Opens, token: Token) -> Request:
        life = self.lives[token.id]
        request = Request(opens, View(life.data), life.facts, key=life.key, own=token, proof=token)
        if opens is Opens.SNAPSHOT:
            request = Request(opens, View(life.snapshot), self.fresh(), key=life.key, proof=token)
        self._based(request, life, life.writes)
        return request

    def _based(self, request: Request, life: Life, writes: int | None) -> None:
        request.base_facts, request.base_era, request.base_current = life.facts, life.era, [*life.current]
        request.base_writes = writes

    def _as_opened(self, life: Life) -> Opened:
        return Opened(life.key, life.facts.user_id, life.era)

    def invalidate(self, request: Request) -> None:
        stale = request.opens is Opens.SNAPSHOT or (request.gone and request.key is None)
        if request.opens is Opens.SESSION:
            assert request.key is not None
            assert request.base_facts is not None
            request.ending.append(Opened(request.key, request.base_facts.user_id, request.base_era))
        elif not stale:
            request.ending += request.rivals
            request.rivals = ()
        request.view, request.facts = View({}), self.fresh()
        request.key = request.own = request.proof = request.login = request.to_tell = None
        request.opens, request.amended = Opens.NOTHING, {}
        request.regenerates = request.wanted = False
        request.gone, request.acted, request.forget = stale, True, request.has_cookie and not stale

    def login(self, request: Request, user_id: str, mark: int | None, keep: Sequence[str] | None) -> None:
        """What comes after another user's session was ended and the mark was read."""
        if request.facts.user_id is None and keep is not None:
            request.view.keep_only(keep)
        if request.opens is Opens.NOTHING:
            request.key = None
        request.facts = request.facts._replace(user_id=user_id, signed_in_at=self.now, last_seen_at=self.now)
        request.login = user_id, mark, keep
        request.acted, request.regenerates, request.gone = True, False, False

    def regenerate(self, request: Request) -> None:
        if request.login is None and request.opens is Opens.SESSION:
            request.regenerates = request.acted = True

    def use(self, request: Request) -> None:
        request.wanted = request.acted = True

    def set_lifetime(self, request: Request, **lifetimes: Any) -> None:
        changed = {name: value for name, value in lifetimes.items() if getattr(request.facts, name) != value}
        if changed:
            request.facts = request.facts._replace(**changed)
            request.amended |= changed
            request.acted = True

    def transact(self, request: Request, change: Change, fresh: Token | None, note: Note = nothing) -> None:
        if request.login is not None:
            self.end_all(request, note)
            self._sign_in(request, fresh, note, change)
        elif request.opens is Opens.SESSION:
            self._replace(request, request.view.changes(), fresh, change)
        elif request.opens is Opens.SNAPSHOT and not request.gone and request.view.base:
            raise Conflict
        else:
            change(View({}) if request.gone else request.view)

    # What its end does

    def end_all(self, request: Request, note: Note = nothing) -> None:
        while request.ending:
            self._end(request.ending[0])
            note()
            del request.ending[0]

    def commit(self, request: Request, fresh: Token | None, *, failed: bool, note: Note = nothing) -> Told:
        """Store what the request did, a new secret as *fresh*; *note* is called between the steps."""
        self.end_all(request, note)
        if not failed:
            self._store(request, fresh, note)
        if request.announced:
            return Told.NOTHING
        if request.to_tell is not None:
            return Told.TOKEN
        return Told.FORGET if request.forget else Told.NOTHING

    def revoke(self, key: str) -> bool:
        life = self.lives.get(key)
        if life is None or not self.is_there(life):
            return False
        life.ended = True
        return True

    def leave_mark(self, user_id: str, keep: str | None) -> None:
        self.nonces += 1
        entries = self.marks[user_id][0] if user_id in self.marked() else []
        self.marks[user_id] = [*entries, (self.nonces, keep)][-MOST_ENTRIES:], math.ceil(self.now) + MARKED_FOR

    def _end(self, one: Opened) -> None:
        if one.user_id is not None:
            self.revoke(one.key)
        elif (life := self.live(one.key)) and life.era == one.era:
            life.ended = True

    def _store(self, request: Request, fresh: Token | None, note: Note) -> None:
        if request.login is not None:
            self._sign_in(request, fresh, note)
        elif request.opens is Opens.SESSION:
            self._write(request, fresh)
        elif request.opens is Opens.SNAPSHOT and not request.gone:
            if request.acted or any(request.view.changes()):
                request.acted, request.gone = False, True
        elif not (request.gone or request.announced) and (request.wanted or request.view):
            values = request.view.all_assigned()
            life = self.born(fresh, values, request.facts, era=0)
            self._based(request, life, None)
            self._settle(request, Changes(values, {}, set()), values, fresh, proof=fresh)
            request.key = life.key

    def born(self, token: Token | None, data: Data, facts: Facts, *, era: int, mark: int | None = None) -> Life:
        if self.is_guessing and (token is None or token.id in self.lives):
            token = Token.new()
        assert token is not None
        assert token.id not in self.lives
        life = self.lives[token.id] = Life(token.id, deepcopy(data), facts, era, [token], mark)
        return life

    def _write(self, request: Request, fresh: Token | None) -> None:
        own = request.view.changes()
        if any(own) or request.acted:
            self._replace(request, own, fresh, None)
        elif not request.announced:
            self._touch(request)

    def _touch(self, request: Request) -> None:
        assert request.key is not None
        base, life = request.base_facts, self.live(request.key)
        assert base is not None
        is_due = self._use_is_due(base) and base.ends_at > self.now
        if is_due and life is not None and life.writes == request.base_writes:
            self._written(life, life.data, life.facts.used(self.now))

    def _use_is_due(self, facts: Facts) -> bool:
        return self.now - facts.last_seen_at >= (60.0 if facts.idle is None else min(60.0, facts.idle / 10))

    def _replace(self, request: Request, own: Changes, fresh: Token | None, change: Change | None) -> None:
        assert request.key is not None
        base = request.base_facts
        assert base is not None
        life = self.live(request.key)
        if request.base_writes is not None and base.ends_at > self.now and change is None and not request.wanted:
            # As it was opened there is nothing to store: then nobody looks what has become of it.
            facts, secret = base._replace(**request.amended), request.regenerates and request.proof in request.base_current
            if not (any(own) or secret) and facts == base:
                self._settle(request, own, request.view.base, self._resent(request, request.base_current))
                return
        if life is None or life.era != request.base_era:
            self._lose(request, life, change)
            return
        values = self._changed(own.over(life.data), change)
        facts = life.facts._replace(**request.amended)
        resent = self._resent(request, life.current)
        if request.regenerates and request.proof in life.current:
            assert fresh is not None
            life.replaced(Kind.REPLACED, self.now)
            life.current, life.snapshot = [fresh], {}
            self._write_and_settle(request, life, own, values, facts, fresh, proof=fresh)
        elif differ(values, life.data) or facts != life.facts or request.wanted or self._use_is_due(life.facts):
            self._write_and_settle(request, life, own, values, facts, resent)
        else:
            self._based(request, life, life.writes)
            self._settle(request, own, life.data, resent)

    def _resent(self, request: Request, current: list[Token]) -> Token | None:
        """Return the token to be sent again: if it opens the session still, as far as is known."""
        return request.own if request.resends and not request.announced and request.proof in current else None

    def _write_and_settle(
        self,
        request: Request,
        life: Life,
        own: Changes,
        values: Data,
        facts: Facts,
        token: Token | None,
        proof: Token | None = None,
    ) -> None:
        self._written(life, values, facts.used(self.now))
        self._based(request, life, None)
        self._settle(request, own, values, token, proof)

    def _changed(self, values: Data, change: Change | None) -> Data:
        if change is None:
            return values
        view = View(values)
        change(view)
        return view.changes().over(values)

    def _lose(self, request: Request, life: Life | None, change: Change | None) -> None:
        self._drop_all(request)
        if change is not None and life is not None:
            raise Conflict
        if change is not None:
            change(View({}))

    def _drop_all(self, request: Request) -> None:
        request.opens, request.gone = Opens.NOTHING, True
        request.login = request.to_tell = None

    def _sign_in(self, request: Request, fresh: Token | None, note: Note, change: Change | None = None) -> None:
        assert request.login is not None
        user_id, mark, keep = request.login
        own = request.view.changes()
        life = self._sign_in_there(request, user_id, mark, keep, fresh, own, change)
        if life is None:
            request.key = None
            values = self._changed(request.view.all_assigned(), change)
            facts = self.fresh()._replace(user_id=user_id, **request.amended)
            life = self.born(fresh, values, facts, era=1, mark=mark)
        note()
        if self._is_revoked(user_id, mark, life.key):
            life.ended = True
            self._drop_all(request)
            return
        for rival in request.rivals:
            if rival.key != life.key:
                self._end(rival)
                note()
        request.rivals, request.key = (), life.key
        self._based(request, life, None)
        self._settle(request, own, life.data, fresh, proof=fresh)

    def _sign_in_there(
        self,
        request: Request,
        user_id: str,
        mark: int | None,
        keep: Sequence[str] | None,
        fresh: Token | None,
        own: Changes,
        change: Change | None,
    ) -> Life | None:
        life = self.live(request.key) if request.key is not None and request.opens is not Opens.NOTHING else None
        if life is None:
            return None
        theirs, facts = life.data, life.facts._replace(user_id=user_id)
        if request.opens is Opens.SESSION and life.era == request.base_era:
            snapshot: Data = {}
            if life.facts.user_id is None:
                snapshot = deepcopy(life.data)
                theirs = {key: value for key, value in life.data.items() if keep is None or key in keep}
            elif life.facts.user_id != user_id:
                return None
            life.replaced(Kind.SIGNED_IN, self.now)
            life.current, life.snapshot, life.mark, life.era = [], snapshot, mark, life.era + 1
            facts = facts._replace(signed_in_at=self.now)
        elif not self._is_second_click(life, request.proof, user_id, mark):
            return None
        assert fresh is not None
        life.current = [*life.current, fresh][-MOST_CURRENT:]
        self._written(life, self._changed(own.over(theirs), change), facts._replace(**request.amended).used(self.now))
        return life

    def _is_second_click(self, life: Life, proof: Token | None, user_id: str, mark: int | None) -> bool:
        click = any(previous.token == proof and previous.kind is Kind.SIGNED_IN for previous in life.previous)
        return click and life.facts.user_id == user_id and life.mark == mark

    def _is_revoked(self, user_id: str, nonce: int | None, key: str) -> bool:
        if user_id not in self.marked() or self.mark_of(user_id) == nonce:
            return False
        entries = self.marks[user_id][0]
        nonces = [entry[0] for entry in entries]
        if nonce in nonces:
            entries = entries[nonces.index(nonce) + 1 :]
        elif len(entries) == MOST_ENTRIES:
            return True
        return any(keep != key for _, keep in entries)

    def _written(self, life: Life, data: Data, facts: Facts) -> None:
        life.data, life.facts, life.writes = deepcopy(data), facts, life.writes + 1

    def _settle(self, request: Request, own: Changes, values: Data, token: Token | None, proof: Token | None = None) -> None:
        """The request goes on from what is stored."""
        assert request.base_facts is not None
        request.facts = request.base_facts
        if proof is not None:
            request.opens, request.proof = Opens.SESSION, proof
        request.view.rebase(values, own)
        if token is not None:
            request.to_tell = request.own = token
        elif request.to_tell not in request.base_current:
            request.to_tell = None  # the response of the request that has replaced it carries the cookie
        request.login, request.amended = None, {}
        request.regenerates = request.wanted = request.acted = False


def copied(world: World) -> World:
    """Return a world of its own that is the same. Tokens are secrets, and are not copied."""
    new = World(world.now, world._idle, world._absolute)
    new.nonces = world.nonces
    new.marks = {user_id: ([*entries], until) for user_id, (entries, until) in world.marks.items()}
    new.lives = {
        key: replace(
            life,
            data=deepcopy(life.data),
            snapshot=deepcopy(life.snapshot),
            current=[*life.current],
            previous=[*life.previous],
        )
        for key, life in world.lives.items()
    }
    return new
