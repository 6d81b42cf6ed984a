"""``plan``: how large a store must be, before there is one."""

import re
from collections.abc import Callable
from typing import Any, Final

import click

from session_middleware.capacity import STORES, Plan, Site, measured, plan, rates
from session_middleware.cli.terminal import duration, json_option, print_json, say, seconds, size
from session_middleware.lifetime import Lifetime

_NUMBER: Final = re.compile(r"(\d[\d_,]*(?:\.\d+)?) *([kKmMgGtT]?)(i?)[bB]?(?:/s)?")
_FACTORS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def number(text: object) -> float:
    """Read a number such as ``2000000``, ``2M``, ``5000/s``, ``1200B`` or ``24GiB``."""
    if isinstance(text, int | float):
        return text
    found = _NUMBER.fullmatch(str(text).strip())
    if found is None:
        raise click.BadParameter(f"{text!r}: write a number such as 2000000, 2M, 5000/s or 1200B")
    digits, unit, binary = found.groups()
    factor: int = (1024 if binary else 1000) ** _FACTORS[unit.lower()]
    return float(digits.replace(",", "").replace("_", "")) * factor


def _read(function: Callable[[object], float]) -> Callable[[Any, Any, Any], float | None]:
    return lambda context, parameter, value: None if value is None else function(value)


_NUMBERS: Final = _read(number)
_SECONDS: Final = _read(seconds)


@click.command("plan")
@click.option("--users", required=True, callback=_NUMBERS, help="Those who have a session at the same time.")
@click.option("--requests", required=True, callback=_NUMBERS, help="Those a second that touch it, at the busiest time.")
@click.option("--session", default="1200B", callback=_NUMBERS, show_default=True, help="What a record takes.")
@click.option("--sessions-per-user", default=1.0, show_default=True)
@click.option("--signed-in", default=1.0, show_default=True, help="Share of the sessions that have a user.")
@click.option("--writes", default=0.2, show_default=True, help="Share of the requests that change the session.")
@click.option("--pace", default="20s", callback=_SECONDS, show_default=True, help="Between two requests of one user.")
@click.option("--idle", default="1h", callback=_SECONDS, show_default=True, help="The idle timeout; 0 for none.")
@click.option("--absolute", default="24h", callback=_SECONDS, show_default=True, help="The absolute timeout.")
@click.option("--threads", type=int, help="Of all processes of the site.  [default: a tenth of the requests]")
@click.option("--server-memory", default="24GiB", callback=_NUMBERS, show_default=True, help="That of one server.")
@click.option("--only", type=click.Choice(STORES), help="Plan for this store alone.")
@json_option
def command(
    users: float, requests: float, session: float, idle: float, absolute: float, server_memory: float, only: str | None,
    as_json: bool, **more: Any,
) -> None:  # fmt: skip
    """Say what each store needs for a site: memory or disk, writes, connections, network, what to set, and where it ends.

    It asks no store, and needs none: it reckons with what was measured of a million sessions in each.
    """
    lifetime = Lifetime(idle=idle or None, absolute=absolute)
    site = Site(users=users, requests=requests, session=round(session), lifetime=lifetime, **more)
    plans = [one for one in plan(site, measured(), server_memory=server_memory) if only in (None, one.store)]
    asked = rates(site)
    if as_json:
        print_json({"rates": asked._asdict() | {"writes": asked.writes}, "plans": [one._asdict() for one in plans]})
        return
    say(
        f"{asked.sessions:,.0f} sessions alive, {asked.active:,.0f} of them in use; one lives for"
        f" {duration(asked.lives)}, and {asked.new:,.0f} begin each second"
    )
    for one in plans:
        _print(one)


def _print(one: Plan) -> None:
    say("")
    say(one.store + (f", {one.servers:,} servers" if one.servers > 1 else ""), "note")
    say(f"  {one.where:<12} {size(one.kept)}, {one.session:,} bytes a session")
    say(f"  {'asked':<12} {one.reads:,.0f} reads and {one.writes:,.0f} writes a second")
    if one.logged:
        say(f"  {'log on disk':<12} {size(one.logged)} a second")
    if one.connections:
        say(f"  {'network':<12} {size(one.sent)} a second to it, {size(one.received)} back")
        say(f"  {'connections':<12} {one.connections:,}")
    if one.processors:
        say(f"  {'processors':<12} {one.processors:.2g} kept busy")
    for line in one.settings:
        say(f"  {'set':<12} {line}")
    say(f"  {'ends':<12} {one.ends}")
