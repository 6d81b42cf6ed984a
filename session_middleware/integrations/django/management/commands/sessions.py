"""``manage.py sessions``: the command ``session-middleware``, for the sessions of the project."""

from argparse import REMAINDER
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from session_middleware.integrations.django.settings import manager


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """Hands over all arguments."""

    help = "See, list and end sessions."

    def run_from_argv(self, argv: Sequence[str]) -> None:
        """Run with what stands behind the name of the command."""
        _run(argv[2:], f"{Path(argv[0]).name} {argv[1]}")

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Print what there is."""
        _run(["--help"], f"{Path(prog_name).name} {subcommand}")

    def add_arguments(self, parser: Any) -> None:
        """For ``call_command("sessions", "list", "--json")``."""
        parser.add_argument("arguments", nargs=REMAINDER)  # options of ours, and ids that begin with a hyphen

    def handle(self, *arguments: str, **options: Any) -> None:
        """Run with the *arguments*."""
        _run(options["arguments"], "sessions")


def _run(arguments: Sequence[str], program: str) -> None:
    try:
        from session_middleware.cli.group import run
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        raise CommandError("click is not installed: pip install 'session-middleware[cli]'") from error
    run(arguments, program, manager)
