"""Random histories of two requests at a time, on both stores, compared with plain dicts after every step."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from session_middleware import (
    ConflictError,
    Forget,
    HeadersAlreadySent,
    Lifetime,
    Send,
    Session,
    SessionManager,
    StoreUnavailable,
    tokens,
)
from session_middleware.manager import Verdict
from session_middleware.testing import FakeClock, FaultyStore
from tests.backends.running import EMBEDDED, EVERY, LATER, Backends, a_store
from tests.model import Conflict, Data, Facts, Request, Told, World, exact
from tests.sites import AgedStore

pytestmark = pytest.mark.unmeasured

T = TypeVar("T")

IDLE, ABSOLUTE = 600.0, 3000.0
USERS = ("alice", "bob")

Plan = tuple[int, bool] | None
"""Which store call fails, counted from now, and whether it is done all the same; ``None`` for no fault."""

Change = partial[None]

# The requests in flight, and one that comes and goes meanwhile.
ANOTHER = 2
slots = st.sampled_from((0, 1))
keys = st.sampled_from("abcd")
users = st.sampled_from(USERS)
values = st.one_of(
    st.sampled_from([0, 1, True, 1.0, None, "", "text", b"\0", (), (1,), 2**70, datetime(2024, 2, 29, tzinfo=UTC)]),
    st.lists(st.integers(0, 9), max_size=2),
    st.dictionaries(st.sampled_from("xy"), st.lists(st.integers(0, 9), max_size=1), max_size=2),
)
MADE_UP = ("malformed", "A" * 43)
recent = st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, -1, -2])


def weighted(*choices: tuple[int, st.SearchStrategy[T]]) -> st.SearchStrategy[T]:
    """Return what draws from each strategy as often as its weight says; one_of() takes a repeated one for one."""
    return st.sampled_from([strategy for weight, strategy in choices for _ in range(weight)]).flatmap(lambda chosen: chosen)


no_fault: st.SearchStrategy[Plan] = st.none()
faults = weighted((6, no_fault), (1, st.tuples(st.integers(1, 5), st.booleans())))
seconds = st.sampled_from([0.5, 1, 9, 10, 25, 29, 29, 30, 31, 31, 59, 60, 61, 299, 599, 600, 1500])
failures = st.sampled_from([False, False, False, True])


@dataclass
class Slot:
    """One request in flight: the session that the application has, and what the model has of it once it was used."""

    session: Session
    keys: Sequence[str]
    request: Request | None = None
    failed: bool = False


def append(key: str, number: int, data: Any) -> None:
    """Change inside the value under the key, whatever it is."""
    match data.get(key):
        case list(items):
            items.append(number)
        case dict(inner):
            inner.setdefault("x", []).append(number)
        case _:
            data[key] = number


def assign(key: str, value: object, data: Any) -> None:
    data[key] = deepcopy(value)


def remove(key: str, data: Any) -> None:
    data.pop(key, None)


def clear(data: Any) -> None:
    data.clear()


def nothing(data: Any) -> None:
    """A change that changes nothing."""


changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(partial, st.just(assign), keys, values),
    st.builds(partial, st.just(append), keys, st.integers(0, 9)),
    st.builds(partial, st.just(remove), keys),
    st.sampled_from([partial(clear), partial(nothing)]),
)
lifetimes = st.fixed_dictionaries(
    {},
    optional={
        "idle": st.sampled_from([None, 50.0, 600.0, 2000.0]),
        "absolute": st.sampled_from([100.0, 3000.0, 9000.0]),
        "persistent": st.booleans(),
    },
)


Act = tuple[str, dict[str, Any]]


def act(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Act]:
    """Return what a request can do: a method of the machine below, and its arguments."""
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


acts = st.lists(
    weighted(
        (9, act("changes", change=changes)),
        (1, act("takes_the_newest_item")),
        (4, act("transacts", change=changes, plan=faults)),
        (4, act("regenerates")),
        (4, act("signs_in", user_id=users)),
        (3, act("sets_lifetimes", lifetimes=lifetimes)),
        (1, act("invalidates", plan=faults)),
    ),
    min_size=1,
    max_size=3,
)
events = st.lists(
    weighted(
        (6, act("time_passes", by=seconds)),
        (1, act("a_request_cannot_load", applied=st.booleans())),
        (1, act("somebody_revokes", one=recent, plan=faults)),
        (2, act("somebody_revokes_all", user_id=users, number=st.none() | slots, plan=faults)),
    ),
    min_size=1,
    max_size=2,
)


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
        self.tokens: list[str] = []
        self.slots: dict[int, Slot] = {}

    def a_visitor_comes(self) -> None:
        """So that there is a session."""
        session, request = self.manager.open(), self.world.load([])
        for data in (session, request.view):
            data.update(a=[1], b={"x": [1]})
        verdict = self.manager.commit(session)
        assert isinstance(verdict, Send)
        assert self.world.commit(request, self.key_of(verdict.token), failed=False) is Told.TOKEN
        self.tokens.append(verdict.token)

    def teardown(self) -> None:
        left = self.aged.keys()
        for key in left:
            self.inner.delete(key)
        self._store.close()

    # How the two are kept in step

    def key_of(self, token: str) -> str:
        return self.manager._key_of(token)

    def open(self, number: int, *candidates: str) -> Slot:
        well_formed = [token for token in dict.fromkeys(candidates) if tokens.well_formed(token)]
        session = Session(self.manager, list[str], well_formed)
        slot = self.slots[number] = Slot(session, [self.key_of(token) for token in well_formed])
        return slot

    def token(self, index: int) -> str:
        """Return a token: of the last live session or one before it; from 3 on of any, dead or not; made up below 0."""
        if index < 0:
            return MADE_UP[index]
        if not any(map(self.is_alive, self.tokens)):
            self.a_visitor_comes()
        candidates = [token for token in self.tokens if index > 2 or self.is_alive(token)]
        return candidates[-1 - index % len(candidates)]

    def is_alive(self, token: str) -> bool:
        return self.world.live(self.key_of(token)) is not None

    def perform(self, number: int, acts: list[Act]) -> None:
        for name, arguments in acts:
            getattr(self, name)(number, **arguments)

    def slot(self, number: int) -> tuple[Session, Request]:
        """Return a request, loaded now if it had not used its session before; a new one if there is none."""
        slot = self.slots.get(number) or self.open(number, self.token(0))
        if slot.request is None:
            assert slot.session.is_new in (True, False)
            slot.request = self.world.load(slot.keys)
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

    def adopt(self, worlds: Sequence[World], key: str | None = None, drafts: Sequence[tuple[Data, Facts]] = ()) -> None:
        """After a fault: look which of *worlds* it is, be it with one of *drafts* left behind under *key*."""
        for world in worlds:
            if key is not None and key not in world.lives and self.aged.load(key) is not None:
                for data, facts in drafts:
                    candidate = deepcopy(world)
                    candidate.born(key, data, facts)
                    if self.difference(candidate) is None:
                        self.world = candidate
                        return
            if self.difference(world) is None:
                self.world = world
                return
        raise AssertionError(f"neither before nor after: {[self.difference(world) for world in worlds]}")

    def difference(self, world: World) -> str | None:
        """Return what differs between the manager and *world*, of all that can be asked; ``None`` if nothing does."""
        if (there := set(self.aged.keys())) != world.keys():
            return f"records {there ^ world.keys()} (there: {there - world.keys()})"
        for token in self.tokens:
            session = self.manager.open(token)
            key = self.key_of(token)
            life = world.live(key) if tokens.well_formed(token) else None
            if session.is_new is not (life is None):
                return f"{key} is alive: {life is None}"
            if life is None:
                if len(session) or session.user_id is not None:
                    return f"{key} opens {dict(session)}"
                if session.progress is None or session.progress.gone is not world.has_moved(key):
                    return f"{key} is known as moved: {not world.has_moved(key)}"
            elif exact(dict(session)) != exact(life.data) or facts_of(session) != life.facts:
                return f"{key} opens {dict(session)}, {facts_of(session)}, not {life.data}, {life.facts}"
        for user_id in USERS:
            listed = self.manager.sessions_of(user_id)
            expected = {life.key: life for life in world.of_user(user_id) if world.live(life.key)}
            if {info.id for info in listed} != expected.keys() or len(listed) != len(expected):
                return f"{user_id} has {listed}, not {expected}"
            if any(info.last_seen_at < later.last_seen_at for info, later in pairwise(listed)):
                return f"{listed} is not in order"
            if any(info.data != expected[info.id].data for info in listed):
                return f"{listed} lists other data than {expected}"
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
        self.open(ANOTHER, self.token(one))
        self.perform(ANOTHER, acts)
        self.commits(ANOTHER, failed, False, plan)

    def changes(self, number: int, change: Change) -> None:
        session, request = self.slot(number)
        before = deepcopy(request.view)
        change(request.view)
        try:
            change(session)
        except HeadersAlreadySent:
            assert request.is_too_late
            request.view = before
        else:
            assert not (request.is_too_late and change.func is assign)

    def takes_the_newest_item(self, number: int) -> None:
        session, request = self.slot(number)
        if request.view:
            assert session.popitem() == request.view.popitem()

    def transacts(self, number: int, change: Change, plan: Plan) -> None:
        session, request = self.slot(number)
        before, request_before = deepcopy((self.world, request))
        refusal: type[Exception] | None = HeadersAlreadySent if request.is_too_late else None
        if refusal is None:
            try:
                self.world.transact(request, change)
            except Conflict:
                refusal = ConflictError
        try:
            with self.failing(plan), pytest.raises(refusal) if refusal else nullcontext():
                session.transact(change)
        except StoreUnavailable:
            assert plan is not None
            self.slots[number].request = request_before
            self.adopt([before, self.world])

    def regenerates(self, number: int) -> None:
        session, request = self.slot(number)
        if self.refused(request, session.regenerate):
            return
        request.moving = True

    def signs_in(self, number: int, user_id: str) -> None:
        session, request = self.slot(number)
        if self.refused(request, partial(session.login, user_id)):
            return
        self.world.login(request, user_id)

    def sets_lifetimes(self, number: int, lifetimes: dict[str, Any]) -> None:
        session, request = self.slot(number)
        before = request.facts
        after = before._replace(**lifetimes)
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
        worlds = [deepcopy(self.world)] if plan else []
        try:
            with self.failing(plan):
                session.invalidate()
        except StoreUnavailable:
            assert plan is not None
            assert request.announced
            ending = list(request.ending)
            self.world.end_all(request, lambda: worlds.append(deepcopy(self.world)))
            self.adopt(worlds)
            assert session.progress is not None
            request.ending = ending[len(ending) - len(session.progress.ending) :]
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
        key, token = None, ""
        drafts: Sequence[tuple[Data, Facts]] = ()
        if plan is not None and not request.announced and (request.moving or request.key is None):
            key, token = session.id, token_of(session)
            drafts = self.world.drafts(request)
        worlds = [deepcopy(self.world)] if plan else []
        was_late = request.announced
        failed = failed or slot.failed
        slot.failed = failed
        try:
            with self.failing(plan):
                verdict = self.manager.commit(session, failed=failed)
        except StoreUnavailable:
            assert plan is not None
            self.world.commit(request, key, failed=failed, note=lambda: worlds.append(deepcopy(self.world)))
            if token:
                self.tokens.insert(0, token)
            self.adopt([*worlds, self.world], key, drafts)
            del self.slots[number]
            return
        if isinstance(verdict, Send):
            key = self.key_of(verdict.token)
        told = self.world.commit(request, key, failed=failed)
        assert told is told_by(verdict)
        if isinstance(verdict, Send):
            assert verdict.max_age == max_age(request.facts, self.clock())
            self.tokens.append(verdict.token)
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
        for number in (0, 1):
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
        session_id = self.key_of(self.token(one))
        before = deepcopy(self.world)
        ended = self.world.end(session_id)
        try:
            with self.failing(plan):
                assert self.manager.revoke(session_id) is ended
        except StoreUnavailable:
            self.adopt([before, self.world])

    def somebody_revokes_all(self, user_id: str, number: int | None, plan: Plan) -> None:
        """Of a user, but perhaps one: that of a request in flight."""
        keep, spared = None, set()
        if number is not None:
            session, request = self.slot(number)
            keep, spared = session.id, {session.id, request.key}
        ending = [life for life in self.world.of_user(user_id) if life.key not in spared]
        try:
            with self.failing(plan):
                assert self.manager.revoke_all(user_id, keep=keep) == len(ending)
        except StoreUnavailable:
            there = set(self.aged.keys())
            for life in ending:
                life.ended = life.key not in there
        else:
            for life in ending:
                life.ended = True

    def time_passes(self, by: float) -> None:
        self.clock.advance(by)
        self.world.now = self.clock()

    def a_request_cannot_load(self, applied: bool) -> None:
        """Promise 7: it never reads as an empty session, and nothing is stored or told."""
        slot = self.open(ANOTHER, self.token(0))
        del self.slots[ANOTHER]
        with self.failing((1, applied)), pytest.raises(StoreUnavailable):
            slot.session["a"] = 1
        with pytest.raises(StoreUnavailable):
            slot.session.get("a")
        assert self.manager.commit(slot.session) is None

    # What holds after every step

    @invariant()
    def every_token_opens_what_the_model_says(self) -> None:
        """Promises 3, 5, 8, 9, 11 and 12, and no record more or less than there should be."""
        if hasattr(self, "world"):
            assert self.difference(self.world) is None

    @invariant()
    def every_request_sees_what_the_model_says(self) -> None:
        for slot in getattr(self, "slots", {}).values():
            if slot.request is not None:
                state = slot.session.progress
                assert state is not None
                assert exact(state.data) == exact(slot.request.view)
                assert facts_of(slot.session) == slot.request.facts
                assert state.gone == slot.request.gone


def facts_of(session: Session) -> Facts:
    state = session.progress
    assert state is not None
    return Facts(*state.envelope)


def token_of(session: Session) -> str:
    """Return the token that the browser is to learn."""
    assert session.progress is not None
    assert session.progress.token is not None
    return session.progress.token


def told_by(verdict: Verdict | None) -> Told:
    if verdict is None:
        return Told.NOTHING
    return Told.FORGET if isinstance(verdict, Forget) else Told.TOKEN


def max_age(facts: Facts, now: float) -> int | None:
    return max(0, -int(-(facts.created_at + facts.absolute - now) // 1)) if facts.persistent else None


def run(kind: str, backends: Backends, examples: int, steps: int, *, derandomize: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        make = partial(a_store, kind, Path(directory), backends)
        machine = type("Machine", (Sessions,), {"make": make})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                derandomize=derandomize,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
            ),
        )


@pytest.mark.parametrize("kind", LATER)
def test_sessions_do_what_plain_dicts_do(kind: str, backends: Backends) -> None:
    """Promises 3, 4, 5, 7, 8, 9, 11, 12 and 16, in histories that nobody thought of; the same ones each time."""
    run(kind, backends, 40 if kind in EMBEDDED else 10, 30, derandomize=True)


@pytest.mark.soak
@pytest.mark.parametrize("kind", EVERY)
def test_sessions_do_what_plain_dicts_do_at_length(kind: str, backends: Backends) -> None:
    """Promises 3, 4, 5, 7, 8, 9, 11, 12 and 16, in other histories each time."""
    run(kind, backends, 500 if kind in EMBEDDED else 40, 40, derandomize=False)
