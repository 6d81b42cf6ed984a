"""What the tests of Flask share."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from session_middleware import MemoryStore
from session_middleware.integrations.flask import Sessions
from session_middleware.testing import FakeClock, FaultyStore

# In process, each with an application of its own.


@pytest.fixture
def kept() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def app(kept: FaultyStore, clock: FakeClock) -> Flask:
    app = Flask(__name__)
    Sessions(app, kept, clock=clock)
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
