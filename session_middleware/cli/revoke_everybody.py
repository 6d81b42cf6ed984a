"""``revoke-everybody``: all sessions there are."""

import click

from session_middleware.cli.ending import end_many
from session_middleware.cli.scan import how_many
from session_middleware.cli.terminal import confirm, json_option, yes_option


@click.command("revoke-everybody")
@yes_option
@json_option
def command(yes: bool, as_json: bool) -> None:
    """End all sessions, those of nobody, too. Run it again after Ctrl-C: it goes on.

    Who is signing in just then stays signed in; so do it when what was wrong has been mended.
    """
    confirm("Sign everybody out?", yes)
    end_many(lambda manager, progress: manager.revoke_everybody(progress=progress), as_json, total=how_many)
