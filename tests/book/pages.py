"""Pages of the book, the blocks that are fenced on them, and how these are run.

A fenced block runs as soon as it is written: see `Page.run`. A block that cannot run like that has a comment before it::

    % tested by: test_name, test_other_name
    % not run: why

The first names the tests in this package that run the block and say what comes of it: functions with the parameter
`claimed`, which gets the blocks of all pages that name the test. The second is for what nothing here can run. Blocks in a
language other than Python need one of the two. What is no code is fenced as `text`.

A block that is a file says so by the caption: ```` ```{code-block} python ```` and `:caption: app.py`.
"""

import doctest
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"

FENCE = re.compile(
    r"^(?P<indent> *)(?P<marks>`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)^ *(?P=marks)`* *$", re.MULTILINE | re.DOTALL
)
CODE = re.compile(r"(?:\{code(?:-block)?\} *)?(?P<language>[\w+-]+)?")
OPTION = re.compile(r"^ *:([\w-]+): *(.*)\n", re.MULTILINE)
COMMENT = re.compile(r"^ *% (?P<what>tested by|not run): (?P<text>.+)\n\s*\Z", re.MULTILINE)

PLAIN = {"text"}
RUN = {"python", "pycon"}


@dataclass(frozen=True)
class Block:
    """One fenced block: *line* is the number of its first line on the page; *caption* is the name of the file that it is."""

    page: str
    line: int
    language: str
    text: str
    caption: str | None = None
    tested_by: tuple[str, ...] = ()
    not_run: str | None = None

    def __str__(self) -> str:
        return f"docs/{self.page}.md:{self.line} ({self.language})"

    @property
    def runs_by_itself(self) -> bool:
        """Whether `Page.run` runs it."""
        return self.language in RUN and not self.tested_by and self.not_run is None

    def write(self, directory: Path | str = ".") -> Path:
        """Write the file that it is, and return where it is."""
        assert self.caption, f"{self} has no caption"
        path = Path(directory, self.caption)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text)
        return path

    def execute(self, names: dict[str, Any]) -> None:
        """Run it as Python with *names*, which it may add to; of an interpreter's transcript, compare what it prints."""
        names.setdefault("__name__", "page")
        if self.language == "pycon":
            self._compare(names)
        else:
            exec(compile("\n" * (self.line - 1) + self.text, str(DOCS / f"{self.page}.md"), "exec"), names)

    def shell(self, **environ: str) -> str:
        """Run it with `sh -e` in the current directory, where `python` is this one; return what it prints."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        done = subprocess.run(
            ["sh", "-ec", self.text], env=os.environ | {"PATH": path} | environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{self} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def type(self, url: str = "") -> int:
        """Type what stands behind each `$`, compare what comes, and return how many commands there were.

        *url* is where the site is that is at `http://127.0.0.1:8000` on the page; `...` stands for anything.
        """
        steps = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", self.text, re.MULTILINE)
        for command, expected in steps:
            text = re.sub(r"^curl", "curl --silent --show-error", command.replace("http://127.0.0.1:8000", url))
            printed = replace(self, language="sh", text=text).shell(no_proxy="*").replace("\r", "")
            same = doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)
            assert same, f"{self}: {command} printed:\n{printed}"
        return len(steps)

    def _compare(self, names: dict[str, Any]) -> None:
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        said: list[str] = []
        test = doctest.DocTestParser().get_doctest(self.text, names, self.page, str(self), self.line)
        runner.run(test, out=said.append, clear_globs=False)
        names.update(test.globs)
        assert not runner.failures, "".join(said)


class Page:
    """A page by its name: its path under docs/ without the `.md`, such as `how-to/flask`; or any text."""

    def __init__(self, name: str, text: str | None = None) -> None:
        self.name = name
        self.text = (DOCS / f"{name}.md").read_text() if text is None else text

    @property
    def blocks(self) -> list[Block]:
        """All fenced blocks in their order, but those of directives such as `toctree`."""
        return list(_blocks(self.name, self.text))

    def in_language(self, language: str) -> list[Block]:
        return [block for block in self.blocks if block.language == language]

    def run(self, **names: Any) -> dict[str, Any]:
        """Run all blocks of Python that no comment takes out, in order, in the current directory.

        They share *names* and what they define; the return value is all of that. A block with a caption is written to its
        file, and runs alone.
        """
        for block in self.blocks:
            if not block.runs_by_itself:
                continue
            if block.caption:
                block.execute({"__name__": block.write().stem})
            else:
                block.execute(names)
        return names


@cache
def _blocks(name: str, text: str) -> tuple[Block, ...]:
    found = []
    for fence in FENCE.finditer(text):
        code = CODE.fullmatch(fence["info"].strip())
        if not code:
            continue
        indent, body, options = len(fence["indent"]), fence["body"], {}
        while "{" in fence["info"] and (option := OPTION.match(body)):
            options[option[1]] = option[2].strip()
            body = body[option.end() :]
        lines = [
            line[indent:] if line.strip() else "\n" for line in body.removeprefix("\n" if options else "").splitlines(True)
        ]
        comment = COMMENT.search(text, 0, fence.start())
        said = {comment["what"]: comment["text"].strip()} if comment else {}
        found.append(
            Block(
                page=name,
                line=text.count("\n", 0, fence.start("body")) + 1 + len(fence["body"].splitlines()) - len(lines),
                language=code["language"] or "",
                text="".join(lines),
                caption=options.get("caption"),
                tested_by=tuple(said["tested by"].split(", ")) if "tested by" in said else (),
                not_run=said.get("not run"),
            )
        )
    return tuple(found)


def every_page() -> list[str]:
    """The names of all pages, the first page, `index`, among them."""
    return sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))


def every_block() -> list[Block]:
    return [block for name in every_page() for block in Page(name).blocks]
