"""What a browser is told and asked of a bound session (W3C, Device Bound Session Credentials). Headers in; status, headers
and body out: it knows no framework, and no session but by the manager.

::

    proof     = expiry "." MAC                     the value of the cookie that proves it; and of a challenge
    MAC       = base64url(HMAC-SHA256(secret of the binding, purpose 0 id of the session 0 expiry)[:24])
    purpose   = "cookie" or "challenge"
    expiry    = epoch seconds, in hexadecimal

So nothing is kept of either: they are valid in every process, and dead with the session or another sign-in.
"""

import hmac
import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from session_middleware.binding import DeviceBinding, keys
from session_middleware.binding.keys import Refused
from session_middleware.cookies import SessionCookie, is_readable, values_in
from session_middleware.headers import Headers
from session_middleware.record import Binding
from session_middleware.state import Candidates, Found, State
from session_middleware.tokens import Token, base64url, well_formed_id

if TYPE_CHECKING:
    from session_middleware.telling import Teller

log = logging.getLogger("session_middleware")

CHALLENGED_FOR: Final = 300.0
"""So long (seconds) a challenge can be answered: a device may be slow to make its key."""

UNDER_WAY: Final = 5.0
"""So much longer (seconds) the cookie counts than the browser keeps it: the last request that it is in takes its time."""

_RECENT: Final = 60.0
_MOST: Final = 8
_PROOF: Final = r"([0-9a-f]{1,10})\.([A-Za-z0-9_-]{32})"
_proof = re.compile(_PROOF).fullmatch

REGISTRATION, REFRESH = "registration", "refresh"


class Request(NamedTuple):
    """What came by the path of the binding. Headers are ``None`` where there are none."""

    what: str
    """``"registration"`` or ``"refresh"``."""
    mount: str
    """The path under which the site lies, without a slash at its end."""
    cookies: object
    response: str | None
    """``Secure-Session-Response``, what the device has signed."""
    session_id: str | None
    """``Sec-Secure-Session-Id``."""


class Answer(NamedTuple):
    status: str
    headers: Headers
    body: bytes = b""


class Keeper(Protocol):
    """What is asked of the manager."""

    @property
    def now(self) -> Callable[[], float]: ...
    @property
    def teller(self) -> "Teller | None": ...
    def load(self, candidates: Candidates) -> State: ...
    def bind(self, state: State, key: bytes) -> Binding | None: ...


class Binder:
    """Offers bindings, answers browsers, and tells who has proved to be the device.

    *read* finds the tokens in a ``Cookie`` header, *cookie* is the session's on https.
    """

    def __init__(
        self, options: DeviceBinding, keeper: Keeper, read: Callable[[object], Candidates], cookie: SessionCookie
    ) -> None:
        self.options = options
        self._keeper = keeper
        self._read = read
        self.cookie = cookie.named(f"{cookie.name}-bound")
        # Where the session's cookie has been given another name, this is proved under the former one for a while.
        self._proofs = values_in([f"{one.name}-bound" for one in (cookie, *cookie.former)], _PROOF)

    def new(self) -> Binding:
        """Return a binding to be offered."""
        return Binding(os.urandom(32), self._keeper.now())

    def offer(self, session_id: str, binding: Binding, mount: str) -> tuple[str, str]:
        """Return the header that asks a browser to bind the session."""
        path, challenge = mount + self.options.path + REGISTRATION, self._challenge(session_id, binding)
        return "Secure-Session-Registration", f'({" ".join(keys.ALGORITHMS)});path="{path}";challenge="{challenge}"'

    def why_unproven(self, session_id: str, binding: Binding, cookies: object) -> str | None:
        """Return why a request does not come from the device that the session is bound to; ``None`` if it does."""
        now = self._keeper.now()
        found = self._proofs(cookies) if is_readable(cookies) else []
        why = "no cookie proves it"
        for expiry, mac in found[-_MOST:]:
            if not hmac.compare_digest(mac, _mac(binding, "cookie", session_id, expiry)):
                why = "the cookie proves another session"
            elif now < int(expiry, 16):
                return None
            else:
                why = "the cookie that proves it is too old"
        return None if now - binding.at < self.options.grace else why

    def tell_unproven(self, found: Found, why: str) -> None:
        """Tell that a request has come without proof, and whether it was refused for that."""
        refused = not self.options.report_only
        if refused:
            log.warning("session %s: a request is refused: %s", found.id, why)
        else:
            log.warning("session %s: a request would be refused: %s", found.id, why)
        if self._keeper.teller is not None:
            self._keeper.teller.unproven(found.id, found.envelope, why, refused=refused)

    def answer(self, request: Request) -> Answer:
        """Answer a browser: it registers a key, or proves again that it has it.

        Raise :exc:`StoreUnavailable` or :exc:`ConflictError`: then the browser has to be told to come again.
        """
        try:
            answered = self._registered(request) if request.what == REGISTRATION else self._refreshed(request)
        except Refused as error:
            log.warning("a device's %s is refused: %s", request.what, error)
            if self._keeper.teller is not None:
                session_id = _bare(request.session_id)
                self._keeper.teller.binding_refused(session_id if well_formed_id(session_id) else None, str(error))
            answered = Answer("400 Bad Request", [("Content-Type", "text/plain; charset=utf-8")], b"Refused.\n")
        answered.headers.extend([("Cache-Control", "no-store"), ("Content-Length", str(len(answered.body)))])
        return answered

    def _registered(self, request: Request) -> Answer:
        # A signature takes longer to check than a request without a session may cost.
        if not (opened := list(self._opened(request))):
            raise Refused("no session that it came with has asked for it")
        key, challenge = keys.first(_bare(request.response) or "")
        for session_id, state, binding in opened:
            if self._is_challenge(session_id, binding, challenge) is None:
                continue
            if not self._is_challenge(session_id, binding, challenge):
                raise Refused("it is too late")
            bound = self._keeper.bind(state, key)
            if bound is None:
                raise Refused("the session is bound to another key, or has ended")
            return self._proved(session_id, bound, request.mount)
        raise Refused("no session that it came with has asked for it")

    def _refreshed(self, request: Request) -> Answer:
        session_id = _bare(request.session_id)
        binding = next((binding for key, _, binding in self._opened(request) if key == session_id), None)
        if session_id is None or binding is None:
            raise Refused("the session has ended, or was never bound")
        response = _bare(request.response)
        if binding.key and response is None:
            return self._challenged(session_id, binding)
        try:
            if response is None or not binding.key:
                raise Refused("the session is not bound")
            challenge = self._is_challenge(session_id, binding, keys.later(response, binding.key))
            if challenge is None:
                raise Refused("it has signed another challenge")
        except Refused as error:
            # What began before a sign-in or a registration may still be under way, and a 400 would end what has come since.
            if self._keeper.now() - binding.at < _RECENT:
                log.info("session %s: a device's refresh has to be tried again: %s", session_id, error)
                return Answer("503 Service Unavailable", [("Retry-After", "1")])
            raise
        if not challenge:
            return self._challenged(session_id, binding)
        return self._proved(session_id, binding, request.mount)

    def _opened(self, request: Request) -> Iterator[tuple[str, State, Binding]]:
        """Yield what each token of a request opens, if that has a binding: also what had its secret replaced just now."""
        for token in self._read(request.cookies):
            if not isinstance(token, Token):
                continue
            state = self._keeper.load((token,))
            if state.found is not None and (binding := state.found.envelope.binding) is not None:
                yield token.id, state, binding

    def _challenged(self, session_id: str, binding: Binding) -> Answer:
        challenge = self._challenge(session_id, binding)
        return Answer("403 Forbidden", [("Secure-Session-Challenge", f'"{challenge}";id="{session_id}"')])

    def _proved(self, session_id: str, binding: Binding, mount: str) -> Answer:
        """Answer with the cookie that proves it. A refresh, too, tells what that is called, and where the next one is to be
        had: either may have changed since the registration."""
        attributes = self.cookie.attributes.removeprefix("; ")
        instructions = {
            "session_identifier": session_id,
            "refresh_url": mount + self.options.path + REFRESH,
            "scope": {"include_site": False},
            "credentials": [{"type": "cookie", "name": self.cookie.name, "attributes": attributes}],
        }
        headers = [("Content-Type", "application/json"), self._set_cookie(session_id, binding)]
        return Answer("200 OK", headers, json.dumps(instructions).encode())

    def _set_cookie(self, session_id: str, binding: Binding) -> tuple[str, str]:
        age = self.options.cookie_age
        value = self._proof(binding, "cookie", session_id, age + UNDER_WAY)
        return "Set-Cookie", f"{self.cookie.name}={value}{self.cookie.attributes}; Max-Age={int(age)}"

    def _challenge(self, session_id: str, binding: Binding) -> str:
        return self._proof(binding, "challenge", session_id, CHALLENGED_FOR)

    def _is_challenge(self, session_id: str, binding: Binding, text: str) -> bool | None:
        """Tell whether a challenge can still be answered; ``None`` if it is none of this binding."""
        parts = _proof(text)
        if parts is None or not hmac.compare_digest(parts[2], _mac(binding, "challenge", session_id, parts[1])):
            return None
        return self._keeper.now() < int(parts[1], 16)

    def _proof(self, binding: Binding, purpose: str, session_id: str, seconds: float) -> str:
        expiry = f"{math.ceil(self._keeper.now() + seconds):x}"
        return f"{expiry}.{_mac(binding, purpose, session_id, expiry)}"


def _mac(binding: Binding, purpose: str, session_id: str, expiry: str) -> str:
    text = "\0".join((purpose, session_id, expiry)).encode()
    return base64url(hmac.digest(binding.secret, text, "sha256")[:24])


def _bare(text: str | None) -> str | None:
    """Return a text that comes quoted, as specified (RFC 8941, 3.3.3), or bare, as browsers send it."""
    return None if text is None else text.strip().removeprefix('"').removesuffix('"')
