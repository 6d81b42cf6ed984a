"""What the application touches. It notes what was read and changed; loading and storing are its keeper's work."""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar

from session_middleware.carry_over import OldSession
from session_middleware.exceptions import ConfigurationError, ConflictError, HeadersAlreadySent, StoreError, anew
from session_middleware.lifetime import Duration, seconds
from session_middleware.record import Encoded, Envelope
from session_middleware.rules import Opens, renewal_is_due
from session_middleware.stores.base import Version
from session_middleware.tokens import Token, well_formed_id
from session_middleware.values import Values

S = TypeVar("S")
T = TypeVar("T")

_LONGEST_USER_ID: Final = 255


class Default(Enum):
    """Stands for an argument that was left out."""

    UNCHANGED = "unchanged"
    READ_NOW = "read now"


UNCHANGED: Final = Default.UNCHANGED
READ_NOW: Final = Default.READ_NOW


class Found(NamedTuple):
    """A live session as the store held it; ``version`` is ``None`` once we have written over it."""

    id: str
    version: Version | None
    envelope: Envelope
    values: Encoded


class Login(NamedTuple):
    """A sign-in that is to be stored; ``mark`` as the user's mark was when it was called."""

    user_id: str
    mark: str | None
    keep: frozenset[str] | None


class State:
    """One session as this request sees it. The session changes it, the committer stores it."""

    token: Token | None = None
    """What the browser is to have once the session is stored: of a new session, a sign-in or a new secret."""
    to_tell: Token | None = None
    """A token that is stored, and that the response has to tell the browser."""
    login: Login | None = None
    regenerates = False
    amended: Mapping[str, Any] = {}
    """What :meth:`Session.set_lifetime` has changed in the envelope."""
    wanted = False
    """Whether it is to be stored even if there is nothing in it, or nothing has changed."""
    forget = False
    """Whether the browser is to drop its cookie."""
    gone = False
    """The session has ended, or belongs to a sign-in that this request knows nothing of: changes have nowhere to go."""
    ending: tuple[Found, ...] = ()
    """Sessions that this request has ended."""
    rivals: tuple[Found, ...] = ()
    """Live sessions that other cookies of the request have opened."""
    renew: float | None = None
    """The secret is to be renewed so long (seconds) after it was issued."""

    def __init__(
        self,
        values: Values,
        envelope: Envelope,
        found: Found | None = None,
        opens: Opens = Opens.NOTHING,
        proof: bytes = b"",
        own: Token | None = None,
        *,
        has_cookie: bool = False,
    ) -> None:
        self.values = values
        self.envelope = envelope
        self.found = found
        self.opens = opens
        self.proof = proof
        self.own = own
        """The token that the request came with and that has opened the session."""
        self.has_cookie = has_cookie
        self.acted = False
        """Whether anything was asked for but reading and changing values."""

    @property
    def is_new(self) -> bool:
        return self.found is None

    @property
    def tells_anyhow(self) -> bool:
        """Whether the browser may have to be told of something, though nothing has been changed since the last commit."""
        return self.renew is not None or self.to_tell is not None

    @property
    def resends(self) -> bool:
        """Whether the browser is to be sent the token that it has, because the cookie's attributes change."""
        amended = self.amended
        return "persistent" in amended or ("absolute" in amended and self.envelope.persistent)


Candidates: TypeAlias = "tuple[Token | OldSession, ...]"
"""What a request came with that may open a session: tokens, and perhaps one session of another library."""


class Keeper(Protocol):
    """What a session asks of whoever keeps it."""

    @property
    def now(self) -> Callable[[], float]: ...
    def load(self, candidates: Candidates) -> State: ...
    def new(self) -> Envelope: ...
    def empty(self) -> Values: ...
    def mark_of(self, user_id: str) -> str | None: ...
    def end(self, state: State) -> None: ...
    def store_now(self, state: State) -> None: ...
    def transact(self, state: State, change: Callable[[MutableMapping[str, Any]], T], *, late: bool) -> T: ...


class Session(MutableMapping[str, Any]):
    """The session of one request: a mapping from ``str`` to anything that the codec keeps.

    Nothing is loaded before the first use. Changes, also inside nested values, are stored when the response starts; no
    flag is to be set. Using it while the store fails raises :exc:`StoreUnavailable`. It belongs to one request.
    """

    accessed = False
    """Whether this request has used the session in any way."""

    announced = False
    """Whether the response has started: from then on no cookie can be sent."""

    is_socket = False
    """Whether no response may follow, as where a WebSocket takes the place of one: what is ended ends at the call."""

    is_over = False
    """Whether the request is over: from then on nobody stores what is changed, so it is refused."""

    fault: StoreError | ConflictError | None = None
    """What kept this request from loading or changing the session, if anything did."""

    _state: State | None = None

    def __init__(self, keeper: Keeper, read: Callable[[S], Candidates], source: S) -> None:
        """The keeper is asked, at the first use, for the session of the tokens that ``read(source)`` returns."""
        self._keeper = keeper
        self._read: Callable[[Any], Candidates] = read
        self._source: Any = source

    # The mapping

    def __getitem__(self, key: str) -> Any:
        return (self._state or self._open()).values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._writable().values[key] = value

    def __delitem__(self, key: str) -> None:
        del self._changeable().values[key]

    def __iter__(self) -> Iterator[str]:
        return iter((self._state or self._open()).values)

    def __len__(self) -> int:
        return len((self._state or self._open()).values)

    def __bool__(self) -> bool:
        return bool((self._state or self._open()).values)

    def __contains__(self, key: object) -> bool:
        return key in (self._state or self._open()).values

    def get(self, key: str, default: Any = None) -> Any:
        return (self._state or self._open()).values.get(key, default)

    def update(self, other: Any = (), /, **others: Any) -> None:
        """See :meth:`dict.update`."""
        self._writable().values.update(other, **others)

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the newest key and its value; raise ``KeyError`` if there is none."""
        return self._changeable().values.popitem()

    def __ior__(self, other: Mapping[str, Any]) -> "Session":
        self.update(other)
        return self

    def clear(self) -> None:
        """Remove all data. The session itself, its user and its lifetimes stay; to end it, call :meth:`invalidate`."""
        self._changeable().values.clear()

    def revert(self) -> None:
        """Undo what this request has changed in the data and not stored yet."""
        (self._state or self._open()).values.revert()

    def __repr__(self) -> str:
        state = self._state
        if state is None:
            return "<Session, not loaded>"
        return "<Session, new>" if state.found is None else f"<Session {state.found.id}>"

    # What is known of it

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
    def modified(self) -> bool:
        """Whether there is anything to store: data, user, lifetimes or secret changed, or the session was ended."""
        state = self._state
        if state is None:
            return False
        if state.ending or state.login or state.wanted:
            return True
        if state.found is None:
            return bool(state.values)
        return bool(state.regenerates or state.amended) or state.values.differ()

    # What can be done with it

    def transact(self, change: Callable[[MutableMapping[str, Any]], T]) -> T:
        """Read, change and store in one atomic step, at once; return what *change* returns.

        *change* gets the data as stored now, with this request's own changes on top, as a mapping to modify. It may be
        called several times, so it should do nothing else. What it changes is stored whatever becomes of the request, and
        with it what the request has changed and asked for so far. On a session that the store does not hold yet it changes
        the data like any other code; on one that was ended meanwhile it sees an empty mapping and stores nothing. Raise
        :exc:`ConflictError`, having stored nothing, when others keep changing the session or someone has signed in.
        """
        state = self._writable()
        try:
            return self._keeper.transact(state, change, late=self.announced)
        except (StoreError, ConflictError) as fault:
            self.fault = anew(fault)
            raise

    def regenerate(self) -> None:
        """Keep the session and give it a new secret; the old one is dead when the response starts.

        The absolute timeout is not extended. Raise :exc:`HeadersAlreadySent` when the response has started.
        """
        state = self._state or self._open()
        self._refuse_if_announced("regenerate()")
        if state.login is None and state.opens is Opens.SESSION and state.found is not None:
            state.token = Token.new(state.found.id)
            state.regenerates = state.acted = True

    def login(self, user_id: str, *, keep: Iterable[str] | None = None, mark: str | None | Default = READ_NOW) -> None:
        """Record who signed in, under a new secret, and start both timeouts anew; call it at each sign-in.

        Nothing that was there before a sign-in opens what comes after it (OWASP ASVS 5.0, 7.2.4). An anonymous session goes
        on with its data, or with those under the keys in *keep* alone. One that belongs to another user is ended first,
        with its data. *mark*: what :meth:`SessionManager.mark_of` returned before the password was checked, so that signing
        out everywhere meanwhile ends this sign-in, too; without it, it is read now. Raise ``TypeError`` or ``ValueError``
        unless *user_id* is 1 to 255 bytes of text, :exc:`HeadersAlreadySent` when the response has started.
        """
        user_id = checked_user_id(user_id)
        if not isinstance(mark, Default) and mark is not None and not well_formed_id(mark):
            raise ValueError(f"mark={mark!r}: write what mark_of() returned")
        kept = None if keep is None else _checked_keys(keep)
        state = self._state or self._open()
        self._refuse_if_announced("login()")
        if state.envelope.user_id not in (None, user_id):
            self.invalidate()
        if isinstance(mark, Default):
            try:
                mark = self._keeper.mark_of(user_id)
            except StoreError as fault:
                self.fault = anew(fault)
                raise
        if state.envelope.user_id is None and kept is not None:
            state.values.keep_only(kept)
        if state.opens is Opens.NOTHING:
            state.found = None
        if state.token is None or state.found is not None:
            state.token = Token.new(None if state.found is None else state.found.id)
        now = self._keeper.now()
        seen = max(now, state.envelope.last_seen_at)
        state.envelope = state.envelope._replace(user_id=user_id, signed_in_at=now, last_seen_at=seen)
        state.login = Login(user_id, mark, kept)
        state.acted, state.regenerates, state.gone = True, False, False

    def invalidate(self) -> None:
        """End the session: the store forgets it, the browser is told to. Whatever is written afterwards is a new session.

        It holds even if the request fails. After the response has started it happens at once, and only the cookie stays; at
        once, too, in a request for a WebSocket, which has no response. A request that came with a secret from just before a
        sign-in ends nothing.
        """
        state = self._state or self._open()
        stale = state.opens is Opens.SNAPSHOT or (state.gone and state.is_new)
        if state.opens is Opens.SESSION and state.found is not None:
            # The others stay for a login() that follows: that ends them.
            state.ending = (*state.ending, state.found)
        elif not stale:
            state.ending, state.rivals = (*state.ending, *state.rivals), ()
        state.values, state.envelope = self._keeper.empty(), self._keeper.new()
        state.found = state.token = state.to_tell = state.login = state.own = None
        state.opens, state.amended, state.renew = Opens.NOTHING, {}, None
        state.wanted = state.regenerates = False
        state.gone, state.acted, state.forget = stale, True, state.has_cookie and not stale
        if self.announced or self.is_socket:
            self._keeper.end(state)

    def set_lifetime(
        self,
        *,
        idle: Duration | None | Default = UNCHANGED,
        absolute: Duration | Default = UNCHANGED,
        persistent: bool | Default = UNCHANGED,
    ) -> None:
        """Give this session timeouts of its own (``timedelta`` or seconds; ``idle=None``: no idle timeout).

        ``persistent=True`` keeps the cookie when the browser closes, until the absolute timeout. What is left out stays.
        The browser is sent its token once more if the cookie changes, so then :exc:`HeadersAlreadySent` is raised when the
        response has started.
        """
        state = self._state or self._open()
        was = state.envelope
        now = was._replace(
            idle=was.idle if isinstance(idle, Default) else None if idle is None else seconds("idle", idle),
            absolute=was.absolute if isinstance(absolute, Default) else seconds("absolute", absolute),
            persistent=was.persistent if isinstance(persistent, Default) else persistent,
        )
        if not isinstance(idle, Default) and now.idle is not None and now.idle > now.absolute:
            raise ConfigurationError(
                f"idle={now.idle:g} is longer than absolute={now.absolute:g} (seconds): write idle=None"
            )
        if not isinstance(persistent, bool | Default):
            raise ConfigurationError(f"persistent={persistent!r}: write True or False")
        if now.persistent != was.persistent or (now.persistent and now.absolute != was.absolute):
            self._refuse_if_announced("set_lifetime()")
        self.amend(idle=now.idle, absolute=now.absolute, persistent=now.persistent)

    # For the manager, the integrations and whoever sends the response

    @property
    def state(self) -> State | None:
        """What this request has done so far; ``None`` if nothing, or if the session could not be loaded."""
        return self._state

    @property
    def keeper(self) -> Keeper:
        """Who opened this session."""
        return self._keeper

    @property
    def is_gone(self) -> bool:
        """Whether what this request changes has nowhere to go: the session has ended, or someone has signed in.

        It has somewhere to go once this request itself has called :meth:`login`.
        """
        state = self._state or self._open()
        return state.login is None and (state.gone or state.opens is Opens.SNAPSHOT)

    @property
    def tells(self) -> bool:
        """Whether the response will have to tell the browser something, as far as is known by now."""
        state = self._state
        if state is None:
            return False
        if state.forget or state.to_tell is not None:
            return True
        if state.is_new:
            return self.modified
        if state.renew is not None and renewal_is_due(state.envelope, state.proof, self._keeper.now(), state.renew):
            return True
        return state.login is not None or ((state.token is not None or state.resends) and not self.is_gone)

    def use(self) -> None:
        """Store a new session even if there is nothing in it; let the idle timeout of another one start anew."""
        state = self._changeable()
        state.wanted = state.acted = True

    def store_now(self, check: Callable[[], object]) -> None:
        """Store what was changed so far, for a framework that handles the errors of it itself.

        *check* is called before, if there is anything to store: it raises if the response cannot be sent. Raise what the
        commit would raise. A new secret is stored by the commit, just before the cookie leaves: here only its values
        are encoded.
        """
        state = self._state
        if state is None or not (state.acted or state.values.suspect):
            return
        check()
        if state.login is not None or state.regenerates:
            state.values.changes()
            return
        try:
            self._keeper.store_now(state)
        except (StoreError, ConflictError) as fault:
            self.fault = anew(fault)
            raise

    def amend(self, **fields: Any) -> None:
        """Change fields of the envelope."""
        state = self._changeable()
        changed = {name: value for name, value in fields.items() if getattr(state.envelope, name) != value}
        if changed:
            state.envelope = state.envelope._replace(**changed)
            state.amended = {**state.amended, **changed}
            state.acted = True

    def belongs_to(self, keeper: Keeper) -> bool:
        """Tell whether *keeper* opened this session."""
        return self._keeper is keeper

    def start_over(self) -> None:
        """Forget what was read and changed, for the request is tried again. What it ended stays ended.

        It goes on with a secret that it has stored already: no other opens the session, and the browser is to be told.
        """
        self.fault = None
        state = self._state
        if state is not None and state.to_tell is not None:
            self._go_on(state, state.to_tell)
        elif state is not None and state.ending:
            rivals, state.rivals = state.rivals, ()
            self.invalidate()
            state.rivals = rivals
        else:
            self._state = None

    def _go_on(self, before: State, token: Token) -> None:
        self._state, self._read = None, lambda _: (token,)
        try:
            state = self._open()
        except StoreError:
            self._state = before
            raise
        state.ending, state.acted, state.has_cookie = before.ending, bool(before.ending), before.has_cookie
        state.to_tell = token if state.opens is Opens.SESSION else None

    def _open(self) -> State:
        if self.announced and not self.accessed:
            self._first_used_late()
        self.accessed = True
        if self.fault is not None:
            # Once is enough: a store that does not answer would cost its whole time at each use.
            raise anew(self.fault)
        try:
            self._state = state = self._keeper.load(self._read(self._source))
        except StoreError as fault:
            self.fault = anew(fault)
            raise
        return state

    def _first_used_late(self) -> None:
        """The session is used for the first time, and the response has started."""

    def _changeable(self) -> State:
        state = self._state or self._open()
        if self.is_over:
            raise HeadersAlreadySent(
                "the request is over, so nobody stores a change any more: call session.transact(), which stores at once,"
                " while it runs; afterwards, as in a thread, the manager's open(token).transact()"
            )
        return state

    def _writable(self) -> State:
        state = self._changeable()
        if self.announced and state.opens is Opens.NOTHING and not state.gone:
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


def _checked_keys(keep: Iterable[str]) -> frozenset[str]:
    if isinstance(keep, str):
        raise TypeError(f"keep={keep!r}: write the keys as a tuple, such as ({keep!r},)")
    return frozenset(keep)
