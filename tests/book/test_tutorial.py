"""The tutorials are followed step by step, with the real gunicorn and curl."""

import doctest
import re
import shlex
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.backends.process import executable
from tests.book.pages import Block, Page
from tests.servers.gunicorn import Gunicorn


@pytest.mark.parametrize("name", ["tutorial/flask", "tutorial/wsgi"])
def test_the_tutorial_is_followed(name: str, claimed: list[Block], tmp_path: Path) -> None:
    """Whoever saves its files, serves them and types its commands sees what it says that they will see."""
    executable("curl", "curl")
    server: Gunicorn | None = None
    commands = 0
    with ExitStack() as stack:
        for block in Page(name).blocks:
            if block.caption:
                block.write()
            elif block in claimed and block.language == "sh":
                program, *arguments, application = shlex.split(block.text)
                assert program == "gunicorn"
                stack.close()
                server = stack.enter_context(Gunicorn(application, *arguments, cwd=tmp_path))
            elif block in claimed:
                assert server is not None
                commands += typed(block, server.url)
        assert server is not None
        assert "Traceback" not in server.log()

    assert commands == 12


def typed(transcript: Block, url: str) -> int:
    """Type what stands behind each `$`, compare what comes, and return how many commands there were."""
    steps = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", transcript.text, re.MULTILINE)
    for command, expected in steps:
        text = re.sub(r"^curl", "curl --silent --show-error", command.replace("http://127.0.0.1:8000", url))
        printed = Block(transcript.page, transcript.line, "sh", text).shell(no_proxy="*").replace("\r", "")
        same = doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)
        assert same, f"{transcript}: {command} printed:\n{printed}"
    return len(steps)
