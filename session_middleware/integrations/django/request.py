"""``request.session`` under our Django middleware: stored when the response starts, by whoever has opened it."""

from datetime import datetime, timedelta

from django.contrib.sessions.backends.base import UpdateError

from session_middleware.integrations.django.base import BaseSession, Timeouts


class RequestSession(BaseSession):
    """``request.session`` under our middleware: stored when the response starts, by whoever has opened it.

    Its ``session_key`` is the ``id``: safe to keep, and ``exists()`` and ``delete()`` know it, but no cookie.
    """

    def _get_session_key(self) -> str | None:
        state = self._opened()
        return None if state.origin is None and state.token is None else self.underlying.id

    session_key = _session_key = property(_get_session_key)

    def is_empty(self) -> bool:
        return not self.session_key and not self.underlying

    def create(self) -> None:
        """Let a new session have its key now; it is stored with the response. An existing one gets a new key."""
        self.cycle_key()

    def save(self, must_create: bool = False) -> None:
        """Store what was changed, now. A new session, or a new key, is stored when the response can tell the browser.

        Raise ``UpdateError`` if the session has ended meanwhile.
        """
        state = self._opened()
        if state.origin is None or state.token is not None:
            state.wanted = True
            _ = self.underlying.id
            return
        self._use()
        self._manager.commit(self.underlying)
        if state.gone:
            raise UpdateError

    def delete(self, session_key: str | None = None) -> None:
        if session_key is None or session_key == self.session_key:
            self.flush()
        else:
            self._end(session_key)

    def flush(self) -> None:
        """End the session. What is written afterwards is a new one."""
        self.underlying.invalidate()
        self._marked = True

    def cycle_key(self) -> None:
        """Give the session a new key, from the response on."""
        self._opened().wanted = True
        self.underlying.regenerate()
        self._marked = True

    def set_expiry(self, value: datetime | timedelta | float | None) -> None:
        """See Django; but the browser learns of another end only with a new key, so a minute's difference is none."""
        if not isinstance(value, timedelta) or not self._is_about(value):
            super().set_expiry(value)

    def _is_about(self, value: timedelta) -> bool:
        envelope = self._opened().envelope
        idle, absolute, persistent = self._timeouts(value)
        near = abs(absolute - envelope.absolute) < min(60, value.total_seconds() / 10)
        return near and (idle, persistent) == (envelope.idle, envelope.persistent)

    def _sign_in(self, user_id: str) -> None:
        self.login(user_id)

    def _expire(self, timeouts: Timeouts) -> None:
        self.underlying.set_lifetime(**timeouts._asdict())

    def _use(self) -> None:
        """Let the idle timeout start anew, even if nothing was changed."""
        state = self._opened()
        if state.origin is not None:
            state.envelope = state.envelope.used(self._manager.now())
