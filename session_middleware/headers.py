"""What a response's headers say to caches, changed in place; and what no server can send."""

import re
from typing import Final, TypeAlias

Headers: TypeAlias = list[tuple[str, str]]

# RFC 9110, 5.5 and 5.6.2; RFC 9112, 4: the blank is there even if no reason follows.
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NOT_IN_VALUE: Final = re.compile(r"[^\t -~\x80-\xff]")
_STATUS: Final = re.compile(r"[1-9][0-9]{2} [\t -~\x80-\xff]*")
_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "trailers"}
    | {"transfer-encoding", "upgrade"}
)
# Names that need no look at their characters.
_COMMON: Final = frozenset(
    {"Allow", "Cache-Control", "Content-Disposition", "Content-Language", "Content-Length", "Content-Security-Policy"}
    | {"Content-Type", "Cross-Origin-Opener-Policy", "Date", "ETag", "Expires", "Last-Modified", "Link", "Location"}
    | {"Referrer-Policy", "Server", "Set-Cookie", "Strict-Transport-Security", "Vary", "X-Content-Type-Options"}
    | {"X-Frame-Options"}
)

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')  # RFC 9110, 5.6.4: a comma in it separates nothing


def refuse_unsendable(status: str, headers: Headers) -> None:
    """Raise ``ValueError``, which names the header, for what PEP 3333 and RFC 9110 let no server send."""
    if _are_common(status, headers):
        return
    if not isinstance(status, str) or not _STATUS.fullmatch(status):
        raise ValueError(f"the status {status!r} cannot be sent: write three digits, a blank and a reason (PEP 3333)")
    for header in headers:
        try:
            name, value = header
        except (TypeError, ValueError):
            raise ValueError(f"{header!r} cannot be sent: a header is a tuple of name and value (PEP 3333)") from None
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"the header {name!r} cannot be sent: that is no field name (RFC 9110, 5.1)")
        if name.lower() in _HOP_BY_HOP and not status.startswith("101"):
            raise ValueError(f"the header {name!r} cannot be sent: it is for the server to set (PEP 3333, hop-by-hop)")
        if not isinstance(value, str):
            raise ValueError(f"the header {name!r} cannot be sent: its value is {type(value).__name__}, not str")
        if found := _NOT_IN_VALUE.search(value):
            raise ValueError(
                f"the header {name!r} cannot be sent: {found[0]!r} in its value is not Latin-1, or a control character"
                " (RFC 9110, 5.5); a URL has it percent-encoded"
            )


def _are_common(status: str, headers: Headers) -> bool:
    """Tell at half the price that there is nothing to refuse; ``False`` if that takes a closer look."""
    try:
        names, values = zip(*headers, strict=True)
        text = status + "".join(values)
    except (TypeError, ValueError):
        return False
    return text.isascii() and text.isprintable() and _COMMON.issuperset(names) and bool(_STATUS.fullmatch(status))


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
