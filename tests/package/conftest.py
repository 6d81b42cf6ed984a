"""The packages as they are uploaded, made once from a copy of what is here."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MADE_HERE = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "demo", "results.json", "sessions.sqlite3*"
)
"""What is in a directory in which the targets of make have run, and is no part of the project."""


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, and nothing that was made here: building writes beside what it builds."""
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("copy") / "project", ignore=MADE_HERE)


@pytest.fixture(scope="session")
def dist(copy: Path) -> Path:
    """A directory with the source package and the wheel that was built of it."""
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(copy.parent / "dist"), str(copy)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return copy.parent / "dist"
