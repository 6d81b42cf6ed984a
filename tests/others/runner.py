"""Downloads source distributions, runs the tests in them, and compares what failed with what is known to."""

import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

ROOT: Final = Path(__file__).resolve().parents[2]
PLACE: Final = ROOT / ".others"
"""Where downloads stay, so that the next run needs none."""

INSIDE: Final = Path(__file__).with_name("inside")
"""Modules for the processes that run the tests: on their path, so each has a name of its own at the top level."""

_LONGEST: Final = 600  # seconds, for one suite


@contextmanager
def nothing() -> Iterator[Mapping[str, str]]:
    """The environment of a suite that needs nothing in it."""
    yield {}


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Tests of another project.

    *sources*: pinned source distributions (``"Django==5.2.19"``), downloaded, unpacked and put on the path. *needs*: pinned
    packages, installed beside them; what is needed elsewhere in the tests is there already. *command*: the arguments of
    Python, run in the directory *within* the first source; it leaves a JUnit file as ``$RESULTS`` says, see :func:`pytest`.
    *path*: directories of the first source that go on the path, too. *environment*: what else to set, as a context, for
    servers. *differences*: by patterns of test names, ``module.class.name``, why they cannot pass. *at_least*: so many must
    pass, so that a suite that finds no tests is noticed.
    """

    name: str
    sources: Sequence[str]
    command: Sequence[str]
    at_least: int
    needs: Sequence[str] = ()
    within: str = "."
    path: Sequence[str] = ()
    environment: Callable[[], AbstractContextManager[Mapping[str, str]]] = nothing
    differences: Mapping[str, str]


def pytest(*arguments: str) -> list[str]:
    """Return the command that runs pytest, with the source's own configuration."""
    program = "import os, pytest, sys; sys.exit(pytest.main(sys.argv[1:] + ['--junitxml=' + os.environ['RESULTS']]))"
    return ["-c", program, "-p", "no:cacheprovider", "-q", *arguments]


def run(suite: Suite) -> bool:
    """Run a suite and print what came of it; return whether all is as it should be."""
    started = time.monotonic()
    roots = [_unpacked(source) for source in suite.sources]
    path = [
        INSIDE,
        *roots,
        *(roots[0] / part for part in suite.path),
        *([_installed(suite.needs)] if suite.needs else []),
        ROOT,
    ]
    with tempfile.TemporaryDirectory(prefix="others-") as directory, suite.environment() as environment:
        results = Path(directory, "results.xml")
        process = subprocess.run(
            [sys.executable, *suite.command],
            cwd=roots[0] / suite.within,
            env={
                **os.environ,
                **environment,
                "PYTHONPATH": os.pathsep.join(map(str, path)),
                "PYTHONDONTWRITEBYTECODE": "1",
                "RESULTS": str(results),
                "TMPDIR": directory,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_LONGEST,
            check=False,
        )
        outcomes = read(results) if results.exists() else {}
    complaints = judge(suite, outcomes)
    passed, failed = (sum(outcome == wanted for outcome in outcomes.values()) for wanted in ("passed", "failed"))
    took = time.monotonic() - started
    if complaints:
        print(process.stdout[-20_000:])
        print("\n".join(f"{suite.name}: {complaint}" for complaint in complaints))
    else:
        print(f"{suite.name}: {passed} passed, {failed} differ as explained, in {took:.0f} s")
    return not complaints


def judge(suite: Suite, outcomes: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the outcomes of a suite, a line each."""
    passed = sum(outcome == "passed" for outcome in outcomes.values())
    complaints = [f"{passed} tests passed, and at least {suite.at_least} must"] if passed < suite.at_least else []
    for name, outcome in outcomes.items():
        explained = [pattern for pattern in suite.differences if fnmatchcase(name, pattern)]
        if outcome == "failed" and not explained:
            complaints.append(f"{name} failed")
    for pattern in suite.differences:
        matched = [name for name in outcomes if fnmatchcase(name, pattern)]
        if not any(outcomes[name] == "failed" for name in matched):
            complaints.append(f"{pattern} is listed as different, and does not fail")
    return complaints


def read(path: Path) -> dict[str, str]:
    """Return the outcome of each test in a JUnit file: ``passed``, ``failed`` or ``skipped``."""
    outcomes: dict[str, str] = {}
    for case in ET.parse(path).iter("testcase"):
        tags = {child.tag for child in case}
        outcome = "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
        name = f"{case.get('classname')}.{case.get('name')}"
        if outcomes.get(name) != "failed":
            outcomes[name] = outcome
    return outcomes


def _unpacked(source: str) -> Path:
    """Return the directory of an unpacked source distribution, downloaded if it is not there yet."""
    place = PLACE / "sources" / source
    if not place.exists():
        with tempfile.TemporaryDirectory(prefix="others-") as directory:
            _pip("download", "--no-deps", "--no-binary", source.partition("==")[0], "--dest", directory, source)
            (archive,) = Path(directory).iterdir()
            with tarfile.open(archive) as opened:
                opened.extractall(Path(directory, "unpacked"), filter="data")
            (root,) = Path(directory, "unpacked").iterdir()
            place.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mv", str(root), str(place)], check=True)
    return place


def _installed(needs: Sequence[str]) -> Path:
    """Return a directory in which packages are installed, with what they need themselves."""
    place = PLACE / "installed" / ",".join(needs)
    if not place.exists():
        unfinished = place.with_name(f"{place.name}.{os.getpid()}")
        _pip("install", "--target", str(unfinished), *needs)
        unfinished.rename(place)
    return place


def _pip(command: str, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *arguments],
        check=True,
        stderr=subprocess.PIPE,
    )
