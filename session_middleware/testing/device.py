"""The half of a browser that binds sessions to its device, for tests of a site that asks for it."""

import json
import re
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

Algorithm = Literal["ES256", "RS256"]

_TEXTS: Final = re.compile(r'(\w+)="([^"]*)"')


class FakeDevice:
    """A device whose browser is *client*: a test client of WebTest or of Flask. Django's own goes round the middleware.

    It registers and refreshes when it is told to, as a browser does by itself. *base_url*: that of the site, on https, for
    clients that do not know it. Raise ``ImportError`` if PyJWT or cryptography is not installed.
    """

    session_id: str | None = None
    """The id of the session that it was bound to last."""

    cookie: str | None = None
    """The name of the cookie that proves it."""

    _refresh_path: str | None = None

    def __init__(self, client: Any, *, base_url: str = "https://localhost", algorithm: Algorithm = "ES256") -> None:
        self._client = client
        self._base_url = base_url
        self._algorithm = algorithm
        self._key = _new_key(algorithm)

    def register(self, response: Any) -> int:
        """Do what *response* asks for, which has answered a sign-in; return the status of the answer.

        Raise ``ValueError`` if it asks for nothing.
        """
        asked = response.headers.get("Secure-Session-Registration")
        if asked is None:
            raise ValueError("the response asks for no registration: is device_binding on, and was it a sign-in by https?")
        texts = dict(_TEXTS.findall(asked))
        answer = self._post(texts["path"], {"Secure-Session-Response": self.sign(texts["challenge"], first=True)})
        return self._told(answer)

    def refresh(self) -> int:
        """Prove once more that it has the key; return the status of the last answer.

        Raise ``ValueError`` if it was never bound.
        """
        if self._refresh_path is None or self.session_id is None:
            raise ValueError("the device is bound to no session: call register() with the answer to a sign-in")
        headers = {"Sec-Secure-Session-Id": self.session_id}
        answer = self._post(self._refresh_path, headers)
        if _status(answer) != 403:
            return _status(answer)
        challenge = answer.headers["Secure-Session-Challenge"].split('"')[1]
        return self._told(self._post(self._refresh_path, headers | {"Secure-Session-Response": self.sign(challenge)}))

    def lose_key(self) -> None:
        """From now on it has another key."""
        self._key = _new_key(self._algorithm)

    def sign(self, challenge: str, *, first: bool = False) -> str:
        """Return what it signs for a challenge; the *first* time, with its public key."""
        import jwt

        header: dict[str, Any] = {"typ": "dbsc+jwt"}
        if first:
            kind = jwt.get_algorithm_by_name(self._algorithm)
            header["jwk"] = kind.to_jwk(self._key.public_key(), as_dict=True)
        return jwt.encode({"jti": challenge}, self._key, algorithm=self._algorithm, headers=header)

    def _told(self, answer: Any) -> int:
        """Go by what an answer says of the next refresh; return its status."""
        if _status(answer) == 200:
            instructions = json.loads(_body(answer))
            self.session_id, self._refresh_path = instructions["session_identifier"], instructions["refresh_url"]
            self.cookie = instructions["credentials"][0]["name"]
        return _status(answer)

    def _post(self, path: str, headers: dict[str, str]) -> Any:
        client = self._client
        if hasattr(client, "post_json"):
            return client.post(path, headers=headers, expect_errors=True)
        return client.post(path, headers=headers, base_url=self._base_url)


def _new_key(algorithm: Algorithm) -> "EllipticCurvePrivateKey | RSAPrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else rsa.generate_private_key(65537, 2048)


def _status(response: Any) -> int:
    status: int = response.status_int if hasattr(response, "status_int") else response.status_code
    return status


def _body(response: Any) -> bytes:
    body: bytes = response.body if hasattr(response, "body") else response.data
    return body
