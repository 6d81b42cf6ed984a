"""What the tests of Django's session API share."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import tests.integrations.django_site  # noqa: F401  # it configures Django

# isort: split

from django.test import override_settings
from django.utils import timezone

from session_middleware import Lifetime, MemoryStore
from session_middleware.testing import FakeClock, FaultyStore
from tests.integrations.django_api.sessions import DAY, NOW, the_engines, the_requests

LIFETIME = Lifetime(idle=1000, absolute=30 * DAY)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture(autouse=True)
def configured(store: FaultyStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(timezone, "now", lambda: datetime.fromtimestamp(clock(), UTC))
    with override_settings(SESSION_MIDDLEWARE={"store": store, "clock": clock, "lifetime": LIFETIME}):
        yield


@pytest.fixture(params=[the_engines, the_requests])
def opened(request: pytest.FixtureRequest) -> Callable[[str | None], Any]:
    """One of the two kinds of session, by the token that the browser has."""
    kind: Callable[[str | None], Any] = request.param
    return kind
