"""Every page of the book is found, and what is fenced on it is run."""

import ast
import re
from pathlib import Path

import pytest

from tests.book.pages import PLAIN, Block, Page, every_block, every_page

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", every_page())
def test_the_python_of_a_page_runs(name: str) -> None:
    """Block by block as a reader would type it, in an empty directory."""
    Page(name).run()


def test_every_page_is_in_one_toctree() -> None:
    """The first page lists all others once."""
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```", Page("index").text, re.MULTILINE | re.DOTALL)
    listed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]

    assert sorted(listed) == [name for name in every_page() if name != "index"]


def test_every_block_runs_or_says_why_not() -> None:
    """It says what language it is in; what does not run by itself names the test that runs it, or a reason."""
    silent = [block for block in every_block() if not (block.runs_by_itself or block.tested_by or block.not_run)]

    assert not [str(block) for block in silent if block.language not in PLAIN]


def test_the_tests_that_blocks_name_are_there() -> None:
    """And no test waits for blocks that do not name it."""
    claiming = {
        function.name
        for path in HERE.glob("test_*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        and function.name.startswith("test_")
        and any(argument.arg == "claimed" for argument in function.args.args)
    }

    assert {name for block in every_block() for name in block.tested_by} == claiming


def test_a_page_is_read_as_it_is_written() -> None:
    """Languages, captions, comments, indented blocks and numbers of lines."""
    text = """\
# Page

```python
a = 1
```

% tested by: test_something
```sh
true
```

1. An item

   % not run: it needs a cluster

   ```python
   if a:
       b = 2
   ```

```{code-block} python
:caption: app.py

c = 3
```

```{note}
Nothing.
```
"""
    page = Page("page", text)

    assert page.blocks == [
        Block("page", 4, "python", "a = 1\n"),
        Block("page", 9, "sh", "true\n", tested_by=("test_something",)),
        Block("page", 17, "python", "if a:\n    b = 2\n", not_run="it needs a cluster"),
        Block("page", 24, "python", "c = 3\n", caption="app.py"),
    ]
    assert page.run() == {"__name__": "page", "a": 1, "__builtins__": page.run()["__builtins__"]}
    assert Path("app.py").read_text() == "c = 3\n"


def test_a_transcript_is_compared() -> None:
    """What the interpreter prints is what the page says that it prints."""
    names = {"a": 1}
    Block("page", 1, "pycon", ">>> a + 1\n2\n").execute(names)
    with pytest.raises(AssertionError, match="Expected:"):
        Block("page", 1, "pycon", ">>> a + 1\n3\n").execute(names)


def test_a_command_that_fails_is_told() -> None:
    """With what it printed."""
    assert Block("page", 1, "sh", "echo $A\n").shell(A="b") == "b\n"
    with pytest.raises(AssertionError, match=r"ended with 3:\nsorry"):
        Block("page", 1, "sh", "echo sorry\nexit 3\n").shell()
