"""Ends many sessions: shows how far it is, and what was done when it is interrupted."""

from collections.abc import Callable

import click

from session_middleware.cli.ends import INTERRUPTED, end
from session_middleware.cli.target import the_manager
from session_middleware.cli.terminal import counting, print_json
from session_middleware.exceptions import StoreError
from session_middleware.manager import SessionManager


def end_many(
    act: Callable[[SessionManager, Callable[[int], None]], object],
    as_json: bool,
    *,
    total: Callable[[SessionManager], int | None] = lambda manager: None,
    what: str = "ended",
) -> None:
    """Let *act* end sessions, and say how many ended; after Ctrl-C, too.

    *act* calls what it is given with how many have ended so far. *total* returns how many there are, about.
    """
    ended, interrupted = 0, False
    manager = the_manager()
    try:
        with counting("ending", total(manager)) as count:

            def progress(so_far: int) -> None:
                nonlocal ended
                ended = so_far
                count.reach(ended)

            act(manager, progress)
    except KeyboardInterrupt:
        interrupted = True
    except StoreError:
        click.echo(f"{what} {ended:,}", err=True)
        raise
    if as_json:
        print_json({what: ended}, interrupted=interrupted)
    else:
        click.echo(f"{what} {ended:,}")
    if interrupted:
        click.echo("interrupted: run it again to go on", err=True)
        end(INTERRUPTED)
