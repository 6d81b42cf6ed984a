"""Type checkers know what ``session`` and ``Sessions.manager`` have; ``flask.session`` itself cannot be told them."""

from pathlib import Path

import pytest

from tests.integrations.checkers import CHECKERS, complaints

CODE = """
from datetime import timedelta

from flask import Flask
from session_middleware.integrations.flask import FlaskSession, Sessions, session

app = Flask(__name__)
sessions = Sessions(app, "memory:")

def sign_in() -> str:
    session.login("5", keep=("cart",))
    session["seen"] = 1
    session.permanent = True
    session.set_lifetime(idle=None, absolute=timedelta(days=30), persistent=True)
    known: str = session.id
    user: str | None = session.user_id
    visits: int = session.transact(lambda data: len(data))
    also: FlaskSession = session
    if also.is_new and also.expires_at > also.created_at:
        also.regenerate()
    for info in sessions.manager.sessions_of("5"):
        known = info.id
    session.login(5)
    session.lgoin("5")
    wrong: int = session.id
    sessions.manager.sessions_for("5")
    return f"{known}{user}{visits}{wrong}"
"""


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_session_and_the_manager_have_types(tmp_path: Path, checker: str) -> None:
    """What is right passes, and what is wrong does not."""
    wrong = ["session.login(5)", 'session.lgoin("5")', "wrong: int = session.id", 'sessions.manager.sessions_for("5")']

    assert complaints(checker, CODE, tmp_path) == wrong
