"""What the requests of a scenario do, through the interface that applications have, and what is known of them afterwards."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from session_middleware import (
    ConflictError,
    Forget,
    HeadersAlreadySent,
    Lifetime,
    Send,
    Session,
    SessionManager,
    TooManySessions,
)
from session_middleware.limit import AtLimit, limit_of
from session_middleware.manager import Verdict
from session_middleware.rules import Opens
from session_middleware.state import Found
from session_middleware.tokens import Token
from tests.protocol.turn import turn

RENEWAL = 60.0
"""So long (seconds) after it was issued a secret is renewed, where a scenario has renewal."""

RENEWING = Lifetime(renew=RENEWAL)

LOGIN_BEGINS, REVOCATION_BEGINS, ALIAS_ENDS = "login begins", "revoke_all begins", "revoke_alias begins"

SID = "sid"
"""The alias of all sign-ins that have one."""

Change = tuple[str, str, str]
"""A kind ("set", "grow", "drop" or "count"), a key and a value."""


class Manager(SessionManager):
    """A manager whose limit of sessions can be changed."""

    def limit_to(self, limit: tuple[int, AtLimit] | None) -> None:
        """Take another limit of the sessions of a user than before."""
        made = None if limit is None else limit_of(self._sessions, self._asked, self._names, *limit)
        self._limit = self._committer._limit = made


class Request(NamedTuple):
    """A request as the server gets it."""

    name: str
    acts: tuple["Act", ...]
    tokens: tuple[Token, ...] = ()


class Outcome(NamedTuple):
    """What a request has told the browser, and what the checks want to know of it."""

    opened: Opens
    user_id: str | None
    """Who was signed in when the session was opened."""
    views: frozenset[str]
    """The keys that it has seen at any time."""
    cookie: Token | None
    forget: bool
    stored: tuple[tuple[str, Change], ...]
    """Each change that was stored, and the id of the session it went to."""
    dropped: bool
    """Whether changes had nowhere to go."""
    ended: tuple[tuple[str, int | None], ...]
    """The ids that it has ended. Of who was anonymous, only the era that it had seen was to end."""
    signed_in: Token | None
    refused: bool = False
    """Whether there were too many sessions for its sign-in."""
    verbs: int = 0
    """How often it has asked the store, where that counts."""
    began: int = 0
    at: int = 0
    """When it made its first and its last verb, where that counts."""


class Visit:
    """One request at work."""

    def __init__(self, manager: SessionManager, request: Request) -> None:
        self.manager = manager
        self.session = Session(manager, _as_they_are, request.tokens)
        self.pending: list[Change] = []
        self.refused = False
        self._request = request
        self._opened = Opens.NOTHING
        self._user_id: str | None = None
        self._views: set[str] = set()
        self._stored: list[tuple[str, Change]] = []
        self._ended: list[tuple[str, int | None]] = []
        self._rivals: tuple[Found, ...] = ()
        self._verdict: Verdict | None = None
        self._signs_in = self._dropped = False

    def run(self) -> Outcome:
        """Do all that the request does, to its response."""
        acts = self._request.acts
        if any(act.opens for act in acts):
            self._open()
        for act in acts:
            act.do(self)
        self.commits()
        cookie = self._verdict.token if isinstance(self._verdict, Send) else None
        return Outcome(
            self._opened,
            self._user_id,
            frozenset(self._views),
            cookie,
            isinstance(self._verdict, Forget),
            tuple(self._stored),
            self._dropped,
            tuple(dict.fromkeys((*self._ended, *[(key, None) for key in turn.deleted]))),
            cookie if self._signs_in else None,
            self.refused,
        )

    def commits(self) -> None:
        """Store what was done; the first time, that is what the response tells."""
        verdict = self.manager.commit(self.session)
        if not self.session.announced:
            self._verdict = verdict
        if isinstance(verdict, Send):
            self._ends(tuple(rival for rival in self._rivals if rival.id != verdict.token.id))
        self._settle()

    def sees(self, data: Any) -> None:
        """Note which keys there are; that hands out no value."""
        self._views.update(data)

    def transacts(self, change: Callable[[Any], None], meaning: Change) -> None:
        """Change the data in a transaction, which may be refused, with all that is pending."""

        def watched(data: Any) -> None:
            self.sees(data)
            change(data)

        self.pending.append(meaning)
        try:
            self.session.transact(watched)
        except HeadersAlreadySent:
            self.pending.pop()
        except ConflictError:
            self._dropped = True
            self.pending.clear()
        else:
            # Of a session that is new, or gone, nothing is stored yet.
            state = self.session.state
            if state is not None and state.opens is Opens.SESSION:
                self._settle()

    def has_ended(self, keys: list[str]) -> None:
        self._ended += [(key, None) for key in keys]

    def has_invalidated(self) -> None:
        """The sessions that are to end will have ended when the request has returned."""
        if self.session.state is not None:
            self._ends(self.session.state.ending)

    def has_signed_in(self) -> None:
        """If it succeeds, the other sessions that the request has opened will have ended, too."""
        self.has_invalidated()
        self._signs_in = True
        self._rivals = () if self.session.state is None else self.session.state.rivals

    def _ends(self, ended: tuple[Found, ...]) -> None:
        self._ended += [(one.id, one.envelope.era if one.envelope.user_id is None else None) for one in ended]

    def _open(self) -> None:
        turn.opening = True
        self._user_id = self.session.user_id
        turn.opening = False
        if self.session.state is not None:
            self._opened = self.session.state.opens
        self.sees(self.session)

    def _settle(self) -> None:
        state = self.session.state
        if state is None:
            return
        if self.session.is_gone or state.found is None:
            self._dropped = self._dropped or bool(self.pending)
        else:
            self._stored += [(state.found.id, change) for change in self.pending]
        self.pending.clear()
        self.sees(self.session)


class Act:
    """One thing that a request does."""

    opens: ClassVar = True
    """Whether it uses the session."""

    def do(self, visit: Visit) -> None: ...


@dataclass(frozen=True)
class Nothing(Act):
    """The application does not touch the session."""

    opens = False


@dataclass(frozen=True)
class Read(Act):
    """It looks at what there is, which every request does that opens the session."""


@dataclass(frozen=True)
class Set(Act):
    key: str
    value: str

    def do(self, visit: Visit) -> None:
        with suppress(HeadersAlreadySent):
            visit.session[self.key] = self.value
            visit.pending.append(("set", self.key, self.value))


@dataclass(frozen=True)
class Grow(Act):
    """It changes a value in place, if there is one."""

    key: str
    value: str

    def do(self, visit: Visit) -> None:
        if self.key in visit.session:
            visit.pending.append(("grow", self.key, self.value))
            visit.session[self.key][:] = [self.value]


@dataclass(frozen=True)
class Drop(Act):
    """It deletes a value, if there is one."""

    key: str

    def do(self, visit: Visit) -> None:
        if self.key in visit.session:
            visit.pending.append(("drop", self.key, ""))
            del visit.session[self.key]


@dataclass(frozen=True)
class Transact(Act):
    """It sets a value in a transaction; if that is refused, it goes on without."""

    key: str
    value: str

    def do(self, visit: Visit) -> None:
        def change(data: Any) -> None:
            data[self.key] = self.value

        visit.transacts(change, ("set", self.key, self.value))


@dataclass(frozen=True)
class Count(Act):
    """It counts one up in a transaction; if that is refused, it goes on without."""

    key: str

    def do(self, visit: Visit) -> None:
        def change(data: Any) -> None:
            data[self.key] = data.get(self.key, 0) + 1

        visit.transacts(change, ("count", self.key, ""))


@dataclass(frozen=True)
class Login(Act):
    user_id: str = "alice"
    alias: str | None = None

    def do(self, visit: Visit) -> None:
        is_anothers = visit.session.user_id not in (None, self.user_id)
        turn.label = LOGIN_BEGINS
        try:
            visit.session.login(self.user_id, alias=self.alias)
        except TooManySessions:
            visit.refused = True
            return
        finally:
            turn.label = ""
        if is_anothers:
            visit.pending.clear()  # the other's session ends, with what was changed in it
        visit.has_signed_in()


@dataclass(frozen=True)
class Answer(Act):
    """Its response starts; what follows is late."""

    def do(self, visit: Visit) -> None:
        visit.commits()
        visit.session.announced = True


@dataclass(frozen=True)
class Persist(Act):
    """The cookie is to outlive the browser."""

    def do(self, visit: Visit) -> None:
        visit.session.set_lifetime(persistent=True)


@dataclass(frozen=True)
class Regenerate(Act):
    def do(self, visit: Visit) -> None:
        visit.session.regenerate()


@dataclass(frozen=True)
class Invalidate(Act):
    def do(self, visit: Visit) -> None:
        visit.session.invalidate()
        visit.pending.clear()
        visit.has_invalidated()


@dataclass(frozen=True)
class Revoke(Act):
    id: str
    opens = False

    def do(self, visit: Visit) -> None:
        visit.manager.revoke(self.id)
        visit.has_ended([self.id])


@dataclass(frozen=True)
class RevokeAll(Act):
    """All sessions of alice, or all but the one of this request."""

    keeps_own: bool = False

    def do(self, visit: Visit) -> None:
        keep = visit.session.id if self.keeps_own else None
        turn.label = REVOCATION_BEGINS
        visit.manager.revoke_all("alice", keep=keep)
        turn.label = ""
        visit.has_ended([key for key in turn.listed if key != keep])


@dataclass(frozen=True)
class RevokeAlias(Act):
    """All sessions that have signed in with the alias."""

    opens = False

    def do(self, visit: Visit) -> None:
        turn.label = ALIAS_ENDS
        visit.manager.revoke_alias(SID)
        turn.label = ""


def _as_they_are(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    return tokens
