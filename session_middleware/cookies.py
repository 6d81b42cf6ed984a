"""The session cookie: which attributes it has, how it is read and written. The only place that knows them.

Neither ``http.cookies`` nor ``str.strip()`` is used: the one drops a whole header over one odd cookie, the other takes
characters for white space that browsers do not, and so lets one cookie pass for another.
"""

import re
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final, Literal

from webob.cookies import make_cookie

from session_middleware.exceptions import ConfigurationError
from session_middleware.tokens import TOKEN

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")  # RFC 9110, 5.6.2: token
_PATH: Final = re.compile(r"/[ -:<-~]*")  # RFC 6265bis, 4.1.1: av-octet, which is no control character and no semicolon
_DOMAIN: Final = re.compile(r"\.?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_LONGEST_ATTRIBUTE: Final = 1024  # octets; a browser ignores a longer one (RFC 6265bis, 5.6)
_LONGEST_MAX_AGE: Final = 400 * 86400  # seconds; a browser keeps no cookie longer (RFC 6265bis, 5.6.2)
_LONGEST_HEADER: Final = 64 * 1024  # characters; a longer Cookie header is not searched
_MOST_CANDIDATES: Final = 3

_PLACEHOLDER: Final = "x"
_LONG_AGO: Final = "Thu, 01 Jan 1970 00:00:00 GMT"


@dataclass(frozen=True, kw_only=True, slots=True)
class CookiePolicy:
    """How the session cookie is named and where the browser may send it. It is always ``HttpOnly``.

    ``secure``: ``"auto"`` makes it Secure on https and not on http; ``True`` always; ``False`` never. A Secure cookie is
    named ``__Host-`` plus the name, or ``__Secure-`` where a domain or a path is set (RFC 6265bis, 4.1.3).
    ``samesite``: ``"Lax"``, ``"Strict"`` or ``"None"``. ``partitioned``: for a site that lives inside others (CHIPS).
    Raise :exc:`ConfigurationError` for what no browser would accept.
    """

    name: str = "session"
    secure: bool | Literal["auto"] = "auto"
    samesite: Literal["Lax", "Strict", "None"] = "Lax"
    path: str = "/"
    domain: str | None = None
    partitioned: bool = False

    def __post_init__(self) -> None:
        for refused, message in self._refusals():
            if refused:
                raise ConfigurationError(message)

    def _refusals(self) -> list[tuple[bool, str]]:
        prefixed = (
            self.name.lower().startswith(("__host-", "__secure-", "__http-")) if isinstance(self.name, str) else False
        )
        return [
            (
                not isinstance(self.name, str) or not _NAME.fullmatch(self.name),
                f"name={self.name!r}: write 1 to 64 letters, digits, '-', '_' or '.'",
            ),
            (prefixed, f"name={self.name!r}: write it without the prefix; a Secure cookie gets it by itself"),
            (self.secure not in (True, False, "auto"), f"secure={self.secure!r}: write 'auto', True or False"),
            (
                self.samesite not in ("Lax", "Strict", "None"),
                f"samesite={self.samesite!r}: write 'Lax', 'Strict' or 'None'",
            ),
            (
                self.samesite == "None" and self.secure is not True,
                "samesite='None' needs secure=True: browsers drop the cookie otherwise",
            ),
            (
                self.partitioned and self.secure is not True,
                "partitioned=True needs secure=True: browsers drop the cookie otherwise",
            ),
            (
                not _PATH.fullmatch(self.path) or len(self.path) > _LONGEST_ATTRIBUTE,
                f"path={self.path!r}: write an absolute path in ASCII, without ';'",
            ),
            (
                self.domain is not None and not (_DOMAIN.fullmatch(self.domain) and len(self.domain) <= 255),
                f"domain={self.domain!r}: write a host name, or None for this host alone",
            ),
        ]

    def for_scheme(self, scheme: str) -> "SessionCookie":
        """Return the cookie as it is on *scheme* (``http`` or ``https``)."""
        secure = scheme == "https" if self.secure == "auto" else self.secure
        prefix = "" if not secure else "__Host-" if self.path == "/" and self.domain is None else "__Secure-"
        name = prefix + self.name
        header = make_cookie(
            name,
            _PLACEHOLDER,
            path=self.path,
            domain=self.domain,
            secure=secure,
            httponly=True,
            samesite=self.samesite,
        )
        attributes = header.removeprefix(f"{name}={_PLACEHOLDER}")
        return SessionCookie(name, f"{attributes}; Partitioned" if self.partitioned else attributes)


class SessionCookie:
    """One cookie name with its constant attributes: finds tokens in a ``Cookie`` header, and builds ``Set-Cookie``."""

    def __init__(self, name: str, attributes: str) -> None:
        self.name = name
        self.environ_key = f"session_middleware.cookie.{name}"
        self._attributes = attributes
        # A semicolon always ends a pair, quotes or not; only space and tab may surround a name or a value; the name is
        # compared as it is; the value must have the form of a token. Servers join several Cookie lines with commas, so one
        # may follow the value; before a name it would let a cookie's value pass for a cookie. One pass, no backtracking
        # beyond a run of blanks.
        self._tokens = re.compile(rf"(?:^|;)[ \t]*{re.escape(name)}[ \t]*=[ \t]*({TOKEN})[ \t]*(?=[;,]|\Z)").findall

    def read(self, header: object) -> tuple[str, ...]:
        """Return the distinct well-formed tokens in a ``Cookie`` header; none if there are more than three of them.

        Never raises. RFC 6265bis, 5.8.3 lets a browser send several cookies of one name; which one is meant is for the
        store to tell.
        """
        if not isinstance(header, str) or len(header) > _LONGEST_HEADER:
            return ()
        found = self._tokens(header)
        if len(found) < 2:
            return tuple(found)
        distinct = tuple(dict.fromkeys(found))
        return distinct if len(distinct) <= _MOST_CANDIDATES else ()

    def header(self, token: str, *, max_age: int | None = None) -> str:
        """Return the value of the ``Set-Cookie`` that tells the browser *token*, for *max_age* seconds if given."""
        if max_age is None:
            return f"{self.name}={token}{self._attributes}"
        max_age = min(max_age, _LONGEST_MAX_AGE)
        return f"{self.name}={token}{self._attributes}; Max-Age={max_age}; Expires={_http_date(max_age)}"

    def deletion_header(self) -> str:
        """Return the value of the ``Set-Cookie`` that removes the cookie: it needs the attributes that set it."""
        return f"{self.name}={self._attributes}; Max-Age=0; Expires={_LONG_AGO}"

    def is_set_by(self, header: str) -> bool:
        """Tell whether *header* is the value of a ``Set-Cookie`` for this cookie."""
        return header.partition("=")[0].strip(" \t") == self.name


def _http_date(seconds_from_now: int) -> str:
    return formatdate(time.time() + seconds_from_now, usegmt=True)
