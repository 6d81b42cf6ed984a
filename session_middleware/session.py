"""What the application touches. It notes what was read and changed; loading and storing are its keeper's work."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar
from uuid import UUID

from session_middleware import tokens
from session_middleware.carrying import OldSession
from session_middleware.exceptions import ConflictError, HeadersAlreadySent, PayloadError, StoreError
from session_middleware.lifetime import Duration, seconds
from session_middleware.record import Envelope
from session_middleware.stores.base import Version

T = TypeVar("T")

# A value of one of these types cannot change once it has been handed out.
_IMMUTABLE: Final = frozenset(
    {type(None), bool, int, float, str, bytes, date, datetime, time, timedelta, Decimal, UUID, frozenset}
)

_LONGEST_USER_ID: Final = 255


class _Unchanged(Enum):
    UNCHANGED = "unchanged"


_UNCHANGED: Final = _Unchanged.UNCHANGED


class Origin(NamedTuple):
    """What the store held when it was last asked; ``version`` is ``None`` once we have written over it."""

    key: str
    version: Version | None
    envelope: Envelope
    payload: bytes


@dataclass(slots=True)
class State:
    """One session as this request sees it. The session changes it, the manager stores it."""

    data: dict[str, Any]
    envelope: Envelope
    origin: Origin | None
    """What it was loaded from; ``None`` if the store holds no such session."""
    has_cookie: bool = False
    """Whether the request came with a token, alive or not."""
    suspect: bool = False
    """Whether ``data`` may differ from what was loaded: a key was set, or a mutable value handed out."""
    token: str | None = field(default=None, repr=False)
    """The token that the browser is to learn: of a new session, or of a regenerated one."""
    signed_in: bool = False
    wanted: bool = False
    """Whether a new session is to be stored even if there is nothing in it."""
    ending: Sequence[str] = ()
    """Keys of the sessions that this request has ended."""
    rivals: Sequence[str] = ()
    """Keys of sessions that the request came with and could not use: several at once, or one that has moved."""
    forget: bool = False
    """Whether the browser is to drop its cookie."""
    gone: bool = False
    """The record vanished while the request was running, or has just moved: changes have nowhere to go."""

    @property
    def only_read(self) -> bool:
        """Whether there is nothing to store, to end or to tell: the session was loaded, and nothing happened to it."""
        return (
            self.origin is not None
            and not self.suspect
            and self.envelope is self.origin.envelope
            and self.token is None
            and not (self.ending or self.forget or self.gone)
        )


Candidates: TypeAlias = Sequence[str | OldSession]
"""What a request came with that may open a session: tokens, and perhaps one session of another library."""


class Keeper(Protocol):
    """What a session asks of whoever keeps it."""

    @property
    def now(self) -> Callable[[], float]: ...
    def load(self, candidates: Candidates) -> State: ...
    def new(self) -> Envelope: ...
    def id_of(self, session: "Session", token: str) -> str: ...
    def differs(self, state: State) -> bool: ...
    def end(self, state: State) -> None: ...
    def transact(self, state: State, change: Callable[[dict[str, Any]], T]) -> T: ...


class Session(MutableMapping[str, Any]):
    """The session of one request: a mapping from ``str`` to anything that the codec keeps.

    Nothing is loaded before the first use. Changes, also inside nested values, are stored when the response starts; no
    flag is to be set. Using it while the store fails raises :exc:`StoreUnavailable`. It belongs to one request.
    """

    accessed = False
    """Whether this request has used the session in any way."""

    announced = False
    """Whether the response has started: from then on no cookie can be sent."""

    fault: StoreError | ConflictError | None = None
    """What kept this request from loading or changing the session, if anything did."""

    _state: State | None = None

    def __init__(self, keeper: Keeper, read: Callable[[T], Candidates], source: T) -> None:
        """The keeper is asked, at the first use, for the session of the tokens that ``read(source)`` returns."""
        self._keeper = keeper
        self._read: Callable[[Any], Candidates] = read
        self._source = source

    # The mapping

    def __getitem__(self, key: str) -> Any:
        state = self._state or self._open()
        value = state.data[key]
        if value.__class__ not in _IMMUTABLE:
            state.suspect = True
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        state = self._writable()
        state.data[_checked_key(key)] = value
        state.suspect = True

    def __delitem__(self, key: str) -> None:
        state = self._state or self._open()
        del state.data[key]
        state.suspect = True

    def __iter__(self) -> Iterator[str]:
        return iter((self._state or self._open()).data)

    def __len__(self) -> int:
        return len((self._state or self._open()).data)

    def __contains__(self, key: object) -> bool:
        return key in (self._state or self._open()).data

    def get(self, key: str, default: Any = None) -> Any:
        state = self._state or self._open()
        return self[key] if key in state.data else default

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the newest key and its value; raise ``KeyError`` if there is none."""
        state = self._state or self._open()
        state.suspect = True
        return state.data.popitem()

    def __ior__(self, other: Mapping[str, Any]) -> "Session":
        self.update(other)
        return self

    def clear(self) -> None:
        """Remove all data. The session itself, its user and its lifetimes stay; to end it, call :meth:`invalidate`."""
        state = self._state or self._open()
        state.data.clear()
        state.suspect = True

    def __repr__(self) -> str:
        state = self._state
        if state is None:
            return "<Session, not loaded>"
        if state.origin is None:
            return "<Session, new>"
        return f"<Session {state.origin.key}>"

    # What is known of it

    @property
    def id(self) -> str:
        """The public name of the session: safe to log, to list and to revoke by; useless as a cookie.

        It changes when the token does: at once after :meth:`regenerate` and :meth:`login`.
        """
        state = self._state or self._open()
        if state.origin is not None and state.token is None:
            return state.origin.key
        if state.token is None:
            state.token = tokens.new()
        return self._keeper.id_of(self, state.token)

    @property
    def user_id(self) -> str | None:
        """Whose session this is, as given to :meth:`login`; ``None`` if nobody signed in."""
        return (self._state or self._open()).envelope.user_id

    @property
    def is_new(self) -> bool:
        """Whether the store holds no such session (yet)."""
        return (self._state or self._open()).origin is None

    @property
    def created_at(self) -> float:
        """When the session was created or last signed in with :meth:`login` (epoch seconds)."""
        return (self._state or self._open()).envelope.created_at

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
    def modified(self) -> bool:
        """Whether there is anything to store: data, user, lifetimes or token changed, or the session was ended."""
        return self._state is not None and self._keeper.differs(self._state)

    # What can be done with it

    def transact(self, change: Callable[[dict[str, Any]], T]) -> T:
        """Read, change and store in one atomic step, at once; return what *change* returns.

        *change* gets the data as stored now, with this request's own changes on top, as a ``dict`` to modify. It may be
        called several times, so it should do nothing else. Only the keys that it changes are stored, and they are stored
        whatever becomes of the request. On a session that the store does not hold yet it changes the data like any
        other code; on one that was ended meanwhile it sees an empty ``dict`` and stores nothing. Raise
        :exc:`ConflictError`, having stored nothing, when others keep changing the session or someone has signed in.
        """
        state = self._writable()
        try:
            return self._keeper.transact(state, change)
        except (StoreError, ConflictError) as fault:
            self.fault = fault
            raise

    def regenerate(self) -> None:
        """Keep the session and give it a new token; the old one is dead when the response starts.

        The absolute timeout is not extended. Raise :exc:`HeadersAlreadySent` when the response has started.
        """
        state = self._state or self._open()
        self._refuse_if_announced("regenerate()")
        if state.token is None:
            state.token = tokens.new()

    def login(self, user_id: str) -> None:
        """Record who signed in, under a new token, and start both timeouts anew; call it at each sign-in.

        An anonymous session keeps its data; one that belongs to another user is ended first, with its data. The session
        that the browser had is dead when the response starts (OWASP ASVS 5.0, 7.2.4). Raise ``TypeError`` or
        ``ValueError`` unless *user_id* is 1 to 255 bytes of text, :exc:`HeadersAlreadySent` when the response has started.
        """
        user_id = checked_user_id(user_id)
        state = self._state or self._open()
        self._refuse_if_announced("login()")
        if state.envelope.user_id not in (None, user_id):
            self.invalidate()
        now = self._keeper.now()
        state.envelope = state.envelope._replace(user_id=user_id, created_at=now, last_seen_at=now)
        state.signed_in, state.gone = True, False
        self.regenerate()

    def invalidate(self) -> None:
        """End the session: the store forgets it, the browser is told to. Whatever is written afterwards is a new session.

        It holds even if the request fails. After the response has started it happens at once, and only the cookie stays.
        """
        state = self._state or self._open()
        ended = state.rivals if state.origin is None else (state.origin.key,)
        state.ending, state.rivals = (*state.ending, *ended), ()
        state.data.clear()
        state.envelope = self._keeper.new()
        state.origin = state.token = None
        state.suspect = state.signed_in = state.wanted = state.gone = False
        state.forget = state.has_cookie
        if self.announced:
            self._keeper.end(state)

    def set_lifetime(
        self,
        *,
        idle: Duration | None | _Unchanged = _UNCHANGED,
        absolute: Duration | _Unchanged = _UNCHANGED,
        persistent: bool | _Unchanged = _UNCHANGED,
    ) -> None:
        """Give this session timeouts of its own (``timedelta`` or seconds; ``idle=None``: no idle timeout).

        ``persistent=True`` keeps the cookie when the browser closes, until the absolute timeout. What is left out stays.
        The browser can only learn of a changed cookie with a new token, so then the session is regenerated too, and
        :exc:`HeadersAlreadySent` is raised when the response has started.
        """
        state = self._state or self._open()
        was = state.envelope
        now = was._replace(
            idle=was.idle if idle is _UNCHANGED else None if idle is None else seconds("idle", idle),
            absolute=was.absolute if absolute is _UNCHANGED else seconds("absolute", absolute),
            persistent=was.persistent if persistent is _UNCHANGED else bool(persistent),
        )
        if now.persistent != was.persistent or (now.persistent and now.absolute != was.absolute):
            self.regenerate()
        state.envelope = now

    # For the manager and whoever sends the response

    @property
    def progress(self) -> State | None:
        """What this request has done so far; ``None`` if nothing, or if the session could not be loaded."""
        return self._state

    @property
    def keeper(self) -> Keeper:
        """Who opened this session."""
        return self._keeper

    def belongs_to(self, keeper: Keeper) -> bool:
        """Tell whether *keeper* opened this session."""
        return self._keeper is keeper

    def start_over(self) -> None:
        """Forget what was read and changed, for the request is tried again. What it ended stays ended."""
        self.fault = None
        if self._state is not None and self._state.ending:
            self.invalidate()
        else:
            self._state = None

    def _open(self) -> State:
        self.accessed = True
        if self.fault is not None:
            # Once is enough: a store that does not answer would cost its whole time at each use.
            raise type(self.fault)(*self.fault.args) from self.fault.__cause__
        try:
            self._state = state = self._keeper.load(self._read(self._source))
        except StoreError as fault:
            self.fault = fault
            raise
        return state

    def _writable(self) -> State:
        state = self._state or self._open()
        if self.announced and state.origin is None and not state.gone:
            raise HeadersAlreadySent("the response has started, so a new session cannot reach the browser any more")
        return state

    def _refuse_if_announced(self, call: str) -> None:
        if self.announced:
            raise HeadersAlreadySent(f"{call} needs a new cookie, and the response has started")


def checked_user_id(user_id: object) -> str:
    """Return *user_id* as plain ``str``; raise ``TypeError`` or ``ValueError`` unless it is 1 to 255 bytes of text."""
    if not isinstance(user_id, str):
        raise TypeError(f"a user id is str, not {type(user_id).__name__}: write str(...)")
    plain = str.__str__(user_id)
    if not 0 < len(plain.encode()) <= _LONGEST_USER_ID:
        raise ValueError(f"a user id is 1 to {_LONGEST_USER_ID} bytes of text")
    return plain


def checked_keys(data: Mapping[str, Any]) -> None:
    """Raise :exc:`PayloadError` unless every key of *data* is a ``str``."""
    for key in data:
        _checked_key(key)


def _checked_key(key: object) -> str:
    if not isinstance(key, str):
        raise PayloadError(f"a key of type {type(key).__name__}: keys at the top level are str")
    return key if type(key) is str else str.__str__(key)
