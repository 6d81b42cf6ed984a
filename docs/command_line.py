"""Writes docs/reference/command-line.md from the commands themselves: ``python -m docs.command_line``."""

import re
from pathlib import Path
from typing import Final

import click

from session_middleware.cli import ends
from session_middleware.cli.group import COMMANDS, sessions

PAGE: Final = Path(__file__).parent / "reference" / "command-line.md"
_PROGRAM: Final = "session-middleware"
_CODES: Final = (
    (ends.DONE, "it is done"),
    (
        ends.NOT_DONE,
        "not all of it is done: a session was not there, or the answer was no; `check` has found an error; or what was"
        " printed was not read to its end, as by `head`",
    ),
    (ends.WRONG_USE, "what was written cannot be understood, or this store cannot do it"),
    (ends.STORE_FAILED, "the store could not be asked"),
    (ends.INTERRUPTED, "it was interrupted by Ctrl-C, at a question too; what was done until then is said"),
)
_HEAD: Final = """\
# The command

`session-middleware`, or `python -m session_middleware`, of the extra `cli`; `flask sessions` and `manage.py sessions` are
the same commands. How they are used is under [](../how-to/command-line.md). This page is made from them by
`python -m docs.command_line`.
"""


def written() -> str:
    """Return the page as it is to be."""
    context = click.Context(sessions, info_name=_PROGRAM)
    parts = [_HEAD, _entry(sessions, context)]
    for name in COMMANDS:
        command = sessions.get_command(context, name)
        assert command is not None, name
        parts.append(f"## {name}\n\n{_entry(command, click.Context(command, context, name))}")
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in _CODES)
    parts.append(f"## Exit codes\n\n| code | means |\n|---|---|\n{rows}")
    return "\n".join(parts)


def _entry(command: click.Command, context: click.Context) -> str:
    usage = command.get_usage(context).removeprefix("Usage: ")
    help_ = "\n".join(line.strip() for line in (command.help or "").splitlines())
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    options = "".join(
        f"`{names}`\n: {text.replace('  [', ' [')}\n\n"
        for names, text in filter(None, records)
        if text and "--help" not in names
    )
    page = f"```text\n{' '.join(usage.split())}\n```\n\n{help_}\n\n{options}"
    return re.sub(r"\n{3,}", "\n\n", page).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(written())
