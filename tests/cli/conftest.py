"""Sites for the command."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.running import Backends
from tests.cli.running import Site


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path, backends: Backends) -> Iterator[Site]:
    """A site on the kind of store that is the parameter; on SQLite without one."""
    kind = getattr(request, "param", "sqlite")
    made = Site(f"sqlite:///{tmp_path}/sessions.sqlite3" if kind == "sqlite" else backends.url(kind))
    yield made
    made.store.close()
