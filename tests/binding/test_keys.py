"""Which keys and signatures are taken, and which are not."""

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from session_middleware.binding import keys
from session_middleware.binding.keys import Refused
from session_middleware.testing import FakeDevice
from tests.binding.sites import REFRESH, REGISTRATION, BindingSite, challenge_in

P256 = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)


def jwk_of(key: Any, algorithm: str) -> dict[str, Any]:
    return dict(jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True))


def signed(key: Any, algorithm: str, jwk: object = None, *, jti: object = "challenge", **claims: Any) -> str:
    headers = {"typ": "dbsc+jwt"} | ({} if jwk is None else {"jwk": jwk})
    return jwt.encode({"jti": jti, **claims}, key, algorithm=algorithm, headers=headers)


def with_header(token: str, **fields: Any) -> str:
    """Return a token with other fields in its header, under the same signature."""
    header, rest = token.split(".", 1)
    whole = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))) | fields
    return f"{_base64(json.dumps(whole).encode())}.{rest}"


def with_mac(token: str, key: bytes) -> str:
    """Return a token whose signature is made with the public key, which everybody knows."""
    signed = with_header(token, alg="HS256").rpartition(".")[0]
    return f"{signed}.{_base64(hmac.digest(key, signed.encode(), 'sha256'))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(("key", "algorithm"), [(P256, "ES256"), (RSA, "RS256")])
def test_both_algorithms_are_taken(key: Any, algorithm: str) -> None:
    """The two of the draft, whatever claims stand beside the challenge: browsers differ, and clocks are wrong."""
    rest = {"aud": "https://else.example", "iat": 99999999999, "exp": 1, "nbf": 99999999999, "sub": "alice"}
    der, challenge = keys.first(signed(key, algorithm, jwk_of(key, algorithm), **rest))

    assert challenge == "challenge"
    assert keys.later(signed(key, algorithm, jti="again", **rest), der) == "again"
    with pytest.raises(Refused, match="signature does not hold"):
        keys.later(signed(ec.generate_private_key(ec.SECP256R1()), "ES256"), der)


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits long")
def test_no_other_algorithm_is_taken() -> None:
    """Pinned by the key: none, HMAC with the public key, other curves, short and long RSA."""
    good = signed(P256, "ES256", jwk_of(P256, "ES256"))
    der, _ = keys.first(good)
    short, long = rsa.generate_private_key(65537, 1024), rsa.generate_private_key(65537, 4104)
    p384 = ec.generate_private_key(ec.SECP384R1())
    edward = ed25519.Ed25519PrivateKey.generate()
    for token in (
        with_header(good, alg="none"),
        with_header(good, alg="none").rpartition(".")[0] + ".",
        with_header(good, alg="HS256"),
        with_header(good, alg="ES384"),
        with_mac(good, der),
        signed(short, "RS256", jwk_of(short, "RS256")),
        signed(long, "RS256", jwk_of(long, "RS256")),
        signed(RSA, "RS512", jwk_of(RSA, "RS256")),
        signed(RSA, "PS256", jwk_of(RSA, "RS256")),
        signed(p384, "ES384", jwk_of(p384, "ES384")),
        signed(edward, "EdDSA", jwk_of(edward, "EdDSA")),
        jwt.encode({"jti": "challenge"}, "secret" * 9, algorithm="HS256", headers={"jwk": {"kty": "oct", "k": "c2VjcmV0"}}),
    ):
        with pytest.raises(Refused):
            keys.first(token)
        with pytest.raises(Refused):
            keys.later(token, der)


def test_a_key_that_is_none_is_refused() -> None:
    """With a reason that quotes nothing of it."""
    whole = jwk_of(P256, "ES256")
    private = dict(jwt.get_algorithm_by_name("ES256").to_jwk(P256, as_dict=True))
    huge = {"kty": "RSA", "n": _base64(b"\xff" * 512), "e": _base64(b"\x7f" * 255)}
    for jwk, why in (
        (None, "it brings no key"),
        ("text", "it brings no key"),
        ([], "it brings no key"),
        ({}, "its key cannot be read"),
        ({"kty": "EC"}, "its key cannot be read"),
        (whole | {"crv": "P-384"}, "its key cannot be read"),
        (whole | {"x": whole["y"]}, "its key cannot be read"),
        (whole | {"x": 5}, "its key cannot be read"),
        (private, "its key is not a public one"),
        (huge, "its key is too long"),
    ):
        with pytest.raises(Refused, match=why):
            keys.first(signed(P256, "ES256", jwk))


def test_what_is_no_token_is_refused() -> None:
    """Also what is longer than anybody signs, and what signs nothing."""
    jwk = jwk_of(P256, "ES256")
    der, _ = keys.first(signed(P256, "ES256", jwk))
    for text in ("", "a", "a.b.c", "." * 9, "é.é.é", signed(P256, "ES256", jwk, filling="x" * keys.LONGEST)):
        with pytest.raises(Refused):
            keys.first(text)
        with pytest.raises(Refused):
            keys.later(text, der)
    with pytest.raises(Refused, match="it is too long"):
        keys.first("." * (keys.LONGEST + 1))
    for jti in (None, 5, ["challenge"]):
        with pytest.raises(Refused, match="it has signed no challenge"):
            keys.first(jwt.encode({"jti": jti} if jti else {}, P256, algorithm="ES256", headers={"jwk": jwk}))


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_device_may_quote_what_it_sends(algorithm: Any, quote: str) -> None:
    """As the draft has it (RFC 8941, 3.3.3), or bare, as Chromium does."""
    site = BindingSite()
    browser = site.browser()
    browser.device = FakeDevice(browser, algorithm=algorithm)
    token = browser.device.sign(challenge_in(browser.get("/login/alice").headers), first=True)
    assert browser.post(REGISTRATION, {"Secure-Session-Response": f"{quote}{token}{quote}"}).status_code == 200
    asked = {"Sec-Secure-Session-Id": f"{quote}{browser.session_id}{quote}"}
    challenge = challenge_in(browser.post(REFRESH, asked).headers)
    asked["Secure-Session-Response"] = f"{quote}{browser.device.sign(challenge)}{quote}"

    assert browser.post(REFRESH, asked).status_code == 200
