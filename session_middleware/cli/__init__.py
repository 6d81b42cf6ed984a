"""The command ``session-middleware``. Nothing else imports click and rich, and this module does not before it is run."""

import sys
from logging import ERROR, basicConfig


def main() -> None:
    """Run the command with the arguments of this process, and end it with an exit code of ``ends.py``."""
    try:
        from session_middleware.cli.group import sessions
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("session-middleware: click is not installed: pip install 'session-middleware[cli]'")
    basicConfig(level=ERROR, format="%(message)s")
    sessions(prog_name="session-middleware")
