"""An end is told once in every order of the store's calls, by whoever has removed the session, and why."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations_with_replacement
from typing import Any

import pytest

from session_middleware import MemoryStore, Session, SessionManager
from session_middleware.events import Ended
from session_middleware.stores.base import Sweepable, Swept
from session_middleware.testing import FakeClock
from session_middleware.testing.orders import SteppedStore, every_order, some_orders
from session_middleware.tokens import Token
from tests.observers.notes import USER, Notes, begin, request

# Every order of two requests: measuring what they cover would take most of the time.
pytestmark = pytest.mark.unmeasured


class SweptStore(SteppedStore):
    def sweep(self, limit: int) -> Sequence[Swept]:
        store = self._store
        assert isinstance(store, Sweepable)
        return self.step("sweep", "", partial(store.sweep, limit))


class World:
    """A site in memory with one session, in the last second of it: its time is over, and the store still has it."""

    def __init__(self, clock: FakeClock, user_id: str | None, *, is_over: bool) -> None:
        clock.now = float(int(clock.now))
        self.clock = clock
        self.store, self.notes = SweptStore(MemoryStore()), Notes()
        self.manager = SessionManager(self.store, observer=self.notes)
        self.token = begin(self.manager, user_id)
        lifetime = partial(Session.set_lifetime, idle=100.5, absolute=1000)
        request(self.manager, lifetime, self.token)
        if is_over:
            clock.advance(100.7)


Act = Callable[[World], Any]


def by_cookie(act: Callable[[Session], Any], world: World) -> None:
    request(world.manager, act, world.token)


def write(session: Session) -> None:
    session["b"] = 2


def time_passes(world: World) -> None:
    world.clock.advance(1000)
    world.manager.sweep()


ENDING: dict[str, tuple[Act, str]] = {
    "invalidate": (partial(by_cookie, Session.invalidate), "signed_out"),
    "login of another": (partial(by_cookie, partial(Session.login, user_id="carol")), "replaced"),
    "revoke": (lambda world: world.manager.revoke(world.token.id), "revoked"),
    "revoke_all": (lambda world: world.manager.revoke_all(USER), "signed_out_everywhere"),
    "revoke_everybody": (lambda world: world.manager.revoke_everybody(), "revoked_everybody"),
    "sweep": (time_passes, "expired"),
}


def told(world: World, token: Token) -> list[Ended]:
    return [event for event in world.notes.of(Ended) if event.session_id == token.id]


def worlds(clock: FakeClock, acts: Sequence[Act], user_id: str | None, *, is_over: bool = False) -> Any:
    def make() -> Any:
        world = World(clock, user_id, is_over=is_over)
        return world.store, [partial(act, world) for act in acts], world

    return make


@pytest.mark.parametrize(("one", "other"), list(combinations_with_replacement(ENDING, 2)))
def test_two_that_end_a_session_tell_of_it_once(one: str, other: str, clock: FakeClock) -> None:
    """It has the reason of one of them, and the user; which of them, the store has decided."""
    acts, reasons = [ENDING[one][0], ENDING[other][0]], {ENDING[one][1], ENDING[other][1]}
    seen, orders = set(), 0
    make = worlds(clock, acts, USER)
    many = "revoke_everybody" in (one, other)
    for world, outcome in some_orders(make, 60) if many else every_order(make):
        assert outcome.errors == [None, None], (outcome.schedule, outcome.errors)
        (event,) = told(world, world.token)
        assert (event.user_id, event.reason in {*reasons, "expired_idle"}) == (USER, True), outcome.schedule
        seen.add(event.reason)
        orders += 1
        assert len({event.session_id for event in world.notes.of(Ended)}) == len(world.notes.ends)
    assert orders > 1
    assert seen >= reasons - {"expired"}


@pytest.mark.parametrize("name", ENDING)
@pytest.mark.parametrize("user_id", [USER, None])
def test_who_writes_meanwhile_changes_nothing_of_that(name: str, user_id: str | None, clock: FakeClock) -> None:
    """An anonymous session is no user's, so that whoever signs a user out leaves it alone."""
    end, reason = ENDING[name]
    for world, outcome in every_order(worlds(clock, [end, partial(by_cookie, write)], user_id)):
        assert outcome.errors == [None, None], (outcome.schedule, outcome.errors)
        if user_id is None and name in ("revoke_all", "login of another"):
            assert told(world, world.token) == []
        elif name == "sweep":
            # The session was used after its time, as far as this request could see, or was removed.
            assert len(told(world, world.token)) <= 1
        else:
            assert [event.reason for event in told(world, world.token)] == [reason], outcome.schedule


def test_a_sign_in_ends_the_other_session_of_the_browser_once(clock: FakeClock) -> None:
    """Another request signs it out at the same time."""

    def make() -> Any:
        world = World(clock, USER, is_over=False)
        rival = begin(world.manager)
        acts = [
            lambda: request(world.manager, partial(Session.login, user_id="bob"), world.token, rival),
            lambda: request(world.manager, Session.invalidate, rival),
        ]
        return world.store, acts, (world, rival)

    seen = set()
    for (world, rival), outcome in every_order(make):
        assert outcome.errors == [None, None]
        (event,) = told(world, rival)
        seen.add(event.reason)
    assert seen == {"signed_out", "replaced"}


@pytest.mark.parametrize("name", ["read", *ENDING])
def test_of_a_session_whose_time_is_over_the_end_is_told_once(name: str, clock: FakeClock) -> None:
    """Whoever finds it removes it, or a sweep does."""
    end = partial(by_cookie, lambda session: session.get("a")) if name == "read" else ENDING[name][0]
    for world, outcome in every_order(worlds(clock, [end, partial(by_cookie, write)], USER, is_over=True)):
        assert outcome.errors == [None, None], (outcome.schedule, outcome.errors)
        assert len(told(world, world.token)) == 1, outcome.schedule
