"""What a view of Flask sees of the limit of sessions."""

from typing import Any

from flask import Flask

from session_middleware import MemoryStore, TooManySessions
from session_middleware.integrations.flask import Sessions, session


def test_a_view_or_the_application_answers_a_refused_sign_in() -> None:
    """Promise 23: login() raises; until somebody signs out, and nothing has changed."""
    app = Flask(__name__)
    app.testing = True
    Sessions(app, MemoryStore(), max_per_user=1, at_limit="refuse")

    def sign_in() -> Any:
        try:
            session.login("alice")
        except TooManySessions as error:
            return f"{error.limit} already", 403
        return "welcome"

    def sign_in_boldly() -> Any:
        session.login("alice")
        return "welcome"

    def sign_out() -> Any:
        session.invalidate()
        return "good bye"

    for one in (sign_in, sign_in_boldly, sign_out):
        app.add_url_rule(f"/{one.__name__}", one.__name__, one)
    app.register_error_handler(TooManySessions, lambda error: ("not now", 409))
    first, second = app.test_client(), app.test_client()

    assert first.get("/sign_in").text == "welcome"
    assert (second.get("/sign_in").status, second.get("/sign_in").text) == ("403 FORBIDDEN", "1 already")
    assert (second.get("/sign_in_boldly").status, second.get("/sign_in_boldly").text) == ("409 CONFLICT", "not now")
    assert "Set-Cookie" not in second.get("/sign_in").headers
    first.get("/sign_out")
    assert second.get("/sign_in").text == "welcome"


def test_the_oldest_ends_where_that_is_asked_for() -> None:
    """init_app() takes the options, too."""
    app, sessions = Flask(__name__), Sessions(store=MemoryStore(), max_per_user=2)
    sessions.init_app(app, max_per_user=1, at_limit="end_oldest")

    def sign_in() -> str:
        session.login("alice")
        return ""

    app.add_url_rule("/", "sign_in", sign_in)
    for _ in range(3):
        app.test_client().get("/")
    with app.app_context():
        assert len(sessions.manager.sessions_of("alice")) == 1
