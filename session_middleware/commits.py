"""Stores what a request did to its session, on top of what others did meanwhile. It knows no HTTP.

Each act is one compare-and-set on the one record of the session. If it is refused, the record is loaded again and what to do
is decided again, by the rules in :mod:`session_middleware.rules`.
"""

import logging
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

from session_middleware import rules
from session_middleware.aliases import Aliases
from session_middleware.codecs import Codec
from session_middleware.exceptions import ConflictError, SessionTooLarge, StoreError
from session_middleware.lifetime import touch_interval
from session_middleware.limit import Limit
from session_middleware.record import Encoded, Envelope, pack_values
from session_middleware.repository import TRIES, Repository
from session_middleware.rules import Opens
from session_middleware.state import Found, Login, State
from session_middleware.tokens import Proof, Token
from session_middleware.values import Changes, Values

if TYPE_CHECKING:
    from session_middleware.events import Reason

log = logging.getLogger("session_middleware")

T = TypeVar("T")
Change: TypeAlias = Callable[[MutableMapping[str, Any]], Any]
_SignedIn: TypeAlias = tuple[Found, Token, Any]

_SIGNED_IN_MEANWHILE: Final = "someone signed in meanwhile; what they have is not for this request"
_UNCHANGED: Final = Changes({}, {}, frozenset())
_WHERE: Final[dict[str, str]] = {"signed_out_everywhere": "everywhere", "revoked": "by an alias"}


class Committer:
    """Creates, updates and ends sessions as their states ask for, whatever other requests do at the same time."""

    def __init__(
        self,
        sessions: Repository,
        codec: Codec,
        proof_of: Proof,
        family_of: Proof,
        new: Callable[[], Envelope],
        id_of_mark: Callable[[str], str],
        aliases: Aliases,
        clock: Callable[[], float],
        limit: Limit | None,
    ) -> None:
        self._sessions = sessions
        self._teller = sessions.teller
        self._codec = codec
        self._proof_of = proof_of
        self._family_of = family_of
        self._new = new
        self._id_of_mark = id_of_mark
        self._aliases = aliases
        self._now = clock
        self._limit = limit

    def store(self, state: State, *, late: bool) -> None:
        """Store what a request did; *late*: the response has started, so the browser can learn of nothing."""
        if state.opens is Opens.SESSION and state.login is None:
            self._write(state, late)
        elif state.login is not None:
            self._sign_in(state, state.login)
        elif state.gone or state.opens is Opens.SNAPSHOT:
            self._drop(state)
        elif not late and (state.wanted or state.values):
            self._create(state)

    def transact(self, state: State, change: Callable[[MutableMapping[str, Any]], T], late: bool) -> T:
        """Apply *change* to the stored values under compare-and-set; see :meth:`Session.transact`."""
        result: T
        if state.login is not None:
            self.end(state)
            result = self._sign_in(state, state.login, change)
        elif state.opens is Opens.SESSION:
            result = self._write(state, late, change)
        elif state.opens is Opens.SNAPSHOT and not state.gone and _found(state).envelope.snapshot:
            # What is there to be taken once could be taken again and again.
            self._dropped(_found(state))
            raise ConflictError(f"session {_found(state).id}: {_SIGNED_IN_MEANWHILE}")
        else:
            result = change(Values({}, self._codec) if state.gone else state.values)
        return result

    def end(self, state: State) -> None:
        """End the sessions that a request has ended; in their order."""
        while state.ending:
            self._end(state.ending[0], "signed_out" if state.login is None else "replaced")
            state.ending = state.ending[1:]

    def note(self, state: State) -> None:
        """A request has only read. Note that its secret has come, or that the session was used, or renew the secret, where
        one of these is due; if it fails, nothing happens."""
        found, now = _found(state), self._now()
        envelope = found.envelope
        is_due = rules.renewal_is_due(envelope, state.proof, now, state.renew)
        try:
            if is_due or rules.noted(envelope, state.proof, now) is not envelope:
                self._replace(state, _UNCHANGED, late=False, asked=False)
            elif now - envelope.last_seen_at >= touch_interval(envelope.idle) and envelope.expires_at > now:
                self._sessions.replace(found, state.described(rules.used(envelope, now)), found.values)
        except (StoreError, SessionTooLarge) as error:
            log.warning("session %s: its use could not be noted: %s", found.id, error)

    def _at(self, number: int, base: Found, now: float, *, opens: bool = True) -> Found | None:
        """Return the session for the try of that number: as it was opened, for the first, and as it is now for the others.

        One whose time is over by what was opened is looked at, too: another request may have used it meanwhile.
        """
        if number > 0 or base.version is None or base.envelope.expires_at <= now:
            return self._sessions.find_again(base, number, opens=opens)
        return base

    # Changes

    def _write(self, state: State, late: bool, change: Change | None = None) -> Any:
        """Store what the request has changed in its session; if that is nothing, it has only read."""
        own = state.values.changes()
        if any(own) or state.acted or change is not None:
            return self._replace(state, own, late, asked=True, change=change)
        if not late:
            self.note(state)
        return None

    def _replace(self, state: State, own: Changes, late: bool, *, asked: bool, change: Change | None = None) -> Any:
        """Replace the record; if another request was faster, lay our changes over theirs."""
        base = _found(state)
        for number in TRIES:
            now = self._now()
            found = self._at(number, base, now)
            if found is None or found.envelope.era != base.envelope.era:
                return self._lose(state, found, asked, change)
            before = found.envelope
            envelope, token = self._next(state, before, now, renews=number == 0 and not late)
            if number > 0 and not asked and envelope is before:
                return None  # what there was to note, another request has noted
            values, result = own.over(found.values), None
            if change is not None:
                values, result = self._changed(values, change)
            alone = found is base and change is None
            # What is alone has been compared with what is there already.
            same = values is found.values or (not alone and values == found.values)
            if same and not state.wanted and (envelope is before or envelope == before):
                if change is not None and found is base:
                    continue  # there is nothing to store, but it saw the session as it was when the request began
                if now - before.last_seen_at < touch_interval(before.idle):
                    self._settle(state, own, found, token)
                    return result
            envelope = state.described(rules.used(envelope, now))
            if state.amended:
                self._aliases.note(base.id, envelope)
            stored = self._sessions.replace(found, envelope, values, token)
            if stored is not None:
                if token is not None and token is not state.own and self._teller is not None:
                    self._teller.new_secret(base.id, envelope, renewed=token is not state.token)
                self._settle(state, None if alone else own, stored, token)
                return result
        if asked:
            raise self._conflict(base, f"session {base.id} keeps changing")
        return None

    def _next(self, state: State, before: Envelope, now: float, *, renews: bool) -> tuple[Envelope, Token | None]:
        """Return what the envelope is to be, now that it is as it was found, and the token that the browser must learn."""
        envelope, token = rules.noted(before, state.proof, now), None
        if state.regenerates:
            # If another request has taken our own secret out of service, its response carries the cookie.
            if state.token is not None and rules.in_service(envelope, state.proof):
                token = state.token
                envelope = rules.regenerated(envelope, self._proof_of(token), now)
        elif renews and rules.renewal_is_due(envelope, state.proof, now, state.renew):
            token, envelope = self._renewed(state, envelope, now)
        if state.amended:
            envelope = envelope._replace(**state.amended)
            if token is None and state.resends:
                return self._resent(state, envelope, now)
        return envelope, token

    def _resent(self, state: State, envelope: Envelope, now: float) -> tuple[Envelope, Token | None]:
        """Send the cookie again. Not if another request has replaced it: its response carries the new one."""
        is_current = state.proof in envelope.current
        if state.renew is None:
            return envelope, state.own if is_current else None
        # Where secrets are renewed, a new one: the same may arrive after its successor, and be dead soon; and a cookie of
        # another library is not the one to be sent again.
        if is_current or (state.own is None and rules.renewal_is_due(envelope, state.proof, now, 0)):
            token, envelope = self._renewed(state, envelope, now)
            return envelope, token
        return envelope, None

    def _renewed(self, state: State, envelope: Envelope, now: float) -> tuple[Token, Envelope]:
        token = Token.new(_found(state).id) if state.own is None else state.own.successor()
        return token, rules.renewed(envelope, self._proof_of(token), self._family_of(token), now)

    def _changed(self, values: Encoded, change: Change | None) -> tuple[Encoded, Any]:
        if change is None:
            return values, None
        view = Values(values, self._codec)
        result = change(view)
        return view.changes().over(values), result

    def _create(self, state: State) -> None:
        """Store a new session: what this request has set."""
        values = state.values.assigned()
        stored, token = self._begin(state, state.envelope, values)
        self._settle(state, None, stored, token)

    def _begin(self, state: State, envelope: Envelope, values: Encoded) -> tuple[Found, Token]:
        token = state.token or Token.new()
        while True:
            state.proof = self._proof_of(token)
            started = envelope._replace(current=(state.proof,), **state.amended)
            self._aliases.note(token.id, started)
            stored = self._sessions.create(token, started, values)
            if stored is not None:
                state.opens = Opens.SESSION
                return stored, token
            token = Token.new()

    # Signing in

    def _sign_in(self, state: State, login: Login, change: Change | None = None) -> Any:
        """Store a sign-in: on the session that the request came with or, if that cannot be, as a new one."""
        own = state.values.changes()
        signed_in = self._sign_in_there(state, login, own, change)
        if signed_in is None:
            signed_in = self._sign_in_anew(state, login, change)
        stored, token, result = signed_in
        envelope = stored.envelope
        if why := self._revoked_meanwhile(login, token.id):
            log.info("session %s: its user was signed out %s while signing in", token.id, _WHERE[why])
            self._sessions.delete(token.id, envelope, why)
            self._drop_all(state)
            return result
        if self._limit is not None and not self._limit.keep(login, token.id, envelope, state.rivals):
            log.info("session %s: it ended when it was signed in to, beyond the limit of its user's sessions", token.id)
            self._drop_all(state)
            return result
        if self._teller is not None:
            self._teller.signed_in(token.id, envelope)
        for rival in state.rivals:
            self._end(rival, "replaced")
        state.rivals, state.offered = (), None if envelope.device_bound else envelope.binding
        self._settle(state, own, stored, token)
        return result

    def _revoked_meanwhile(self, login: Login, key: str) -> "Reason | None":
        """Return why a sign-in that is stored has to end; ``None`` if it may go on."""
        if rules.revoked_since(self._sessions.mark(self._id_of_mark(login.user_id)), login.mark, key):
            return "signed_out_everywhere"
        return "revoked" if self._aliases.has_revoked(login, key) else None

    def _sign_in_anew(self, state: State, login: Login, change: Change | None) -> _SignedIn:
        """Sign in as a new session, which holds what this request has set, and nothing that it has read."""
        if state.found is not None:
            state.found, state.token = None, Token.new()
        values, result = self._changed(state.values.assigned(), change)
        envelope = self._new()._replace(
            user_id=login.user_id,
            mark=login.stamp,
            era=1,
            aliases=login.alias_ids,
            not_after=login.not_after,
            binding=login.binding,
        )
        stored, token = self._begin(state, state.described(envelope), values)
        return stored, token, result

    def _sign_in_there(self, state: State, login: Login, own: Changes, change: Change | None) -> _SignedIn | None:
        """Sign in on the record that the request came with; ``None`` if it is gone, or belongs to another sign-in."""
        base, token = state.found, state.token
        if base is None or token is None:
            return None
        fresh = self._proof_of(token)
        for number in TRIES:
            now = self._now()
            found = self._at(number, base, now)
            if found is None:
                return None
            signed_in = self._signed_in(state, base, login, found, fresh, now)
            if signed_in is None:
                return None
            values, result = self._changed(own.over(signed_in[1]), change)
            envelope = state.described(rules.used(signed_in[0]._replace(**state.amended), now))
            self._aliases.note(base.id, envelope)
            stored = self._sessions.replace(found, envelope, values, token)
            if stored is not None:
                return stored, token, result
        raise self._conflict(base, f"session {base.id} keeps changing")

    def _signed_in(
        self, state: State, base: Found, login: Login, found: Found, fresh: bytes, now: float
    ) -> tuple[Envelope, Encoded] | None:
        """Return what a sign-in makes of the session as it was found, and which of its values go on; ``None`` if nothing."""
        theirs, user, mark = found.envelope, login.user_id, login.stamp
        if state.opens is Opens.SESSION and theirs.era == base.envelope.era and theirs.user_id in (None, user):
            named = rules.named(theirs, login.alias_ids)
            if login.not_after is not None:
                named = named._replace(not_after=login.not_after)
            if theirs.user_id == user:
                return rules.signed_in(named, user, mark, fresh, now, b"", login.binding), found.values
            snapshot = pack_values(found.values) if found.values else b""
            kept = {key: value for key, value in found.values.items() if login.keep is None or key in login.keep}
            return rules.signed_in(named, user, mark, fresh, now, snapshot, login.binding), kept
        if rules.is_second_click(theirs, user, mark, state.proof):
            return rules.joined(theirs, fresh, now), found.values
        return None

    # What becomes of a session

    def _end(self, one: Found, reason: "Reason") -> None:
        """End a session that was opened. Who was signed in may end it in any case; an anonymous one is ended as long as
        nobody has signed in."""
        if one.envelope.user_id is not None:
            self._sessions.delete(one.id, one.envelope, reason)
            return
        for number in TRIES:
            found = self._at(number, one, self._now(), opens=False)
            if found is None or found.envelope.era != one.envelope.era or self._sessions.remove(found, reason):
                return
        raise self._conflict(one, f"session {one.id} keeps changing and could not be ended")

    def _settle(self, state: State, own: Changes | None, stored: Found, token: Token | None) -> None:
        """All that the request did is in the store; *own*: its changes, ``None`` if nothing of others is there.

        *token*: what the browser has to learn.
        """
        state.found, envelope = stored, stored.envelope
        if token is not None:
            # Not after a renewal: the browser has not come with that secret yet.
            if state.opens is not Opens.SESSION or token is state.token:
                state.opens, state.proof = Opens.SESSION, self._proof_of(token)
            state.to_tell = state.own = token
        elif state.to_tell is not None and not rules.in_service(envelope, self._proof_of(state.to_tell)):
            # Another request has replaced what this one had stored: its response carries the cookie.
            state.to_tell = None
        state.envelope, state.token = envelope, None
        state.values.rebase(stored.values, own)
        if state.acted:
            state.login, state.amended = None, {}
            state.regenerates = state.wanted = state.acted = False

    def _lose(self, state: State, found: Found | None, asked: bool, change: Change | None) -> Any:
        base = _found(state)
        self._drop_all(state)
        if asked and self._teller is not None:
            self._teller.conflict(base.id, base.envelope.user_id, "ended" if found is None else "signed in")
        if change is not None and found is not None:
            raise ConflictError(f"session {base.id}: {_SIGNED_IN_MEANWHILE}")
        why = "ended" if found is None else "was signed in to"
        level = logging.INFO if asked else logging.DEBUG
        log.log(level, "session %s %s while a request was using it; what the request changed is dropped", base.id, why)
        return None if change is None else change(Values({}, self._codec))

    def _conflict(self, base: Found, text: str) -> ConflictError:
        if self._teller is not None:
            self._teller.conflict(base.id, base.envelope.user_id, "kept changing")
        return ConflictError(text)

    def _drop_all(self, state: State) -> None:
        """What the request changes from now on has nowhere to go, and no token that it has made opens anything."""
        state.opens, state.gone = Opens.NOTHING, True
        state.login = state.token = state.to_tell = None

    def _drop(self, state: State) -> None:
        if state.opens is Opens.SNAPSHOT and not state.gone and (state.acted or state.values.differ()):
            if state.unproven:
                log.info("a request came without the proof of its device; what it changed is dropped")
            else:
                log.info("a request came with a secret that has just been replaced; what it changed is dropped")
                self._dropped(_found(state))
            state.acted, state.gone = False, True

    def _dropped(self, base: Found) -> None:
        if self._teller is not None:
            self._teller.conflict(base.id, base.envelope.user_id, "signed in")


def _found(state: State) -> Found:
    return cast("Found", state.found)
