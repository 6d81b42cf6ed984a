"""Lists sessions and ends them: by their id, by their user, by another name. It opens none, and knows no HTTP."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from session_middleware import rules, tokens
from session_middleware.aliases import Aliases
from session_middleware.codecs import Codec
from session_middleware.exceptions import ConfigurationError
from session_middleware.repository import SWEEP_LIMIT, Repository
from session_middleware.state import Found, checked_alias, checked_user_id
from session_middleware.stores.base import Scannable, Store, Sweepable, UserIndexed
from session_middleware.tokens import Names
from session_middleware.values import Values


class SessionInfo(NamedTuple):
    """One session in a listing. Times are epoch seconds; ``device`` is what the option ``describe`` has said of the browser,
    ``None`` if nothing; ``device_bound``: whether it is bound to its device; ``data`` is what the application keeps in it,
    to be read.

    Of a sealed session (:class:`~session_middleware.seal.Seal`) ``data`` is ``None``: only its cookie opens that. And
    ``user_id`` is what stands in the store for its user, the same for all sessions of that user, unless they were listed by
    their user.
    """

    id: str
    user_id: str | None
    created_at: float
    signed_in_at: float | None
    last_seen_at: float
    expires_at: float
    persistent: bool
    device: str | None
    device_bound: bool
    # None is rare, so nobody is to ask for it who seals nothing.
    data: Mapping[str, Any] | Any


class Directory:
    """The half of the manager that is about sessions of others. Its attributes are made by the manager."""

    store: Store
    namespace: str
    codec: Codec
    _asked: Store
    _sessions: Repository
    _aliases: Aliases
    _names: Names

    def sessions_of(self, user_id: str) -> list[SessionInfo]:
        """Return the live sessions of a user, the one last used first; empty if there are none.

        Raise :exc:`ConfigurationError` if the store keeps no index of users, :exc:`StoreUnavailable` if it fails.
        """
        names = self._names.users(checked_user_id(user_id))
        found = self._sessions.find_all(self.keys_of(user_id))
        listed = self._listed(one for one in found if one.envelope.user_id in names)
        return [info if info.user_id == user_id else info._replace(user_id=user_id) for info in listed]

    def sessions_with(self, alias: str) -> list[SessionInfo]:
        """Return the live sessions that have signed in with an alias (:meth:`Session.login`), the one last used first.

        It works on every store. Raise ``TypeError`` or ``ValueError`` for what is no alias, :exc:`StoreUnavailable` if the
        store fails.
        """
        return self._listed(self._aliases.find(checked_alias(alias)))

    def find(self, session_id: str) -> SessionInfo | None:
        """Return what is known of a session by its id (``session.id``); ``None`` if it does not live."""
        found = self._sessions.find(session_id) if tokens.well_formed_id(session_id) else None
        return None if found is None else self._info(found)

    def revoke(self, session_id: str) -> bool:
        """End a session by its id (``session.id``), at once; return whether there was one."""
        return tokens.well_formed_id(session_id) and self._sessions.end(session_id, "revoked")

    def revoke_all(self, user_id: str, *, keep: str | None = None, progress: Callable[[int], object] | None = None) -> int:
        """End all sessions of a user, at once, but the one with the id *keep*; return how many were ended.

        A sign-in of the user that is under way ends, too, if it began before (:meth:`Session.login` was called, or
        :meth:`mark_of`), unless *keep* is its id. *progress* is called with how many have ended so far, now and then; called
        again after it was broken off, it goes on with the rest.
        """
        found = self.keys_of(user_id)
        kept = keep if tokens.well_formed_id(keep) else None
        for mark in self._names.marks(user_id):
            self._sessions.leave_mark(mark, kept)
        return self._sessions.end_all((key for key in found if key != keep), "signed_out_everywhere", progress)

    def revoke_alias(self, alias: str) -> int:
        """End all sessions that have signed in with an alias, at once; return how many were ended.

        A sign-in with it that is under way ends, too, if :meth:`Session.login` was called before. It works on every store.
        If it raises :exc:`StoreUnavailable`, call it again: what is left is ended then.
        """
        return self._aliases.revoke(checked_alias(alias))

    def revoke_everybody(self, *, progress: Callable[[int], object] | None = None) -> int:
        """End all sessions, anonymous ones, too; return how many were ended. Sign-ins under way are not among them.

        It is what OWASP ASVS 5.0 asks for in 7.4.5. *progress* is called with how many have ended so far, now and then.
        What has ended stays so if this is broken off, as by what *progress* raises; called again, it goes on with the rest.
        Raise :exc:`ConfigurationError` if the store cannot list what it holds, :exc:`StoreUnavailable` if it fails.
        """
        if not isinstance(self._asked, Scannable):
            raise ConfigurationError(f"{type(self.store).__name__} cannot list its sessions; use a store that can")
        return self._sessions.end_all(self._asked.keys(), "revoked_everybody", progress)

    def sweep(self, limit: int = SWEEP_LIMIT) -> int:
        """Remove at most *limit* records that have expired; return how many. 0 if the store drops them by itself.

        One in fifty new sessions does this, too.
        """
        return self._sessions.sweep(self._asked, limit) if isinstance(self._asked, Sweepable) else 0

    def mark_of(self, user_id: str) -> str | None:
        """Return what tells :meth:`Session.login` of a :meth:`revoke_all` since now; ``None`` if there was none lately.

        For who wants it read before the password is checked. It is no secret.
        """
        if not isinstance(self.store, UserIndexed):
            return None  # nobody can be signed out everywhere
        return rules.newest(self._sessions.mark(self._mark_id(checked_user_id(user_id))))

    def _mark_id(self, user_id: str) -> str:
        return self._names.marks(user_id)[0]

    def keys_of(self, user_id: str) -> Iterator[str]:
        """Yield the keys under which the store may have sessions of a user, each once.

        Raise :exc:`ConfigurationError` if the store keeps no index of users.
        """
        return self._names.listed(checked_user_id(user_id), self._index().keys_of)

    def names_of(self, user_id: str) -> tuple[str, ...]:
        """Return what may stand in the store for a user: the user id itself, or what a seal makes of it by each key."""
        return self._names.users(checked_user_id(user_id))

    def _index(self) -> UserIndexed:
        if not isinstance(self._asked, UserIndexed):
            raise ConfigurationError(f"{type(self.store).__name__} keeps no index of users; use a store that does")
        return self._asked

    def _listed(self, found: Iterable[Found]) -> list[SessionInfo]:
        return sorted(map(self._info, found), key=lambda info: info.last_seen_at, reverse=True)

    def _info(self, found: Found) -> SessionInfo:
        envelope = found.envelope
        return SessionInfo(
            found.id,
            envelope.user_id,
            envelope.created_at,
            None if envelope.user_id is None else envelope.signed_in_at,
            envelope.last_seen_at,
            envelope.expires_at,
            envelope.persistent,
            envelope.device,
            envelope.device_bound,
            Values(found.values, self.codec) if found.seal is None else None,
        )
