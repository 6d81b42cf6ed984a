"""What commands print: tables and bars for a terminal, tab-separated lines for a pipe, JSON for programs."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from session_middleware.cli.ends import NOT_DONE, WRONG_USE, End, end
from session_middleware.clock import steady_clock
from session_middleware.state import checked_user_id

if TYPE_CHECKING:
    from rich.console import Console

VERSION: Final = 1
"""That of the JSON: it changes when something in it is called otherwise, or means something else, or is gone."""

WITH_DASHES: Final = {"ignore_unknown_options": True}
"""The settings of a command whose arguments may begin with a hyphen, as one id of 64 does."""

F = TypeVar("F", bound=Callable[..., Any])

_BAR: Final = 30
_SHOWN_EVERY: Final = 0.1
_LONGEST_TIME: Final = 1e10
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_COLOURS: Final = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}


def json_option(command: F) -> F:
    """Let a command take ``--json``, which it gets as *as_json*."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def yes_option(command: F) -> F:
    """Let a command take ``--yes``."""
    return click.option("--yes", is_flag=True, help="Do not ask.")(command)


def confirm(question: str, yes: bool) -> None:
    """Ask, unless *yes*; end the command if the answer is no, or if there is nobody to ask."""
    if yes:
        return
    if not _somebody_is_here():
        raise End("nobody is here to be asked: write --yes", WRONG_USE)
    if not click.confirm(question, err=True):
        click.echo("Nothing was done.", err=True)
        end(NOT_DONE)


def print_json(result: object, **more: object) -> None:
    """Print the envelope: the version, the name of the command, and its *result*."""
    name = click.get_current_context().info_name
    click.echo(json.dumps({"version": VERSION, "command": name, **more, "result": result}))


def console(*, on_stderr: bool = False) -> "Console":
    """Return where to print for people. There is no colour without a terminal, nor where ``NO_COLOR`` is set."""
    try:
        from rich.console import Console
    except ModuleNotFoundError as error:
        raise End("rich is not installed: pip install 'session-middleware[cli]'", WRONG_USE) from error
    return Console(stderr=on_stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str, kind: str = "") -> None:
    """Print a line for people; *kind* is a severity, or ``"ok"``."""
    console().print(text, style=_COLOURS.get(kind))


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; where there is no terminal, lines of cells with tabs between."""
    screen = console()
    if not screen.is_terminal:
        for row in _with_titles(titles, rows):
            click.echo("\t".join(safe(cell) for cell in row))
        return
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*titles, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        drawn.add_row(*(Text(safe(cell)) for cell in row))
    screen.print(drawn, soft_wrap=False)


def bars(title: str, counts: Sequence[tuple[str, int]]) -> None:
    """Print a bar for each of the *counts*."""
    screen, most = console(), max([count for _, count in counts] or [0])
    screen.print(title, style="bold")
    width = max(len(name) for name, _ in counts)
    for name, count in counts:
        length = round(_BAR * count / most) if most else 0
        bar = "█" * length or ("▏" if count else "")
        screen.print(f"  {safe(name):<{width}}  {bar:<{_BAR}}  {count:,}")


def safe(thing: object) -> str:
    """Return the text of *thing* with whatever a terminal might obey written as an escape."""
    text = "" if thing is None else str(thing)
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def duration(passed: float) -> str:
    """Return a time in its two largest units: ``3 d 4 h``, ``12 min``, ``5 s``."""
    rest, parts = max(0, int(passed)), list[str]()
    for unit, long in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if rest >= long or (unit == "s" and not parts):
            parts.append(f"{rest // long} {unit}")
        rest %= long
    return " ".join(parts[:2])


def size(number: float) -> str:
    """Return so many bytes in their unit: ``1.2 KB``."""
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.4g} TB"


def seconds(given: object) -> float:
    """Read a time such as ``90s``, ``15m``, ``1h`` or ``2d``, or a number of seconds."""
    text = str(given)
    unit = _UNITS.get(text[-1:], 0)
    try:
        found = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < _LONGEST_TIME:
        raise click.BadParameter(f"{text!r}: write a time such as 90s, 15m, 1h or 2d")
    return found


def user_id(given: object) -> str:
    """Read the id of a user, as ``login()`` takes it."""
    try:
        return checked_user_id(given)
    except ValueError as error:
        raise click.BadParameter(f"{safe(given)!r}: {error}") from error


class Count:
    """How many are done of a *total*, if that is known; shown on stderr while it grows, if that is a terminal."""

    def __init__(self, total: int | None, show: Callable[[int], None]) -> None:
        self.done = 0
        self.total = total
        self._show = show

    def add(self, number: int = 1) -> None:
        """So many more are done."""
        self.reach(self.done + number)

    def reach(self, done: int) -> None:
        """So many are done."""
        self.done = done
        self._show(done)


@contextmanager
def counting(what: str, total: int | None = None) -> Iterator[Count]:
    """Show how far a long command is, its rate and the time left."""
    screen = console(on_stderr=True)
    if not screen.is_terminal:
        yield Count(total, lambda done: None)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    rate, number = "{task.fields[rate]}", "{task.completed:,}"
    columns = (TextColumn(what), BarColumn(_BAR), TextColumn(number), TextColumn(rate), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        task, shown = progress.add_task(what, total=total, rate=""), 0.0

        def show(done: int) -> None:
            nonlocal shown
            if (now := steady_clock()) < shown + _SHOWN_EVERY:
                return
            shown = now
            speed = progress.tasks[0].speed
            progress.update(task, completed=done, rate="" if speed is None else f"{speed:,.0f}/s")

        yield Count(total, show)


def _somebody_is_here() -> bool:
    return sys.stdin.isatty()


def _with_titles(titles: Sequence[object], rows: Iterable[Sequence[object]]) -> Iterator[Sequence[object]]:
    rest = iter(rows)
    first = next(rest, None)  # what fails prints nothing
    yield titles
    if first is not None:
        yield first
    yield from rest
