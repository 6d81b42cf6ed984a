"""The promises about parallel requests, lost responses, crashes and time, in every interleaving of small scenarios."""

import gc
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

import pytest

from session_middleware import MemoryStore, Record, Store
from session_middleware.moving import MovingStore
from session_middleware.stores.base import Version
from tests.backends.running import sizes
from tests.gates import full
from tests.protocol.chance import a_random_scenario
from tests.protocol.limits import SCENARIOS
from tests.protocol.mutants import MUTANTS
from tests.protocol.replay import Player, a_player
from tests.protocol.search import explore, told, walk
from tests.protocol.turn import without_chance
from tests.protocol.world import Scenario, Step, World
from tests.stores.moving.stores import BegunBefore, Mixed

# Millions of steps: measuring what they cover would take most of the time, and other tests cover as much.
pytestmark = pytest.mark.unmeasured

soak = pytest.mark.soak

every_scenario = pytest.mark.parametrize("make", SCENARIOS.values(), ids=SCENARIOS)


@pytest.fixture(autouse=True)
def _without_chance(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is random, and what the package has to say of it all stays unsaid. A million states are no garbage."""
    caplog.set_level(logging.CRITICAL, "session_middleware")
    gc.disable()
    with without_chance():
        yield
    gc.enable()


def holds(world: World) -> int:
    """Go through all that can happen in a world; return how many states there are."""
    found = explore(world)
    assert not found.problem, f"{found.problem}\n{told(world, found.schedule)}"
    assert found.ends
    return found.states


def holds_in_part(world: World, most: int, ways: int) -> None:
    """Go through the first *most* states of a world and, if there are more, by chance on so many ways to its ends."""
    found = explore(world, most)
    assert not found.problem, f"{found.problem}\n{told(world, found.schedule)}"
    for number in range(ways if found.states >= most else 0):
        problem, way = walk(world, Random(number))
        assert not problem, f"{number}: {problem}\n{told(world, way)}"


def assert_all_hold(world: World) -> None:
    """Look at every state; a search that sees fewer than a request makes by itself has not begun."""
    assert holds(world) > (10 if len(world.scenario.plans) > 1 else 5)


def larger(scenario: Scenario) -> Scenario:
    """Return the scenario with one more of each thing that may go wrong in it."""
    return replace(
        scenario,
        jumps=scenario.jumps + bool(scenario.jumps),
        crashes=scenario.crashes + bool(scenario.crashes),
        losses=scenario.losses + bool(scenario.losses),
    )


@soak
@every_scenario
def test_the_promises_hold_in_every_interleaving(make: Callable[[], Scenario]) -> None:
    """Promises 2, 3, 5, 12 and 16 to 22: whatever the order of store calls, responses, crashes and pauses."""
    assert_all_hold(World(make()))


@every_scenario
def test_the_promises_hold_in_many_interleavings(make: Callable[[], Scenario]) -> None:
    """The same, in the first two thousand states and on two hundred ways to the end."""
    holds_in_part(World(make()), 2_000, 200)


@soak
@every_scenario
def test_the_promises_hold_when_more_goes_wrong(make: Callable[[], Scenario]) -> None:
    """The same, with another pause, crash or lost response wherever there was one: in all states where there are not very
    many, else in so many and on thousands of ways to the end."""
    holds_in_part(World(larger(make())), *full((150_000, 2_000), (500_000, 5_000)))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=() if name in ("expiry_while_running", "mark_that_expires") else soak)
        for name, make in SCENARIOS.items()
        if make().jumps
    ],
)
def test_a_store_may_drop_what_has_expired(make: Callable[[], Scenario]) -> None:
    """The store and the manager see the end of a record at the same moment."""
    assert_all_hold(World(make(), punctual=True))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=() if name == "expiry_while_running" else soak)
        for name, make in SCENARIOS.items()
        if make().jumps and name != "renewal_in_tabs"
    ],
)
def test_a_request_may_stall_before_a_store_call(make: Callable[[], Scenario]) -> None:
    """A request reads the clock, and its store call comes a pause later. What expires meanwhile the store has to see.

    But for a renewal: if it is stored a minute after it was decided, the next may be due at once, and both be under way.
    """
    assert_all_hold(World(make(), punctual=True, stalling=True))


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search is worth what it finds: it finds each rule of the protocol broken."""
    mutant = MUTANTS[name]
    world = World(SCENARIOS[mutant.scenario]())
    monkeypatch.setattr(mutant.function, "__code__", mutant.code())
    assert explore(world).problem, mutant.meaning


@pytest.mark.parametrize("seed", [*range(3), *[pytest.param(seed, marks=soak) for seed in range(3, 50)]])
def test_the_promises_hold_where_much_happens_at_once(seed: int) -> None:
    """A hundred times eight to fourteen requests by chance, in an order by chance."""
    dice = Random(seed)
    for number in range(100):
        world = World(a_random_scenario(dice))
        problem, way = walk(world, dice)
        assert not problem, f"{number}: {problem}\n{told(world, way)}"


@sizes("count", 10, 50, served=20)
def test_real_stores_and_threads_do_as_the_search_says(store: Store, count: int) -> None:
    """Every call, every result, every outcome and what is left in the store: of small scenarios at each end, of the others
    in some orders by chance."""
    dice = Random(count)
    with a_player(store) as player:
        for make in SCENARIOS.values():
            world = World(make())
            play_all(player, world, [*ways_to_ends(world), *[walk(world, dice)[1] for _ in range(count)]])


def reading_both(new: Store, old: Store) -> Store:
    """Sessions are found in both, and nothing is handed over."""
    return MovingStore(new, old, hand_over=False)


@pytest.mark.parametrize("count", [1, pytest.param(5, marks=soak)])
@pytest.mark.parametrize("made", [BegunBefore, Mixed, reading_both])
def test_stores_that_move_do_as_the_search_says(made: Callable[[Store, Store], Store], count: int) -> None:
    """Promises 3 to 5: with all records in the old store at first, and with some handed over by processes of both kinds."""
    dice = Random(count)
    with a_player(made(MemoryStore(), MemoryStore())) as player:
        for make in SCENARIOS.values():
            world = World(make())
            play_all(player, world, ways_to_ends(world, 300) if count > 1 else [])
            play_all(player, world, [walk(world, dice)[1] for _ in range(count)])


def play_all(player: Player, world: World, ways: list[tuple[Step, ...]]) -> None:
    for way in ways:
        player.play(world, way)


def ways_to_ends(world: World, most: int = 1000) -> list[tuple[Step, ...]]:
    """Return the schedules that lead to each end; none if there are more than so many states."""
    found = explore(world, most)
    return [found.way_to(end) for end in found.ends] if found.states < most else []


@sizes("count", 20, 100)
def test_real_stores_and_threads_do_so_where_much_happens_at_once(store: Store, count: int) -> None:
    """The same of big scenarios by chance."""
    dice = Random(-count)
    with a_player(store) as player:
        for _ in range(count):
            world = World(a_random_scenario(dice))
            player.play(world, walk(world, dice)[1])


class _Forgetful(MemoryStore):
    """Half of the updates are lost."""

    _count = 0

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        self._count += 1
        return super().update(key, record, version=version) if self._count % 2 else True


class _Careless(MemoryStore):
    """It updates whatever is there."""

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        stored = self.load(key)
        return stored is not None and super().update(key, record, version=stored.version)


class _Liar(MemoryStore):
    """It says that it has not done what it has."""

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return super().update(key, record, version=version) and False


@pytest.mark.parametrize("kind", [_Forgetful, _Careless, _Liar])
def test_a_player_sees_a_store_that_does_otherwise(kind: type[MemoryStore]) -> None:
    """What compares is compared: a store that forgets, that overwrites, or that says it has done what it has not."""
    world = World(SCENARIOS["parallel_writes"]())
    ways = ways_to_ends(world, 5_000)
    with a_player(kind()) as player, pytest.raises(AssertionError):
        play_all(player, world, ways)
