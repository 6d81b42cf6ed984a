"""The page on testing: its applications are tested as it says, by runs of their own."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.book.pages import Block, Page

ROOT = Path(__file__).parents[2]
RACE = "test_race.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(Path.cwd())])
    # A corrected file of the same size may be written within the same second as the first one.
    environ = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": ""}
    return subprocess.run(
        [sys.executable, "-m", *arguments], env=environ, capture_output=True, text=True, check=False, timeout=600
    )


def run_pytest(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run("pytest", "-p", "no:cacheprovider", "-p", "no:django", "--color=no", *arguments)


def test_a_shop_is_tested(claimed: list[Block]) -> None:
    """All its tests pass but the one that finds the race, which reports what the page shows; mended, it passes, too."""
    *files, mended = claimed
    for block in files:
        block.write()
    tests = sum(block.text.count("\ndef test_") + block.text.startswith("def test_") for block in files)
    (report,) = Page("how-to/testing").in_language("text")

    done = run_pytest(f"--deselect={RACE}")
    assert done.returncode == 0, done.stdout
    assert f"{tests - 1} passed" in done.stdout
    done = run_pytest("--tb=short", RACE)
    assert done.returncode == 1
    told = done.stdout.partition("E   AssertionError: ")[2].partition("\nE   assert ")[0]
    told = "".join(line.removeprefix("E").strip() + "\n" for line in told.splitlines())
    expected = re.sub("5UOPrvkG7Zpu", "...", report.text)
    assert doctest.OutputChecker().check_output(expected, told, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE), told

    mended.write()
    done = run_pytest(RACE)
    assert done.returncode == 0, done.stdout


def test_a_django_project_is_tested(claimed: list[Block]) -> None:
    """By Django's own runner."""
    for block in claimed:
        block.write()
    done = run("django", "test", "--settings=project")

    assert done.returncode == 0, done.stderr
    assert "Ran 4 tests" in done.stderr
