"""What the tests of records in a store share."""

import logging
from collections.abc import Iterator

import pytest

from tests.core.records import Watched


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged while the test runs."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]  # a handler to look into
    logger = logging.getLogger("session_middleware")
    logger.addHandler(handler)
    logger.propagate = False
    yield found
    logger.removeHandler(handler)
    logger.propagate = True
