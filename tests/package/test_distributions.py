"""What is in the source package and in the wheel."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from session_middleware import __version__
from tests.package.conftest import ROOT

MADE_BY_THE_BUILD = {"PKG-INFO", "session_middleware.egg-info"}
LARGEST = 2_000_000  # bytes of the source package; half of it are the tests and the pictures
LARGEST_PICTURE = 100_000


def files_of(directory: Path) -> set[str]:
    found = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if path.parts[0] not in MADE_BY_THE_BUILD}


def test_the_source_package_is_complete(copy: Path, dist: Path) -> None:
    """Code, tests, examples, benchmarks and the book, as they are in the repository; what only CI needs is not in it."""
    with tarfile.open(dist / f"session_middleware-{__version__}.tar.gz") as package:
        names = {member.name.partition("/")[2] for member in package if member.isfile()}

    assert {name for name in names if name.split("/")[0] not in MADE_BY_THE_BUILD} == files_of(copy)


def test_the_source_package_is_small(dist: Path) -> None:
    """The pictures of the book have a palette, and what was measured or recorded here is not in it."""
    assert (dist / f"session_middleware-{__version__}.tar.gz").stat().st_size < LARGEST
    assert {picture.name for picture in (ROOT / "docs").rglob("*.png") if picture.stat().st_size > LARGEST_PICTURE} == set()


def test_the_wheel_is_the_package_alone(copy: Path, dist: Path) -> None:
    """No tests, no examples: the modules, the marker of PEP 561, the licence and what describes them."""
    with zipfile.ZipFile(dist / f"session_middleware-{__version__}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
    described = f"session_middleware-{__version__}.dist-info"
    modules = {f"session_middleware/{name}" for name in files_of(copy / "session_middleware")}

    assert "session_middleware/py.typed" in modules
    assert names - modules == {
        f"{described}/{name}"
        for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")
    }
    assert modules - names == set()


def test_an_index_takes_both(dist: Path) -> None:
    """Twine finds nothing wrong, and the text can be rendered."""
    files = [str(path) for path in sorted(dist.iterdir())]
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2
