"""What one request changed, laid over what another has stored meanwhile. Pure: no store, no clock."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from session_middleware.record import Envelope

Encode = Callable[[Mapping[str, Any]], bytes]


class Changes(NamedTuple):
    """The top-level keys that differ: their new values, and those that are gone."""

    values: dict[str, Any]
    deleted: set[str]

    def over(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """Return *theirs* with these changes on top."""
        return {key: value for key, value in theirs.items() if key not in self.deleted} | self.values

    def but_for(self, other: "Changes") -> "Changes":
        """Return these changes without the keys that *other* changes, too."""
        taken = other.values.keys() | other.deleted
        return Changes({key: value for key, value in self.values.items() if key not in taken}, self.deleted - taken)


def changes(encode: Encode, base: Mapping[str, Any], mine: Mapping[str, Any]) -> Changes:
    """Return what leads from *base* to *mine*. Values are compared as they are encoded, so types count."""
    values = {key: value for key, value in mine.items() if key not in base or not _same(encode, key, value, base[key])}
    return Changes(values, base.keys() - mine.keys())


def bring_up_to_date(encode: Encode, data: dict[str, Any], target: Mapping[str, Any]) -> None:
    """Make *data* equal *target* in place, keeping each value that is equal: the application may hold it."""
    for key in data.keys() - target.keys():
        del data[key]
    for key, value in target.items():
        if key not in data or not _same(encode, key, data[key], value):
            data[key] = value


def envelope_over(base: Envelope, mine: Envelope, theirs: Envelope) -> Envelope:
    """Return *theirs* with the fields that differ between *base* and *mine* set as in *mine*."""
    changed: dict[str, Any] = {
        field: ours for field, was, ours in zip(Envelope._fields, base, mine, strict=True) if was != ours
    }
    merged = theirs._replace(**changed)
    return merged._replace(last_seen_at=max(mine.last_seen_at, theirs.last_seen_at))


def _same(encode: Encode, key: str, one: object, other: object) -> bool:
    return encode({key: one}) == encode({key: other})
