"""Draws docs/architecture-light.svg and -dark.svg from the imports of the package; it needs Graphviz."""

import subprocess
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path

from tests.imports import MODULES, needed

DOCS = Path(__file__).parent

# What everything may import is not drawn.
_EVERYWHERE = ("exceptions", "frozen", "clock")

# What belongs to no kind of store, so that what stands below the stores may know it.
_STORES_BASE = ("stores.base", "stores.around", "stores.several")

# Ink, lines, boxes and those outside of the core.
_COLOURS = {"light": ("#1b1f24", "#8a94a0", "#eaf1fb", "#f4f4f4"), "dark": ("#e6e8eb", "#737d88", "#1d2b40", "#24272b")}


def box_of(module: str) -> str:
    """Return the box that a module is drawn in: a package is one, but for what a store is."""
    return "stores.base" if module in _STORES_BASE else module.split(".")[0]


def boxes() -> list[str]:
    return sorted({box_of(module) for module in MODULES if module} - set(_EVERYWHERE))


def edges() -> set[tuple[str, str]]:
    """Return who imports whom, without what follows from the others: pairs of boxes."""
    above: dict[str, set[str]] = {box: set() for box in boxes()}
    for module in MODULES:
        if (box := box_of(module)) in above:
            above[box] |= {box_of(name) for name in needed(module)} & above.keys() - {box}
    reached: dict[str, set[str]] = {}
    for box in TopologicalSorter(above).static_order():
        reached[box] = above[box].union(*(reached[name] for name in above[box]))
    return {(box, name) for box in above for name in above[box] if not any(name in reached[other] for other in above[box])}


def label_of(box: str) -> str:
    """Return what a box says: its name, and the modules of a package."""
    inside = {module for module in MODULES if module.startswith(f"{box}.") and module not in _STORES_BASE}
    names = sorted({module.split(".")[1] for module in inside})
    rows = [", ".join(names[start : start + 5]) for start in range(0, len(names), 5)]
    return "\\n".join([f"{box}/" if inside else box, *rows])


def source(found: set[tuple[str, str]], colours: tuple[str, str, str, str]) -> str:
    """Return the drawing as Graphviz reads it: what imports stands above what it imports."""
    ink, line, inside, outside = colours
    parts = [
        "digraph {",
        f'bgcolor="transparent"; rankdir=TB; nodesep=0.18; ranksep=0.32; node [shape=box, style="rounded,filled", '
        f'color="{line}", fontcolor="{ink}", fontname="Helvetica", fontsize=11, height=0.3, margin="0.08,0.03"];',
        f'edge [color="{line}", arrowsize=0.55];',
    ]
    for box in boxes():
        fill = outside if box.split(".")[0] in ("stores", "integrations", "observers", "testing") else inside
        parts.append(f'"{box}" [fillcolor="{fill}", label="{label_of(box)}"];')
    parts += [f'"{above}" -> "{below}";' for above, below in sorted(found)]
    return "\n".join([*parts, "}"])


def written(found: set[tuple[str, str]]) -> str:
    """Return the edges as they stand in a drawing, so that a test can tell whether it is stale."""
    return "<!-- " + "; ".join(f"{above} imports {below}" for above, below in sorted(found)) + " -->"


def draw(drawings: Mapping[str, tuple[str, str, str, str]] = _COLOURS) -> None:
    found = edges()
    for name, colours in drawings.items():
        svg = subprocess.run(
            ["dot", "-Tsvg"],  # wherever it is installed
            input=source(found, colours),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        (DOCS / f"architecture-{name}.svg").write_text(svg[svg.index("<svg") :] + written(found) + "\n")


if __name__ == "__main__":
    draw()
