"""A site that binds sessions to devices, and browsers of it: each keeps its cookies, and may have a device."""

from collections.abc import Iterable, Mapping
from http.client import HTTPMessage
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from session_middleware import MemoryStore, SessionMiddleware, Store, get_session
from session_middleware.binding import DeviceBinding
from session_middleware.events import Event
from session_middleware.testing import FakeClock, FakeDevice, FaultyStore
from tests.apps import Gateway, visit
from tests.browser import keep

TOKEN, BOUND = "__Host-session", "__Host-session-bound"
REGISTRATION, REFRESH = "/.session/registration", "/.session/refresh"

BINDING = DeviceBinding()

LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
"""The headers of a request by which a browser follows a link of another site."""


def an_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """``/act/argument`` does that to the session; it answers with who is signed in, and the visits that it counts."""
    _, act, argument = f"{environ['PATH_INFO']}/".split("/")[:3]
    session = get_session(environ)
    if act == "untouched":
        start_response("200 OK", [])
        return [b"untouched"]
    if act == "login":
        session.login(argument)
    elif act == "set":
        session[argument] = session.get(argument, 0) + 1
    elif hasattr(session, act):
        getattr(session, act)()
    start_response("200 OK", [])
    return [f"{session.user_id} {dict(session)} bound={session.device_bound}".encode()]


class Response:
    """The answer to a request, as :class:`FakeDevice` and the tests read it."""

    def __init__(self, answer: Gateway) -> None:
        self.status_code = int(answer.status[:3])
        self.headers = dict(answer.headers)
        self.set_cookies = answer.set_cookies
        self.data = answer.body
        self.text = answer.body.decode()


def challenge_in(headers: Mapping[str, str] | HTTPMessage) -> str:
    """Return what an answer asks the device to sign: an offer, or that to a refresh."""
    if "Secure-Session-Registration" in headers:
        return headers["Secure-Session-Registration"].rpartition('challenge="')[2][:-1]
    return headers["Secure-Session-Challenge"].split('"')[1]


class Browser:
    """Somebody with the cookies that the site has set, and those that *cookies* are a copy of."""

    def __init__(self, site: "BindingSite", cookies: Mapping[str, str] | None = None) -> None:
        self.site = site
        self.cookies = dict(cookies or {})
        self.device = FakeDevice(self)

    def send(self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
        sent = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in (headers or {}).items()}
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items()) or None
        given: dict[str, Any] = {"scheme": "https", "cookie": cookie} | more
        answer = Response(visit(self.site.application, path, method=method, **given, **sent))
        keep(self.cookies, answer.set_cookies)
        return answer

    def get(self, path: str = "/", headers: Mapping[str, str] | None = None, **more: Any) -> Response:
        return self.send("GET", path, headers, **more)

    def post(self, path: str, headers: Mapping[str, str] | None = None, base_url: str = "", **more: Any) -> Response:
        return self.send("POST", path, headers, **more)

    def bind(self, user: str = "alice") -> "Browser":
        """Sign in, and bind the session to the device."""
        assert self.device.register(self.get(f"/login/{user}")) == 200
        return self

    def copy(self, *names: str) -> "Browser":
        """Return somebody who has a copy of these cookies, or of all."""
        return Browser(self.site, {name: self.cookies[name] for name in names or self.cookies})

    @property
    def session_id(self) -> str:
        return self.cookies[TOKEN][:12]


class BindingSite:
    """The site, its clock, its store and what its observer was told."""

    def __init__(
        self, store: Store | None = None, *, app: Any = an_app, clock: FakeClock | None = None, **options: Any
    ) -> None:
        self.clock = clock or FakeClock()
        self.events: list[Event] = []
        self.store = FaultyStore(store or MemoryStore())
        given = {"device_binding": BINDING} | options
        self.middleware = SessionMiddleware(app, self.store, clock=self.clock, observer=self, **given)
        self.application: Any = self.middleware

    def on(self, event: Event) -> None:
        if event.name != "Asked":
            self.events.append(event)

    def told(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]

    def browser(self) -> Browser:
        return Browser(self)
