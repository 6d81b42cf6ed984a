"""What the package says of itself, to whoever searches for it and to whoever installs it."""

import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import session_middleware
from tests.package.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = {
    "bottle",
    "cli",
    "dbsc",
    "devices",
    "django",
    "flask",
    "mariadb",
    "memcached",
    "opentelemetry",
    "postgresql",
    "prometheus",
    "pyramid",
    "redis",
    "seal",
    "sqlalchemy",
}


@pytest.fixture(scope="module")
def metadata(dist: Path) -> Message:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(wheel.read(name).decode())


def test_the_version_stands_once(metadata: Message) -> None:
    """In the package, where it costs nothing to ask; the metadata has it from there."""
    assert metadata["Version"] == session_middleware.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", session_middleware.__version__)
    assert "version" not in PROJECT["project"]


def test_the_version_costs_nothing_to_ask() -> None:
    """No metadata is read for it."""
    program = "import session_middleware, sys; session_middleware.__version__; print('importlib.metadata' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout == "False\n"


def test_users_find_it(metadata: Message) -> None:
    """By what it is, the frameworks it is for and the versions of Python that it is tested on."""
    classifiers = metadata.get_all("Classifier", [])

    assert metadata["Summary"] == session_middleware.__doc__.rstrip(".").splitlines()[0].rstrip(".")
    assert {"session", "wsgi", "middleware"} <= set(metadata["Keywords"].split(","))
    for framework in ("Bottle", "Django", "Flask", "Pyramid"):
        assert f"Framework :: {framework}" in classifiers
    for minor in (11, 12, 13, 14):
        assert f"Programming Language :: Python :: 3.{minor}" in classifiers
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"


def test_no_address_is_named_before_there_is_one(metadata: Message) -> None:
    """A link to nowhere is worse than none."""
    assert metadata.get_all("Project-URL") is None
    assert metadata["Home-page"] is None


def test_an_extra_is_what_an_application_uses(metadata: Message) -> None:
    """A store's driver or a framework. What only developers need is in dependency groups, which no package carries."""
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS
    for needed in metadata.get_all("Requires-Dist", []):
        assert not re.match(r"(?i)pytest|hypothesis|sphinx|ruff|mypy|gunicorn", needed)


def test_little_is_needed_without_extras(metadata: Message) -> None:
    needed = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    assert {each.name for each in needed if each.marker is None} == {"WebOb", "msgpack"}


def test_each_requirement_has_a_lower_bound_and_no_upper_one(metadata: Message) -> None:
    """An application may take a newer version of a framework before this package knows it."""
    for needed in map(Requirement, metadata.get_all("Requires-Dist", [])):
        if needed.name != "session-middleware":
            assert [each.operator for each in needed.specifier] == [">="], needed


def test_the_changes_of_the_next_version_are_written_down() -> None:
    """The first section is of what is to come, or of the version that this is."""
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None
    assert first[1] in {"Unreleased", session_middleware.__version__}
