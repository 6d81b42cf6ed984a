"""How many sessions a user may have at once, and which of them end when there are more. It knows no request.

No lock is held. A sign-in writes its record, then lists the user's sessions, and ends what is beyond the limit. All who list
go by one order, so whatever their own order is, the same sessions stay; and none ends but one that is seen to be beyond, by
compare-and-set: one that has changed meanwhile may have another place by now, so all are listed again.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Literal, TypeAlias, get_args

from session_middleware import rules
from session_middleware.exceptions import ConfigurationError, ConflictError, TooManySessions
from session_middleware.record import Envelope
from session_middleware.repository import TRIES, Repository, pause
from session_middleware.rules import Opens
from session_middleware.state import Found, Login, State
from session_middleware.stores.base import Store, UserIndexed
from session_middleware.tokens import Names

AtLimit: TypeAlias = Literal["end_oldest", "refuse"]

MOST_AT_ONCE: Final = 200
"""So many more sessions than the limit allows are looked at once: a limit that is new to a user with very many keeps no
sign-in waiting for long."""


def limit_of(
    sessions: Repository, store: Store, names: Names, max_per_user: int | None, at_limit: AtLimit
) -> "Limit | None":
    """Return what keeps the limit that the options ask for; ``None`` if they ask for none.

    Raise :exc:`ConfigurationError` for what is no number or no policy, and for a store that cannot list a user's sessions.
    """
    if at_limit not in get_args(AtLimit):
        raise ConfigurationError(f"at_limit={at_limit!r}: write 'end_oldest' or 'refuse'")
    if max_per_user is None:
        if at_limit == "refuse":
            raise ConfigurationError("at_limit='refuse' refuses nobody: write max_per_user=5, too, or another number")
        return None
    if isinstance(max_per_user, bool) or not isinstance(max_per_user, int) or max_per_user < 1:
        raise ConfigurationError(f"max_per_user={max_per_user!r}: write a whole number above 0, or None for no limit")
    if not isinstance(store, UserIndexed):
        raise ConfigurationError(
            f"max_per_user={max_per_user}: {store} keeps no index of users; use a store that does, or write None"
        )
    return Limit(sessions, store, names, max_per_user, refuses=at_limit == "refuse")


class Limit:
    """Keeps each user's sessions at *most* so many: by ending the oldest or, if it *refuses*, the sign-in."""

    def __init__(self, sessions: Repository, index: UserIndexed, names: Names, most: int, *, refuses: bool) -> None:
        self._sessions = sessions
        self._index = index
        self._names = names
        self._most = most
        self._refuses = refuses

    def look(self, state: State, login: Login) -> None:
        """Raise :exc:`TooManySessions` if the sign-in is to be refused, because the user has as many sessions as may be.

        Those whose place it takes do not count. Who signs in again in a session of their own is not refused.
        """
        if not self._refuses or state.envelope.user_id == login.user_id:
            return
        replaced = _replaced_by(state, login)
        others = self._living(login.user_id, (key for key in self._keys_of(login.user_id) if key not in replaced))
        if sum(1 for _ in islice(others, self._most)) == self._most:
            raise TooManySessions(self._most)

    def keep(self, login: Login, key: str, envelope: Envelope, rivals: Iterable[Found]) -> bool:
        """Sign-in *login* is stored, under *key*: end what is beyond the limit, and tell whether the sign-in itself stays.

        *rivals* end by the sign-in itself, and do not count. Raise :exc:`ConflictError` if the sessions keep changing.
        """
        if has_signed_in_again(envelope):
            return True
        apart = {key, *(rival.id for rival in rivals)}
        for number in TRIES:
            pause(number)
            others = (other for other in self._keys_of(login.user_id) if other not in apart)
            # All that are loaded were there when the last key was listed: so there was a moment when all of them lived.
            living = list(self._living(login.user_id, [key, *islice(others, self._most + MOST_AT_ONCE)]))
            if not any(one.id == key for one in living):
                return False
            over = beyond(living, key, self._most, refuses=self._refuses)
            ended = [one.id for one in over if self._sessions.remove(one, "limit")]
            if key in ended or len(ended) == len(over):
                return key not in ended
        raise ConflictError("the sessions of a user keep changing, and some may be beyond the limit")

    def _living(self, user_id: str, keys: Iterable[str]) -> Iterator[Found]:
        names = self._names.users(user_id)
        return (found for found in self._sessions.find_all(keys) if found.envelope.user_id in names)

    def _keys_of(self, user_id: str) -> Iterator[str]:
        return self._names.listed(user_id, self._index.keys_of)


def has_signed_in_again(envelope: Envelope) -> bool:
    """Tell whether somebody has come with a cookie of the session when its user was signed in, and signed in once more.

    So it was found to be within the limit, and who had it was told.
    """
    return envelope.era > 1


def beyond(living: Sequence[Found], key: str, most: int, *, refuses: bool) -> list[Found]:
    """Return which of a user's *living* sessions are to end, by the sign-in *key*, which is among them.

    The oldest sign-ins end, down to *most*. Where it *refuses*, the newest do; but none that is older than the sign-in
    itself, nor one that has signed in again. Neither order ever gives a session another place than one that is better for
    it, as others end and sign in again; so what one request has found to be beyond the limit is so for all.
    """
    if not refuses:
        return sorted(living, key=_by_sign_in, reverse=True)[most:]
    ranked = sorted(living, key=_as_admitted)
    own = next(number for number, one in enumerate(ranked) if one.id == key)
    return [one for one in ranked[max(most, own) :] if not has_signed_in_again(one.envelope)]


def _by_sign_in(one: Found) -> tuple[float, str]:
    return one.envelope.signed_in_at, one.id


def _as_admitted(one: Found) -> tuple[float, str]:
    return 0.0 if has_signed_in_again(one.envelope) else one.envelope.signed_in_at, one.id


def _replaced_by(state: State, login: Login) -> set[str]:
    """Return the ids of the sessions that end when the sign-in is stored, and of the one that it is stored in."""
    replaced, found = {one.id for one in (*state.rivals, *state.ending)}, state.found
    if found is not None and (
        state.opens is Opens.SESSION or rules.is_second_click(found.envelope, login.user_id, login.stamp, state.proof)
    ):
        replaced.add(found.id)
    return replaced
