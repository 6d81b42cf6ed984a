"""One session as one request sees it, and what an act of the application makes of it. It asks no store."""

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar

from session_middleware.carry_over import OldSession
from session_middleware.lifetime import LONGEST
from session_middleware.record import Binding, Closed, Encoded, Envelope
from session_middleware.rules import Opens, renewal_is_due
from session_middleware.stores.base import Version
from session_middleware.tokens import Token, derived_id
from session_middleware.values import Values

if TYPE_CHECKING:
    from session_middleware.seal import Opened

T = TypeVar("T")

_LONGEST_USER_ID: Final = 255
_ALIASES_AT_ONCE: Final = 2

Candidates: TypeAlias = "tuple[Token | OldSession, ...]"
"""What a request came with that may open a session: tokens, and perhaps one session of another library."""


class Found(NamedTuple):
    """A live session as the store held it; ``version`` is ``None`` once we have written over it."""

    id: str
    version: Version | None
    envelope: Envelope
    values: Encoded
    seal: "Closed | Opened | None" = None
    """The key of a sealed session, or what it opens: then there are no values, and the user is as the seal names them."""


class Ended(NamedTuple):
    """Why the session that the browser came with has ended, and when (epoch seconds).

    ``reason`` is ``"revoked"``, ``"signed_out_everywhere"``, ``"revoked_everybody"``, ``"limit"``, ``"replayed"``,
    ``"expired_idle"`` or ``"expired_absolute"``; see :data:`~session_middleware.events.Reason`.
    """

    reason: str
    at: float


class Login(NamedTuple):
    """A sign-in that is to be stored; ``mark`` as the user's mark was when it was called.

    ``aliases``: the ids of the records of its aliases, each with the nonce that it had then. ``not_after``: the latest end
    (epoch seconds) of the session. ``binding``: what it is to be bound with to its device, if at all.
    """

    user_id: str
    mark: str | None
    keep: frozenset[str] | None
    aliases: tuple[tuple[str, str | None], ...] = ()
    not_after: float | None = None
    binding: Binding | None = None

    @property
    def stamp(self) -> str | None:
        """What the second click of a double click has in common with the first: it has read the same."""
        if not self.aliases:
            return self.mark
        return derived_id("stamp", self.mark or "", *[f"{alias} {nonce or ''}" for alias, nonce in self.aliases])

    @property
    def alias_ids(self) -> tuple[str, ...]:
        return tuple([alias for alias, _ in self.aliases])


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
    describe: Callable[[str | None], str | None] | None = None
    """Returns what the browser is called now, given what it was called until now; ``None`` if nobody wants to know."""
    rivals: tuple[Found, ...] = ()
    """Live sessions that other cookies of the request have opened."""
    renew: float | None = None
    """The secret is to be renewed so long (seconds) after it was issued."""
    unproven = False
    """The session is bound to a device, and the request has not proved to come from that."""
    offered: Binding | None = None
    """With what the session that was signed in to is to be bound, if its browser can do that."""
    ended: Ended | None = None
    """Why what the request came with opens nothing any more, if that is known."""

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

    def may_tell(self, now: Callable[[], float]) -> bool:
        """Tell whether the next commit may have something for the browser. *now*: the clock, asked if it matters."""
        if self.acted or self.values.suspect or self.to_tell is not None:
            return True
        return self.renew is not None and renewal_is_due(self.envelope, self.proof, now(), self.renew)

    @property
    def resends(self) -> bool:
        """Whether the browser is to be sent the token that it has, because the cookie's attributes change."""
        amended = self.amended
        return "persistent" in amended or ("absolute" in amended and self.envelope.persistent)

    @property
    def modified(self) -> bool:
        """Whether there is anything to store: data, user, lifetimes or secret changed, or the session was ended."""
        if self.ending or self.login or self.wanted:
            return True
        if self.found is None:
            return bool(self.values)
        return bool(self.regenerates or self.amended) or self.values.differ()

    @property
    def goes_nowhere(self) -> bool:
        """Whether what this request changes has nowhere to go: the session has ended, or someone has signed in.

        It has somewhere to go once this request itself has signed in.
        """
        return self.login is None and (self.gone or self.opens is Opens.SNAPSHOT)

    def tells(self, now: float) -> bool:
        """Tell whether the browser will have to be told something, as far as is known by now (epoch seconds)."""
        if self.forget or self.to_tell is not None:
            return True
        if self.is_new:
            return self.modified
        if self.renew is not None and renewal_is_due(self.envelope, self.proof, now, self.renew):
            return True
        return self.login is not None or ((self.token is not None or self.resends) and not self.goes_nowhere)

    def regenerate(self) -> None:
        """A new secret, unless there is one already, or nothing to give it to."""
        if self.login is None and self.opens is Opens.SESSION and self.found is not None:
            self.token = Token.new(self.found.id)
            self.regenerates = self.acted = True

    def sign_in(self, login: Login, now: float) -> None:
        """Someone has signed in, at *now* (epoch seconds), on a session that is nobody's or their own."""
        if self.envelope.user_id is None and login.keep is not None:
            self.values.keep_only(login.keep)
        if self.opens is Opens.NOTHING:
            self.found = None
        if self.token is None or self.found is not None:
            self.token = Token.new(None if self.found is None else self.found.id)
        seen = max(now, self.envelope.last_seen_at)
        until = self.envelope.not_after if login.not_after is None else login.not_after
        self.envelope = self.envelope._replace(
            user_id=login.user_id, signed_in_at=now, last_seen_at=seen, not_after=until, binding=login.binding
        )
        self.login = login
        self.acted, self.regenerates, self.gone = True, False, False

    def end(self, values: Values, envelope: Envelope) -> None:
        """The session is to end; what is written afterwards is a new one, of these *values* and this *envelope*."""
        stale = self.opens is Opens.SNAPSHOT or (self.gone and self.is_new)
        if self.opens is Opens.SESSION and self.found is not None:
            # The others stay for a sign-in that follows: that ends them.
            self.ending = (*self.ending, self.found)
        elif not stale:
            self.ending, self.rivals = (*self.ending, *self.rivals), ()
        self.values, self.envelope = values, envelope
        self.found = self.token = self.to_tell = self.login = self.own = self.offered = None
        self.opens, self.amended, self.renew = Opens.NOTHING, {}, None
        self.wanted = self.regenerates = False
        self.gone, self.acted, self.forget = stale, True, self.has_cookie and not stale

    def described(self, envelope: Envelope) -> Envelope:
        """Return an envelope that is to be stored, with what the browser of a user is called now."""
        if self.describe is None or envelope.user_id is None:
            return envelope
        device = self.describe(envelope.device)
        return envelope if device == envelope.device else envelope._replace(device=device)

    def amend(self, **fields: Any) -> None:
        """Change fields of the envelope."""
        changed = {name: value for name, value in fields.items() if getattr(self.envelope, name) != value}
        if changed:
            self.envelope = self.envelope._replace(**changed)
            self.amended = {**self.amended, **changed}
            self.acted = True


class Keeper(Protocol):
    """What a session asks of whoever keeps it."""

    @property
    def now(self) -> Callable[[], float]: ...
    def load(self, candidates: Candidates) -> State: ...
    def new(self) -> Envelope: ...
    def empty(self) -> Values: ...
    def mark_of(self, user_id: str) -> str | None: ...
    def read_aliases(self, aliases: Iterable[str]) -> tuple[tuple[str, str | None], ...]: ...
    def look_for_room(self, state: State, login: Login) -> None: ...
    def end(self, state: State) -> None: ...
    def store_now(self, state: State) -> None: ...
    def transact(self, state: State, change: Callable[[MutableMapping[str, Any]], T], *, late: bool) -> T: ...


def checked_user_id(user_id: object) -> str:
    """Return *user_id* as plain ``str``; raise ``TypeError`` or ``ValueError`` unless it is 1 to 255 bytes of text."""
    return _checked("a user id", user_id)


def checked_alias(alias: object) -> str:
    """Return *alias* as plain ``str``; raise ``TypeError`` or ``ValueError`` unless it is 1 to 255 bytes of text."""
    return _checked("an alias", alias)


def checked_aliases(alias: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the aliases of a sign-in, each once and in order; raise ``TypeError`` or ``ValueError`` for what is none, and
    for more than two."""
    given = () if alias is None else (alias,) if isinstance(alias, str) else tuple(alias)
    aliases = sorted({checked_alias(one) for one in given})
    if len(aliases) > _ALIASES_AT_ONCE:
        raise ValueError(f"alias={alias!r}: a sign-in has at most {_ALIASES_AT_ONCE}")
    return tuple(aliases)


def checked_moment(moment: object, now: float) -> float:
    """Return a moment that is to come as epoch seconds; raise ``TypeError`` or ``ValueError`` for anything else."""
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError(f"not_after={moment!r}: write one with a time zone, such as datetime.now(UTC) + ...")
        moment = moment.timestamp()
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        raise TypeError(f"not_after={moment!r}: write epoch seconds, or a datetime with a time zone")
    if not now < moment < now + LONGEST:
        raise ValueError(f"not_after={moment!r}: write a moment (epoch seconds) that is to come, within 100 years")
    return float(moment)


def _checked(what: str, text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} is str, not {type(text).__name__}: write str(...)")
    plain = str.__str__(text)
    if not 0 < len(plain.encode()) <= _LONGEST_USER_ID:
        raise ValueError(f"{what} is 1 to {_LONGEST_USER_ID} bytes of text")
    return plain
