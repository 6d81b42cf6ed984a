"""``revoke-user``: all sessions of a user."""

import click

from session_middleware.cli.ending import end_many
from session_middleware.cli.target import the_manager
from session_middleware.cli.terminal import WITH_DASHES, confirm, json_option, safe, user_id, yes_option
from session_middleware.manager import SessionManager
from session_middleware.stores.base import UserIndexed


@click.command("revoke-user", context_settings=WITH_DASHES)
@click.argument("user", type=user_id)
@click.option("--keep", metavar="ID", help="But not this one.")
@yes_option
@json_option
def command(user: str, keep: str | None, yes: bool, as_json: bool) -> None:
    """End all sessions of a user, at once, and sign-ins that are under way. Run it again after Ctrl-C: it goes on."""
    if keep is not None:
        manager = the_manager()
        kept = manager.find(keep)
        if kept is None or kept.user_id not in manager.names_of(user):
            raise click.UsageError(f"--keep: {safe(user)!r} has no session {safe(keep)!r}, so all would be ended; see list")
    confirm(f"End all sessions of {safe(user)!r}{f' but {safe(keep)}' if keep else ''}?", yes)
    end_many(
        lambda manager, progress: manager.revoke_all(user, keep=keep, progress=progress),
        as_json,
        total=lambda manager: _number(manager, user),
    )


def _number(manager: SessionManager, user: str) -> int | None:
    return sum(1 for _ in manager.keys_of(user)) if isinstance(manager.store, UserIndexed) else None
