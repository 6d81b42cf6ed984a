"""Which mutants no test sees, and why: ``survivors.json``, and the table of the page, which says what the reasons mean."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import TypedDict

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "mutants.md"
KEPT = Path(__file__).with_name("survivors.json")

REASONS = ("same", "text", "speed", "slack")
"""What they mean is told by the page."""

_TABLE = re.compile(r"(?<=^% table: mutants\n).*?(?=^% end of the table$)", re.MULTILINE | re.DOTALL)


class Survivors(TypedDict):
    """Of one module. ``survivors``: what was changed, and why no test sees it, such as ``"same: it is never below 0"``.

    ``""`` if nobody has said so yet.
    """

    mutants: int
    survivors: dict[str, str]


def kept() -> dict[str, Survivors]:
    """Return what is known of each module."""
    found: dict[str, Survivors] = json.loads(KEPT.read_text())
    return found


def keep(found: dict[str, Survivors]) -> None:
    """Write what is known, to the file and to the page."""
    KEPT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(written(PAGE.read_text(), found))


def written(page: str, found: dict[str, Survivors]) -> str:
    """Return the text of the page with its table as it is now."""
    rows = [("module", "mutants", "killed", "", *REASONS), ("---",) * (4 + len(REASONS))]
    rows += [_row(f"`{module}.py`", one["mutants"], [*one["survivors"].values()]) for module, one in found.items()]
    all_of_them = [why for one in found.values() for why in one["survivors"].values()]
    rows.append(_row("all", sum(one["mutants"] for one in found.values()), all_of_them))
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return _TABLE.sub(lambda _: f"\n{table}\n\n", page)


def _row(name: str, mutants: int, survivors: list[str]) -> tuple[str, ...]:
    killed, counted = mutants - len(survivors), Counter(why.partition(":")[0] for why in survivors)
    why = [f"{counted[reason] or ''}" for reason in REASONS]
    return name, f"{mutants:,}", f"{killed:,}", f"{killed / mutants:.1%}", *why
