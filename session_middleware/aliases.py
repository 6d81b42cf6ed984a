"""Other names of sessions than their ids and users, such as the session at an identity provider. It knows no request.

An alias has a record of its own, of the ids of the sessions that have signed in with it, under an id made of the alias: it
needs no index, and works on every store. Each step is a compare-and-set of that record or of the session's:

1. a sign-in is noted under its alias before it is stored, and looks whether it still is afterwards;
2. ending all of them gives the record another nonce, so that a sign-in which has read the one before ends itself;
3. then those that are noted are ended, if the alias is one of theirs.

So whichever comes first, the other sees it. What fails in between is done again: nothing is forgotten before it is over.
"""

import math
from collections.abc import Callable, Iterable

from session_middleware import rules
from session_middleware.exceptions import ConflictError
from session_middleware.notes import MOST_NAMED, Alias
from session_middleware.record import Envelope
from session_middleware.repository import MARKED_FOR, TRIES, Repository, pause
from session_middleware.state import Found, Login
from session_middleware.tokens import Names, new_id

# So many of the latest may be sign-ins under way: they are not looked at when there is no room for another.
_RECENT = MOST_NAMED // 2


class Aliases:
    """Notes which sessions an alias names, lists them and ends them. *clock* returns epoch seconds."""

    def __init__(self, sessions: Repository, names: Names, clock: Callable[[], float]) -> None:
        self._sessions = sessions
        self._names = names
        self._now = clock

    def read(self, aliases: Iterable[str]) -> tuple[tuple[str, str | None], ...]:
        """Return the id of each alias's record, and its nonce: for a sign-in that begins now."""
        keys = [self._names.aliases(alias)[0] for alias in aliases]
        read = [(key, self._sessions.noted(key, Alias)[0]) for key in keys]
        return tuple([(key, None if found is None else found.revoked) for key, found in read])

    def note(self, key: str, envelope: Envelope) -> None:
        """Have the session's aliases name it for as long as it can last. This comes before it is stored."""
        for alias in envelope.aliases:
            self._note(alias, key, math.ceil(envelope.ends_at))

    def has_revoked(self, login: Login, key: str) -> bool:
        """Tell whether a sign-in that is stored has to end: the sessions of one of its aliases were ended meanwhile."""
        return any(
            not rules.names_still(self._sessions.noted(alias, Alias)[0], nonce, key) for alias, nonce in login.aliases
        )

    def find(self, alias: str) -> list[Found]:
        """Return the live sessions that have signed in with the alias."""
        there = dict[str, Found]()
        for key in (*self._names.aliases(alias), *self._names.old_aliases(alias)):
            noted, _ = self._sessions.noted(key, Alias)
            there.update({} if noted is None else {found.id: found for found in self._living(key, noted.ids)})
        return list(there.values())

    def revoke(self, alias: str) -> int:
        """End all sessions that have signed in with the alias; return how many were ended."""
        old = [key for key in self._names.old_aliases(alias) if self._sessions.noted(key, Alias)[0] is not None]
        return sum(
            self._sessions.end(one, "revoked", only=_named(key))
            for key in (*self._names.aliases(alias), *old)
            for one in self._renew(key)
        )

    def _renew(self, alias: str) -> tuple[str, ...]:
        """Give the record of an alias another nonce; return the ids in it."""
        for number in TRIES:
            pause(number)
            found, version = self._sessions.noted(alias, Alias)
            ids, expires_at = ((), 0.0) if found is None else (found.ids, found.expires_at)
            until = max(expires_at, math.ceil(self._now()) + MARKED_FOR)
            if self._sessions.note(alias, Alias(ids, new_id(), until), version):
                return ids
        raise _conflict()

    def _note(self, alias: str, key: str, until: float) -> None:
        for number in TRIES:
            pause(number)
            found, version = self._sessions.noted(alias, Alias)
            if found is None:
                found = Alias((), None, until)
            elif key in found.ids and until <= found.expires_at:
                return
            before = [one for one in found.ids if one != key]
            kept = before if len(before) < MOST_NAMED else self._with_room(alias, before)
            noted = Alias((*kept, key), found.revoked, max(until, found.expires_at))
            if self._sessions.note(alias, noted, version):
                # One of them may have been stored since it was looked for.
                for one in before:
                    if one not in kept:
                        self._sessions.end(one, "revoked", only=_named(alias))
                return
        raise _conflict()

    def _with_room(self, alias: str, ids: list[str]) -> list[str]:
        """Return which of the sessions an alias goes on to name: not those that are gone. If there are too many, the oldest
        is ended, for nobody could end it by this alias later."""
        older, recent = ids[:-_RECENT], ids[-_RECENT:]
        living = {found.id for found in self._living(alias, older)}
        kept = [one for one in older if one in living]
        if len(kept) == len(older):
            self._sessions.end(kept.pop(0), "revoked", only=_named(alias))
        return kept + recent

    def _living(self, alias: str, ids: Iterable[str]) -> list[Found]:
        return [found for found in self._sessions.find_all(ids) if alias in found.envelope.aliases]


def _named(alias: str) -> Callable[[Envelope], bool]:
    return lambda envelope: alias in envelope.aliases


def _conflict() -> ConflictError:
    return ConflictError("too many requests sign in, or end sessions, with one alias at once")
