"""Ends many sessions: shows how far it is, and what was done when it is interrupted."""

from collections.abc import Callable

import click

from session_middleware.cli.ends import INTERRUPTED, end
from session_middleware.cli.target import the_manager
from session_middleware.cli.terminal import Count, counting, print_json
from session_middleware.events import Ended, Event
from session_middleware.exceptions import StoreError
from session_middleware.manager import SessionManager


class _Counting:
    """An observer that counts the sessions that end."""

    def __init__(self) -> None:
        self.ended = 0
        self.count: Count | None = None

    def on(self, event: Event) -> None:
        if isinstance(event, Ended):
            self.ended += 1
            if self.count is not None:
                self.count.add()


def end_many(
    act: Callable[[SessionManager], object],
    as_json: bool,
    *,
    total: Callable[[SessionManager], int | None] = lambda manager: None,
    what: str = "ended",
) -> None:
    """Let *act* end sessions, and say how many ended; after Ctrl-C, too. *total* returns how many there are, about."""
    counter, interrupted = _Counting(), False
    manager = the_manager(counter)
    try:
        with counting("ending", total(manager)) as counter.count:
            act(manager)
    except KeyboardInterrupt:
        interrupted = True
    except StoreError:
        click.echo(f"{what} {counter.ended:,}", err=True)
        raise
    if as_json:
        print_json({what: counter.ended}, interrupted=interrupted)
    else:
        click.echo(f"{what} {counter.ended:,}")
    if interrupted:
        click.echo("interrupted: run it again to go on", err=True)
        end(INTERRUPTED)
