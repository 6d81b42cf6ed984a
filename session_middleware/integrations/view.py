"""A session object of a framework as a view of ours: what it has and lacks is the session's. It knows no framework."""

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from session_middleware.lifetime import Duration
from session_middleware.session import READ_NOW, UNCHANGED, Default, Session
from session_middleware.state import Ended

T = TypeVar("T")


class SessionView(MutableMapping[str, Any]):
    """A mapping that stores nothing itself; attributes that it lacks are those of *underlying*.

    What the documentation gives to applications is written out, so that type checkers know it: see :class:`Session`.
    """

    _special: ClassVar[frozenset[str]] = frozenset()
    """Keys that are more than keys where they are set."""

    def __init__(self, underlying: Session) -> None:
        self.underlying = underlying

    def __getitem__(self, key: str) -> Any:
        return self.underlying[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.underlying[key] = value

    def __delitem__(self, key: str) -> None:
        del self.underlying[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.underlying)

    def __len__(self) -> int:
        return len(self.underlying)

    def __contains__(self, key: object) -> bool:
        return key in self.underlying

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the newest key and its value; raise ``KeyError`` if there is none."""
        return self.underlying.popitem()

    def __repr__(self) -> str:
        return repr(self.underlying)

    @property
    def id(self) -> str:
        return self.underlying.id

    @property
    def user_id(self) -> str | None:
        return self.underlying.user_id

    @property
    def is_new(self) -> bool:
        return self.underlying.is_new

    @property
    def created_at(self) -> float:
        return self.underlying.created_at

    @property
    def signed_in_at(self) -> float | None:
        return self.underlying.signed_in_at

    @property
    def last_seen_at(self) -> float:
        return self.underlying.last_seen_at

    @property
    def expires_at(self) -> float:
        return self.underlying.expires_at

    @property
    def persistent(self) -> bool:
        return self.underlying.persistent

    @property
    def device_bound(self) -> bool:
        return self.underlying.device_bound

    @property
    def ended(self) -> Ended | None:
        return self.underlying.ended

    @property
    def accessed(self) -> bool:
        return self.underlying.accessed

    @property
    def modified(self) -> bool:
        return self.underlying.modified

    def login(
        self,
        user_id: str,
        *,
        keep: Iterable[str] | None = None,
        mark: str | None | Default = READ_NOW,
        alias: str | Iterable[str] | None = None,
        not_after: float | datetime | None = None,
    ) -> None:
        self.underlying.login(user_id, keep=keep, mark=mark, alias=alias, not_after=not_after)
        self._began_anew()

    def confirm(self) -> None:
        self.underlying.confirm()
        self._began_anew()

    def is_fresh(self, age: Duration) -> bool:
        return self.underlying.is_fresh(age)

    def invalidate(self) -> None:
        self.underlying.invalidate()
        self._began_anew()

    def _began_anew(self) -> None:
        """Someone has signed in or out: what a framework keeps beside the session may belong to who was there before."""

    def regenerate(self) -> None:
        self.underlying.regenerate()

    def revert(self) -> None:
        self.underlying.revert()

    def transact(self, change: Callable[[MutableMapping[str, Any]], T]) -> T:
        return self.underlying.transact(change)

    def set_lifetime(
        self,
        *,
        idle: Duration | None | Default = UNCHANGED,
        absolute: Duration | Default = UNCHANGED,
        persistent: bool | Default = UNCHANGED,
    ) -> None:
        self.underlying.set_lifetime(idle=idle, absolute=absolute, persistent=persistent)

    if not TYPE_CHECKING:  # the types are those of MutableMapping

        def update(self, other: Any = (), /, **others: Any) -> None:
            """See :meth:`dict.update`."""
            given = dict(other, **others)
            if self._special.isdisjoint(given):
                self.underlying.update(given)
            else:
                super().update(given)

        def __getattr__(self, name: str) -> Any:
            if name == "underlying":
                raise AttributeError(name)
            return getattr(self.underlying, name)
