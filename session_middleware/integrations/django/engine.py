"""The session engine: ``SessionBase`` over any of our stores, for whoever opens, saves and ends sessions by their keys."""

from django.contrib.sessions.backends.base import CreateError, UpdateError

from session_middleware import tokens
from session_middleware.carrying import OldSession
from session_middleware.exceptions import ConflictError, StoreError
from session_middleware.integrations.django.base import BaseSession, Timeouts
from session_middleware.integrations.django.settings import setup
from session_middleware.manager import Send, Verdict
from session_middleware.session import Session, State, checked_user_id


class SessionStore(BaseSession):
    """The engine: what ``SESSION_ENGINE`` names. Its ``session_key`` is the token, so treat it as a password.

    Django's middleware saves it and sends the cookie; so do the test client and whoever else opens one.
    """

    def __init__(self, session_key: str | None = None) -> None:
        self._start(session_key)
        super().__init__(self.underlying)

    def _start(self, session_key: str | None) -> None:
        manager, carry_over = setup()
        self._token = session_key if self._validate_session_key(session_key) else None
        self._old = None
        self._unsaved: bytes | None = None
        self.underlying = manager.open(self._token)
        if carry_over is not None and session_key and self._token is None:
            self._old = carry_over.find(f"{carry_over.name}={session_key}")
            if self._old is not None:
                self.underlying = Session(manager, _alone, self._old)

    def _validate_session_key(self, key: object) -> bool:
        return isinstance(key, str) and tokens.well_formed(key)

    def _get_session_key(self) -> str | None:
        state = self.underlying.progress
        if state is None and self._old is not None:
            state = self._opened()
        if state is None:
            return self._token
        if state.origin is None and state.token is None and not state.gone:
            return None
        return state.token or self._token

    def _set_session_key(self, value: str | None) -> None:
        state = self.underlying.progress
        self._start(value)
        if state is not None:
            self._opened().data.update(state.data)
            self._opened().suspect = True

    session_key = property(_get_session_key)
    _session_key = property(_get_session_key, _set_session_key)

    @property
    def modified(self) -> bool:
        """Whether there is anything to save. Nested changes count, so it need not be assigned.

        ``modified = False`` leaves out what was changed before, unless there are further changes.
        """
        if self._marked or not self.underlying.modified:
            return self._marked
        return self._unsaved is None or self._unsaved != self._manager.codec.encode(self._opened().data)

    @modified.setter
    def modified(self, value: bool) -> None:
        self._marked = bool(value)
        state = self.underlying.progress
        self._unsaved = None if value or state is None else self._manager.codec.encode(state.data)

    def is_empty(self) -> bool:
        state = self.underlying.progress
        return not self.session_key and not (state is not None and state.data)

    def create(self) -> None:
        """Store a new session with the data that this one has, under a token of its own."""
        before = self.underlying.progress
        self._start(None)
        state = self._opened()
        if before is not None:
            state.data.update(before.data)
            state.envelope = before.envelope.used(self._manager.now())
        state.wanted = True
        self._commit()
        self._marked = True

    def save(self, must_create: bool = False) -> None:
        """Store what was changed, on top of what others have stored meanwhile, and let the idle timeout start anew.

        Raise ``UpdateError`` if the session has ended, or has another key by now, which this response must not overwrite.
        """
        if must_create:
            if self.session_key is not None and self.exists(self.session_key):
                raise CreateError
            return self.create()
        state, before = self._opened(), self._opened().origin
        if before is None:
            state.wanted = True
        else:
            state.envelope = state.envelope.used(self._manager.now())
        verdict = self._commit()
        if not isinstance(verdict, Send) and (before is None or state.gone or _key_of(state) != before.key):
            raise UpdateError
        return None

    def delete(self, session_key: str | None = None) -> None:
        state = self.underlying.progress
        if session_key is None and state is not None and state.origin is not None:
            self._manager.revoke(state.origin.key)
        elif (key := session_key or self.session_key) is not None:
            self._end(key)

    def exists(self, session_key: str) -> bool:
        replaced = self._token is not None and session_key == self._token != self.session_key
        return not replaced and super().exists(session_key)

    def load(self) -> dict[str, object]:
        return dict(self._manager.open(self._token))

    def flush(self) -> None:
        """End the session at once. What is written afterwards is a new one."""
        self.underlying.invalidate()
        self._commit(failed=True)
        self._marked = True

    def cycle_key(self) -> None:
        """Give the session a new key. :meth:`save` stores that, so a request that fails has changed nothing."""
        self._opened().wanted = True
        self.underlying.regenerate()
        self._marked = True

    def login(self, user_id: str) -> None:
        super().login(user_id)
        if self._opened().ending:
            self._commit(failed=True)

    def _sign_in(self, user_id: str) -> None:
        state = self._opened()
        if state.origin is None or state.token is not None or state.envelope.user_id not in (None, user_id):
            return self.login(user_id)
        # Without cycle_key() it is a test that writes by hand what it could ask login() for; it will keep its key.
        now = self._manager.now()
        state.envelope = state.envelope._replace(user_id=checked_user_id(user_id), created_at=now, last_seen_at=now)
        return None

    def _expire(self, timeouts: Timeouts) -> None:
        state = self._opened()
        state.envelope = state.envelope._replace(**timeouts._asdict())  # Django's middleware sends the cookie in any case

    def _commit(self, *, failed: bool = False) -> Verdict | None:
        try:
            verdict = self._manager.commit(self.underlying, failed=failed)
        except (StoreError, ConflictError) as fault:
            self.underlying.fault = fault
            raise
        if isinstance(verdict, Send):
            self._token = verdict.token
        return verdict


def _key_of(state: State) -> str | None:
    return None if state.origin is None else state.origin.key


def _alone(old: OldSession) -> tuple[OldSession]:
    return (old,)
