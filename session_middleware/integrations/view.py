"""A session object of a framework as a view of ours: the mapping is the session's, and so is what the view lacks."""

from collections.abc import Iterator, MutableMapping
from typing import Any

from session_middleware.session import Session


class SessionView(MutableMapping[str, Any]):
    """A mapping that stores nothing itself; attributes that it lacks are those of *underlying*."""

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

    def __getattr__(self, name: str) -> Any:
        if name == "underlying":
            raise AttributeError(name)
        return getattr(self.underlying, name)
