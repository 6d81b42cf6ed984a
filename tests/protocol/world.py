"""The world of a scenario: what the store holds, browsers that get, lose or reorder responses, crashes, a jumping clock."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from session_middleware import Lifetime, Record
from session_middleware.limit import AtLimit
from session_middleware.record import Envelope
from session_middleware.tokens import Token
from tests.protocol.acts import RENEWING, Act, Outcome, Read, Request, RevokeAlias, RevokeAll
from tests.protocol.script import CREATE, DELETE, KEYS_OF, LOAD, UPDATE, Kept, Node, Result, Script, Verb
from tests.protocol.turn import AHEAD, START

DELIVERY = 30
"""A response that takes longer (seconds) counts as lost."""

GOES_ON, CRASHES, IS_ANSWERED, IS_NOT, PASSES = "goes on", "crashes", "response delivered", "response lost", "seconds pass"


class Plan(NamedTuple):
    """A request that a browser may send at any time after all responses named in *after* are there or lost."""

    name: str
    browser: str
    acts: tuple[Act, ...]
    after: tuple[str, ...] = ()
    twin: str = ""
    """One like it that is sent first, so that the two orders are not explored twice."""


@dataclass(eq=False, frozen=True)
class Jar:
    """The cookies that a browser sends: its own session's, and those that someone has planted."""

    own: Token | None = None
    planted: tuple[Token, ...] = ()
    last: str = ""
    """Whose response it has last learned from."""

    @property
    def tokens(self) -> tuple[Token, ...]:
        return self.planted if self.own is None else (*self.planted, self.own)


@dataclass(frozen=True)
class Scenario:
    """Who sends what, and what may happen meanwhile; ``checks`` must hold all the time, beside what always must."""

    plans: tuple[Plan, ...]
    jars: dict[str, Jar]
    checks: tuple["Check", ...]
    records: dict[str, Record] = field(default_factory=dict)
    """What is in the store at the beginning, by key."""
    jump: tuple[int, ...] = ()
    """How far (seconds) the clock may jump."""
    jumps: int = 0
    crashes: int = 0
    losses: int = 0
    """How often that, and how many crashes and lost responses there may be."""
    renewing: bool = False
    limit: tuple[int, AtLimit] | None = None
    """So many sessions a user may have, and what happens then."""
    watched: bool = False
    """Whether the order is known in which sign-ins and revocations begin and return."""
    counted: bool = False
    """Whether the verbs of a request are counted."""
    timed: bool = False
    """Whether it is known when a request has made its verbs."""


@dataclass(eq=False, frozen=True)
class Sent:
    """A request that was sent. Of one that has ended it is forgotten how it got there."""

    request: Request
    node: Node | None
    outcome: Outcome | None = None
    at: int = 0
    """When the response left."""
    fate: str = ""
    """What has become of the response."""


class Contents:
    """What the store holds, and the rules of its verbs: those of :class:`Store`, in a form that can be kept and compared."""

    __slots__ = ("_living", "entries")

    def __init__(self, entries: tuple[tuple[str, int, Kept], ...]) -> None:
        self.entries = entries
        self._living: dict[int, dict[str, Kept]] = {}

    def living(self, now: int) -> dict[str, Kept]:
        """Return the sessions that are alive, by id."""
        living = self._living.get(now)
        if living is None:
            sessions = [(key, kept, kept.envelope) for key, _, kept in self.entries if kept.envelope is not None]
            living = {key: kept for key, kept, envelope in sessions if envelope.expires_at > START + now}
            self._living[now] = living
        return living


class State(NamedTuple):
    """All that there is at one moment."""

    now: int
    contents: Contents
    jars: tuple[Jar, ...]
    sent: tuple[Sent | None, ...]
    events: tuple[tuple[str, str], ...] = ()
    jumps: int = 0
    crashes: int = 0
    losses: int = 0


class Step(NamedTuple):
    """Something that can happen: to the request with that number or, of the clock, so many seconds."""

    what: str
    number: int


class Did(NamedTuple):
    """What a request did in a step; ``before`` is what stood under the key of its verb."""

    plan: Plan
    verb: Verb | None
    result: Result
    before: Kept | None
    outcome: Outcome | None


Check = Callable[["World", State, bool, Did | None], str | None]
"""From a world, a state, whether nothing runs any more, and the last step to what is wrong, if anything is."""


class World:
    """A scenario, and all that can happen in it.

    *punctual*: the store drops a record as soon as it has expired by the clock of the manager; else it never does.
    *stalling*: a request may stall between reading the clock and the verb that it has read it for.
    """

    def __init__(self, scenario: Scenario, *, punctual: bool = False, stalling: bool = False) -> None:
        self.scenario = scenario
        self.script = Script(
            lifetime=RENEWING if scenario.renewing else Lifetime.AAL2,
            limit=scenario.limit,
            stalling=stalling,
            timed=scenario.timed,
            counted=scenario.counted,
        )
        self.browsers = list(scenario.jars)
        self._punctual = punctual
        self._numbers = {plan.name: number for number, plan in enumerate(scenario.plans)}
        self._browser_of = [self.browsers.index(plan.browser) for plan in scenario.plans]
        self._contents: dict[tuple[tuple[str, int, Kept], ...], Contents] = {}
        self._jars: dict[tuple[Token | None, tuple[Token, ...], str], Jar] = {}
        self._sent: dict[tuple[Request, Node | None, Outcome | None, int, str], Sent] = {}
        self._first: dict[tuple[str, tuple[Act, ...], tuple[Token, ...]], Node] = {}
        self._probes: dict[tuple[Contents, int, Node], tuple[Contents, Outcome]] = {}

    def beginning(self) -> State:
        """Return the first state."""
        entries = [(key, 1, self.script.kept(record)) for key, record in self.scenario.records.items()]
        return State(0, self._as_one(entries), tuple(self.scenario.jars.values()), (None,) * len(self.scenario.plans))

    # What can happen

    def steps(self, state: State) -> Iterator[Step]:
        """Yield all that can happen next."""
        scenario, sents = self.scenario, state.sent
        for number, (plan, sent) in enumerate(zip(scenario.plans, sents, strict=True)):
            if sent is None:
                if self._is_ready(plan, sents):
                    yield Step(GOES_ON, number)
            elif sent.fate:
                continue
            elif sent.outcome is None:
                yield Step(GOES_ON, number)
                if state.crashes < scenario.crashes:
                    yield Step(CRASHES, number)
            else:
                in_time = state.now - sent.at <= DELIVERY
                if in_time:
                    yield Step(IS_ANSWERED, number)
                if not in_time or state.losses < scenario.losses:
                    yield Step(IS_NOT, number)
        if state.jumps < scenario.jumps:
            for seconds in scenario.jump:
                yield Step(PASSES, seconds)

    def after(self, state: State, step: Step) -> tuple[State, Did | None]:
        """Return the state that a step leads to, and what a request did in it."""
        what, number = step
        if what == PASSES:
            return state._replace(now=state.now + number, jumps=state.jumps + 1), None
        if what == GOES_ON:
            return self._went_on(state, number)
        sent = state.sent[number]
        if sent is None:
            raise ValueError(f"{step} before it was sent")
        over = self._over(sent, what)
        after = state._replace(sent=(*state.sent[:number], over, *state.sent[number + 1 :]))
        if what == CRASHES:
            return after._replace(crashes=state.crashes + 1), None
        if what == IS_NOT:
            return after._replace(losses=state.losses + (state.now - sent.at <= DELIVERY)), None
        return after._replace(jars=self._jars_after(state.jars, number, sent)), None

    def _is_ready(self, plan: Plan, sents: tuple[Sent | None, ...]) -> bool:
        before = [sents[self._numbers[name]] for name in plan.after]
        ready = all(sent is not None and sent.fate for sent in before)
        return ready and (not plan.twin or sents[self._numbers[plan.twin]] is not None)

    def _went_on(self, state: State, number: int) -> tuple[State, Did]:
        """Let one request make its next verb, and come to its end if that was the last."""
        plan, sent, now = self.scenario.plans[number], state.sent[number], state.now
        contents, events = state.contents, state.events
        if sent is None or sent.node is None:
            node = self._node(plan.name, plan.acts, state.jars[self._browser_of[number]].tokens)
        else:
            node = sent.node
        verb: Verb | None = None
        result: Result = None
        before: Kept | None = None
        following = self.script.next(node, now)
        if isinstance(following, Verb):
            verb = following
            contents, result, before = self._perform(contents, verb, now)
            if self.scenario.watched and verb.label:
                events = (*[event for event in events if event != (verb.label, plan.name)], (verb.label, plan.name))
            node = node.after(result, now)
            following = self.script.next(node, now)
        if isinstance(following, Verb):
            after, outcome = self._as_sent(node.request, node, None, 0, ""), None
        else:
            outcome = following
            is_told = outcome.cookie is not None or outcome.forget
            after = self._as_sent(node.request, None, outcome, now if is_told else 0, "" if is_told else IS_ANSWERED)
            if self.scenario.watched and any(isinstance(act, RevokeAll | RevokeAlias) for act in plan.acts):
                events = (*events, ("returned", plan.name))
        sents = (*state.sent[:number], after, *state.sent[number + 1 :])
        return state._replace(contents=contents, sent=sents, events=events), Did(plan, verb, result, before, outcome)

    def _over(self, sent: Sent, fate: str) -> Sent:
        return self._as_sent(sent.request, None, sent.outcome, 0, fate)

    def _jars_after(self, jars: tuple[Jar, ...], number: int, sent: Sent) -> tuple[Jar, ...]:
        which = self._browser_of[number]
        cookie = None if sent.outcome is None else sent.outcome.cookie
        jar = self._jar(cookie, jars[which].planted, sent.request.name)
        return (*jars[:which], jar, *jars[which + 1 :])

    # The store

    def _perform(self, contents: Contents, verb: Verb, now: int) -> tuple[Contents, Result, Kept | None]:
        """Return what the store holds after a verb, the result, and what stood under the key before."""
        if self._punctual:
            there = [entry for entry in contents.entries if entry[2].record.expires_at > START + now]
            contents = contents if len(there) == len(contents.entries) else self._as_one(there)
        do, key, kept, named, _ = verb
        if do == KEYS_OF:
            return contents, tuple([k for k, _, one in contents.entries if one.record.user_id == key]), None
        version, before = next(((number, one) for k, number, one in contents.entries if k == key), (0, None))
        if do == LOAD:
            return contents, None if before is None else (before, version), before
        done = {CREATE: before is None, UPDATE: before is not None and named == version, DELETE: before is not None}[do]
        if not done:
            return contents, False, before
        others = [entry for entry in contents.entries if entry[0] != key]
        # The store's own clock is far behind, or the same: what ends a session has expired by both.
        if kept is not None and kept.record.expires_at > START + (now if self._punctual else -AHEAD):
            others.append((key, version + 1, kept))
        return self._as_one(others), True, before

    # For the checks

    def probe(self, state: State, tokens: tuple[Token, ...], *acts: Act, wait: int = 0) -> tuple[State, Outcome]:
        """Run a request alone, from its beginning to its end, *wait* seconds later."""
        contents, now = state.contents, state.now + wait
        node = first = self._node("probe", acts, tokens)
        known = self._probes.get((contents, now, first))
        if known is None:
            while isinstance(following := self.script.next(node, now), Verb):
                contents, result, _ = self._perform(contents, following, now)
                node = node.after(result, now)
            known = self._probes[state.contents, now, first] = contents, following
        return state._replace(contents=known[0], now=now), known[1]

    def opens(self, state: State, token: Token, *, wait: int = 0) -> Outcome:
        """Return what a request that comes with this token alone gets to see."""
        return self.probe(state, (token,), Read(), wait=wait)[1]

    def returned(self, state: State) -> Iterator[tuple[Plan, Outcome, Sent]]:
        """Yield the requests that have come to their end."""
        for plan, sent in zip(self.scenario.plans, state.sent, strict=True):
            if sent is not None and sent.outcome is not None:
                yield plan, sent.outcome, sent

    def acts(self) -> list[Act]:
        """Return everything that is planned."""
        return [act for plan in self.scenario.plans for act in plan.acts]

    def envelopes(self) -> list[Envelope]:
        """Return those of the sessions that were there at the beginning."""
        found = [self.script.kept(record).envelope for record in self.scenario.records.values()]
        return [envelope for envelope in found if envelope is not None]

    # One object for what is equal, so that states are quick to compare

    def _as_one(self, entries: list[tuple[str, int, Kept]]) -> Contents:
        ordered = tuple(sorted(entries, key=_key))
        contents = self._contents.get(ordered)
        if contents is None:
            contents = self._contents[ordered] = Contents(ordered)
        return contents

    def _jar(self, own: Token | None, planted: tuple[Token, ...], last: str) -> Jar:
        jar = self._jars.get((own, planted, last))
        if jar is None:
            jar = self._jars[own, planted, last] = Jar(own, planted, last)
        return jar

    def _as_sent(self, request: Request, node: Node | None, outcome: Outcome | None, at: int, fate: str) -> Sent:
        key = request, node, outcome, at, fate
        sent = self._sent.get(key)
        if sent is None:
            sent = self._sent[key] = Sent(*key)
        return sent

    def _node(self, name: str, acts: tuple[Act, ...], tokens: tuple[Token, ...]) -> Node:
        node = self._first.get((name, acts, tokens))
        if node is None:
            node = self._first[name, acts, tokens] = Node(Request(name, acts, tokens))
        return node


def _key(entry: tuple[str, int, Kept]) -> str:
    return entry[0]
