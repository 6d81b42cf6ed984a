"""How a command ends: its exit code, and what it says on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import click

from session_middleware.exceptions import ConfigurationError, SessionError, StoreError

DONE: Final = 0
NOT_DONE: Final = 1
"""Not, or not all of it, was done: a session was not there, the answer was no; or ``check`` has found an error."""
WRONG_USE: Final = 2
"""What was written cannot be understood, or this store cannot do it."""
STORE_FAILED: Final = 3
"""The store could not be asked."""
INTERRUPTED: Final = 130
"""By Ctrl-C; what was done until then was said."""


class End(click.ClickException):
    """Ends the command with *code*, and says *message* on stderr."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # which says that it is one of the class


@contextmanager
def as_exit_codes() -> Iterator[None]:
    """Make of what commands raise how a command ends."""
    try:
        yield
    except StoreError as error:
        raise End(str(error), STORE_FAILED) from error
    except ConfigurationError as error:
        raise End(str(error), WRONG_USE) from error
    except SessionError as error:
        raise End(str(error), NOT_DONE) from error
    except (KeyboardInterrupt, click.Abort):
        raise End("interrupted", INTERRUPTED) from None


def end(code: int) -> NoReturn:
    """End the command; what there is to say has been said."""
    raise click.exceptions.Exit(code)
