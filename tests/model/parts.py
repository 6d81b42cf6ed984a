"""What the model keeps of a session, and its data as one request sees them: assigned, changed in place, deleted."""

from collections.abc import Iterable, Iterator, MutableMapping
from copy import deepcopy
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from session_middleware.tokens import Token

Data: TypeAlias = dict[str, Any]

MOST_PREVIOUS = 3


class Kind(Enum):
    SIGNED_IN = "signed in"
    REPLACED = "replaced"


class Facts(NamedTuple):
    """What is known of a session beside its data; times in epoch seconds."""

    user_id: str | None
    created_at: float
    signed_in_at: float
    last_seen_at: float
    idle: float | None
    absolute: float
    persistent: bool

    @property
    def ends_at(self) -> float:
        end = self.signed_in_at + self.absolute
        return end if self.idle is None else min(end, self.last_seen_at + self.idle)

    def used(self, now: float) -> "Facts":
        return self._replace(last_seen_at=max(now, self.last_seen_at))


class Previous(NamedTuple):
    token: Token
    kind: Kind
    at: float


@dataclass
class Life:
    """One session from its first write to its end."""

    key: str
    data: Data
    facts: Facts
    era: int
    current: list[Token]
    mark: int | None = None
    previous: list[Previous] = field(default_factory=list)
    snapshot: Data = field(default_factory=dict)
    writes: int = 0
    ended: bool = False

    def replaced(self, kind: Kind, now: float) -> None:
        """Take the current secrets out of service."""
        self.previous = [*self.previous, *(Previous(token, kind, now) for token in self.current)][-MOST_PREVIOUS:]


class Changes(NamedTuple):
    assigned: Data
    grown: Data
    deleted: set[str]

    def over(self, theirs: Data) -> Data:
        if not any(self):
            return theirs
        result = {key: value for key, value in theirs.items() if key not in self.deleted}
        result.update({key: value for key, value in self.grown.items() if key in result})
        return result | self.assigned


class View(MutableMapping[str, Any]):
    """The data as a request sees them: what was assigned, and what they were before."""

    def __init__(self, base: Data) -> None:
        self.base = deepcopy(base)
        self.now = deepcopy(base)
        self.assigned: dict[str, None] = {}
        """In the order of assignment: merged, they follow what others have set."""
        self._left: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        return self.now[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.now[key] = value
        self.assigned[key] = None

    def __delitem__(self, key: str) -> None:
        del self.now[key]
        self.assigned.pop(key, None)
        self._left.discard(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)

    def popitem(self) -> tuple[str, Any]:
        key = [*self.now][-1]
        value = self.now[key]
        del self[key]
        return key, value

    def clear(self) -> None:
        self.now.clear()
        self.assigned.clear()
        self._left.clear()

    def keep_only(self, keys: Iterable[str]) -> None:
        for key in self.now.keys() - set(keys):
            del self[key]
            self._left.add(key)

    def changes(self) -> Changes:
        differ = {key: value for key, value in self.now.items() if not self._is_as_before(key, value)}
        return Changes(
            {key: differ[key] for key in self.assigned if key in differ},
            {key: value for key, value in differ.items() if key not in self.assigned},
            set(self.base) - set(self.now) - self._left,
        )

    def all_assigned(self) -> Data:
        return {key: self.now[key] for key in self.assigned}

    def rebase(self, stored: Data, own: Changes) -> None:
        for key, value in stored.items():
            mine = own.assigned.get(key, own.grown.get(key, self.base.get(key, _NOTHING)))
            if key not in self.now or exact(mine) != exact(value):
                self.now[key] = deepcopy(value)
        for key in self.now.keys() - stored.keys():
            del self.now[key]
        self.base = deepcopy(stored)
        self.assigned.clear()
        self._left.clear()

    def _is_as_before(self, key: str, value: Any) -> bool:
        return key in self.base and exact(self.base[key]) == exact(value)


_NOTHING = object()


def exact(data: object) -> str:
    """Return a text that is the same for data that are the same: types count, and so does their order."""
    return repr(data)


def differ(one: Data, other: Data) -> bool:
    """Tell whether there is anything to store: another order of the same keys is not."""
    return {key: exact(value) for key, value in one.items()} != {key: exact(value) for key, value in other.items()}
