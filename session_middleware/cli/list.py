"""``list``: sessions, one a line."""

from collections.abc import Iterator
from itertools import islice

import click

from session_middleware.cli.scan import Seen, all_sessions, sessions_of
from session_middleware.cli.target import the_manager
from session_middleware.cli.terminal import duration, json_option, print_json, seconds, table, user_id
from session_middleware.manager import SessionManager


@click.command("list")
@click.option("--user", type=user_id, metavar="USER", help="Those of this user, the one last used first.")
@click.option(
    "--idle",
    type=seconds,
    metavar="TIME",
    default="0",
    help="Those that nobody has used for so long, such as 90s, 15m, 1h, 2d.",
)
@click.option("--limit", default=50, show_default=True, help="At most so many; 0 for all.")
@json_option
def command(user: str | None, idle: float, limit: int, as_json: bool) -> None:
    """List sessions that are alive: id, user, age, how long they are idle, when they end, size in bytes, device."""
    manager = the_manager()
    now = manager.now()
    found = _found(manager, user, idle)
    listed = islice(found, limit) if limit > 0 else found
    if as_json:
        print_json([_told(seen) for seen in listed])
    else:
        table(("id", "user", "age", "idle", "ends in", "bytes", "device"), (_row(seen, now) for seen in listed))


def _found(manager: SessionManager, user: str | None, idle: float) -> Iterator[Seen]:
    sessions = all_sessions(manager) if user is None else sessions_of(manager, user)
    found = (seen for seen in sessions if manager.now() - seen.envelope.last_seen_at >= idle)
    if user is None:
        return found
    return iter(sorted(found, key=lambda seen: seen.envelope.last_seen_at, reverse=True))


def _told(seen: Seen) -> dict[str, object]:
    envelope = seen.envelope
    return {
        "id": seen.id,
        "user": envelope.user_id,
        "created_at": envelope.created_at,
        "signed_in_at": None if envelope.user_id is None else envelope.signed_in_at,
        "last_seen_at": envelope.last_seen_at,
        "expires_at": envelope.expires_at,
        "persistent": envelope.persistent,
        "device": envelope.device,
        "bytes": seen.size,
    }


def _row(seen: Seen, now: float) -> tuple[object, ...]:
    envelope = seen.envelope
    times = (now - envelope.created_at, now - envelope.last_seen_at, envelope.expires_at - now)
    return (seen.id, envelope.user_id, *map(duration, times), seen.size, envelope.device)
