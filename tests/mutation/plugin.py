"""Loaded by pytest where mutants are tested: how Hypothesis goes about it, and the quickest tests first."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Hypothesis is called by what is slow, and from two places. The same cases each time, so that the figures are the same.
settings.register_profile(
    "mutation", deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)


def pytest_sessionstart() -> None:
    settings.load_profile("mutation")  # after conftest.py, which has a profile of its own, and before any test is read


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that fails is enough."""
    timed = Path("mutmut-stats.json")
    if timed.exists():
        seconds = json.loads(timed.read_text())["duration_by_test"]
        items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))
