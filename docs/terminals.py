"""Make the pictures of the command in ``docs/``: ``python -m docs.terminals``."""

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from tests.cli.running import Site, environ

HERE: Final = Path(__file__).parent
WIDTH: Final = 92

# What is drawn is to be drawn with what the reader has, and nothing is to be fetched for it.
_FONTS: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_MARK: Final = "<!-- Generated with Rich https://www.textualize.io -->"
_HOURS: Final = (0, 0, 0, 0.02, 0.02, 0.05, 0.3, 0.5, 0.9, 2, 3, 5, 8, 12, 20, 23)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        site = Site(f"sqlite:///{directory}/sessions.sqlite3")
        for number in range(400):
            user = f"user-{number % (7 + number % 90)}" if number % 3 else None
            cart = ["book"] * (number % 40)
            site.begin(user, ago=3600 * _HOURS[number % len(_HOURS)], data={"cart": cart})
        site.store.close()
        for command in ("stats", "list"):
            picture(command, site.url, *(["--limit", "8"] if command == "list" else []))
    picture("check", "memory:")


def picture(command: str, url: str, *arguments: str) -> None:
    """Draw what *command* prints in a terminal."""
    printed = subprocess.run(
        [sys.executable, "-m", "session_middleware", "--store", url, command, *arguments],
        env=environ(FORCE_COLOR="1", COLUMNS=str(WIDTH)),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    screen = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    screen.print(Text.from_ansi(printed))
    title = " ".join(("session-middleware", command, *arguments))
    drawn = screen.export_svg(title=title, unique_id=f"terminal-{command}")
    (HERE / f"terminal-{command}.svg").write_text(
        re.sub(r" +$", "", _FONTS.sub("", drawn).replace(_MARK, ""), flags=re.MULTILINE)
    )


if __name__ == "__main__":
    main()
