"""What the tests of races share."""

from collections.abc import Iterator

import pytest

from tests.servers.direct import Racers, racers


@pytest.fixture
def three() -> Iterator[Racers]:
    with racers(3) as crew:
        yield crew
