"""The example of OpenID Connect Back-Channel Logout 1.0 ends what a signed token names, and refuses every other token."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from flask import Flask
from flask.testing import FlaskClient
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from examples.backchannel_logout import EVENT, Provider, create_app
from session_middleware import MemoryStore
from session_middleware.testing import FaultyStore
from tests.sites import Bare

ISSUER, CLIENT = "https://id.example", "shop"
RSA = rsa.generate_private_key(65537, 2048)
ECDSA, STRANGE = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
SIGNERS: dict[str, tuple[Any, str]] = {"rsa": (RSA, "RS256"), "ec": (ECDSA, "ES256")}
KEYS = jwt.PyJWKSet.from_dict({
    "keys": [
        {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "rsa", "alg": "RS256"},
        {**ECAlgorithm.to_jwk(ECDSA.public_key(), as_dict=True), "kid": "ec", "alg": "ES256"},
    ]
})  # fmt: skip

PEOPLE = {
    "alice-laptop": {"sub": "alice", "sid": "s1"},
    "alice-phone": {"sub": "alice", "sid": "s2"},
    "bob": {"sub": "bob", "sid": "s3"},
}


def key_of(token: str) -> jwt.PyJWK:
    """Do as ``jwt.PyJWKClient.get_signing_key_from_jwt`` does, which fetches the keys."""
    try:
        return KEYS[jwt.get_unverified_header(token).get("kid", "")]
    except KeyError as error:
        raise jwt.PyJWKClientError("no such key") from error


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def app(store: FaultyStore) -> Flask:
    return create_app(Provider(ISSUER, CLIENT, key_of), PEOPLE.__getitem__, store, MemoryStore())


@pytest.fixture
def signed_in(app: Flask) -> dict[str, FlaskClient]:
    clients = {code: app.test_client() for code in PEOPLE}
    for code, client in clients.items():
        client.get("/callback", query_string={"code": code})
    return clients


def who(clients: dict[str, FlaskClient]) -> list[str]:
    return [client.get("/").text for client in clients.values()]


def a_token(
    kid: str = "rsa", typ: str | None = "logout+jwt", key: Any = None, algorithm: str | None = None, **changed: Any
) -> str:
    """Return a logout token; what is changed to ``None`` is left out."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": CLIENT,
        "iat": now,
        "exp": now + 120,
        "jti": f"jti {time.monotonic_ns()}",
        "events": {EVENT: {}},
        "sid": "s1",
        **changed,
    }
    signer, usual = SIGNERS[kid]
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, signer if key is None else key, algorithm or usual, headers={"kid": kid, "typ": typ})


def send(app: Flask, token: str | None) -> Any:
    return app.test_client().post("/backchannel-logout", data={} if token is None else {"logout_token": token})


@pytest.mark.parametrize("kid", SIGNERS)
def test_a_token_with_a_sid_ends_that_session(app: Flask, signed_in: dict[str, FlaskClient], kid: str) -> None:
    """Promise 19, section 2.7: the other device of the same user goes on. The answer is 200 and kept by no cache."""
    answer = send(app, a_token(kid))

    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert "Set-Cookie" not in answer.headers
    assert who(signed_in) == ["nobody", "alice", "bob"]


@pytest.mark.parametrize("kid", SIGNERS)
def test_a_token_without_a_sid_ends_all_sessions_of_its_sub(app: Flask, signed_in: dict[str, FlaskClient], kid: str) -> None:
    """Section 2.4: of that user at this provider."""
    assert send(app, a_token(kid, sid=None, sub="alice")).status_code == 200
    assert who(signed_in) == ["nobody", "nobody", "bob"]


def test_a_token_for_a_session_that_is_not_there_is_answered_alike(app: Flask) -> None:
    """Section 2.7: it has been signed out already."""
    assert send(app, a_token(sid="unknown")).status_code == 200


def test_whoever_signs_in_again_stays_signed_in(app: Flask, signed_in: dict[str, FlaskClient]) -> None:
    """Promise 20: a token that comes once more ends nothing."""
    token = a_token()
    assert send(app, token).status_code == 200
    signed_in["alice-laptop"].get("/callback", query_string={"code": "alice-laptop"})

    assert send(app, token).status_code == 400
    assert who(signed_in) == ["alice", "alice", "bob"]


def test_a_token_may_come_again_if_the_store_has_failed(
    app: Flask, signed_in: dict[str, FlaskClient], store: FaultyStore
) -> None:
    """Promise 7: the answer is 503, and nothing is taken for done."""
    token = a_token()
    store.fail("load", at=2)
    assert send(app, token).status_code == 503
    store.heal()

    assert send(app, token).status_code == 200
    assert who(signed_in) == ["nobody", "alice", "bob"]


def test_a_store_that_drops_what_has_expired_remembers_tokens_as_well(store: FaultyStore) -> None:
    """Any store will do, one that is not swept, too."""
    app = create_app(Provider(ISSUER, CLIENT, key_of), PEOPLE.__getitem__, store, Bare())
    token = a_token()

    assert [send(app, token).status_code for _ in range(2)] == [200, 400]


def test_a_provider_may_send_untyped_tokens(store: FaultyStore) -> None:
    """Section 2.4 recommends a type; where a provider has none, that is to be said."""
    app = create_app(Provider(ISSUER, CLIENT, key_of, typed=False), PEOPLE.__getitem__, store, MemoryStore())

    assert send(app, a_token(typ="JWT")).status_code == 200


AGO = int(time.time()) - 10_000

BAD: dict[str, Callable[[], str | None]] = {
    "no token": lambda: None,
    "an empty one": lambda: "",
    "no JWT": lambda: "a.b.c",
    "another issuer": partial(a_token, iss="https://evil.example"),
    "no issuer": partial(a_token, iss=None),
    "another audience": partial(a_token, aud="another"),
    "no audience": partial(a_token, aud=None),
    "no time": partial(a_token, iat=None),
    "a time that is none": partial(a_token, iat="now"),
    "from the future": partial(a_token, iat=AGO + 10**6, exp=AGO + 10**6 + 100),
    "expired": partial(a_token, iat=AGO, exp=AGO + 120),
    "old, and does not expire": partial(a_token, iat=AGO, exp=AGO + 99_999),
    "no expiry": partial(a_token, exp=None),
    "no jti": partial(a_token, jti=None),
    "a jti that is no text": partial(a_token, jti=[1]),
    "no events": partial(a_token, events=None),
    "events that are none": partial(a_token, events=[EVENT]),
    "another event": partial(a_token, events={"http://schemas.openid.net/event/other": {}}),
    "an event that is no object": partial(a_token, events={EVENT: "yes"}),
    "a nonce": partial(a_token, nonce="n"),
    "an empty nonce": partial(a_token, nonce=""),
    "neither sid nor sub": partial(a_token, sid=None),
    "a sid that is no text": partial(a_token, sid=5),
    "a sid without end": partial(a_token, sid="s" * 10_000),
    "an ID token": partial(a_token, typ="JWT"),
    "an access token": partial(a_token, typ="at+jwt"),
    "no type": partial(a_token, typ=None),
    "another key": partial(a_token, "ec", key=STRANGE),
    "a key that nobody knows": lambda: jwt.encode({}, ECDSA, "ES256", headers={"kid": "other", "typ": "logout+jwt"}),
    "no signature": partial(a_token, algorithm="none", key=""),
    "a shared secret in place of a key": partial(a_token, algorithm="HS256", key="k" * 64),
    "an algorithm that was not agreed on": partial(a_token, algorithm="PS256"),
    "a changed signature": lambda: a_token()[:-10] + "A" * 10,
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_a_bad_token_is_refused_and_ends_nothing(
    app: Flask, signed_in: dict[str, FlaskClient], make: Callable[[], str | None]
) -> None:
    """Section 2.6 and 2.8, ASVS 5.0 10.5.5: 400, kept by no cache."""
    answer = send(app, make())

    assert (answer.status_code, answer.headers["Cache-Control"]) == (400, "no-store")
    assert who(signed_in) == ["alice", "alice", "bob"]
