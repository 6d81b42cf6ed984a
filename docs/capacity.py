"""Writes the tables on the pages of capacity and of a read cache, from what was measured. A test compares them."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from session_middleware.capacity import STORES, Site, measured, plan, rates, record_bytes
from session_middleware.lifetime import Lifetime

DOCS = Path(__file__).parent
PAGES = (DOCS / "explanation" / "capacity.md", DOCS / "explanation" / "read-cache.md")
MEASURED = DOCS.parent / "benchmarks"

NAMES = {"memory": "memory", "sqlite": "SQLite", "redis": "Redis", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}
NAMES["memcached"] = "memcached"

A_SITE = Site(users=2_000_000, requests=5000, session=1200)

_TABLE = re.compile(r"(?<=^% table: )(\w+)\n.*?(?=^% end of the table$)", re.MULTILINE | re.DOTALL)


def tables() -> dict[str, str]:
    """Return each table by its name on the page."""
    return {
        "constants": constants(),
        "verbs": verbs(),
        "sizes": sizes(),
        "rates": the_rates(),
        "plans": plans(A_SITE),
        "large": plans(Site(users=1e9, requests=1e6, session=1200), ("redis",)),
        "many": many(),
        "cache": cache(),
    }


def written(text: str) -> str:
    """Return the text of a page with its tables as they are now."""
    found = tables()
    return _TABLE.sub(lambda match: f"{match[1]}\n\n{found[match[1]]}\n\n", text)


def constants() -> str:
    stores, at = measured()["stores"], measured()["size"]
    rows = [
        (
            NAMES[name],
            _n(one["sessions"]),
            _n(one["bytes"]),
            _n(one["bytes"] - at),
            _n(one["user_bytes"]) if "user_bytes" in one else "no index",
        )
        for name, one in stores.items()
    ]
    return _table(("store", "sessions", f"a record of {at:,} bytes takes", "beside itself", "the index of users"), rows)


def verbs() -> str:
    stores, size = measured()["stores"], str(measured()["size"])
    rows = []
    for name in STORES[1:]:
        load, update = (stores[name]["verbs"][size][verb] for verb in ("load", "update"))
        ways = [_n(load["received"]), _n(update["sent"])] if name != "sqlite" else ["none", "none"]
        rows.append((NAMES[name], f"{load['cpu'] * 1e6:.0f}", f"{update['cpu'] * 1e6:.0f}", *ways, _n(update["disk"])))
    titles = ("store", "a read, µs", "a write, µs", "back for a read", "sent for a write", "to the log for a write")
    return _table(titles, rows)


def sizes() -> str:
    found, chosen = measured(), (200, 500, 1200, 4000, 16_000, 64_000)
    rows = [(NAMES[name], *(_n(record_bytes(name, size, found)) for size in chosen)) for name in STORES]
    return _table(("a record of", *(f"{size:,}" for size in chosen)), rows)


def the_rates() -> str:
    rows = []
    for title, lifetime in (("1 h idle, 24 h absolute", Lifetime.AAL2), ("30 days, no idle timeout", Lifetime.AAL1)):
        site = Site(users=A_SITE.users, requests=A_SITE.requests, session=A_SITE.session, lifetime=lifetime)
        one = rates(site)
        per_second = (one.new, one.loads, one.changes, one.touches, one.writes)
        rows.append((title, _n(one.active), *map(_n, per_second)))
    return _table(("lifetime", "in use", "begin", "reads", "changes", "notes of a use", "all writes"), rows)


def plans(site: Site, stores: Sequence[str] = STORES) -> str:
    rows = [
        (
            NAMES[one.store], f"{one.kept / 1e9:,.1f} GB of {one.where}", _n(one.servers), f"{one.processors:.2g}",
            f"{one.sent / 1e6:.3g} + {one.received / 1e6:.3g}", f"{one.logged / 1e6:.3g}",
        )
        for one in plan(site, measured())
        if one.store in stores
    ]  # fmt: skip
    return _table(("store", "takes", "servers", "processors busy", "network, MB/s there + back", "log, MB/s"), rows)


def many() -> str:
    found: Sequence[Mapping[str, Any]] = json.loads((MEASURED / "many.json").read_text())
    rows = []
    for one in found:
        planned = planned_for(one)
        of_hundred = [f"{time:.2g}" for time in one["milliseconds"]]
        taken = (f"{one['bytes'] / 1e9:.2f} GB", f"{planned / 1e9:.2f} GB", f"{planned / one['bytes'] - 1:+.1%}")
        rows.append((NAMES[one["store"]], _n(one["sessions"]), *taken, *of_hundred))
    titles = ("store", "sessions", "take", "planned", "off by", "a read in the middle, ms", "the slowest of 100, ms")
    return _table(titles, rows)


def planned_for(one: Mapping[str, Any]) -> float:
    """Return what the plan says of sessions that were really made (bytes)."""
    return float(one["sessions"]) * record_bytes(one["store"], one["size"], measured(), sessions=one["sessions"])


def cache() -> str:
    found = json.loads((MEASURED / "read_cache.json").read_text())
    rows = [
        (
            store, size, *(f"{one[name]:.0f}" for name in ("load", "unpacking", "version", "hit", "miss")),
            "never" if one["worth from"] is None else f"{one['worth from']:.0%}",
        )
        for store, by_size in found.items()
        for size, one in by_size.items()
    ]  # fmt: skip
    titles = ("store", "session", "the store's read", "unpacking", "the version alone", "a hit", "a miss", "hits it needs")
    return _table(titles, rows)


def _n(number: float) -> str:
    return f"{number:,.0f}"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(titles), *rows))


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(written(page.read_text()))
