"""What every experiment needs: whom it is about, what the store holds for a token, and how its result is told."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from examples.lab.notebook import Notebook
from examples.lab.users import Users
from session_middleware import SessionManager
from session_middleware.state import State

Fact: TypeAlias = tuple[str, dict[str, Any]]
Result: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """*victim*: the user that attacks are made on, with their password."""

    manager: SessionManager
    notebook: Notebook
    users: Users
    victim: tuple[str, str]

    def state(self, token: str) -> State | None:
        """Return what the token opens; ``None`` if that is no session, or only a snapshot of one."""
        session = self.manager.open(token)
        return None if session.is_new or session.is_gone else session.state

    def data(self, token: str) -> dict[str, Any]:
        """Return what the store holds for the token, empty if it opens nothing."""
        return dict(self.manager.open(token))


def result(held: bool, *facts: Fact | Literal[False]) -> Result:
    """Return what came of it; ``False`` stands for a fact that was none."""
    return {"held": held, "facts": [fact for fact in facts if fact]}
