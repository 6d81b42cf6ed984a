"""The group of commands, and what all of them take. A command is a module in this package that is named here."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from session_middleware.cli.ends import as_exit_codes
from session_middleware.cli.target import META, Given

COMMANDS: Final = (
    "check",
    "stats",
    "list",
    "show",
    "revoke",
    "revoke-user",
    "revoke-everybody",
    "sweep",
    "copy",
    "schema",
    "plan",
    "watch",
)
"""In the order of the help. The module has underscores for hyphens, and an attribute ``command``."""


class Commands(click.Group):
    """Import the module of a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"session_middleware.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        with as_exit_codes():
            return super().invoke(ctx)


@click.group("sessions", cls=Commands)
@click.option("--store", metavar="URL", help="The store, such as redis://localhost:6379/0; or set SESSION_STORE.")
@click.option(
    "--app",
    metavar="MODULE:NAME",
    help="Take store, namespace and codec from an application: shop.wsgi:application, or shop:create_app().",
)
@click.option(
    "--namespace",
    metavar="TEXT",
    help="That of the sessions: the name of the cookie, unless the site says otherwise.  [default: session]",
)
@click.option("--codec", type=click.Choice(["msgpack", "json"]), help="How values are kept.  [default: msgpack]")
@click.pass_context
def sessions(ctx: click.Context, store: str | None, app: str | None, namespace: str | None, codec: str | None) -> None:
    """See, list and end the sessions of a site.

    Ids of sessions are no secrets. No command prints a token: the store knows none.
    """
    if store and app:
        raise click.UsageError("--store or --app: write one of the two")
    ctx.meta[META] = Given(store, app, namespace, codec, ctx.obj)


def run(arguments: Sequence[str], program: str, manager: object) -> None:
    """Run a command from the command line of a framework; *manager* returns the :class:`SessionManager` of the site."""
    sessions.main(list(arguments), prog_name=program, obj=manager)
