"""Goes through all that can happen in a world, or through some of it by chance, and says what is wrong first."""

from collections import deque
from dataclasses import dataclass
from random import Random

from session_middleware.notes import Mark
from tests.protocol.invariants import ALWAYS, name_of
from tests.protocol.script import Kept, Result, Verb
from tests.protocol.turn import START, secrets_of
from tests.protocol.world import PASSES, Did, State, Step, World


@dataclass
class Found:
    """What a search has found; ``problem`` is empty if everything holds."""

    world: World
    states: int
    ends: list[State]
    """The states in which nothing runs any more."""
    came_from: dict[State, tuple[State, Step] | None]
    problem: str = ""
    schedule: tuple[Step, ...] = ()

    def way_to(self, state: State) -> tuple[Step, ...]:
        """Return the steps that lead to a state."""
        steps: list[Step] = []
        while (came := self.came_from[state]) is not None:
            state, step = came
            steps.append(step)
        return tuple(reversed(steps))


def explore(world: World, most: int | None = None) -> Found:
    """Go through every state once, breadth first, so the first way to a problem is a shortest one; stop after *most*."""
    start = world.beginning()
    came: dict[State, tuple[State, Step] | None] = {start: None}
    found = Found(world, 0, [], came)
    todo = deque([start])
    while todo and (most is None or len(came) < most):
        state, is_busy = todo.popleft(), False
        for step in world.steps(state):
            is_busy = is_busy or step.what != PASSES
            after, did = world.after(state, step)
            is_known = after in came
            if is_known and did is None:
                continue
            if not is_known:
                came[after] = state, step
                todo.append(after)
            found.problem = problem_in(world, after, False, did)
            if found.problem:
                found.schedule = (*found.way_to(state), step)
                return found
        if not is_busy:
            found.ends.append(state)
            found.problem = problem_in(world, state, True, None)
            if found.problem:
                found.schedule = found.way_to(state)
                return found
    found.states = len(came)
    return found


def walk(world: World, dice: Random) -> tuple[str, tuple[Step, ...]]:
    """Go one way by chance to its end; return what is wrong, and the way."""
    state = world.beginning()
    way: list[Step] = []
    while True:
        options = list(world.steps(state))
        if all(step.what == PASSES for step in options):
            return problem_in(world, state, True, None), tuple(way)
        step = dice.choice(options)
        way.append(step)
        state, did = world.after(state, step)
        problem = problem_in(world, state, False, did)
        if problem:
            return problem, tuple(way)


def problem_in(world: World, state: State, rest: bool, did: Did | None) -> str:
    """Return what is wrong in a state; nothing, if nothing is."""
    for check in (*world.scenario.checks, *ALWAYS):
        problem = check(world, state, rest, did)
        if problem:
            return f"{check.__name__}: {problem}"
    return ""


def told(world: World, schedule: tuple[Step, ...]) -> str:
    """Return what happens in a schedule, a line for each step."""
    state, lines = world.beginning(), []
    for step in schedule:
        before = state
        state, did = world.after(state, step)
        if step.what == PASSES:
            lines.append(f"{step.number} seconds pass")
            continue
        name = world.scenario.plans[step.number].name
        if did is None:
            lines.append(f"{name}: {step.what}")
            continue
        line = f"{name}: {'' if did.verb is None else _told_verb(did.verb, did.result)}"
        if (outcome := did.outcome) is not None:
            cookie = name_of(outcome.cookie) if outcome.cookie else "FORGET" if outcome.forget else None
            line += f" -> had opened {outcome.opened.value}, cookie {cookie}, {'dropped' if outcome.dropped else ''}"
        lines.append(f"t={before.now:<4}{line}")
    return "\n".join(lines)


def _told_verb(verb: Verb, result: Result) -> str:
    key = verb.key.rstrip("_")
    if isinstance(result, tuple) and result and isinstance(result[0], Kept):
        return f"{verb.do} {key}: {_told_record(verb.key, result[0])}"
    if verb.kept is not None:
        return f"{verb.do} {key}: {_told_record(verb.key, verb.kept) if result else 'REFUSED'}"
    return f"{verb.do} {key}: {result}"


def _told_record(key: str, kept: Kept) -> str:
    envelope = kept.envelope
    if envelope is None:
        content = kept.content
        return f"mark {[nonce.rstrip('_') for nonce, _ in content.entries]}" if isinstance(content, Mark) else "the end"
    names = secrets_of(key)
    current = "+".join(names.get(proof, "?") for proof in envelope.current)
    previous = "".join(
        f", {names.get(p.proof, '?')} {p.kind.name}{'' if p.at is None else f'@{p.at - START:g}'}" for p in envelope.previous
    )
    return f"<{envelope.user_id or 'anonymous'} era {envelope.era}; {current}{previous}; {kept.data}>"
