"""``request.session`` under our Django middleware. It does not store itself: whoever has opened it does, at the response."""

from typing import Any

from django.contrib.sessions.backends.base import UpdateError

from session_middleware.exceptions import ConfigurationError, ConflictError
from session_middleware.integrations.django.base import BaseSession
from session_middleware.session import Session


def session_of(request: object) -> Session:
    """Return our session of a Django request, with its types: ``session_of(request).login("5")``.

    It is what ``request.session`` shows as Django's. Raise :exc:`ConfigurationError` if that is none of ours.
    """
    session = getattr(request, "session", None)
    if not isinstance(session, BaseSession):
        raise ConfigurationError(
            "request.session is none of ours: MIDDLEWARE needs 'session_middleware.integrations.django.SessionMiddleware'"
        )
    return session.underlying


class RequestSession(BaseSession):
    """``request.session`` under our middleware: stored when the response starts, by whoever has opened it.

    Its ``session_key`` is the ``id``: safe to keep, and ``exists()`` and ``delete()`` know it, but no cookie. It is the same
    for the whole life of the session: ``cycle_key()`` and signing in change the secret in the cookie and not the key.
    """

    def _get_session_key(self) -> str | None:
        state = self._opened()
        return None if state.is_new and state.token is None else self.underlying.id

    session_key = _session_key = property(_get_session_key)

    def load(self) -> dict[str, Any]:
        """Return what is stored by now."""
        own = self._opened().own
        if own is not None:
            return dict(self._manager.open(own))
        return {} if self.underlying.is_new else dict(self.underlying)

    def create(self) -> None:
        """Let a new session have its key now; it is stored with the response. An existing one gets a new secret."""
        self.cycle_key()

    def save(self, must_create: bool = False) -> None:
        """Store what was changed, now. A new session, or a new secret, is stored when the response can tell the browser.

        Raise ``UpdateError`` if the session has ended meanwhile, or someone has signed in.
        """
        session = self.underlying
        session.use()
        _ = session.id
        if self._opened().token is not None:
            return
        try:
            session.transact(lambda values: None)
        except ConflictError:
            if not session.is_gone:
                raise
        if session.is_gone:
            raise UpdateError
