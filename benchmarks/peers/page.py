"""Makes the page ``explanation/compared`` and its charts out of the results; nothing of it is written by hand.

Only the observations are: they are kept in ``observations.md``.
"""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.charts import chart
from benchmarks.peers.contenders import BY_NAME, CONTENDERS, STORES
from benchmarks.peers.cookies import ROWS
from benchmarks.peers.cost import VERBS
from benchmarks.peers.faults import FULL
from benchmarks.peers.results import Row
from benchmarks.peers.verdicts import ORDER, Better, better, equal, find, middle, ours_for, shown, times_few

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "compared.json"
DOCS = HERE.parents[1] / "docs"
PAGE = DOCS / "explanation" / "compared.md"

NOT_MEASURED = "This run has not measured it."


def page(results: dict[str, Any]) -> str:
    """Return the text of the page."""
    parts = [
        "# Compared by measuring",
        _intro(results),
        "## Where another library is better\n\n" + _better(results),
        "## What was seen\n\n" + (HERE / "observations.md").read_text().strip(),
        "## Who takes part\n\n" + _who(results),
        *(f"## {title}\n\n{_section(results, group, text, make)}" for title, group, text, make in _SECTIONS),
        "## Measure it yourself\n\n% not run: it takes most of an hour\n```sh\n"
        "make compare          # 20 minutes on two processors\n"
        "make compare QUICK=1  # 3 minutes: small counts, and the libraries' defaults on two stores\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _intro(results: dict[str, Any]) -> str:
    machine, versions = results["machine"], results["versions"]
    loads = [figure for group in results.values() if isinstance(group, dict) for figure in group.get("load average", ())]
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    return (
        "One small application over several libraries, under the same load, faults and requests. This page is made from the "
        "results by `python -m benchmarks.peers.page`.\n\n"
        f"Measured on {results['date']}, on {machine['processors']} processors ({machine['processor']}), "
        f"{machine['memory'] / 2**30:.0f} GiB, {machine['system']}; {named}. The load average of the machine was between "
        f"{min(loads)} and {max(loads)}. Where it is above the number of processors, others were at work, and times are to "
        "be read with care.\n\n"
        "`=` after a figure: within noise of this project's under the same framework on the same store: less than 10 % "
        "apart, or between quartiles that reach into each other."
    )


def _better(results: dict[str, Any]) -> str:
    found: dict[tuple[str, str], list[Better]] = {}
    for one in better(results):
        found.setdefault((one.what, one.name), []).append(one)
    if not found:
        return "Nowhere in this run, beyond noise."
    reasons: dict[str, str] = json.loads((HERE / "explanations.json").read_text())
    rows = [
        (what, name, "; ".join(f"{one.store}: {one.theirs} ({one.ours})" for one in some), _reason(reasons, what, name))
        for (what, name), some in found.items()
    ]
    titles = ("in what", "library", "its figure (this project's)", "why")
    return "Beyond noise, and against this project under the same framework on the same store.\n\n" + table(titles, rows)


def _reason(reasons: dict[str, str], what: str, name: str) -> str:
    """Return why a library is better: of the texts that are kept, the one for the longest beginning of what it is. Such a
    beginning in place of a text stands for its own."""
    fitting = [begin for begin in reasons if f"{what}, {name}".startswith(begin) or f"{name}: {what}".startswith(begin)]
    text = reasons[max(fitting, key=len)] if fitting else "not explained yet"
    return reasons.get(text, text)


def _who(results: dict[str, Any]) -> str:
    rows = []
    for contender in CONTENDERS:
        settings = contender.tuned or ("this project's own" if contender.is_control else "defaults")
        stores = ", ".join(contender.stores) or "none"
        rows.append((contender.name, contender.framework, stores, settings, contender.why))
    return table(("", "under", "stores", "settings", "why no others"), rows)


def _section(results: dict[str, Any], group: str, text: str, make: Callable[[list[Row]], str]) -> str:
    rows = results.get(group, {}).get("rows", [])
    if not rows:
        return f"{text}\n\n{NOT_MEASURED}"
    rows = sorted(rows, key=lambda row: (ORDER[row["name"]], STORES.index(row["store"])))
    failed = [f"- {row['name']} on {row['store']}: {row['failed']}" for row in rows if "failed" in row]
    absent = sorted({contender.name for contender in CONTENDERS} - {row["name"] for row in rows}, key=ORDER.__getitem__)
    reasons = [f"- {name}: {BY_NAME[name].why or 'not part of this measurement'}" for name in absent]
    below = "\n\nNot in the tables:\n\n" + "\n".join(failed + reasons) if failed + reasons else ""
    return f"{text}\n\n{make([row for row in rows if 'failed' not in row])}{below}"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in (titles, ["---"] * len(titles), *rows))
    return "\n".join(f"| {row} |" for row in cells)


def _against(rows: list[Row], row: Row, key: str, figure: Any) -> str:
    """Return the figure, marked if it is the same as ours but for noise."""
    contender = BY_NAME[row["name"]]
    mine = find(rows, ours_for(row["name"]), row["store"]).get(key)
    mine = mine[0] if isinstance(mine, list) and isinstance(mine[0], list) else mine
    same = not contender.is_ours and not contender.is_control and mine is not None and equal(figure, mine)
    return shown(figure) + (" =" if same else "")


def _cost(rows: list[Row]) -> str:
    sizes = sorted({int(key.rpartition(" ")[2]) for row in rows for key in row if key[-1:].isdigit()})
    parts = []
    for size in sizes:
        verbs = [verb for verb in VERBS if any(f"{verb} {size}" in row for row in rows)]
        keys = [f"{verb} {size}" for verb in verbs]
        body = [(row["name"], row["store"], *_figures(rows, row, keys), _by_hand(rows, row, size)) for row in rows]
        parts.append(f"A session of {size} KB, µs:\n\n" + table(("", "store", *verbs, "read, × by hand"), body))
    return "\n\n".join([*_charts("cost"), *parts])


def _figures(rows: list[Row], row: Row, keys: list[str]) -> list[str]:
    return [_against(rows, row, key, row[key]) if key in row else "–" for key in keys]


def _by_hand(rows: list[Row], row: Row, size: int) -> str:
    hand = find(rows, "by hand", row["store"]).get(f"read {size}")
    mine = row.get(f"read {size}")
    return f"{middle(mine) / middle(hand):.1f}" if hand and mine and middle(hand) > 0 else "–"


def _charts(group: str) -> list[str]:
    return [
        "\n\n".join(
            f"```{{image}} ../compared-{name}-{scheme}.svg\n:class: only-{scheme}\n:alt: {title}\n```"
            for scheme in ("light", "dark")
        )
        for name, (of, title, _) in CHARTS.items()
        if of == group
    ]


def _calls(rows: list[Row]) -> str:
    def cell(found: list[float | None]) -> str:
        calls, sent, received = found
        return f"{calls:g}" if sent is None or received is None else f"{calls:g}; {sent:,.0f} + {received:,.0f}"

    body = [(row["name"], row["store"], *(cell(row[verb]) for verb in VERBS)) for row in rows]
    return table(("", "store", *VERBS), body)


def _instructions(rows: list[Row]) -> str:
    verbs = VERBS[:4]
    return table(("", "store", *verbs), [(row["name"], row["store"], *(f"{row[verb]:,}" for verb in verbs)) for row in rows])


def _load(rows: list[Row]) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row if key not in ("name", "store")))
    body = [
        (
            row["name"],
            *(
                f"{_against(rows, row, key, row[key][0])}; {row[key][1][1]:.1f}, {row[key][2][1]:.1f}" if key in row else "–"
                for key in keys
            ),
        )
        for row in rows
    ]
    return "\n\n".join([*_charts("load"), table(("", *(f"{key} % writes" for key in keys)), body)])


def _memory(rows: list[Row]) -> str:
    body = [(r["name"], r["store"], f"{r['began']:,}", f"{r['before'] / 1e6:.0f}", f"{r['after'] / 1e6:.0f}") for r in rows]
    return table(("", "store", "sessions began", "MB before", "MB after"), body)


def _updates(rows: list[Row]) -> str:
    body = []
    for row in rows:
        found = row["updates"]
        counts = [
            f"{found[key]['kept']:,} of {found['of'][key == 'increments']:,}" for key in ("at once", "5 ms", "increments")
        ]
        body.append((row["name"], row["store"], *counts))
    return table(("", "store", "writes, 0 ms", "writes, 5 ms", "increments"), body)


def _endings(rows: list[Row]) -> str:
    def cells(found: Row) -> list[str]:
        sign_out = ["yes" if found["back by a writer"] else "no", str(found["writer gets"])]
        sign_out += ["yes" if found["back by a reader"] else "no", str(found["reader gets"])]
        sign_in = [
            found["old token"],
            "yes" if found["id adopted"] else "no",
            str(found["running request gets"]),
            found["its write"],
        ]
        return [*sign_out, *sign_in, found["browser"]]

    titles = ["back by a writer", "which gets", "back by a reader", "which gets", "the old token", "a made-up id is adopted"]
    titles += ["beside a sign-in, a writer gets", "its write is", "the browser is then"]
    return table(("", "store", *titles), [(row["name"], row["store"], *cells(row["endings"])) for row in rows])


def _cookies(rows: list[Row]) -> str:
    rows = [row for row in rows if "cookies" in row]
    body = [(row["name"], *("read" if row["cookies"][title] else "not read" for title in ROWS)) for row in rows]
    sent = [(row["name"], *(_attributes(row["cookies"][scheme]) for scheme in ("http", "https"))) for row in rows]
    return table(("", *ROWS), body) + "\n\nWhat is sent by default:\n\n" + table(("", "on http", "on https"), sent)


def _attributes(found: dict[str, Any]) -> str:
    given = [name for name in ("HttpOnly", "Secure") if found[name]]
    given += [f"SameSite={found['SameSite']}"] if found["SameSite"] else []
    return f"`{found['name']}`: {', '.join(given) or 'no attribute of these'}"


def _faults(rows: list[Row]) -> str:
    parts = []
    for store in STORES[1:]:
        some = [row for row in rows if row["store"] == store]
        keys = list(dict.fromkeys(key for row in some for key in row if ", " in key))
        body = [(row["name"], *(_fault(row.get(key)) for key in keys)) for row in some]
        parts.append(f"{store} (full: {FULL[store]}):\n\n" + table(("", *keys), body))
    return "\n\n".join(parts)


def _fault(found: Any) -> str:
    if isinstance(found, list):
        status, seconds, _ = found
        return f"> {seconds:g} s" if status is None else f"{status}, {seconds:.1f} s"
    return "no" if found is None else f"{found:.1f} s"


def _growth(rows: list[Row]) -> str:
    body = []
    for row in rows:
        cleaned = (
            [f"{row['clean seconds']:,.1f} s; {row['left clean']:,}; {row['used clean'] / 1e6:,.0f} MB"]
            if "clean seconds" in row
            else ["none"]
        )
        few, many = row["few"][0] - row["few"][1], row["many"][0] - row["many"][1]
        read = [f"{few:,.0f}", f"{many:,.0f}", f"{times_few(row):.1f}"]
        after = [f"{row['full'] / 1e6:,.0f} MB", f"{row['left']:,}", f"{row['used'] / 1e6:,.0f} MB"]
        body.append((row["name"], row["store"], f"{row['count']:,}", *read, *after, *cleaned))
    titles = (
        "many are",
        "read at 1,000, µs",
        "at many, µs",
        "times",
        "size",
        "left of those that ended",
        "size then",
        "the library's own means",
    )
    return table(("", "store", *titles), body)


_TEXTS = {
    "updates": """Requests that write distinct keys of one session, 20 at once, with 0 and 5 ms in the handler; then requests
that add 1 to the same key, by the library's own means if it has any. What is kept:""",
    "endings": """A request has read the session and waits; another one signs out, or in; the first one goes on. "Back": the
cookie from before opens the session again.""",
    "faults": """The time to an answer, and how long after the fault a request finds its session again. Silent: the server is
stopped by SIGSTOP; of SQLite, another process holds the lock of the file. Refused: the server has ended, and is started
again after that.""",
    "cookies": "Whether the session is found in a `Cookie` header with others in it:",
    "cost": """Time of a request minus that of one on the same framework without sessions: the median of the rounds, in which
all take turns, each in a process of its own.""",
    "calls": "Round trips; bytes to the store + bytes back. Of SQLite: statements, those for transactions too.",
    "instructions": """Of a request, those without sessions taken away, as counted by Callgrind; a session of 1 KB.""",
    "load": """One process of gunicorn on Redis, four clients without pauses: requests a second; the median and the 99th
percentile in ms.""",
    "memory": "Of a process in which very many sessions have begun:",
    "growth": """Very many sessions of 1 KB. After they have ended, some new ones begin; then the library's own means is
called.""",
}

_SECTIONS: tuple[tuple[str, str, str, Callable[[list[Row]], str]], ...] = (
    ("Lost updates", "behaviour", _TEXTS["updates"], _updates),
    ("Sign-outs and sign-ins", "behaviour", _TEXTS["endings"], _endings),
    ("Faults", "faults", _TEXTS["faults"], _faults),
    ("Cookies", "behaviour", _TEXTS["cookies"], _cookies),
    ("Cost of a request", "cost", _TEXTS["cost"], _cost),
    ("Calls of the store", "calls", _TEXTS["calls"], _calls),
    ("Instructions", "instructions", _TEXTS["instructions"], _instructions),
    ("Under load", "load", _TEXTS["load"], _load),
    ("Memory of a process", "memory", _TEXTS["memory"], _memory),
    ("Growth", "growth", _TEXTS["growth"], _growth),
)

CHARTS = {
    "read": ("cost", "Read of 1 KB on Redis, µs above no session", "read 1"),
    "write": ("cost", "Write of 1 KB on Redis, µs above no session", "write 1"),
    "load": ("load", "Requests a second on Redis, gthread, 10 % writes", "gthread 10"),
}


def charts(results: dict[str, Any]) -> dict[str, str]:
    """Return the files of the charts, by name."""
    files = {}
    for name, (group, title, key) in CHARTS.items():
        rows = [row for row in results.get(group, {}).get("rows", []) if row["store"] == "Redis" and key in row]
        figures = [row[key][0] if group == "load" else row[key] for row in rows]
        bars = [
            (row["name"], middle(figure), BY_NAME[row["name"]].is_ours) for row, figure in zip(rows, figures, strict=True)
        ]
        for scheme in ("light", "dark"):
            files[f"compared-{name}-{scheme}.svg"] = chart(title, sorted(bars, key=lambda bar: ORDER[bar[0]]), scheme)
    return files


def main(source: str = "") -> None:
    """Make the page anew; of results elsewhere, a page beside them."""
    results, where = json.loads(Path(source or RESULTS).read_text()), Path(source).parent if source else DOCS
    made = Path(where, "compared.md") if source else PAGE
    made.write_text(page(results))
    for name, text in charts(results).items():
        (where / name).write_text(text)
    print(f"The page is {made.name}, beside what it is made of." if source else "The page is docs/explanation/compared.md.")


if __name__ == "__main__":
    main(*sys.argv[1:])
