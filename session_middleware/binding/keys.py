"""What a device signs with its key, as browsers send it: JSON Web Tokens (RFC 7515, RFC 7518). It knows no session.

Only what W3C's Device Bound Session Credentials names is taken: ES256 and RS256. Claims about times and audiences are not
looked at: the challenge has a time of its own, and browsers differ in the rest.
"""

from typing import Any, Final

try:
    import jwt
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
except ImportError as error:
    missing = "PyJWT or cryptography is not installed: pip install 'session-middleware[dbsc]'"
    raise ImportError(missing, name=error.name) from error

from session_middleware.record import LONGEST_KEY

LONGEST: Final = 8192
"""A longer token (characters) is not read."""

ALGORITHMS: Final = ("ES256", "RS256")
_RSA_BITS: Final = (2048, 4096)
_RSA_EXPONENT: Final = 65537
_UNCHECKED: Final[Any] = dict.fromkeys(
    ("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss", "verify_sub", "verify_jti"), False
)
_Key = EllipticCurvePublicKey | RSAPublicKey


class Refused(Exception):
    """What a browser has sent proves nothing; the text says why, and quotes nothing of it."""


def first(text: str) -> tuple[bytes, str]:
    """Return the public key (DER) that a registration brings, and what it has signed with it: the challenge.

    Raise :exc:`Refused` for all else.
    """
    found = _header(text).get("jwk")
    if not isinstance(found, dict):
        raise Refused("it brings no key")
    try:
        key = jwt.PyJWK(found, algorithm={"EC": "ES256", "RSA": "RS256"}[found["kty"]]).key
        if not isinstance(key, _Key):
            raise Refused("its key is not a public one")
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if len(der) > LONGEST_KEY:
            raise Refused("its key is too long")
    except Refused:
        raise
    # The library raises whatever its parts raise.
    except Exception as error:
        raise Refused(f"its key cannot be read ({type(error).__name__})") from None
    return der, _challenge(text, key)


def later(text: str, key: bytes) -> str:
    """Return the challenge that the holder of a *key* (DER) has signed; raise :exc:`Refused` for all else."""
    try:
        loaded = load_der_public_key(key)
    except Exception as error:
        raise Refused(f"the key that is kept cannot be read ({type(error).__name__})") from None
    if not isinstance(loaded, _Key):
        raise Refused("the key that is kept is of another kind")
    return _challenge(text, loaded)


def _header(text: str) -> dict[str, Any]:
    _refuse_long(text)
    try:
        return jwt.get_unverified_header(text)
    except Exception as error:
        raise Refused(f"it is no token ({type(error).__name__})") from None


def _refuse_long(text: str) -> None:
    if len(text) > LONGEST:
        raise Refused("it is too long")


def _challenge(text: str, key: _Key) -> str:
    _refuse_long(text)
    if isinstance(key, RSAPublicKey):
        # What devices have. With a large exponent, who has sent the key would choose how long each check takes.
        algorithm, fits = "RS256", key.public_numbers().e == _RSA_EXPONENT and _RSA_BITS[0] <= key.key_size <= _RSA_BITS[1]
    else:
        algorithm, fits = "ES256", isinstance(key.curve, SECP256R1)
    if not fits:
        raise Refused("its key is not one of P-256, nor of RSA with 2048 to 4096 bits and the exponent 65537")
    try:
        claims = jwt.decode(text, key, algorithms=[algorithm], options=_UNCHECKED)
    except Exception as error:
        raise Refused(f"its signature does not hold ({type(error).__name__})") from None
    challenge = claims.get("jti")
    if not isinstance(challenge, str):
        raise Refused("it has signed no challenge")
    return challenge
