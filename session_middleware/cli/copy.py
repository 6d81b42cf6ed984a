"""``copy``: what a store still holds, to the store that takes its place."""

import click

from session_middleware.cli.ends import INTERRUPTED, NOT_DONE, end
from session_middleware.cli.target import is_there
from session_middleware.cli.terminal import counting, json_option, print_json
from session_middleware.moving import copy
from session_middleware.stores import open_store


@click.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@json_option
def command(source: str, target: str, as_json: bool) -> None:
    """Hand over the sessions of the store FROM to the store TO. Both are URLs; --store and --app are not looked at.

    First let all processes of the site use "moving:TO FROM". Nothing newer is written over. Run it again after Ctrl-C: it
    goes on. If it says that some are left, they kept changing: run it again.
    """
    held = open_store(source)
    is_there(held)
    interrupted, left = False, 0
    with counting("copying") as count:
        try:
            left = copy(held, open_store(target), progress=lambda moved: count.add())
        except KeyboardInterrupt:
            interrupted = True
    if as_json:
        print_json({"copied": count.done, "left": None if interrupted else left}, interrupted=interrupted)
    else:
        click.echo(f"copied {count.done:,}" if interrupted else f"copied {count.done:,}, {left:,} left")
    if interrupted:
        click.echo("interrupted: run it again to go on", err=True)
        end(INTERRUPTED)
    if left:
        end(NOT_DONE)
