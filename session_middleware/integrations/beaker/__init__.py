"""Beaker's session object, as a view of ours, for applications written for Beaker. It needs no Beaker and stores nothing."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from session_middleware.clock import system_clock
from session_middleware.codecs import Codec
from session_middleware.directory import SessionInfo
from session_middleware.exceptions import ConfigurationError
from session_middleware.integrations.beaker.settings import Settings
from session_middleware.integrations.moving.reading import checked_choice
from session_middleware.limit import AtLimit
from session_middleware.manager import MAX_BYTES, SessionManager
from session_middleware.middleware import SessionMiddleware, get_session
from session_middleware.session import READ_NOW, Default, Session
from session_middleware.stores.base import Store

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from session_middleware.binding import DeviceBinding
    from session_middleware.events import Observer
    from session_middleware.seal import Seal

_FOREVER: Final = timedelta(days=400)  # what browsers keep a cookie for (RFC 6265bis, 5.6.2)

_CREATED, _ACCESSED = "_creation_time", "_accessed_time"

Hint = Callable[[str], None]
T = TypeVar("T")


class BeakerMiddleware:
    """Put a :class:`BeakerSession` where applications written for Beaker look for it.

    ``BeakerMiddleware(SessionMiddleware(app, store))``, or :meth:`from_config` with the settings of Beaker. *environ_key*:
    where it is put. *get_by_id*: let applications read and end any session by its ``id``. With Beaker, who knew an id had
    the session anyway; here the id is public, so an application that takes one from a request would open anybody's sessions.
    Attributes that it lacks are those of the application.
    """

    def __init__(
        self, middleware: SessionMiddleware, *, environ_key: str = "beaker.session", get_by_id: bool = False
    ) -> None:
        if not isinstance(middleware, SessionMiddleware):
            raise ConfigurationError(f"{middleware!r}: write BeakerMiddleware(SessionMiddleware(app, store))")
        if environ_key == middleware.environ_key:
            raise ConfigurationError(f"environ_key={environ_key!r}: the session itself is there; write another")
        self.middleware = middleware
        self.manager = middleware.manager
        self.environ_key = environ_key
        if get_by_id and self.manager.seal is not None:
            raise ConfigurationError("get_by_id=True: what is sealed opens by its cookie alone; write get_by_id=False")
        self._get_by_id = get_by_id
        self._hinted: set[str] = set()

    @classmethod
    def from_config(
        cls,
        app: "WSGIApplication",
        config: Mapping[str, Any],
        *,
        store: Store | str | None = None,
        environ_key: str = "beaker.session",
        get_by_id: bool = False,
        carry_over: bool = True,
        user_key: str | None = None,
        plain_pickles: bool = False,
        carry_over_until: date | None = None,
        codec: Codec | None = None,
        max_bytes: int = MAX_BYTES,
        namespace: str | None = None,
        clock: Callable[[], float] = system_clock,
        unavailable: "WSGIApplication | None" = None,
        check_store: bool = True,
        observer: "Observer | Iterable[Observer] | None" = None,
        max_per_user: int | None = None,
        at_limit: AtLimit = "end_oldest",
        describe: "Callable[[WSGIEnvironment], str | None] | None" = None,
        seal: "Seal | None" = None,
        device_binding: "DeviceBinding | None" = None,
    ) -> "BeakerMiddleware":
        """Wrap *app* as Beaker's settings say: the keys of *config* that begin with ``session.`` or ``beaker.session.``.

        Without a *store*, sessions go where Beaker kept its own. Raise :exc:`ConfigurationError` for what cannot be kept.
        """
        settings = Settings(config)
        given = app, settings.store() if store is None else store
        old = partial(settings.carry_over, user_key, plain_pickles=plain_pickles, carry_over_until=carry_over_until)
        others: dict[str, Any] = {"unavailable": unavailable, "check_store": check_store, "observer": observer, "seal": seal}
        others |= {"max_per_user": max_per_user, "at_limit": at_limit, "describe": describe}
        others |= {"device_binding": device_binding, "namespace": namespace, "clock": clock}
        middleware = SessionMiddleware(
            *given,
            lifetime=settings.lifetime(),
            cookie=settings.cookie(),
            codec=codec,
            max_bytes=max_bytes,
            carry_over=old() if checked_choice("carry_over", carry_over) else None,
            **others,
        )
        return cls(middleware, environ_key=environ_key, get_by_id=get_by_id)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        environ[self.environ_key] = BeakerSession(
            environ, self.middleware.environ_key, self.manager, self._hint, get_by_id=self._get_by_id
        )
        return self.middleware(environ, start_response)

    def __getattr__(self, name: str) -> Any:
        if name == "middleware":
            raise AttributeError(name)
        return getattr(self.middleware, name)

    def _hint(self, message: str) -> None:
        """Warn once of each method that is not needed any more, at the line of the application that calls it."""
        if message not in self._hinted:
            self._hinted.add(message)
            warnings.warn(message, DeprecationWarning, stacklevel=3)


class BeakerSession(MutableMapping[str, Any]):
    """What Beaker gives applications in ``environ["beaker.session"]``.

    Changes are stored when the response starts, nested ones included, with no call of :meth:`save`. The times that Beaker
    kept among the data are there to be asked for by their keys, and are not among the items.
    """

    def __init__(
        self,
        environ: "WSGIEnvironment",
        environ_key: str,
        manager: SessionManager,
        hint: Hint,
        *,
        get_by_id: bool = False,
    ) -> None:
        self._environ = environ
        self._environ_key = environ_key
        self._manager = manager
        self._hint = hint
        self._get_by_id = get_by_id

    @property
    def session(self) -> Session:
        """The session itself, with all that it can do."""
        return get_session(self._environ, self._environ_key)

    # The mapping

    def __getitem__(self, key: str) -> Any:
        if key in (_CREATED, _ACCESSED):
            return self.created if key == _CREATED else self._manager.now()
        return self.session[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key in (_CREATED, _ACCESSED):
            self._hint(f"session[{key!r}] is kept by the middleware: setting it does nothing")
        else:
            self.session[key] = value

    def __delitem__(self, key: str) -> None:
        del self.session[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.session)

    def __len__(self) -> int:
        return len(self.session)

    def __contains__(self, key: object) -> bool:
        return key in (_CREATED, _ACCESSED) or key in self.session

    def clear(self) -> None:
        self.session.clear()

    def copy(self) -> dict[str, Any]:
        return dict(self.session)

    def has_key(self, name: str) -> bool:
        self._hint("session.has_key(name): write name in session")
        return name in self

    def __repr__(self) -> str:
        return repr(self.session)

    # What is known of it

    @property
    def id(self) -> str:
        """See :attr:`Session.id`: safe to log, and useless as a cookie, which Beaker's was not."""
        return self.session.id

    @property
    def is_new(self) -> bool:
        return self.session.is_new

    @property
    def created(self) -> float:
        """When the session was created or carried over (epoch seconds)."""
        return self.session.created_at

    @property
    def last_accessed(self) -> float | None:
        """When it was used before this request (epoch seconds), to within a minute; ``None`` for a new one."""
        return None if self.session.is_new else self.session.last_seen_at

    def accessed(self) -> bool:
        """Tell whether this request has used the session."""
        return self.session.accessed

    def dirty(self) -> bool:
        """Tell whether there is anything to store."""
        return self.session.modified

    @property
    def timeout(self) -> float | None:
        """The idle timeout of new sessions (seconds); when it is set, that of this session."""
        return self._manager.lifetime.idle

    @timeout.setter
    def timeout(self, value: float | None) -> None:
        self._hint("session.timeout = seconds: write session.set_lifetime(idle=seconds)")
        self.session.set_lifetime(idle=value)

    @property
    def cookie_expires(self) -> bool:
        """Whether the cookie ends with the browser."""
        return not self.session.persistent

    @cookie_expires.setter
    def cookie_expires(self, expires: bool | float | timedelta | datetime) -> None:
        self._hint("session.cookie_expires: write session.set_lifetime(persistent=True, absolute=...)")
        self._expire(expires)

    def _set_cookie_expires(self, expires: bool | float | timedelta | datetime | None) -> None:
        self._hint("session._set_cookie_expires(): write session.set_lifetime(persistent=True, absolute=...)")
        if expires is not None:
            self._expire(expires)

    def _update_cookie_out(self, set_cookie: bool = True) -> None:
        self._hint("session._update_cookie_out() is not needed: the cookie is sent whenever the browser has to learn of it")

    @property
    def domain(self) -> str | None:
        """``None``: the cookie is the same for all sessions, see :class:`CookiePolicy`."""
        return None

    @domain.setter
    def domain(self, value: str | None) -> None:
        self._hint("session.domain does nothing: write CookiePolicy(domain=...), or session.cookie_domain in the settings")

    @property
    def path(self) -> str:
        """``"/"``: the cookie is the same for all sessions, see :class:`CookiePolicy`."""
        return "/"

    @path.setter
    def path(self, value: str) -> None:
        self._hint("session.path does nothing: write CookiePolicy(path=...), or session.cookie_path in the settings")

    # What can be done with it

    def invalidate(self) -> None:
        """End the session. Whatever is written afterwards is a new one."""
        self.session.invalidate()

    def delete(self) -> None:
        """End the session, as :meth:`invalidate`, and remove the cookie."""
        self.session.invalidate()

    def regenerate_id(self) -> None:
        """See :meth:`Session.regenerate`. Unlike with Beaker the id stays, and the old cookie does not open it any more."""
        self.session.regenerate()

    def revert(self) -> None:
        """Undo what this request has changed in the data."""
        self.session.revert()

    def get_by_id(self, id: str) -> "Snapshot | None":  # noqa: A002  # its name in Beaker
        """Return a copy of the session that has this ``id``; ``None`` if there is none. The cookie is no id.

        Raise :exc:`ConfigurationError` unless the option of this name is on.
        """
        if not self._get_by_id:
            raise ConfigurationError(
                "session.get_by_id() is off, for ids are public here: write get_by_id=True if no id comes from a request, or"
                " manager.find(id) in its place"
            )
        found = self._manager.find(id)
        return None if found is None else Snapshot(found, self._manager)

    def save(self, accessed_only: bool = False) -> None:
        """Do nothing: changes are stored when the response starts, without being asked for."""
        self._hint("session.save() is not needed: changes are stored when the response starts")

    def persist(self) -> None:
        """Do nothing, as :meth:`save`."""
        self._hint(
            "session.persist() is not needed: changes are stored when the response starts; session.transact() stores at once"
        )

    def load(self) -> None:
        """Do nothing: the session is loaded at its first use."""
        self._hint("session.load() is not needed: the session is loaded at its first use")

    def lock(self) -> None:
        """Do nothing: requests that change different keys keep each other's changes without a lock."""
        self._hint("session.lock() locks nothing: parallel changes are merged; for the same key write session.transact()")

    def unlock(self) -> None:
        """Do nothing, as :meth:`lock`."""
        self._hint("session.unlock() unlocks nothing: nothing was locked")

    # What is new to applications written for Beaker

    def login(
        self,
        user_id: str,
        *,
        keep: Iterable[str] | None = None,
        mark: str | None | Default = READ_NOW,
        alias: str | Iterable[str] | None = None,
    ) -> None:
        """See :meth:`Session.login`."""
        self.session.login(user_id, keep=keep, mark=mark, alias=alias)

    def transact(self, change: Callable[[MutableMapping[str, Any]], T]) -> T:
        """See :meth:`Session.transact`."""
        return self.session.transact(change)

    def _expire(self, expires: bool | float | timedelta | datetime) -> None:
        if expires is True:
            self.session.set_lifetime(persistent=False)
            return
        self.session.set_lifetime(persistent=True, absolute=_span(expires, self._manager.now()))


class Snapshot(dict[str, Any]):
    """A copy of another session's data, as ``get_by_id`` returns it. It can be read and ended, not changed."""

    def __init__(self, info: SessionInfo, manager: SessionManager) -> None:
        super().__init__(info.data)
        self.id = info.id
        self.created = info.created_at
        self.last_accessed = info.last_seen_at
        self.is_new = False
        self._manager = manager

    def delete(self) -> None:
        """End that session, at once."""
        self._manager.revoke(self.id)
        self.clear()

    invalidate = delete

    def save(self) -> None:
        """Raise ``NotImplementedError``: a session belongs to the requests of its browser."""
        raise NotImplementedError("get_by_id() returns a copy: change the session in a request of its own browser")


def _span(expires: bool | float | timedelta | datetime, now: float) -> float:
    """Return the seconds until a cookie of Beaker's expires; ``False`` is never."""
    if expires is False:
        expires = _FOREVER
    if isinstance(expires, datetime):
        aware = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
        return max(1.0, aware.timestamp() - now)
    return expires.total_seconds() if isinstance(expires, timedelta) else float(expires)
