"""What the tests of Flask-Login share."""

import flask_login
import pytest
from flask import Flask
from flask.testing import FlaskClient

from session_middleware import MemoryStore, SessionManager
from session_middleware.integrations.flask import Sessions
from session_middleware.testing import FakeClock, FaultyStore
from tests.integrations.flask_login.site import VIEWS
from tests.integrations.flask_site import load_user


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kept() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def app(kept: FaultyStore, clock: FakeClock) -> Flask:
    app = Flask(__name__)
    app.testing = True
    app.secret_key = "signs the cookie that remembers"
    Sessions(app, kept, clock=clock)
    manager = flask_login.LoginManager(app)  # after Sessions: the order does not matter
    manager.user_loader(load_user)
    manager.login_view = "sign_in_page"
    manager.refresh_view = "refresh_page"
    for rule, view in VIEWS.items():
        app.add_url_rule(rule, view.__name__, view)
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def sessions(app: Flask) -> SessionManager:
    manager: SessionManager = app.extensions["session_middleware"].manager
    return manager
