"""Another library, which is a dict, a site that carries its sessions over, and what visitors do there."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from session_middleware import Session, SessionMiddleware, Store, StoreUnavailable, get_session
from session_middleware.carry_over import Carried
from session_middleware.tokens import Token
from tests.apps import Gateway, visit

OLD = "old=anna"
ANNA = {"name": "Anna", "cart": ["tea"]}
DAY = 86400

Act = Callable[[Session], object]


@dataclass
class Library:
    """Another library's sessions, found by a cookie named ``old``."""

    sessions: dict[str, Carried] = field(default_factory=lambda: {"anna": Carried(ANNA, "7")})
    name: str = "old"
    path: str = "/"
    domain: str | None = None
    calls: list[str] = field(default_factory=list)
    read_at: list[float] = field(default_factory=list)
    fault: str = ""
    step: Callable[[], None] = lambda: None
    meanwhile: Callable[[], object] | None = None
    """What happens, once, between the moment at which a session was read and the next step of whoever has read it."""

    def find(self, header: object) -> "OldSession | None":
        found = re.search(rf"(?:^|; ){self.name}=([\w-]+)", str(header))
        return OldSession(self, found[1]) if found else None

    def deletion_header(self) -> str:
        return f"{self.name}=; Path={self.path}; Max-Age=0"

    def note(self, call: str) -> None:
        self.step()
        self.calls.append(call)
        if call == self.fault:
            raise StoreUnavailable("as the test asked")


@dataclass
class OldSession:
    library: Library
    secret: str

    def read(self, now: float) -> Carried | None:
        self.library.note("read")
        self.library.read_at.append(now)
        found = self.library.sessions.get(self.secret)
        happens, self.library.meanwhile = self.library.meanwhile, None
        if happens is not None:
            happens()
        return found

    def remove(self) -> None:
        self.library.note("remove")
        self.library.sessions.pop(self.secret, None)


class Site:
    """A site that has moved from the library to our middleware, and notes what each request saw."""

    def __init__(self, store: Store, library: Library, **options: Any) -> None:
        self.library = library
        self.middleware = SessionMiddleware(self._app, store, carry_over=library, **options)
        self.manager = self.middleware.manager
        self.seen: Any = None

    def _app(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        self.seen = environ["test.act"](get_session(environ))
        start_response(environ["test.status"], [("Content-Type", "text/plain")])
        return [b"mine"]

    def request(self, act: Act = dict, cookie: str | None = OLD, *, status: str = "200 OK", scheme: str = "http") -> Gateway:
        extra: dict[str, Any] = {"test.act": act, "test.status": status}
        return visit(self.middleware, cookie=cookie, scheme=scheme, **extra)

    def opened(self, token: str) -> dict[str, Any]:
        return dict(self.manager.open(token))

    @property
    def token(self) -> Token:
        """What Anna's session has here before its secret is renewed."""
        return self.manager._takeover.token_of(OldSession(self.library, "anna"))

    def sees(self, cookie: str | None = OLD) -> dict[str, Any]:
        """Return what a request that only reads finds."""
        self.request(cookie=cookie)
        seen: dict[str, Any] = self.seen
        return seen


def told(response: Gateway) -> list[str]:
    """Return the token that the response sets, if it sets one."""
    return [found[1] for cookie in response.set_cookies if (found := re.match(r"session=([\w-]{40});", cookie))]


def own(response: Gateway) -> str:
    """Return the token that the response sets."""
    (token,) = told(response)
    return token


def removed(response: Gateway) -> list[str]:
    """Return the names of the cookies that the response removes."""
    return [cookie.partition("=")[0] for cookie in response.set_cookies if "Max-Age=0" in cookie]


def setting(key: str, value: object = True) -> Act:
    return lambda session: session.update({key: value})


def increment(session: Session) -> None:
    session.transact(lambda data: data.update(count=data.get("count", 0) + 1))


def signing_in(user_id: str) -> Act:
    def act(session: Session) -> None:
        session.login(user_id)
        session["signed in"] = True

    return act


def regenerating(session: Session) -> None:
    session.regenerate()
    session["regenerated"] = True


sign_out: Act = Session.invalidate


def fails(session: Session) -> None:
    session["lost"] = True
    raise RuntimeError("the application fails")
