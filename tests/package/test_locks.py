"""The files of pinned packages in ``.ci/`` fit pyproject.toml; ``make lock`` makes them anew."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.package.conftest import ROOT

CI = ROOT / ".ci"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())

pytestmark = pytest.mark.skipif(
    not CI.exists(), reason="the source package is without what only CI needs: see the repository"
)


def asked_for_by_users() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    needed = [*PROJECT["project"]["dependencies"], *chain.from_iterable(extras)]
    return [each for each in map(Requirement, needed) if each.name != "session-middleware"]


def asked_for_by_developers() -> list[Requirement]:
    """Of mutants, CI knows nothing."""
    groups = [group for name, group in PROJECT["dependency-groups"].items() if name != "mutation"]
    return [Requirement(each) for each in chain.from_iterable(groups) if isinstance(each, str)]


def pinned(name: str) -> Iterator[Requirement]:
    """Yield what the file pins; each with a hash for each file, and nothing of where it comes from."""
    for block in re.split(r"\n(?=\S)", (CI / name).read_text()):
        if not block.startswith("#"):
            first, *hashes = block.rstrip().split(" \\\n")
            assert hashes
            assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", each) for each in hashes), first
            yield Requirement(first)


@pytest.mark.parametrize("name", ["requirements.txt", "lowest.txt"])
def test_all_that_is_installed_is_pinned_with_hashes(name: str) -> None:
    """Each line is one version; no line names a place to get it from."""
    for each in pinned(name):
        assert [specifier.operator for specifier in each.specifier] == ["=="]


def test_what_ci_installs_fits_what_is_asked_for() -> None:
    """Whoever changes pyproject.toml is told to choose anew."""
    versions: dict[str, list[str]] = {}
    for each in pinned("requirements.txt"):
        versions.setdefault(canonicalize_name(each.name), []).extend(one.version for one in each.specifier)

    for needed in [*asked_for_by_users(), *asked_for_by_developers()]:
        found = versions.get(canonicalize_name(needed.name), [])
        assert found, f"make lock: {needed} is not there"
        assert all(needed.specifier.contains(version) for version in found), f"make lock: {needed} is not met"


def test_the_lowest_versions_are_those_of_the_bounds() -> None:
    """What ``make test-lowest`` runs with is what users are told is enough: the first version that a bound admits."""
    versions = {canonicalize_name(each.name): next(iter(each.specifier)).version for each in pinned("lowest.txt")}

    for needed in asked_for_by_users():
        bound = next(iter(needed.specifier)).version
        assert re.fullmatch(rf"{re.escape(bound)}(\.0)*", versions[canonicalize_name(needed.name)]), needed


def audit(report: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, str(CI / "audit.py")], input=report, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout + done.stderr


def a_report(**found: list[str] | None) -> str:
    """Return a report of pip-audit: what was found of each package, or that it could not be looked up."""
    packages = [
        {"name": name, "skip_reason": "not found"}
        if ids is None
        else {"name": name, "version": "1.0", "vulns": [{"id": one, "fix_versions": ["1.1"]} for one in ids]}
        for name, ids in found.items()
    ]
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_known_vulnerability_fails() -> None:
    code, text = audit(a_report(good=[], bad=["PYSEC-1"], unknown=None))
    assert code == 1
    assert "bad 1.0: PYSEC-1, mended in 1.1" in text
    assert "1 packages without and 1 with a known vulnerability" in text


@pytest.mark.parametrize("report", ["", a_report(unknown=None)])
def test_a_service_out_of_reach_is_a_warning(report: str) -> None:
    """Nobody's network fails the build; and nobody takes it for a clean bill."""
    code, text = audit(report)
    assert code == 0
    assert "warning:" in text
    assert "0 packages without" in text


def test_packages_without_known_vulnerabilities_pass() -> None:
    assert audit(a_report(good=[])) == (0, "1 packages without and 0 with a known vulnerability\n")
