"""A request in flight beside its model, and how the two are compared without touching the session."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from session_middleware import Forget, Session
from session_middleware.manager import Verdict
from session_middleware.tokens import Token
from session_middleware.values import _ENCODED, Values
from tests.model.parts import Facts, exact
from tests.model.reference import Request, Told


@dataclass
class Slot:
    """One request in flight: the session that the application has, and what the model has of it once it was used."""

    session: Session
    tokens: Sequence[Token]
    request: Request | None = None
    failed: bool = False
    marks: dict[str, tuple[str | None, int | None]] = field(default_factory=dict)
    """The mark of a user whose password is being checked: the manager's, and the model's."""


def seen_otherwise(session: Session, request: Request) -> str | None:
    """Return what the session shows otherwise than the model says; ``None`` if it shows the same."""
    state = session.state
    assert state is not None
    if state.opens.value != request.opens.value:
        return f"opens {state.opens}, not {request.opens}"
    if exact(peek(state.values)) != exact(request.view.now):
        return f"shows {peek(state.values)}, not {request.view.now}"
    if facts_of(session) != request.facts:
        return f"is {facts_of(session)}, not {request.facts}"
    if state.gone != request.gone or (state.found and state.found.id) != request.key:
        return f"is {state.found}, gone: {state.gone}; not {request.key}, {request.gone}"
    return None


def peek(values: Values) -> dict[str, Any]:
    """Return the values without handing them out: who looks on is not the application."""
    return {
        key: values._codec.decode(values._stored[key]) if value is _ENCODED else value for key, value in values._now.items()
    }


def facts_of(session: Session) -> Facts:
    assert session.state is not None
    return Facts(*(getattr(session.state.envelope, name) for name in Facts._fields))


def told_by(verdict: Verdict | None) -> Told:
    if verdict is None:
        return Told.NOTHING
    return Told.FORGET if isinstance(verdict, Forget) else Told.TOKEN


def max_age(facts: Facts, now: float) -> int | None:
    return max(0, -int(-(facts.signed_in_at + facts.absolute - now) // 1)) if facts.persistent else None
