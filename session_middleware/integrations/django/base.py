"""``SessionBase`` as a view of our session: what the engine and ``request.session`` have in common. It stores nothing."""

import math
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.utils.module_loading import import_string

from session_middleware.exceptions import ConflictError, StoreError, anew
from session_middleware.integrations.django import settings as configured
from session_middleware.lifetime import LONGEST
from session_middleware.manager import SessionManager
from session_middleware.session import Session
from session_middleware.state import State
from session_middleware.values import Values

# What django.contrib.auth calls SESSION_KEY: setting it is signing in.
_USER_KEY: Final = "_auth_user_id"

# Where Django keeps what set_expiry() was given.
_EXPIRY_KEY: Final = "_session_expiry"

# Keys that are more than keys where they are set.
_SPECIAL: Final = frozenset({_USER_KEY, _EXPIRY_KEY})

_SWEEP_LIMIT: Final = 1000
_AT_ONCE: Final = 1e-9  # seconds; set_expiry() takes times that have passed
_REQUIRED: Final = object()


class UnservedSession(Session):
    """A session that no WSGI middleware stores. It ends at once, for perhaps no response comes of the request."""

    def invalidate(self) -> None:
        super().invalidate()
        if self.state is not None and self.state.ending:
            try:
                self.keeper.end(self.state)
            except (StoreError, ConflictError) as fault:
                self.fault = anew(fault)
                raise


def _after_opening(name: str) -> Callable[..., Any]:
    """Return the asynchronous form of a method that does no I/O once the session is loaded."""

    async def method(self: "BaseSession", *arguments: Any, **options: Any) -> Any:
        await self._aget_session()
        return getattr(self, name)(*arguments, **options)

    return method


def _in_thread(name: str) -> Callable[..., Any]:
    """Return the asynchronous form of a method that does I/O."""

    async def method(self: "BaseSession", *arguments: Any, **options: Any) -> Any:
        return await sync_to_async(getattr(self, name))(*arguments, **options)

    return method


class BaseSession(SessionBase):  # type: ignore[misc]  # Django has no types
    """What Django documents for ``request.session``: a view of the :class:`Session` that is ``underlying``.

    Attributes that it lacks are those of the session: ``id``, ``user_id``, ``transact()``, ``set_lifetime()`` and so on.
    """

    def __init__(self, underlying: Session) -> None:
        self.underlying = underlying
        self._marked = False

    # The mapping, where it is not Django's own over what _get_session() returns

    def __setitem__(self, key: str, value: Any) -> None:
        if key == _USER_KEY:
            self._sign_in(str(value))
        elif key == _EXPIRY_KEY:
            self._set_lifetime(value)
        self.underlying[key] = value
        self._marked = True

    def __delitem__(self, key: str) -> None:
        del self.underlying[key]
        self._removed(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.underlying)

    def __len__(self) -> int:
        return len(self.underlying)

    def __bool__(self) -> bool:
        """Return ``True``: Django's sessions are true even if they are empty, and its test client relies on that."""
        return True

    def pop(self, key: str, default: Any = _REQUIRED) -> Any:
        if key not in self.underlying and default is not _REQUIRED:
            return default
        value = self.underlying.pop(key)
        self._removed(key)
        return value

    def update(self, dict_: Any) -> None:
        given = dict(dict_)
        if _SPECIAL.isdisjoint(given):
            self.underlying.update(given)
        else:
            for key, value in given.items():
                self[key] = value
        self._marked = True

    def clear(self) -> None:
        usually = _EXPIRY_KEY not in self.underlying
        self.underlying.clear()
        self._marked = True
        if not usually:
            self._set_lifetime(None)

    def _removed(self, key: str) -> None:
        self._marked = True
        if key == _EXPIRY_KEY:
            self._set_lifetime(None)

    def is_empty(self) -> bool:
        """Tell whether there is neither a key nor anything to keep."""
        return not self.session_key and not (self.underlying.state and self.underlying)

    def __repr__(self) -> str:
        return repr(self.underlying)

    # What Django keeps as attributes

    @property
    def accessed(self) -> bool:
        """Whether the response depends on the session. Assigning does nothing: it would not be true."""
        return self.underlying.accessed

    @accessed.setter
    def accessed(self, value: bool) -> None: ...

    @property
    def modified(self) -> bool:
        """Whether there is anything to save. Nested changes count, so it need not be assigned."""
        return self._marked or self.underlying.modified

    @modified.setter
    def modified(self, value: bool) -> None:
        self._marked = bool(value)

    @property
    def serializer(self) -> Any:
        return import_string(settings.SESSION_SERIALIZER)

    def _get_session(self, no_load: bool = False) -> Values:
        return self._opened().values

    async def _aget_session(self, no_load: bool = False) -> Values:
        if self.underlying.state is None:
            await sync_to_async(self._opened)()
        return self._get_session()

    _session = property(_get_session)

    # How long it lasts

    def get_session_cookie_age(self) -> int:
        """Return the seconds that are left to the session if it is not used; without ``set_expiry()``, of course."""
        envelope = self._opened().envelope
        left = envelope.ends_at - self._manager.now()
        return math.ceil(left if envelope.idle is None else min(envelope.idle, left))

    def get_expire_at_browser_close(self) -> bool:
        return not self.underlying.persistent

    def set_expiry(self, value: datetime | timedelta | float | None) -> None:
        """See Django. A number is an idle timeout, anything else but ``None`` an absolute one."""
        super().set_expiry(value)
        if value is None:
            self._set_lifetime(None)

    def get_expiry_age(self, **options: Any) -> Any:
        return super().get_expiry_age(**{"expiry": self._expiry(), **options})

    def get_expiry_date(self, **options: Any) -> Any:
        return super().get_expiry_date(**{"expiry": self._expiry(), **options})

    def _expiry(self) -> Any:
        """Return what ``set_expiry()`` was given as long as it is what holds."""
        value = self.get(_EXPIRY_KEY)
        if not value:
            return None
        envelope = self._opened().envelope
        idle, absolute = _lifetime(value, envelope.signed_in_at)
        holds = envelope.idle == idle if absolute is None else abs(envelope.absolute - absolute) < 1
        return value if holds else None

    def _set_lifetime(self, value: datetime | str | float | None) -> None:
        """Let the session last as Django would: a number is an idle timeout, a moment an absolute one."""
        usual, lasts = self._manager.new(), self.underlying.set_lifetime
        if not value:
            lasts(idle=usual.idle, absolute=usual.absolute, persistent=usual.persistent and value is None)
            return
        idle, absolute = _lifetime(value, self._opened().envelope.signed_in_at)
        lasts(idle=idle, absolute=max(usual.absolute, idle or 0) if absolute is None else absolute, persistent=True)

    # What is stored

    def exists(self, session_key: str) -> bool:
        """Tell whether there is a session with that key, or with that ``id``."""
        named = self._manager.open(session_key)
        return not (named.is_new or named.is_gone) or self._manager.find(session_key) is not None

    def delete(self, session_key: str | None = None) -> None:
        """End this session, or the one with that key, or with that ``id``, at once."""
        if session_key is None or session_key == self.session_key:
            self.flush()
        elif not self._manager.revoke(session_key):
            named = self._manager.open(session_key)
            named.invalidate()
            self._manager.commit(named)

    def flush(self) -> None:
        """End the session. What is written afterwards is a new one."""
        self.underlying.invalidate()
        self._marked = not self.underlying.is_gone

    def cycle_key(self) -> None:
        """Give the session a new secret, or a new one its key; what is stored then is stored with the rest."""
        self.underlying.use()
        self.underlying.regenerate()
        _ = self.underlying.id
        self._marked = True

    @classmethod
    def clear_expired(cls) -> None:
        """Remove all that has expired, a batch at a time, where the store does not do that by itself."""
        while configured.manager().sweep(_SWEEP_LIMIT):
            pass

    @classmethod
    async def aclear_expired(cls) -> None:
        await sync_to_async(cls.clear_expired)()

    # What ours has besides

    def __getattr__(self, name: str) -> Any:
        if name == "underlying":
            raise AttributeError(name)
        return getattr(self.underlying, name)

    @property
    def _manager(self) -> SessionManager:
        return cast("SessionManager", self.underlying.keeper)

    def _opened(self) -> State:
        underlying = self.underlying
        if underlying.state is None:
            _ = underlying.is_new
        return cast("State", underlying.state)

    def _sign_in(self, user_id: str) -> None:
        """Record who has signed in, before anything else of theirs is written."""
        self.underlying.login(user_id)

    async def aset(self, key: str, value: Any) -> None:
        await self._aget_session()
        if key == _USER_KEY:
            await sync_to_async(self.__setitem__)(key, value)
        else:
            self[key] = value

    aget = _after_opening("get")
    apop = _after_opening("pop")
    ahas_key = _after_opening("has_key")
    akeys = _after_opening("keys")
    avalues = _after_opening("values")
    aitems = _after_opening("items")
    aset_test_cookie = _after_opening("set_test_cookie")
    atest_cookie_worked = _after_opening("test_cookie_worked")
    adelete_test_cookie = _after_opening("delete_test_cookie")
    aget_expiry_age = _after_opening("get_expiry_age")
    aget_expiry_date = _after_opening("get_expiry_date")
    aget_expire_at_browser_close = _after_opening("get_expire_at_browser_close")
    aset_expiry = _after_opening("set_expiry")
    acycle_key = _after_opening("cycle_key")
    asetdefault = _in_thread("setdefault")
    aupdate = _in_thread("update")
    aflush = _in_thread("flush")
    aexists = _in_thread("exists")
    acreate = _in_thread("create")
    asave = _in_thread("save")
    adelete = _in_thread("delete")
    aload = _in_thread("load")


def _lifetime(expiry: datetime | str | float, since: float) -> tuple[float | None, float | None]:
    """Return the idle timeout that ``_session_expiry`` asks for; else the absolute one of a session that began *since*."""
    if isinstance(expiry, str):
        expiry = datetime.fromisoformat(expiry)
    if isinstance(expiry, datetime):
        return None, _span(expiry.timestamp() - since)
    return _span(expiry), None


def _span(seconds: float) -> float:
    return float(min(max(seconds, _AT_ONCE), LONGEST))
