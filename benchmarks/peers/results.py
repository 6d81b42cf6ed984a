"""What measures hand on: rows of tables, and how they say that something did not work."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from benchmarks.peers.contenders import STORES, Contender
from benchmarks.peers.gang import Failed, Gang, Member, pairs

Row = dict[str, Any]
T = TypeVar("T")


class Scope(NamedTuple):
    """How much is measured: the whole in 20 minutes, a quick pass in 3, or less in a test."""

    rounds: int = 6
    calls: int = 40
    sizes: tuple[int, ...] = (1, 10, 64)
    writes: int = 200
    increments: int = 1000
    cap: float = 20.0
    load_rounds: int = 2
    load_seconds: float = 1.0
    many: int = 1_000_000
    began: int = 100_000
    instructions: int = 50
    only: tuple[str, ...] = ()
    stores: tuple[str, ...] = STORES

    def pairs(self, *stores: str) -> list[tuple[Contender, str]]:
        """Return every contender with each of its stores that is among *stores*, or all."""
        return pairs(self.only, [store for store in self.stores if not stores or store in stores])


QUICK = Scope(
    rounds=2, calls=8, sizes=(1,), writes=40, increments=40, cap=3.0, load_rounds=1, load_seconds=0.4, many=20_000,
    began=1000, instructions=0,
)  # fmt: skip


def of(contender: Contender, store: str) -> Row:
    return {"name": contender.name, "store": store}


def each(
    gang: Gang, chosen: Sequence[tuple[Contender, str]], measure: Callable[[Member], Row], at_once: int = 2
) -> list[Row]:
    """Measure one after the other what does not depend on time, two at once; a row of what fails says why."""
    members = [gang.member(*one) for one in chosen]

    def one(member: Member) -> Row:
        row = of(member.contender, member.store)
        try:
            with member:
                return row | measure(member)
        except Failed as failed:
            return row | {"failed": str(failed)}

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, members))
