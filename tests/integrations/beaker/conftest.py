"""What the tests of Beaker's interface share."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from session_middleware.testing import FakeClock
from tests.backends.running import Backends


@pytest.fixture(params=["file", "ext:redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, backends: Backends) -> dict[str, Any]:
    """The settings of a site on Beaker, as they stand in its ini file."""
    found = {"session.type": request.param, "session.data_serializer": "json", "session.secret": "shh", "other.key": "x"}
    found |= {"session.key": "sid", "session.timeout": "3600", "session.data_dir": str(tmp_path)}
    if request.param == "ext:redis":
        found["session.url"] = f"redis://127.0.0.1:{urlsplit(backends.url('redis')).port}/0"
    return found


@pytest.fixture
def quiet() -> Iterator[None]:
    """The hints are of another test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
