"""A small browser: it keeps cookies, follows nothing, and reads every page for tokens that have no business there."""

import http.client
import re
from collections.abc import Callable, Iterable, Mapping
from html.parser import HTMLParser
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, NamedTuple, TypeAlias, cast
from urllib.parse import urlencode, urlsplit
from wsgiref.types import StartResponse, WSGIEnvironment

from webtest import TestApp

FORM = "application/x-www-form-urlencoded"


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str:
        return ", ".join(self.all(name))


Transport: TypeAlias = Callable[[str, str, Mapping[str, str], bytes], Answer]


def over_http(url: str) -> Transport:
    """Send requests to a server, each over a connection of its own."""
    address = urlsplit(url).netloc

    def send(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        connection = http.client.HTTPConnection(address, timeout=120)
        try:
            connection.request(method, path, body or None, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    return send


def in_process(application: Any) -> Transport:
    """Call the application, with WebTest's checks on what goes in and comes out."""

    def server(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # WebTest makes requests with WebOb, whose notes for itself would mislead a WebOb behind a validator.
        own = {name: value for name, value in environ.items() if not name.startswith("webob.")}
        return cast("Iterable[bytes]", application(own, start_response))

    app = TestApp(server, cookiejar=CookieJar(DefaultCookiePolicy(allowed_domains=[])))

    def send(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        response = app.request(path, method=method, headers=dict(headers), body=body, expect_errors=True)
        # RFC 9110, 5.5: white space around a value is no part of it; Django's Set-Cookie begins with a space.
        received = [(name, value.strip(" \t")) for name, value in response.headerlist]
        return Answer(response.status_int, received, response.body)

    return send


class Browser:
    """Someone who uses the site that *transport* leads to."""

    def __init__(self, transport: Transport, user_agent: str = "a browser") -> None:
        self.transport = transport
        self.user_agent = user_agent
        self.cookies: dict[str, str] = {}
        self._seen: set[str] = set()

    @property
    def token(self) -> str | None:
        return self.cookies.get("session")

    @token.setter
    def token(self, token: str) -> None:
        self.cookies["session"] = token

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        sent = {"User-Agent": self.user_agent, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = self.transport(method, path, sent, body)
        self._seen |= keep(self.cookies, answer.all("Set-Cookie"))
        assert not any(token.encode() in answer.body for token in self._seen), "a token is in the body"
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, b"", **headers)

    def post(self, path: str, **fields: str) -> Answer:
        return self.send("POST", path, urlencode(fields).encode(), Content_Type=FORM)

    def submit(self, page: str, action: str, **fields: str) -> Answer:
        """Send the form of *page* that goes to *action*, with its hidden fields and *fields*."""
        forms = [form for form in forms_of(self.get(page).text) if form.action == action]
        chosen = next(form for form in forms if all(form.fields.get(name, value) == value for name, value in fields.items()))
        return self.post(action, **{**chosen.fields, **fields})


def keep(cookies: dict[str, str], set_cookies: Iterable[str]) -> set[str]:
    """Keep and remove *cookies* as an answer says; return the values that are new."""
    values = set()
    for cookie in set_cookies:
        name, _, value = cookie.partition(";")[0].partition("=")
        if re.search(r"; *max-age=0(;|$)", cookie, re.IGNORECASE):
            cookies.pop(name, None)
        else:
            cookies[name] = value
            values.add(value)
    return values


class Form(NamedTuple):
    action: str
    method: str
    fields: dict[str, str]
    """The hidden ones."""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: set[str] = set()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.links |= {attributes[name] for name in ("href", "src") if name in attributes}
        if tag == "form":
            self.forms.append(Form(attributes["action"], attributes.get("method", "get"), {}))
        elif tag == "input" and attributes.get("type") == "hidden":
            self.forms[-1].fields[attributes["name"]] = attributes["value"]


def _read(text: str) -> _Reader:
    reader = _Reader()
    reader.feed(text)
    return reader


def forms_of(text: str) -> list[Form]:
    return _read(text).forms


def links_of(text: str) -> set[str]:
    return _read(text).links


def tags_of(text: str) -> list[str]:
    return _read(text).tags
