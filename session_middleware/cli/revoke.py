"""``revoke``: sessions, by their ids."""

import click

from session_middleware.cli.ends import NOT_DONE, end
from session_middleware.cli.target import the_manager
from session_middleware.cli.terminal import WITH_DASHES, confirm, json_option, print_json, yes_option


@click.command("revoke", context_settings=WITH_DASHES)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@yes_option
@json_option
def command(ids: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """End sessions, at once. Ends with 1 if one of them was not there."""
    manager = the_manager()
    confirm(f"End {len(ids)} session{'s' if len(ids) > 1 else ''}?", yes)
    ended = [id_ for id_ in ids if manager.revoke(id_)]
    absent = [id_ for id_ in ids if id_ not in ended]
    if as_json:
        print_json({"ended": ended, "absent": absent})
    else:
        click.echo(f"ended {len(ended)}")
    for id_ in absent:
        click.echo(f"there is no session {id_!r}", err=True)
    if absent:
        end(NOT_DONE)
