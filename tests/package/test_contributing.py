"""CONTRIBUTING.md and ``make help`` name what is there."""

import re
import subprocess

import pytest

from tests.package.conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
SPOKEN_OF: set[str] = set(re.findall(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE)[0].split()) - {"help", "test-only"}


def test_help_lists_every_target_under_its_time() -> None:
    """From the quickest to the longest, so that whoever looks for a check takes the first that will do."""
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=True)
    listed = re.findall(r"^make (\S+) +(seconds|a second|\d+ minutes?) {2,}\S", done.stdout, re.MULTILINE)
    minutes = [int(time.split()[0]) for _, time in listed if time[0].isdigit()]

    assert {name for name, _ in listed} == SPOKEN_OF
    assert minutes == sorted(minutes)


def test_each_command_is_a_target() -> None:
    named = set(re.findall(r"^make (\S+)|`make ([^` ]+)", CONTRIBUTING, re.MULTILINE))
    assert {one or other for one, other in named} <= SPOKEN_OF | {"help"}


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:session_middleware|tests|docs|examples|benchmarks)/[^`]*)`", CONTRIBUTING)))
)
def test_each_place_is_there(path: str) -> None:
    assert (ROOT / path).exists()
