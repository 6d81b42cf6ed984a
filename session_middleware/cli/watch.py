"""``watch``: what happens to sessions, as it comes: by asking again and again, or from a log of the site's own."""

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click

from session_middleware.cli.scan import Seen, all_sessions, sessions_of
from session_middleware.cli.target import the_manager
from session_middleware.cli.terminal import VERSION, json_option, safe, seconds, user_id


class Change(NamedTuple):
    """Something has happened: at a time (epoch seconds), under the name of the event."""

    at: float
    event: str
    session_id: str | None
    user_id: str | None


@click.command("watch")
@click.option("--user", type=user_id, metavar="USER", help="Watch the sessions of this user alone.")
@click.option("--every", type=seconds, metavar="TIME", default="2s", show_default=True, help="Ask so often.")
@click.option(
    "--log",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Follow this file, in which the site writes its events as JSON, one a line; the store is not asked.",
)
@click.option("--from-start", is_flag=True, help="Begin with what the file holds already.")
@click.option("--times", type=int, help="Look so often, and end.")
@json_option
def command(user: str | None, every: float, log: Path | None, from_start: bool, times: int | None, as_json: bool) -> None:
    """Print what happens to sessions as it comes: one line an event, until Ctrl-C.

    Asking sees what is different from one time to the next, and no reasons; each time it reads every record, or those of
    one user. What the site writes itself has it all.
    """
    changes = _polled(user, every, times) if log is None else _followed(log, user, every, from_start, times)
    try:
        for change in changes:
            click.echo(_as_json(change) if as_json else _line(change))
    except KeyboardInterrupt:
        pass  # which is how this ends


def _polled(user: str | None, every: float, times: int | None) -> Iterator[Change]:
    manager = the_manager()
    before: dict[str, Seen] | None = None
    for _ in _turns(every, times):
        found = all_sessions(manager) if user is None else sessions_of(manager, user)
        now = {seen.id: seen for seen in found}
        if before is not None:
            yield from _differences(before, now, manager.now())
        before = now


def _differences(before: dict[str, Seen], now: dict[str, Seen], at: float) -> Iterator[Change]:
    for key, seen in now.items():
        envelope, former = seen.envelope, before.get(key)
        user = envelope.user_id
        if former is None:
            yield Change(at, "Created", key, user)
        was = None if former is None else former.envelope
        if user is not None and (was is None or was.signed_in_at != envelope.signed_in_at):
            yield Change(at, "SignedIn", key, user)
        elif was is not None and was.current != envelope.current:
            yield Change(at, "NewSecret", key, user)
    for key in before.keys() - now.keys():
        yield Change(at, "Ended", key, before[key].envelope.user_id)


def _followed(log: Path, user: str | None, every: float, from_start: bool, times: int | None) -> Iterator[Change]:
    file = log.open()
    try:
        if not from_start:
            file.seek(0, 2)
        rest = ""
        for _ in _turns(every, times):
            *lines, rest = (rest + file.read()).split("\n")
            for line in lines:
                change = _event(line)
                if change is not None and user in (None, change.user_id):
                    yield change
            if log.exists() and not os.path.samestat(
                log.stat(), os.fstat(file.fileno())
            ):  # it was put aside, and another one begun
                file.close()
                file, rest = log.open(), ""
    finally:
        file.close()


def _turns(every: float, times: int | None) -> Iterator[None]:
    number = 0
    while times is None or number < times:
        if number:
            time.sleep(every)
        yield
        number += 1


def _event(line: str) -> Change | None:
    """Return what a line of the log tells, whatever stands before its JSON; ``None`` if it tells of no event."""
    try:
        found: Any = json.loads(line[line.index("{") :])
        at = found["at"]
        moment = datetime.fromisoformat(at).timestamp() if isinstance(at, str) else float(at)
        return Change(moment, str(found["event"]), found.get("session_id"), found.get("user_id"))
    except (ValueError, KeyError, TypeError):
        return None


def _as_json(change: Change) -> str:
    return json.dumps({"version": VERSION, "command": "watch", "result": change._asdict()})


def _line(change: Change) -> str:
    at = datetime.fromtimestamp(change.at, UTC).isoformat(timespec="seconds")
    return "\t".join(safe(part) for part in (at, change.event, change.session_id, change.user_id))
