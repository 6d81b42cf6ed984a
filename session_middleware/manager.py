"""Opens sessions, stores what a request did to them, lists and revokes them. It knows stores and no HTTP."""

import logging
import math
from collections.abc import Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, cast

from session_middleware import rules, tokens
from session_middleware.aliases import Aliases
from session_middleware.bound import bind
from session_middleware.carry_over import OldSession
from session_middleware.clock import system_clock
from session_middleware.codecs import Codec, MsgpackCodec
from session_middleware.commits import Committer
from session_middleware.directory import Directory
from session_middleware.exceptions import ConfigurationError, SessionError, StoreError, StoreUnusable
from session_middleware.frozen import Frozen
from session_middleware.lifetime import Lifetime, touch_interval
from session_middleware.limit import AtLimit, limit_of
from session_middleware.notes import Damaged, Tombstone
from session_middleware.outage import Outage
from session_middleware.record import Binding, Envelope, unpack_values
from session_middleware.repository import Repository
from session_middleware.rules import Opens
from session_middleware.session import Session
from session_middleware.state import Candidates, Ended, Found, Login, State
from session_middleware.stores import open_store
from session_middleware.stores.base import Health, Openable, Store
from session_middleware.takeover import RENEW, Takeover
from session_middleware.tokens import FormerToken, Token
from session_middleware.values import Values

if TYPE_CHECKING:
    from session_middleware.events import Observer
    from session_middleware.seal import Seal, Sealer
    from session_middleware.telling import Teller

log = logging.getLogger("session_middleware")

T = TypeVar("T")

DEFAULT_STORE = "sqlite:///sessions.sqlite3"
"""Where sessions are kept if nobody says: a file in the directory in which the process was started."""

_OPENING = (Opens.SESSION, Opens.SNAPSHOT)

MAX_BYTES = 256 * 1024
"""The largest session, unless an option says otherwise."""


# The other fields of an envelope have their defaults.
_REST = tuple(Envelope._field_defaults.values())


class Send(NamedTuple):
    """The browser must learn this token; ``max_age`` is in seconds, ``None`` for a cookie that ends with the browser."""

    token: Token
    max_age: int | None


class Forget(Frozen):
    """The browser must drop its cookie."""


Verdict: TypeAlias = Send | Forget


class SessionManager(Directory):
    """Everything about sessions but HTTP: for the middleware, for other integrations, for scripts and consoles.

    ``store`` is a store, or a URL for :func:`open_store`; ``lifetime`` that of new sessions. ``namespace`` keeps apart the
    tokens of installations that share one store. ``max_bytes`` bounds what a session keeps. ``clock`` returns epoch
    seconds. ``observer``, one or several, is told what happens (:class:`~session_middleware.events.Observer`). A user has at
    most ``max_per_user`` sessions; ``at_limit``: which end, or that :exc:`TooManySessions` is raised.
    ``seal``: the keys that sessions are sealed with (:class:`~session_middleware.seal.Seal`).
    """

    def __init__(
        self,
        store: Store | str,
        *,
        lifetime: Lifetime = Lifetime.AAL2,
        codec: Codec | None = None,
        namespace: str = "session",
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = system_clock,
        observer: "Observer | Iterable[Observer] | None" = None,
        max_per_user: int | None = None,
        at_limit: AtLimit = "end_oldest",
        seal: "Seal | None" = None,
    ) -> None:
        if isinstance(store, str):
            store = open_store(store)
        _refuse(store, clock, namespace, lifetime, max_bytes, codec)
        self.store = store
        self.seal = seal
        self.lifetime = lifetime
        self.namespace = namespace
        self.codec: Codec = MsgpackCodec() if codec is None else codec
        self.now = clock
        self.teller = None if observer is None else _teller(observer, clock)
        """Who tells the observers, if there are any."""
        self.outage = Outage(clock, self.teller)
        self._asked = asked = store if self.teller is None else self.teller.around(store)
        self._proof_of = tokens.proof_function(namespace)
        self._family_of = tokens.family_function(namespace)
        sealer = None if seal is None else _sealer(seal, namespace, self._proof_of)
        self._names = sealer or tokens.Names(namespace)
        self._sessions = Repository(asked, max_bytes, clock, self.teller, lifetime.keep_ended, sealer)
        self._aliases = Aliases(self._sessions, self._names, clock)
        self.read_aliases = self._aliases.read
        self._limit = limit_of(self._sessions, asked, self._names, max_per_user, at_limit)
        known = self._mark_id, self._aliases
        proofs = self._proof_of, self._family_of
        self._committer = Committer(self._sessions, self.codec, *proofs, self.new, *known, clock, self._limit)
        self._takeover = Takeover(self._sessions, self.codec, self._proof_of, namespace)

    def check_store(self) -> None:
        """Try the store once, before anybody comes, and say in the log which one it is.

        Raise :exc:`StoreUnusable`, which is a :exc:`ConfigurationError`, if it will not work before somebody changes
        something. That it does not work just now, as a server that is away, is a line in the log.
        """
        try:
            if isinstance(self._asked, Openable):
                self._asked.open()
        except StoreUnusable:
            raise
        except StoreError as error:
            log.error("the store cannot be used now, and the site starts without it: %s", error)
        else:
            log.info("sessions are kept by %s", self.store)

    def check(self) -> Health:
        """Ask the store once how it is, and return what it tells, with what to do about it.

        A store that fails is a finding, and raises nothing; nothing is written. See :class:`Health`.
        """
        from session_middleware.health import health_of  # which no request needs

        return health_of(self._asked)

    # Opening

    def open(self, token: Token | str | None = None) -> Session:
        """Return the session of *token*, loaded at its first use; a new one if there is none alive, or no token."""
        return Session(self, _candidates, token)

    def load(self, candidates: Candidates) -> State:
        """Return the state that a request starts from.

        Of several tokens that open something, the one is used whose session is signed in; else the one that is alive; else
        the one that opens a snapshot. Where two have the same rank, none is. If none of them opened anything, a session of
        another library is carried over.
        """
        if len(candidates) == 1 and candidates[0].__class__ is Token:
            opened = self._judged(candidates[0])
            return opened if isinstance(opened, State) else self._nothing(opened)
        best: dict[str, State] = {}
        old: OldSession | None = None
        ended: Ended | None = None
        for token in candidates:
            if not isinstance(token, Token):
                old = token
            elif isinstance(judged := self._judged(token), State):
                if judged.opens is Opens.SESSION or token.id not in best:
                    best[token.id] = judged
            else:
                ended = ended or judged
        if old is not None and not best:
            return self._carried_over(old)
        state = self._chosen(list(best.values())) or self._nothing(ended, has_cookie=bool(candidates))
        if isinstance(state.own, FormerToken):
            self._is_not_to_be_kept(state)
        return state

    def _nothing(self, ended: Ended | None, *, has_cookie: bool = True) -> State:
        state = State(self.empty(), self.new(), has_cookie=has_cookie)
        state.ended = ended
        return state

    def _judged(self, token: Token, found: Found | Tombstone | None = None) -> State | Ended | None:
        """Return the state that a token opens; if it opens nothing, why that has ended, or ``None``.

        *found*: what is there under its id, if that is known.
        """
        if found is None:
            found = self._sessions.look(token.id)
            if found is None:
                return None
        proof = self._proof_of(token)
        if isinstance(found, Tombstone):
            return Ended(found.reason, found.at) if proof in found.proofs else None
        opens = rules.opens(found.envelope, proof, self.now())
        if (self.seal is not None or found.seal is not None) and opens in _OPENING:
            opened = self._sessions.open(found, token, proof)
            if opened is None:
                return None
            found = opened
        if opens is Opens.SESSION:
            state = State(Values(found.values, self.codec), found.envelope, found, opens, proof, token, has_cookie=True)
            if self.lifetime.renew is not None:
                state.renew = self.lifetime.renew
            return state
        # Of secrets that were renewed long ago the record has forgotten all but their family.
        family = found.envelope.family
        if opens is Opens.REPLAY or (opens is Opens.NOTHING and family is not None and family == self._family_of(token)):
            return self._replayed(found)
        if opens is Opens.SNAPSHOT:
            values = Values(_unpacked(found.envelope.snapshot), self.codec)
            return State(values, self.new(), found, opens, proof, has_cookie=True)
        return None

    def _replayed(self, found: Found) -> Ended | None:
        log.warning("session %s: somebody came with an old secret, whose successor has been used", found.id)
        if self.teller is not None:
            self.teller.replayed(found.id, found.envelope)
        if self.lifetime.on_replay == "refuse":
            return None
        # Of a sign-in that comes in between, the secret is from before it, and no replay.
        ended = self._sessions.end(found.id, "replayed", only=lambda envelope: envelope.era == found.envelope.era)
        is_kept = ended and self.lifetime.keep_ended is not None and found.envelope.user_id is not None
        return Ended("replayed", self.now()) if is_kept else None

    def _chosen(self, opened: list[State]) -> State | None:
        living = [state for state in opened if state.opens is Opens.SESSION]
        signed_in = [state for state in living if state.envelope.user_id is not None]
        group = signed_in or living or opened
        if len(group) > 1:
            log.warning("%d sessions of the same rank in one request: none of them is used", len(group))
        state = group[0] if len(group) == 1 else State(self.empty(), self.new(), has_cookie=True) if group else None
        if state is not None:
            state.rivals = tuple([other.found for other in living if other is not state and other.found is not None])
        return state

    def _carried_over(self, old: OldSession) -> State:
        token = self._takeover.token_of(old)
        found = self._takeover.open(token, old, self.new())
        state = None if found is None else self._judged(token, found)
        if not isinstance(state, State):
            return self._nothing(state)
        self._is_not_to_be_kept(state)
        return state

    def _is_not_to_be_kept(self, state: State) -> None:
        """The token came in a cookie that goes: by a renewal, the browser gets one that this cookie never had."""
        state.own, state.renew = None, RENEW

    def new(self) -> Envelope:
        """Return the envelope of a session that begins now."""
        now, usual = self.now(), self.lifetime
        fields = (None, now, now, now, usual.idle, usual.absolute, usual.persistent, 0, (), now)
        return tuple.__new__(Envelope, fields + _REST)

    def empty(self) -> Values:
        """Return the values of a session that begins now."""
        return Values({}, self.codec)

    # Storing

    def commit(self, session: Session, *, failed: bool = False) -> Verdict | None:
        """Store what the request did, and return what the browser must be told; ``None`` for nothing.

        *failed*: the request changes nothing, but what it ended stays ended. Raise :exc:`StoreUnavailable`,
        :exc:`ConflictError`, :exc:`PayloadError` or :exc:`SessionTooLarge` when a change could not be stored.
        """
        state = session.state
        if state is None:
            return None
        if state.opens is Opens.SESSION and not (state.acted or state.values.suspect):
            if not (failed or session.announced) and self._is_due(state):
                self._committer.note(state)
        else:
            if state.ending:
                self._committer.end(state)
            if not failed:
                self._committer.store(state, late=session.announced)
        if self.outage.is_on and (state.found is not None or state.has_cookie):
            self.outage.answered()
        if session.announced:
            return None
        if state.to_tell is not None:
            token, state.to_tell = state.to_tell, None
            return Send(token, self._max_age(state.envelope))
        return Forget() if state.forget else None

    def lost(self, session: Session, error: SessionError) -> None:
        """Log that what was left to store when a request ended could not be stored."""
        if isinstance(error, StoreError):
            self.outage.failed(error)
        else:
            log.error("%r: what was left to store when the request ended is lost: %s", session, error)

    def is_current(self, session: Session) -> bool:
        """Tell whether the token that the request came with, or was told since, is one to keep, as of the last load or
        commit. It is not if the session has ended, or if somebody came with a later one."""
        state = session.state
        if state is None or state.own is None or state.opens is not Opens.SESSION:
            return False
        return rules.is_latest(state.envelope, self._proof_of(state.own))

    def look_for_room(self, state: State, login: Login) -> None:
        """Raise :exc:`TooManySessions` if a sign-in is to be refused."""
        if self._limit is not None:
            self._limit.look(state, login)

    def store_now(self, state: State) -> None:
        """Store what a request did so far; see :meth:`Session.store_now`."""
        self._committer.end(state)
        self._committer.store(state, late=False)

    def end(self, state: State) -> None:
        """End what a request has ended, at once."""
        self._committer.end(state)

    def bind(self, state: State, key: bytes) -> Binding | None:
        """Bind a session to the device with that public key (DER), and return with what; ``None`` if that cannot be."""
        return bind(self._sessions, cast("Found", state.found), key, self.now())

    def transact(self, state: State, change: Callable[[MutableMapping[str, Any]], T], *, late: bool = False) -> T:
        """See :meth:`Session.transact`."""
        return self._committer.transact(state, change, late)

    def _is_due(self, state: State) -> bool:
        """Tell whether there may be something to note of a session that was only read."""
        envelope, now = state.envelope, self.now()
        if envelope.previous or (state.renew is not None and now - envelope.issued_at >= state.renew):
            return True
        return now - envelope.last_seen_at >= touch_interval(envelope.idle)

    def _max_age(self, envelope: Envelope) -> int | None:
        if not envelope.persistent:
            return None
        return max(0, math.ceil(envelope.ends_at - self.now()))


def _refuse(store: object, clock: object, namespace: object, lifetime: object, max_bytes: object, codec: object) -> None:
    """Raise :exc:`ConfigurationError` for options that cannot work."""
    if isinstance(store, type) or not all(hasattr(store, verb) for verb in ("create", "load", "update", "delete")):
        raise ConfigurationError(f"store={store!r}: write a URL, or a store such as SQLiteStore(path)")
    if not callable(clock):
        raise ConfigurationError(f"clock={clock!r}: write a function that returns epoch seconds, such as time.time")
    if not isinstance(namespace, str) or not namespace or not namespace.isprintable():
        raise ConfigurationError(f"namespace={namespace!r}: write a text, the same in all processes of the site")
    if not isinstance(lifetime, Lifetime):
        raise ConfigurationError(f"lifetime={lifetime!r}: write Lifetime(idle=..., absolute=...)")
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1024:
        raise ConfigurationError(f"max_bytes={max_bytes!r}: write a number of bytes, at least 1024")
    if codec is not None and (isinstance(codec, type) or not (hasattr(codec, "encode") and hasattr(codec, "decode"))):
        raise ConfigurationError(f"codec={codec!r}: write MsgpackCodec(), JSONCodec() or a codec of your own")


def _sealer(seal: "Seal", namespace: str, proof_of: tokens.Proof) -> "Sealer":
    if not callable(getattr(seal, "of", None)):
        # Whatever it is, it may be a key.
        raise ConfigurationError("write seal=Seal(key), of session_middleware.seal")
    return seal.of(namespace, proof_of)


def _teller(observer: "Observer | Iterable[Observer]", clock: Callable[[], float]) -> "Teller":
    from session_middleware.telling import Teller  # what nobody has asked for costs no import

    return Teller(observer, clock)


def _unpacked(snapshot: bytes) -> dict[str, bytes]:
    try:
        return unpack_values(snapshot) if snapshot else {}
    except Damaged:
        return {}


def _candidates(token: Token | str | None) -> Candidates:
    found = token if isinstance(token, Token) else Token.read(token)
    return () if found is None else (found,)
