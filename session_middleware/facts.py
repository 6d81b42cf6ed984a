"""What is known of a session, for the application to read. It changes nothing."""

from abc import ABC, abstractmethod

from session_middleware.lifetime import Duration, seconds
from session_middleware.state import Ended, Keeper, State
from session_middleware.tokens import Token


class Facts(ABC):
    """The half of a session that is read only. Nothing is loaded before the first use."""

    _state: State | None = None
    _keeper: Keeper

    @abstractmethod
    def _open(self) -> State:
        """Load the session, and keep its state."""

    @property
    def id(self) -> str:
        """The public name of the session: safe to log, to list and to revoke by; useless as a cookie.

        It stays the same from now to the end of the session, whatever new secrets it gets.
        """
        state = self._state or self._open()
        if state.found is not None:
            return state.found.id
        if state.token is None:
            state.token = Token.new()
        return state.token.id

    @property
    def user_id(self) -> str | None:
        """Whose session this is, as given to :meth:`login`; ``None`` if nobody signed in."""
        return (self._state or self._open()).envelope.user_id

    @property
    def is_new(self) -> bool:
        """Whether the store holds no such session (yet)."""
        return (self._state or self._open()).is_new

    @property
    def created_at(self) -> float:
        """When the session was created (epoch seconds)."""
        return (self._state or self._open()).envelope.created_at

    @property
    def signed_in_at(self) -> float | None:
        """When :meth:`login` was called last (epoch seconds); ``None`` if nobody signed in."""
        envelope = (self._state or self._open()).envelope
        return None if envelope.user_id is None else envelope.signed_in_at

    @property
    def last_seen_at(self) -> float:
        """When the session was last used before this request (epoch seconds), to within a minute or a tenth of the idle
        timeout, whichever is less; for a new session, now."""
        return (self._state or self._open()).envelope.last_seen_at

    @property
    def expires_at(self) -> float:
        """When the session ends if it is not used again (epoch seconds)."""
        return (self._state or self._open()).envelope.expires_at

    @property
    def persistent(self) -> bool:
        """Whether the cookie outlives the browser, see :meth:`set_lifetime`."""
        return (self._state or self._open()).envelope.persistent

    @property
    def device_bound(self) -> bool:
        """Whether the session is bound to its device (:class:`~session_middleware.binding.DeviceBinding`)."""
        return (self._state or self._open()).envelope.device_bound

    @property
    def modified(self) -> bool:
        """Whether there is anything to store: data, user, lifetimes or secret changed, or the session was ended."""
        return self._state is not None and self._state.modified

    @property
    def ended(self) -> Ended | None:
        """Why the session that the browser came with has ended, so that a sign-in page can say so; ``None`` if it has not,
        if nobody had signed in to it, if its holder has signed out, or if nobody knows (any more): see :class:`Lifetime`.
        Only who held it is told."""
        return (self._state or self._open()).ended

    def is_fresh(self, age: Duration) -> bool:
        """Tell whether the user has proved who they are within *age* (``timedelta`` or seconds), by :meth:`login` or
        :meth:`confirm`: to be asked before what a thief of the session must not do (OWASP ASVS 5.0, 7.5.1).

        ``False`` if nobody has signed in. Raise :exc:`ConfigurationError` unless *age* is a time span above 0 and up to 100
        years, :exc:`StoreUnavailable` if the session cannot be loaded."""
        signed_in_at, limit = self.signed_in_at, seconds("age", age)
        return signed_in_at is not None and self._keeper.now() - signed_in_at < limit
