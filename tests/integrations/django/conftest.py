"""What the tests of Django share: its users, and a site with our sessions."""

from collections.abc import Iterator

import pytest

from tests.integrations import django_site  # it configures Django

# isort: split

from django.core.cache import cache
from django.db import connection
from django.test import Client, override_settings

from session_middleware import MemoryStore
from session_middleware.testing import FaultyStore
from tests.browser import Browser
from tests.integrations.django.visits import WAYS, a_browser


@pytest.fixture(scope="package", autouse=True)
def users() -> Iterator[None]:
    """A database in memory, with alice, who may use the admin site, bob, and a group."""
    django_site.add_users()
    yield
    connection.close()


@pytest.fixture(autouse=True)
def nothing_cached() -> Iterator[None]:
    yield
    cache.clear()


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, store: FaultyStore) -> Iterator[str]:
    """One of the ways to have our sessions in Django."""
    with override_settings(MIDDLEWARE=WAYS[request.param], SESSION_MIDDLEWARE={"store": store}):
        yield request.param


@pytest.fixture
def browser(way: str, store: FaultyStore) -> Browser:
    return a_browser(way, store)


@pytest.fixture
def client(store: FaultyStore) -> Iterator[Client]:
    with override_settings(SESSION_MIDDLEWARE={"store": store}):
        yield Client()
