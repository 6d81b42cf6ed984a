"""Who sends what: the situations that the protocol was made for.

They are those of its specification; those of the limit of sessions per user stand in ``limits.py``. Where the package does a
thing in another way than the specification, so do these: invalidate() takes effect when the request returns, an ended
session is gone from the store instead of leaving a tombstone there, login() as another user ends the former session before
it begins the new one, and a read brings the time of the last use forward now and then.
"""

from collections.abc import Callable
from dataclasses import replace

from session_middleware import Record
from session_middleware.notes import Mark, pack_mark
from tests.protocol.acts import Act, Answer, Count, Drop, Grow, Login, Nothing, Persist, Revoke, RevokeAll, Set, Transact
from tests.protocol.beginnings import (
    ADMIN,
    BOTH,
    BROWSER,
    HERS,
    HIS,
    INVALIDATE,
    M0,
    PLANTED,
    READ,
    REGENERATE,
    REVOKE_ALL,
    a_session,
)
from tests.protocol.invariants import (
    LOGIN,
    PRIVATE,
    T0,
    no_change_is_lost,
    nobody_is_forgotten,
    nobody_is_locked_out,
    nobody_loses_the_session,
    nothing_counts_twice,
    old_secrets_are_dead,
    old_tokens_stay_out,
    reads_are_cheap,
    revocation_and_sign_ins,
    theft_is_detected,
    who_signed_in_is,
)
from tests.protocol.script import MARK
from tests.protocol.turn import START, a_token, an_id
from tests.protocol.world import Jar, Plan, Scenario

S = an_id("S")
CHANGE_OF_PASSWORD = (LOGIN, RevokeAll(keeps_own=True))

SCENARIOS: dict[str, Callable[[], Scenario]] = {}


def scenario(make: Callable[[], Scenario]) -> Callable[[], Scenario]:
    SCENARIOS[make.__name__] = make
    return make


def from_browser(*requests: tuple[Act, ...]) -> tuple[Plan, ...]:
    return tuple([Plan(f"b{number}", "browser", acts) for number, acts in enumerate(requests)])


@scenario
def parallel_writes() -> Scenario:
    """Three requests write different keys, one of them twice, on a session that expires for none."""
    plans = from_browser((Set("a", "1"),), (Transact("b", "1"), Set("c", "1")), (Set("d", "1"), Drop("cart")))
    return Scenario(plans, BROWSER, (no_change_is_lost,), PLANTED)


@scenario
def in_place_versus_delete() -> Scenario:
    """One request changes the cart in place, another deletes it, a third regenerates the session."""
    plans = from_browser((Grow("cart", "2"),), (Drop("cart"),), (REGENERATE, Set("r", "1")))
    return Scenario(plans, BROWSER, (no_change_is_lost,), a_session(data={"cart": ["1"]}, user_id="alice"))


@scenario
def reads() -> Scenario:
    """Untouched requests and parallel reads; the secret has not been seen yet."""
    plans = from_browser((Nothing(),), (READ,), (READ,), (READ,))
    return Scenario(plans, BROWSER, (reads_are_cheap,), HERS, counted=True)


@scenario
def first_use() -> Scenario:
    """Parallel reads with a secret that has not been seen yet."""
    plans = from_browser((READ,), (READ,), (READ,), (Set("a", "1"),))
    records = a_session(user_id="alice", renewed=(a_token("S", "r"),))
    return Scenario(plans, BROWSER, (reads_are_cheap, no_change_is_lost), records, counted=True)


@scenario
def double_click() -> Scenario:
    """Two sign-ins and two other requests at once; one response may be lost, or come late; then a pause."""
    plans = (
        Plan("A", "browser", (LOGIN, Set("a", "1"))),
        Plan("B", "browser", (LOGIN, Set("b", "1")), twin="A"),
        Plan("R", "browser", (READ,)),
        Plan("W", "browser", (Set("w", "1"),)),
    )
    return Scenario(plans, BROWSER, (no_change_is_lost, who_signed_in_is), PLANTED, (31,), 1, losses=1)


@scenario
def double_click_with_a_crash() -> Scenario:
    """Two sign-ins and a reader, of which one process may crash."""
    plans = (
        Plan("A", "browser", (LOGIN,)),
        Plan("B", "browser", (LOGIN,), twin="A"),
        Plan("R", "browser", (READ,)),
    )
    return Scenario(plans, BROWSER, (who_signed_in_is, nobody_is_forgotten), PLANTED, (9,), 1, crashes=1, losses=1)


@scenario
def double_click_on_reauthentication() -> Scenario:
    """Who is signed in signs in again, twice at once; a third request reads."""
    plans = (
        Plan("A", "browser", (LOGIN, Set("a", "1"))),
        Plan("B", "browser", (LOGIN, Set("b", "1")), twin="A"),
        Plan("R", "browser", (READ,), after=("A",)),
    )
    return Scenario(plans, BROWSER, (no_change_is_lost, who_signed_in_is), HERS, (9, 31), 1)


@scenario
def two_users_at_once() -> Scenario:
    """From one anonymous session alice signs in, and bob, in another tab; a third tab ends it."""
    plans = (
        Plan("A", "browser", (LOGIN,)),
        Plan("B", "browser", (Login("bob"),)),
        Plan("E", "browser", (INVALIDATE,)),
    )
    return Scenario(plans, BROWSER, (who_signed_in_is,), PLANTED, (9,), 1)


def planted(*requests: tuple[Act, ...], records: dict[str, Record] = PLANTED) -> Scenario:
    attack = tuple([Plan(f"X{number}", "attacker", acts) for number, acts in enumerate(requests)])
    victim = (
        Plan("V", "browser", (LOGIN, PRIVATE)),
        Plan("V2", "browser", (Set(PRIVATE.key, "2"),), after=("V",)),
    )
    return Scenario((*victim, *attack), BOTH, (old_tokens_stay_out, who_signed_in_is), records, (9, 11), 1)


@scenario
def planted_token_writes() -> Scenario:
    """The attacker knows the token from before the sign-in; he reads and writes, before, after and across it."""
    return planted((Transact("x", "1"), Set("y", "1")), (Set("z", "1"),))


@scenario
def planted_token_ends() -> Scenario:
    """He ends the session, or regenerates it."""
    return planted((INVALIDATE,), (REGENERATE, Drop("cart")))


@scenario
def planted_token_signs_in() -> Scenario:
    """He signs in as himself, or reads."""
    return planted((Login("mallory"), Set("x", "1")), (READ,))


@scenario
def planted_token_was_renewed() -> Scenario:
    """The session had its secret renewed before the victim signed in; the attacker knows the one from before that."""
    records = a_session(a_token("S", "s1"), renewed=(T0,))
    jars = {"browser": Jar(a_token("S", "s1")), "attacker": Jar(T0)}
    return replace(planted((Set("x", "1"),), (READ,), records=records), jars=jars)


@scenario
def stolen_before_reauthentication() -> Scenario:
    """The attacker knows the token of a signed-in session; then she signs in again."""
    return planted((Transact("x", "1"), Set("y", "1")), (REGENERATE,), records=HERS)


@scenario
def stolen_and_slow_logout() -> Scenario:
    """He ends that session; he may, until then, but not with a token that no longer opens it."""
    return replace(planted((INVALIDATE,), (Login("mallory"),), records=HERS), checks=(old_tokens_stay_out,))


@scenario
def rivals_of_an_attacker() -> Scenario:
    """The attacker sends the planted token beside his own, and signs in as himself: what does that end?"""
    plans = (
        Plan("V", "browser", (LOGIN, PRIVATE)),
        Plan("R", "browser", (READ,), after=("V",)),
        Plan("X", "attacker", (Login("mallory"),)),
    )
    jars = {"browser": Jar(T0), "attacker": Jar(M0, (T0,))}
    return Scenario(plans, jars, (old_tokens_stay_out, who_signed_in_is), PLANTED | HIS, (9, 11), 1)


@scenario
def planted_second_cookie() -> Scenario:
    """The victim's browser also sends a cookie of a session where mallory is signed in."""
    plans = (
        Plan("V", "browser", (LOGIN,)),
        Plan("R", "browser", (READ,)),
        Plan("L", "browser", (LOGIN,), after=("V",)),
    )
    jars = {"browser": Jar(T0, (M0,))}
    return Scenario(plans, jars, (who_signed_in_is, nobody_is_forgotten), PLANTED | HIS, (11,), 1, crashes=1)


@scenario
def two_signed_in_cookies() -> Scenario:
    """The same, but she was signed in, too: the two cookies are none, until she signs in again."""
    plans = (
        Plan("V", "browser", (LOGIN,)),
        Plan("R", "browser", (READ,), after=("V",)),
        Plan("W", "browser", (Set("w", "1"),)),
    )
    jars = {"browser": Jar(T0, (M0,))}
    return Scenario(plans, jars, (who_signed_in_is, nobody_is_forgotten), HERS | HIS, (11,), 1)


@scenario
def renewal_in_tabs() -> Scenario:
    """The secret is renewed while three requests run; one response may be lost."""
    plans = from_browser((READ,), (READ,), (Set("a", "1"),))
    checks = (nobody_loses_the_session, no_change_is_lost)
    return Scenario(plans, BROWSER, checks, HERS, (31, 61), 2, losses=1, renewing=True)


@scenario
def renewals_never_delivered() -> Scenario:
    """Five requests, a minute apart, and every response may be lost."""
    plans = tuple([Plan(f"b{n}", "browser", (READ,), after=(f"b{n - 1}",) if n else ()) for n in range(5)])
    return Scenario(plans, BROWSER, (nobody_loses_the_session,), HERS, (61,), 5, losses=5, renewing=True)


@scenario
def theft_with_renewal() -> Scenario:
    """Victim and thief use one session."""
    plans = tuple(
        [
            Plan(f"{who[0]}{n}", who, (READ,), after=(f"{who[0]}{n - 1}",) if n else ())
            for who, most in (("victim", 3), ("thief", 2))
            for n in range(most)
        ]
    )
    jars = {"victim": Jar(T0), "thief": Jar(T0)}
    return Scenario(plans, jars, (theft_is_detected,), HERS, (31, 61), 3, renewing=True, timed=True)


@scenario
def regenerate_and_renewal() -> Scenario:
    """A renewal, a regenerate() and a writer race; the thief has the old secret."""
    plans = (
        Plan("G", "browser", (REGENERATE, Set("g", "1"))),
        Plan("W", "browser", (Set("w", "1"),)),
        Plan("N", "browser", (READ,)),
        Plan("X", "attacker", (READ,)),
    )
    return Scenario(plans, BOTH, (old_secrets_are_dead, no_change_is_lost), HERS, (61,), 1, renewing=True)


@scenario
def regenerate_twice() -> Scenario:
    """Two requests regenerate at once."""
    plans = (
        Plan("G", "browser", (REGENERATE, Set("g", "1"))),
        Plan("H", "browser", (REGENERATE, Set("h", "1"))),
        Plan("W", "browser", (Set("w", "1"),)),
    )
    return Scenario(plans, BROWSER, (old_secrets_are_dead, no_change_is_lost), HERS, (9, 11), 1)


@scenario
def revoke_all_and_sign_ins() -> Scenario:
    """A revoke_all() while two sign-ins from one anonymous session are on their way."""
    plans = (
        Plan("A", "browser", (LOGIN,)),
        Plan("B", "browser", (LOGIN,), twin="A"),
        Plan("R", "admin", (REVOKE_ALL,)),
    )
    checks = (revocation_and_sign_ins, nobody_is_forgotten)
    return Scenario(plans, ADMIN, checks, PLANTED, crashes=1, watched=True)


@scenario
def two_revoke_alls() -> Scenario:
    """Two at once, and a re-authentication."""
    plans = (
        Plan("A", "browser", (LOGIN,)),
        Plan("R", "admin", (REVOKE_ALL,)),
        Plan("Q", "admin", (REVOKE_ALL,), twin="R"),
    )
    return Scenario(plans, ADMIN, (revocation_and_sign_ins,), HERS, watched=True)


@scenario
def change_of_password() -> Scenario:
    """One request signs in again and ends all other sessions, twice at once; a thief has another session of hers."""
    plans = (
        Plan("A", "browser", CHANGE_OF_PASSWORD),
        Plan("B", "browser", CHANGE_OF_PASSWORD, twin="A"),
        Plan("X", "thief", (Set("x", "1"),)),
    )
    stolen = a_token("Y", "y0")
    jars = {"browser": Jar(T0), "thief": Jar(stolen)}
    checks = (revocation_and_sign_ins, who_signed_in_is)
    return Scenario(plans, jars, checks, HERS | a_session(stolen, {}, user_id="alice"), watched=True)


@scenario
def password_reset() -> Scenario:
    """The same from an anonymous session, and an administrator ends all sessions meanwhile."""
    plans = (
        Plan("A", "browser", CHANGE_OF_PASSWORD),
        Plan("R", "admin", (REVOKE_ALL,)),
        Plan("C", "other", (LOGIN,)),
    )
    return Scenario(plans, {**ADMIN, "other": Jar()}, (revocation_and_sign_ins,), PLANTED, watched=True)


@scenario
def password_reset_without_a_session() -> Scenario:
    """Who has no session signs in and ends all others; a thief writes in one. (Two who do so at once end each other.)"""
    plans = (Plan("A", "browser", CHANGE_OF_PASSWORD), Plan("X", "thief", (Set("x", "1"),)))
    jars = {"browser": Jar(), "thief": Jar(T0)}
    return Scenario(plans, jars, (revocation_and_sign_ins, who_signed_in_is), HERS, watched=True)


@scenario
def mark_that_expires() -> Scenario:
    """The user's mark of an earlier revoke_all() expires while a sign-in and another revoke_all() run."""
    plans = (
        Plan("A", "browser", (LOGIN,)),
        Plan("R", "admin", (REVOKE_ALL,)),
        Plan("B", "other", (LOGIN,)),
    )
    mark = Mark(((an_id("n0"), None),), START + 50)
    records = {MARK: Record(pack_mark(mark), START + 50, None)}
    return Scenario(plans, {**ADMIN, "other": Jar()}, (revocation_and_sign_ins,), records, (61,), 1, watched=True)


@scenario
def logout_and_others() -> Scenario:
    """Logout while one request writes and another signs in again."""
    plans = from_browser((INVALIDATE,), (Set("a", "1"), Transact("b", "1")), (LOGIN,))
    return Scenario(plans, BROWSER, (no_change_is_lost,), HERS, (9,), 1)


@scenario
def anonymous_end_and_sign_in() -> Scenario:
    """An anonymous session is ended while a sign-in and a writer run."""
    plans = from_browser((INVALIDATE,), (Transact("b", "1"), Set("a", "1")), (LOGIN, Set("c", "1")))
    return Scenario(plans, BROWSER, (no_change_is_lost,), PLANTED, (9,), 1)


@scenario
def revoke_and_writers() -> Scenario:
    """revoke(id) while two requests write and one regenerates."""
    plans = (
        *from_browser((Set("a", "1"),), (Transact("b", "1"), Set("c", "1")), (REGENERATE,)),
        Plan("R", "admin", (Revoke(S),)),
    )
    return Scenario(plans, ADMIN, (no_change_is_lost,), HERS)


@scenario
def crash_at_sign_in() -> Scenario:
    """A process crashes somewhere; the browser signs in again, with what it has."""
    plans = (
        Plan("A", "browser", (LOGIN,)),
        Plan("B", "browser", (LOGIN,), after=("A",)),
        Plan("R", "admin", (REVOKE_ALL,)),
    )
    checks = (nobody_is_locked_out, nobody_is_forgotten, revocation_and_sign_ins)
    return Scenario(plans, ADMIN, checks, PLANTED, (11,), 1, crashes=2, losses=1, watched=True)


@scenario
def expiry_while_running() -> Scenario:
    """The idle timeout passes while two requests run; one may bring it forward."""
    plans = from_browser((Set("a", "1"),), (Transact("b", "1"), Set("c", "1")))
    return Scenario(plans, BROWSER, (no_change_is_lost,), a_session(idle=20.0), (9, 12), 3)


@scenario
def increments() -> Scenario:
    """Three requests count in transactions, one of them twice, and one signs in."""
    plans = from_browser((Count("n"), Count("n")), (Count("n"), Set("a", "1")), (LOGIN, Count("n")))
    return Scenario(plans, BROWSER, (nothing_counts_twice, no_change_is_lost), PLANTED)


@scenario
def late_changes() -> Scenario:
    """Two requests go on changing the session after their responses have started, while one signs in."""
    plans = from_browser(
        (Set("a", "1"), Answer(), Set("b", "1"), Transact("c", "1")),
        (READ, Answer(), Drop("cart")),
        (LOGIN, Set("d", "1"), Answer(), Set("e", "1")),
    )
    return Scenario(plans, BROWSER, (no_change_is_lost, who_signed_in_is), PLANTED, (9,), 1)


@scenario
def late_end() -> Scenario:
    """One request ends the session after its response has started; two others write, one of them late, too."""
    plans = from_browser(
        (Set("a", "1"), Answer(), INVALIDATE),
        (Answer(), Set("b", "1")),
        (Set("c", "1"), LOGIN, Answer(), Transact("d", "1")),
    )
    return Scenario(plans, BROWSER, (no_change_is_lost,), PLANTED, (9,), 1)


@scenario
def changed_lifetime() -> Scenario:
    """One request makes the cookie persistent, another regenerates the session, a third writes."""
    plans = from_browser((Persist(), Set("p", "1")), (REGENERATE,), (Set("w", "1"),))
    return Scenario(plans, BROWSER, (no_change_is_lost,), HERS, (9,), 1)


@scenario
def changed_lifetime_and_renewal() -> Scenario:
    """Two requests make the cookie persistent while the secret is renewed; their responses may come late."""
    plans = (*from_browser((Persist(),), (READ,), (READ,)), Plan("P", "browser", (Persist(), Set("p", "1"))))
    records = a_session(user_id="alice", age=59)
    return Scenario(plans, BROWSER, (nobody_loses_the_session,), records, (2, 31), 1, losses=1, renewing=True)


@scenario
def renewal_in_a_transaction() -> Scenario:
    """A transaction renews the secret, and another request regenerates the session before the first has returned."""
    plans = from_browser((Transact("a", "1"), Set("b", "1")), (REGENERATE,), (READ,))
    return Scenario(plans, BROWSER, (no_change_is_lost,), a_session(age=61), renewing=True)


@scenario
def renewal_and_sign_ins() -> Scenario:
    """The secret is renewed while two requests sign in; one response may be lost."""
    plans = (
        Plan("A", "browser", (LOGIN, Set("a", "1"))),
        Plan("B", "browser", (LOGIN, Set("b", "1")), twin="A"),
        Plan("R", "browser", (READ,)),
        Plan("W", "browser", (Set("w", "1"),), after=("R",)),
    )
    checks = (no_change_is_lost, who_signed_in_is)
    return Scenario(plans, BROWSER, checks, a_session(age=59), (2, 25), 1, losses=1, renewing=True)
