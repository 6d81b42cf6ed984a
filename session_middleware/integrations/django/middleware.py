"""In place of Django's own middleware: whose session ``request.session`` is, and when it is stored, not how."""

import logging
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core.signals import request_started
from django.http import HttpResponse
from django.http.response import ResponseHeaders
from django.utils.cache import patch_vary_headers
from django.utils.deprecation import MiddlewareMixin
from django.utils.functional import cached_property

from session_middleware.advice import was_https
from session_middleware.cookies import SessionCookie, reader
from session_middleware.exceptions import ConflictError, SessionError, StoreError, anew
from session_middleware.headers import forbid_shared_caching, refuse_unsendable
from session_middleware.integrations.django.base import BaseSession, UnservedSession
from session_middleware.integrations.django.engine import SessionStore
from session_middleware.integrations.django.request import RequestSession
from session_middleware.integrations.django.settings import (
    check_options,
    check_store,
    cookie_of,
    environ_key,
    is_testing,
    note_cookies,
    setup,
    unavailable_view,
)
from session_middleware.manager import Send, Verdict
from session_middleware.session import Session
from session_middleware.state import Candidates, Keeper

log = logging.getLogger("session_middleware")

_UNAVAILABLE = b"The service is unavailable for a moment. Please try again.\n"


class SessionMiddleware(DjangoSessionMiddleware):  # type: ignore[misc]  # Django has no types
    """Give each request its session. ``django.contrib.admin`` takes it for Django's own, of which it is a subclass.

    The session is that of the WSGI middleware around Django, if there is one. Without it, as in Django's test client and
    under ASGI, it is opened and stored here, and the cookie is as the ``SESSION_COOKIE_...`` settings describe it.
    """

    takes_tokens_alone = True
    """No cookie that it reads is ever given to the engine, which may so be opened by public ids."""

    def __init__(self, get_response: Callable[..., Any]) -> None:
        super().__init__(get_response)
        self._environ_key = environ_key()
        self._warns_of_proxy = True
        setup(), cookie_of(https=True)  # what cannot work does not start
        check_options()
        check_store()
        request_started.connect(note_cookies, dispatch_uid="session_middleware")
        if not issubclass(self.SessionStore, SessionStore):
            log.warning(
                "SESSION_ENGINE is %r, so Django's test client and clearsessions look elsewhere for sessions:"
                " set it to 'session_middleware.integrations.django'",
                settings.SESSION_ENGINE,
            )

    async def __acall__(self, request: Any) -> Any:
        self.process_request(request)
        response = await self.get_response(request)
        if request.session.accessed or settings.SESSION_SAVE_EVERY_REQUEST:
            return await sync_to_async(self.process_response)(request, response)
        return self.process_response(request, response)

    def process_request(self, request: Any) -> None:
        note_cookies(environ=request.META)  # under ASGI the signal sets it elsewhere
        environ = getattr(request, "environ", None)
        served = None if environ is None else environ.get(self._environ_key)
        if isinstance(served, Session) and not served.announced:
            request.session = _ServedSession(served)
        else:
            plain = is_testing() or _is_of_test_client(request)
            request.session = _OwnSession(cookie_of(https=request.is_secure(), plain=plain), request)

    def process_response(self, request: Any, response: Any) -> Any:
        session = getattr(request, "session", None)
        if not isinstance(session, _ServedSession | _OwnSession):
            return response
        is_use = settings.SESSION_SAVE_EVERY_REQUEST and request.META.get("HTTP_COOKIE") and response.status_code < 500
        answer = session.finish(request, response, is_use=bool(is_use))
        sent = answer.cookies.get(settings.SESSION_COOKIE_NAME)
        if sent is not None and sent.value and not sent["secure"] and self._warns_of_proxy and was_https(request.META):
            self._warns_of_proxy = False
            log.warning(
                "a proxy says https, Django http, so the session cookie is not Secure: set SECURE_PROXY_SSL_HEADER, or"
                " SESSION_COOKIE_SECURE = True"
            )
        return answer


class UnavailableMiddleware(MiddlewareMixin):  # type: ignore[misc]  # Django has no types
    """Answer 503 in place of the error page that Django makes of a failed store; for Django's own session middleware.

    Name it anywhere before that one. :class:`SessionMiddleware` has no need of it.
    """

    def process_response(self, request: Any, response: Any) -> Any:
        session = getattr(request, "session", None)
        fault = session.underlying.fault if isinstance(session, BaseSession) else None
        return response if fault is None or response.status_code != 500 else _unavailable(request, response, fault)


class _ServedSession(RequestSession):
    """The session of the WSGI middleware, which stores it and sends the cookie."""

    def finish(self, request: Any, response: Any, *, is_use: bool) -> Any:
        """Let Django's own caches, which stand between us and the WSGI middleware, know what that will say."""
        session = self.underlying
        if is_use:
            _use(session)
        if session.accessed:
            patch_vary_headers(response, ("Cookie",))
            if session.state is None or session.tells:
                _forbid_shared_caching(response)
        return response


class _Unserved(UnservedSession):
    """A session of a request: a cookie that has not even the form of a token is removed, too, when it ends."""

    def __init__(self, keeper: Keeper, read: Callable[[Any], Candidates], header: object, cookie: SessionCookie) -> None:
        super().__init__(keeper, read, header)
        self._cookie = cookie

    def _has_odd_cookie(self) -> bool:
        return self._cookie.is_in(self._source)


class _OwnSession(RequestSession):
    """A session that no WSGI middleware stores."""

    _broken = False

    def __init__(self, cookie: SessionCookie, request: Any) -> None:
        manager, self._carry_over, describer = setup()
        self._cookie = cookie
        cookie.tell_of_many = None if manager.teller is None else manager.teller.too_many_cookies
        former = [one.name for one in cookie.former]
        old = [] if self._carry_over is None else [self._carry_over.name]
        self._header = _cookies(request, cookie.name, *former, *old)
        session = _Unserved(manager, reader(cookie, self._carry_over), self._header, cookie)
        if describer is not None:
            session.describe = describer.description(request.META)
        super().__init__(session)

    def finish(self, request: Any, response: Any, *, is_use: bool) -> Any:
        """Store what was changed and tell the browser; what a stream changes later is stored when it ends."""
        session = self.underlying
        failed = response.status_code >= 500
        try:
            if is_use:
                _use(session)
            state = session.state
            if state is not None and (state.acted or state.values.suspect or state.renew is not None):
                # While nothing is stored: the browser would never learn of a new token.
                refuse_unsendable(f"{response.status_code} {response.reason_phrase}", _headers_of(response))
            verdict = self._manager.commit(session, failed=failed)
            if response.status_code == 500 and session.fault is not None:
                raise anew(session.fault)  # Django's page of what nobody has handled
            if session.accessed:
                self._tell(response, verdict)
        except (StoreError, ConflictError) as fault:
            session.announced = session.is_over = True
            return _unavailable(request, response, fault)
        session.announced = True
        if response.streaming and getattr(response, "file_to_stream", None) is None:
            blocks = response.streaming_content
            response.streaming_content = (self._asynchronously if response.is_async else self._to_the_end)(blocks, failed)
            response._resource_closers.append(lambda: self._end(failed))  # noqa: SLF001  # what close() calls
        else:
            session.is_over = True
        return response

    def _to_the_end(self, blocks: Iterable[bytes], failed: bool) -> Iterator[bytes]:
        """Store what has changed before the client can see the end; nothing of a stream that breaks off."""
        try:
            yield from blocks
        except Exception:
            self._broken = True
            raise
        self._finish_late(failed)

    async def _asynchronously(self, blocks: AsyncIterable[bytes], failed: bool) -> AsyncIterator[bytes]:
        try:
            async for block in blocks:
                yield block
        except Exception:
            self._broken = True
            raise
        await sync_to_async(self._finish_late)(failed)

    def _tell(self, response: Any, verdict: Verdict | None) -> None:
        patch_vary_headers(response, ("Cookie",))
        if isinstance(verdict, Send):
            _set_cookie(response, self._cookie.header(verdict.token, max_age=verdict.max_age))
        elif verdict is not None:
            _set_cookie(response, self._cookie.deletion_header())
        if verdict is not None and self._cookie.former:
            for number, header in enumerate(self._cookie.removals(self._header)):
                # A response keeps its cookies by name, and a former one may have the name of ours.
                for cookie in type(response.cookies)(header).values():
                    response.cookies[f"{self._cookie.name} former {number}"] = cookie
        old = self._carry_over if verdict is not None else None
        if old is not None and old.name != self._cookie.name and old.find(self._header) is not None:
            response.cookies.load(old.deletion_header())
        if verdict is not None or self.underlying.state is None:
            _forbid_shared_caching(response)

    def _end(self, failed: bool) -> None:
        self._finish_late(failed)
        self.underlying.is_over = True

    def _finish_late(self, failed: bool) -> None:
        try:
            self._manager.commit(self.underlying, failed=failed or self._broken)
        except SessionError as error:
            self._manager.lost(self.underlying, error)


def _is_of_test_client(request: Any) -> bool:
    """Tell whether Django's test client has made the request: it knows the plain name of the cookie alone.

    Others set the mark that it leaves, too, so it does not count where there is no such client.
    """
    return "django.test.client" in sys.modules and hasattr(request, "_dont_enforce_csrf_checks")


def _cookies(request: Any, *names: str) -> str | None:
    """Return the ``Cookie`` header of a request, or what someone has made of those cookies in ``request.COOKIES`` since.

    What Django itself reads there is no such change: it takes other names for ours (U+2000 before it, for example).
    """
    header: str | None = request.META.get("HTTP_COOKIE")
    known = vars(request).get("COOKIES")
    if known is None:
        return header  # nobody has looked at them yet
    reads = getattr(type(request), "COOKIES", None)
    read = reads.func(request) if isinstance(reads, cached_property) else {}
    if all(known.get(name) == read.get(name) for name in names):
        return header
    return "; ".join(f"{name}={known[name]}" for name in names if name in known)


def _use(session: Session) -> None:
    """Let the idle timeout start anew, if there is a session that this request may change."""
    if not (session.is_new or session.is_gone):
        session.use()


def _set_cookie(response: Any, header: str) -> None:
    """Do as ``response.cookies.load()``, which takes more than twice as long; *header* is our own."""
    pair, *attributes = header.split("; ")
    name, _, value = pair.partition("=")
    response.cookies[name] = value
    cookie = response.cookies[name]
    cookie.set(name, value, value)  # without quotes, where it is empty, too
    for attribute in attributes:
        key, _, text = attribute.partition("=")
        cookie[key] = text or True


def _headers_of(response: Any) -> list[tuple[str, str]]:
    return [*response.items(), *(("Set-Cookie", cookie.OutputString()) for cookie in response.cookies.values())]


def _unavailable(request: Any, instead_of: Any, fault: SessionError) -> Any:
    """Return a 503 (RFC 9110, 15.6.4), or what the project has for it, with none of the response that it wanted to give."""
    setup().manager.outage.failed(fault)
    view = unavailable_view()
    if view is None:
        headers = {"Cache-Control": "no-store", "Retry-After": "5", "Content-Type": "text/plain; charset=utf-8"}
        response = HttpResponse(_UNAVAILABLE, status=503, headers=headers)
    else:
        response = view(request, fault)
        if not getattr(response, "is_rendered", True):
            response = response.render()
        _forbid_shared_caching(response)
    response._resource_closers.extend(instead_of._resource_closers)  # noqa: SLF001  # what close() calls
    return response


def _forbid_shared_caching(response: Any) -> None:
    headers = list(response.headers.items())
    forbid_shared_caching(headers)
    response.headers = ResponseHeaders(dict(headers))
