"""What a response's headers say to caches, changed in place; and what no server can send. Cookies are not made here."""

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

_FOR_CACHES: Final = frozenset({"cache-control", "expires", "surrogate-control", "edge-control", "x-accel-expires"})
# Directives that let nobody keep more than without them.
_HARMLESS: Final = frozenset({"no-cache", "no-transform", "must-revalidate", "proxy-revalidate"})
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')  # RFC 9110, 5.6.4: a comma in it separates nothing


def refuse_unsendable(status: str, headers: Headers) -> None:
    """Raise ``ValueError``, which names the header, for what PEP 3333 and RFC 9110 let no server send."""
    if _are_common(status, headers):
        return
    if not isinstance(status, str) or not _STATUS.fullmatch(status):
        raise ValueError(f"the status {status!r} cannot be sent: write three digits, a blank and a reason (PEP 3333)")
    for header in headers:
        if not isinstance(header, tuple | list) or len(header) != 2:
            raise ValueError(f"{header!r} cannot be sent: a header is a tuple of name and value (PEP 3333)")
        name, value = header
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
    lengths = {value for name, value in headers if name.lower() == "content-length"}
    if len(lengths) > 1 or not all(length.isascii() and length.isdigit() for length in lengths):
        raise ValueError("the header 'Content-Length' cannot be sent: it is one number (RFC 9110, 8.6)")


def _are_common(status: str, headers: Headers) -> bool:
    """Tell at half the price that there is nothing to refuse; ``False`` if that takes a closer look."""
    try:
        names, values = zip(*headers, strict=True)
        text = status + "".join(values)
    except (TypeError, ValueError):
        return False
    if not (text.isascii() and text.isprintable() and _COMMON.issuperset(names) and _STATUS.fullmatch(status)):
        return False
    lengths = [value for name, value in headers if name == "Content-Length"]
    return not lengths or (len(lengths) == 1 and lengths[0].isdigit())


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
    """Put ``private, no-store`` in place of what lets shared caches keep the response; the rest of ``Cache-Control`` stays.

    RFC 9111, 5.2.2: ``no-store`` and ``private`` forbid it, but ``private`` with field names covers these fields only, and
    ``must-understand`` takes ``no-store`` back. A header that is for some caches alone (RFC 9213) goes in any case unless it
    forbids it, too, for they would heed it and not this one.
    """
    names = {name.lower() for name, _ in headers}
    if names.isdisjoint(_FOR_CACHES) and not any(name.endswith("-cache-control") for name in names):
        headers.append(("Cache-Control", "private, no-store"))
        return
    headers[:] = [header for header in headers if not _lets_some_cache_keep_it(header[0].lower(), header[1])]
    own = [member for name, value in headers if name.lower() == "cache-control" for member in _members(value)]
    if _forbids(own):
        return
    headers[:] = [header for header in headers if header[0].lower() not in ("cache-control", "expires")]
    kept = dict.fromkeys(member for member in own if member in _HARMLESS)
    headers.append(("Cache-Control", ", ".join(("private", "no-store", *kept))))


def _forbids(members: list[str]) -> bool:
    return "private" in members or ("no-store" in members and "must-understand" not in members)


def _lets_some_cache_keep_it(name: str, value: str) -> bool:
    if name == "x-accel-expires":
        return value.strip(" \t") != "0"
    is_for_some = name.endswith("-cache-control") or name in ("surrogate-control", "edge-control")
    return is_for_some and not _forbids(_members(value))


def _members(value: str) -> list[str]:
    return [member.strip(" \t").lower() for member in _QUOTED.sub('""', value).split(",")]
