"""``revoke``: sessions, by their ids."""

import click

from session_middleware.cli.ends import INTERRUPTED, NOT_DONE, end
from session_middleware.cli.target import the_manager
from session_middleware.cli.terminal import WITH_DASHES, confirm, json_option, print_json, yes_option
from session_middleware.tokens import well_formed_id


@click.command("revoke", context_settings=WITH_DASHES)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@yes_option
@json_option
def command(ids: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """End sessions, at once. Ends with 1 if one of them was not there."""
    for id_ in ids:
        if id_.startswith("-") and not well_formed_id(id_):
            raise click.UsageError(f"{id_} is neither an option nor the id of a session")
    manager = the_manager()
    confirm(f"End {len(ids)} session{'s' if len(ids) > 1 else ''}?", yes)
    ended, absent, interrupted = list[str](), list[str](), False
    try:
        for id_ in dict.fromkeys(ids):
            (ended if manager.revoke(id_) else absent).append(id_)
    except KeyboardInterrupt:
        interrupted = True
    if as_json:
        print_json({"ended": ended, "absent": absent}, interrupted=interrupted)
    else:
        click.echo(f"ended {len(ended)}")
    for id_ in absent:
        click.echo(f"there is no session {id_!r}", err=True)
    if interrupted:
        click.echo("interrupted: run it again to go on", err=True)
        end(INTERRUPTED)
    if absent:
        end(NOT_DONE)
