"""The command line on sessions that are sealed."""

import json
from collections.abc import Callable

import pytest

from session_middleware import MemoryStore, Send, SessionManager
from session_middleware.seal import Seal
from tests.cli.running import here


@pytest.fixture
def sealed() -> tuple[SessionManager, str]:
    manager = SessionManager(MemoryStore(), seal=Seal(bytes(range(32))))
    session = manager.open()
    session["name"] = "a telling value"
    session.login("alice")
    verdict = manager.commit(session)
    assert isinstance(verdict, Send)
    return manager, verdict.token.id


def out(manager: SessionManager, *arguments: str) -> str:
    made: Callable[[], SessionManager] = lambda: manager  # noqa: E731
    done = here(*arguments, obj=made)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("more", [(), ("--values",)])
def test_what_is_in_a_sealed_session_is_not_shown(sealed: tuple[SessionManager, str], more: tuple[str, ...]) -> None:
    manager, key = sealed
    shown = out(manager, "show", key, *more)
    assert "its values are sealed" in shown
    assert "telling" not in shown
    assert json.loads(out(manager, "show", key, "--json", *more))["result"]["data"] is None


def test_sessions_are_counted_and_found_by_their_user(sealed: tuple[SessionManager, str]) -> None:
    manager, key = sealed
    assert json.loads(out(manager, "stats", "--json"))["result"]["signed_in"] == 1
    assert key in out(manager, "list", "--user", "alice")
    assert key not in out(manager, "list", "--user", "bob")
    out(manager, "revoke-user", "alice", "--yes", "--keep", key)
    assert manager.find(key) is not None
    out(manager, "revoke-user", "alice", "--yes")
    assert manager.find(key) is None
