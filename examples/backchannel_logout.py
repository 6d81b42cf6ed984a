"""Signing out at an identity provider signs out here: OpenID Connect Back-Channel Logout 1.0, in a Flask application.

The provider POSTs a signed token to ``/backchannel-logout``, which ends the sessions that have signed in with its ``sid``,
or all those of its ``sub``. The sign-in itself is the work of an OpenID Connect client, such as Authlib: it brings the
claims of an ID token that it has verified.

Needs PyJWT with cryptography, ``pip install 'PyJWT[crypto]'``. Serve what ``create_app()`` returns.
"""

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jwt
from flask import Flask, redirect, request
from werkzeug.wrappers import Response

from session_middleware import Record, Store, StoreError, Sweepable
from session_middleware.integrations.flask import Sessions, session

Claims = dict[str, Any]

EVENT = "http://schemas.openid.net/event/backchannel-logout"
ALGORITHMS = ["RS256", "ES256"]  # those that the provider was registered with; never "none"
CLOCKS = 60  # seconds by which the provider's clock may differ
OLDEST = 600  # seconds: an older token is refused, and a younger one is remembered


@dataclass(frozen=True)
class Provider:
    """An identity provider: its issuer, our id there, and where its keys come from, such as ``jwt.PyJWKClient``.

    *typed*: its logout tokens say that they are some, in the header, as the specification recommends.
    """

    issuer: str
    client_id: str
    key_of: Callable[[str], jwt.PyJWK]
    typed: bool = True

    def logout_claims(self, token: str) -> Claims:
        """Return what a logout token says; raise :exc:`jwt.PyJWTError` unless it is a good one (section 2.6)."""
        header = jwt.get_unverified_header(token)
        if self.typed and str(header.get("typ")).lower() != "logout+jwt":
            raise jwt.InvalidTokenError("no logout token")
        claims: Claims = jwt.decode(
            token,
            self.key_of(token),
            algorithms=ALGORITHMS,
            issuer=self.issuer,
            audience=self.client_id,
            leeway=CLOCKS,
            options={"require": ["iss", "aud", "iat", "exp", "jti", "events"]},
        )
        events = claims["events"]
        if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
            raise jwt.InvalidTokenError("it tells of no logout")
        if "nonce" in claims:
            raise jwt.InvalidTokenError("a nonce is what an ID token has")
        if not any(is_name(claims.get(name)) for name in ("sid", "sub")) or not is_name(claims["jti"]):
            raise jwt.InvalidTokenError("whose session ends?")
        if time.time() - claims["iat"] > OLDEST:
            raise jwt.ExpiredSignatureError("too old")
        return claims

    def aliases(self, claims: Claims) -> list[str]:
        """Return the names that a session has at the provider: of itself first, then of its user."""
        return [f"{self.issuer} {name} {claims[name]}" for name in ("sid", "sub") if is_name(claims.get(name))]


def is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 100


def create_app(
    provider: Provider, claims_of_code: Callable[[str], Claims], store: Store | str, seen: Store, **options: Any
) -> Flask:
    """Return an application. *claims_of_code* exchanges the code of a sign-in for the claims of a verified ID token; *seen*
    is a store of its own, which remembers the logout tokens that have come: of any kind, shared by all workers."""
    app = Flask(__name__)
    sessions = Sessions(app, store, **options)

    @app.get("/")
    def home() -> str:
        return session.user_id or "nobody"

    @app.get("/callback")
    def callback() -> Response:
        claims = claims_of_code(request.args["code"])
        session.login(claims["sub"], alias=provider.aliases(claims))
        return redirect("/")

    @app.post("/backchannel-logout")
    def backchannel_logout() -> Response:
        try:
            claims = provider.logout_claims(request.form.get("logout_token", ""))
            key = id_of(claims)
            if seen.load(key) is not None:
                raise jwt.InvalidTokenError("it has come before")
            sessions.manager.revoke_alias(provider.aliases(claims)[0])  # a token without a sid names a sub
            seen.create(key, Record(b"", int(time.time()) + OLDEST + 2 * CLOCKS, None))
            if isinstance(seen, Sweepable):
                seen.sweep(100)
        except jwt.PyJWTError:
            return answer(400)
        except StoreError:
            return answer(503)  # nothing is remembered, so the same token may come again
        return answer(200)

    return app


def answer(status: int) -> Response:
    return Response("", status, {"Cache-Control": "no-store"})


def id_of(claims: Claims) -> str:
    """Return the key under which a token is remembered."""
    return urlsafe_b64encode(sha256(f"{claims['iss']} {claims['jti']}".encode()).digest()[:9]).decode()
