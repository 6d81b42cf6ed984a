"""Sign-ins with an alias, and the ends of all of them: who sends what, and what must hold."""

from session_middleware.notes import Alias
from session_middleware.rules import Opens
from tests.protocol.acts import ALIAS_ENDS, LOGIN_BEGINS, SID, Act, Invalidate, Login, Revoke, RevokeAlias, RevokeAll
from tests.protocol.beginnings import ADMIN, HERS, PLANTED, REVOKE_ALL
from tests.protocol.invariants import LOGIN, nobody_is_forgotten, revocation_and_sign_ins
from tests.protocol.scenarios import SCENARIOS, scenario
from tests.protocol.script import ALIAS, DELETE, UPDATE
from tests.protocol.world import Did, Plan, Scenario, State, World

__all__ = ["SCENARIOS"]  # with those of this module

ALIASED, REVOKE = Login(alias=SID), RevokeAlias()


def ends_and_sign_ins(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """A sign-in that began before a revoke_alias() began does not outlive it; one that began after the last one returned is
    untouched."""
    if not rest:
        return None
    living, order = state.contents.living(state.now), {event: number for number, event in enumerate(state.events)}
    ending = [plan for plan in world.scenario.plans if REVOKE in plan.acts and ("returned", plan.name) in order]
    last = max((order["returned", plan.name] for plan in ending), default=-1)
    others = any(isinstance(act, Invalidate | Revoke | RevokeAll) for act in world.acts())
    crashed = state.crashes and any(event == ALIAS_ENDS for event, _ in order)
    for plan, outcome, _ in world.returned(state):
        if ALIASED not in plan.acts or (LOGIN_BEGINS, plan.name) not in order:
            continue
        began, token = order[LOGIN_BEGINS, plan.name], outcome.signed_in
        for one in ending:
            is_before = token is not None and began < order[ALIAS_ENDS, one.name]
            if is_before and token and world.opens(state, token).opened is Opens.SESSION:
                return f"{plan.name} began before {one.name}, and outlives it"
        if began > last and not crashed and not others and (token is None or token.id not in living):
            return f"{plan.name} began after every revoke_alias had returned, and is not signed in"
    return None


def none_is_forgotten(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """Whatever crashed: a session that has the alias is named by it, and revoke_alias() at rest ends it."""
    if not rest:
        return None
    noted = next((kept.content for key, _, kept in state.contents.entries if key == ALIAS), None)
    ids = noted.ids if isinstance(noted, Alias) else ()
    after, _ = world.probe(state, (), REVOKE)
    for when, contents in (("names", state.contents), ("ends", after.contents)):
        for key, kept in contents.living(state.now).items():
            if kept.envelope is not None and ALIAS in kept.envelope.aliases and (when == "ends" or key not in ids):
                return f"{key} has an alias that neither names nor ends it ({when})"
    return None


def others_stay(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """What revoke_alias() ends has the alias at that moment."""
    if did is None or did.verb is None or REVOKE not in did.plan.acts or did.result is not True:
        return None
    before = None if did.before is None else did.before.envelope
    is_end = did.verb.do == DELETE or (
        did.verb.do == UPDATE and did.verb.kept is not None and did.verb.kept.envelope is None
    )
    if is_end and before is not None and ALIAS not in before.aliases:
        return f"{did.verb.key} does not have the alias, and is ended"
    return None


CHECKS = (ends_and_sign_ins, none_is_forgotten, others_stay, nobody_is_forgotten)


def plans(*requests: tuple[str, str, Act]) -> tuple[Plan, ...]:
    return tuple([Plan(name, browser, (act,)) for name, browser, act in requests])


@scenario
def alias_and_sign_ins() -> Scenario:
    """Its end while two sign-ins with it from one anonymous session are on their way."""
    both = (Plan("A", "browser", (ALIASED,)), Plan("B", "browser", (ALIASED,), twin="A"), Plan("R", "admin", (REVOKE,)))
    return Scenario(both, ADMIN, CHECKS, PLANTED, crashes=1, watched=True)


@scenario
def alias_and_a_crash() -> Scenario:
    """A process crashes somewhere; the browser signs in again."""
    again = (Plan("A", "browser", (ALIASED,)), Plan("B", "browser", (ALIASED,), after=("A",)), Plan("R", "admin", (REVOKE,)))
    return Scenario(again, ADMIN, CHECKS, PLANTED, crashes=1, watched=True)


@scenario
def two_ends_of_an_alias() -> Scenario:
    """Two at once, and a re-authentication that brings the alias."""
    two = plans(("A", "browser", ALIASED), ("R", "admin", REVOKE), ("Q", "admin", REVOKE))
    return Scenario(two, ADMIN, CHECKS, HERS, crashes=1, watched=True)


@scenario
def alias_and_revoke_all() -> Scenario:
    """Both ways to end a sign-in that is under way."""
    ways = plans(("A", "browser", ALIASED), ("R", "admin", REVOKE), ("Q", "admin", REVOKE_ALL))
    return Scenario(ways, ADMIN, (*CHECKS, revocation_and_sign_ins), PLANTED, crashes=1, watched=True)


@scenario
def alias_and_a_plain_sign_in() -> Scenario:
    """Of a double click one brings the alias and one does not."""
    clicks = plans(("A", "browser", ALIASED), ("B", "browser", LOGIN), ("R", "admin", REVOKE))
    return Scenario(clicks, ADMIN, CHECKS, PLANTED, watched=True)
