"""The exchange of a request for a response where sessions are bound to devices: who has not proved to be the device finds an
empty session."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

from session_middleware.binding import DeviceBinding
from session_middleware.binding.engine import REFRESH, REGISTRATION, Binder, Keeper, Request
from session_middleware.cookies import CookiePolicy, SessionCookie
from session_middleware.exceptions import ConfigurationError
from session_middleware.exchange import Around, Exchange
from session_middleware.headers import Headers, forbid_shared_caching
from session_middleware.manager import Send, Verdict
from session_middleware.rules import Opens
from session_middleware.state import Candidates, Found, State

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_RELOAD: Final = b'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0"><title>...</title>\n'
_RELOAD_HEADERS: Final = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Length", str(len(_RELOAD))),
    ("Cache-Control", "no-store"),
]


class _Unproven(Exception):
    """A request that the browser can send again, with proof, is not answered by the application."""


class BoundExchange(Exchange):
    """One request of a site that binds sessions to devices."""

    _reloads = False

    def __init__(
        self,
        binder: Binder,
        environ: "WSGIEnvironment",
        middleware: Around,
        cookie: SessionCookie,
        read: Callable[[object], Candidates],
        start_response: "StartResponse",
    ) -> None:
        method = environ.get("REQUEST_METHOD")
        super().__init__(middleware, cookie, read, environ.get("HTTP_COOKIE"), start_response, method)
        self._binder = binder
        self._script_name: str = environ.get("SCRIPT_NAME", "")
        self._skipped: str | None = environ.get("HTTP_SECURE_SESSION_SKIPPED")
        self.is_https = environ.get("wsgi.url_scheme") == "https"
        if self.is_https and not binder.options.accept_unproven:
            self.offers = binder.new
        # A browser sends a link of another site without proof, and the page's own reload with it.
        site, mode = environ.get("HTTP_SEC_FETCH_SITE", "same-origin"), environ.get("HTTP_SEC_FETCH_MODE")
        self._can_reload = method == "GET" and mode == "navigate" and site != "same-origin" and self._skipped is None

    def _is_answered(self, error: BaseException) -> bool:
        self._reloads = isinstance(error, _Unproven)
        return self._reloads or super()._is_answered(error)

    def unavailable(self) -> Iterable[bytes]:
        if not self._reloads:
            return super().unavailable()
        send, self.is_sent = self._send, True
        self.let_go()
        send("200 OK", [*_RELOAD_HEADERS, *self._removal()])
        return [_RELOAD]

    def _open(self) -> State:
        state = super()._open()
        state.rivals = tuple([rival for rival in state.rivals if self._is_proven(rival)])
        if state.opens is Opens.SESSION and state.found is not None and not self._is_proven(state.found):
            # As one whose secret was replaced: nothing to read, what is changed has nowhere to go; and one can sign in.
            kept = state.found.envelope._replace(snapshot=b"")
            keeper, found = self._keeper, state.found._replace(envelope=kept)
            state = State(keeper.empty(), keeper.new(), found, Opens.SNAPSHOT, state.proof, has_cookie=True)
            state.unproven, state.describe = True, self.describe
            self._state = state
        return state

    def _is_proven(self, found: Found) -> bool:
        """Tell whether the request may use a session, and tell observers of one that it may not."""
        binding, options = found.envelope.binding, self._binder.options
        if binding is None or not binding.key or options.accept_unproven:
            return True
        why = self._binder.why_unproven(found.id, binding, self._source if self.is_https else None)
        if why is None:
            return True
        self._binder.tell_unproven(found, why if self._skipped is None else f"{why} ({self._skipped[:80]!r})")
        return options.report_only

    def _commit(self) -> None:
        state = self._state
        # Not once it has signed in: what signs in, as the answer of an identity provider, is seldom good for two requests.
        if self._can_reload and state is not None and state.unproven and state.goes_nowhere:
            raise _Unproven
        super()._commit()

    def _pass_on(self) -> None:
        state = self._state
        if state is not None and (state.unproven or state.forget) and (removal := self._removal()):
            self._headers.extend(removal)
            forbid_shared_caching(self._headers)
        super()._pass_on()

    def _removal(self) -> Headers:
        """Return what removes the cookie that proves nothing any more.

        A browser that still has it, for its clock or ours was set, would not prove it again before that has run out.
        """
        cookie = self._binder.cookie
        return [("Set-Cookie", cookie.deletion_header())] if cookie.is_in(self._source) else []

    def _set_cookie(self, verdict: Verdict) -> None:
        super()._set_cookie(verdict)
        state, binder = cast("State", self._state), self._binder
        if isinstance(verdict, Send) and state.offered is not None and self.offers is not None:
            self._headers.append(binder.offer(verdict.token.id, state.offered, _mount(self._script_name)))


class BoundSite:
    """Begins the exchanges of a site that binds sessions to devices. *cookie* is that of https, and *read* finds its tokens
    in a ``Cookie`` header.

    Raise :exc:`ConfigurationError` for options that cannot work with that cookie.
    """

    def __init__(
        self,
        options: DeviceBinding,
        policy: CookiePolicy,
        keeper: Keeper,
        cookie: SessionCookie,
        read: Callable[[object], Candidates],
    ) -> None:
        if not isinstance(options, DeviceBinding):
            raise ConfigurationError(f"device_binding={options!r}: write DeviceBinding()")
        options.refuse(policy)
        self._binder = Binder(options, keeper, read, cookie)
        self._answers = {options.path + what: what for what in (REGISTRATION, REFRESH)}

    def begin(
        self,
        app: "WSGIApplication",
        middleware: Around,
        environ: "WSGIEnvironment",
        cookie: SessionCookie,
        read: Callable[[object], Candidates],
        start_response: "StartResponse",
    ) -> tuple[Exchange, "WSGIApplication"]:
        """Return the exchange, and who answers: the application, or we, if a browser asks or tells of a binding."""
        exchange = BoundExchange(self._binder, environ, middleware, cookie, read, start_response)
        what = self._answers.get(environ.get("PATH_INFO", ""))
        if exchange.is_https and what is not None:
            return exchange, partial(_answer, self._binder, what)
        return exchange, app


def _answer(binder: Binder, what: str, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    if environ["REQUEST_METHOD"] != "POST":
        start_response("405 Method Not Allowed", [("Allow", "POST"), ("Content-Length", "0")])
        return []
    get = environ.get
    response, session_id = get("HTTP_SECURE_SESSION_RESPONSE"), get("HTTP_SEC_SECURE_SESSION_ID")
    answer = binder.answer(Request(what, _mount(get("SCRIPT_NAME", "")), get("HTTP_COOKIE"), response, session_id))
    start_response(answer.status, answer.headers)
    return [answer.body]


def _mount(script_name: str) -> str:
    """Return the path under which the site lies, as it is written in a URL."""
    mount = script_name.strip("/")
    # With one slash: what follows two would be another host (RFC 3986, 4.2).
    return quote(f"/{mount}".encode("latin-1", "replace")) if mount else ""
