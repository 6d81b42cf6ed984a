"""Models of what receives our responses: a user agent's cookies (RFC 6265bis, 5) and a shared cache (RFC 9111).

They are written from the standards alone and share no code with the package.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit
from wsgiref.types import WSGIApplication

from tests.apps import Gateway, Headers, an_environ

MOST_DAYS: Final = 400
PUBLIC_SUFFIXES: Final = frozenset({"com", "org", "example", "co.uk"})


@dataclass
class StoredCookie:
    name: str
    value: str
    domain: str
    host_only: bool
    path: str
    secure: bool = False
    http_only: bool = False
    same_site: str = "Default"
    partitioned: bool = False
    expires: float | None = None

    @property
    def identity(self) -> tuple[str, str, bool, str]:
        return self.name, self.domain, self.host_only, self.path


@dataclass
class UserAgent:
    """Keeps cookies as section 5.7 says, of one user, at a time that stands still (epoch seconds)."""

    now: float
    cookies: dict[tuple[str, str, bool, str], StoredCookie] = field(default_factory=dict)

    def receive(self, url: str, set_cookie: str) -> str | None:
        """Process a Set-Cookie header; return why the cookie is ignored, or ``None`` if it is not."""
        host, path = urlsplit(url).hostname or "", urlsplit(url).path
        secure_origin = url.startswith("https:")
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", set_cookie):
            return "control character"
        pair, *unparsed = set_cookie.split(";")
        name, equals, value = pair.partition("=")
        name, value = ("", name) if not equals else (name, value)
        name, value = name.strip(" \t"), value.strip(" \t")
        if not name and not value:
            return "empty"
        if len(name) + len(value) > 4096:
            return "too long"
        attributes = _attributes(unparsed)
        cookie = StoredCookie(name, value, host, True, _default_path(path))
        cookie.secure = "secure" in attributes
        cookie.http_only = "httponly" in attributes
        cookie.partitioned = "partitioned" in attributes
        cookie.expires = self._expiry(attributes)
        cookie.same_site = {"strict": "Strict", "lax": "Lax", "none": "None"}.get(
            attributes.get("samesite", "").lower(), "Default"
        )
        if attributes.get("path", "").startswith("/"):
            cookie.path = attributes["path"]
        if domain := attributes.get("domain", "").removeprefix(".").lower():
            if domain in PUBLIC_SUFFIXES:
                return "public suffix"
            if not _domain_matches(host, domain):
                return "domain"
            cookie.domain, cookie.host_only = domain, False
        refusal = self._refusal(cookie, attributes, secure_origin)
        if refusal is None:
            self._keep(cookie)
        return refusal

    def header(self, url: str) -> str | None:
        """Return the Cookie header of a same-site request."""
        host, path = urlsplit(url).hostname or "", urlsplit(url).path
        chosen = [
            cookie
            for cookie in self.cookies.values()
            if (host == cookie.domain if cookie.host_only else _domain_matches(host, cookie.domain))
            and _path_matches(path, cookie.path)
            and (not cookie.secure or url.startswith("https:"))
            and (cookie.expires is None or cookie.expires > self.now)
        ]
        chosen.sort(key=lambda cookie: -len(cookie.path))
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in chosen) or None

    def _expiry(self, attributes: Mapping[str, str]) -> float | None:
        latest = self.now + MOST_DAYS * 86400
        if re.fullmatch(r"-?[0-9]+", attributes.get("max-age", "")):
            delta = int(attributes["max-age"])
            return min(latest, self.now + delta) if delta > 0 else 0
        if "expires" in attributes:
            return min(latest, parsedate_to_datetime(attributes["expires"]).timestamp())
        return None

    def _refusal(self, cookie: StoredCookie, attributes: Mapping[str, str], secure_origin: bool) -> str | None:
        name = cookie.name.lower()
        for_host_alone = cookie.secure and "domain" not in attributes and attributes.get("path") == "/"
        if cookie.secure and not secure_origin:
            return "Secure over http"
        if cookie.same_site == "None" and not cookie.secure:
            return "SameSite=None without Secure"
        if cookie.partitioned and not cookie.secure:
            return "Partitioned without Secure"
        if name.startswith(("__secure-", "__host-", "__http-")) and not cookie.secure:
            return "prefix without Secure"
        if name.startswith("__host-") and not for_host_alone:
            return "__Host- with Domain or without Path=/"
        if not name and cookie.value.lower().startswith(("__secure-", "__host-", "__http-")):
            return "prefix in a nameless cookie"
        covered = (
            other.secure and other.name == cookie.name and _path_matches(cookie.path, other.path)
            for other in self.cookies.values()
        )
        return "a Secure one is there" if not cookie.secure and not secure_origin and any(covered) else None

    def _keep(self, cookie: StoredCookie) -> None:
        # One that takes another's place keeps its creation time, and so its place among those of the same path.
        if cookie.expires is None or cookie.expires > self.now:
            self.cookies[cookie.identity] = cookie
        else:
            self.cookies.pop(cookie.identity, None)


def _attributes(unparsed: list[str]) -> dict[str, str]:
    attributes = {}
    for part in unparsed:
        name, _, value = part.partition("=")
        if len(value.strip(" \t")) <= 1024:
            attributes[name.strip(" \t").lower()] = value.strip(" \t")
    return attributes


def _default_path(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _domain_matches(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def _path_matches(path: str, cookie_path: str) -> bool:
    return path == cookie_path or path.startswith(cookie_path if cookie_path.endswith("/") else f"{cookie_path}/")


class Browser:
    """A user agent in front of an application, directly or through a shared cache."""

    def __init__(
        self, app: "WSGIApplication | SharedCache", *, origin: str = "https://www.example.com", now: float = 0
    ) -> None:
        self.agent = UserAgent(now)
        self.refused: list[str] = []
        self._app = app
        self._origin = origin

    def get(self, path: str = "/", **extra: Any) -> Gateway:
        url = self._origin + path
        request = an_environ(path, cookie=self.agent.header(url), scheme=urlsplit(url).scheme, **extra)
        response = self._app.get(request) if isinstance(self._app, SharedCache) else Gateway().run(self._app, request)
        refusals = [self.agent.receive(url, set_cookie) for set_cookie in response.set_cookies]
        self.refused += [refusal for refusal in refusals if refusal is not None]
        return response


class SharedCache:
    """Keeps whatever RFC 9111, section 3, lets a shared cache keep, and uses it again as long as section 4 allows.

    It takes everything storable for fresh unless told otherwise: the greediest cache that the standard permits.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self.hits = 0
        self._app = app
        self._stored: dict[str, list[tuple[dict[str, Any], Gateway]]] = {}

    def get(self, environ: dict[str, Any]) -> Gateway:
        variants = self._stored.setdefault(environ["PATH_INFO"], [])
        for selecting, response in variants:
            if all(environ.get(key) == value for key, value in selecting.items()):
                self.hits += 1
                return response
        response = Gateway().run(self._app, environ)
        vary = _members(response.headers, "Vary")
        if _storable(response) and "*" not in vary:
            keys = [f"HTTP_{name.upper().replace('-', '_')}" for name in vary]
            variants.append(({key: environ.get(key) for key in keys}, response))
        return response


def _storable(response: Gateway) -> bool:
    directives = _members(response.headers, "Cache-Control")
    status = int(response.status[:3])
    explicit = any(directive.startswith(("public", "max-age", "s-maxage")) for directive in directives)
    return not directives & {"no-store", "private", "no-cache", "max-age=0", "s-maxage=0"} and (
        explicit or status in {200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501}
    )


def _members(headers: Headers, name: str) -> set[str]:
    lines = [value for header, value in headers if header.lower() == name.lower()]
    members = re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^",])+', ",".join(lines))
    return {member.strip(" \t").lower() for member in members if member.strip(" \t")}
