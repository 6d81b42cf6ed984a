"""The command ``session-middleware``. Nothing else imports click and rich, and this module does not before it is run."""

import sys
from logging import ERROR, basicConfig
from typing import Final

# As in ends.py, which needs click.
_INTERRUPTED: Final = 130


def main() -> None:
    """Run the command with the arguments of this process, and end it with an exit code of ``ends.py``."""
    try:
        from session_middleware.cli.group import sessions

        basicConfig(level=ERROR, format="%(message)s")
        sessions(prog_name="session-middleware")
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("session-middleware: click is not installed: pip install 'session-middleware[cli]'")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)  # before there was a command
