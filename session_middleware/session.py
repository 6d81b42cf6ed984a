"""What the application touches. It notes what was read and changed; loading and storing are its keeper's work."""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeVar

from session_middleware.exceptions import ConfigurationError, ConflictError, HeadersAlreadySent, StoreError, anew
from session_middleware.facts import Facts
from session_middleware.lifetime import Duration, seconds
from session_middleware.record import Binding
from session_middleware.rules import Opens
from session_middleware.state import (
    Candidates,
    Keeper,
    Login,
    State,
    checked_aliases,
    checked_moment,
    checked_user_id,
)
from session_middleware.tokens import Token, well_formed_id

S = TypeVar("S")
T = TypeVar("T")


class Default(Enum):
    """Stands for an argument that was left out."""

    UNCHANGED = "unchanged"
    READ_NOW = "read now"


UNCHANGED: Final = Default.UNCHANGED
READ_NOW: Final = Default.READ_NOW


class Session(Facts, MutableMapping[str, Any]):
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

    describe: Callable[[str | None], str | None] | None = None
    """What the state is given, see :attr:`State.describe`."""

    offers: Callable[[], Binding] | None = None
    """Makes what a session is to be bound with to the device that signs in, where that is wanted."""

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
        state.regenerate()

    def login(
        self,
        user_id: str,
        *,
        keep: Iterable[str] | None = None,
        mark: str | None | Default = READ_NOW,
        alias: str | Iterable[str] | None = None,
        not_after: float | datetime | None = None,
    ) -> None:
        """Record who signed in, under a new secret, and start both timeouts anew; call it at each sign-in.

        Nothing that was there before a sign-in opens what comes after it (OWASP ASVS 5.0, 7.2.4). An anonymous session goes
        on with its data, or with those under the keys in *keep* alone. One that belongs to another user is ended first,
        with its data. *mark*: what :meth:`SessionManager.mark_of` returned before the password was checked, so that signing
        out everywhere meanwhile ends this sign-in, too; without it, it is read now. *alias*: one or two more names by which
        :meth:`SessionManager.revoke_alias` finds the session, such as the ``sid`` of an identity provider; those from before
        stay. *not_after*: when the session ends at the latest (epoch seconds, or a ``datetime`` with a time zone), such as
        when that at the identity provider does (OWASP ASVS 5.0, 7.6.1); it holds until another sign-in brings another. Raise
        ``TypeError`` or ``ValueError`` unless *user_id* and each alias is 1 to 255 bytes of text and *not_after* is to come,
        :exc:`HeadersAlreadySent` when the response has started, :exc:`TooManySessions` if the limit of sessions refuses it.
        """
        user_id = checked_user_id(user_id)
        if not isinstance(mark, Default) and mark is not None and not well_formed_id(mark):
            raise ValueError(f"mark={mark!r}: write what mark_of() returned")
        kept, aliases = None if keep is None else _checked_keys(keep), checked_aliases(alias)
        until = None if not_after is None else checked_moment(not_after, self._keeper.now())
        state = self._state or self._open()
        self._refuse_if_announced("login()")
        try:
            mark = self._keeper.mark_of(user_id) if isinstance(mark, Default) else mark
            login = Login(user_id, mark, kept, self._keeper.read_aliases(aliases), until, self.offers and self.offers())
            self._keeper.look_for_room(state, login)
        except StoreError as fault:
            self.fault = anew(fault)
            raise
        if state.envelope.user_id not in (None, user_id):
            self.invalidate()
        state.sign_in(login, self._keeper.now())

    def confirm(self) -> None:
        """The user who has signed in has just proved it again: a new secret and new timeouts, and all data are kept.

        It is the boundary that a sign-in is: nothing from before it opens what comes after. Raise ``ValueError`` if nobody
        has signed in, :exc:`HeadersAlreadySent` when the response has started.
        """
        user_id = self.user_id
        if user_id is None:
            raise ValueError("nobody has signed in, so nobody can prove it again: call login()")
        self.login(user_id)

    def invalidate(self) -> None:
        """End the session: the store forgets it, the browser is told to. Whatever is written afterwards is a new session.

        It holds even if the request fails. After the response has started it happens at once, and only the cookie stays; at
        once, too, in a request for a WebSocket, which has no response. A request that came with a secret from just before a
        sign-in ends nothing.
        """
        state = self._state or self._open()
        state.has_cookie = state.has_cookie or self._has_odd_cookie()
        state.end(self._keeper.empty(), self._keeper.new())
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
        """Whether what this request changes has nowhere to go: the session has ended, or someone has signed in."""
        return (self._state or self._open()).goes_nowhere

    @property
    def tells(self) -> bool:
        """Whether the response will have to tell the browser something, as far as is known by now."""
        return self._state is not None and self._state.tells(self._keeper.now())

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
        self._changeable().amend(**fields)

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
        state.offered = before.offered

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
        state.describe = self.describe
        return state

    def _first_used_late(self) -> None:
        """The session is used for the first time, and the response has started."""

    def _has_odd_cookie(self) -> bool:
        """Tell whether the request came with a cookie of ours that has not even the form of a token."""
        return False

    def _changeable(self) -> State:
        state = self._state or self._open()
        self._refuse_if_over()
        return state

    def _refuse_if_over(self) -> None:
        if self.is_over:
            raise HeadersAlreadySent(
                "the request is over, so nobody stores a change any more: call session.transact(), which stores at once,"
                " while it runs; afterwards, as in a thread, the manager's open(token).transact()"
            )

    def _writable(self) -> State:
        state = self._changeable()
        if self.announced and state.opens is Opens.NOTHING and not state.gone:
            raise HeadersAlreadySent("the response has started, so a new session cannot reach the browser any more")
        return state

    def _refuse_if_announced(self, call: str) -> None:
        self._refuse_if_over()
        if self.announced:
            raise HeadersAlreadySent(f"{call} needs a new cookie, and the response has started")


def _checked_keys(keep: Iterable[str]) -> frozenset[str]:
    if isinstance(keep, str):
        raise TypeError(f"keep={keep!r}: write the keys as a tuple, such as ({keep!r},)")
    return frozenset(keep)
