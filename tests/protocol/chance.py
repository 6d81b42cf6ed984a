"""Scenarios by chance: many requests of two browsers, an attacker and an admin."""

from random import Random

from tests.protocol.acts import Act, Drop, Grow, Login, Set, Transact
from tests.protocol.beginnings import BOTH, INVALIDATE, READ, REGENERATE, REVOKE_ALL, a_session
from tests.protocol.invariants import (
    LOGIN,
    PRIVATE,
    no_change_is_lost,
    nobody_is_forgotten,
    old_tokens_stay_out,
    revocation_and_sign_ins,
)
from tests.protocol.world import Jar, Plan, Scenario


def a_random_scenario(dice: Random) -> Scenario:
    """Return eight to fourteen requests of two browsers, an attacker with the token that one began with, and an admin."""
    plans: list[Plan] = []
    for number in range(dice.randint(8, 14)):
        key = f"k{number}"
        who = dice.choice(["browser"] * 4 + ["other"] * 2 + ["attacker"] * 2 + ["admin"])
        honest: list[tuple[Act, ...]] = [
            (READ,),
            (Set(key, "1"),),
            (Transact(key, "1"), Set(f"{key}b", "1")),
            (LOGIN, PRIVATE),
            (LOGIN, Set(key, "1"), PRIVATE),
            (Drop("cart"),),
            (Grow("cart", key),),
            (REGENERATE,),
        ]
        hostile: list[tuple[Act, ...]] = [
            (READ,),
            (Transact(key, "1"), Set(key, "2")),
            (INVALIDATE,),
            (Login("mallory"),),
            (REGENERATE,),
        ]
        acts = dice.choice(hostile if who == "attacker" else honest)
        if who == "admin":
            acts = (REVOKE_ALL,)
        elif who != "attacker" and dice.random() < 0.06:
            acts = (INVALIDATE,)
        earlier = [plan.name for plan in plans if plan.browser == who]
        plans.append(Plan(f"{who[0]}{number}", who, acts, after=tuple(earlier[-1:]) if dice.random() < 0.4 else ()))
    jars = {**BOTH, "other": Jar(), "admin": Jar()}
    checks = (no_change_is_lost, revocation_and_sign_ins, old_tokens_stay_out, nobody_is_forgotten)
    return Scenario(
        tuple(plans),
        jars,
        checks,
        a_session(data={"cart": ["1"]}),
        (9, 11, 31, 61),
        jumps=5,
        crashes=2,
        losses=2,
        renewing=dice.random() < 0.5,
        watched=True,
    )
