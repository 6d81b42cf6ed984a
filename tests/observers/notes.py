"""An observer that keeps what it is told, and requests without HTTP."""

from collections.abc import Callable
from typing import Any, TypeVar

from session_middleware import Send, Session, SessionManager
from session_middleware.events import Asked, Ended, Event
from session_middleware.tokens import Token

E = TypeVar("E", bound=Event)

USER = "alice"


class Notes:
    """Keeps every event, in the order in which it was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def names(self) -> list[str]:
        """Of all events but those of the store's calls."""
        return [event.name for event in self.events if not isinstance(event, Asked)]

    @property
    def ends(self) -> list[tuple[str | None, str | None, str]]:
        """The id, the user and the reason of each end."""
        return [(event.session_id, event.user_id, event.reason) for event in self.of(Ended)]

    def clear(self) -> None:
        self.events.clear()


def request(manager: SessionManager, act: Callable[[Session], Any], *tokens: Token | None) -> Token | None:
    """Make a request with the cookies *tokens*; return the token that the browser is told, if any."""
    session = Session(manager, tuple, [token for token in tokens if token is not None])
    act(session)
    verdict = manager.commit(session)
    return verdict.token if isinstance(verdict, Send) else None


def begin(manager: SessionManager, user_id: str | None = None) -> Token:
    """Store a session, and return its token."""

    def act(session: Session) -> None:
        session["a"] = 1
        if user_id is not None:
            session.login(user_id)

    token = request(manager, act)
    assert token is not None
    return token
