"""The Redis in which other libraries have kept sessions."""

from urllib.parse import urlsplit

import pytest

from tests.backends.running import Backends


@pytest.fixture
def redis_url(backends: Backends) -> str:
    return f"redis://127.0.0.1:{urlsplit(backends.url('redis')).port}/0"
