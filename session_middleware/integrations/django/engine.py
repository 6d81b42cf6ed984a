"""The session engine: ``SessionBase`` over any of our stores, for whoever opens, saves and ends sessions by their keys."""

from django.contrib.sessions.backends.base import CreateError, UpdateError

from session_middleware.exceptions import ConflictError, StoreError, anew
from session_middleware.integrations.django.base import BaseSession, UnservedSession
from session_middleware.integrations.django.settings import ById, opens_by_id, setup
from session_middleware.manager import Send, Verdict
from session_middleware.state import Candidates, checked_user_id
from session_middleware.tokens import Token
from session_middleware.values import Changes


class SessionStore(BaseSession):
    """The engine: what ``SESSION_ENGINE`` names. Its ``session_key`` is the token, so treat it as a password.

    Django's middleware saves it and sends the cookie; so do the test client and whoever else opens one. Where our middleware
    alone opens the sessions of requests, it may also be opened by the public id, which is its ``session_key`` then.
    """

    def __init__(self, session_key: str | None = None) -> None:
        self._start(session_key)
        super().__init__(self.underlying)

    def _start(self, session_key: str | None) -> None:
        manager, carry_over, _ = setup()
        token = Token.read(session_key)
        old = None if carry_over is None or not session_key else carry_over.find(f"{carry_over.name}={session_key}")
        if token is None and session_key is not None and opens_by_id(session_key):
            token = ById(session_key)
        self._candidates: Candidates = tuple(one for one in (token, old) if one is not None)
        self._given = session_key if self._candidates else None
        self._is_old = token is None and old is not None
        self._unsaved: Changes | None = None
        self.underlying = UnservedSession(manager, tuple, self._candidates)

    def _get_session_key(self) -> str | None:
        state = self._opened() if self._is_old else self.underlying.state
        token = None if state is None else state.token or state.own
        if token is not None:
            return token.reveal()
        opens_nothing = state is not None and state.is_new and not self.underlying.is_gone
        return None if opens_nothing else self._given

    def _set_session_key(self, value: str | None) -> None:
        before = self.underlying.state
        self._start(value)
        if before is not None:
            self.underlying.update(before.values)
            if before.envelope.user_id is not None:
                self.underlying.amend(user_id=before.envelope.user_id)

    session_key = property(_get_session_key)
    _session_key = property(_get_session_key, _set_session_key)

    @property
    def modified(self) -> bool:
        """Whether there is anything to save. Nested changes count, so it need not be assigned.

        ``modified = False`` leaves out what was changed before, unless there are further changes. What changes a session
        that has ended, or one from just before a sign-in, cannot be saved and does not count.
        """
        session = self.underlying
        if session.state is None:
            return self._marked
        if session.is_gone:
            return False
        if self._marked or not (session.modified or session.tells):
            return self._marked
        return self._unsaved is None or self._unsaved != session.state.values.changes()

    @modified.setter
    def modified(self, value: bool) -> None:
        self._marked = bool(value)
        state = self.underlying.state
        self._unsaved = None if value or state is None else state.values.changes()

    def create(self) -> None:
        """Store a new session, or an existing one under a new key, at once."""
        self.cycle_key()
        self.save()

    def save(self, must_create: bool = False) -> None:
        """Store what was changed, on top of what others have stored meanwhile, and let the idle timeout start anew.

        Raise ``UpdateError`` if the session has ended, or has another key by now, which this response must not overwrite.
        """
        if must_create:
            if self.session_key is not None and self.exists(self.session_key):
                raise CreateError
            return self.create()
        self.underlying.use()
        if not isinstance(self._commit(), Send) and not self._is_current():
            raise UpdateError
        return None

    def _is_current(self) -> bool:
        if self._candidates and isinstance(self._candidates[0], ById):
            return not self.underlying.is_gone
        return self._manager.is_current(self.underlying)

    def exists(self, session_key: str) -> bool:
        state = self.underlying.state
        replaced = None if state is None or state.token is None else state.own
        return (replaced is None or replaced.reveal() != session_key) and super().exists(session_key)

    def load(self) -> dict[str, object]:
        return dict(UnservedSession(self._manager, tuple, self._candidates))

    def _sign_in(self, user_id: str) -> None:
        session, state = self.underlying, self._opened()
        if state.is_new or state.token is not None or session.is_gone or session.user_id is not None:
            return session.login(user_id)
        # Without cycle_key() it is a test that writes by hand what it could ask login() for; it will keep its key.
        return session.amend(user_id=checked_user_id(user_id), signed_in_at=self._manager.now())

    def _commit(self) -> Verdict | None:
        try:
            verdict = self._manager.commit(self.underlying)
        except (StoreError, ConflictError) as fault:
            self.underlying.fault = anew(fault)
            raise
        if isinstance(verdict, Send):
            self._candidates = (verdict.token,)
        return verdict
