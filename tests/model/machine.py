"""The machine that makes random histories: the manager on a store, and the model beside it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from copy import deepcopy
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from session_middleware import (
    ConfigurationError,
    ConflictError,
    HeadersAlreadySent,
    Lifetime,
    Send,
    Session,
    SessionManager,
    StoreUnavailable,
)
from session_middleware.manager import Verdict
from session_middleware.testing import FakeClock, FaultyStore
from session_middleware.tokens import Token
from tests.model.comparison import Slot, max_age, seen_otherwise, told_by
from tests.model.histories import (
    ANOTHER_ONE,
    NOBODYS,
    SLOTS,
    USERS,
    Act,
    Change,
    Plan,
    acts,
    append,
    assign,
    events,
    failures,
    faults,
    recent,
    slots,
    weighted,
)
from tests.model.parts import exact
from tests.model.reference import Conflict, Opens, Request, Told, World, copied
from tests.sealing import mark_there
from tests.sites import AgedStore

T = TypeVar("T")

IDLE, ABSOLUTE = 600.0, 3000.0


MADE: list[Token] = []
"""Every token that the package has made, in their order."""


class Sessions(RuleBasedStateMachine):
    """The manager on a store, and the model beside it. A step that the store fails is before or after, never between."""

    make: ClassVar[Any]

    @initialize()
    def begin(self) -> None:
        self._store = ExitStack()
        self.inner = self._store.enter_context(self.make())
        self.clock = FakeClock()
        self.aged = AgedStore(self.inner, self.clock)
        self.store = FaultyStore(self.aged)
        self.manager = SessionManager(self.store, lifetime=Lifetime(idle=IDLE, absolute=ABSOLUTE), clock=self.clock)
        self.world = World(self.clock(), IDLE, ABSOLUTE)
        self.tokens: list[Token] = []
        self.slots: dict[int, Slot] = {}
        self.marks = {mark_there(user_id): user_id for user_id in USERS}
        self.known_marks: dict[str, str | None] = {}

    def a_visitor_comes(self) -> None:
        """So that there is a session."""
        session, request = self.manager.open(), self.world.load([])
        for data in (session, request.view):
            data.update(a=[1], b={"x": [1]})
        verdict = self.manager.commit(session)
        assert isinstance(verdict, Send)
        assert self.world.commit(request, verdict.token, failed=False) is Told.TOKEN
        self.tokens.append(verdict.token)

    def teardown(self) -> None:
        for key in list(self.aged.keys()):
            self.inner.delete(key)
        self._store.close()

    # How the two are kept in step

    def open(self, number: int, *tokens: Token) -> Slot:
        distinct = list(dict.fromkeys(tokens))
        slot = self.slots[number] = Slot(Session(self.manager, tuple, distinct), distinct)
        return slot

    def token(self, index: int) -> Token:
        """Return a token: of the last live session or one before it; from 3 on of any, dead or not; made up below 0."""
        if index < 0:
            return NOBODYS[index]
        if not any(map(self.is_alive, self.tokens)):
            self.a_visitor_comes()
        candidates = [token for token in self.tokens if index > 2 or self.is_alive(token)]
        return candidates[-1 - index % len(candidates)]

    def is_alive(self, token: Token) -> bool:
        return self.world.judge(token) is Opens.SESSION

    def perform(self, number: int, acts: list[Act]) -> None:
        for name, arguments in acts:
            getattr(self, name)(number, **arguments)

    def slot(self, number: int) -> tuple[Session, Request]:
        """Return a request, loaded now if it had not used its session before; a new one if there is none."""
        slot = self.slots.get(number) or self.open(number, self.token(0))
        if slot.request is None:
            assert slot.session.is_new in (True, False)
            slot.request = self.world.load(slot.tokens)
        return slot.session, slot.request

    @contextmanager
    def failing(self, plan: Plan) -> Iterator[None]:
        if plan is not None:
            at, applied = plan
            self.store.fail(at=at, applied=applied)
        try:
            yield
        finally:
            self.store.heal()

    def fresh(self, session: Session, made: int) -> Token | None:
        """Return the token that a step has stored, or would have: the last one made since *made*, or one made before."""
        if len(MADE) > made:
            return MADE[-1]
        return session.state.token if session.state else None

    def adopt(self, worlds: Sequence[World]) -> None:
        """After a fault: look which of *worlds* it is."""
        for world in worlds:
            if self.difference(world) is None:
                self.world = world
                return
        raise AssertionError(f"neither before nor after: {[self.difference(world) for world in worlds]}")

    def difference(self, world: World) -> str | None:
        """Return what differs between the manager and *world*, of all that can be asked; ``None`` if nothing does."""
        there = set(self.aged.keys())
        if (sessions := there - self.marks.keys()) != world.keys():
            return f"records {sessions ^ world.keys()} (there: {sessions - world.keys()})"
        if (marked := {user_id for key, user_id in self.marks.items() if key in there}) != world.marked():
            return f"marks of {marked ^ world.marked()}"
        for token in self.tokens:
            session, expected = self.manager.open(token), world.load([token])
            assert session.is_new in (True, False)
            if problem := seen_otherwise(session, expected):
                return f"{token} {problem}"
        for user_id in USERS:
            listed = self.manager.sessions_of(user_id)
            lives = {life.key: life for life in world.of_user(user_id) if world.live(life.key)}
            if {info.id for info in listed} != lives.keys() or len(listed) != len(lives):
                return f"{user_id} has {listed}, not {lives}"
            if any(info.last_seen_at < later.last_seen_at for info, later in pairwise(listed)):
                return f"{listed} is not in order"
            if any(exact(dict(info.data)) != exact(lives[info.id].data) for info in listed):
                return f"{listed} lists other data than {lives}"
        return None

    # What can happen

    @rule(
        number=slots,
        one=weighted((9, recent), (1, st.none())),
        other=weighted((1, st.sampled_from([1, 2, 3, -1])), (1, st.none())),
    )
    def a_request_comes(self, number: int, one: int | None, other: int | None) -> None:
        """In place of one that breaks off; with a token, two or none, alive or not."""
        self.slots.pop(number, None)
        self.open(number, *(self.token(index) for index in (one, other) if index is not None))

    @rule(number=slots, acts=acts)
    def a_request_acts(self, number: int, acts: list[Act]) -> None:
        self.perform(number, acts)

    @rule(number=slots, acts=acts)
    def a_request_goes_on(self, number: int, acts: list[Act]) -> None:
        self.perform(number, acts)

    @rule(number=slots, acts=acts, failed=failures, streams=st.booleans(), plan=faults)
    def a_request_ends(self, number: int, acts: list[Act], failed: bool, streams: bool, plan: Plan) -> None:
        """The response starts; or it ends, if it had started. If there is no request, one comes."""
        if number in self.slots:
            self.commits(number, failed, streams, plan)
        else:
            self.perform(number, acts)

    @rule(one=recent, acts=acts, failed=failures, plan=faults)
    def another_request_comes_and_goes(self, one: int, acts: list[Act], failed: bool, plan: Plan) -> None:
        """While those in flight wait."""
        self.open(ANOTHER_ONE, self.token(one))
        self.perform(ANOTHER_ONE, acts)
        self.commits(ANOTHER_ONE, failed, False, plan)

    def changes(self, number: int, change: Change) -> None:
        session, request = self.slot(number)
        if request.is_too_late and change.func in (assign, append):
            data = deepcopy(request.view.now)
            try:
                change(session)
            except HeadersAlreadySent:
                return
            assert request.view.now != data or change.func is append
        else:
            change(session)
        change(request.view)

    def takes_the_newest_item(self, number: int) -> None:
        session, request = self.slot(number)
        if request.view:
            assert session.popitem() == request.view.popitem()

    def uses(self, number: int) -> None:
        session, request = self.slot(number)
        session.use()
        self.world.use(request)

    def transacts(self, number: int, change: Change, plan: Plan) -> None:
        session, request = self.slot(number)
        if request.is_too_late:
            with pytest.raises(HeadersAlreadySent):
                session.transact(change)
            return
        worlds, made = [copied(self.world)] if plan else [], len(MADE)
        token = session.state.token if session.state else None
        error: Exception | None = None
        try:
            with self.failing(plan):
                session.transact(change)
        except (StoreUnavailable, ConflictError) as raised:
            error = raised
        fresh = MADE[-1] if len(MADE) > made else token
        self.world.is_guessing = isinstance(error, StoreUnavailable)
        conflict = pytest.raises(Conflict) if isinstance(error, ConflictError) else nullcontext()
        with suppress(Conflict) if isinstance(error, StoreUnavailable) else conflict:
            self.world.transact(request, change, fresh, self.noting(worlds, plan))
        if isinstance(error, StoreUnavailable):
            assert plan is not None
            self.know(fresh)
            self.adopt([*worlds, self.world])
            self.world.is_guessing = False
            del self.slots[number]
        elif request.to_tell is not None:
            self.know(request.to_tell)

    def noting(self, worlds: list[World], plan: Plan) -> Callable[[], None]:
        return (lambda: worlds.append(copied(self.world))) if plan else (lambda: None)

    def know(self, token: Token | None) -> None:
        if token is not None and token not in self.tokens:
            self.tokens.append(token)

    def regenerates(self, number: int) -> None:
        session, request = self.slot(number)
        if not self.refused(request, session.regenerate):
            self.world.regenerate(request)

    def checks_a_password(self, number: int, user_id: str) -> None:
        self.slot(number)
        self.slots[number].marks[user_id] = self.manager.mark_of(user_id), self.world.mark_of(user_id)

    def signs_in(self, number: int, user_id: str, keep: Sequence[str] | None, plan: Plan) -> None:
        session, request = self.slot(number)
        before = self.slots[number].marks.get(user_id)
        marked: dict[str, Any] = {} if before is None else {"mark": before[0]}
        try:
            with self.failing(plan):
                refused = self.refused(request, partial(session.login, user_id, keep=keep, **marked))
        except StoreUnavailable:
            assert plan is not None
            return  # nobody has signed in, so nobody was signed out for it
        if not refused:
            if request.facts.user_id not in (None, user_id):
                self.world.invalidate(request)
            self.world.login(request, user_id, self.world.mark_of(user_id) if before is None else before[1], keep)

    def sets_lifetimes(self, number: int, lifetimes: dict[str, Any]) -> None:
        session, request = self.slot(number)
        before = request.facts
        after = before._replace(**lifetimes)
        if lifetimes.get("idle") and lifetimes["idle"] > after.absolute:
            with pytest.raises(ConfigurationError):
                session.set_lifetime(**lifetimes)
            return
        if after.persistent != before.persistent or (after.persistent and after.absolute != before.absolute):
            if self.refused(request, partial(session.set_lifetime, **lifetimes)):
                return
        else:
            session.set_lifetime(**lifetimes)
        self.world.set_lifetime(request, **lifetimes)

    def refused(self, request: Request, act: Callable[[], object]) -> bool:
        """Call what needs a new cookie; return whether it was refused, which it is when the response has started."""
        try:
            act()
        except HeadersAlreadySent:
            assert request.announced
            return True
        assert not request.announced
        return False

    def invalidates(self, number: int, plan: Plan) -> None:
        session, request = self.slot(number)
        self.world.invalidate(request)
        worlds = [copied(self.world)] if plan else []
        try:
            with self.failing(plan):
                session.invalidate()
        except StoreUnavailable:
            assert plan is not None
            assert request.announced
            ending = list(request.ending)
            self.world.end_all(request, self.noting(worlds, plan))
            self.adopt(worlds)
            assert session.state is not None
            request.ending = ending[len(ending) - len(session.state.ending) :]
            return
        if request.announced:
            self.world.end_all(request)

    def commits(self, number: int, failed: bool, streams: bool, plan: Plan) -> None:
        slot = self.slots.get(number) or self.open(number, self.token(0))
        session, request = slot.session, slot.request
        if request is None:
            assert self.manager.commit(session, failed=failed) is None
            del self.slots[number]
            return
        worlds, made = [copied(self.world)] if plan else [], len(MADE)
        was_late = request.announced
        failed = slot.failed = failed or slot.failed
        before = session.state.token if session.state else None
        verdict: Verdict | None = None
        is_broken = False
        try:
            with self.failing(plan):
                verdict = self.manager.commit(session, failed=failed)
        except StoreUnavailable:
            assert plan is not None
            is_broken = True
        fresh = MADE[-1] if len(MADE) > made else before
        self.world.is_guessing = is_broken
        told = self.world.commit(request, fresh, failed=failed, note=self.noting(worlds, plan))
        self.know(fresh)
        if is_broken:
            self.adopt([*worlds, self.world])
            self.world.is_guessing = False
            del self.slots[number]
            return
        assert told is told_by(verdict)
        if isinstance(verdict, Send):
            assert verdict.token == request.to_tell
            assert verdict.max_age == max_age(request.facts, self.clock())
            request.to_tell = None
        if plan is not None:
            self.adopt([self.world, *worlds])  # what fails without a word has not happened, or nobody was told that it had
        if streams and not was_late:
            session.announced = request.announced = True
        else:
            del self.slots[number]

    @rule(one=recent, first=acts, second=acts, last=acts, streams=st.booleans(), plan=faults)
    def two_requests_overlap(
        self, one: int, first: list[Act], second: list[Act], last: list[Act], streams: bool, plan: Plan
    ) -> None:
        """Both with the same token; the second ends, and then the first goes on."""
        for number in SLOTS:
            self.open(number, self.token(one))
            self.slot(number)
        self.perform(0, first)
        self.perform(1, second)
        self.commits(1, False, streams, None)
        self.perform(0, last)
        self.commits(0, False, streams, plan)

    @rule(events=events)
    def something_else_happens(self, events: list[Act]) -> None:
        """What no request does."""
        for name, arguments in events:
            getattr(self, name)(**arguments)

    def somebody_revokes(self, one: int, plan: Plan) -> None:
        """By the id of a token, live or not."""
        session_id = self.token(one).id
        before = copied(self.world)
        ended = self.world.revoke(session_id)
        try:
            with self.failing(plan):
                assert self.manager.revoke(session_id) is ended
        except StoreUnavailable:
            self.adopt([before, self.world])

    def somebody_revokes_all(self, user_id: str, number: int | None, plan: Plan) -> None:
        """Of a user, but perhaps one: that of a request in flight."""
        keep = None
        if number is not None:
            keep = self.slot(number)[0].id
        before = copied(self.world)
        self.world.leave_mark(user_id, keep)
        ending = [life for life in self.world.of_user(user_id) if life.key != keep]
        try:
            with self.failing(plan):
                assert self.manager.revoke_all(user_id, keep=keep) == len(ending)
        except StoreUnavailable:
            there = set(self.aged.keys())
            for life in ending:
                life.ended = life.key not in there
            if self.manager.mark_of(user_id) == self.known_marks.get(user_id):
                self.world = before
        else:
            for life in ending:
                life.ended = True
        self.known_marks[user_id] = self.manager.mark_of(user_id)

    def time_passes(self, by: float) -> None:
        self.clock.advance(by)
        self.world.now = self.clock()

    def a_request_cannot_load(self, applied: bool) -> None:
        """Promise 7: it never reads as an empty session, and nothing is stored or told."""
        slot = self.open(ANOTHER_ONE, self.token(0))
        del self.slots[ANOTHER_ONE]
        with self.failing((1, applied)), pytest.raises(StoreUnavailable):
            slot.session["a"] = 1
        with pytest.raises(StoreUnavailable):
            slot.session.get("a")
        assert self.manager.commit(slot.session) is None

    # What holds after every step

    @invariant()
    def every_token_opens_what_the_model_says(self) -> None:
        """Promises 3, 5, 8, 9, 11, 12 and 17 to 20, and no record more or less than there should be."""
        if hasattr(self, "world"):
            problem = self.difference(self.world)
            assert problem is None, problem

    @invariant()
    def every_request_sees_what_the_model_says(self) -> None:
        for slot in getattr(self, "slots", {}).values():
            if slot.request is not None:
                problem = seen_otherwise(slot.session, slot.request)
                assert problem is None, problem
