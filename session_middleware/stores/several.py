"""What several servers of one store tell of themselves, as the health of one. It asks none of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from session_middleware.stores.base import Health

T = TypeVar("T")

_LOCAL: Final = ("localhost", "127.", "::1", "/")


def worst_of(servers: Sequence[Health]) -> Health:
    """Return the health of a store that is on all of the *servers*, at least one: times and rooms are those of the worst."""
    first = servers[0]
    if len(servers) == 1:
        return first
    fullest = min(servers, key=_free_share)
    return Health(
        kind=first.kind,
        version=_together(server.version for server in servers),
        role=_together(server.role for server in servers),
        eviction=_together(server.eviction for server in servers),
        tls=first.tls,
        clock_difference=_of(lambda found: max(found, key=abs), [server.clock_difference for server in servers]),
        free_space=fullest.free_space,
        space=fullest.space,
        records=_of(sum, [server.records for server in servers]),
    )


def is_local(host: str | None) -> bool:
    """Tell whether what goes to *host* leaves this machine; a path is that of a Unix socket."""
    return host is None or host.startswith(_LOCAL)


def _free_share(server: Health) -> float:
    return 1.0 if server.free_space is None or not server.space else server.free_space / server.space


def _together(texts: Iterable[str | None]) -> str | None:
    return ", ".join(sorted({text for text in texts if text is not None})) or None


def _of(choose: Callable[[list[Any]], T], found: Sequence[object]) -> T | None:
    known = [value for value in found if value is not None]
    return choose(known) if known else None
