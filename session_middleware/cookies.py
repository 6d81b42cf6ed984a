"""The session cookie: which attributes it has, how it is read and written. Nothing else knows them; it knows no session.

Neither ``http.cookies`` nor ``str.strip()`` is used: the one drops a whole header over one odd cookie, the other takes
characters for white space that browsers do not, and so lets one cookie pass for another.
"""

import logging
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal, TypeGuard

from session_middleware.carry_over import CarryOver, OldSession
from session_middleware.exceptions import ConfigurationError
from session_middleware.frozen import Frozen
from session_middleware.tokens import FORM, LENGTH, FormerToken, Token, well_formed

log = logging.getLogger("session_middleware")

# RFC 9110, 5.6.2: token; but a "$" at its beginning was special in RFC 2965.
_NAME: Final = re.compile(r"(?!\$)[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
_ATTRIBUTES: Final = frozenset({"path", "comment", "domain", "max-age", "expires", "secure", "httponly", "samesite"})
# RFC 3986, 3.3: path-absolute; but a semicolon ends an attribute, and WebOb quotes a comma.
_PATH: Final = re.compile(r"/[!$&'()*+\-./0-9:=@A-Z_a-z~%]*")
_DOMAIN: Final = re.compile(r"\.?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_LONGEST_ATTRIBUTE: Final = 1024  # octets; a browser ignores a longer one (RFC 6265bis, 5.6)
_LONGEST_MAX_AGE: Final = 400 * 86400  # seconds; a browser keeps no cookie longer (RFC 6265bis, 5.6.2)
_LONGEST_HEADER: Final = 64 * 1024  # characters; a longer Cookie header is not searched
_MOST_CANDIDATES: Final = 8
_LOG_INTERVAL: Final = 60.0  # seconds

_PLACEHOLDER: Final = "x"
_LONG_AGO: Final = "Thu, 01 Jan 1970 00:00:00 GMT"


class CookiePolicy(Frozen):
    """How the session cookie is named and where the browser may send it. It is always ``HttpOnly``.

    ``secure``: ``"auto"`` makes it Secure on https and not on http; ``True`` always; ``False`` never. A Secure cookie
    is named ``__Host-`` plus the name, or ``__Secure-`` where a domain or a path is set (RFC 6265bis, 4.1.3).
    ``samesite``: ``"Lax"``, ``"Strict"`` or ``"None"``. ``partitioned``: for a site that lives inside others (CHIPS).
    ``former``: how the cookie was before; such cookies are read where there is none of today's, and go when that is set.
    Raise :exc:`ConfigurationError` for what no browser would accept.
    """

    name: str
    secure: bool | Literal["auto"]
    samesite: Literal["Lax", "Strict", "None"]
    path: str
    domain: str | None
    partitioned: bool
    former: "tuple[CookiePolicy, ...]"

    def __init__(
        self,
        *,
        name: str = "session",
        secure: bool | Literal["auto"] = "auto",
        samesite: Literal["Lax", "Strict", "None"] = "Lax",
        path: str = "/",
        domain: str | None = None,
        partitioned: bool = False,
        former: "tuple[CookiePolicy, ...]" = (),
    ) -> None:
        vars(self).update(
            name=name,
            secure=secure,
            samesite=samesite,
            path=path,
            domain=domain,
            partitioned=partitioned,
            former=former,
        )
        for refused, message in self._refusals():
            if refused:
                raise ConfigurationError(message)

    def _refusals(self) -> Iterator[tuple[bool, str]]:
        yield (
            not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name.lower() in _ATTRIBUTES,
            f"name={self.name!r}: write 1 to 64 letters, digits, '-', '_' or '.', and not the name of an attribute",
        )
        yield (
            self.name.lower().startswith(("__host-", "__secure-", "__http-")),
            f"name={self.name!r}: write it without the prefix; a Secure cookie gets it by itself",
        )
        yield (
            self.secure != "auto" and not isinstance(self.secure, bool),
            f"secure={self.secure!r}: write 'auto', True or False",
        )
        yield (
            self.samesite not in ("Lax", "Strict", "None"),
            f"samesite={self.samesite!r}: write 'Lax', 'Strict' or 'None'",
        )
        yield not isinstance(self.partitioned, bool), f"partitioned={self.partitioned!r}: write True or False"
        yield (
            self.samesite == "None" and self.secure is not True,
            "samesite='None' needs secure=True: browsers drop the cookie otherwise",
        )
        yield (
            self.partitioned and self.secure is not True,
            "partitioned=True needs secure=True: browsers drop the cookie otherwise",
        )
        yield (
            not isinstance(self.path, str) or not _PATH.fullmatch(self.path) or len(self.path) > _LONGEST_ATTRIBUTE,
            f"path={self.path!r}: write a path as URLs have it, beginning with '/', without ',' and ';'",
        )
        yield (
            self.domain is not None
            and not (isinstance(self.domain, str) and _DOMAIN.fullmatch(self.domain) and len(self.domain) <= 255),
            f"domain={self.domain!r}: write a host name, such as example.com, or None for this host alone",
        )

        yield (
            not isinstance(self.former, tuple)
            or not all(isinstance(policy, CookiePolicy) and not policy.former for policy in self.former),
            f"former={self.former!r}: write a tuple of all former ones, (CookiePolicy(...),)",
        )

    def for_scheme(self, scheme: str) -> "SessionCookie":
        """Return the cookie as it is on *scheme* (``http`` or ``https``)."""
        secure = scheme == "https" if self.secure == "auto" else self.secure
        prefixed = ("__Host-" if self.path == "/" and self.domain is None else "__Secure-") + self.name
        name = prefixed if secure else self.name
        header = _make_cookie()(
            name,
            _PLACEHOLDER,
            path=self.path,
            domain=self.domain,
            secure=secure,
            httponly=True,
            samesite=self.samesite,
        )
        attributes = header.removeprefix(f"{name}={_PLACEHOLDER}")
        if self.partitioned:
            attributes += "; Partitioned"
        return SessionCookie(
            name,
            attributes,
            unexpected=prefixed if self.secure == "auto" and not secure else None,
            place=(self.path, self.domain, self.partitioned),
            former=tuple([policy.for_scheme(scheme) for policy in self.former]),
        )


class SessionCookie:
    """One cookie name with its constant attributes: finds tokens in a ``Cookie`` header, and builds ``Set-Cookie``.

    *unexpected*: a name that is not looked for, and that no browser sends together with what is read here. *place*: with
    the name, where a browser keeps it, so that another one with the same is no second cookie (RFC 6265bis, 5.7). *former*:
    see :class:`CookiePolicy`.
    """

    tell_of_many: Callable[[int], None] | None = None
    """Who is called with the number of cookies of a request that has more of them than are looked at, if anybody is."""

    def __init__(
        self,
        name: str,
        attributes: str,
        *,
        unexpected: str | None = None,
        place: tuple[object, ...] = (),
        former: "tuple[SessionCookie, ...]" = (),
    ) -> None:
        self.name = name
        self.place = (name, *place)
        self.former = former
        self.met_another = False
        """Whether a cookie of this name has come that is no token."""
        self._unexpected = unexpected
        self.environ_key = f"session_middleware.cookie.{name}"
        self._attributes = attributes
        self._tokens = values_in((name,), f"({FORM})")
        self._start = f"{name}="
        self._next_log = 0.0

    def named(self, name: str) -> "SessionCookie":
        """Return the same cookie under *name*, for a framework whose settings say what the cookie is called."""
        if name == self.name:
            return self
        return SessionCookie(name, self._attributes, place=self.place[1:], former=self.former)

    @property
    def attributes(self) -> str:
        """What follows name and value in each ``Set-Cookie``."""
        return self._attributes

    def read(self, header: object) -> tuple[Token, ...]:
        """Return the distinct well-formed tokens in a ``Cookie`` header, the last eight of them.

        Never raises. RFC 6265bis, 5.8.3 lets a browser send several cookies of one name; which one is meant is for the
        store to tell. Those for longer paths come first: whoever can plant any number of cookies has no more of them behind
        ours, or beside it, than the host has parent domains.
        """
        if not is_readable(header):
            if header is not None:
                log.info("a Cookie header is too long, or is no text: it is not read")
            return ()
        at = header.find(self.name)
        if at < 0:
            return ()
        # The common header, as every browser writes it, without the pattern; whatever is odd about another is left to that.
        value = at + len(self._start)
        end = value + LENGTH
        if (
            header.startswith(self._start, at)
            and (at == 0 or header.startswith("; ", at - 2))
            and (end == len(header) or header.startswith(";", end))
            and header.find(self.name, value) < 0
            and well_formed(header, value, end)
        ):
            return (Token(header[value:end]),)
        distinct = tuple(dict.fromkeys(self._tokens(header)))
        if not distinct and self._start in header:
            self.met_another = True
        if self._unexpected is not None and f"{self._unexpected}=" in header:
            log.warning(
                "a cookie named %s came by http, which no browser does, and is not read: code on a server that passes"
                " cookies on must do it by https, and a server must trust its proxy (gunicorn: forwarded_allow_ips)",
                self._unexpected,
            )
            self._unexpected = None
        if len(distinct) > _MOST_CANDIDATES and time.monotonic() >= self._next_log:
            self._next_log = time.monotonic() + _LOG_INTERVAL
            log.warning("%d distinct cookies of one name in a request: %d are looked at", len(distinct), _MOST_CANDIDATES)
        if len(distinct) > _MOST_CANDIDATES and self.tell_of_many is not None:
            self.tell_of_many(len(distinct))
        return tuple([Token(text) for text in distinct[-_MOST_CANDIDATES:]])

    def is_in(self, header: object) -> bool:
        """Tell whether a ``Cookie`` header has a cookie of this name, whatever its value."""
        pattern = rf"(?:^|;)[ \t]*{re.escape(self.name)}[ \t]*="
        return is_readable(header) and re.search(pattern, header) is not None

    def header(self, token: Token, *, max_age: int | None = None) -> str:
        """Return the value of the ``Set-Cookie`` that tells the browser *token*, for *max_age* seconds if given."""
        if max_age is None:
            return f"{self._start}{token.reveal()}{self._attributes}"
        if max_age > _LONGEST_MAX_AGE:
            max_age = _LONGEST_MAX_AGE
            log.warning("the session may last longer than the 400 days that a browser keeps a cookie")
        return f"{self._start}{token.reveal()}{self._attributes}; Max-Age={max_age}; Expires={_http_date(max_age)}"

    def deletion_header(self) -> str:
        """Return the value of the ``Set-Cookie`` that removes the cookie: it needs the attributes that set it."""
        return f"{self.name}={self._attributes}; Max-Age=0; Expires={_LONG_AGO}"

    def removals(self, header: object) -> list[str]:
        """Return the values of the ``Set-Cookie`` that remove the former cookies that came in a ``Cookie`` header."""
        return [one.deletion_header() for one in self.former if one.place != self.place and one.read(header)]

    def is_set_by(self, header: str) -> bool:
        """Tell whether *header* is the value of a ``Set-Cookie`` for this cookie."""
        return header.partition("=")[0].strip(" \t") == self.name


def values_in(names: Iterable[str], form: str) -> Callable[[str], list[Any]]:
    """Return what finds the values of cookies in a ``Cookie`` header that is not too long: :meth:`re.Pattern.findall`.

    *form* is a pattern of the value, with its groups.
    """
    # A semicolon always ends a pair, quotes or not; only space and tab may surround a name or a value; the name is
    # compared as it is; the value must have the form. Servers join several Cookie lines with commas, so one may follow
    # the value; before a name it would let a cookie's value pass for a cookie. One pass, no backtracking beyond a run
    # of blanks.
    any_name = "|".join(map(re.escape, names))
    return re.compile(rf"(?:^|;)[ \t]*(?:{any_name})[ \t]*=[ \t]*{form}[ \t]*(?=[;,]|\Z)").findall


def is_readable(header: object) -> TypeGuard[str]:
    """Tell whether cookies are looked for in a ``Cookie`` header."""
    return isinstance(header, str) and len(header) <= _LONGEST_HEADER


def reader(cookie: SessionCookie, carry_over: CarryOver | None) -> Callable[[object], tuple[Token | OldSession, ...]]:
    """Return what finds in a ``Cookie`` header the tokens, or else those of former cookies, or another library's session.

    Where our cookie and the other library's have one name, either may be meant: the store tells.
    """
    if carry_over is None and not cookie.former:
        return cookie.read

    def read(header: object) -> tuple[Token | OldSession, ...]:
        own = cookie.read(header) or _former_tokens(cookie, header)
        if carry_over is None:
            return own
        if own and cookie.name != carry_over.name:
            return own
        old = carry_over.find(header)
        return own if old is None else (*own, old)

    return read


def _former_tokens(cookie: SessionCookie, header: object) -> tuple[Token, ...]:
    found = [token for one in cookie.former if one.name != cookie.name for token in one.read(header)]
    return tuple([FormerToken(token.reveal()) for token in dict.fromkeys(found)])


def _make_cookie() -> Callable[..., str]:
    """Return WebOb's function. It is imported when a cookie is built, for few who import this package build one at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # WebOb imports cgi, and nothing here needs that
        from webob.cookies import make_cookie
    found: Callable[..., str] = make_cookie
    return found


def _http_date(seconds_from_now: int) -> str:
    from email.utils import formatdate  # with sockets and more, and most cookies end with the browser

    return formatdate(time.time() + seconds_from_now, usegmt=True)
