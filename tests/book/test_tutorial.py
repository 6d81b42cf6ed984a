"""The tutorials are followed step by step, with the real gunicorn and curl."""

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
                commands += block.type(server.url)
        assert server is not None
        assert "Traceback" not in server.log()

    assert commands == 12
