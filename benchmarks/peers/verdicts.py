"""Which differences are more than noise, and where another library is better than this project under the same framework."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.peers.contenders import BY_NAME, CONTENDERS, OURS
from benchmarks.peers.results import Row

NOISE = 0.1
"""Two figures that differ by less than this part of the larger one are equal."""

_NO_MATTER = 0.5
"""Answers sooner than that (seconds), after a fault, are equal."""


class Better(NamedTuple):
    """Another library is better than this project: in what, by which figures."""

    what: str
    store: str
    name: str
    theirs: str
    ours: str


def ours_for(name: str) -> str:
    """Return this project's row under the framework of that contender."""
    framework = BY_NAME[name].framework
    return OURS if framework == "WSGI" else f"{OURS}, {framework}"


def equal(one: Any, other: Any) -> bool:
    """Tell whether two figures, or two medians between their quartiles, are the same but for noise."""
    less, more = sorted((one, other), key=middle)
    (_, top), (bottom, _) = _ends(less), _ends(more)
    return top >= bottom or middle(more) - middle(less) <= NOISE * abs(middle(more))


def middle(figure: Any) -> float:
    return float(figure[1] if isinstance(figure, list) else figure)


def _ends(figure: Any) -> tuple[float, float]:
    return (figure[0], figure[2]) if isinstance(figure, list) else (figure, figure)


def find(rows: list[Row], name: str, store: str) -> Row:
    """Return the row of a contender on a store; an empty one if it is not there."""
    return next((row for row in rows if (row["name"], row["store"]) == (name, store)), {})


def rivals(rows: list[Row]) -> Iterator[tuple[Row, Row]]:
    """Yield the row of each other library, and ours under its framework on its store."""
    for row in rows:
        contender = BY_NAME[row["name"]]
        mine = find(rows, ours_for(row["name"]), row["store"])
        if not contender.is_ours and not contender.is_control and mine:
            yield row, mine


def better(results: dict[str, Any]) -> list[Better]:
    """Return all in which another library is better, beyond noise."""
    return [found for group, judge in _JUDGES.items() for found in _judged(results, group, judge)]


Figure = tuple[str, str, Any, bool]
"""What it is, its unit, the figure, and whether less is better."""


def _judged(results: dict[str, Any], group: str, figures: Callable[[Row], Iterator[Figure]]) -> Iterator[Better]:
    rows = results.get(group, {}).get("rows", [])
    for row, mine in rivals(rows):
        of_mine = {what: figure for what, _, figure, _ in figures(mine)}
        for what, unit, figure, less in figures(row):
            other = of_mine.get(what)
            if figure is None or other is None or equal(figure, other):
                continue
            if (middle(figure) < middle(other)) == less:
                yield Better(what, row["store"], row["name"], shown(figure, unit), shown(other, unit))


def shown(figure: Any, unit: str = "") -> str:
    if unit == "?":
        return "yes" if figure else "no"
    number = middle(figure)
    text = f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:,.1f}"
    return f"{text} {unit}".strip()


def _cost(row: Row) -> Iterator[Figure]:
    for key, figure in row.items():
        if isinstance(figure, list):
            verb, _, size = key.rpartition(" ")
            yield f"time of {verb}, {size} KB", "µs", figure, True


def _calls(row: Row) -> Iterator[Figure]:
    for key, figure in row.items():
        if isinstance(figure, list):
            yield f"calls of the store, {key}", "", figure[0], True
            if figure[1] is not None:
                yield f"bytes to the store and back, {key}", "bytes", figure[1] + figure[2], True


def _load(row: Row) -> Iterator[Figure]:
    for key, figure in row.items():
        if isinstance(figure, list):
            worker, mix = key.split()
            yield f"requests a second, {worker}, {mix} % writes", "", figure[0], False


def _memory(row: Row) -> Iterator[Figure]:
    if "after" in row:
        yield "memory added by new sessions", "MB", max(0.0, (row["after"] - row["before"]) / 1e6), True


def _instructions(row: Row) -> Iterator[Figure]:
    for key, figure in row.items():
        if isinstance(figure, int):
            yield f"instructions, {key}", "", figure, True


def _faults(row: Row) -> Iterator[Figure]:
    for key, figure in row.items():
        if key.endswith(", after"):
            yield (
                f"right again after: {key.removesuffix(', after')}",
                "s",
                None if figure is None else max(figure, _NO_MATTER),
                True,
            )
        elif isinstance(figure, list) and figure[0] is not None:
            yield f"time to an answer, {key}", "s", max(figure[1], _NO_MATTER), True
            yield f"answers as usual, {key}", "?", int(figure[0] == 200), False


def _growth(row: Row) -> Iterator[Figure]:
    if "used" in row:
        yield "bytes of a session", "", row["full"] / (row["count"] + 1000), True
        yield "read with many sessions, times that with few", "", round(times_few(row), 2), True
        yield "left of those that have ended", "", max(0, row["left"]), True
        yield "bytes left when all have ended", "", row["used"], True


def times_few(row: Row) -> float:
    """Return how many times as long a read takes in the large store."""
    return float((row["many"][0] - row["many"][1]) / (row["few"][0] - row["few"][1]))


def _behaviour(row: Row) -> Iterator[Figure]:
    if "updates" in row:
        for key in ("at once", "5 ms", "increments"):
            yield f"kept, {key}", "", row["updates"][key]["kept"], False
        for key in ("back by a writer", "back by a reader", "id adopted"):
            yield key, "?", int(row["endings"][key]), True
        yield "answers as usual to requests beside a sign-out", "?", int(row["endings"]["writer gets"] == 200), False
        yield "the old token opens nothing after a sign-in", "?", int(row["endings"]["old token"] == "opens nothing"), False
    for key, found in row.get("cookies", {}).items():
        if isinstance(found, bool):
            yield f"cookies, {key}", "?", int(found), False


_JUDGES: dict[str, Callable[[Row], Iterator[Figure]]] = {
    "behaviour": _behaviour,
    "faults": _faults,
    "cost": _cost,
    "calls": _calls,
    "instructions": _instructions,
    "load": _load,
    "memory": _memory,
    "growth": _growth,
}

ORDER = {contender.name: number for number, contender in enumerate(CONTENDERS)}
