"""``show``: one session, and what is kept in it."""

from typing import Any

import click

from session_middleware.cli.ends import NOT_DONE, End
from session_middleware.cli.target import the_manager
from session_middleware.cli.terminal import WITH_DASHES, duration, json_option, print_json, say, table
from session_middleware.directory import SessionInfo
from session_middleware.manager import SessionManager

_LONGEST = 200


@click.command("show", context_settings=WITH_DASHES)
@click.argument("id")
@click.option("--values", is_flag=True, help="Print the values, too. They may be private.")
@json_option
def command(id: str, values: bool, as_json: bool) -> None:  # noqa: A002  # what click calls the argument
    """Show a session: whose it is, its times, and the names and sizes of its values."""
    manager = the_manager()
    info = manager.find(id)
    if info is None:
        raise End(f"there is no session {id!r}", NOT_DONE)
    data = {} if info.data is None else info.data
    sizes = {name: len(manager.codec.encode(value)) for name, value in data.items()}
    if as_json:
        told = info._asdict() | {"data": None if info.data is None else sizes}
        print_json(told | ({"values": {name: repr(value) for name, value in data.items()}} if values else {}))
        return
    table(("what", "found"), _facts(info, manager))
    say("")
    if info.data is None:
        say("its values are sealed: only its cookie opens them")
        return
    titles = ("name", "bytes", "value") if values else ("name", "bytes")
    table(titles, [(name, sizes[name], *([_shortened(data[name])] if values else [])) for name in sizes])


def _facts(info: SessionInfo, manager: SessionManager) -> list[tuple[str, object]]:
    now = manager.now()
    signed_in = [] if info.signed_in_at is None else [("signed in", f"{duration(now - info.signed_in_at)} ago")]
    device = [] if info.device is None else [("device", info.device)]
    return [
        ("id", info.id),
        ("user", "nobody" if info.user_id is None else info.user_id),
        ("created", f"{duration(now - info.created_at)} ago"),
        *signed_in,
        ("last used", f"{duration(now - info.last_seen_at)} ago"),
        ("ends in", duration(info.expires_at - now)),
        *device,
        ("cookie", "outlives the browser" if info.persistent else "ends with the browser"),
    ]


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
