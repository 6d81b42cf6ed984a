"""``sweep``: what has expired."""

from collections.abc import Callable
from typing import Final

import click

from session_middleware.cli.ending import end_many
from session_middleware.cli.terminal import json_option
from session_middleware.manager import SessionManager

_AT_ONCE: Final = 1000


@click.command("sweep")
@json_option
def command(as_json: bool) -> None:
    """Remove the sessions that have expired, from stores that do not do so by themselves.

    A site that is used does it bit by bit. Run it again after Ctrl-C: it goes on.
    """
    end_many(_sweep, as_json, what="removed")


def _sweep(manager: SessionManager, progress: Callable[[int], None]) -> None:
    removed = 0
    while number := manager.sweep(_AT_ONCE):
        removed += number
        progress(removed)
