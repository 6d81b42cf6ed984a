"""What has to hold: checks of a state, of the step that led to it, or of the moment when nothing runs any more.

Each returns what is wrong. What a token opens, what is listed and what is revoked they ask the real manager, with requests
of their own that run alone.
"""

from session_middleware.notes import MOST_PREVIOUS
from session_middleware.rules import OVERLAP, Opens
from session_middleware.tokens import Token
from tests.protocol.acts import (
    LOGIN_BEGINS,
    REVOCATION_BEGINS,
    Answer,
    Drop,
    Grow,
    Invalidate,
    Login,
    Nothing,
    Read,
    Regenerate,
    Revoke,
    RevokeAll,
    Set,
    Transact,
)
from tests.protocol.script import DELETE, UPDATE
from tests.protocol.turn import START, a_token
from tests.protocol.world import CRASHES, IS_NOT, Did, Scenario, State, World

T0 = a_token("S", "s0")
"""The token that the browser of a scenario has at its beginning, and that an attacker may know."""

LOGIN, PRIVATE = Login(), Set("private", "v")
"""The sign-in of alice, and what the victim writes when she has signed in."""

ENEMIES = ("attacker", "thief")


def no_change_is_lost(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """I1: a change that was stored is there at rest, unless another request wrote that key or the session ended; a change
    has nowhere to go only where somebody signs in or ends something."""
    if not rest:
        return None
    scenario, living = world.scenario, state.contents.living(state.now)
    some_end = any(isinstance(act, Login | Invalidate | Revoke | RevokeAll) for act in world.acts())
    for plan, outcome, _ in world.returned(state):
        if outcome.dropped and outcome.opened is not Opens.SNAPSHOT and not some_end and not scenario.jump:
            return f"{plan.name}: its changes were dropped although nobody signed in or ended the session"
        last = {(key, change[1]): change for key, change in outcome.stored}
        for (key, name), (kind, _, value) in last.items():
            if key not in living:
                if all_stay(scenario):
                    return f"{plan.name}: the session that it has written to is gone, and nobody has ended it"
                continue
            data = living[key].data
            others = [act for other in scenario.plans if other is not plan for act in other.acts]
            writers = [act for act in others if isinstance(act, Set | Grow | Drop | Transact) and act.key == name]
            if kind == "drop" and name in data and not any(isinstance(act, Set | Transact) for act in writers):
                return f"{plan.name}: deleted {name!r}, but it is there again"
            if kind in ("set", "grow") and not writers and data.get(name) not in (value, [value]):
                return f"{plan.name}: its {name}={value} is lost"
    return None


def nothing_counts_twice(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """Promise 4: as many transactions as are stored have counted."""
    if not rest:
        return None
    counted = [key for _, outcome, _ in world.returned(state) for key, change in outcome.stored if change[0] == "count"]
    for key, kept in state.contents.living(state.now).items():
        if kept.data.get("n", 0) != counted.count(key):
            return f"{key} has counted {kept.data.get('n', 0)}, after {counted.count(key)} transactions"
    return None


def cookies_are_good(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """Promise 20: whoever sends a cookie with the last thing that it stores sends one that opens the session."""
    if did is None or did.outcome is None or did.outcome.cookie is None:
        return None
    if any(isinstance(act, Login | Answer) for act in did.plan.acts):
        return None  # it stores something else afterwards
    if world.opens(state, did.outcome.cookie).opened is not Opens.SESSION:
        return f"{did.plan.name} sends {name_of(did.outcome.cookie)}, which opens nothing"
    return None


def all_stay(scenario: Scenario) -> bool:
    """Tell whether nothing in the scenario ends a session."""
    acts = [act for plan in scenario.plans for act in plan.acts]
    ends = any(isinstance(act, Invalidate | Revoke | RevokeAll) or (isinstance(act, Login) and act != LOGIN) for act in acts)
    short = any(record.expires_at < START + 1000 for record in scenario.records.values())
    return not (ends or short or any(jar.planted for jar in scenario.jars.values()))


def the_end_is_final(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """I2: once the request that has ended a session has returned, it is not there, nor is its data elsewhere."""
    living = state.contents.living(state.now)
    for plan, outcome, _ in world.returned(state):
        for key, era in outcome.ended:
            found = living.get(key)
            if found is not None and found.envelope is not None and era in (None, found.envelope.era):
                return f"{key} is alive although {plan.name} has ended it"
            record = world.scenario.records.get(key)
            held = {} if record is None else world.script.kept(record).data
            for other, kept in living.items():
                if other != key and any(kept.data.get(name) == value for name, value in held.items()):
                    return f"data of {key}, which {plan.name} has ended, lives on in {other}"
    return None


def nothing_comes_back(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """I2, for timeouts: a session whose time is over is never written again."""
    if did is None or did.verb is None or did.verb.do != UPDATE or did.result is not True:
        return None
    before = None if did.before is None else did.before.envelope
    is_session = did.verb.kept is not None and did.verb.kept.envelope is not None
    if before is not None and is_session and before.expires_at <= START + state.now:
        return f"{did.plan.name} has revived a session that had expired"
    return None


def revocation_and_sign_ins(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """I3: a sign-in that began before a revoke_all() began does not outlive it, unless it keeps that session; one that began
    after the last one returned is untouched."""
    if not rest:
        return None
    scenario, living = world.scenario, state.contents.living(state.now)
    order = {event: number for number, event in enumerate(state.events)}
    revocations = [plan for plan in scenario.plans if any(isinstance(act, RevokeAll) for act in plan.acts)]
    returned = [plan for plan in revocations if ("returned", plan.name) in order]
    keeping = [act.keeps_own for act in world.acts() if isinstance(act, RevokeAll)]
    cookies = [outcome.cookie for plan, outcome, _ in world.returned(state) if LOGIN in plan.acts]
    last = max((order["returned", plan.name] for plan in returned), default=-1)
    ends = any(isinstance(act, Invalidate | Revoke) for act in world.acts())
    crashed = state.crashes and any(event == REVOCATION_BEGINS for event, _ in order)
    for plan, outcome, _ in world.returned(state):
        began = order.get((LOGIN_BEGINS, plan.name))
        if began is None or LOGIN not in plan.acts:
            continue
        token = outcome.signed_in
        for revoking in returned:
            keeps = any(isinstance(act, RevokeAll) and act.keeps_own for act in revoking.acts)
            is_named = token is not None and began < order[REVOCATION_BEGINS, revoking.name] and not keeps
            if is_named and token and world.opens(state, token).opened is Opens.SESSION:
                return f"{plan.name} began before {revoking.name}, and outlives it"
        if keeping and all(keeping) and not any(cookies):
            return "every sign-in has kept its own session, and nobody is signed in"
        if began > last and not ends and not crashed and (token is None or token.id not in living):
            return f"{plan.name} began after every revoke_all had returned, and is not signed in"
    return None


def old_tokens_stay_out(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """I4: with a token from before a sign-in or re-authentication nobody reads or writes the session, not even with a
    request that was running (who was signed in may end it). 'private' is what the victim writes in it."""
    for plan, outcome, _ in world.returned(state):
        if plan.browser == "attacker" and outcome.cookie and PRIVATE.key in world.opens(state, outcome.cookie).views:
            return f"{plan.name}: the attacker has a secret of the victim's session"
        if plan.browser == "attacker" and PRIVATE.key in outcome.views:
            return f"{plan.name}: the attacker reads what the victim wrote after signing in"
    if did is None or did.plan.browser != "attacker" or did.verb is None or did.result is not True or did.before is None:
        return None
    before = did.before.envelope
    if did.verb.do not in (UPDATE, DELETE) or before is None or before.user_id != "alice":
        return None
    at_first = world.envelopes()
    may_end = did.verb.do == DELETE and any(envelope.user_id for envelope in at_first)
    if before.era > max((envelope.era for envelope in at_first), default=0) and not may_end:
        return f"{did.plan.name}: the attacker has changed what came with the sign-in"
    return None


def old_secrets_are_dead(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """I4, for regenerate(): once it has returned, no secret from before opens the session."""
    returned = list(world.returned(state))
    others = [(outcome.cookie, sent) for plan, outcome, sent in returned if Regenerate() not in plan.acts]
    renewals = [cookie for cookie, sent in others if cookie and cookie.id == T0.id and sent.request.tokens == (T0,)]
    for plan, outcome, _ in returned:
        if Regenerate() in plan.acts and outcome.opened is Opens.SESSION and not outcome.dropped:
            for token in (T0, *renewals):
                if world.opens(state, token).opened is Opens.SESSION:
                    return f"{name_of(token)} still opens {token.id} although {plan.name} has regenerated it"
    return None


def who_signed_in_is(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """I5: a browser whose last processed act was a sign-in is signed in, now and 100 s later; and can always sign in."""
    if not rest:
        return None
    acts = {plan.name: plan.acts for plan in world.scenario.plans}
    for plan, outcome, _ in world.returned(state):
        if LOGIN in plan.acts and outcome.cookie is None and all_stay(world.scenario):
            return f"{plan.name} has signed in, and its response carries no cookie"
    for browser, jar in zip(world.browsers, state.jars, strict=True):
        wanted = next((act.user_id for act in acts.get(jar.last, ()) if isinstance(act, Login)), None)
        for wait in (0, 100) if wanted and browser not in ENEMIES else ():
            user_id = world.probe(state, jar.tokens, Read(), wait=wait)[1].user_id
            if user_id != wanted and not _was_lost_with(world, state, jar.own):
                return f"{browser} has processed the response of {jar.last}, and {wait} s later is {user_id or 'signed out'}"
    return nobody_is_locked_out(world, state, rest, did)


def nobody_is_locked_out(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """I5, where a revoke_all() runs, too: whoever has what cookie can sign in."""
    if not rest:
        return None
    for browser, jar in zip(world.browsers, state.jars, strict=True):
        for wait in (0, 100) if browser not in ENEMIES else ():
            after, outcome = world.probe(state, jar.tokens, LOGIN, wait=wait)
            tokens = jar.planted if outcome.cookie is None else (*jar.planted, outcome.cookie)
            if world.probe(after, tokens, Read())[1].user_id != "alice":
                return f"{browser} is locked out of signing in"
    return None


def _was_lost_with(world: World, state: State, token: Token | None) -> bool:
    """Tell whether the browser has sent a regenerate() or a re-authentication with this very token, and got no answer: then
    the old secret must be dead, and no protocol can tell who has it from a thief."""
    for plan, sent in zip(world.scenario.plans, state.sent, strict=True):
        is_replaced = any(isinstance(act, Login | Regenerate) for act in plan.acts)
        if is_replaced and sent is not None and sent.fate in (IS_NOT, CRASHES) and token in sent.request.tokens:
            return True
    return False


def nobody_loses_the_session(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """I6: with renewal only, every request of an honest browser opens the session."""
    for plan, outcome, _ in world.returned(state):
        if plan.browser not in ENEMIES and outcome.opened is not Opens.SESSION:
            return f"{plan.name}: the honest browser has lost its session ({outcome.opened.value})"
    for browser, jar in zip(world.browsers, state.jars, strict=True) if rest else ():
        if world.probe(state, jar.tokens, Read(), wait=100)[1].opened is not Opens.SESSION:
            return f"{browser} has lost its session"
    return None


def theft_is_detected(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """I7: a secret never opens the session later than 30 s after a request with one issued later has returned; while the
    record remembers it, that is seen as a replay."""
    returned = sorted(
        [(outcome.at, number, plan, outcome, sent) for number, (plan, outcome, sent) in enumerate(world.returned(state))],
        key=lambda one: one[:2],
    )
    issued = {T0: 0} | {outcome.cookie: at + 1 for at, _, _, outcome, _ in returned if outcome.cookie}
    for _, _, plan, outcome, sent in returned:
        token = sent.request.tokens[0]
        for at, _, _, other, theirs in returned:
            if issued[theirs.request.tokens[0]] <= issued[token] or other.opened is not Opens.SESSION:
                continue
            late = outcome.began - at
            if late > OVERLAP and outcome.opened is Opens.SESSION:
                return f"{plan.name} opens the session with {name_of(token)}, {late} s after its successor was used"
            if late > OVERLAP and outcome.opened is not Opens.REPLAY and len(issued) <= MOST_PREVIOUS + 1:
                return f"{plan.name} comes with {name_of(token)} and nobody notices"
    return None


def nobody_is_forgotten(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """I9: whatever crashed, revoke_all() at rest ends every session of the user, and a sign-in after it is not hit."""
    if not rest:
        return None
    after, _ = world.probe(state, (), RevokeAll())
    living = after.contents.living(after.now)
    left = [key for key, kept in living.items() if kept.envelope is not None and kept.envelope.user_id == "alice"]
    if left:
        return f"revoke_all() leaves {left}"
    later, outcome = world.probe(after, (), LOGIN)
    if outcome.cookie is None or world.opens(later, outcome.cookie).user_id != "alice":
        return "revoke_all() hits a sign-in after it"
    return None


def every_session_is_somebodys(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """I9: unless a process crashed, every session that is alive is opened by a token that some response has carried."""
    if not rest or state.crashes:
        return None
    tokens = {token for jar in world.scenario.jars.values() for token in jar.tokens}
    tokens |= {outcome.cookie for _, outcome, _ in world.returned(state) if outcome.cookie is not None}
    held = {token.id for token in tokens if world.opens(state, token).opened is Opens.SESSION}
    lost = state.contents.living(state.now).keys() - held
    return f"nobody has a token of {sorted(lost)}" if lost else None


def reads_are_cheap(world: World, state: State, rest: bool, did: Did | None) -> str | None:
    """I10: an untouched request makes no verb; a read one load for each cookie, and a note only if there is something to
    note (tried again, with a load, for each other request that came between)."""
    is_noted = world.scenario.renewing or any(envelope.previous for envelope in world.envelopes())
    for plan, outcome, sent in world.returned(state):
        if all(isinstance(act, Nothing) for act in plan.acts):
            most = 0
        elif all(isinstance(act, Read) for act in plan.acts):
            most = len(sent.request.tokens) + (2 * len(world.scenario.plans) - 1 if is_noted else 0)
        else:
            continue
        if outcome.verbs > most:
            return f"{plan.name} makes {outcome.verbs} verbs"
    return None


ALWAYS = (the_end_is_final, nothing_comes_back, cookies_are_good, every_session_is_somebodys)
"""What is checked in every scenario."""


def name_of(token: Token) -> str:
    """Return the name of its secret."""
    return token.reveal()[12:].rstrip("_")
