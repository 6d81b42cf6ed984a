"""What the URLs of all stores have in common: options as a query, and errors that say what to write. It opens nothing."""

from collections.abc import Collection
from typing import TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from session_middleware.exceptions import ConfigurationError

T = TypeVar("T", int, float)


def split(url: str) -> SplitResult:
    """Return the parts of *url*; raise :exc:`ConfigurationError` if it cannot be read."""
    try:
        return urlsplit(url)
    except ValueError:  # which may quote a password
        raise ConfigurationError("the URL of the store cannot be read: look at its brackets and its letters") from None


def path_alone(url: str, example: str) -> str:
    """Return what stands between the scheme and the query, slashes included; refuse a host, and a fragment."""
    parts = split(url)
    if parts.netloc or parts.fragment:
        raise ConfigurationError(f"{parts.scheme}: takes no host and no fragment; write {example}")
    slashes = "//" if url.partition(":")[2].startswith("//") else ""
    return slashes + unquote(parts.path)


def options(scheme: str, query: str) -> dict[str, str]:
    """Return the options in the query of a URL; refuse one that is there twice."""
    found: dict[str, str] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in found:
            raise ConfigurationError(f"{scheme}: the option {name!r} is there more than once; write it once")
        found[name] = text
    return found


def refuse_unknown(scheme: str, found: Collection[str], known: tuple[str, ...]) -> None:
    """Raise :exc:`ConfigurationError` if *found* names an option that is not *known*."""
    if unknown := sorted(set(found) - set(known)):
        from difflib import get_close_matches  # for who makes a slip, and for nobody else

        if near := get_close_matches(unknown[0], known, n=1):
            raise ConfigurationError(f"{scheme}: has no option {unknown[0]!r}; did you mean {near[0]}?")
        raise ConfigurationError(f"{scheme}: has no option {unknown[0]!r}; it has {', '.join(known)}")


def number(kind: type[T], name: str, text: str) -> T:
    """Return the number that *text* is, an ``int`` or a ``float``; raise :exc:`ConfigurationError` if it is none."""
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ConfigurationError(f"{name}={text!r}: write {wanted}") from None
