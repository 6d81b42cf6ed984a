"""A limit of the sessions that a user may have: who signs in at once, and how many are left."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from session_middleware import Record
from session_middleware.limit import AtLimit
from session_middleware.record import pack, unpack
from session_middleware.tokens import Token
from tests.protocol.acts import Invalidate, Revoke, RevokeAll
from tests.protocol.aliases import SCENARIOS as UNLIMITED
from tests.protocol.beginnings import BROWSER, PLANTED, REVOKE_ALL, a_session
from tests.protocol.invariants import LOGIN, T0, nobody_is_forgotten, who_signed_in_is
from tests.protocol.turn import START, a_token
from tests.protocol.world import Did, Jar, Plan, Scenario, State, World
from tests.sealing import opened


def hers(token: Token, seconds: int) -> dict[str, Record]:
    """Return the record of a session in which alice has signed in so long (seconds) before the beginning."""
    ((key, record),) = a_session(token, {}, user_id="alice").items()
    session = unpack(record.value)
    assert isinstance(session, tuple)
    envelope, values = opened(*session)
    return {key: Record(pack(envelope._replace(signed_in_at=START - seconds), values), record.expires_at, "alice")}


T1, T2 = a_token("Y", "y0"), a_token("Z", "z0")
ONE, TWO = hers(T0, 100), hers(T0, 100) | hers(T1, 50)


def as_many_as_may_be(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """Promise 23: at rest there are exactly N sessions if there were as many; of fewer, none is missing. Where sign-ins are
    refused, who was there before stays, even if there are more."""
    if not rest or world.scenario.limit is None:
        return None
    most, policy = world.scenario.limit
    before = _hers(world)
    alive = [
        kept for kept in state.contents.living(state.now).values() if kept.envelope and kept.envelope.user_id == "alice"
    ]
    upper = max(most, len(before)) if policy == "refuse" else most
    if len(alive) > upper and not state.crashes:
        return f"{len(alive)} sessions are alive"
    signing_in = {plan.browser for plan in world.scenario.plans if LOGIN in plan.acts}
    replaced = {token.id for browser in signing_in for token in world.scenario.jars[browser].tokens}
    made = len(before - replaced) + len(signing_in)
    ends = any(isinstance(act, Invalidate | Revoke | RevokeAll) for act in world.acts())
    if len(alive) < min(most, made) and not ends and not state.crashes:
        return f"only {len(alive)} sessions are left of {made}"
    return None


def who_was_there_stays(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """Where sign-ins are refused, nothing ends that was there, nor what has signed in again."""
    if not rest or world.scenario.limit is None or world.scenario.limit[1] != "refuse":
        return None
    living = state.contents.living(state.now)
    gone = [key for key in _hers(world) if key not in living]
    for plan, outcome, _ in world.returned(state):
        if plan.name == "again" and outcome.user_id and outcome.cookie and outcome.cookie.id not in living:
            gone.append(outcome.cookie.id)
    return f"{gone} has ended though it was there" if gone else None


def who_is_refused_is_told(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """login() raises if as many as may be are there all the time; never if there is room for all. It changes nothing."""
    if did is None or did.outcome is None or LOGIN not in did.plan.acts or world.scenario.limit is None:
        return None
    most, policy = world.scenario.limit
    own = {token.id for token in world.scenario.jars[did.plan.browser].tokens}
    others, refused, is_again = _hers(world) - own, did.outcome.refused, len(_hers(world) & own) == 1
    if policy == "refuse" and len(others) >= most and refused is is_again:
        return f"{did.plan.name} is {'' if refused else 'not '}refused"
    signing_in = {plan.browser for plan in world.scenario.plans if LOGIN in plan.acts and plan.browser != did.plan.browser}
    if refused and (policy != "refuse" or len(others | signing_in) < most):
        return f"{did.plan.name} is refused, and there is room"
    if refused and (did.outcome.cookie or did.outcome.stored or did.outcome.ended):
        return f"{did.plan.name} is refused, and has changed something"
    return None


def _hers(world: World) -> set[str]:
    return {key for key, record in world.scenario.records.items() if record.user_id}


CHECKS = (as_many_as_may_be, who_was_there_stays, who_is_refused_is_told, nobody_is_forgotten)
LIMITED: dict[str, Callable[[], Scenario]] = {}


def limited(name: str, scenario: Scenario, *limits: tuple[int, AtLimit]) -> None:
    """Note the scenario, once for each limit."""
    for most, policy in limits:
        checked = replace(scenario, checks=(*CHECKS, *scenario.checks), limit=(most, policy))
        LIMITED[f"limit_{name}_{policy}_{most}"] = partial(lambda scenario: scenario, checked)


def machines(count: int) -> tuple[Plan, ...]:
    """Return as many sign-ins, each on a machine of its own."""
    return tuple([Plan(f"L{n}", f"machine{n}", (LOGIN,), twin=f"L{n - 1}" if n else "") for n in range(count)])


JARS = {f"machine{n}": Jar() for n in range(3)}
TWO_JARS = {f"machine{n}": Jar() for n in range(2)}
THERE = {"there": Jar(T0, (T1,))}
CLICKS = (Plan("A", "browser", (LOGIN,)), Plan("B", "browser", (LOGIN,), twin="A"))
AGAIN = Plan("again", "browser", (LOGIN,))

three = Scenario(machines(3), JARS, ())
limited("three", three, (1, "end_oldest"), (2, "end_oldest"), (1, "refuse"), (2, "refuse"))
limited("three_and_one", replace(three, jars=JARS | THERE, records=ONE), (2, "end_oldest"), (2, "refuse"))
limited("lowered", Scenario(machines(2), TWO_JARS | THERE, (), TWO), (1, "end_oldest"), (1, "refuse"), (2, "refuse"))
limited("lowered_again", Scenario((AGAIN,), {**BROWSER, "there": Jar(T1)}, (), TWO), (1, "refuse"))
limited("room", Scenario(machines(2), TWO_JARS | THERE, (), ONE, (1,), 1), (3, "end_oldest"), (3, "refuse"))
limited(
    "again",
    Scenario((*machines(2), AGAIN), {**TWO_JARS, **BROWSER}, (), ONE, (1,), 1),
    (2, "end_oldest"),
    (2, "refuse"),
)
limited(
    "in_and_again",
    Scenario(
        (*machines(1), Plan("in", "browser", (LOGIN,)), AGAIN._replace(after=("in",))),
        {"machine0": Jar(), "browser": Jar()},
        (),
        {},
        (1,),
        1,
    ),
    (1, "refuse"),
)
limited(
    "double_click",
    Scenario((*CLICKS, *machines(1)), {**BROWSER, "machine0": Jar()}, (), PLANTED),
    (1, "end_oldest"),
    (1, "refuse"),
)
limited("double_click_alone", Scenario(CLICKS, BROWSER, (who_signed_in_is,), PLANTED), (1, "end_oldest"), (1, "refuse"))
limited(
    "rivals",
    Scenario((Plan("A", "browser", (LOGIN,)),), {"browser": Jar(T0, (T1,)), "there": Jar(T2)}, (), TWO | hers(T2, 200)),
    (2, "end_oldest"),
)
limited(
    "revoke_all",
    Scenario((*machines(2), Plan("R", "admin", (REVOKE_ALL,))), {**TWO_JARS, **THERE, "admin": Jar()}, (), ONE),
    (1, "end_oldest"),
)
limited(
    "crash",
    replace(three, plans=(*machines(2), Plan("L2", "machine2", (LOGIN,), after=("L0", "L1"))), crashes=1),
    (2, "refuse"),
)

SCENARIOS = UNLIMITED | LIMITED
