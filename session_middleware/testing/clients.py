"""Signs users in and ends their sessions for test clients: those of WebTest, Flask, Werkzeug and Django.

It goes by what the clients document, and imports none of them.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from email.message import Message
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request

from session_middleware.cookies import SessionCookie
from session_middleware.directory import SessionInfo
from session_middleware.exceptions import ConfigurationError
from session_middleware.manager import Send, SessionManager
from session_middleware.session import Session
from session_middleware.testing.applications import is_served_by_django, layers_of, manager_of, middleware_of
from session_middleware.tokens import Token


def sign_in(client: Any, user: Any, data: Mapping[str, Any] | None = None, *, base_url: str | None = None) -> str:
    """Sign a user in, as if by the application's own form, and return the session's ``id``.

    *client*: a test client of WebTest, Flask, Werkzeug or Django. It gets the cookie of a session that is stored by that.
    Data of the session that it had go on, as :meth:`Session.login` says, and *data* are put there. *user*: the text that
    ``session.user_id`` is then; for Django's client it may be a user of ``django.contrib.auth``, for ``force_login()``.
    Where the application has Flask-Login, the user is who that loads for the text.

    *base_url*: where requests will go, if not to the client's own: ``"https://localhost"`` for the cookie of https. Raise
    :exc:`ConfigurationError` for a client that is none of these, ``TypeError`` for another *user*, :exc:`StoreError` if the
    store fails.
    """
    jar = _jar_of(client, base_url)
    if _is_of_django(client) and not isinstance(user, str):
        client.force_login(user)
        session = jar.manager.open(_token_in(jar))
    else:
        session = jar.manager.open(_token_in(jar))
        session.login(user)
        session.update(_noted_by_frameworks(client, user))
    session.update(data or {})
    told = _stored(jar.manager, session)
    if told is not None:
        jar.put(told.token)
    return session.id


def session_of(client: Any, *, base_url: str | None = None) -> SessionInfo | None:
    """Return what the store has of the session that a test client's cookie opens; ``None`` if that opens none.

    For *client* and *base_url* see :func:`sign_in`.
    """
    jar = _jar_of(client, base_url)
    session = jar.manager.open(_token_in(jar))
    return None if session.is_new or session.is_gone else jar.manager.find(session.id)


def expire(client: Any, *, base_url: str | None = None) -> bool:
    """End the session that a test client's cookie opens, as if its time had come; return whether there was one.

    The client keeps the cookie, as a browser does. For *client* and *base_url* see :func:`sign_in`.
    """
    found = session_of(client, base_url=base_url)
    return found is not None and manager_of(client).revoke(found.id)


def signed_in_cookie(application: Any, user_id: str, data: Mapping[str, Any] | None = None, *, scheme: str = "http") -> str:
    """Store a session of a user who has signed in, and return a ``Cookie`` header for it: ``name=value``.

    For what has no cookies of its own, as a ``webob.Request``, or another program. *application*: see
    :func:`~session_middleware.testing.manager_of`, but no manager. *scheme*: ``http`` or ``https``, which have different
    cookies.
    """
    manager = manager_of(application)
    session = manager.open()
    session.login(user_id)
    session.update({**_noted_by_frameworks(application, user_id), **(data or {})})
    told = _stored(manager, session)
    assert told is not None, "the user was signed out everywhere meanwhile"
    return f"{_cookie_of(application, scheme).name}={told.token.reveal()}"


def _stored(manager: SessionManager, session: Session) -> Send | None:
    verdict = manager.commit(session)
    session.announced = session.is_over = True
    return verdict if isinstance(verdict, Send) else None


def _noted_by_frameworks(client: Any, user_id: str) -> dict[str, Any]:
    """Return what Flask-Login keeps in the session of who has signed in, if the application has it."""
    has_flask_login = any("login_manager" in getattr(layer, "__dict__", {}) for layer in layers_of(client))
    return {"_user_id": user_id, "_fresh": True} if has_flask_login else {}


def _cookie_of(application: Any, scheme: str) -> SessionCookie:
    middleware = middleware_of(application)
    if middleware is not None:
        return middleware.https if scheme == "https" else middleware.http
    if is_served_by_django(application):
        from session_middleware.integrations.django.settings import cookie_of, is_testing

        # Django's test client knows the plain name alone.
        return cookie_of(https=scheme == "https", plain=is_testing() or _is_of_django(application))
    raise ConfigurationError(f"{application!r}: a cookie belongs to an application; give that, or a client of it")


class _Jar(ABC):
    """The cookies of a test client, as far as they are those of sessions."""

    base_url = "http://localhost/"
    """Where the client sends requests if nobody says."""

    def __init__(self, client: Any, base_url: str | None) -> None:
        self.client = client
        self.manager = manager_of(client)
        self.url = self._own_base_url() if base_url is None else base_url
        self.cookie = _cookie_of(client, urlsplit(self.url).scheme)

    def _own_base_url(self) -> str:
        return self.base_url

    @abstractmethod
    def put(self, token: Token) -> None:
        """Keep a token as if the application had sent it."""

    @abstractmethod
    def values(self) -> Iterable[str]:
        """Return the values of the cookies with the session's name."""


class _JarOfWebTest(_Jar):
    def _own_base_url(self) -> str:
        environ: Mapping[str, str] = self.client.extra_environ
        return f"{environ.get('wsgi.url_scheme', 'http')}://{environ.get('HTTP_HOST', 'localhost')}/"

    def put(self, token: Token) -> None:
        self.client.cookiejar.extract_cookies(_Reply(self.cookie.header(token)), Request(self.url))  # noqa: S310  # not sent

    def values(self) -> Iterable[str]:
        return [cookie.value for cookie in self.client.cookiejar if cookie.name == self.cookie.name]


class _Reply:
    """As much of a response as a ``CookieJar`` wants to see."""

    def __init__(self, set_cookie: str) -> None:
        self._headers = Message()
        self._headers["Set-Cookie"] = set_cookie

    def info(self) -> Message:
        return self._headers


class _JarOfWerkzeug(_Jar):
    def _own_base_url(self) -> str:
        config: Mapping[str, Any] = getattr(self.client.application, "config", {})
        return f"{config.get('PREFERRED_URL_SCHEME') or 'http'}://{config.get('SERVER_NAME') or 'localhost'}/"

    def put(self, token: Token) -> None:
        domain, path, own = self._place()
        self.client.set_cookie(self.cookie.name, token.reveal(), domain=domain, path=path, origin_only=own)

    def values(self) -> Iterable[str]:
        domain, path, _ = self._place()
        found = self.client.get_cookie(self.cookie.name, domain, path)
        return [] if found is None else [found.value]

    def _place(self) -> tuple[str, str, bool]:
        """Return domain and path of the cookie, and whether that is for the host itself alone."""
        attributes = dict(part.partition("=")[::2] for part in self.cookie.deletion_header().split("; "))
        host = urlsplit(self.url).hostname or "localhost"
        return attributes.get("Domain", host).lstrip("."), attributes["Path"], "Domain" not in attributes


class _JarOfDjango(_Jar):
    def put(self, token: Token) -> None:
        self.client.cookies.load(self.cookie.header(token))

    def values(self) -> Iterable[str]:
        found = self.client.cookies.get(self.cookie.name)
        return [] if found is None else [found.value]


def _jar_of(client: Any, base_url: str | None) -> _Jar:
    if hasattr(client, "cookiejar") and hasattr(client, "extra_environ"):
        return _JarOfWebTest(client, base_url)
    if hasattr(client, "application") and hasattr(client, "set_cookie"):
        return _JarOfWerkzeug(client, base_url)
    if _is_of_django(client):
        return _JarOfDjango(client, base_url)
    raise ConfigurationError(
        f"{client!r} is no test client of WebTest, Flask, Werkzeug or Django; for another one there is signed_in_cookie()"
    )


def _is_of_django(client: Any) -> bool:
    django = sys.modules.get("django.test.client")
    return django is not None and isinstance(client, django.ClientMixin)


def _token_in(jar: _Jar) -> Token | None:
    return next((token for token in map(Token.read, jar.values()) if token is not None), None)
