"""What a response's headers say to caches. Lists of pairs in, changed in place."""

import re
from typing import Final, TypeAlias

Headers: TypeAlias = list[tuple[str, str]]

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')  # RFC 9110, 5.6.4: a comma in it separates nothing


def vary_on_cookie(headers: Headers) -> None:
    """Add ``Cookie`` to ``Vary`` (RFC 9110, 12.5.5), in the last such line if there is one, unless it is there."""
    last = None
    for index, (name, value) in enumerate(headers):
        if name.lower() == "vary":
            if not {"cookie", "*"}.isdisjoint(_members(value)):
                return
            last = index
    if last is None:
        headers.append(("Vary", "Cookie"))
    else:
        name, value = headers[last]
        headers[last] = (name, f"{value}, Cookie" if value.strip(" \t") else "Cookie")


def forbid_shared_caching(headers: Headers) -> None:
    """Put ``Cache-Control: private, no-store`` in place of one that lets shared caches keep the response.

    RFC 9111, 5.2.2: ``no-store`` and ``private`` forbid it; ``private`` with field names covers these fields only. A header
    that is for some caches alone (RFC 9213) goes in any case, for they would heed it and not this one.
    """
    if any(name.lower().endswith("-control") for name, _ in headers):
        headers[:] = [header for header in headers if not _is_for_some_caches(header[0].lower())]
        own = [value for name, value in headers if name.lower() == "cache-control"]
        if any(not {"no-store", "private"}.isdisjoint(_members(value)) for value in own):
            return
        headers[:] = [header for header in headers if header[0].lower() != "cache-control"]
    headers.append(("Cache-Control", "private, no-store"))


def _is_for_some_caches(name: str) -> bool:
    return name.endswith("-cache-control") or name == "surrogate-control"


def _members(value: str) -> set[str]:
    return {member.strip(" \t").lower() for member in _QUOTED.sub('""', value).split(",")}
