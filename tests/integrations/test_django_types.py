"""Type checkers know what ``session_of(request)`` has."""

from pathlib import Path

import pytest

from tests.integrations.checkers import CHECKERS, complaints

CODE = """
from django.http import HttpRequest
from session_middleware.integrations.django import manager, session_of

def sign_in(request: HttpRequest) -> str:
    session = session_of(request)
    session.login("5", keep=("cart",))
    session["seen"] = 1
    known: str = session.id
    user: str | None = session.user_id
    visits: int = session.transact(lambda data: len(data))
    for info in manager().sessions_of("5"):
        known = info.id
    session.login(5)
    session.lgoin("5")
    wrong: int = session.id
    return f"{known}{user}{visits}{wrong}"
"""


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_session_of_a_request_has_types(tmp_path: Path, checker: str) -> None:
    """What is right passes, and what is wrong does not."""
    wrong = ["session.login(5)", 'session.lgoin("5")', "wrong: int = session.id"]

    assert complaints(checker, CODE, tmp_path) == wrong
