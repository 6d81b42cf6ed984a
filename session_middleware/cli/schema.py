"""``schema``: the statements that make the table."""

import click

from session_middleware.cli.target import the_manager
from session_middleware.cli.terminal import json_option, print_json
from session_middleware.exceptions import ConfigurationError


@click.command("schema")
@json_option
def command(as_json: bool) -> None:
    """Print the SQL that makes the table, for those whose database user may not. It connects to nothing."""
    store = the_manager().store
    ddl = getattr(getattr(store, "inner", store), "ddl", None)
    if ddl is None:
        raise ConfigurationError(f"{store} keeps no table that somebody has to make")
    if as_json:
        print_json(ddl())
    else:
        click.echo(ddl(), nl=False)
